"""What was found in overlapping tiles, put together: no object twice, and none in pieces.

Two tiles see a part of the picture in common. Cut to that part, what both say of one object is the same box, however
little of the object each of them sees; what they say of two objects is not. N objects found, T tiles, K objects left.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

CHUNK = 512
"""objects that are compared at once with those near them"""
SMALL_SHARE, LARGE_SHARE, LEAST = 0.25, 0.1, 2.0
"""Boxes are as exact as they are small: a side may be wrong by the first share of its box's, but by `LEAST` pixels at
least and `reach` at most, where the second is not more."""


class Merged(NamedTuple):
    """The K objects of a picture, best first.

    >>> merge(np.array([[0., 0., 9., 9.]]), np.ones(1), np.zeros(1), np.zeros(1, int), np.array([[0, 0, 9, 9]]),
    ...       max_iou=0.5, reach=2.0).boxes
    array([[0., 0., 9., 9.]])
    """

    boxes: np.ndarray
    """(K, 4) xyxy"""
    scores: np.ndarray
    """(K,) the best of what is one object"""
    rows: np.ndarray
    """(K,) which of the N stands for it: one that lies whole in its tile if there is any"""
    parts: dict[int, np.ndarray]
    """{k: rows} of objects that no tile sees whole; `boxes` then reach around all of them"""


def merge(
    boxes: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    tiles: np.ndarray,
    windows: np.ndarray,
    *,
    max_iou: float,
    reach: float,
) -> Merged:
    """The objects of a picture from those of its tiles, (N, 4) boxes in pixels of the picture.

    An object that some tile sees whole is that tile's, the best one's of several, by suppression above `max_iou`. What
    other tiles see of it, cut at their border, goes. What all see only in part is joined.

    Args:
        scores: (N,)
        groups: (N,) classes, or one for all; what is of two groups is never one object.
        tiles: (N,) the row of `windows` in which each was found.
        windows: (T, 4) xyxy of the tiles; together they reach to the picture's borders.
        reach: pixels by which a side of a box that is not large may be wrong: may miss the border that cuts its object,
            and differ from what another tile says of a part that is hardly seen.

    >>> windows = np.array([[0, 0, 100, 100], [80, 0, 180, 100]])
    >>> boxes = np.array([[60., 40., 95., 70.], [80., 40., 95., 70.], [40., 5., 100., 30.], [80., 5., 130., 30.]])
    >>> merge(boxes, np.ones(4), np.zeros(4), np.array([0, 1, 0, 1]), windows, max_iou=0.5, reach=2.0).boxes
    array([[ 60.,  40.,  95.,  70.],
           [ 40.,   5., 130.,  30.]])
    """
    cut = cut_sides(boxes, windows[tiles], windows, reach)
    is_cut = cut.any(1)
    first, second = _same(boxes, groups, tiles, windows, cut, max_iou, reach)
    near = _neighbours(first, second, len(boxes))
    taken = np.zeros(len(boxes), bool)
    merged: list[tuple[np.ndarray, float, int, np.ndarray | None]] = []
    for row in np.lexsort((-scores, is_cut)).tolist():  # whole ones first, the best first
        if taken[row]:
            continue
        parts = _connected(row, near, taken) if is_cut[row] else np.append(row, near[row][~taken[near[row]]])
        taken[parts] = True
        is_joined = is_cut[row] and len(parts) > 1
        box = np.append(boxes[parts, :2].min(0), boxes[parts, 2:].max(0)) if is_joined else boxes[row]
        merged.append((box, float(scores[parts].max()), row, parts if is_joined else None))
    merged.sort(key=lambda each: -each[1])
    return Merged(
        np.array([box for box, *_ in merged]).reshape(-1, 4),
        np.array([score for _, score, *_ in merged]),
        np.array([row for *_, row, _ in merged], np.int64),
        {place: parts for place, (*_, parts) in enumerate(merged) if parts is not None},
    )


def cut_sides(boxes: np.ndarray, seen: np.ndarray, windows: np.ndarray, reach: float) -> np.ndarray:
    """(N, 4) bool: sides of boxes that end at a border of their tile `seen` (N, 4) and not of the picture.

    >>> tiles = np.array([[0, 0, 100, 100], [80, 0, 180, 100]])
    >>> cut_sides(np.array([[0., 10., 99., 100.]]), tiles[:1], tiles, reach=2.0)
    array([[False, False,  True, False]])
    """
    picture = np.concatenate([windows[:, :2].min(0), windows[:, 2:].max(0)])
    return (np.abs(boxes - seen) <= _tolerance(boxes, reach)) & (seen != picture)


def _tolerance(boxes: np.ndarray, reach: float) -> np.ndarray:
    """(N, 4) pixels by which each side may be wrong."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return np.maximum(np.clip(SMALL_SHARE * sides, LEAST, reach), LARGE_SHARE * sides)


def _same(
    boxes: np.ndarray,
    groups: np.ndarray,
    tiles: np.ndarray,
    windows: np.ndarray,
    cut: np.ndarray,
    max_iou: float,
    reach: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(first, second): pairs of rows that are one object seen in two tiles."""
    pairs = [np.zeros((2, 0), np.int64)]
    for first, second in _near(boxes, reach):
        apart = (tiles[first] != tiles[second]) & (groups[first] == groups[second])
        first, second = first[apart], second[apart]
        mine, theirs = windows[tiles[first]], windows[tiles[second]]
        shared = np.concatenate(
            [np.maximum(mine[:, :2], theirs[:, :2]), np.minimum(mine[:, 2:], theirs[:, 2:])], axis=1
        )
        lengths = shared[:, 2:] - shared[:, :2]
        is_one = (lengths >= 0).all(1)
        # Of tiles that only touch, what both say is compared along the border alone.
        grown = np.where(lengths < 1, 0.5, 0.0)
        a, b = (_cut_to(boxes[rows], shared, grown) for rows in (first, second))
        is_cut = (cut[first] | cut[second]).any(1)
        is_seen = ((a[:, 2:] > a[:, :2]).all(1)) | ((b[:, 2:] > b[:, :2]).all(1))
        is_one &= (_iou(a, b) > max_iou) | (
            is_cut
            & is_seen
            & _agree(a, b, np.maximum(*(_tolerance(boxes[rows], reach) for rows in (first, second))))
        )
        pairs.append(np.stack([first[is_one], second[is_one]]))
    first, second = np.concatenate(pairs, axis=1)
    return first, second


def _near(boxes: np.ndarray, reach: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows whose boxes touch or nearly do, a chunk at a time: all of them, each once."""
    order = np.argsort(boxes[:, 1], kind="stable")
    tops, bottoms = boxes[order, 1], boxes[order, 3]
    for start in range(0, len(order), CHUNK):
        rows = slice(start, start + CHUNK)
        end = int(np.searchsorted(tops, bottoms[rows].max() + reach, side="right"))
        a, b = boxes[order[rows]].T[..., None], boxes[order[start:end]].T[:, None]
        touch = ~np.tri(a.shape[1], b.shape[2], dtype=bool)  # each pair once
        for near, far in ((0, 2), (1, 3)):  # side by side, for comparing along a last axis of two is slow
            touch &= a[near] <= b[far] + reach
            touch &= b[near] <= a[far] + reach
        mine, theirs = np.nonzero(touch)
        yield order[start + mine], order[start + theirs]


def _cut_to(boxes: np.ndarray, windows: np.ndarray, grown: np.ndarray) -> np.ndarray:
    """Boxes within their windows, of no area where they lie outside; then (N, 2) larger on both sides of x and y."""
    inside = np.clip(boxes, windows[:, [0, 1, 0, 1]], windows[:, [2, 3, 2, 3]])
    return np.concatenate([inside[:, :2] - grown, inside[:, 2:] + grown], axis=1)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    inter = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inter
    return inter / np.maximum(union, 1e-9)


def _agree(a: np.ndarray, b: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Whether no side of two boxes differs by more than its tolerance (N, 4): of slivers an IoU says nothing."""
    return (np.abs(a - b) <= tolerance).all(1)


def _neighbours(first: np.ndarray, second: np.ndarray, count: int) -> list[np.ndarray]:
    """The rows that each row is in a pair with."""
    start, end = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.argsort(start, kind="stable")
    return np.split(end[order], np.cumsum(np.bincount(start, minlength=count))[:-1]) if count else []


def _connected(row: int, near: list[np.ndarray], taken: np.ndarray) -> np.ndarray:
    """A row, and all that hangs together with it and is not taken."""
    found, waiting = [row], [row]
    while waiting:
        more = [other for other in near[waiting.pop()].tolist() if not taken[other] and other not in found]
        found += more
        waiting += more
    return np.array(found)
