"""Gaussian soft-NMS against the algorithm as it is written down."""

import math

import pytest
import torch
from torch import Tensor, tensor

from pagoda.ops.boxes import paired_iou
from pagoda.ops.nms import nms_survivors, soft_nms

# The second overlaps half of the first, the third touches neither.
BOXES = tensor([[0.0, 0, 30, 10], [10, 0, 40, 10], [100, 100, 110, 110]])
SCORES = tensor([0.9, 0.8, 0.7])


def test_overlap_of_one_half() -> None:
    scores, rows = soft_nms(BOXES[None], SCORES[None], torch.zeros(1, 3, dtype=torch.long), max_count=3)
    assert rows.tolist() == [[0, 2, 1]]
    torch.testing.assert_close(scores, tensor([[0.9, 0.7, 0.8 * math.exp(-0.5)]]))
    assert scores[0, 2].item() == pytest.approx(0.4852, abs=1e-4)


def test_hard_suppression_keeps_an_overlap_of_exactly_one_half() -> None:
    assert nms_survivors(BOXES, SCORES, torch.zeros(3, dtype=torch.long), max_iou=0.5).all()


def test_other_groups_are_left_alone() -> None:
    scores, rows = soft_nms(BOXES[None], SCORES[None], tensor([[0, 1, 2]]), max_count=3)
    assert rows.tolist() == [[0, 1, 2]]
    assert torch.equal(scores[0], SCORES)


def soften_slowly(boxes: Tensor, scores: Tensor, groups: Tensor, sigma: float) -> list[tuple[float, int]]:
    left = {n: score for n, score in enumerate(scores.tolist())}
    picked = []
    while left:
        best = max(left, key=lambda n: left[n])
        picked.append((left.pop(best), best))
        for n in left:
            if groups[n] == groups[best]:
                overlap = paired_iou(boxes[n : n + 1], boxes[best : best + 1]).item()
                left[n] *= math.exp(-(overlap**2) / sigma)
    return picked


@pytest.mark.parametrize("sigma", [0.25, 0.5])
def test_it_equals_the_plain_loop(sigma: float) -> None:
    corner = torch.rand(3, 40, 2) * 30
    boxes = torch.cat([corner, corner + 5 + torch.rand(3, 40, 2) * 20], -1)
    scores, groups = torch.rand(3, 40), torch.randint(2, (3, 40))
    soft, rows = soft_nms(boxes, scores, groups, sigma=sigma, max_count=25)
    for image in range(3):
        expected = soften_slowly(boxes[image], scores[image], groups[image], sigma)[:25]
        assert rows[image].tolist() == [row for _, row in expected]
        torch.testing.assert_close(soft[image], tensor([score for score, _ in expected]))


def test_rows_run_out_with_negative_scores() -> None:
    scores, _ = soft_nms(
        BOXES[None], tensor([[0.9, -1.0, 0.7]]), torch.zeros(1, 3, dtype=torch.long), max_count=5
    )
    torch.testing.assert_close(scores[0, :2], tensor([0.9, 0.7]))
    assert (scores[0, 2:] < 0).all()


def test_boxes_without_area_cost_nothing() -> None:
    boxes = tensor([[[5.0, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]]])
    scores, _ = soft_nms(boxes, SCORES[None], torch.zeros(1, 3, dtype=torch.long), max_count=3)
    assert torch.equal(scores[0], SCORES)
