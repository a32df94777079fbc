"""SSD's default boxes (Liu 2016, section 2.2): of each level sizes and shapes of its own. A boxes per cell."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pagoda.ops.anchors import Side, cell_points
from pagoda.plain import check_numbers, checked

BoxClip = Literal["none", "sides", "centers_and_sides", "corners"]
"""what of default boxes ends at the picture: nothing (Caffe's published models, mmdetection); width and height, where
they exceed its own (torchvision); those and the centre, each number for itself (ssd.pytorch, lufficc); or the corners,
as Caffe's option does it"""
LARGEST_SIDE = 2.0**15
MOST_RATIOS = 64


@checked
@dataclass(frozen=True, kw_only=True)
class DefaultBoxes:
    """The default boxes of every level, finest first.

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
        return torch.stack([x, y], dim=-1).flatten(1)

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
        centers = torch.stack([cells[:, 0] / columns, cells[:, 1] / rows], dim=-1)[:, None]
        if self.clip == "centers_and_sides":
            centers = centers.clamp(max=1.0)
        boxes = torch.cat([centers - shapes / 2, centers + shapes / 2], dim=-1).reshape(-1, 4)
        return boxes.clamp(0, 1) if self.clip == "corners" else boxes
