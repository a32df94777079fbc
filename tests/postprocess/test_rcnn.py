"""Proposals and objects: against loops that are obviously right, and where rules differ."""

import pytest
import torch

from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.boxes import pairwise_iou
from pagoda.postprocess.proposals import SelectProposals
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import Proposals, RoIOutputs, RPNOutputs

pytestmark = pytest.mark.medium

SIZES = torch.tensor([[60, 80], [40, 50]])
LABELS = LabelMap.from_names(["cat", "dog", "bird"])


def rpn_outputs() -> RPNOutputs:
    anchors = []
    for count in (40, 15):
        corner = torch.rand(count, 2) * torch.tensor([70.0, 50.0])
        anchors.append(torch.cat([corner, corner + 3 + torch.rand(count, 2) * 30], 1))
    return RPNOutputs(torch.randn(2, 55), torch.randn(2, 55, 4) * 0.2, tuple(anchors))


def slow_proposals(outputs: RPNOutputs, image: int, select: SelectProposals) -> torch.Tensor:
    """(n, 5) boxes and logits, best first."""
    found, first = [], 0
    height, width = SIZES[image].tolist()
    for anchors in outputs.anchors:
        rows = range(first, first + len(anchors))
        first += len(anchors)
        order = sorted(rows, key=lambda row: -float(outputs.logits[image, row]))[: select.max_candidates]
        kept: list[torch.Tensor] = []
        for row in order:
            box = BoxCoder().decode(outputs.deltas[image, row], anchors[row - first + len(anchors)])
            box = torch.stack([box[0].clamp(0, width), box[1].clamp(0, height),
                               box[2].clamp(0, width), box[3].clamp(0, height)])  # fmt: skip
            if min(box[2] - box[0], box[3] - box[1]) <= (select.min_side or 0):
                continue
            if all(pairwise_iou(box[None], other[None, :4]) <= select.max_iou for other in kept):
                kept.append(torch.cat([box, outputs.logits[image, row, None]]))
        found += kept[: select.max_per_level]
    return torch.stack(sorted(found, key=lambda row: -float(row[4]))[: select.max_proposals])


@pytest.mark.parametrize(
    "select",
    [
        SelectProposals(max_candidates=1000, max_proposals=1000),
        SelectProposals(max_candidates=20, max_proposals=12, max_iou=0.4),
        SelectProposals(max_candidates=30, max_per_level=5, max_iou=0.5, min_side=8.0),
    ],
)
def test_proposals_equal_a_loop(select: SelectProposals) -> None:
    outputs = rpn_outputs()
    found = select(outputs, SIZES, BoxCoder())
    for image in range(2):
        expected = slow_proposals(outputs, image, select)
        valid = found.valid[image]
        assert valid.sum() == len(expected) and valid[: len(expected)].all()
        torch.testing.assert_close(found.boxes[image, valid], expected[:, :4])
        torch.testing.assert_close(found.scores[image, valid], expected[:, 4])
        assert (found.boxes[image, ~valid] == 0).all() and (found.scores[image, ~valid] == 0).all()


def test_pictures_of_a_batch_may_compete() -> None:
    outputs = rpn_outputs()
    outputs = outputs._replace(logits=outputs.logits + torch.tensor([[0.0], [1.5]]))
    apart = SelectProposals(max_proposals=12)(outputs, SIZES, BoxCoder())
    together = SelectProposals(max_proposals=12, pool="batch")(outputs, SIZES, BoxCoder())
    assert apart.valid.sum(1).tolist() == [12, 12] and together.valid.sum() == 12
    assert together.valid[1].sum() > together.valid[0].sum() > 0
    least = apart.scores.flatten().sort(descending=True).values[11]
    assert (together.scores[together.valid] >= least).all()


def test_equal_probabilities_keep_the_order_of_logits_within_a_level() -> None:
    anchors = (torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]),)
    outputs = RPNOutputs(torch.tensor([[30.0, 50.0, 40.0]]), torch.zeros(1, 3, 4), anchors)
    select = SelectProposals(rank_on="probability", max_proposals=2)
    found = select(outputs, SIZES[:1], BoxCoder())
    assert found.boxes[0, :, 0].tolist() == [20.0, 40.0] and found.scores[0].tolist() == [1.0, 1.0]


def test_flat_regions_are_dropped_or_not() -> None:
    anchors = (torch.tensor([[90.0, 0, 99, 10], [20, 0, 30, 10]]),)  # the first lies beyond the picture
    outputs = RPNOutputs(torch.tensor([[3.0, 1.0]]), torch.zeros(1, 2, 4), anchors)
    assert SelectProposals()(outputs, SIZES[:1], BoxCoder()).valid.sum() == 1
    assert SelectProposals(min_side=None)(outputs, SIZES[:1], BoxCoder()).valid.sum() == 2


def region_outputs(count: int = 30, *, per_class: bool = True) -> RoIOutputs:
    corner = torch.rand(2, count, 2) * torch.tensor([40.0, 30.0])
    boxes = torch.cat([corner, corner + 3 + torch.rand(2, count, 2) * 20], -1)
    valid = torch.rand(2, count) < 0.8
    none = torch.zeros(2, 0)
    return RoIOutputs(
        torch.randn(2, count, 4) * 2,
        torch.randn(2, count, 3 if per_class else 1, 4) * 0.1,
        Proposals(boxes * valid[..., None], valid.float(), valid),
        torch.zeros(2, 0, 4),
        none,
        none.long(),
        None,
        None,
    )


def slow_objects(outputs: RoIOutputs, image: int, select: SelectRoIs) -> list[tuple]:
    """(score, label, box) best first."""
    height, width = SIZES[image].tolist()
    pairs = []
    for region in range(outputs.class_logits.shape[1]):
        probabilities = outputs.class_logits[image, region].softmax(0)
        for label in range(3):
            deltas = outputs.box_outputs[image, region]
            box = BoxCoder().decode(
                deltas[label if len(deltas) > 1 else 0], outputs.proposals.boxes[image, region]
            )
            box = torch.minimum(box.clamp(min=0), torch.tensor([width, height] * 2, dtype=torch.float32))
            if outputs.proposals.valid[image, region] and probabilities[label] > select.min_score:
                pairs.append((float(probabilities[label]), label, box))
    kept: list[tuple] = []
    for pair in sorted(pairs, key=lambda pair: -pair[0]):
        if all(
            pair[1] != other[1] or pairwise_iou(pair[2][None], other[2][None]) <= select.max_iou
            for other in kept
        ):
            kept.append(pair)
    return kept[: select.max_detections]


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("max_candidates", [None, 2000])
def test_objects_equal_a_loop(per_class: bool, max_candidates: int | None) -> None:
    outputs = region_outputs(per_class=per_class)
    select = SelectRoIs(min_score=0.2, max_candidates=max_candidates, max_detections=25)
    images = ImageBatch(torch.zeros(2, 3, 60, 80), SIZES)
    ragged = select.detect(outputs, images, BoxCoder().decode, LABELS)
    fixed = select(outputs, SIZES, BoxCoder().decode)
    for image, found in enumerate(ragged):
        expected = slow_objects(outputs, image, select)
        assert len(found) == len(expected) > 10
        torch.testing.assert_close(found.scores, torch.tensor([score for score, _, _ in expected]))
        assert found.labels.tolist() == [label for _, label, _ in expected]
        torch.testing.assert_close(found.boxes, torch.stack([box for _, _, box in expected]))
        torch.testing.assert_close(fixed.boxes[image, : len(found)], found.boxes)
        assert (fixed.labels[image, len(found) :] == -1).all()


def test_small_objects_may_be_dropped() -> None:
    outputs = region_outputs()
    images = ImageBatch(torch.zeros(2, 3, 60, 80), SIZES)
    every = SelectRoIs(max_candidates=None).detect(outputs, images, BoxCoder().decode, LABELS)
    large = SelectRoIs(max_candidates=None, min_side=12.0).detect(outputs, images, BoxCoder().decode, LABELS)
    assert 0 < len(large[0]) < len(every[0])
    assert all(((each.boxes[:, 2:] - each.boxes[:, :2]) >= 12).all() for each in large)


def test_legacy_objects_below_a_pixel_are_empty_not_inside_out() -> None:
    outputs = region_outputs()
    shrinking = outputs.box_outputs.clone()
    shrinking[..., 2] = -6.0  # widths of a few hundredths of a pixel: x2 = x1 + width - 1
    outputs, coder = outputs._replace(box_outputs=shrinking), BoxCoder(inclusive=True)
    select = SelectRoIs(min_score=0.2, inclusive=True, max_candidates=None)
    ragged = select.detect(outputs, ImageBatch(torch.zeros(2, 3, 60, 80), SIZES), coder.decode, LABELS)
    fixed = select(outputs, SIZES, coder.decode)
    for image, found in enumerate(ragged):
        assert len(found) and (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
        assert (found.boxes[:, 2] == found.boxes[:, 0]).any()
        assert torch.equal(fixed.boxes[image, : len(found)], found.boxes)


def test_keypoint_scores_are_probabilities_or_logits() -> None:
    maps, boxes = torch.randn(2, 5, 8, 8), torch.tensor([[0.0, 0, 30, 20], [5, 5, 9, 40]])
    places, shares = SelectRoIs().keypoints(maps, boxes)
    same, logits = SelectRoIs(keypoint_score="logit").keypoints(maps, boxes)
    assert torch.equal(places, same) and ((shares > 0) & (shares <= 1)).all()
    torch.testing.assert_close(shares, 1 / (maps - logits[..., None, None]).exp().sum((2, 3)))
