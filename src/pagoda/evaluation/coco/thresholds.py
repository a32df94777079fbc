"""The scores from which detections of a class are worth having: where F1 is best, where precision is high.

At an IoU of .5 (an OKS of .5), objects of all sizes; detections of equal scores are all taken or none. D detections,
E scores at which a class's detections may be cut, R samples of the pictures.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pagoda.evaluation.coco.bootstrap import draw_samples
from pagoda.evaluation.coco.matching import LEFT_OUT, RIGHT, Matches
from pagoda.plain import JsonObject, checked

_ENDS = (0.025, 0.975)
"""of intervals: 95 % lie between"""
IOU = 0.5
_CHUNK = 64
"""samples that are counted together"""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and the 95 % interval that so many pictures allow it; nan where it is undefined.

    >>> print(Estimate(value=0.5, low=0.4, high=float("inf")))
    0.500 (0.400 …)
    """

    value: float
    """on all pictures"""
    low: float
    """lower end"""
    high: float
    """upper end; infinite where it is no score of any detection in one sample of the pictures of forty, or more"""

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "–"
        if np.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} …{f' {self.high:.3f}' if np.isfinite(self.high) else ''})"

    def to_dict(self) -> dict[str, float | None]:
        """value, low, high; None where undefined or without end."""
        return {
            name: value if np.isfinite(value) else None
            for name, value in (("value", self.value), ("low", self.low), ("high", self.high))
        }


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A score from which on detections of a class are kept, and what that is worth."""

    score: Estimate
    """with the interval of the score that would be chosen on other pictures"""
    precision: Estimate
    """share of the kept detections that are right, from this score on"""
    recall: Estimate
    """share of the objects that are found"""
    f1: Estimate
    """2 · precision · recall / (precision + recall)"""

    def to_dict(self) -> dict[str, dict[str, float | None]]:
        """Plain numbers."""
        return {name: getattr(self, name).to_dict() for name in ("score", "precision", "recall", "f1")}


@dataclass(frozen=True, kw_only=True)
class ClassThresholds:
    """Where to cut the detections of one class."""

    best_f1: OperatingPoint | None
    """None where no detection is right"""
    at_precision: OperatingPoint | None = None
    """the lowest score that reaches the wished precision; None where none was asked for or it is not reached"""
    most_precision: float = float("nan")
    """the largest that any score reaches; nan where nothing is found"""

    def to_dict(self) -> JsonObject:
        """Plain numbers; None for what is not reached."""
        return {
            "best_f1": None if self.best_f1 is None else self.best_f1.to_dict(),
            "at_precision": None if self.at_precision is None else self.at_precision.to_dict(),
            "most_precision": None if np.isnan(self.most_precision) else self.most_precision,
        }


class _Cuts(NamedTuple):
    """The detections of one class, the best first, and the E scores at which they may be cut."""

    scores: np.ndarray
    """(E,) falling"""
    counted: np.ndarray
    """pictures of the detections that are right or wrong"""
    right: np.ndarray
    """pictures of those that are right"""
    counted_until: np.ndarray
    """(E,) how many of `counted` have this score or a higher one"""
    right_until: np.ndarray
    """(E,) how many of `right` have"""
    gains: np.ndarray
    """the cuts at which something right is gained: F1 and precision are largest at such"""
    objects: np.ndarray
    """pictures of the objects"""

    def sums(self, drawn: np.ndarray) -> "_Sums":
        """Of samples (R, images)."""
        return _Sums(
            _running(drawn.take(self.right, axis=1)),
            _running(drawn.take(self.counted, axis=1)),
            drawn.take(self.objects, axis=1).sum(1)[:, None],
        )

    def at(self, sums: "_Sums", cuts: np.ndarray | list[int]) -> tuple[np.ndarray, np.ndarray]:
        """(R, n) right and counted detections from each of n cuts on."""
        return (
            sums.right.take(self.right_until[cuts], axis=1),
            sums.counted.take(self.counted_until[cuts], axis=1),
        )

    def best_f1(self, sums: "_Sums") -> np.ndarray:
        """(R,) the cut, at the highest of several scores; -1 where nothing is right."""
        if not len(self.gains):
            return np.full(len(sums.objects), -1)
        right, counted = self.at(sums, self.gains)
        f1 = right / np.maximum(counted + sums.objects, 1)
        return np.where(right[:, -1] > 0, self.gains[f1.argmax(1)], -1)

    def at_precision(self, sums: "_Sums", precision: float) -> np.ndarray:
        """(R,) the cut at the lowest score of a detection in the sample that reaches it; -1 where none does."""
        found = np.full(len(sums.objects), -1)
        if not len(self.gains):
            return found
        right, counted = self.at(sums, self.gains)
        reaches = (counted > 0) & (right / np.maximum(counted, 1) >= precision)
        last = reaches.shape[1] - 1 - reaches[:, ::-1].argmax(1)
        ends = np.append(self.gains[1:], len(self.scores))  # until more is right, precision falls
        for row in np.flatnonzero(reaches.any(1)).tolist():
            most = _most_counted(int(right[row, last[row]]), precision)
            until = np.searchsorted(sums.counted[row], most, "right") - 1
            cut = min(np.searchsorted(self.counted_until, until, "right"), ends[last[row]]) - 1
            # Of what follows the last detection that is in the sample nothing is counted.
            drawn = np.searchsorted(sums.counted[row], sums.counted[row, self.counted_until[cut]], "left")
            found[row] = np.searchsorted(self.counted_until, drawn, "left")
        return found


class _Sums(NamedTuple):
    """Running sums over R samples of the pictures."""

    right: np.ndarray
    """(R, right detections + 1)"""
    counted: np.ndarray
    """(R, right and wrong detections + 1)"""
    objects: np.ndarray
    """(R, 1)"""


def _running(weights: np.ndarray) -> np.ndarray:
    """(R, n + 1), from 0 on."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), np.int32)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _most_counted(right: int, precision: float) -> int:
    """The most detections of which `right` are right that reach the precision, in floating point as it is compared.

    >>> _most_counted(19, 0.95), _most_counted(2, 0.75)
    (20, 2)
    """
    most = int(right / precision) + 1
    while right / most < precision:
        most -= 1
    return most


def _cuts(matches: Matches, category: int) -> _Cuts:
    first, end = np.searchsorted(matches.categories, [category, category + 1])
    scores, status = matches.scores[first:end], matches.status[0, 0, first:end]
    images = matches.images[first:end]
    is_counted, is_right = status != LEFT_OUT, status == RIGHT
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], np.ones(min(1, len(scores)), bool)))
    right_until = np.cumsum(is_right)[ends]
    return _Cuts(
        scores[ends],
        images[is_counted],
        images[is_right],
        np.cumsum(is_counted)[ends],
        right_until,
        np.flatnonzero(np.diff(right_until, prepend=0)),
        matches.objects_of(0, category),
    )


def best_f1(matches: Matches) -> np.ndarray:
    """(classes,) the score from which F1 at an IoU of .5 is largest, objects of all sizes; 1 where nothing is right."""
    everything = np.ones((1, len(matches.truth.image_ids)), np.int32)
    scores = np.ones(len(matches.truth.category_ids))
    for category in range(len(scores)):
        cuts = _cuts(matches, category)
        (place,) = cuts.best_f1(cuts.sums(everything))
        if place >= 0:
            scores[category] = cuts.scores[place]
    return scores


@checked
def thresholds(
    matches: Matches, *, precision: float | None = None, rounds: int = 2000, seed: int = 0, threads: int = 2
) -> list[ClassThresholds]:
    """For each class the score of best F1, and the lowest that reaches `precision`.

    Intervals are those of `rounds` samples of as many pictures, drawn with replacement; 0: none. Raises ValueError for
    a precision that is no share above 0.
    """
    check_precision(precision)
    images = len(matches.truth.image_ids)
    everything = np.ones((1, images), np.int32)
    drawn = np.concatenate([everything, draw_samples(images, rounds, seed)]) if rounds else everything
    with ThreadPoolExecutor(threads) as pool:
        return list(
            pool.map(
                lambda category: _thresholds(_cuts(matches, category), drawn, precision),
                range(len(matches.truth.category_ids)),
            )
        )


def check_precision(precision: float | None) -> None:
    """Raises ValueError for what is no precision; hundredths are said to be none.

    >>> check_precision(95)
    Traceback (most recent call last):
    ValueError: a precision is a share above 0, at most 1, got 95; 95 % is 0.95
    """
    if precision is not None and not 0 < precision <= 1:
        hint = f"; {precision:g} % is {precision / 100:g}" if 1 < precision <= 100 else ""
        raise ValueError(f"a precision is a share above 0, at most 1, got {precision:g}{hint}")


def _thresholds(cuts: _Cuts, drawn: np.ndarray, wished: float | None) -> ClassThresholds:
    sums = cuts.sums(drawn[:1])
    right, counted = cuts.at(sums, np.arange(len(cuts.scores)))
    kept = [int(cuts.best_f1(sums)[0])]
    if wished is not None:
        kept.append(int(cuts.at_precision(sums, wished)[0]))
    places, values = _resampled(cuts, drawn[1:], kept, wished)
    points = []
    for number, place in enumerate(kept):
        if place < 0:
            points.append(None)
            continue
        now = _worth(right[:, [place]], counted[:, [place]], sums.objects)[:, 0, 0]
        scores = np.where(places[number] >= 0, cuts.scores[places[number]], np.inf)
        precision, recall, f1 = (_estimate(now[row], values[row, :, number]) for row in range(3))
        score = _estimate(cuts.scores[place], scores)
        points.append(OperatingPoint(score=score, precision=precision, recall=recall, f1=f1))
    return ClassThresholds(
        best_f1=points[0],
        at_precision=points[1] if wished is not None else None,
        most_precision=float((right / np.maximum(counted, 1)).max()) if len(cuts.counted) else np.nan,
    )


def _resampled(
    cuts: _Cuts, drawn: np.ndarray, kept: list[int], precision: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """(kinds, R) places chosen on each sample; (3, R, kinds) precision, recall and F1 at the kept ones."""
    places = np.full((len(kept), len(drawn)), -1)
    values = np.full((3, len(drawn), len(kept)), np.nan)
    if not len(cuts.scores):
        return places, values
    for first in range(0, len(drawn), _CHUNK):
        rows = slice(first, first + _CHUNK)
        sums = cuts.sums(drawn[rows])
        places[0, rows] = cuts.best_f1(sums)
        if precision is not None:
            places[1, rows] = cuts.at_precision(sums, precision)
        values[:, rows] = _worth(*cuts.at(sums, kept), sums.objects)
    return places, values


def _worth(right: np.ndarray, total: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """(3, R, n) precision, recall, F1; nan where undefined."""
    whole = np.broadcast_to(objects, right.shape)
    parts = ((right, total), (right, whole), (2 * right, total + whole))
    return np.stack(
        [np.divide(part, of, out=np.full(part.shape, np.nan), where=of > 0) for part, of in parts]
    )


def _estimate(value: float, samples: np.ndarray) -> Estimate:
    """The ends are values of samples, of which some may be infinite; undefined ones are left out."""
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return Estimate(value=float(value), low=np.nan, high=np.nan)
    low, high = np.quantile(samples, _ENDS, method="inverted_cdf")
    return Estimate(value=float(value), low=float(low), high=float(high))


def counts_above(matches: Matches, min_scores: np.ndarray) -> np.ndarray:
    """(2, images) objects found and detections that find none, at an IoU of .5, from the score of their class on."""
    status = matches.status[0, 0]
    is_shown = matches.scores >= min_scores[matches.categories]
    images = len(matches.truth.image_ids)
    return np.stack(
        [
            np.bincount(matches.images[is_shown & (status == RIGHT)], minlength=images),
            np.bincount(matches.images[is_shown & ~np.isin(status, (RIGHT, LEFT_OUT))], minlength=images),
        ]
    )
