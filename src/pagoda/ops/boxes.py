"""Boxes as xyxy pixels: areas, overlaps, conversions, tiles. N objects, M the other set.

`inclusive=True` everywhere means the legacy convention of maskrcnn-benchmark and Caffe2: corners are
pixel indices, so a side measures x2 - x1 + 1. The default is continuous: x2 - x1.

xywh and xyxy become each other here alone, for tensors and for the arrays in which data are read and scored.
"""

from typing import Literal, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pagoda.plain import check_counts, checked

ClipRule = Literal["all_sides", "outer_sides"]
"""which borders of the picture stop which sides of a box: every side at both of its axis; or x1 and y1 at 0 alone,
x2 and y2 at the far end alone, so that a box wholly outside stays there and ends before it begins (zylo117,
toandaominh1997)"""


def box_areas(boxes: Float[Tensor, "*n 4"], *, inclusive: bool = False) -> Float[Tensor, "*n"]:
    """Areas of boxes, width times height; `inclusive` as above.

    >>> box_areas(torch.tensor([[0., 0., 9., 9.]]), inclusive=True)
    tensor([100.])
    """
    width_height = boxes[..., 2:] - boxes[..., :2] + int(inclusive)
    return width_height[..., 0] * width_height[..., 1]


def _overlap(
    a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"], inclusive: bool
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """Intersection and union of boxes that broadcast against each other."""
    top_left = torch.maximum(a[..., :2], b[..., :2])
    bottom_right = torch.minimum(a[..., 2:], b[..., 2:])
    sides = (bottom_right - top_left + int(inclusive)).clamp(min=0)
    inter = sides[..., 0] * sides[..., 1]
    return inter, box_areas(a, inclusive=inclusive) + box_areas(b, inclusive=inclusive) - inter


def pairwise_iou(
    a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"], *, inclusive: bool = False, union_eps: float = 0.0
) -> Float[Tensor, "n m"]:
    """IoU of every box of `a` with every box of `b`; 0 where both are empty. `union_eps` is added to unions.

    >>> left, right = torch.tensor([[0., 0., 2., 1.]]), torch.tensor([[1., 0., 3., 1.], [5., 0., 6., 1.]])
    >>> pairwise_iou(left, right)  # one of three pixels, none
    tensor([[0.3333, 0.0000]])
    """
    # Column by column: an (n, m, 4) intermediate costs six times the time.
    extra = int(inclusive)
    left, top, right, bottom = (
        pick(side_a[:, None], side_b[None])
        for pick, side_a, side_b in zip(
            (torch.maximum, torch.maximum, torch.minimum, torch.minimum),
            a.unbind(1),
            b.unbind(1),
            strict=True,
        )
    )
    inter = (right - left + extra).clamp(min=0) * (bottom - top + extra).clamp(min=0)
    union = box_areas(a, inclusive=inclusive)[:, None] + box_areas(b, inclusive=inclusive)[None] - inter
    union = union + union_eps if union_eps else union
    return inter / union.clamp(min=torch.finfo(a.dtype).tiny)


def paired_iou(
    a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"], *, inclusive: bool = False
) -> Float[Tensor, " n"]:
    """IoU of row i of `a` with row i of `b`.

    >>> paired_iou(torch.tensor([[0., 0., 2., 1.]]), torch.tensor([[1., 0., 3., 1.]]))
    tensor([0.3333])
    """
    inter, union = _overlap(a, b, inclusive)
    return inter / union.clamp(min=torch.finfo(a.dtype).tiny)


def paired_giou(
    a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"], *, eps: float = 1e-7
) -> Float[Tensor, " n"]:
    """Generalised IoU of rows (Rezatofighi 2019): IoU minus the empty share of the smallest enclosing box.

    `eps` is added to the divisors.

    >>> paired_giou(torch.tensor([[0., 0., 1., 1.]]), torch.tensor([[3., 0., 4., 1.]]))  # 0 − 2 of 4 pixels
    tensor([-0.5000])
    """
    inter, union = _overlap(a, b, False)
    sides = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0)
    enclosing = sides[..., 0] * sides[..., 1]
    return inter / (union + eps) - (enclosing - union) / (enclosing + eps)


def paired_diou(
    a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"], *, eps: float = 1e-7
) -> Float[Tensor, " n"]:
    """Distance IoU of rows (Zheng 2020): IoU minus (centre distance / enclosing diagonal)².

    `eps` is added to the divisors.

    >>> paired_diou(torch.tensor([[0., 0., 1., 3.]]), torch.tensor([[3., 0., 4., 3.]]))  # 0 − (3 / 5)²
    tensor([-0.3600])
    """
    inter, union = _overlap(a, b, False)
    sides = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0)
    centers = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    return inter / (union + eps) - centers.square().sum(-1) / (sides.square().sum(-1) + eps)


def boxes_to_ltrb(points: Float[Tensor, "*n 2"], boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Distances from each point to the left, top, right and bottom sides; negative when outside.

    >>> boxes_to_ltrb(torch.tensor([[10., 10.]]), torch.tensor([[9., 8., 13., 14.]]))
    tensor([[1., 2., 3., 4.]])
    """
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def ltrb_to_boxes(points: Float[Tensor, "*n 2"], ltrb: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Boxes around points, from the distances to the left, top, right and bottom sides.

    >>> ltrb_to_boxes(torch.tensor([[10., 10.]]), torch.tensor([[1., 2., 3., 4.]]))
    tensor([[ 9.,  8., 13., 14.]])
    """
    return torch.cat([points - ltrb[..., :2], points + ltrb[..., 2:]], dim=-1)


@overload
def xywh_to_xyxy(boxes_xywh: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]: ...
@overload
def xywh_to_xyxy(boxes_xywh: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]: ...
def xywh_to_xyxy(
    boxes_xywh: Float[Tensor, "*n 4"] | Float[np.ndarray, "*n 4"],
) -> Float[Tensor, "*n 4"] | Float[np.ndarray, "*n 4"]:
    """Corners of boxes said as their top left corner, width and height; tensors and arrays stay what they are.

    >>> xywh_to_xyxy(np.array([[10., 20., 3., 4.]])).tolist()
    [[10.0, 20.0, 13.0, 24.0]]
    """
    if isinstance(boxes_xywh, Tensor):
        return torch.cat([boxes_xywh[..., :2], boxes_xywh[..., :2] + boxes_xywh[..., 2:]], dim=-1)
    return np.concatenate([boxes_xywh[..., :2], boxes_xywh[..., :2] + boxes_xywh[..., 2:]], axis=-1)


@overload
def xyxy_to_xywh(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]: ...
@overload
def xyxy_to_xywh(boxes: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]: ...
def xyxy_to_xywh(
    boxes: Float[Tensor, "*n 4"] | Float[np.ndarray, "*n 4"],
) -> Float[Tensor, "*n 4"] | Float[np.ndarray, "*n 4"]:
    """Top left corner, width and height, as COCO's and MOTChallenge's files have them.

    In float32 x + width is not always x2 again: files are written from float64.

    >>> xyxy_to_xywh(torch.tensor([[10., 20., 13., 24.]]))
    tensor([[10., 20.,  3.,  4.]])
    """
    if isinstance(boxes, Tensor):
        return torch.cat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], dim=-1)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


@checked
def clip_boxes(
    boxes: Float[Tensor, "*n 4"],
    sizes: Tensor | tuple[int, int],
    *,
    inclusive: bool = False,
    rule: ClipRule = "all_sides",
) -> Float[Tensor, "*n 4"]:
    """Boxes cut at the picture's borders. `sizes` is one (height, width) or a tensor (*n or broadcastable, 2).

    `inclusive`: legacy boxes, which end at W − 1 and H − 1; `rule`: see `ClipRule`.

    >>> outside = torch.tensor([[-9., 5., -3., 20.]])
    >>> clip_boxes(outside, (10, 10)), clip_boxes(outside, (10, 10), rule="outer_sides")
    (tensor([[ 0.,  5.,  0., 10.]]), tensor([[ 0.,  5., -3., 10.]]))
    """
    sizes = torch.as_tensor(sizes, device=boxes.device, dtype=boxes.dtype) - int(inclusive)
    limit = torch.stack([sizes[..., 1], sizes[..., 0]], dim=-1)
    if rule == "outer_sides":
        return torch.cat([boxes[..., :2].clamp(min=0), torch.minimum(boxes[..., 2:], limit)], dim=-1)
    limit = torch.cat([limit, limit], dim=-1)
    return torch.minimum(boxes.clamp(min=0), limit)


def tile_windows(size: tuple[int, int], tile: int, *, overlap: float = 0.2) -> np.ndarray:
    """(N, 4) int64 xyxy windows that cover a picture of `size` (height, width), row by row.

    Every window is `tile` × `tile` pixels, or as long as the picture where that is shorter. As few as reach from border
    to border stand at even distances, so that neighbours share at least `overlap` of a side; a larger one lets larger
    objects lie whole in some window, and takes more windows.
    Raises ValueError for a tile below 1 pixel and an overlap outside 0 … 0.9.

    >>> tile_windows((100, 250), 100, overlap=0.2).tolist()
    [[0, 0, 100, 100], [75, 0, 175, 100], [150, 0, 250, 100]]
    """
    check_counts(tile=tile)
    if not 0 <= overlap <= 0.9:
        raise ValueError(f"overlap must lie in 0 … 0.9 of a tile's side, got {overlap}")
    tops, lefts = (_starts(side, tile, overlap) for side in size)
    top, left = (each.ravel() for each in np.meshgrid(tops, lefts, indexing="ij"))
    height, width = (min(side, tile) for side in size)
    return np.stack([left, top, left + width, top + height], axis=1)


def _starts(side: int, tile: int, overlap: float) -> np.ndarray:
    """Where the windows along one side begin."""
    if side <= tile:
        return np.zeros(1, np.int64)
    step = max(int(tile * (1 - overlap)), 1)
    count = -(-(side - tile) // step) + 1
    return np.arange(count) * (side - tile) // (count - 1)
