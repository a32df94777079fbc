"""Overlaps against worked numbers, plain loops and torchvision; conversions against their inverses."""

import numpy as np
import pytest
import torch
import torchvision.ops as tv
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from pagoda.ops.boxes import (
    box_areas,
    boxes_to_ltrb,
    clip_boxes,
    ltrb_to_boxes,
    paired_diou,
    paired_giou,
    paired_iou,
    pairwise_iou,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

SQUARE = tensor([0.0, 0.0, 10.0, 10.0])
#                  other box          IoU        GIoU        DIoU        legacy IoU
WORKED = [
    ((0, 0, 10, 10), 1.0, 1.0, 1.0, 1.0),  # itself
    ((5, 5, 15, 15), 0.14285715, -0.07936507, 0.03174604, 0.17475729),  # a corner in common
    ((20, 20, 30, 30), 0.0, -0.77777779, -0.44444445, 0.0),  # apart
    ((10, 0, 20, 10), 0.0, 0.0, -0.2, 0.04761905),  # touching: legacy pixels share a column
    ((2, 2, 8, 8), 0.36, 0.36, 0.36, 0.40495867),  # inside
]


def random_boxes(count: int, seed: int = 0, extent: float = 100.0) -> torch.Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * extent
    return torch.cat([corners.amin(1), corners.amax(1)], dim=1)


def plain_iou(a: list[float], b: list[float], extra: int) -> float:
    """Slow twin: one pair, no tensors."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + extra)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + extra)
    area_a = (a[2] - a[0] + extra) * (a[3] - a[1] + extra)
    area_b = (b[2] - b[0] + extra) * (b[3] - b[1] + extra)
    return width * height / (area_a + area_b - width * height)


@pytest.mark.parametrize(("other", "iou", "giou", "diou", "legacy"), WORKED)
def test_worked_overlaps(other, iou, giou, diou, legacy):
    a, b = SQUARE[None], tensor([other], dtype=torch.float32)
    assert paired_iou(a, b).item() == pytest.approx(iou, abs=1e-6)
    assert paired_giou(a, b).item() == pytest.approx(giou, abs=1e-6)
    assert paired_diou(a, b).item() == pytest.approx(diou, abs=1e-6)
    assert paired_iou(a, b, inclusive=True).item() == pytest.approx(legacy, abs=1e-6)


@pytest.mark.parametrize("inclusive", [False, True])
def test_pairwise_equals_the_plain_loop(inclusive):
    a, b = random_boxes(7, seed=1), random_boxes(5, seed=2)
    expected = tensor([[plain_iou(x, y, int(inclusive)) for y in b.tolist()] for x in a.tolist()])
    torch.testing.assert_close(pairwise_iou(a, b, inclusive=inclusive), expected)
    torch.testing.assert_close(paired_iou(a[:5], b, inclusive=inclusive), expected[:5].diagonal())


def test_overlaps_equal_torchvision():
    a, b = random_boxes(20, seed=3), random_boxes(20, seed=4)
    torch.testing.assert_close(pairwise_iou(a, b), tv.box_iou(a, b))
    torch.testing.assert_close(paired_giou(a, b), tv.generalized_box_iou(a, b).diagonal())
    torch.testing.assert_close(paired_diou(a, b), tv.distance_box_iou(a, b).diagonal())


@given(seed=st.integers(0, 10_000))
def test_bounds_and_symmetry(seed):
    a, b = random_boxes(6, seed), random_boxes(6, seed + 1)
    iou = paired_iou(a, b)
    assert ((iou >= 0) & (iou <= 1 + 1e-6)).all()
    assert (paired_giou(a, b) <= iou + 1e-6).all() and (paired_giou(a, b) >= -1).all()
    assert (paired_diou(a, b) <= iou + 1e-6).all() and (paired_diou(a, b) >= -1).all()
    torch.testing.assert_close(pairwise_iou(a, b), pairwise_iou(b, a).T)
    torch.testing.assert_close(paired_iou(a + 17, b + 17), iou, atol=1e-5, rtol=1e-4)


def test_points_have_no_overlap_and_no_nan():
    point = tensor([[3.0, 3.0, 3.0, 3.0]])
    for overlap in (paired_iou, paired_giou, paired_diou):
        assert torch.isfinite(overlap(point, point)).all()
    assert pairwise_iou(point, point).item() == 0
    assert box_areas(point, inclusive=True).item() == 1


def test_empty_in_empty_out():
    none = torch.zeros(0, 4)
    assert pairwise_iou(none, SQUARE[None]).shape == (0, 1)
    assert pairwise_iou(SQUARE[None], none).shape == (1, 0)
    assert paired_giou(none, none).shape == (0,)
    assert clip_boxes(none, (10, 10)).shape == (0, 4)
    assert xywh_to_xyxy(none).shape == (0, 4)


@given(seed=st.integers(0, 10_000))
def test_conversions_invert_each_other(seed):
    boxes = random_boxes(8, seed)
    points = torch.rand(8, 2) * 100
    torch.testing.assert_close(xywh_to_xyxy(xyxy_to_xywh(boxes)), boxes)
    torch.testing.assert_close(
        ltrb_to_boxes(points, boxes_to_ltrb(points, boxes)), boxes, atol=1e-4, rtol=1e-5
    )
    inside = boxes_to_ltrb(points, boxes).amin(1) > 0
    expected = (points > boxes[:, :2]).all(1) & (points < boxes[:, 2:]).all(1)
    assert torch.equal(inside, expected)


def test_conversions_by_hand():
    assert xyxy_to_xywh(tensor([[1.0, 2.0, 4.0, 8.0]])).tolist() == [[1, 2, 3, 6]]
    corners = np.array([[1.0, 2.0, 4.0, 8.0]])
    assert xyxy_to_xywh(corners).tolist() == [[1, 2, 3, 6]]
    assert np.array_equal(xywh_to_xyxy(xyxy_to_xywh(corners)), corners)
    assert boxes_to_ltrb(tensor([[5.0, 5.0]]), tensor([[1.0, 2.0, 4.0, 8.0]])).tolist() == [[4, 3, -1, 3]]
    assert box_areas(tensor([[0.0, 0.0, 9.0, 4.0]])).item() == 36


def test_clipping_knows_height_from_width_and_the_legacy_border():
    boxes = tensor([[-5.0, -5.0, 500.0, 500.0], [10.0, 20.0, 30.0, 40.0]])
    assert clip_boxes(boxes, (200, 300)).tolist() == [[0, 0, 300, 200], [10, 20, 30, 40]]
    assert clip_boxes(boxes, (200, 300), inclusive=True).tolist() == [[0, 0, 299, 199], [10, 20, 30, 40]]
    each = clip_boxes(boxes[:1].expand(2, 4), tensor([[100, 50], [20, 10]]))
    assert each.tolist() == [[0, 0, 50, 100], [0, 0, 10, 20]]


@pytest.mark.parametrize(
    ("box", "inclusive", "everywhere", "outer"),
    [
        ([-9, 5, -3, 20], False, [0, 5, 0, 10], [0, 5, -3, 10]),
        ([30, -8, 44, -2], False, [20, 0, 20, 0], [30, 0, 20, -2]),
        ([30, 12, 44, 15], True, [19, 9, 19, 9], [30, 12, 19, 9]),
        ([-1, -1, 25, 15], False, [0, 0, 20, 10], [0, 0, 20, 10]),
        ([3, 4, 5, 6], True, [3, 4, 5, 6], [3, 4, 5, 6]),
    ],
)
def test_which_borders_stop_which_sides(box, inclusive, everywhere, outer):
    box = tensor([box], dtype=torch.float32)
    assert clip_boxes(box, (10, 20), inclusive=inclusive).tolist() == [everywhere]
    assert clip_boxes(box, (10, 20), inclusive=inclusive, rule="outer_sides").tolist() == [outer]


def test_a_wrong_shape_is_named():
    with pytest.raises(Exception, match="pairwise_iou"):
        pairwise_iou(torch.zeros(3, 5), torch.zeros(2, 4))
