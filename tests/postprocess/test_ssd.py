"""SSD's selection: a strict threshold, the best of each class, the cut over a picture, three ways to end boxes."""

from itertools import product

import pytest
import torch
from torch import Tensor

from pagoda.ops.boxes import clip_boxes, pairwise_iou
from pagoda.postprocess.ssd import SelectSSD
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs

SIZE = (60, 80)
CLASSES = 3


def take_priors(deltas: Tensor, priors: Tensor) -> Tensor:
    return priors


def outputs(seed: int = 0, counts: tuple[int, ...] = (30, 10)) -> DenseOutputs:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(sum(counts), 2, generator=generator) * torch.tensor([70.0, 50.0]) - 5
    sides = 5 + torch.rand(sum(counts), 2, generator=generator) * 40
    priors = torch.cat([low, low + sides], dim=1)
    logits = 2 * torch.randn(1, sum(counts), CLASSES + 1, generator=generator)
    return DenseOutputs(logits, torch.zeros(1, sum(counts), 4), None, priors.split(counts))


def by_hand(select: SelectSSD, said: DenseOutputs) -> list[tuple[float, int, list[float]]]:
    """(score, class, box), best first: loops over classes and boxes."""
    probability, found = said.class_logits[0].softmax(-1), []
    boxes = torch.cat(said.priors)
    boxes = clip_boxes(boxes, SIZE) if select.clip == "before" else boxes
    for label in range(CLASSES):  # the last column is the background
        pairs = [(float(p), row) for row, p in enumerate(probability[:, label]) if p > select.min_score]
        pairs = sorted(pairs, reverse=True)[: select.max_candidates]
        kept: list[int] = []
        for score, row in pairs:
            ious = [float(pairwise_iou(boxes[[row]], boxes[[other]])) for other in kept]
            if all(iou <= select.max_iou for iou in ious):
                kept.append(row)
                found.append((score, label, boxes[row]))
    found = sorted(found, key=lambda each: -each[0])[: select.max_detections]
    return [(s, c, (clip_boxes(b, SIZE) if select.clip == "after" else b).tolist()) for s, c, b in found]


@pytest.mark.parametrize(
    ("clip", "candidates", "detections"), product(("before", "after", "never"), (4, None), (7, None))
)
def test_slow_twin(clip: str, candidates: int | None, detections: int | None) -> None:
    select = SelectSSD(min_score=0.2, max_candidates=candidates, max_detections=detections, clip=clip)
    for seed in range(4):
        said = outputs(seed)
        wanted = by_hand(select, said)
        images = ImageBatch(torch.zeros(1, 3, *SIZE), torch.tensor([SIZE]))
        (found,) = select.detect(said, images, take_priors, LabelMap.numbered(CLASSES))
        fixed = select(said, images.sizes, take_priors)
        for scores, labels, boxes in (
            (found.scores, found.labels, found.boxes),
            tuple(part[0][fixed.scores[0] > 0] for part in (fixed.scores, fixed.labels, fixed.boxes)),
        ):
            assert labels.tolist() == [label for _, label, _ in wanted]
            assert scores.tolist() == pytest.approx([score for score, _, _ in wanted], abs=1e-6)
            torch.testing.assert_close(boxes, torch.tensor([box for _, _, box in wanted]))


def test_a_score_of_exactly_the_limit_is_not_enough() -> None:
    said = DenseOutputs(torch.zeros(1, 1, 2), torch.zeros(1, 1, 4), None, (torch.tensor([[0.0, 0, 9, 9]]),))
    sizes = torch.tensor([SIZE])
    assert (SelectSSD(min_score=0.5)(said, sizes, take_priors).scores == 0).all()
    assert (SelectSSD(min_score=0.499)(said, sizes, take_priors).scores == 0.5).all()


def test_the_best_pairs_of_each_level() -> None:
    """As in mmdetection: two levels of three pairs each."""
    said, select = outputs(1), SelectSSD(min_score=0.0, max_candidates=3, candidates_of="level", max_iou=1.0)
    found = select.candidates(said, torch.tensor([SIZE]), take_priors)
    probability, first = said.class_logits[0].softmax(-1)[:, :-1], 0
    for level, part in enumerate(probability.split([30, 10])):
        places = found.places[0][3 * level : 3 * level + 3]
        assert sorted((places - first * CLASSES).tolist()) == sorted(part.flatten().topk(3).indices.tolist())
        first += len(part)
    assert select.rivals(said, torch.tensor([0, 89, 90, 119])).tolist() == [0, 0, 1, 1]
    assert SelectSSD().rivals(said, torch.tensor([0, 1, 2, 3])).tolist() == [0, 1, 2, 0]


def test_places_and_pairs_count_classes_without_the_background() -> None:
    said, select = outputs(2), SelectSSD(min_score=0.1)
    found = select.candidates(said, torch.tensor([SIZE]), take_priors)
    pairs = select.pairs(said, torch.tensor([SIZE]), take_priors)
    real = found.scores[0] > 0
    flat = pairs.scores[0].flatten()
    torch.testing.assert_close(flat[found.places[0][real]], found.scores[0][real])
    assert pairs.passes[0].sum() == real.sum() and pairs.scores.shape[-1] == CLASSES
    boxes = pairs.boxes[0][found.places[0][real] // CLASSES]
    torch.testing.assert_close(boxes, found.boxes[0][real])


@pytest.mark.parametrize("option", [{"combine": "product"}, {"best_class_only": True}, {"rank_on": "class"}])
def test_what_speaks_of_sigmoids_is_refused(option: dict) -> None:
    with pytest.raises(ValueError, match="SSD's scores are a softmax: leave"):
        SelectSSD(**option)
