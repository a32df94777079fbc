"""SAME padding by size, pooling with a border that never wins, separable convolutions, norms."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from pagoda.layers.conv import (
    SeparableConv2d,
    build_activation,
    build_slow_norm,
    pad_same,
    same_padding,
    shrink,
)


@pytest.mark.parametrize(("side", "kernel", "stride"), list(product(range(1, 12), (2, 3, 5), (1, 2))))
def test_same_padding_by_its_definition(side: int, kernel: int, stride: int) -> None:
    outputs = math.ceil(side / stride)
    total = max((outputs - 1) * stride + kernel - side, 0)
    assert same_padding(side, kernel, stride) == (total // 2, total - total // 2)


def test_windows_that_leave_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match="leave no gap, got kernel 1, stride 2"):
        same_padding(8, 1, 2)


def test_padded_convolution_gives_half_the_size_rounded_up() -> None:
    for height, width in ((8, 7), (1, 2), (5, 5)):
        padded = conv2d(pad_same(torch.randn(1, 1, height, width), 3, 2), torch.randn(1, 1, 3, 3), stride=2)
        assert padded.shape[-2:] == (-(-height // 2), -(-width // 2))


def pooled_slowly(x: Tensor, stride: int) -> Tensor:
    """Maxima over windows of stride + 1 that end flush with the padded bottom and right."""
    kernel, (height, width) = stride + 1, x.shape
    starts = [same_padding(side, kernel, stride)[0] for side in x.shape]
    rows = []
    for row in range(-(-height // stride)):
        y = row * stride - starts[0]
        values = []
        for column in range(-(-width // stride)):
            left = column * stride - starts[1]
            values.append(x[max(y, 0) : y + kernel, max(left, 0) : left + kernel].max())
        rows.append(torch.stack(values))
    return torch.stack(rows)


@pytest.mark.parametrize("size", [(4, 4), (5, 8), (1, 1), (7, 2)])
@pytest.mark.parametrize("stride", [2, 4])
def test_shrinking_equals_the_plain_loop(size: tuple[int, int], stride: int) -> None:
    x = torch.randn(size) - 5
    torch.testing.assert_close(shrink(x[None, None], stride, "same")[0, 0], pooled_slowly(x, stride))


def test_a_border_never_wins() -> None:
    x = torch.full((1, 1, 4, 4), -1.0)
    for padding in ("same", "symmetric"):
        assert torch.equal(shrink(x, 2, padding), torch.full((1, 1, 2, 2), -1.0))


def test_paddings_differ_by_one_pixel_on_even_sizes_only() -> None:
    row = torch.arange(8.0).expand(1, 1, 8, 8)
    assert shrink(row, 2, "same")[0, 0, 0].tolist() == [2, 4, 6, 7]
    assert shrink(row, 2, "symmetric")[0, 0, 0].tolist() == [1, 3, 5, 7]
    odd = torch.randn(1, 1, 7, 9)
    assert torch.equal(shrink(odd, 2, "same"), shrink(odd, 2, "symmetric"))


def test_separable_convolution_equals_its_two_steps() -> None:
    layer = SeparableConv2d(4, 6)
    x = torch.randn(2, 4, 5, 7)
    depthwise = torch.stack(
        [conv2d(x[:, c : c + 1], layer.conv_dw.weight[c : c + 1], padding=1)[:, 0] for c in range(4)], 1
    )
    expected = torch.einsum("bchw,oc->bohw", depthwise, layer.conv_pw.weight[:, :, 0, 0])
    torch.testing.assert_close(layer(x), expected + layer.conv_pw.bias[:, None, None])


def test_parameters_of_a_separable_convolution() -> None:
    def count(**options: bool | str) -> int:
        return sum(p.numel() for p in SeparableConv2d(64, 64, **options).parameters())

    assert count() == 9 * 64 + 64 * 64 + 64
    assert count(norm="batch", bias=False) == 9 * 64 + 64 * 64 + 2 * 64


@pytest.mark.parametrize(("fan", "variances"), [("average", (1 / 9, 2 / 384)), ("in", (1 / 9, 1 / 256))])
def test_fresh_weights_have_the_variance_of_their_fan(fan: str, variances: tuple[float, float]) -> None:
    layer = SeparableConv2d(256, 128, fan=fan)
    for weight, variance in zip((layer.conv_dw.weight, layer.conv_pw.weight), variances, strict=True):
        assert weight.var().item() == pytest.approx(variance, rel=0.1)
        assert weight.abs().max() <= math.sqrt(variance) * (math.sqrt(3) if fan == "average" else 2.28)


def test_norms_have_efficientnets_constants() -> None:
    norm = build_slow_norm("batch", 8)
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)
    assert build_slow_norm("frozen", 8).eps == 1e-3
    assert build_slow_norm("group", 88).num_groups == 8
    assert isinstance(build_slow_norm("none", 8), nn.Identity)


def test_activations() -> None:
    x = torch.tensor([-1.0, 3.0, 9.0])
    before = x.clone()
    assert build_activation("relu6")(x).tolist() == [0, 3, 6]
    torch.testing.assert_close(build_activation("silu")(x), x * x.sigmoid())
    assert torch.equal(x, before)
    with pytest.raises(ValueError, match=r"kind must be one of 'silu', 'relu', .* got 'swish'"):
        build_activation("swish")


def test_a_border_of_zeros_beats_negative_features() -> None:
    pooled = shrink(torch.full((1, 1, 4, 4), -1.0), 2, "same_zero")
    assert pooled.flatten().tolist() == [-1, 0, 0, 0]
    x = torch.rand(1, 2, 7, 8)  # … and no positive ones
    assert torch.equal(shrink(x, 2, "same_zero"), shrink(x, 2, "same"))
