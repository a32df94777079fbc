"""What every neck promises. A new one adds a line to NECKS."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu

from pagoda.necks.bifpn import BiFPN
from pagoda.necks.extras import ExtraLevel, ExtraLevels
from pagoda.necks.fpn import FPN
from pagoda.necks.pafpn import PAFPN
from pagoda.necks.topology import panet_nodes, qufpn_nodes

pytestmark = pytest.mark.medium

CHANNELS = {3: 8, 4: 16, 5: 24}
NECKS: dict[str, Callable[[dict[int, int]], nn.Module]] = {
    "fpn": lambda channels: FPN(channels, 32),
    "fpn from C5": lambda channels: FPN(channels, 32, extra_from="C5"),
    "fpn to P6, max-pool": lambda channels: FPN(channels, 32, top_level=6, extra_from="max_pool"),
    "fpn without extras": lambda channels: FPN(channels, 32, top_level=5),
    "fpn with norm and ReLU": lambda channels: FPN(channels, 64, norm="group", relu_after=True),
    "pafpn": lambda channels: PAFPN(channels, 32),
    "pafpn with norm, from C5": lambda channels: PAFPN(channels, 32, extra_from="C5", norm="batch"),
    "bifpn": lambda channels: BiFPN(channels, 24),
    "bifpn as in TensorFlow": lambda channels: BiFPN(channels, 24, padding="same", conv_bias=True),
    "bifpn to P8, sums": lambda channels: BiFPN(channels, 24, top_level=8, fusion="sum", activation="relu6"),
    "bifpn, softmax per channel": lambda channels: BiFPN(
        channels, 24, fusion="channel_softmax", norm="group"
    ),
    "bifpn without extras": lambda channels: BiFPN(channels, 24, top_level=5),
    "extras": lambda channels: ExtraLevels(channels, [ExtraLevel(12, 6), ExtraLevel(10, 4)], norm="group"),
    "extras, separable": lambda channels: ExtraLevels(
        channels, [ExtraLevel(12, 6)], kind="separable", norm="batch", l2_levels=(3,)
    ),
    "panet": lambda channels: BiFPN(channels, 24, topology=panet_nodes),
    "qufpn": lambda channels: BiFPN(channels, 24, topology=qufpn_nodes),
}


def pyramid_of(
    size: tuple[int, int], channels: dict[int, int] = CHANNELS, images: int = 1
) -> dict[int, Tensor]:
    return {
        level: torch.randn(images, count, *(-(-side // 2**level) for side in size))
        for level, count in channels.items()
    }


@pytest.fixture(params=NECKS, ids=list(NECKS))
def neck(request: pytest.FixtureRequest) -> nn.Module:
    return NECKS[request.param](CHANNELS).eval()


@pytest.mark.parametrize("size", [(128, 128), (100, 41), (33, 250), (1, 1)])
def test_levels_channels_and_strides_are_as_promised(neck: nn.Module, size: tuple[int, int]) -> None:
    pyramid = neck(pyramid_of(size))
    assert list(pyramid) == sorted(neck.channels)
    for level, x in pyramid.items():
        wanted = tuple(-(-side // 2**level) for side in size)
        assert tuple(x.shape) == (1, neck.channels[level], *wanted)


def test_one_image_equals_a_batch(neck: nn.Module) -> None:
    features = pyramid_of((96, 64), images=2)
    together = neck(features)
    alone = neck({level: x[1:] for level, x in features.items()})
    for level, x in together.items():
        torch.testing.assert_close(alone[level], x[1:], rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_input_and_every_parameter(neck: nn.Module) -> None:
    features = {level: x.requires_grad_() for level, x in pyramid_of((128, 128)).items()}
    sum(x.square().sum() for x in neck(features).values()).backward()
    for tensor in (*features.values(), *neck.parameters()):
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() > 0


def test_inputs_are_not_changed(neck: nn.Module) -> None:
    features = pyramid_of((64, 64))
    before = {level: x.clone() for level, x in features.items()}
    neck(features)
    assert list(features) == list(before)
    assert all(torch.equal(features[level], before[level]) for level in before)


def upsampled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest neighbour, one pixel at a time."""
    height, width = size
    out = x.new_zeros(x.shape[0], x.shape[1], height, width)
    for row in range(height):
        for column in range(width):
            out[:, :, row, column] = x[:, :, row * x.shape[-2] // height, column * x.shape[-1] // width]
    return out


@pytest.mark.parametrize("extra_from", ["P5", "C5", "max_pool"])
def test_fpn_equals_its_formula(extra_from: str) -> None:
    neck = FPN(CHANNELS, 12, extra_from=extra_from).eval()
    features = pyramid_of((75, 113))  # odd everywhere: 10×15, 5×8, 3×4
    weights = dict(neck.named_parameters())

    def layer(name: str, x: Tensor, **options: int) -> Tensor:
        return conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    merged, wanted = {}, {}
    for level in (5, 4, 3):
        merged[level] = layer(f"lateral.{level}", features[level])
        if level < 5:
            merged[level] = merged[level] + upsampled(merged[level + 1], tuple(merged[level].shape[-2:]))
        wanted[level] = layer(f"output.{level}", merged[level], padding=1)
    if extra_from == "max_pool":
        wanted[6] = wanted[5][:, :, ::2, ::2]
        wanted[7] = wanted[6][:, :, ::2, ::2]
    else:
        wanted[6] = layer("extra.6", wanted[5] if extra_from == "P5" else features[5], stride=2, padding=1)
        wanted[7] = layer("extra.7", relu(wanted[6]), stride=2, padding=1)
    pyramid = neck(features)
    for level, x in wanted.items():
        torch.testing.assert_close(pyramid[level], x, rtol=1e-5, atol=1e-5)


def test_top_level_below_the_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="top_level must be at least the backbone's highest level 5, got 4"):
        FPN(CHANNELS, top_level=4)


def test_unknown_extra_source_is_refused() -> None:
    with pytest.raises(ValueError, match="extra_from must be one of 'P5', 'C5', 'max_pool', got 'p5'"):
        FPN(CHANNELS, extra_from="p5")


def test_levels_with_a_gap_are_refused() -> None:
    with pytest.raises(ValueError, match=r"neighbouring levels, got 3, 5"):
        FPN({3: 8, 5: 16})
