"""PAFPN against its formula."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, relu

from pagoda.necks.fpn import FPN
from pagoda.necks.pafpn import PAFPN

CHANNELS = {3: 8, 4: 16, 5: 24}


@pytest.mark.parametrize("extra_from", ["P5", "C5", "max_pool"])
def test_pafpn_equals_its_formula(extra_from: str) -> None:
    neck = PAFPN(CHANNELS, 12, extra_from=extra_from).eval()
    features = {
        level: torch.randn(1, c, -(-75 // 2**level), -(-113 // 2**level)) for level, c in CHANNELS.items()
    }
    weights = dict(neck.named_parameters())

    def layer(name: str, x: Tensor, **options: int) -> Tensor:
        return conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    merged = {level: layer(f"lateral.{level}", x) for level, x in features.items()}
    for level in (4, 3):
        merged[level] = merged[level] + interpolate(merged[level + 1], merged[level].shape[-2:])
    smooth = {level: layer(f"output.{level}", x, padding=1) for level, x in merged.items()}
    wanted = {3: smooth[3]}
    climbed = smooth[3]
    for level in (4, 5):
        climbed = smooth[level] + layer(f"up.{level}", climbed, stride=2, padding=1)
        wanted[level] = layer(f"climbed.{level}", climbed, padding=1)
    if extra_from == "max_pool":
        wanted[6] = wanted[5][:, :, ::2, ::2]
        wanted[7] = wanted[6][:, :, ::2, ::2]
    else:
        source = wanted[5] if extra_from == "P5" else features[5]
        wanted[6] = layer("extra.6", source, stride=2, padding=1)
        wanted[7] = layer("extra.7", relu(wanted[6]), stride=2, padding=1)
    pyramid = neck(features)
    assert list(pyramid) == [3, 4, 5, 6, 7]
    for level, x in wanted.items():
        torch.testing.assert_close(pyramid[level], x, rtol=1e-5, atol=1e-5)


def test_it_is_an_fpn_with_four_more_convolutions() -> None:
    def count(neck: FPN) -> int:
        return sum(p.numel() for p in neck.parameters())

    assert count(PAFPN(CHANNELS, 32)) - count(FPN(CHANNELS, 32)) == 4 * (9 * 32 * 32 + 32)


def test_fresh_weights_start_like_fpns() -> None:
    neck = PAFPN(CHANNELS, 64)
    for name in ("up", "climbed"):
        convolution = getattr(neck, name)["4"]
        assert convolution.weight.std().item() == pytest.approx((1 / (9 * 64)) ** 0.5, rel=0.05)
        assert (convolution.bias == 0).all()
