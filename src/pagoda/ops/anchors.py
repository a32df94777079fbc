"""Where predictions sit: points of cells (FCOS), anchors (RetinaNet), default boxes (SSD). A anchors per cell."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pagoda.plain import check_numbers, checked

Side = int | torch.SymInt
"""a number of cells, which is symbolic while a model is exported"""
Steps = Literal["level", "padded"]
"""distance of neighbouring cells: 2ˡ, or the padded picture's side divided by the grid's, cut to whole pixels
(torchvision: 61 × 64 instead of 64 × 64 at P6 of an 800 × 1088 batch)"""
LARGEST_SCALE = 1e4
"""of anchors in strides, and of their ratios; its inverse is the smallest"""
MOST_OCTAVES = 64
BoxClip = Literal["none", "sides", "centers_and_sides", "corners"]
"""what of default boxes ends at the picture: nothing (Caffe's published models, mmdetection); width and height, where
they exceed its own (torchvision); those and the centre, each number for itself (ssd.pytorch, lufficc); or the corners,
as Caffe's option does it"""
LARGEST_SIDE = 2.0**15
MOST_RATIOS = 64
AnchorStyle = Literal["detectron2", "mmdet", "caffe2", "torchvision", "maskrcnn_benchmark", "bubbliiiing"]


def cell_points(
    size: tuple[Side, Side],
    stride: float | tuple[Side, Side],
    *,
    offset: float = 0.5,
    device: torch.device | None = None,
) -> Float[Tensor, "cells 2"]:
    """(x, y) of every cell, row by row: (index + offset) · stride, in pixels; `stride` may be (y, x).

    `offset` 0.5 is the cell's centre (which is FCOS's ⌊s/2⌋ for even strides); 0 is torchvision's corner.

    >>> cell_points((1, 2), 8).tolist()
    [[4.0, 4.0], [12.0, 4.0]]
    """
    height, width = size
    step_y, step_x = _both_steps(stride)
    y = (torch.arange(height, device=device, dtype=torch.float32) + offset) * step_y
    x = (torch.arange(width, device=device, dtype=torch.float32) + offset) * step_x
    x, y = x[None, :].expand(height, width), y[:, None].expand(height, width)
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def _both_steps(stride: float | tuple[Side, Side]) -> tuple[Any, Any]:
    """(y, x) of one stride or two; symbolic while a model is exported."""
    return stride if isinstance(stride, tuple) else (stride, stride)


@checked
def cell_steps(
    steps: Steps, stride: int, padded: tuple[Side, Side], size: tuple[Side, Side]
) -> tuple[Side, Side]:
    """(y, x) distance of neighbouring cells in a (height, width) grid over a padded picture; see `Steps`.

    `stride` is the level's: 2ˡ, unless its stage is dilated.

    >>> cell_steps("level", 64, (800, 1088), (13, 17)), cell_steps("padded", 64, (800, 1088), (13, 17))
    ((64, 64), (61, 64))
    """
    if steps == "level":
        return stride, stride
    return padded[0] // size[0], padded[1] // size[1]


def pyramid_strides(levels: Iterable[int], known: Mapping[int, int] | None = None) -> dict[int, int]:
    """{level: pixels from cell to cell}: 2ˡ, or the `known` ones, above which each level has twice the one below.

    >>> pyramid_strides(range(3, 8), {3: 8, 4: 16, 5: 16})
    {3: 8, 4: 16, 5: 16, 6: 32, 7: 64}
    """
    found: dict[int, int] = {}
    for level in sorted(levels):
        usual = 2 * found[level - 1] if level - 1 in found else 2**level
        found[level] = usual if known is None else known.get(level, usual)
    return found


def point_strides(
    points: Sequence[Tensor], levels: Sequence[int], strides: Mapping[int, int] | None = None
) -> Float[Tensor, " p"]:
    """The stride of every location, in the order of the levels' points (or anchors) joined.

    `strides` are the levels' where they are not 2ˡ (dilated stages).

    >>> point_strides([torch.zeros(2, 2), torch.zeros(1, 2)], [3, 4])
    tensor([ 8.,  8., 16.])
    """
    known = strides or {}
    return torch.cat(
        [
            p.new_full((p.shape[0],), float(known.get(level, 2**level)))
            for p, level in zip(points, levels, strict=True)
        ]
    )


@checked
def cell_anchors(
    stride: int,
    *,
    base_scale: float = 4.0,
    octaves: int = 3,
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    style: AnchorStyle = "detectron2",
    scales: Sequence[float] | None = None,
) -> Float[Tensor, "a 4"]:
    """The anchors of the cell at row 0, column 0, in the order and rounding of `style`.

    Sizes are base_scale · stride · 2^(j/octaves), or `scales` · stride; a ratio is height / width. The styles:

    * detectron2 – centred on the corner of the cell, no rounding; size outer, ratio inner.
    * mmdet – the same boxes; ratio outer, size inner.
    * torchvision – sizes cut to integers, half extents rounded; ratio outer, size inner.
    * maskrcnn_benchmark – Caffe2's: base square of `stride` pixels with inclusive ends, rounded per ratio,
      then scaled about its centre; ratio outer, size inner.
    * caffe2 – the same boxes; size outer, ratio inner.
    * bubbliiiing – centred on the middle of the cell; (width, height) multipliers (1, 1), (1.4, .7),
      (.7, 1.4) whatever `ratios` says; size outer, ratio inner.

    Raises ValueError for another style.

    >>> cell_anchors(8, octaves=1, ratios=(1.0, 4.0)).tolist()  # 32 pixels; as large, four times as high as wide
    [[-16.0, -16.0, 16.0, 16.0], [-8.0, -32.0, 8.0, 32.0]]
    """
    scales = scales or [base_scale * 2 ** (octave / octaves) for octave in range(octaves)]
    if style == "detectron2":
        halves = [(s * stride / r**0.5 / 2, s * stride * r**0.5 / 2) for s in scales for r in ratios]
        rows = [(-w, -h, w, h) for w, h in halves]
    elif style == "mmdet":
        halves = [(s * stride / r**0.5 / 2, s * stride * r**0.5 / 2) for r in ratios for s in scales]
        rows = [(-w, -h, w, h) for w, h in halves]
    elif style == "torchvision":
        sizes = [int(s * stride) for s in scales]
        halves = [(round(size / r**0.5 / 2), round(size * r**0.5 / 2)) for r in ratios for size in sizes]
        rows = [(-w, -h, w, h) for w, h in halves]
    elif style in ("maskrcnn_benchmark", "caffe2"):
        sides = [(round((stride**2 / r) ** 0.5), r) for r in ratios]
        rounded = [(w, round(w * r)) for w, r in sides]
        center = (stride - 1) / 2
        pairs = [(w, h, s) for w, h in rounded for s in scales]
        if style == "caffe2":
            pairs = [(w, h, s) for s in scales for w, h in rounded]
        halves = [((w * s - 1) / 2, (h * s - 1) / 2) for w, h, s in pairs]
        rows = [(center - w, center - h, center + w, center + h) for w, h in halves]
    else:  # bubbliiiing
        shapes = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
        halves = [(w * s * stride / 2, h * s * stride / 2) for s in scales for w, h in shapes]
        center = stride / 2
        rows = [(center - w, center - h, center + w, center + h) for w, h in halves]
    return torch.tensor(rows, dtype=torch.float32)


def grid_anchors(
    base: Float[Tensor, "a 4"], size: tuple[Side, Side], stride: float | tuple[Side, Side]
) -> Float[Tensor, "p 4"]:
    """`base` repeated at every cell, row by row, anchors of one cell together.

    `stride` may be (y, x) where a source steps unevenly (torchvision divides the padded size by the grid's).

    >>> grid_anchors(torch.tensor([[-4., -4., 4., 4.]]), (1, 2), 8).tolist()
    [[-4.0, -4.0, 4.0, 4.0], [4.0, -4.0, 12.0, 4.0]]
    """
    height, width = size
    step_y, step_x = _both_steps(stride)
    y = torch.arange(height, device=base.device, dtype=base.dtype) * step_y
    x = torch.arange(width, device=base.device, dtype=base.dtype) * step_x
    x, y = x[None, :].expand(height, width), y[:, None].expand(height, width)
    shift = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (base[None] + shift).reshape(-1, 4)


# EfficientDet's anchors: as many cells as a level has, stretched evenly over the picture. A anchors per cell.
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


@checked
@dataclass(frozen=True, kw_only=True)
class AnchorShapes:
    """The anchors of one cell, alike on every level but for the stride; see `cell_anchors`.

    >>> shapes = AnchorShapes(octaves=1, ratios=(1.0,))
    >>> shapes.of_cell(8).tolist(), shapes.of_cell(16).tolist()
    ([[-16.0, -16.0, 16.0, 16.0]], [[-32.0, -32.0, 32.0, 32.0]])
    """

    base_scale: float = 4.0
    """side of the smallest square anchor, in strides"""
    octaves: int = 3
    """sizes per level: the smallest times 2^(0/octaves), 2^(1/octaves) …"""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """height / width"""
    style: AnchorStyle = "detectron2"
    """whose order and rounding: see `cell_anchors`"""
    steps: Steps = "level"
    """how far neighbouring cells lie apart: see `Steps`"""
    scales: tuple[float, ...] | None = None
    """sizes in strides where they are not `base_scale` and its octaves (networks of one level: 2, 4, 8, 16, 32)"""

    def __post_init__(self) -> None:
        check_numbers(self, 1, MOST_OCTAVES, "octaves")
        check_numbers(self, 1 / LARGEST_SCALE, LARGEST_SCALE, "base_scale", "ratios", "scales")
        if not self.ratios or (self.scales is not None and not self.scales):
            raise ValueError(
                f"anchors need a ratio and a scale, got ratios={self.ratios} and scales={self.scales}"
            )

    def of_cell(self, stride: int) -> Float[Tensor, "a 4"]:
        """The anchors of the cell at row 0, column 0."""
        return cell_anchors(
            stride,
            base_scale=self.base_scale,
            octaves=self.octaves,
            ratios=self.ratios,
            style=self.style,
            scales=self.scales,
        )


@checked
@dataclass(frozen=True, kw_only=True)
class DefaultBoxes:
    """SSD's default boxes of every level, finest first (Liu 2016, section 2.2).

    A cell has a square of side m, one of √(m · M), and for each ratio ρ a wide box (m√ρ, m/√ρ) and a tall one; sides
    are in pixels of a picture of `image_size`² and grow and shrink with the picture, each axis for itself. Raises
    ValueError for levels that differ in number between the fields.

    >>> boxes = DefaultBoxes(min_sizes=(30.0,), max_sizes=(60.0,), ratios=((2.0,),), steps=(8.0,), image_size=300)
    >>> boxes.counts, boxes.of_level(0, (1, 1), (300, 300))[:2]
    ((4,), tensor([[-11.0000, -11.0000,  19.0000,  19.0000],
            [-17.2132, -17.2132,  25.2132,  25.2132]]))
    """

    min_sizes: tuple[float, ...]
    """m of each level, in pixels of `image_size`"""
    max_sizes: tuple[float, ...]
    """M of each level, mostly the next one's m"""
    ratios: tuple[tuple[float, ...], ...]
    """ρ of each level, width / height of its wide boxes"""
    steps: tuple[float, ...] | None = None
    """pixels of the network's input from cell to cell; None: the picture's side divided by the level's"""
    image_size: float = 300.0
    """side of the square that the sizes are meant for"""
    whole_sizes: bool = False
    """sizes are cut to whole pixels first (Caffe, mmdetection)"""
    clip: BoxClip = "none"
    """what ends at the picture"""

    def __post_init__(self) -> None:
        check_numbers(self, 1, LARGEST_SIDE, "min_sizes", "max_sizes", "steps", "image_size")
        rows = {len(self.min_sizes), len(self.max_sizes), len(self.ratios), len(self.steps or self.ratios)}
        if len(rows) > 1 or not self.min_sizes:
            raise ValueError(
                "min_sizes, max_sizes, ratios and steps have an entry for each level, got"
                f" {len(self.min_sizes)}, {len(self.max_sizes)}, {len(self.ratios)}"
                f" and {'none' if self.steps is None else len(self.steps)}"
            )
        for of_level in self.ratios:
            if len(of_level) > MOST_RATIOS or not all(0.01 <= ratio <= 100 for ratio in of_level):
                raise ValueError(f"ratios are at most {MOST_RATIOS} numbers from 0.01 to 100, got {of_level}")

    @property
    def counts(self) -> tuple[int, ...]:
        """Boxes per cell of each level."""
        return tuple(2 + 2 * len(of_level) for of_level in self.ratios)

    def shapes(self, level: int) -> Float[Tensor, "a 2"]:
        """(width, height) of a cell's boxes as shares of the picture's; `level` counts from the finest."""
        low, high = self.min_sizes[level], self.max_sizes[level]
        if self.whole_sizes:
            low, high = float(int(low)), float(int(high))
        sides = [(low, low), ((low * high) ** 0.5,) * 2]
        for ratio in self.ratios[level]:
            root = ratio**0.5
            sides += [(low * root, low / root), (low / root, low * root)]
        shapes = torch.tensor(sides, dtype=torch.float64) / self.image_size
        if self.clip in ("sides", "centers_and_sides"):
            shapes = shapes.clamp(max=1.0)
        return shapes.float()

    def of_level(
        self,
        level: int,
        size: tuple[Side, Side],
        picture: tuple[Side, Side],
        *,
        shapes: Float[Tensor, "a 2"] | None = None,
    ) -> Float[Tensor, "p 4"]:
        """(P_l, 4) boxes of a level of (height, width) cells over a picture of (height, width) pixels, row by row.

        `shapes` are those of the level where they are known already, on the device that the boxes are wanted on.
        """
        shares = self.shares_of_level(level, size, picture, shapes=shapes)
        x, y = shares[:, 0::2] * picture[1], shares[:, 1::2] * picture[0]
        return torch.stack([x, y], dim=-1).flatten(1)  # type: ignore[list-item]

    def shares_of_level(
        self,
        level: int,
        size: tuple[Side, Side],
        picture: tuple[Side, Side],
        *,
        shapes: Float[Tensor, "a 2"] | None = None,
    ) -> Float[Tensor, "p 4"]:
        """The same boxes with the picture's sides for unit."""
        shapes = self.shapes(level) if shapes is None else shapes
        steps = self.steps
        # Side by side, not as a tensor of sizes, which would be constants of an exported graph.
        rows, columns = size if steps is None else (picture[0] / steps[level], picture[1] / steps[level])
        cells = cell_points(size, 1, device=shapes.device)
        centers = torch.stack([cells[:, 0] / columns, cells[:, 1] / rows], dim=-1)[:, None]  # type: ignore[list-item]
        if self.clip == "centers_and_sides":
            centers = centers.clamp(max=1.0)
        boxes = torch.cat([centers - shapes / 2, centers + shapes / 2], dim=-1).reshape(-1, 4)
        return boxes.clamp(0, 1) if self.clip == "corners" else boxes
