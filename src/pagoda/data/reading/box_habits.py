"""Boxes that are not written as [x, y, width, height] in pixels, told from all boxes of a file together."""

from collections.abc import Callable

import numpy as np

from pagoda.data.reading.complaints import Complaints

MARGIN = 1.0
"""Pixels by which a box may leave its picture"""
MIN_LEAVING = 2
"""Boxes that must leave their pictures before all are looked at as corners"""


def complain_of_habits(
    boxes_xywh: np.ndarray,
    sizes: np.ndarray,
    source: str,
    place: Callable[[int], str],
    complaints: Complaints,
) -> None:
    """Adds a place where all boxes seem to be shares of the picture, or corners.

    `sizes`: (n, 2), height and width of each box's picture. `place` names the object of a row.

    >>> complaints = Complaints("a.json")
    >>> complain_of_habits(np.array([[0.1, 0.2, 0.5, 0.5]]), np.array([[480, 640]]), "a.json", str, complaints)
    >>> complaints.stopping
    ('relative_boxes',)
    """
    heights, widths = sizes.T
    rows = np.flatnonzero(np.isfinite(boxes_xywh).all(1) & (heights > 2) & (widths > 2))
    if not len(rows):
        return
    boxes, heights, widths = boxes_xywh[rows], heights[rows], widths[rows]
    first = f"{place(int(rows[0]))}: bbox {boxes[0].tolist()}"
    x, y, third, fourth = boxes.T
    has_fractions = (boxes % 1 != 0).any()
    if has_fractions and boxes.min() >= 0 and (x + third).max() <= 1 and (y + fourth).max() <= 1:
        complaints.add("relative_boxes", f"{source}: {first}", len(rows))
        return
    leaving = (x + third > widths + MARGIN) | (y + fourth > heights + MARGIN)
    are_corners = (x >= 0) & (y >= 0) & (third > x) & (fourth > y)
    fit = are_corners & (third <= widths + MARGIN) & (fourth <= heights + MARGIN)
    if leaving.sum() >= MIN_LEAVING and 2 * leaving.sum() >= len(rows) and fit.all():
        words = (
            f"{leaving.sum()} of {len(rows)} boxes leave their pictures, but all fit as corners; the first"
        )
        complaints.add("corner_boxes", f"{source}: {words}: {first}", int(leaving.sum()))
