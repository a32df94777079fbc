"""How sure an AP is: the same detections scored on thousands of samples of the pictures, without matching anew."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from pagoda.evaluation.coco.matching import LEFT_OUT, RIGHT, Matches

CONFIDENCE = 0.95
"""of intervals"""
_AT_ONCE = 2**20
"""places of a curve, times samples, that are scored together: in few steps, and in megabytes"""


def draw_samples(num_images: int, rounds: int, seed: int) -> np.ndarray:
    """(rounds, images) how often each picture is drawn into samples of as many pictures, with replacement.

    >>> draw_samples(3, 2, seed=0).sum(1).tolist()
    [3, 3]
    """
    draw = np.random.default_rng(seed)
    return draw.multinomial(num_images, np.full(num_images, 1 / num_images), size=rounds).astype(np.int32)


def resampled_ap(
    matches: Matches,
    drawn: np.ndarray,
    *,
    categories: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """(rounds, S, T, classes) COCO's average precision on each sample; nan where it holds no object of class and size.

    `drawn`: (rounds, images) as `draw_samples` gives them; ones give the AP of all pictures. `categories`: only these
    classes are looked at, the others are nan; None: all.
    """
    sizes, ious = matches.status.shape[:2]
    classes = len(matches.truth.category_ids)
    found = np.full((len(drawn), sizes, ious, classes), np.nan)
    drawn = np.ascontiguousarray(drawn.T, np.int32)
    for category in range(classes) if categories is None else categories:
        for size in range(sizes):
            curves = _curves(matches, size, int(category))
            together = max(_AT_ONCE // max(curves.lengths.max(initial=0), 1), 256)
            for first in range(0, drawn.shape[1], together):
                chunk = slice(first, first + together)
                found[chunk, size, :, category] = curves.areas(drawn[:, chunk])
    return found


def interval(values: np.ndarray, count: int) -> tuple[float, float]:
    """The 95 % interval of what samples of `count` pictures, or videos, give; (nan, nan) where none gives a number.

    Percentiles, expanded (Hesterberg 2015): plain ones of few pictures are too narrow.

    >>> low, high = interval(np.arange(-1000, 1001) / 1000, 10_000)
    >>> round(low, 2), round(high, 2)
    (-0.95, 0.95)
    """
    known = values[np.isfinite(values)]
    if not len(known) or count < 2:
        return math.nan, math.nan
    tail = 100 * widened_tail((1 - CONFIDENCE) / 2, count)
    low, high = np.percentile(known, [tail, 100 - tail], method="weibull")
    return float(low), float(high)


def widened_tail(tail: float, count: int) -> float:
    """The share of bootstrap samples to cut off at either end, so that few of `count` do not make them too narrow.

    >>> round(widened_tail(0.025, 5), 4), round(widened_tail(0.025, 1000), 4)
    (0.001, 0.0248)
    """
    return float(ndtr(stdtrit(count - 1, tail) * math.sqrt(count / (count - 1))))


class _Curves(NamedTuple):
    """The precision curves of one class and size at every overlap, one after the other, where they change: E places.

    What lies between two of them are detections that are wrong; they are counted for all overlaps at once.
    """

    images: np.ndarray
    """(E,) pictures of detections that are right, and of those that are left out though of this size"""
    is_right: np.ndarray
    """(E,) 0 or 1"""
    correction: np.ndarray | None
    """(E,) by how much more each counts than its size says: -1, 0, 1; None: 0 everywhere, and all are right"""
    lengths: np.ndarray
    """(T,) places of each curve"""
    detections: np.ndarray
    """pictures of the detections of this size down to the last place, the best first"""
    before: np.ndarray
    """(E,) how many of these stand before a place, itself included"""
    objects: np.ndarray
    """pictures of the objects of this size"""

    def areas(self, drawn: np.ndarray) -> np.ndarray:
        """(R, T) areas under the curves on R samples, of (images, R) how often each is drawn."""
        objects = drawn[self.objects].sum(0)
        counted = np.zeros((len(self.detections) + 1, drawn.shape[1]), np.int32)
        counted[1:] = drawn[self.detections]
        _sum_up(counted)
        found = np.zeros((drawn.shape[1], len(self.lengths)))
        ends = np.cumsum(self.lengths)
        for curve, (first, end) in enumerate(zip(ends - self.lengths, ends, strict=True)):
            if first < end:
                found[:, curve] = self._area(slice(first, end), drawn, counted, objects)
        return np.where(objects[:, None] > 0, found, np.nan)

    def _area(self, places: slice, drawn: np.ndarray, counted: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """(R,) of one curve."""
        right, total = drawn[self.images[places]], counted[self.before[places]]
        if self.correction is not None:
            total += _sum_up(right * self.correction[places, None])
            right *= self.is_right[places, None]
        best = _sum_up(right) / np.maximum(total, 1, out=total)
        for place in range(len(best) - 1, 0, -1):
            np.maximum(best[place - 1], best[place], out=best[place - 1])
        reached = _recalls_reached(right, objects)
        reached[1:] -= reached[:-1].copy()
        return np.einsum("er,er->r", best, reached) / 101


def _sum_up(values: np.ndarray) -> np.ndarray:
    """(E, R) running sums down each column, in place and row by row: numpy's own take one element at a time."""
    for place in range(1, len(values)):
        np.add(values[place - 1], values[place], out=values[place])
    return values


_RECALLS = np.linspace(0, 1, 101)


def _recalls_reached(right: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """(E, R) how many of COCO's 101 recalls `right` (E, R) of `objects` (R,) reach."""
    reached = right * (100 / np.maximum(objects, 1))
    reached += 1 + 1e-9
    np.floor(reached, out=reached)
    # numpy's grid, and so COCO's, holds .35, .57 … as a little more than they are: as many do not reach them.
    (exact,) = np.nonzero((objects % 10 == 0) & (objects > 0))
    grid = _RECALLS[reached[:, exact].astype(np.intp) - 1]
    reached[:, exact] -= grid > right[:, exact] / objects[exact]
    return reached


def _curves(matches: Matches, size: int, category: int) -> _Curves:
    first, end = np.searchsorted(matches.categories, [category, category + 1])
    images, status = matches.images[first:end], matches.status[size, :, first:end]
    in_range = matches.in_range[size, first:end]
    counts = (status != LEFT_OUT).astype(np.int32) - in_range
    is_place = (status == RIGHT) | (counts != 0)
    curve, place = np.nonzero(is_place)
    correction = counts[curve, place]
    before = np.cumsum(in_range)[place]
    return _Curves(
        images=images[place],
        is_right=(status[curve, place] == RIGHT).astype(np.int32),
        correction=correction if correction.any() else None,
        lengths=is_place.sum(1),
        detections=images[in_range][: before.max(initial=0)],
        before=before,
        objects=matches.objects_of(size, category),
    )
