"""Drawn pictures with exact boxes, masks and keypoints: data for tests and demos, made on the fly."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pagoda.data.dataset import Transform
from pagoda.data.drawn.shapes import OUTLINES, Shape, background, paint, place
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import tabulate
from pagoda.messages import did_you_mean
from pagoda.plain import checked
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton

KEYPOINTS = ("top", "right", "bottom", "left")
"""The extreme points of a drawn shape, in this order."""
SKELETON = Skeleton(KEYPOINTS, edges=((0, 1), (1, 2), (2, 3), (3, 0)), flip_pairs=((1, 3),))
"""The `flip_pairs` are those of a flip left to right."""

MIN_PIXELS = 12
"""A shape with less inside the picture is not drawn."""


@checked
class DrawnShapes(Dataset):
    """Coloured shapes on noisy, clouded backgrounds: item i is (picture (3, H, W) uint8, `Targets`).

    The same `seed` and index always give the same picture. Sizes, angles and colours vary; shapes overlap by
    at most half and may leave the picture in part; `empty_share` of the pictures hold none.

    >>> shapes = DrawnShapes(10, (64, 96), seed=1)
    >>> picture, targets = shapes[3]
    >>> tuple(picture.shape), torch.equal(picture, DrawnShapes(10, (64, 96), seed=1).picture(3))
    ((3, 64, 96), True)
    """

    def __init__(
        self,
        num_images: int,
        image_size: tuple[int, int] = (128, 128),
        seed: int = 0,
        *,
        classes: Sequence[str] = ("circle", "square", "triangle"),
        max_objects: int = 6,
        empty_share: float = 0.1,
        transform: Transform | None = None,
    ) -> None:
        for name in classes:
            if name not in OUTLINES:
                raise ValueError(f"no shape is called '{name}'; {did_you_mean(name, OUTLINES)}")
        if num_images < 1 or max_objects < 1 or min(image_size) < 32 or not 0 <= empty_share <= 1:
            raise ValueError(
                "expected num_images ≥ 1, max_objects ≥ 1, sides ≥ 32 and empty_share within 0 … 1, got"
                f" {num_images}, {max_objects}, {tuple(image_size)}, {empty_share}"
            )
        self.num_images = num_images
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.seed = seed
        self.max_objects = max_objects
        self.empty_share = empty_share
        self.transform = transform
        self.label_map = replace(LabelMap.from_names(classes), skeleton=SKELETON)

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        shapes = self._scene(index)
        picture, targets = self._paint(index, shapes), self._describe(index, shapes)
        return (picture, targets) if self.transform is None else self.transform(picture, targets)

    def picture(self, index: int) -> Tensor:
        """(3, H, W) uint8 RGB, before any transform."""
        return self._paint(index, self._scene(index))

    def targets(self, index: int) -> Targets:
        """Boxes around the visible pixels, their masks, and each shape's extreme points (`KEYPOINTS`)."""
        return self._describe(index, self._scene(index))

    @cached_property
    def annotations(self) -> Annotations:
        """The objects of all pictures, for evaluation and statistics; made when first asked for."""
        source = f"{len(self)} drawn pictures (seed {self.seed})"
        pictures = map(self.targets, range(len(self)))
        return tabulate(pictures, label_map=self.label_map, root=Path(), source=source)

    def _paint(self, index: int, shapes: list[Shape]) -> Tensor:
        rng = np.random.default_rng((self.seed, self._position(index), 1))
        pixels = paint(rng, background(rng, self.image_size), shapes)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def _describe(self, index: int, shapes: list[Shape]) -> Targets:
        index = self._position(index)
        masks = _visible_masks(shapes, self.image_size)
        points, visibility = _keypoints(shapes, self.image_size)
        return Targets(
            boxes=torch.from_numpy(_boxes_around(masks)),
            labels=torch.tensor([shape.label for shape in shapes], dtype=torch.long),
            image_size=self.image_size,
            ignored=torch.zeros(len(shapes), dtype=torch.bool),
            areas=torch.from_numpy(masks.sum((1, 2)).astype(np.float32)),
            masks=torch.from_numpy(masks),
            keypoints=torch.from_numpy(points),
            visibility=torch.from_numpy(visibility),
            image_id=index + 1,
            file=_file_name(index),
        )

    def _position(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        return index % len(self)

    def _scene(self, index: int) -> list[Shape]:
        """The shapes of one picture, the lowest first. Own random numbers, so targets need no painting."""
        rng = np.random.default_rng((self.seed, self._position(index), 0))
        if rng.uniform() < self.empty_share:
            return []
        height, width = self.image_size
        shapes: list[Shape] = []
        visible: list[np.ndarray] = []
        for _ in range(rng.integers(1, self.max_objects + 1)):
            label = int(rng.integers(len(self.label_map)))
            radius = max(5.0, min(height, width) * np.exp(rng.uniform(np.log(0.06), np.log(0.24))))
            center = (rng.uniform(0.03, 0.97) * width, rng.uniform(0.03, 0.97) * height)
            angle = rng.uniform(0, 2 * np.pi)
            shape = place(self.label_map.names[label], label, center, radius, angle, self.image_size)
            mask = shape.mask
            left = [below & ~mask for below in visible]
            is_fair = all(
                rest.sum() >= max(MIN_PIXELS, 0.5 * below.mask.sum())
                for rest, below in zip(left, shapes, strict=True)
            )
            if mask.sum() >= MIN_PIXELS and is_fair:
                shapes.append(shape)
                visible = [*left, mask]
        return shapes


def _file_name(index: int) -> str:
    return f"{index + 1:06d}.png"


def _visible_masks(shapes: list[Shape], image_size: tuple[int, int]) -> np.ndarray:
    """(N, H, W) bool: what later shapes leave of each."""
    masks = np.zeros((len(shapes), *image_size), bool)
    covered = np.zeros(image_size, bool)
    for row in reversed(range(len(shapes))):
        mask = shapes[row].mask
        masks[row] = mask & ~covered
        covered |= mask
    return masks


def _boxes_around(masks: np.ndarray) -> np.ndarray:
    """(N, 4) float32 xyxy: the outer edges of the outermost pixels."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for row, mask in enumerate(masks):
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes[row] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
    return boxes


def _keypoints(shapes: list[Shape], image_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """((N, 4, 2) float32, (N, 4) int64): hidden under later shapes 1, outside the picture 0 and at (0, 0)."""
    height, width = image_size
    points = np.zeros((len(shapes), 4, 2), np.float32)
    visibility = np.zeros((len(shapes), 4), np.int64)
    covered = np.zeros(image_size, bool)
    for row in reversed(range(len(shapes))):
        for number, (x, y) in enumerate(shapes[row].extreme_points()):
            if 0 <= x < width and 0 <= y < height:
                points[row, number] = x, y
                visibility[row, number] = 1 if covered[int(y), int(x)] else 2
        covered |= shapes[row].mask
    return points, visibility
