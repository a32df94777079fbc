"""Darknet's layers against plain arithmetic: norms, pools and kernels of every cell's own."""

import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from pagoda.layers.darknet import DarknetBatchNorm2d, DarknetMaxPool2d, build_layers
from pagoda.layers.darknet_layer import DarknetLayer, shapes_of
from pagoda.layers.local import LocallyConnected2d


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (1, 0), (2, 1)])
def test_a_local_layer_is_a_product_for_each_cell(stride: int, padding: int) -> None:
    torch.manual_seed(0)
    layer = LocallyConnected2d(4, 3, (7, 6), 3, stride=stride, padding=padding)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, 7, 6)
    found, padded = layer(x), pad(x, (padding,) * 4)
    rows, columns = layer.size
    for row in range(rows):
        for column in range(columns):
            cell = row * columns + column
            top, left = row * stride, column * stride
            patch = padded[:, :, top : top + 3, left : left + 3].flatten(1)
            expected = patch @ layer.weight[cell].T + layer.bias[:, cell]
            torch.testing.assert_close(found[:, :, row, column], expected, rtol=1e-5, atol=1e-6)


def test_every_cell_begins_at_random() -> None:
    layer = LocallyConnected2d(8, 4, (3, 3), 3, padding=1)
    assert (layer.weight.flatten(1).std(1) > 0.01).all()
    assert layer.weight.abs().max() <= (2 / 72) ** 0.5


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        LocallyConnected2d(1, 1, (2, 2), 3)


def test_a_norm_in_training_has_the_unbiased_variance() -> None:
    torch.manual_seed(0)
    norm, x = DarknetBatchNorm2d(3).train(), torch.randn(2, 3, 4, 5) * 3 + 1
    nn.init.uniform_(norm.weight)
    mean = x.transpose(0, 1).flatten(1).mean(1)
    variance = x.transpose(0, 1).flatten(1).var(1, unbiased=True)
    expected = (x - mean[:, None, None]) / (variance.sqrt() + 1e-6)[:, None, None]
    expected = expected * norm.weight[:, None, None]
    torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_mean, 0.01 * mean)
    torch.testing.assert_close(norm.running_var, 0.99 + 0.01 * variance)


def test_the_variance_of_an_ordinary_norm() -> None:
    norm = DarknetBatchNorm2d(2).eval()
    norm.running_var.copy_(torch.tensor([1e-8, 4.0]))
    plain = nn.BatchNorm2d(2, eps=0.0).eval()
    plain.running_var.copy_(norm.plain_variance())
    x = torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(norm(x), plain(x))


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 1), (2, 1, 1), (3, 2, 2), (2, 2, 0)])
@pytest.mark.parametrize("side", [4, 7])
def test_pools_count_as_darknet_does(size: int, stride: int, padding: int, side: int) -> None:
    x = torch.randn(1, 2, side, side) - 9
    found = DarknetMaxPool2d(size, stride, padding)(x)
    layer = DarknetLayer(kind="maxpool", size=size, stride=stride, padding=padding)
    assert tuple(found.shape[1:]) == layer.shape((2, side, side))
    before = padding // 2
    for row in range(found.shape[-2]):
        for column in range(found.shape[-1]):
            top, left = row * stride - before, column * stride - before
            window = x[..., max(0, top) : top + size, max(0, left) : left + size]
            assert torch.equal(found[..., row, column], window.flatten(2).amax(-1))


def test_layers_that_do_not_fit_are_refused_by_number() -> None:
    conv, connected = (DarknetLayer(kind=kind, size=5) for kind in ("convolutional", "connected"))
    with pytest.raises(ValueError, match="layer 1, convolutional, reads maps"):
        shapes_of([connected, conv], (3, 8, 8))
    with pytest.raises(ValueError, match="layer 2, convolutional, has a window of 5"):
        shapes_of([conv, conv, conv], (3, 10, 10))
    with pytest.raises(ValueError, match="outputs must be from 1"):
        DarknetLayer(kind="connected", outputs=0)


def test_norms_of_connected_layers() -> None:
    layer = DarknetLayer(kind="connected", outputs=4, batch_norm=True, activation="relu")
    (block,) = build_layers([layer], (2, 3, 3), norm="darknet")
    assert block.core.bias is None and isinstance(block.norm.of_cells, DarknetBatchNorm2d)
    assert block.eval()(torch.randn(2, 2, 3, 3)).min() >= 0
