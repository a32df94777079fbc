"""How sure an AP is: the same detections scored on thousands of samples of the pictures, without matching anew."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from pagoda.evaluation.coco.matching import LEFT_OUT, RIGHT, Matches

_CHUNK = 64
"""samples that are scored together: what one class needs of them stays in the processor's cache"""


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
    threads: int = 2,
) -> np.ndarray:
    """(rounds, S, T, classes) COCO's average precision on each sample; nan where it holds no object of class and size.

    `drawn`: (rounds, images) as `draw_samples` gives them; ones give the AP of all pictures. `categories`: only these
    classes are looked at, the others are nan; None: all.
    """
    sizes, ious = matches.status.shape[:2]
    classes = len(matches.truth.category_ids)
    found = np.full((len(drawn), sizes, ious, classes), np.nan)

    def score(category: int) -> None:
        for size in range(sizes):
            curves = _curves(matches, size, category)
            for first in range(0, len(drawn), _CHUNK):
                chunk = slice(first, first + _CHUNK)
                found[chunk, size, :, category] = curves.areas(drawn[chunk])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(score, range(classes) if categories is None else categories))
    return found


class _Curves(NamedTuple):
    """The precision curves of one class and size at every overlap, one after the other, where they change: E places.

    What lies between two of them are detections that are wrong; they are counted for all overlaps at once.
    """

    images: np.ndarray
    """(E,) pictures of detections that are right, and of those that are left out though of this size"""
    is_right: np.ndarray
    """(E,) 0 or 1"""
    correction: np.ndarray | None
    """(E,) by how much more each counts than its size says: -1, 0, 1; None: 0 everywhere"""
    lengths: np.ndarray
    """(T,) places of each curve"""
    detections: np.ndarray
    """pictures of the detections of this size down to the last place, the best first"""
    before: np.ndarray
    """(E,) how many of these stand before a place, itself included"""
    objects: np.ndarray
    """pictures of the objects of this size"""

    def areas(self, drawn: np.ndarray) -> np.ndarray:
        """(R, T) areas under the curves on R samples, (R, images)."""
        objects = drawn.take(self.objects, axis=1).sum(1)[:, None]
        found = np.zeros((len(drawn), len(self.lengths)))
        if len(self.images):
            weights = drawn.take(self.images, axis=1)
            right = self._sums(weights * self.is_right)
            counted = np.zeros((len(drawn), len(self.detections) + 1), np.int32)
            np.cumsum(drawn.take(self.detections, axis=1), axis=1, out=counted[:, 1:])
            total = counted.take(self.before, axis=1)
            if self.correction is not None:
                total += self._sums(weights * self.correction)
            filled = self.lengths > 0
            starts = (np.cumsum(self.lengths) - self.lengths)[filled]
            best = self._best_from_here(right / np.maximum(total, 1))
            reached = _recalls_reached(right, objects)
            rises = np.diff(reached, axis=1, prepend=0)
            rises[:, starts] = reached[:, starts]
            found[:, filled] = np.add.reduceat(best * rises, starts, axis=1) / 101
        return np.where(objects > 0, found, np.nan)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """(R, E) running sums of each curve."""
        sums = np.cumsum(values, axis=1, dtype=np.int32)
        starts = np.cumsum(self.lengths) - self.lengths
        earlier = np.concatenate([np.zeros_like(sums[:, :1]), sums], axis=1)[:, starts]
        return sums - np.repeat(earlier, self.lengths, axis=1)

    def _best_from_here(self, precision: np.ndarray) -> np.ndarray:
        """(R, E) the largest value of the same curve from each place on."""
        # Each curve is lifted above those after it, so that one pass does for all.
        lift = np.repeat(2.0 * np.arange(len(self.lengths))[::-1], self.lengths)
        return np.maximum.accumulate((precision + lift)[:, ::-1], axis=1)[:, ::-1] - lift


_RECALLS = np.linspace(0, 1, 101)
_ROUNDED_UP = np.flatnonzero(np.arange(101) / 100 < _RECALLS)
"""hundredths that numpy's grid, and so COCO's, holds as a little more than they are: .35, .57 … do not reach them"""


def _recalls_reached(right: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """(R, E) how many of COCO's 101 recalls `right` (R, E) of `objects` (R, 1) reach."""
    reached = np.floor(right * (100 / np.maximum(objects, 1)) + 1e-9) + 1
    for hundredth in _ROUNDED_UP.tolist():
        (rows,) = np.nonzero((objects[:, 0] > 0) & (objects[:, 0] * hundredth % 100 == 0))
        if len(rows):
            reached[rows] -= right[rows] == objects[rows] * hundredth // 100
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
