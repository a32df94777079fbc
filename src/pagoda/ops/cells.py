"""A grid of cells, each of which speaks of one object by several boxes (YOLOv1). N cells, K boxes a cell, C classes."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagoda.ops.anchors import Side
from pagoda.plain import checked

SMALLEST = 0.005
"""of an object's width and height, as a share of the picture's, to be learnt (darknet)"""


class CellOutputs(NamedTuple):
    """What a network says of every cell, row by row.

    >>> cells = split_cells(torch.arange(13.0)[None], num_classes=3, num_boxes=2)
    >>> cells.classes, cells.confidences, cells.boxes[0, 0, 1]
    (tensor([[[0., 1., 2.]]]), tensor([[[3., 4.]]]), tensor([ 9., 10., 11., 12.]))
    """

    classes: Tensor
    """(B, N, C): one set for all boxes of a cell"""
    confidences: Tensor
    """(B, N, K)"""
    boxes: Tensor
    """(B, N, K, 4): centre x, y in cells from the cell's corner; width and height as shares of the picture, or their
    roots"""


def split_cells(vector: Float[Tensor, "b n"], num_classes: int, num_boxes: int) -> CellOutputs:
    """Darknet's output, all classes of all cells, then all confidences, then all boxes, apart.

    Raises ValueError for a length that is no multiple of C + 5 K.
    """
    cells, rest = divmod(vector.shape[1], num_classes + 5 * num_boxes)
    if rest:
        raise ValueError(
            f"{vector.shape[1]} numbers are no whole number of cells with {num_classes} classes and {num_boxes} boxes"
        )
    classes, confidences, boxes = vector.split(
        (cells * num_classes, cells * num_boxes, cells * num_boxes * 4), dim=1
    )
    return CellOutputs(
        classes.unflatten(1, (cells, num_classes)),
        confidences.unflatten(1, (cells, num_boxes)),
        boxes.unflatten(1, (cells, num_boxes, 4)),
    )


def join_cells(cells: CellOutputs) -> Float[Tensor, "b n"]:
    """The way back: darknet's output vector.

    >>> join_cells(split_cells(torch.arange(26.0)[None], 3, 2)).equal(torch.arange(26.0)[None])
    True
    """
    return torch.cat([part.flatten(1) for part in cells], dim=1)


@checked
@dataclass(frozen=True, kw_only=True)
class CellCoder:
    """How a network's numbers stand for classes, confidences and boxes; each convention a field.

    >>> boxes = torch.tensor([[[[0.5, 0.5, 0.5, 1.0]]]])  # in the middle of its cell, a quarter as wide as the picture
    >>> CellCoder().in_pixels(boxes, (1, 2), (40, 80))
    tensor([[[[20., 20., 20., 40.]]]])
    """

    roots: bool = True
    """widths and heights are told by their roots, whose sign is lost (darknet's sqrt=1)"""
    class_softmax: bool = False
    """classes go through a softmax over those of the cell (darknet's softmax=1)"""
    sigmoid: bool = False
    """classes, confidences and places in the cell go through a sigmoid; the original leaves them as they are"""

    def __post_init__(self) -> None:
        if self.sigmoid and self.class_softmax:
            raise ValueError("classes go through a sigmoid or through a softmax, not through both")

    def read(self, cells: CellOutputs, *, straight: bool = False) -> CellOutputs:
        """Raw numbers to those that mean classes, confidences and places.

        `straight`: gradients pass the softmax as if it were not there, as darknet's do.
        """
        classes, confidences, boxes = (part.float() for part in cells)
        if self.class_softmax:
            soft = classes.softmax(-1)
            classes = soft.detach() + (classes - classes.detach()) if straight else soft
        if self.sigmoid:
            boxes = torch.cat([boxes[..., :2].sigmoid(), boxes[..., 2:]], dim=-1)
            return CellOutputs(classes.sigmoid(), confidences.sigmoid(), boxes)
        return CellOutputs(classes, confidences, boxes)

    def sides(self, told: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
        """Widths and heights as shares of the picture, of the network's numbers."""
        return told.square() if self.roots else told

    def in_pixels(
        self, boxes: Float[Tensor, "*n 4"], grid: tuple[Side, Side], size: tuple[Side, Side]
    ) -> Float[Tensor, "*n 4"]:
        """Centre from the cell's corner, width and height in pixels, of `grid` (rows, columns) over (height, width)."""
        height, width = size
        rows, columns = grid
        scales: tuple[Any, ...] = (width / columns, height / rows, width, height)  # symbolic while exported
        told = torch.cat([boxes[..., :2], self.sides(boxes[..., 2:])], dim=-1).unbind(-1)
        return torch.stack([part * scale for part, scale in zip(told, scales, strict=True)], dim=-1)


def centers_to_boxes(offsets: Float[Tensor, "*n 4"], points: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 4"]:
    """xyxy of centres told from points, and of widths and heights, all in pixels.

    >>> centers_to_boxes(torch.tensor([[2.0, 3.0, 4.0, 6.0]]), torch.tensor([[10.0, 20.0]]))
    tensor([[10., 20., 14., 26.]])
    """
    center, half = points + offsets[..., :2], offsets[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


def cells_of(
    centers: Float[Tensor, "m 2"], grid: tuple[int, int], size: tuple[float, float]
) -> Int[Tensor, " m"]:
    """The cell that each centre (x, y) lies in, of `grid` (rows, columns) over (height, width); −1 beyond it.

    >>> cells_of(torch.tensor([[0.5, 0.5], [99.0, 99.0], [100.0, 0.0]]), (7, 7), (100.0, 100.0))
    tensor([ 0, 48, -1])
    """
    rows, columns = grid
    column = (centers[:, 0] / size[1] * columns).floor().long()
    row = (centers[:, 1] / size[0] * rows).floor().long()
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    return (row * columns + column).masked_fill(~inside, -1)


def claim_cells(cells: Int[Tensor, " m"], order: Int[Tensor, " m"], num_cells: int) -> Int[Tensor, " cells"]:
    """The object each cell serves, −1 for none: of those that lie in it the first in `order`.

    >>> claim_cells(torch.tensor([2, 2, -1, 0]), torch.tensor([1, 0, 3, 2]), 4)
    tensor([ 3, -1,  1, -1])
    """
    owner, place = [-1] * num_cells, cells.tolist()
    for index in reversed(order.tolist()):  # the first in order writes last
        if place[index] >= 0:
            owner[place[index]] = index
    return torch.tensor(owner, dtype=torch.long, device=cells.device)


def center_iou(boxes: Float[Tensor, "*n 4"], others: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """Overlap of boxes (centre x, y, width, height) with others, pair by pair; 0 where one is inside out.

    >>> center_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]))
    tensor([0.3333])
    """
    low = torch.maximum(boxes[..., :2] - boxes[..., 2:] / 2, others[..., :2] - others[..., 2:] / 2)
    high = torch.minimum(boxes[..., :2] + boxes[..., 2:] / 2, others[..., :2] + others[..., 2:] / 2)
    common = (high - low).clamp(min=0).prod(-1)
    joined = boxes[..., 2:].prod(-1) + others[..., 2:].prod(-1) - common
    return torch.where(common > 0, common / joined, torch.zeros_like(common))
