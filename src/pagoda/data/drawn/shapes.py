"""Drawing simple shapes: outlines, how much of each pixel they cover, backgrounds. P outline points."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

LINES_PER_PIXEL = 8
"""Sampling lines through each row of pixels."""


def _regular(corners: int, inner_radius: float | None = None) -> np.ndarray:
    """(P, 2) corners of a polygon of radius 1; with `inner_radius` a star."""
    count = corners if inner_radius is None else 2 * corners
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    radii = np.ones(count)
    if inner_radius is not None:
        radii[1::2] = inner_radius
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]


def _cross(thickness: float = 0.35) -> np.ndarray:
    t, end = thickness, np.sqrt(1 - thickness**2)
    arm = np.array([[t, -end], [t, -t], [end, -t]])
    turn = np.array([[0, 1], [-1, 0]])  # row vectors a quarter turn further
    return np.concatenate([arm @ np.linalg.matrix_power(turn, quarter) for quarter in range(4)])


OUTLINES = {
    "circle": _regular(64),
    "square": _regular(4),
    "triangle": _regular(3),
    "star": _regular(5, inner_radius=0.45),
    "cross": _cross(),
}


@dataclass(frozen=True, eq=False)
class Shape:
    """A shape at its place: outline, and how much of each pixel it covers."""

    label: int
    """its class, counted from 0"""
    outline: np.ndarray
    """(P, 2) xy in pixels, also outside the picture"""
    coverage: np.ndarray
    """(H, W) float32, 0 … 1"""

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: pixels covered by half or more."""
        return self.coverage >= 0.5

    def extreme_points(self) -> np.ndarray:
        """(4, 2): the topmost, rightmost, bottommost and leftmost points of the whole outline."""
        x, y = self.outline.T
        return self.outline[[y.argmin(), x.argmax(), y.argmax(), x.argmin()]]


def place(
    name: str,
    label: int,
    center: tuple[float, float],
    radius: float,
    angle: float,
    image_size: tuple[int, int],
) -> Shape:
    """The shape called `name` with its middle at `center` (x, y); `radius` in pixels, `angle` in radians.

    >>> square = place("square", 0, (8.0, 8.0), radius=np.sqrt(8), angle=np.pi / 4, image_size=(16, 16))
    >>> int(square.mask.sum()), square.outline.min(0).round(3).tolist()
    (16, [6.0, 6.0])
    """
    cos, sin = np.cos(angle), np.sin(angle)
    outline = OUTLINES[name] @ np.array([[cos, sin], [-sin, cos]]) * radius + center
    return Shape(label, outline, coverage(outline, image_size))


def coverage(outline: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32: the share of each pixel inside the outline (P, 2), which does not cross itself.

    Along each of a few lines per pixel row every edge that crosses the line counts for all that lies right of
    it, plus or minus by its direction: outside the two cancel. Exact along x, sampled along y.

    >>> coverage(np.array([[0.5, 0.0], [2.0, 0.0], [2.0, 1.0], [0.5, 1.0]]), (1, 3)).tolist()
    [[0.5, 1.0, 0.0]]
    """
    height, width = image_size
    result = np.zeros((height, width), np.float32)
    left, top = np.floor(outline.min(0)).astype(int).clip(0, (width, height))
    right, bottom = np.ceil(outline.max(0)).astype(int).clip(0, (width, height))
    if right <= left or bottom <= top:
        return result
    lines = top + (np.arange((bottom - top) * LINES_PER_PIXEL) + 0.5) / LINES_PER_PIXEL
    (x1, y1), (x2, y2) = outline.T, np.roll(outline, -1, 0).T
    line, edge = np.nonzero((y1 <= lines[:, None]) != (y2 <= lines[:, None]))
    slope = (x2[edge] - x1[edge]) / (y2[edge] - y1[edge])
    crossing = x1[edge] + (lines[line] - y1[edge]) * slope
    right_of_it = (np.arange(left + 1, right + 1) - crossing[:, None]).clip(0, 1)
    inside = np.zeros((len(lines), right - left))
    np.add.at(inside, line, right_of_it * np.sign(y2[edge] - y1[edge])[:, None])
    result[top:bottom, left:right] = np.abs(inside).reshape(bottom - top, LINES_PER_PIXEL, -1).mean(1)
    return result


def background(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) float32, 0 … 1: clouds of a few sizes around one colour.

    >>> background(np.random.default_rng(0), (4, 6)).shape
    (4, 6, 3)
    """
    height, width = image_size
    picture = np.broadcast_to(rng.uniform(0.2, 0.8, 3).astype(np.float32), (height, width, 3)).copy()
    for cells, strength in ((3, 0.15), (8, 0.08), (24, 0.05)):
        for channel in range(3):
            coarse = Image.fromarray(rng.uniform(-strength, strength, (cells, cells)).astype(np.float32))
            picture[..., channel] += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return picture


def paint(rng: np.random.Generator, picture: np.ndarray, shapes: list[Shape]) -> np.ndarray:
    """(H, W, 3) uint8: the shapes over the background, the first lowest, in colours that stand out."""
    mean = picture.mean((0, 1))
    for shape in shapes:
        candidates = rng.uniform(0, 1, (4, 3))
        color = candidates[np.abs(candidates - mean).sum(1).argmax()]
        shading = 1 + 0.1 * rng.standard_normal()
        alpha = shape.coverage[..., None]
        picture = picture * (1 - alpha) + alpha * (color * shading).astype(np.float32)
    noisy = picture + rng.standard_normal(picture.shape, dtype=np.float32) * rng.uniform(0.01, 0.05)
    return np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
