"""Assignment without an ignored band, where every object claims its best anchor."""

import pytest
import torch
from torch import tensor

from pagoda.ops.anchors import SQRT2_SHAPES, StretchedAnchors, stretch_anchors
from pagoda.ops.assign import BACKGROUND, assign_claim_best
from pagoda.ops.boxes import pairwise_iou


def anchors_of_d0() -> tuple[torch.Tensor, list[int]]:
    of_cell = StretchedAnchors(shapes=SQRT2_SHAPES).of_cell()
    levels = [stretch_anchors(of_cell, (512 // s, 512 // s), (512, 512)) for s in (8, 16, 32, 64, 128)]
    return torch.cat(levels), [len(level) for level in levels]


def test_two_objects_in_the_original() -> None:
    anchors, counts = anchors_of_d0()
    boxes = tensor([[60.0, 50, 300, 200], [10, 10, 25, 30]])
    index = assign_claim_best(anchors, boxes)
    assert [int((part >= 0).sum()) for part in index.split(counts)] == [1, 0, 28, 2, 0]
    assert (index == 1).nonzero().flatten().tolist() == [1153]


def assign_slowly(anchors: torch.Tensor, boxes: torch.Tensor, min_iou: float) -> list[int]:
    iou = pairwise_iou(anchors, boxes).tolist()
    result = []
    for row in iou:
        best = max(range(len(row)), key=lambda n: (row[n], -n))
        result.append(best if row[best] >= min_iou else BACKGROUND)
    for n in reversed(range(len(boxes))):
        best = max(range(len(anchors)), key=lambda p: (iou[p][n], -p))
        if iou[best][n] > 0:
            result[best] = n
    return result


@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize("min_iou", [0.3, 0.5])
def test_it_equals_the_plain_loops(count: int, min_iou: float) -> None:
    # Whole numbers, so that many overlaps tie.
    anchors = torch.randint(0, 12, (60, 2)).repeat(1, 2).float() + tensor([0.0, 0, 4, 4])
    corner = torch.randint(0, 14, (count, 2)).float()
    boxes = torch.cat([corner, corner + torch.randint(0, 6, (count, 2))], 1)
    assert assign_claim_best(anchors, boxes, min_iou=min_iou).tolist() == assign_slowly(
        anchors, boxes, min_iou
    )


def test_objects_without_overlap_claim_nothing() -> None:
    anchors = tensor([[0.0, 0, 4, 4], [4, 4, 8, 8]])
    boxes = tensor([[20.0, 20, 24, 24], [1, 1, 1, 1], [5, 5, 6, 6]])
    assert assign_claim_best(anchors, boxes).tolist() == [BACKGROUND, 2]


def test_the_first_of_two_alike_objects_wins() -> None:
    anchors = tensor([[0.0, 0, 4, 4], [40, 40, 44, 44]])
    assert assign_claim_best(anchors, tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]])).tolist() == [0, BACKGROUND]


def test_nothing_to_assign() -> None:
    anchors = tensor([[0.0, 0, 4, 4]])
    assert assign_claim_best(anchors, torch.zeros(0, 4)).tolist() == [BACKGROUND]
    assert assign_claim_best(anchors[:0], tensor([[0.0, 0, 1, 1]])).tolist() == []
