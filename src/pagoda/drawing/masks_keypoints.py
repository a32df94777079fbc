"""Masks and poses on a picture. N objects, K keypoints; pictures are (H, W, 3) RGB uint8."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import ImageDraw

Colour = tuple[int, int, int]
OPACITY = 0.45
WHITE = (255, 255, 255)


class Poses(NamedTuple):
    """What is drawn of the keypoints of N objects."""

    points: np.ndarray
    """(N, K, 2) xy in pixels"""
    shown: np.ndarray
    """(N, K) bool"""
    edges: Sequence[tuple[int, int]]
    """keypoints joined by a line where both are shown"""


def blend_masks(
    picture: np.ndarray, masks: np.ndarray, colours: Sequence[Colour], order: Sequence[int], factor: int
) -> np.ndarray:
    """A copy with the masks, (N, H, W) bool, tinted and their rims drawn; `order` from bottom to top.

    The picture is `factor` times as large as the masks.

    >>> picture, masks = np.zeros((5, 5, 3), np.uint8), np.ones((1, 5, 5), bool)
    >>> blended = blend_masks(picture, masks, [(200, 0, 0)], [0], 1)
    >>> blended[0, 0].tolist(), blended[2, 2].tolist()  # the rim in full, the inside tinted
    ([200, 0, 0], [90, 0, 0])
    """
    blended = picture.copy()
    for index in order:
        rows, columns = np.flatnonzero(masks[index].any(1)), np.flatnonzero(masks[index].any(0))
        if not len(rows):
            continue
        top, left = int(rows[0]), int(columns[0])
        part = masks[index, top : rows[-1] + 1, left : columns[-1] + 1].repeat(factor, 0).repeat(factor, 1)
        _blend(blended, part, (left * factor, top * factor), colours[index])
    return blended


def blend_windows(
    picture: np.ndarray,
    windows: Iterable[tuple[tuple[int, int], np.ndarray]],
    colours: Sequence[Colour],
    order: Sequence[int],
    factor: int,
) -> np.ndarray:
    """What `blend_masks` makes of masks of which each is told where it lies alone: ((left, top), (h, w) bool)."""
    blended, every = picture.copy(), list(windows)
    for index in order:
        (left, top), mask = every[index]
        part = mask.repeat(factor, 0).repeat(factor, 1)
        _blend(blended, part, (left * factor, top * factor), colours[index])
    return blended


def _blend(blended: np.ndarray, part: np.ndarray, start: tuple[int, int], colour: Colour) -> None:
    """A mask that begins at `start` (x, y), into the picture."""
    view = blended[start[1] : start[1] + part.shape[0], start[0] : start[0] + part.shape[1]]
    part = part[: view.shape[0], : view.shape[1]]
    tint = OPACITY * np.array(colour, np.float32)
    view[part] = np.rint((1 - OPACITY) * view[part] + tint).astype(np.uint8)
    view[part & _rim(part)] = colour


def draw_poses(
    canvas: ImageDraw.ImageDraw,
    poses: Poses,
    colours: Sequence[Colour],
    order: Sequence[int],
    line_width: int,
) -> None:
    """Lines in the object's colour, points over them with a white ring; `order` from bottom to top.

    >>> from PIL import Image
    >>> image = Image.new("RGB", (20, 10))
    >>> poses = Poses(np.array([[[3.0, 5.0], [17.0, 5.0]]]), np.array([[True, True]]), [(0, 1)])
    >>> draw_poses(ImageDraw.Draw(image), poses, [(9, 8, 7)], [0], 1)
    >>> image.getpixel((10, 5)), image.getpixel((10, 0))
    ((9, 8, 7), (0, 0, 0))
    """
    radius = line_width + 1
    for index in order:
        points, shown = poses.points[index].tolist(), poses.shown[index].tolist()
        for a, b in poses.edges:
            if shown[a] and shown[b]:
                canvas.line((*points[a], *points[b]), fill=colours[index], width=line_width)
        for (x, y), is_shown in zip(points, shown, strict=True):
            if is_shown:
                corners = (x - radius, y - radius, x + radius, y + radius)
                canvas.ellipse(corners, fill=colours[index], outline=WHITE)


def _rim(mask: np.ndarray) -> np.ndarray:
    """Pixels with a neighbour above, below, left or right that is not of the mask."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return ~inner
