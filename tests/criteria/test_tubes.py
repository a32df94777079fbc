"""Losses over clips: worked numbers, plain loops, absent frames, and those of pictures when a clip has one frame."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss

from pagoda.criteria.masks_keypoints import KeypointCriterion
from pagoda.criteria.rcnn import RoICriterion
from pagoda.criteria.rpn import RPNCriterion
from pagoda.criteria.tubes import (
    DetectAndTrackCriterion,
    TubeCriterion,
    TubeKeypointCriterion,
    TubeRPNCriterion,
    TubeSample,
)
from pagoda.ops.anchors import AnchorShapes, grid_anchors
from pagoda.ops.assign import BACKGROUND, IGNORED
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.tubes import fill_absent, tube_iou
from pagoda.structures.outputs import Proposals, RPNOutputs
from pagoda.structures.tubes import TubeTargets

SIZE = (96, 128)
LEGACY = BoxCoder(inclusive=True)
ANCHORS, TUBES = BoxCoder(), BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))


def clip(boxes: torch.Tensor, visible: torch.Tensor | None = None, keypoints: int = 3) -> TubeTargets:
    """(N, T, 4) boxes with keypoints spread inside; all zeros where an object is not visible."""
    count, length = boxes.shape[:2]
    seen = torch.ones(count, length, dtype=torch.bool) if visible is None else visible
    places = boxes[:, :, None, :2] + torch.rand(count, length, keypoints, 2) * (
        boxes[:, :, None, 2:] - boxes[:, :, None, :2]
    )
    return TubeTargets(
        boxes * seen[..., None],
        torch.arange(count) % 2,
        seen,
        SIZE,
        torch.zeros(count, dtype=torch.bool),
        torch.arange(count),
        length // 2,
        places * seen[..., None, None],
        (2 * seen[..., None]).expand(-1, -1, keypoints).long(),
    )


def moving(num_frames: int, visible: torch.Tensor | None = None) -> TubeTargets:
    """Two objects that wander to the right."""
    first = torch.tensor([[10.0, 10, 45, 40], [60, 30, 110, 90]])
    step = torch.arange(num_frames)[:, None] * torch.tensor([3.0, 1, 3, 1])
    return clip(first[:, None] + step, visible)


HALF_SEEN = torch.tensor([[True, False, True], [True, True, False]])


def rpn_outputs(clips: int, num_frames: int) -> RPNOutputs:
    shapes = AnchorShapes(base_scale=8.0, octaves=1)
    anchors = tuple(
        grid_anchors(shapes.of_cell(2**level), (96 // 2**level, 128 // 2**level), 2**level)
        for level in (3, 4)
    )
    count = sum(map(len, anchors))
    deltas = torch.randn(clips, count, num_frames, 4, requires_grad=True)
    return RPNOutputs(torch.randn(clips, count), deltas, anchors)


def sizes(count: int) -> torch.Tensor:
    return torch.tensor([SIZE] * count)


def proposals_near(targets: list[TubeTargets], count: int = 60) -> Proposals:
    """Half of them around objects; the last is none."""
    length = targets[0].num_frames
    corner = torch.rand(len(targets), count, 1, 2) * torch.tensor([80.0, 60.0])
    boxes = torch.cat([corner, corner + 5 + torch.rand(len(targets), count, 1, 2) * 40], -1)
    boxes = boxes.expand(-1, -1, length, -1).clone()
    for index, target in enumerate(targets):
        if len(target):
            around = fill_absent(target.boxes, target.visible)[torch.arange(count // 2) % len(target)]
            boxes[index, : count // 2] = around + torch.rand(count // 2, length, 4) * torch.tensor(
                [2.0, 2, 6, 6]
            )
    valid = torch.ones(len(targets), count, dtype=torch.bool)
    valid[:, -1] = False
    return Proposals(boxes * valid[..., None, None], valid.float(), valid)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


# One frame: the losses of pictures


@pytest.mark.parametrize("over", ["visible", "all"])
@pytest.mark.parametrize("options", [{}, {"inclusive": True, "border": 0.0, "assign_inside_only": True,
                                          "box_normalizer": "image", "smooth_l1_beta": 1 / 9},
                                     {"box_loss": "giou", "normalizer": "budget"}])  # fmt: skip
def test_rpn_losses_of_one_frame_are_those_of_pictures(options: dict, over: str) -> None:
    targets = [moving(1), moving(1)[:0]]
    outputs = rpn_outputs(2, 1)
    found = TubeRPNCriterion(over=over, **options)(
        outputs, targets, sizes(2), coder=ANCHORS, generator=generator()
    )
    flat = outputs._replace(deltas=outputs.deltas[:, :, 0])
    expected = RPNCriterion(**options)(
        flat, [each.at(0) for each in targets], sizes(2), coder=ANCHORS, generator=generator()
    )
    assert found == expected


@pytest.mark.parametrize("mask_absent", [True, False])
@pytest.mark.parametrize("box_loss", ["smooth_l1", "giou"])
def test_region_losses_of_one_frame_are_those_of_pictures(box_loss: str, mask_absent: bool) -> None:
    targets = [moving(1), moving(1)[:0]]
    proposals = proposals_near(targets)
    options = {"inclusive": True, "count": 32, "box_loss": box_loss}
    tubes, regions = TubeCriterion(mask_absent=mask_absent, **options), RoICriterion(**options)
    sample = tubes.sample(proposals, targets, generator=generator())
    flat = proposals._replace(boxes=proposals.boxes[:, :, 0])
    pictures = [each.at(0) for each in targets]
    expected_sample = regions.sample(flat, pictures, generator=generator())
    assert torch.equal(sample.boxes[:, 0], expected_sample.boxes)
    assert torch.equal(sample.clips, expected_sample.images)
    assert torch.equal(sample.objects, expected_sample.objects)
    logits, deltas = torch.randn(len(sample.boxes), 3), torch.randn(len(sample.boxes), 2, 1, 4)
    found = tubes(logits, deltas, sample, targets, coder=LEGACY)
    expected = regions(logits, deltas[:, :, 0], expected_sample, pictures, coder=LEGACY)
    assert found == expected


@pytest.mark.parametrize("normalizer", ["visible", "budget"])
def test_keypoint_losses_of_one_frame_are_those_of_pictures(normalizer: str) -> None:
    target = moving(1)
    boxes, objects = target.boxes[[0, 1, 1]] + 4, torch.tensor([0, 1, 1])
    tubes, regions = TubeKeypointCriterion(normalizer=normalizer), KeypointCriterion(normalizer=normalizer)
    cells, counts = tubes.targets(target, boxes, objects, 14)
    flat_cells, flat_counts = regions.targets(target.at(0), boxes[:, 0], objects, 14)
    assert torch.equal(cells[:, 0], flat_cells) and torch.equal(counts[:, 0], flat_counts)
    logits = torch.randn(3, 1, 3, 14, 14)
    assert tubes(logits, cells, counts, 2) == regions(logits[:, 0], flat_cells, flat_counts, 2)


# Worked numbers


def test_published_oracle_of_the_rpn() -> None:
    anchor = torch.tensor([[10.0, 20, 50, 100]])
    person = torch.tensor([[[14.0, 26, 60, 120]] * 3])
    target = clip(person, torch.tensor([[True, False, True]]))
    far = torch.tensor([[90.0, 60, 110, 80]]).expand(255, 4)
    wanted = LEGACY.encode(person[:, 0], anchor)[0]
    deltas = torch.zeros(1, 256, 3, 4)
    deltas[0, 0] = wanted + 0.5
    criterion = TubeRPNCriterion(
        inclusive=True,
        smooth_l1_beta=1 / 9,
        box_normalizer="image",
        foreground_iou=0.5,
        positive_share=1.0,
    )
    outputs = RPNOutputs(torch.zeros(1, 256), deltas, (torch.cat([anchor, far]),))
    losses = criterion(outputs, [target], sizes(1), coder=LEGACY)
    assert float(losses["loss_rpn_box"]) == pytest.approx(0.00462963, abs=1e-8)
    assert float(losses["loss_objectness"]) == pytest.approx(math.log(2), abs=1e-6)


def test_smooth_l1_of_the_original() -> None:
    found = smooth_l1_loss(torch.tensor([0.05, 0.5]), torch.zeros(2), beta=1 / 9, reduction="none")
    assert found.tolist() == pytest.approx([0.01125, 0.444444], abs=1e-6)


def test_an_untrained_map_costs_the_logarithm_of_its_cells() -> None:
    seen = torch.rand(2, 3, 17) < 0.7
    loss = TubeKeypointCriterion()(torch.zeros(2, 3, 17, 56, 56), torch.zeros(2, 3, 17).long(), seen, 1)
    assert float(loss["loss_keypoint"]) == pytest.approx(8.050703, abs=1e-5)


def repeated(target: TubeTargets, times: int) -> TubeTargets:
    assert target.keypoints is not None and target.visibility is not None
    return replace(
        target,
        boxes=target.boxes.repeat(1, times, 1),
        visible=target.visible.repeat(1, times),
        keypoints=target.keypoints.repeat(1, times, 1, 1),
        visibility=target.visibility.repeat(1, times, 1),
    )


def all_losses(target: TubeTargets, times: int) -> dict[str, float]:
    """Of a clip of one frame, shown `times` over, by parts that say the same of every frame."""
    torch.manual_seed(3)
    outputs, proposals = rpn_outputs(1, 1), proposals_near([target])
    criterion = DetectAndTrackCriterion()
    logits, deltas = torch.randn(512, 3), torch.randn(512, 2, 1, 4)
    maps = torch.randn(512, 1, 3, 14, 14)
    target = repeated(target, times)
    outputs = outputs._replace(deltas=outputs.deltas.repeat(1, 1, times, 1))
    losses = criterion.rpn(outputs, [target], sizes(1), coder=ANCHORS, generator=generator())
    proposals = proposals._replace(boxes=proposals.boxes.repeat(1, 1, times, 1))
    sample = criterion.tubes.sample(proposals, [target], generator=generator())
    count = len(sample.boxes)
    more = deltas[:count].repeat(1, 1, times, 1)
    losses |= criterion.tubes(logits[:count], more, sample, [target], coder=TUBES)
    served = criterion.keypoints.sample(sample.positive(), [target])
    [(_, boxes, objects)] = list(served.of_pictures([target]))
    cells, counts = criterion.keypoints.targets(target, boxes, objects, 14)
    losses |= criterion.keypoints(maps[: len(boxes)].repeat(1, times, 1, 1, 1), cells, counts, 1)
    return {name: loss.item() for name, loss in losses.items()}


def test_the_same_frame_several_times_changes_no_loss() -> None:
    target = moving(1)
    once = all_losses(target, 1)
    assert len(once) == 5 and min(once.values()) > 0
    assert all_losses(target, 3) == pytest.approx(once, rel=1e-5)


# Plain loops


def test_rpn_losses_equal_a_loop() -> None:
    targets, outputs = [moving(3, HALF_SEEN), moving(3)[:0]], rpn_outputs(2, 3)
    criterion = TubeRPNCriterion(count=None, smooth_l1_beta=1 / 9, box_normalizer="image", foreground_iou=0.5)
    found = criterion(outputs, targets, sizes(2), coder=ANCHORS)
    anchors = torch.cat(outputs.anchors)
    objectness, boxes, count = 0.0, 0.0, 0
    for image, target in enumerate(targets):
        mine, sum_of_boxes = 0, 0.0
        for row, index in enumerate(criterion.assign(anchors, target, torch.tensor(SIZE)).tolist()):
            if index == IGNORED:
                continue
            mine += 1
            objectness += binary_cross_entropy_with_logits(
                outputs.logits[image, row], torch.tensor(float(index >= 0))
            )
            for frame in range(3 if index >= 0 else 0):
                if target.visible[index, frame]:
                    wanted = ANCHORS.encode(target.boxes[index, frame], anchors[row])
                    said = outputs.deltas[image, row, frame]
                    sum_of_boxes += smooth_l1_loss(said, wanted, beta=1 / 9, reduction="sum") / 3
        count, boxes = count + mine, boxes + sum_of_boxes / mine / 2
    assert boxes.item() > 0
    torch.testing.assert_close(found["loss_objectness"], objectness / count)
    torch.testing.assert_close(found["loss_rpn_box"], boxes)


@pytest.mark.parametrize("boxes_per_tube", [2, 1])
@pytest.mark.parametrize("mask_absent", [True, False])
def test_region_losses_equal_a_loop(mask_absent: bool, boxes_per_tube: int) -> None:
    targets = [moving(3, HALF_SEEN), moving(3)[:0], moving(3)]
    criterion = TubeCriterion(count=40, smooth_l1_beta=1.0, mask_absent=mask_absent, inclusive=True)
    coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0), inclusive=True)
    sample = criterion.sample(proposals_near(targets), targets)
    total = len(sample.boxes)
    logits, deltas = torch.randn(total, 3), torch.randn(total, boxes_per_tube, 3, 4)
    found = criterion(logits, deltas, sample, targets, coder=coder)
    classes, boxes = 0.0, 0.0
    for row, (index, of_clip) in enumerate(zip(sample.objects.tolist(), sample.clips.tolist(), strict=True)):
        target = targets[of_clip]
        label = int(target.labels[index]) if index >= 0 else 2
        classes += cross_entropy(logits[row], torch.tensor(label))
        for frame in range(3 if index >= 0 else 0):
            if target.visible[index, frame] or not mask_absent:
                wanted = coder.encode(target.boxes[index, frame], sample.boxes[row, frame])
                said = deltas[row, label if boxes_per_tube > 1 else 0, frame]
                boxes += smooth_l1_loss(said, wanted, beta=1.0, reduction="sum") / 3
    assert float(boxes) > 0
    torch.testing.assert_close(found["loss_class"], classes / total)
    torch.testing.assert_close(found["loss_box"], boxes / total)


# Absent frames


def test_rpn_deltas_of_absent_frames_have_no_gradient() -> None:
    target, outputs = moving(3, HALF_SEEN), rpn_outputs(1, 3)
    criterion = TubeRPNCriterion(count=None)
    criterion(outputs, [target], sizes(1), coder=ANCHORS)["loss_rpn_box"].backward()
    index = criterion.assign(torch.cat(outputs.anchors), target, torch.tensor(SIZE))
    gradient = outputs.deltas.grad
    assert gradient is not None and (index >= 0).any()
    moved = (gradient[0] != 0).any(-1)  # (P, T)
    assert torch.equal(moved, (index >= 0)[:, None] & target.visible[index.clamp(min=0)])


@pytest.mark.parametrize("mask_absent", [True, False])
def test_box_deltas_of_absent_frames_have_a_gradient_in_the_original_only(mask_absent: bool) -> None:
    target = moving(3, HALF_SEEN)
    criterion = TubeCriterion(mask_absent=mask_absent)
    sample = criterion.sample(proposals_near([target]), [target])
    deltas = torch.randn(len(sample.boxes), 2, 3, 4, requires_grad=True)
    logits = torch.randn(len(sample.boxes), 3)
    criterion(logits, deltas, sample, [target], coder=LEGACY)["loss_box"].backward()
    gradient = deltas.grad
    assert gradient is not None and torch.isfinite(gradient).all()
    moved = (gradient != 0).any(-1).any(1)  # (R, T)
    served = (sample.objects >= 0)[:, None]
    absent = ~target.visible[sample.objects.clamp(min=0)]
    assert torch.equal(moved, served & ~absent if mask_absent else served.expand(-1, 3))


def test_what_the_original_teaches_of_an_absent_frame() -> None:
    coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0), inclusive=True)
    target = clip(torch.tensor([[[10.0, 20, 50, 100]] * 2]), torch.tensor([[True, False]]))
    sample = TubeSample(
        torch.tensor([[[10.0, 20, 50, 100]] * 2]), torch.zeros(1).long(), torch.zeros(1).long()
    )
    criterion = TubeCriterion(mask_absent=False)
    loss = criterion(torch.zeros(1, 3), torch.zeros(1, 1, 2, 4), sample, [target], coder=coder)["loss_box"]
    wanted = coder.encode(torch.zeros(1, 4), sample.boxes[:, 0])
    assert wanted[0, 2:].tolist() == pytest.approx([-18.6, -22.0], abs=0.05)
    torch.testing.assert_close(loss, wanted.abs().sum() / 2)


def test_empty_boxes_need_legacy_coding() -> None:
    with pytest.raises(ValueError, match="only a coder of legacy boxes can encode"):
        TubeCriterion(mask_absent=False).check_coder(TUBES)
    TubeCriterion(mask_absent=False).check_coder(LEGACY)
    TubeCriterion(mask_absent=True).check_coder(TUBES)


def test_keypoints_that_are_not_known_change_nothing() -> None:
    target = moving(3, HALF_SEEN)
    assert target.keypoints is not None
    elsewhere = target.keypoints.clone()
    elsewhere[~target.visible] = 33.0
    boxes, objects, criterion = moving(3).boxes, torch.arange(2), TubeKeypointCriterion()
    logits = torch.randn(2, 3, 3, 14, 14)
    losses = [
        criterion(logits, *criterion.targets(each, boxes, objects, 14), 1)["loss_keypoint"]
        for each in (target, replace(target, keypoints=elsewhere))
    ]
    assert torch.equal(*losses)
    _, counts = criterion.targets(target, boxes, objects, 14)
    assert torch.equal(counts, target.visible[..., None].expand(-1, -1, 3))


def test_an_object_seen_once_can_be_learnt_unless_all_frames_count() -> None:
    target = moving(3, torch.tensor([[True, False, False], [True, True, True]]))
    anchors = target.boxes[:, 0]
    index = TubeRPNCriterion().assign(anchors, target, torch.tensor(SIZE))
    assert index.tolist() == [0, 1]
    of_all = TubeRPNCriterion(over="all", match_low_quality="none")
    assert of_all.assign(anchors, target, torch.tensor(SIZE)).tolist() == [IGNORED, 1]  # 1 / 3 of the first
    legacy = TubeRPNCriterion(over="all", inclusive=True).overlaps(anchors, target)
    torch.testing.assert_close(
        legacy, tube_iou(anchors[:, None].expand(-1, 3, -1), target.boxes, inclusive=True)
    )


def test_annotated_tubes_stay_where_they_were_last_seen() -> None:
    target = moving(3, torch.tensor([[True, False, True], [False, False, False]]))
    none = Proposals(torch.zeros(1, 1, 3, 4), torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.bool))
    sample = TubeCriterion().sample(none, [target])
    assert sample.objects.tolist() == [0], "an object that is nowhere visible is no region"
    assert torch.equal(sample.boxes[0], target.boxes[0, [0, 0, 2]])
    original = TubeCriterion(fill_absent=False, over="all", min_iou=0.6).sample(none, [target])
    assert torch.equal(original.boxes[0], target.boxes[0]) and original.objects.tolist() == [0]
    assert TubeCriterion(append_objects=False).sample(none, [target]).boxes.shape == (0, 3, 4)


# Which tubes the keypoint head sees


def keypoint_sample(**options) -> list[tuple[int, int]]:
    """(clip, object) of the chosen tubes. The first clip's first object comes into sight in the second frame."""
    first = moving(3, torch.tensor([[False, True, True], [True, True, True]]))
    third = moving(3, torch.tensor([[False, True, True], [False, False, True]]))
    targets = [first, moving(3)[:0], third]
    tubes = torch.cat([first.boxes, third.boxes])
    tubes[1] = 1.0  # far from its keypoints
    sample = TubeSample(tubes, torch.tensor([0, 0, 2, 2]), torch.tensor([0, 1, 0, 1]))
    chosen = TubeKeypointCriterion(**options).sample(sample, targets)
    return list(zip(chosen.clips.tolist(), chosen.objects.tolist(), strict=True))


def test_tubes_without_a_keypoint_inside_are_spared() -> None:
    assert keypoint_sample() == [(0, 0), (2, 0), (2, 1)]
    assert len(keypoint_sample(count=1)) == 2
    assert keypoint_sample(seen_in="first_frame") == []
    assert keypoint_sample(seen_in="first_frame", or_objects=True) == [(0, 0), (0, 1), (2, 0), (2, 1)]


def test_the_first_box_may_decide_for_all_frames() -> None:
    target = moving(3)
    assert target.visibility is not None
    later = target.visibility.clone()
    later[:, 0] = 0  # known in the later frames only, and hardly moved
    sample = TubeSample(target.boxes, torch.zeros(2).long(), torch.arange(2))
    chosen = TubeKeypointCriterion(seen_in="first_frame").sample(sample, [replace(target, visibility=later)])
    assert chosen.objects.tolist() == [0, 1]


def test_targets_without_keypoints() -> None:
    target = replace(moving(3), keypoints=None, visibility=None, file="street/7.jpg")
    sample = TubeSample(target.boxes, torch.zeros(2).long(), torch.arange(2))
    with pytest.raises(ValueError, match=r"the targets of street/7.jpg have none"):
        TubeKeypointCriterion().sample(sample, [target])


# Nothing there


def test_no_objects_lose_no_boxes() -> None:
    target, outputs = moving(3)[:0], rpn_outputs(1, 3)
    criterion = DetectAndTrackCriterion()
    losses = criterion.rpn(outputs, [target], sizes(1), coder=ANCHORS)
    assert losses["loss_rpn_box"].item() == 0.0 and losses["loss_objectness"].item() > 0
    sample = criterion.tubes.sample(proposals_near([target]), [target])
    assert (sample.objects == BACKGROUND).all() and len(sample.boxes) == 59
    losses = criterion.tubes(torch.randn(59, 3), torch.randn(59, 2, 3, 4), sample, [target], coder=TUBES)
    assert float(losses["loss_box"]) == 0.0
    served = criterion.keypoints.sample(sample.positive(), [target])
    assert served.boxes.shape == (0, 3, 4)
    none = torch.zeros(0, 3, 3, dtype=torch.long)
    loss = criterion.keypoints(torch.zeros(0, 3, 3, 14, 14), none, none.bool(), 1)["loss_keypoint"]
    assert float(loss) == 0.0


def test_no_regions_lose_nothing() -> None:
    none = Proposals(torch.zeros(1, 3, 3, 4), torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    target, criterion = moving(3)[:0], TubeCriterion()
    sample = criterion.sample(none, [target])
    losses = criterion(torch.zeros(0, 3), torch.zeros(0, 2, 3, 4), sample, [target], coder=TUBES)
    assert {name: float(loss) for name, loss in losses.items()} == {"loss_class": 0.0, "loss_box": 0.0}
