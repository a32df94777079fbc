"""Boxes relative to anchors (Girshick 2014, appendix C) and to points (Tian 2019): one coder for both ways."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pagoda.ops.anchors import Steps
from pagoda.plain import check_numbers, checked

# A box may grow by at most this factor's logarithm in one step: a 16-pixel anchor becomes 1000 pixels.
MAX_LOG_GROWTH = math.log(1000 / 16)
MOST_LOG_GROWTH = 80.0
"""beyond it exp() is no float"""
Weights = tuple[float, float, float, float]


def encode_boxes(
    boxes: Float[Tensor, "*n 4"],
    anchors: Float[Tensor, "*n 4"],
    *,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
    inclusive: bool = False,
) -> Float[Tensor, "*n 4"]:
    """(dx, dy, dw, dh) that take each anchor to its box, multiplied by `weights`.

    `inclusive` measures boxes by the legacy rule, sides + 1.

    >>> anchor, moved = torch.tensor([[0., 0., 10., 10.]]), torch.tensor([[5., 0., 15., 10.]])
    >>> encode_boxes(moved, anchor), encode_boxes(moved, anchor, weights=(10.0, 10.0, 5.0, 5.0))
    (tensor([[0.5000, 0.0000, 0.0000, 0.0000]]), tensor([[5., 0., 0., 0.]]))
    """
    extra = int(inclusive)
    anchor_sides = anchors[..., 2:] - anchors[..., :2] + extra
    box_sides = boxes[..., 2:] - boxes[..., :2] + extra
    anchor_centers = anchors[..., :2] + anchor_sides / 2
    box_centers = boxes[..., :2] + box_sides / 2
    shifts = (box_centers - anchor_centers) / anchor_sides
    deltas = torch.cat([shifts, torch.log(box_sides / anchor_sides)], dim=-1)
    return deltas * deltas.new_tensor(weights)


def decode_boxes(
    deltas: Float[Tensor, "*n 4"],
    anchors: Float[Tensor, "*n 4"],
    *,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
    inclusive: bool = False,
    max_log_growth: float | None = MAX_LOG_GROWTH,
    limit_shrinking: bool = False,
    exclusive_ends: bool = False,
) -> Float[Tensor, "*n 4"]:
    """The inverse of `encode_boxes`; log sizes are cut at `max_log_growth` (None: not).

    `limit_shrinking` cuts them at −max_log_growth too (mmdet). `exclusive_ends` ends `inclusive` boxes at
    x1 + side, one pixel further than `encode_boxes` took them to end (Detect-and-Track).

    >>> decode_boxes(torch.tensor([[0.5, 0., 0., 0.]]), torch.tensor([[0., 0., 10., 10.]]))
    tensor([[ 5.,  0., 15., 10.]])
    """
    extra = int(inclusive)
    deltas = deltas / deltas.new_tensor(weights)
    anchor_sides = anchors[..., 2:] - anchors[..., :2] + extra
    centers = anchors[..., :2] + anchor_sides / 2 + deltas[..., :2] * anchor_sides
    growth = deltas[..., 2:]
    if max_log_growth is not None:
        growth = growth.clamp(-max_log_growth if limit_shrinking else None, max_log_growth)
    half = torch.exp(growth) * anchor_sides / 2
    end = 0 if exclusive_ends else extra
    return torch.cat([centers - half, centers + half - end], -1)


@checked
@dataclass(frozen=True, kw_only=True)
class BoxCoder:
    """One choice of conventions for both directions, so that training and decoding cannot part.

    >>> coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    >>> anchor, box = torch.tensor([[0., 0., 10., 10.]]), torch.tensor([[2., 2., 8., 12.]])
    >>> coder.decode(coder.encode(box, anchor), anchor).round()
    tensor([[ 2.,  2.,  8., 12.]])
    """

    weights: Weights = (1.0, 1.0, 1.0, 1.0)
    """factors of dx, dy, dw and dh"""
    inclusive: bool = False
    """boxes are legacy ones, whose sides measure x2 − x1 + 1"""
    max_log_growth: float | None = MAX_LOG_GROWTH
    """the largest dw and dh that decoding believes; None: any"""
    limit_shrinking: bool = False
    """−`max_log_growth` is their least (mmdet)"""
    exclusive_ends: bool = False
    """decoded `inclusive` boxes end one pixel further on (Detect-and-Track)"""

    def __post_init__(self) -> None:
        check_numbers(self, 1e-4, 1e4, "weights")
        check_numbers(self, 0, MOST_LOG_GROWTH, "max_log_growth")

    def encode(self, boxes: Float[Tensor, "*n 4"], anchors: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
        """What a head is to say of each box; see `encode_boxes`."""
        return encode_boxes(boxes, anchors, weights=self.weights, inclusive=self.inclusive)

    def decode(self, deltas: Float[Tensor, "*n 4"], anchors: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
        """The boxes that deltas stand for; see `decode_boxes`."""
        return decode_boxes(
            deltas,
            anchors,
            weights=self.weights,
            inclusive=self.inclusive,
            max_log_growth=self.max_log_growth,
            limit_shrinking=self.limit_shrinking,
            exclusive_ends=self.exclusive_ends,
        )


@checked
@dataclass(frozen=True, kw_only=True)
class PointCoder:
    """Where FCOS's locations sit in their cells, and how their numbers become distances to four sides.

    >>> PointCoder().distances(torch.tensor([[[-1., 0., 1., 2.]]]), torch.tensor([8.]))
    tensor([[[ 0.,  0.,  8., 16.]]])
    """

    offset: float = 0.5
    """0.5: the cell's centre; 0: its corner (torchvision)"""
    steps: Steps = "level"
    """how far neighbouring cells lie apart: see `ops.anchors.Steps`"""
    transform: Literal["exp", "relu"] = "relu"
    """what makes the numbers positive"""
    in_strides: bool = True
    """numbers count strides of the level, else pixels"""

    def __post_init__(self) -> None:
        check_numbers(self, 0, 1, "offset")

    def distances(self, raw: Float[Tensor, "b p 4"], strides: Float[Tensor, " p"]) -> Float[Tensor, "b p 4"]:
        """Distances in pixels to the left, top, right and bottom side."""
        positive = raw.exp() if self.transform == "exp" else raw.relu()
        return positive * strides[:, None] if self.in_strides else positive
