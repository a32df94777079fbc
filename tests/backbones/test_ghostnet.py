"""GhostNet against the published counts and timm's network with the same weights."""

import pytest
import timm
import torch
from torch import nn

from pagoda.backbones.ghostnet import GhostNet, SqueezeExcite

pytestmark = pytest.mark.medium


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def stir_norms(module: nn.Module) -> None:
    """Fresh norms do nothing, and would hide a wrong one."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            for tensor in (each.weight, each.bias, each.running_mean, each.running_var):
                tensor.data.uniform_(0.5, 1.5)


@pytest.mark.parametrize(
    ("version", "width", "parameters"),
    [
        (1, 0.5, 2_587_292),
        (1, 1.0, 5_182_508),
        (1, 1.1, 5_855_650),
        (1, 1.3, 7_358_820),
        (2, 1.0, 6_156_908),
        (2, 1.3, 8_960_404),
        (2, 1.6, 12_392_698),
    ],
)
def test_parameters_are_the_published(version: int, width: float, parameters: int) -> None:
    with torch.device("meta"):
        assert count(GhostNet(width, version=version, classes=1000)) == parameters


def test_parameters_block_by_block() -> None:
    with torch.device("meta"):
        whole, body = GhostNet(classes=1000), GhostNet()
    blocks = [464, 2_564, 2_352, 9_636, 13_672, 22_920, 533_476, 362_840, 1_567_520, 155_520]
    assert [count(block) for block in whole.blocks] == blocks
    assert count(whole.conv_stem) + count(whole.bn1) == 464
    assert count(whole.conv_head) + count(whole.classifier) == 2_511_080
    assert count(body) == 2_515_908


def test_only_four_convolutions_are_five_wide() -> None:
    """Stride-1 rows of the table name kernel 5, but have no convolution that could use it."""
    with torch.device("meta"):
        body = GhostNet()
    wide = [name for name, m in body.named_modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (5, 5)]
    assert wide == [f"blocks.{block}.0.{part}" for block in (3, 7) for part in ("conv_dw", "shortcut.0")]


def test_squeeze_widths() -> None:
    with torch.device("meta"):
        body = GhostNet()
    hidden = [m.conv_reduce.out_channels for m in body.modules() if isinstance(m, SqueezeExcite)]
    assert hidden == [20, 32, 120, 168, 168, 240, 240]


@pytest.mark.parametrize(
    ("version", "name"), [(1, "ghostnet_100"), (2, "ghostnetv2_100"), (1, "ghostnet_050")]
)
def test_equals_timm_with_the_same_weights(version: int, name: str) -> None:
    theirs = timm.create_model(name).eval()
    stir_norms(theirs)
    width = 0.5 if name.endswith("050") else 1.0
    ours = GhostNet(width, version=version, levels=(2, 3, 4, 5), classes=1000).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    pictures = torch.randn(2, 3, 97, 75)
    with torch.no_grad():
        assert torch.equal(ours.classify(pictures), theirs(pictures))
        x = theirs.act1(theirs.bn1(theirs.conv_stem(pictures)))
        ends = []
        for index, block in enumerate(theirs.blocks):
            x = block(x)
            if index in (2, 4, 6, 8):
                ends.append(x)
        for mine, end in zip(ours(pictures).values(), ends, strict=True):
            assert torch.equal(mine, end)


def test_levels_are_the_ends_of_their_strides() -> None:
    with torch.device("meta"):
        assert GhostNet(levels=(5, 2, 4, 3)).channels == {2: 24, 3: 40, 4: 112, 5: 160}
        assert list(GhostNet(levels=(4, 3)).channels) == [3, 4]


def test_blocks_beyond_the_last_level_are_not_built_but_for_a_classifier() -> None:
    with torch.device("meta"):
        assert len(GhostNet(levels=(2, 3)).blocks) == 5
        assert len(GhostNet(levels=(2, 3), classes=10).blocks) == 10


def test_the_body_is_the_classifier_without_its_tail() -> None:
    whole, body = GhostNet(0.5, classes=7).eval(), GhostNet(0.5).eval()
    left = body.load_state_dict(whole.state_dict(), strict=False)
    assert not left.missing_keys
    assert {name.split(".")[0] for name in left.unexpected_keys} == {"blocks", "conv_head", "classifier"}
    assert all(name.startswith(("blocks.9.", "conv_head", "classifier")) for name in left.unexpected_keys)
    pictures = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for level, x in body(pictures).items():
            assert torch.equal(x, whole(pictures)[level])


def test_dropout_acts_in_training_alone() -> None:
    model = GhostNet(0.5, classes=5).eval()
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.classify(pictures), model.classify(pictures))
        assert model.classify(pictures).shape == (2, 5)
        for norm in model.train().modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eval()
        assert not torch.equal(model.classify(pictures), model.classify(pictures))


def test_classifying_needs_a_classifier() -> None:
    with pytest.raises(RuntimeError, match="built without a classifier; build it with classes=…"):
        GhostNet(0.5).classify(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "GhostNet width must be positive, got 0"),
        ({"version": 3}, "GhostNet version must be 1 or 2, got 3"),
        ({"levels": (1, 2)}, r"levels must be some of 2, 3, 4, 5 .* got \(1, 2\)"),
        ({"levels": ()}, r"levels must be some of 2, 3, 4, 5 .* got \(\)"),
        ({"levels": (3,), "frozen_stages": 4}, "0 … 3, got 4"),
    ],
)
def test_bad_options_are_explained(options: dict, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        GhostNet(**options)
