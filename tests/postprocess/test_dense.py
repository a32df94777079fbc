"""Selection against a plain sort of all pairs, and its fixed-size form against its ragged one."""

import pytest
import torch
from torch import Tensor, tensor

from pagoda.ops.boxes import ltrb_to_boxes
from pagoda.postprocess.dense import SelectDetections
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs

COUNTS, NUM_CLASSES = (40, 12, 3), 4
SIZES = tensor([[60, 80], [50, 70]])
CHOICES = [
    {},
    {"combine": "product"},
    {"threshold_on": "score"},
    {"max_candidates": 7},
    {"min_score": 0.0, "max_candidates": 1000},
    {"min_score": 0.9},
    {"inclusive": True},
]


def outputs(has_quality: bool = True) -> DenseOutputs:
    total = sum(COUNTS)
    points = torch.rand(total, 2) * tensor([80.0, 60.0])
    quality = torch.randn(2, total) if has_quality else None
    logits = torch.randn(2, total, NUM_CLASSES) * 2 - 1
    return DenseOutputs(logits, torch.rand(2, total, 4) * 20, quality, points.split(COUNTS))


def decode(ltrb: Tensor, points: Tensor) -> Tensor:
    return ltrb_to_boxes(points, ltrb)


def plain_scores(select: SelectDetections, out: DenseOutputs, image: int, level: int) -> list[float]:
    """Slow twin: every pair of a level that passes the threshold, best first, cut."""
    start = sum(COUNTS[:level])
    scores = []
    for location in range(start, start + COUNTS[level]):
        for label in range(NUM_CLASSES):
            probability = out.class_logits[image, location, label].sigmoid()
            score = probability
            if out.quality_logits is not None:
                score = probability * out.quality_logits[image, location].sigmoid()
                score = score.sqrt() if select.combine == "root" else score
            judged = probability if select.threshold_on == "class" else score
            if judged > select.min_score:
                scores.append(score.item())
    return sorted(scores, reverse=True)[: select.max_candidates]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("has_quality", [True, False])
def test_candidates_are_the_best_of_all_pairs(choice, has_quality):
    select, out = SelectDetections(**choice), outputs(has_quality)
    found = select.candidates(out, SIZES, decode)
    for image in range(2):
        expected = [s for level in range(3) for s in plain_scores(select, out, image, level)]
        real = found.scores[image] > 0
        torch.testing.assert_close(found.scores[image][real].sort().values, tensor(expected).sort().values)


def test_candidates_carry_the_box_and_class_of_their_score():
    select, out = SelectDetections(min_score=0.0, max_candidates=50), outputs()
    found = select.candidates(out, tensor([[10**6, 10**6]] * 2), decode)
    boxes = decode(out.box_outputs, torch.cat(out.priors).expand(2, -1, -1)).clamp(min=0)
    scores = (out.class_logits.sigmoid() * out.quality_logits.sigmoid()[..., None]).sqrt()
    for image, rank in ((0, 0), (0, 60), (1, 5), (1, -1)):
        location = int((boxes[image] - found.boxes[image, rank]).abs().sum(1).argmin())
        assert torch.equal(boxes[image, location], found.boxes[image, rank])
        torch.testing.assert_close(
            scores[image, location, found.labels[image, rank]], found.scores[image, rank]
        )


@pytest.mark.parametrize("choice", [*CHOICES, {"max_detections": 5}], ids=str)
def test_fixed_size_equals_ragged(choice):
    select, out = SelectDetections(**choice), outputs()
    images = ImageBatch(torch.zeros(2, 3, 64, 96), SIZES)
    fixed = select(out, SIZES, decode)
    for image, found in enumerate(select.detect(out, images, decode, LabelMap.numbered(NUM_CLASSES))):
        count = len(found)
        assert (fixed.scores[image] > 0).sum() == count and found.image_size == tuple(SIZES[image].tolist())
        for ours, theirs in zip(fixed, (found.boxes, found.scores, found.labels), strict=True):
            assert torch.equal(ours[image, :count], theirs)
        assert (fixed.labels[image, count:] == -1).all() and (fixed.boxes[image, count:] == 0).all()


def test_a_score_of_exactly_the_limit_and_equal_classes() -> None:
    """bubbliiiing: torch.max takes the first of equal classes, and ≥ keeps what equals the limit."""
    logits = tensor([[[0.0, -1.0, 0.0], [-1.0, 30.0, 40.0], [-0.1, -2.0, -3.0]]])  # 30 and 40 are both 1.0
    priors = (tensor([[10.0, 10.0], [40.0, 40.0], [70.0, 10.0]]),)
    out = DenseOutputs(logits, torch.full((1, 3, 4), 5.0), None, priors)
    images = ImageBatch(torch.zeros(1, 3, 60, 80), tensor([[60, 80]]))
    for keep_equal, wanted in ((True, [(1.0, 1), (0.5, 0)]), (False, [(1.0, 1)])):
        select = SelectDetections(min_score=0.5, best_class_only=True, keep_equal=keep_equal)
        found = select.detect(out, images, decode, LabelMap.numbered(3))[0]
        assert list(zip(found.scores.tolist(), found.labels.tolist(), strict=True)) == wanted
        fixed = select(out, tensor([[60, 80]]), decode)
        assert fixed.labels[0].tolist()[: len(wanted)] == [label for _, label in wanted]
        assert int((fixed.scores > 0).sum()) == len(wanted)
    from pagoda.zoo.flavours.retinanet import RETINANET_FLAVOURS

    assert RETINANET_FLAVOURS["bubbliiiing"].postprocess.keep_equal
