"""The best of all levels together, suppressed hard or softly."""

import pytest
import torch
from torch import Tensor, tensor
from torchvision.ops import batched_nms, nms

from pagoda.ops.nms import nms_survivors
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs
from pagoda.zoo.flavours.efficientdet import EFFICIENTDET_FLAVOURS

SIZES = tensor([[60, 80], [50, 70]])
IMAGES = ImageBatch(torch.zeros(2, 3, 64, 96), SIZES)
LABELS = LabelMap.numbered(3)


def move(deltas: Tensor, priors: Tensor) -> Tensor:
    return priors + deltas


def outputs_of(*counts: int) -> DenseOutputs:
    corners = [torch.rand(count, 2) * 60 for count in counts]
    priors = tuple(torch.cat([corner, corner + 10 + torch.rand_like(corner) * 20], 1) for corner in corners)
    return DenseOutputs(2 * torch.randn(2, sum(counts), 3), torch.randn(2, sum(counts), 4), None, priors)


def test_candidates_are_the_best_pairs_wherever_they_are() -> None:
    outputs = outputs_of(40, 20, 5)
    select = SelectFromAllLevels(min_score=0.0, max_candidates=30)
    found = select.candidates(outputs, SIZES, move)
    probability = outputs.class_logits.sigmoid().flatten(1)
    torch.testing.assert_close(found.scores, probability.sort(dim=1, descending=True).values[:, :30])
    # All levels may speak; the plain selection would take 30 of each.
    rows = probability.topk(30).indices // 3
    boxes = move(outputs.box_outputs, torch.cat(outputs.priors))
    for image, (height, width) in enumerate(SIZES.tolist()):
        wanted = boxes[image, rows[image]]
        wanted = torch.stack(
            [wanted[:, side].clamp(0, limit) for side, limit in enumerate([width, height] * 2)], 1
        )
        torch.testing.assert_close(found.boxes[image], wanted)


def test_more_candidates_than_there_are() -> None:
    found = SelectFromAllLevels(min_score=0.0).candidates(outputs_of(4, 1), SIZES, move)
    assert found.scores.shape == (2, 15)


def test_hard_suppression_is_per_class_at_one_half() -> None:
    outputs = outputs_of(60, 20)
    select = SelectFromAllLevels(min_score=0.1, max_detections=None)
    candidates = select.candidates(outputs, SIZES, move)
    for image, found in enumerate(select.detect(outputs, IMAGES, move, LABELS)):
        boxes, scores, labels = (part[image][candidates.scores[image] > 0] for part in candidates[:3])
        kept = nms_survivors(boxes, scores, labels, max_iou=0.5)
        torch.testing.assert_close(found.scores, scores[kept].sort(descending=True).values)
        assert kept.sum() < len(kept)


def test_soft_suppression_only_lowers_scores() -> None:
    outputs = outputs_of(60, 20)
    every = SelectFromAllLevels(min_score=0.001, max_detections=None, suppression="soft")
    candidates = every.candidates(outputs, SIZES, move)
    for image, found in enumerate(every.detect(outputs, IMAGES, move, LABELS)):
        assert found.scores[0] == candidates.scores[image].max()
        assert (found.scores.diff() <= 0).all() and (found.scores > 0.001).all()
        assert len(found) > 100 and found.image_size == tuple(SIZES[image].tolist())
        assert (found.scores.sort().values <= candidates.scores[image][: len(found)].sort().values).all()


def test_what_falls_below_the_floor_is_gone() -> None:
    boxes = tensor([[0.0, 0, 40, 40], [0, 0, 40, 39], [50, 0, 60, 10]])
    scores = tensor([0.9, 0.3, 0.25])
    outputs = DenseOutputs(scores.logit()[None, :, None], torch.zeros(1, 3, 4), None, (boxes[:2], boxes[2:]))
    images = ImageBatch(torch.zeros(1, 3, 64, 64), tensor([[64, 64]]))
    soft = SelectFromAllLevels(min_score=0.2, suppression="soft", max_detections=10)
    (found,) = soft.detect(outputs, images, move, LabelMap.numbered(1))
    torch.testing.assert_close(found.scores, tensor([0.9, 0.25]))
    fixed = soft(outputs, images.sizes, move)
    assert fixed.scores.shape == (1, 10) and fixed.labels[0].tolist() == [0, 0] + [-1] * 8
    assert (fixed.boxes[0, 2:] == 0).all() and (fixed.scores[0, 2:] == 0).all()


@pytest.mark.parametrize("suppression", ["hard", "soft"])
def test_nothing_found_is_an_empty_answer(suppression: str) -> None:
    select = SelectFromAllLevels(min_score=0.9999, suppression=suppression)
    for found in select.detect(outputs_of(10, 5), IMAGES, move, LABELS):
        assert len(found) == 0 and found.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"suppression": "soft", "clip": "after"},
            'needs clip="before" and order="score", got clip=\'after\'',
        ),
        ({"suppression": "soft", "order": "location"}, "and order='location'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelectFromAllLevels(**options)


def pair_of(labels: list[int]) -> DenseOutputs:
    """Two boxes of IoU one half, the better one first."""
    priors = tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    logits = torch.full((1, 2, 2), -20.0)
    logits[0, 0, labels[0]], logits[0, 1, labels[1]] = 2.0, 1.0
    return DenseOutputs(logits, torch.zeros(1, 2, 4), None, (priors[:1], priors[1:]))


SMALL = ImageBatch(torch.zeros(1, 3, 16, 16), tensor([[10, 10]]))


@pytest.mark.parametrize("suppression", ["hard", "soft"])
def test_classes_suppress_each_other_only_if_asked(suppression: str) -> None:
    for across, count in ((False, 2), (True, 1)):
        select = SelectFromAllLevels(
            suppression=suppression, min_score=0.5, max_iou=0.4, across_classes=across
        )
        (found,) = select.detect(pair_of([0, 1]), SMALL, move, LabelMap.numbered(2))
        fixed = select(pair_of([0, 1]), SMALL.sizes, move)
        assert len(found) == count and int((fixed.scores > 0).sum()) == count
        assert len(select.detect(pair_of([0, 0]), SMALL, move, LabelMap.numbered(2))[0]) == 1


def test_another_bar_after_soft_suppression() -> None:
    select = SelectFromAllLevels(suppression="soft", min_score=0.5, soft_min_score=0.1, max_detections=5)
    (found,) = select.detect(pair_of([0, 0]), SMALL, move, LabelMap.numbered(2))
    decayed = tensor(1.0).sigmoid() * torch.exp(tensor(-0.25 / 0.5))
    torch.testing.assert_close(found.scores, torch.stack([tensor(2.0).sigmoid(), decayed]))
    assert decayed < 0.5


def test_levels_may_stay_apart_and_pictures_end_at_their_last_pixel() -> None:
    outputs = outputs_of(40, 20, 5)
    apart = SelectFromAllLevels(min_score=0.0, max_candidates=10, levels_apart=True)
    assert apart.candidates(outputs, SIZES, move).scores.shape == (2, 30)
    (found,) = SelectFromAllLevels(last_pixel=True).detect(pair_of([0, 1]), SMALL, move, LabelMap.numbered(2))
    assert found.boxes.tolist() == [[0, 0, 9, 9], [0, 0, 9, 5]]


def clipped_at_the_outer_side(boxes: Tensor, height: int, width: int) -> Tensor:
    """As zylo117's and toandaominh1997's ClipBoxes write it: each column at one border."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1.clamp(min=0), y1.clamp(min=0), x2.clamp(max=width), y2.clamp(max=height)], -1)


@pytest.mark.parametrize("flavour", ["zylo117", "toandaominh"])
def test_boxes_outside_the_picture_stay_there_as_in_the_originals(flavour: str) -> None:
    torch.manual_seed(3)
    select, outputs = EFFICIENTDET_FLAVOURS[flavour].postprocess, outputs_of(60, 30, 10)
    outputs = outputs._replace(box_outputs=outputs.box_outputs + 60 * torch.randn(2, 100, 1))
    found = select.detect(outputs, IMAGES, move, LABELS)
    exported = select(outputs, SIZES, move)
    outside = 0
    for image, (height, width) in enumerate(SIZES.tolist()):
        last = int(flavour == "zylo117")
        boxes = move(outputs.box_outputs[image], torch.cat(outputs.priors))
        boxes = clipped_at_the_outer_side(boxes, height - last, width - last)
        scores, labels = outputs.class_logits[image].sigmoid().max(1)
        over = scores > select.min_score
        boxes, scores, labels = boxes[over], scores[over], labels[over]
        kept = batched_nms(boxes, scores, labels, 0.5) if last else nms(boxes, scores, 0.5)
        torch.testing.assert_close(found[image].boxes, boxes[kept])
        assert torch.equal(found[image].scores, scores[kept]) and torch.equal(
            found[image].labels, labels[kept]
        )
        torch.testing.assert_close(exported.boxes[image, : len(kept)], boxes[kept])
        assert not exported.scores[image, len(kept) :].any()
        outside += int((boxes[kept, 2:] < boxes[kept, :2]).any(1).sum())
    assert outside > 10  # the case is there


def test_a_worked_box_beyond_the_border() -> None:
    outputs = DenseOutputs(
        tensor([[[3.0, -9.0, -9.0]]]), torch.zeros(1, 1, 4), None, (tensor([[176.6, 5.0, 190.0, 20.0]]),)
    )
    images = ImageBatch(torch.zeros(1, 3, 128, 128), tensor([[128, 128]]))
    ends = {
        "zylo117": [176.6, 5.0, 127.0, 20.0],
        "toandaominh": [176.6, 5.0, 128.0, 20.0],
        "effdet": [128, 5, 128, 20],
    }
    for flavour, wanted in ends.items():
        found = EFFICIENTDET_FLAVOURS[flavour].postprocess.detect(outputs, images, move, LABELS)
        torch.testing.assert_close(found[0].boxes[0], tensor(wanted, dtype=torch.float32))
