"""EfficientDet's anchors: as many cells as a level has, stretched evenly over the picture. A anchors per cell."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pagoda.ops.anchors import LARGEST_SCALE, MOST_OCTAVES, grid_anchors
from pagoda.plain import check_numbers, checked

# (width, height) in base sizes: square, wide, tall. The first releases rounded √2 to 1.4 and its inverse to .7,
# which makes the largest anchors of D0 5.8 pixels narrower.
ROUNDED_SHAPES = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
SQRT2_SHAPES = ((1.0, 1.0), (2**0.5, 0.5**0.5), (0.5**0.5, 2**0.5))


@checked
@dataclass(frozen=True, kw_only=True)
class StretchedAnchors:
    """The anchors of one cell, alike on every level but for its steps.

    Sizes are base_scale · step · 2^(j/octaves) · shape, sizes outer, shapes inner unless `shapes_outer`.
    The step of a level is the picture's side divided by the level's, each axis for itself, whole or not: 10
    pixels over 3 cells have steps of 3.33 and anchors to match. Centres are the middles of cells.

    >>> StretchedAnchors(octaves=1, shapes=((1.0, 1.0), (1.4, 0.7))).of_cell()  # in cells
    tensor([[-1.5000, -1.5000,  2.5000,  2.5000],
            [-2.3000, -0.9000,  3.3000,  1.9000]])
    """

    base_scale: float = 4.0
    """side of the smallest square anchor, in cells"""
    octaves: int = 3
    """sizes per level"""
    shapes: tuple[tuple[float, float], ...] = ROUNDED_SHAPES
    """(width, height) in sizes; `SQRT2_SHAPES` in later releases"""
    shapes_outer: bool = False
    """the order in mmdetection"""

    def __post_init__(self) -> None:
        check_numbers(self, 1, MOST_OCTAVES, "octaves")
        check_numbers(self, 1 / LARGEST_SCALE, LARGEST_SCALE, "base_scale", "shapes")
        if not self.shapes:
            raise ValueError("anchors need a shape (width, height), got none")

    def of_cell(self) -> Float[Tensor, "a 4"]:
        """The anchors of a cell of side 1 at the origin."""
        scales = [self.base_scale * 2 ** (octave / self.octaves) for octave in range(self.octaves)]
        halves = [(scale * w / 2, scale * h / 2) for scale in scales for w, h in self.shapes]
        if self.shapes_outer:
            halves = [(scale * w / 2, scale * h / 2) for w, h in self.shapes for scale in scales]
        return torch.tensor([(0.5 - w, 0.5 - h, 0.5 + w, 0.5 + h) for w, h in halves], dtype=torch.float32)


def stretch_anchors(
    of_cell: Float[Tensor, "a 4"], size: tuple[int, int], picture: tuple[int, int]
) -> Float[Tensor, "p 4"]:
    """`of_cell` at each of (height, width) cells that share a picture of (height, width) pixels, row by row.

    >>> stretch_anchors(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), (1, 2), (5, 20))
    tensor([[ 0.,  0., 10.,  5.],
            [10.,  0., 20.,  5.]])
    """
    anchors = grid_anchors(of_cell, size, 1)
    x = anchors[:, 0::2] * (picture[1] / size[1])
    y = anchors[:, 1::2] * (picture[0] / size[0])
    return torch.stack([x, y], dim=-1).reshape(-1, 4)
