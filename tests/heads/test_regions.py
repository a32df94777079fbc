"""The heads of two-stage detectors: shapes, whose rows are the background's, Caffe2's enlargement."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv_transpose2d

from pagoda.heads.roi_box import MANY_REGIONS, BoxHead, BoxTrunk, StageTrunk
from pagoda.heads.roi_keypoint import KeypointHead
from pagoda.heads.roi_mask import MaskHead
from pagoda.heads.rpn import RPNHead
from pagoda.ops.roi import RoIPooling

POOLING = RoIPooling()


def test_anchors_of_a_cell_stand_together() -> None:
    head = RPNHead({2: 8, 3: 8}, 3)
    pyramid = {3: torch.randn(2, 8, 2, 3), 2: torch.randn(2, 8, 4, 6)}
    logits, deltas = head(pyramid)
    assert logits.shape == (2, 3 * (24 + 6)) and deltas.shape == (2, 90, 4)
    x = head.tower(pyramid[2])
    assert torch.equal(logits[:, :72].reshape(2, 4, 6, 3).permute(0, 3, 1, 2), head.objectness(x))
    assert torch.equal(deltas[:, :72].reshape(2, 4, 6, 12).permute(0, 3, 1, 2), head.deltas(x))


def test_proposal_heads_want_one_width() -> None:
    with pytest.raises(ValueError, match=r"same channels on every level, got \{2: 8, 3: 16\}"):
        RPNHead({2: 8, 3: 16}, 3)


@pytest.mark.parametrize("background", ["first", "last"])
@pytest.mark.parametrize("background_box", [True, False])
@pytest.mark.parametrize("class_agnostic", [True, False])
def test_background_is_last_and_has_no_box(background, background_box, class_agnostic) -> None:
    head = BoxHead(
        BoxTrunk(4, 7, width=16),
        3,
        pooling=POOLING,
        background=background,
        background_box=background_box,
        class_agnostic=class_agnostic,
    )
    with torch.no_grad():  # every row says which it is
        head.classes.weight.zero_()
        head.classes.bias.copy_(torch.arange(4))
        head.deltas.weight.zero_()
        head.deltas.bias.copy_(torch.arange(len(head.deltas.bias)))
    logits, deltas = head(torch.randn(5, 4, 7, 7))
    assert logits.shape == (5, 4) and deltas.shape == (5, 1 if class_agnostic else 3, 4)
    assert logits[0].tolist() == ([1, 2, 3, 0] if background == "first" else [0, 1, 2, 3])
    first = 4 if background_box and background == "first" else 0
    assert deltas[0].flatten().tolist() == list(range(first, first + deltas[0].numel()))


def test_box_trunks() -> None:
    second = BoxTrunk(8, 7, conv_depth=4, fc_depth=1, width=32, norm="batch")
    assert second(torch.randn(3, 8, 7, 7)).shape == (3, 32) and second.outputs == 32
    assert [type(layer).__name__ for layer in list(second)[-3:]] == ["Flatten", "Linear", "ReLU"]
    assert second[0].bias is None
    stage = StageTrunk(nn.Conv2d(8, 12, 1, stride=2), 12)
    x = torch.randn(3, 8, 14, 14)
    torch.testing.assert_close(stage(x), stage.stage(x).mean((2, 3)))


@pytest.mark.parametrize("conv_depth", [0, 1])
def test_many_regions_say_what_few_say(conv_depth: int) -> None:
    """Many go through the first fully connected layer as through a convolution."""
    trunk = BoxTrunk(3, 7, conv_depth=conv_depth, width=16)
    pooled = torch.randn(MANY_REGIONS, 3, 7, 7).contiguous(memory_format=torch.channels_last)
    few, many = torch.cat([trunk(part) for part in pooled.split(100)]), trunk(pooled)
    torch.testing.assert_close(many, few)
    slopes = [torch.autograd.grad(each.square().sum(), list(trunk.parameters())) for each in (few, many)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("background_mask", [True, False])
def test_each_region_gets_the_mask_of_its_class(background_mask: bool) -> None:
    head = MaskHead(4, 3, pooling=POOLING, depth=2, width=8, background_mask=background_mask)
    pooled, labels = torch.randn(4, 4, 14, 14), torch.tensor([2, 0, -1, 1])
    found = head(pooled, labels)
    assert found.shape == (4, 28, 28)
    every = head.predict(torch.relu(head.enlarge(head.tower(pooled))))[:, int(background_mask) :]
    for row, label in enumerate([2, 0, 0, 1]):
        torch.testing.assert_close(found[row], every[row, label])


def test_one_mask_for_all_classes() -> None:
    head = MaskHead(4, 3, pooling=POOLING, depth=0, width=8, class_agnostic=True)
    pooled = torch.randn(2, 4, 7, 7)
    first, second = head(pooled, torch.tensor([0, 0])), head(pooled, torch.tensor([2, 1]))
    assert torch.equal(first, second) and first.shape == (2, 14, 14)


def test_keypoint_maps_are_four_times_as_fine() -> None:
    head = KeypointHead(4, 5, pooling=POOLING, depth=2, width=8)
    assert head(torch.randn(3, 4, 14, 14)).shape == (3, 5, 56, 56)
    assert head(torch.randn(0, 4, 14, 14)).shape == (0, 5, 56, 56)


def test_caffe2_s_enlargement_is_a_dense_kernel_with_zeros_beside_its_diagonal() -> None:
    head = KeypointHead(4, 3, pooling=POOLING, depth=1, width=8, upsampling="deconvolution")
    x = torch.randn(2, 4, 7, 7)
    maps = head.predict(head.tower(x))
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    kernel = torch.zeros(3, 3, 4, 4)
    for keypoint in range(3):
        kernel[keypoint, keypoint] = line[:, None] * line
    torch.testing.assert_close(head(x), conv_transpose2d(maps, kernel, stride=2, padding=1))
    ones = conv_transpose2d(torch.ones(1, 3, 4, 4), head.profile, stride=2, padding=1, groups=3)
    assert (
        float(ones[0, 0, 0, 0]) == 0.5625 and float(ones[0, 0, 0, 3]) == 0.75 and float(ones[0, 0, 3, 3]) == 1
    )
    assert "profile" not in head.state_dict()
