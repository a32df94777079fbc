"""MobileNetV2's body against torchvision's network with the same weights, and FCOS's numbers."""

import math

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2

from pagoda.backbones.mobilenet import MobileNetV2
from pagoda.layers.norm import FrozenBatchNorm2d


def test_parameters_and_entries_are_those_of_fcos() -> None:
    with torch.device("meta"):
        body = MobileNetV2()
    assert sum(p.numel() for p in body.parameters()) == 1_811_712
    assert len(body.state_dict()) == 306
    assert len(body.features) == 18


def test_equals_torchvision_with_the_same_weights() -> None:
    theirs = mobilenet_v2(weights=None).eval()
    for norm in theirs.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor.data.uniform_(0.5, 1.5)
    ours = MobileNetV2(levels=(2, 3, 4, 5)).eval()
    left = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not left.missing_keys
    assert all(name.startswith(("features.18.", "classifier.")) for name in left.unexpected_keys)
    x = torch.randn(2, 3, 97, 75)
    with torch.no_grad():
        pyramid = ours(x)
        ends = []
        for index, layer in enumerate(theirs.features):
            x = layer(x)
            if index in (3, 6, 13, 17):
                ends.append(x)
        for mine, end in zip(pyramid.values(), ends, strict=True):
            assert torch.equal(mine, end)


def test_levels_and_what_they_cost() -> None:
    with torch.device("meta"):
        assert MobileNetV2(levels=(5, 3, 2, 4)).channels == {2: 24, 3: 32, 4: 96, 5: 320}
        assert len(MobileNetV2(levels=(3, 2)).features) == 7


def test_convolutions_start_with_the_variance_of_their_outputs() -> None:
    convs = [m for m in MobileNetV2().modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 4000]
    assert len(convs) == 33
    for conv in convs:
        wanted = math.sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels))
        assert conv.weight.std().item() == pytest.approx(wanted, rel=0.05), conv


def test_norms_start_as_the_identity() -> None:
    norms = [m for m in MobileNetV2().modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 51
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


def test_norm_can_be_fixed_or_shared() -> None:
    with torch.device("meta"):
        frozen = MobileNetV2(norm="frozen")
        shared = MobileNetV2(norm="sync")
    assert sum(isinstance(m, FrozenBatchNorm2d) for m in frozen.modules()) == 51
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in shared.modules()) == 51


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": (1, 2)}, r"levels must be some of 2, 3, 4, 5 .* got \(1, 2\)"),
        ({"levels": ()}, r"levels must be some of 2, 3, 4, 5 .* got \(\)"),
        ({"levels": (3,), "frozen_stages": 4}, "0 … 3, got 4"),
        ({"norm": "group"}, "widths do not divide into 32 groups"),
        ({"norm": "batsch"}, "norm must be one of .* got 'batsch'; did you mean 'batch'"),
    ],
)
def test_bad_options_are_explained(options: dict, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        MobileNetV2(**options)
