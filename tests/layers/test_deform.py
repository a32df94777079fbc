"""Deformable convolution: the hand oracle, a slow twin, identities at the start, precision, export, empties."""

import math

import pytest
import torch
from torch import Tensor, nn

from pagoda.layers.deform import DeformConv2d


def ones(modulated: bool, displacement: tuple[float, float] = (0.0, 0.0)) -> DeformConv2d:
    """Every weight is one, every tap is displaced by the same (dy, dx)."""
    conv = DeformConv2d(1, 1, modulated=modulated).double()
    nn.init.ones_(conv.weight)
    with torch.no_grad():
        conv.offset.bias[:18] = torch.tensor(displacement).repeat(9)
    return conv


# The 5×5 map counts 1 … 25 row by row; outside is zero and what lies between pixels is bilinear.
COUNTING = torch.arange(1.0, 26, dtype=torch.float64).reshape(1, 1, 5, 5)


@pytest.mark.parametrize(
    ("displacement", "rows"),
    [
        ((0, 0), {0: [16, 27, 33, 39, 28], 2: [69, 108, 117, 126, 87], 4: [76, 117, 123, 129, 88]}),
        ((0.5, 0), {0: [27.5, 45, 52.5, 60, 42.5], 2: [84, 130.5, 139.5, 148.5, 102]}),
        ((0, 0.25), {0: [18.75, 28.5, 34.5, 36.25, 24.75], 2: [78.75, 110.25, 119.25, 116.25, 76.5]}),
    ],
)
def test_hand_oracle(displacement: tuple[float, float], rows: dict[int, list[float]]) -> None:
    y = ones(False, displacement)(COUNTING)[0, 0]
    for row, wanted in rows.items():
        assert y[row].tolist() == wanted


def test_equal_masks_of_a_half_halve_the_sum() -> None:
    assert ones(True)(COUNTING)[0, 0, 2, 2].item() == 58.5


@pytest.mark.parametrize(("modulated", "share"), [(False, 1.0), (True, 0.5)])
@pytest.mark.parametrize(
    "geometry", [{}, {"stride": 2}, {"padding": 2, "dilation": 2}, {"groups": 2, "deform_groups": 4}]
)
def test_starts_as_the_plain_convolution_or_half_of_it(modulated: bool, share: float, geometry: dict) -> None:
    conv = DeformConv2d(8, 6, modulated=modulated, bias=False, **geometry).double()
    x = torch.randn(2, 8, 9, 7, dtype=torch.float64)
    plain = {name: value for name, value in geometry.items() if name != "deform_groups"}
    wanted = torch.conv2d(x, conv.weight, **{"padding": 1, **plain})
    torch.testing.assert_close(conv(x), share * wanted, rtol=1e-12, atol=1e-12)


def bilinear(plane: Tensor, y: float, x: float) -> float:
    """One value between four pixels; what lies outside is zero."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * plane[row, column].item()
    return total


def slow_twin(conv: DeformConv2d, x: Tensor, deform_groups: int) -> Tensor:
    """Loops over everything; reads the documented layout of `offset`."""
    seen = conv.offset(x)[0]
    moves = seen[: 18 * deform_groups].reshape(deform_groups, 9, 2, *seen.shape[1:])
    masks = seen[18 * deform_groups :].sigmoid().reshape(deform_groups, -1, *seen.shape[1:])
    channels = x.shape[1]
    y = torch.zeros(1, conv.weight.shape[0], *seen.shape[1:], dtype=x.dtype)
    for _, output, row, column in torch.cartesian_prod(*(torch.arange(n) for n in y.shape)).tolist():
        for channel in range(channels):
            part = channel * deform_groups // channels
            for tap in range(9):
                dy, dx = moves[part, tap, :, row, column].tolist()
                at = (row * conv.stride + tap // 3 - 1 + dy, column * conv.stride + tap % 3 - 1 + dx)
                mask = masks[part, tap, row, column] if conv.modulated else 1.0
                weight = conv.weight[output, channel, tap // 3, tap % 3]
                y[0, output, row, column] += weight * mask * bilinear(x[0, channel], *at)
    return y


@torch.no_grad()
@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("deform_groups", [1, 2])
def test_slow_twin_reads_the_same_layout(modulated: bool, deform_groups: int) -> None:
    conv = DeformConv2d(
        4, 2, stride=2, modulated=modulated, deform_groups=deform_groups, offset_init="uniform"
    ).double()
    nn.init.normal_(conv.offset.weight, std=0.3)
    nn.init.normal_(conv.offset.bias, std=0.5)
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(conv(x), slow_twin(conv, x, deform_groups))


@pytest.mark.parametrize(
    ("modulated", "deform_groups", "extra"), [(False, 1, 162), (True, 1, 243), (True, 4, 4 * 243)]
)
def test_parameters_beyond_the_plain_convolution(modulated: bool, deform_groups: int, extra: int) -> None:
    conv = DeformConv2d(64, 32, modulated=modulated, deform_groups=deform_groups)
    assert sum(p.numel() for p in conv.parameters()) == 32 * 64 * 9 + extra * 64 + extra // 9
    assert set(conv.state_dict()) == {"weight", "offset.weight", "offset.bias"}
    assert "bias" in DeformConv2d(4, 4, bias=True).state_dict()


def test_uniform_offsets_move_the_taps_from_the_start() -> None:
    conv = DeformConv2d(16, 8, offset_init="uniform")
    bound = math.sqrt(3 / (16 * 9))  # Kaiming's, a = 1
    assert 0.9 * bound < conv.offset.weight.abs().max() <= bound and not conv.offset.bias.any()
    grouped = DeformConv2d(16, 8, groups=4).weight.abs().max()
    assert 0.9 / 12 < grouped <= 1 / 12  # 1 / √(16·9), not 1 / √(4·9)


def test_half_precision_is_close() -> None:
    conv = DeformConv2d(8, 4, bias=True, offset_init="uniform")
    x = torch.randn(2, 8, 6, 5)
    with torch.no_grad():
        exact = conv(x)
        with torch.autocast("cpu", torch.bfloat16):
            mixed, inside = conv(x), conv(x.bfloat16())
        pure = conv.bfloat16()(x.bfloat16())
    assert inside.dtype == pure.dtype == torch.bfloat16
    for y in (mixed, inside, pure):
        torch.testing.assert_close(y.float(), exact, rtol=0.05, atol=0.05)


def test_gradients_reach_weights_and_offsets_under_autocast() -> None:
    conv = DeformConv2d(4, 4, offset_init="uniform", bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = conv(torch.randn(2, 4, 6, 6)).float().square().mean()
    loss.backward()
    for name, parameter in conv.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.medium
def test_export_with_a_free_size_equals_eager() -> None:
    conv = DeformConv2d(4, 6, stride=2, offset_init="uniform").eval()
    free = {name: torch.export.Dim(name, min=3) for name in ("batch", "height", "width")}
    shape = {0: free["batch"], 2: free["height"], 3: free["width"]}
    program = torch.export.export(conv, (torch.randn(3, 4, 9, 8),), dynamic_shapes=(shape,))
    x = torch.randn(5, 4, 13, 6)
    torch.testing.assert_close(program.module()(x), conv(x))


def test_no_pictures() -> None:
    conv = DeformConv2d(4, 6, stride=2)
    y = conv(torch.zeros(0, 4, 9, 8))
    assert y.shape == (0, 6, 5, 4)
    y.sum().backward()
    assert not conv.weight.grad.any() and not conv.offset.weight.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 3}, "groups must divide 8 inputs and 6 outputs, got 3"),
        ({"deform_groups": 3}, "deform_groups must divide 8 inputs, got 3"),
        (
            {"offset_init": "zeros"},
            "offset_init must be one of 'zero', 'uniform', got 'zeros'; did you mean 'zero'",
        ),
    ],
)
def test_bad_options_are_explained(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeformConv2d(8, 6, **options)
