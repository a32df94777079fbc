"""What round and turned shapes of labelling programs enclose, as corners and as COCO's box and polygon."""

import numpy as np

from pagoda.plain import JsonObject

ROUND_CORNERS = 64
"""of the polygon that stands for a circle or an ellipse"""


def ellipse_corners(
    center_xy: tuple[float, float], radii_xy: tuple[float, float], radians: float = 0.0
) -> np.ndarray:
    """The corners of an ellipse, (64, 2); `radians`: turned clockwise as seen on the screen, for y goes down.

    >>> corners = ellipse_corners((10.0, 10.0), (4.0, 2.0))
    >>> len(corners), corners.min(0).tolist(), corners.max(0).tolist()
    (64, [6.0, 8.0], [14.0, 12.0])
    """
    angles = 2 * np.pi * np.arange(ROUND_CORNERS) / ROUND_CORNERS
    points = np.stack([radii_xy[0] * np.cos(angles), radii_xy[1] * np.sin(angles)], 1)
    return turned(points, np.zeros(2), radians) + center_xy


def turned(points: np.ndarray, pivot: np.ndarray, radians: float) -> np.ndarray:
    """(P, 2) points turned clockwise, as seen on the screen, about `pivot`; quarter turns are exact.

    >>> turned(np.array([[1.0, 0.0]]), np.zeros(2), np.pi / 2).tolist()
    [[0.0, 1.0]]
    """
    cos, sin = np.cos(radians), np.sin(radians)
    cos, sin = (
        round(float(value)) if abs(value - round(value)) < 1e-15 else float(value) for value in (cos, sin)
    )
    with np.errstate(over="ignore", invalid="ignore"):  # infinity is told by whoever checks the boxes
        x, y = (points - pivot).T
        return pivot + np.stack([x * cos - y * sin, x * sin + y * cos], 1)


def box_corners(x: float, y: float, width: float, height: float) -> np.ndarray:
    """The corners of a box, (4, 2) xy, from the top left clockwise.

    >>> box_corners(1, 2, 3, 4).tolist()
    [[1.0, 2.0], [4.0, 2.0], [4.0, 6.0], [1.0, 6.0]]
    """
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float64)


def enclosing(corners: np.ndarray) -> JsonObject:
    """COCO's bbox [x, y, width, height] and segmentation of a polygon of (P, 2) corners.

    >>> enclosing(np.array([[1.0, 2.0], [4.0, 2.0], [1.0, 6.0]]))
    {'bbox': [1.0, 2.0, 3.0, 4.0], 'segmentation': [[1.0, 2.0, 4.0, 2.0, 1.0, 6.0]]}
    """
    low, high = corners.min(0), corners.max(0)
    with np.errstate(over="ignore", invalid="ignore"):
        sides = (high - low).tolist()
    return {"bbox": [*low.tolist(), *sides], "segmentation": [corners.flatten().tolist()]}
