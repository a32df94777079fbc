"""Masks as single outlines: along their pixels, joined where there are several, cut to the picture."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from pagoda.ops.rle import decode_masks, draw_polygons

Point = tuple[int, int]
_SIDES: tuple[tuple[int, int, Point, Point], ...] = (
    (0, 1, (0, 0), (1, 0)),
    (1, 2, (1, 0), (0, 1)),
    (2, 1, (1, 1), (-1, 0)),
    (1, 0, (0, 1), (0, -1)),
)
"""Of a pixel: row and column of the neighbour in the padded mask, where the side begins, and where it leads; clockwise
as seen on the screen"""
_ALL_AROUND = np.ones((3, 3), bool)
"""what lies outside a mask is connected over corners, as the mask itself is not"""


def without_holes(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool with its holes filled.

    >>> without_holes(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)).all().item()
    True
    """
    return ndimage.binary_fill_holes(mask, _ALL_AROUND)


def pixel_outlines(mask: np.ndarray) -> list[list[float]]:
    """x, y, x, y, … along the pixels of each part of an (H, W) bool mask without holes; drawn by COCO's rule they
    are these pixels again.

    >>> pixel_outlines(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]], bool))
    [[0.0, 0.0, 2.0, 0.0, 2.0, 1.0, 0.0, 1.0], [2.0, 2.0, 3.0, 2.0, 3.0, 3.0, 2.0, 3.0]]
    """
    parts, _ = ndimage.label(mask)
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), 1):
        corners = _around(parts[rows, columns] == number)
        found.append([float(v) for x, y in corners for v in (x + columns.start, y + rows.start)])
    return found


def _around(part: np.ndarray) -> list[Point]:
    """The corners of one connected part, clockwise from its first pixel."""
    height, width = part.shape
    padded = np.pad(part, 1)
    steps: dict[Point, list[Point]] = {}
    for row, column, (x0, y0), step in _SIDES:
        ys, xs = np.nonzero(part & ~padded[row : row + height, column : column + width])
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
            steps.setdefault((x + x0, y + y0), []).append(step)
    start = here = next(iter(steps))
    last: Point | None = None
    corners = []
    while last is None or here != start:
        ahead = steps[here]
        right = ahead[0] if last is None else (-last[1], last[0])  # where two parts touch, stay with this one
        step = right if right in ahead else ahead[0]
        ahead.remove(step)
        if step != last:
            corners.append(here)
        here, last = (here[0] + step[0], here[1] + step[1]), step
    return corners


def join(polygons: Sequence[Sequence[float]]) -> list[float]:
    """One polygon of several, which lines without width join between the nearest corners.

    >>> join([[0, 0, 1, 0, 1, 1], [3, 0, 4, 0, 4, 1]])
    [0.0, 0.0, 1.0, 0.0, 3.0, 0.0, 4.0, 0.0, 4.0, 1.0, 3.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    """
    whole, *others = (np.reshape(np.asarray(polygon, np.float64), (-1, 2)) for polygon in polygons)
    for other in others:
        distances = ((whole[:, None] - other[None]) ** 2).sum(2)
        here, there = np.unravel_index(distances.argmin(), distances.shape)
        bridge = np.concatenate([np.roll(other, -int(there), axis=0), other[[there]], whole[[here]]])
        whole = np.concatenate([whole[: here + 1], bridge, whole[here + 1 :]])
    return whole.flatten().tolist()


def draws_alike(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> bool:
    """Whether several polygons have the same pixels when they are joined; not so where they overlap.

    >>> draws_alike([[0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 3, 1, 3, 3, 1, 3]], (4, 6))
    False
    """
    return draw_polygons([join(polygons)], size) == draw_polygons([list(each) for each in polygons], size)


def joined_alike(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> list[float]:
    """One polygon with the pixels of several in a picture of `size`: joined as they are, or where they overlap along
    their pixels."""
    if draws_alike(polygons, size):
        return join(polygons)
    text = draw_polygons([list(polygon) for polygon in polygons], size)
    outlines = pixel_outlines(without_holes(decode_masks([text], size)[0]))
    return join(outlines or polygons)


def cut(polygon: Sequence[float], size: tuple[int, int]) -> list[float]:
    """The part of a polygon inside a picture of `size`, (height, width); [] where none is.

    >>> cut([-1, 0, 2, 0, 2, 2, -1, 2], (4, 6))
    [0.0, 0.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0]
    """
    points = np.reshape(np.asarray(polygon, np.float64), (-1, 2))
    height, width = size
    for axis, limit, sign in ((0, 0.0, 1), (1, 0.0, 1), (0, float(width), -1), (1, float(height), -1)):
        points = _half(points, axis, limit, sign)
    return points.flatten().tolist() if len(points) >= 3 else []


def _half(points: np.ndarray, axis: int, limit: float, sign: int) -> np.ndarray:
    """What of a polygon lies on one side of a line along an axis."""
    kept: list[np.ndarray] = []
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        is_in, is_next_in = sign * (a[axis] - limit) >= 0, sign * (b[axis] - limit) >= 0
        if is_in:
            kept.append(a)
        if is_in != is_next_in:
            crossing = a + (b - a) * ((limit - a[axis]) / (b[axis] - a[axis]))
            crossing[axis] = limit
            kept.append(crossing)
    return np.array(kept).reshape(-1, 2)


def shares_of(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(P, 2) x, y of a polygon x, y, x, y, … as shares of a picture of `size`, (height, width).

    Of the nearest numbers those that give the pixels again to the last bit, where there are such.

    >>> shares = shares_of(np.array([0.3, 0.7, 4.1, 0.0, 2.2, 3.9]), (7, 11))
    >>> (shares * (11, 7)).round(6).ravel().tolist()
    [0.3, 0.7, 4.1, 0.0, 2.2, 3.9]
    """
    points, sides = np.reshape(polygon, (-1, 2)), np.array(size[::-1], np.float64)
    shares = points / sides
    for near in (np.nextafter(shares, -np.inf), np.nextafter(shares, np.inf)):
        shares = np.where((shares * sides != points) & (near * sides == points), near, shares)
    return shares
