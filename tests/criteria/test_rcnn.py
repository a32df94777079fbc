"""Losses of both stages against plain loops; which regions learn what; empty pictures."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss

from pagoda.criteria.masks_keypoints import KeypointCriterion, MaskCriterion
from pagoda.criteria.rcnn import RoICriterion, RoISample
from pagoda.criteria.rpn import RPNCriterion
from pagoda.ops.anchors import AnchorShapes, grid_anchors
from pagoda.ops.assign import BACKGROUND, IGNORED
from pagoda.ops.box_coding import BoxCoder
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import Proposals, RPNOutputs

SIZE = (96, 128)
SHAPES = AnchorShapes(base_scale=8.0, octaves=1)
ANCHORS, REGIONS = BoxCoder(), BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))


def targets_of(*boxes: list[float]) -> Targets:
    count = len(boxes)
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(rows, torch.arange(count) % 3, SIZE, torch.zeros(count, dtype=torch.bool))


TWO = targets_of([10, 10, 45, 40], [60, 30, 120, 90])
NONE = Targets.empty(SIZE)


def rpn_outputs(images: int) -> RPNOutputs:
    anchors = tuple(
        grid_anchors(SHAPES.of_cell(2**level), (96 // 2**level, 128 // 2**level), 2**level)
        for level in (3, 4)
    )
    count = sum(len(each) for each in anchors)
    return RPNOutputs(torch.randn(images, count), torch.randn(images, count, 4) * 0.3, anchors)


def sizes(count: int) -> torch.Tensor:
    return torch.tensor([SIZE] * count)


def test_rpn_losses_equal_a_loop_over_anchors() -> None:
    outputs, targets = rpn_outputs(2), [TWO, NONE]
    criterion = RPNCriterion(count=None, smooth_l1_beta=1 / 9)
    found = criterion(outputs, targets, sizes(2), coder=ANCHORS)
    anchors = torch.cat(outputs.anchors)
    objectness, boxes, count = 0.0, 0.0, 0
    for image, target in enumerate(targets):
        for row, index in enumerate(criterion.assign(anchors, target, torch.tensor(SIZE)).tolist()):
            if index == IGNORED:
                continue
            count += 1
            wanted = torch.tensor(float(index >= 0))
            objectness += binary_cross_entropy_with_logits(outputs.logits[image, row], wanted)
            if index >= 0:
                deltas = ANCHORS.encode(target.boxes[index], anchors[row])
                boxes += smooth_l1_loss(outputs.deltas[image, row], deltas, beta=1 / 9, reduction="sum")
    torch.testing.assert_close(found["loss_objectness"], objectness / count)
    torch.testing.assert_close(found["loss_rpn_box"], boxes / count)


@pytest.mark.parametrize(
    ("normalizer", "divisor"), [("sampled", 40 + 64), ("budget", 2 * 64), ("image", None)]
)
def test_rpn_normalizers(normalizer: str, divisor: int | None) -> None:
    outputs = rpn_outputs(2)._replace(logits=torch.zeros(2, 768))
    outputs = RPNOutputs(
        outputs.logits[:, : len(torch.cat(outputs.anchors))], outputs.deltas, outputs.anchors
    )
    criterion = RPNCriterion(count=64, normalizer=normalizer)

    class Fewer(RPNCriterion):
        """The first picture has 40 anchors to learn, the second all."""

        def assign(self, anchors, target, size):
            index = torch.full((len(anchors),), BACKGROUND)
            return index if len(target) == 0 else index.masked_fill(torch.arange(len(anchors)) >= 40, IGNORED)

    criterion = Fewer(count=64, normalizer=normalizer)
    loss = criterion(outputs, [TWO, NONE], sizes(2), coder=ANCHORS)["loss_objectness"]
    expected = math.log(2) if divisor is None else math.log(2) * (40 + 64) / divisor
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_anchors_that_leave_the_picture() -> None:
    anchors = torch.tensor([[-5.0, 10, 30, 40], [10, 10, 45, 40], [0, 0, 128, 96], [60, 30, 127, 90]])
    size, target = torch.tensor(SIZE), targets_of([0.0, 10, 28, 40], [60, 30, 120, 90])
    everywhere = RPNCriterion().assign(anchors, target, size)
    assert everywhere[0] == 0 and everywhere[3] == 1
    inside = RPNCriterion(border=0.0).assign(anchors, target, size)
    # the third ends on the border, where it is no longer inside (x2 < width)
    assert inside.tolist() == [IGNORED, everywhere[1], IGNORED, 1]
    among = RPNCriterion(border=0.0, assign_inside_only=True).assign(anchors, target, size)
    assert among.tolist() == [IGNORED, 0, IGNORED, 1], "the best anchor that is left serves the object"


def test_budget_needs_a_count() -> None:
    with pytest.raises(ValueError, match='normalizer="budget" divides by count, which is None'):
        RPNCriterion(count=None, normalizer="budget")


def proposals_of(*boxes: list[list[float]]) -> Proposals:
    """One row of boxes per picture, padded with invalid ones."""
    most = max(map(len, boxes))
    rows = torch.zeros(len(boxes), most, 4)
    valid = torch.zeros(len(boxes), most, dtype=torch.bool)
    for image, each in enumerate(boxes):
        rows[image, : len(each)] = torch.tensor(each).reshape(-1, 4)
        valid[image, : len(each)] = True
    return Proposals(rows, valid.float(), valid)


def test_regions_serve_what_they_overlap_by_half() -> None:
    proposals = proposals_of([[10, 10, 45, 41], [0, 0, 20, 20], [60, 30, 119, 91]], [[5, 5, 9, 9]])
    sample = RoICriterion(count=None).sample(proposals, [TWO, NONE])
    assert sample.images.tolist() == [0, 0, 0, 0, 0, 1]  # three proposals, two objects; one proposal
    assert sample.objects.tolist() == [0, BACKGROUND, 1, 0, 1, BACKGROUND]
    without = RoICriterion(count=None, append_objects=False).sample(proposals, [TWO, NONE])
    assert without.objects.tolist() == [0, BACKGROUND, 1, BACKGROUND]
    assert without.positive().boxes.tolist() == [[10, 10, 45, 41], [60, 30, 119, 91]]


def test_samples_are_balanced() -> None:
    many = [[10.0, 10, 45, 40]] * 50 + [[0.0, 0, 5, 5]] * 100
    sample = RoICriterion(count=64).sample(proposals_of(many), [TWO])
    assert len(sample.boxes) == 64 and (sample.objects >= 0).sum() == 16


@pytest.mark.parametrize("boxes_per_region", [3, 1])
def test_region_losses_equal_a_loop_over_regions(boxes_per_region: int) -> None:
    proposals = proposals_of([[12, 8, 44, 41], [0, 0, 20, 20], [62, 30, 119, 91]], [[5, 5, 9, 9]])
    criterion = RoICriterion(count=None, smooth_l1_beta=0.5)
    sample = criterion.sample(proposals, [TWO, NONE])
    logits, deltas = torch.randn(6, 4), torch.randn(6, boxes_per_region, 4)
    found = criterion(logits, deltas, sample, [TWO, NONE], coder=REGIONS)
    classes, boxes = 0.0, 0.0
    for row, index in enumerate(sample.objects.tolist()):
        label = int(TWO.labels[index]) if index >= 0 else 3
        classes += cross_entropy(logits[row], torch.tensor(label))
        if index >= 0:
            wanted = REGIONS.encode(TWO.boxes[index], sample.boxes[row])
            said = deltas[row, label if boxes_per_region > 1 else 0]
            boxes += smooth_l1_loss(said, wanted, beta=0.5, reduction="sum")
    torch.testing.assert_close(found["loss_class"], classes / 6)
    torch.testing.assert_close(found["loss_box"], boxes / 6)


def test_giou_is_zero_for_the_right_boxes() -> None:
    criterion = RoICriterion(count=None, box_loss="giou")
    sample = criterion.sample(proposals_of([[12, 8, 44, 41]]), [TWO])
    served = sample.positive()
    deltas = REGIONS.encode(served.of_objects([TWO.boxes]), served.boxes)[:, None]
    loss = criterion(torch.zeros(3, 4), deltas, sample, [TWO], coder=REGIONS)["loss_box"]
    assert float(loss) == pytest.approx(0.0, abs=1e-5)


def test_no_objects_and_no_regions_lose_nothing() -> None:
    criterion = RoICriterion()
    none = Proposals(torch.zeros(1, 3, 4), torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    sample = criterion.sample(none, [NONE])
    losses = criterion(torch.zeros(0, 4), torch.zeros(0, 3, 4), sample, [NONE], coder=REGIONS)
    assert {name: float(loss) for name, loss in losses.items()} == {"loss_class": 0.0, "loss_box": 0.0}


def test_regions_are_grouped_by_picture() -> None:
    sample = RoISample(torch.rand(4, 4), torch.tensor([0, 2, 2, 0]), torch.tensor([1, 0, 0, 0]))
    groups = list(sample.of_pictures([TWO, NONE, TWO]))
    assert [(id(target), objects.tolist()) for target, _, objects in groups] == [
        (id(TWO), [1, 0]),
        (id(TWO), [0, 0]),
    ]
    picked = sample.of_objects([torch.tensor([10, 11]), torch.zeros(0, dtype=torch.long), torch.tensor([20])])
    assert picked.tolist() == [11, 20, 20, 10]


def test_objects_without_a_mask_teach_nothing() -> None:
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 10:40, 10:45] = True
    target = replace(TWO, masks=masks)
    criterion = MaskCriterion()
    wanted, counts = criterion.targets(target, TWO.boxes, torch.tensor([0, 1]), 14)
    assert counts.tolist() == [True, False] and wanted[0].all()
    logits = torch.randn(2, 14, 14)
    expected = binary_cross_entropy_with_logits(logits[0], torch.ones(14, 14))
    torch.testing.assert_close(criterion(logits, wanted, counts)["loss_mask"], expected)


@pytest.mark.parametrize(("kind", "word"), [(MaskCriterion, "masks"), (KeypointCriterion, "keypoints")])
def test_targets_that_lack_what_a_head_learns_from(kind: type, word: str) -> None:
    target = replace(TWO, file="street.jpg")
    with pytest.raises(ValueError, match=f"learns from {word}, but the targets of street.jpg have none"):
        kind().targets(target, TWO.boxes, torch.tensor([0, 1]), 14)


def test_keypoint_loss_counts_what_is_visible_and_inside() -> None:
    logits = torch.randn(2, 3, 8, 8)
    cells = torch.randint(64, (2, 3))
    counts = torch.tensor([[True, False, True], [False, False, True]])
    expected = cross_entropy(logits.flatten(2)[counts], cells[counts])
    criterion = KeypointCriterion()
    torch.testing.assert_close(criterion(logits, cells, counts, 2)["loss_keypoint"], expected)
    budget = KeypointCriterion(normalizer="budget", budget=4)(logits, cells, counts, 2)["loss_keypoint"]
    torch.testing.assert_close(budget, expected * 3 / (2 * 4 * 3))
    assert float(criterion(logits, cells, torch.zeros_like(counts), 2)["loss_keypoint"]) == 0.0


def test_an_untrained_map_costs_the_logarithm_of_its_cells() -> None:
    loss = KeypointCriterion()(
        torch.zeros(1, 17, 56, 56), torch.zeros(1, 17, dtype=torch.long), torch.ones(1, 17).bool(), 1
    )["loss_keypoint"]
    assert float(loss) == pytest.approx(8.0507, abs=1e-4)


def test_another_skeleton_than_the_head_s() -> None:
    cells = torch.zeros(1, 5, dtype=torch.long)
    with pytest.raises(ValueError, match="head predicts 17 keypoints, but the targets have 5"):
        KeypointCriterion()(torch.zeros(1, 17, 4, 4), cells, cells > 0, 1)
