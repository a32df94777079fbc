"""Whether scores mean what they say: of detections of a score of .8, are eight of ten right?

N. Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, for temperatures and the
expected calibration error; here a detection is right where it finds an object at an IoU of .5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pagoda.evaluation.coco.matching import LEFT_OUT, RIGHT, Matches
from pagoda.messages import aligned
from pagoda.plain import JsonObject

BINS = 15
CALIBRATED_FROM = 0.05
"""Detections below are not looked at: nearly all of them are background, and so many that they would hide the rest"""
SMALLEST, LARGEST = 0.05, 20.0
"""temperatures"""
_NEAREST = 1e-6
"""of scores to 0 and 1, whose logits are infinite"""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Detections by their score, in bins of equal width from 0 to 1.

    >>> curve = Reliability.of(np.array([0.9, 0.9, 0.9, 0.9, 0.1]), np.array([1, 1, 1, 0, 0], bool), bins=10)
    >>> curve.counts.tolist(), round(curve.error, 3)  # 4 of 5 are .15 too sure of themselves, one .1
    ([0, 1, 0, 0, 0, 0, 0, 0, 0, 4], 0.14)
    """

    counts: np.ndarray
    """(bins,) detections"""
    scores: np.ndarray
    """(bins,) their mean score; nan where there are none"""
    right: np.ndarray
    """(bins,) the share of them that is right; nan where there are none"""

    @classmethod
    def of(cls, scores: np.ndarray, is_right: np.ndarray, *, bins: int = BINS) -> "Reliability":
        """Of scores (n,) and whether each detection is right (n,)."""
        places = np.minimum((scores * bins).astype(np.int64), bins - 1)
        counts = np.bincount(places, minlength=bins)
        sums = (np.bincount(places, values, minlength=bins) for values in (scores, is_right.astype(float)))
        means = (np.divide(s, counts, out=np.full(bins, np.nan), where=counts > 0) for s in sums)
        return cls(counts, *means)

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of mean score and share that is right, by detections; nan
        without any."""
        if not self.counts.any():
            return float("nan")
        return float(np.nansum(self.counts * np.abs(self.scores - self.right)) / self.counts.sum())

    def to_dict(self) -> JsonObject:
        """Lists; None for empty bins."""
        return {
            "detections": self.counts.tolist(),
            "mean_score": [None if np.isnan(v) else v for v in self.scores.tolist()],
            "share_right": [None if np.isnan(v) else v for v in self.right.tolist()],
            "error": None if np.isnan(self.error) else self.error,
        }


@dataclass(frozen=True, eq=False)
class Calibration:
    """Of all classes together and of each, with a temperature that would mend it.

    A temperature T makes of a score s the score sigmoid(logit(s) / T): above 1 it makes scores less sure. It changes no
    order, so neither AP nor what a threshold keeps; it stands in no model's file.
    """

    overall: Reliability
    """of all classes together"""
    per_class: dict[str, Reliability]
    """class name → its own"""
    temperatures: dict[str, float]
    """class name → the likeliest; nan where there is nothing to tell it by"""
    errors_after: dict[str, float]
    """class name → expected calibration error with temperatures that were fitted on the other half of the pictures"""
    error_after: float
    """of all classes together"""

    def table(self) -> str:
        """Plain text: one row per class, then the bins of all together."""
        rows = [["class", "detections", "ECE", "temperature", "ECE after"]]
        every = [*self.per_class.items(), ("all", self.overall)]
        for name, curve in every:
            is_all = curve is self.overall
            after = self.error_after if is_all else self.errors_after[name]
            heat = "" if is_all else _heat(self.temperatures[name])
            rows.append([name, str(int(curve.counts.sum())), _number(curve.error), heat, _number(after)])
        bins = [["scores", "detections", "mean score", "share right"]]
        edges = np.linspace(0, 1, len(self.overall.counts) + 1)
        for place in np.flatnonzero(self.overall.counts).tolist():
            curve = self.overall
            bins.append(
                [
                    f"{edges[place]:.3f} … {edges[place + 1]:.3f}",
                    str(curve.counts[place]),
                    _number(curve.scores[place]),
                    _number(curve.right[place]),
                ]
            )
        note = (
            f"Calibration of detections from a score of {CALIBRATED_FROM} on, right at IoU .5. ECE: expected\n"
            "calibration error; after: with the class's temperature as the other half of the pictures tells it"
        )
        return "\n\n".join([aligned(rows), aligned(bins), note])

    def to_dict(self) -> JsonObject:
        """Plain lists and numbers; None where undefined."""
        classes = {
            name: {
                **curve.to_dict(),
                "temperature": _plain(self.temperatures[name]),
                "error_after": _plain(self.errors_after[name]),
            }
            for name, curve in self.per_class.items()
        }
        return {
            "min_score": CALIBRATED_FROM,
            "iou": 0.5,
            "overall": {**self.overall.to_dict(), "error_after": _plain(self.error_after)},
            "per_class": classes,
        }


def calibration(matches: Matches, names: Sequence[str]) -> Calibration:
    """Of the detections that count, from `CALIBRATED_FROM` on; `names` are those of the classes."""
    status = matches.status[0, 0]
    rows = (status != LEFT_OUT) & (matches.scores >= CALIBRATED_FROM)
    scores, is_right = matches.scores[rows], status[rows] == RIGHT
    categories, half = matches.categories[rows], matches.images[rows] % 2
    after = np.full(len(scores), np.nan)
    per_class, temperatures, errors = {}, {}, {}
    for category, name in enumerate(names):
        own = categories == category
        per_class[name] = Reliability.of(scores[own], is_right[own])
        temperatures[name] = temperature(scores[own], is_right[own])
        for other in (0, 1):
            mine = own & (half == other)
            after[mine] = tempered(scores[mine], temperature(scores[own & ~mine], is_right[own & ~mine]))
        known = own & ~np.isnan(after)
        errors[name] = Reliability.of(after[known], is_right[known]).error
    known = ~np.isnan(after)
    return Calibration(
        Reliability.of(scores, is_right),
        per_class,
        temperatures,
        errors,
        Reliability.of(after[known], is_right[known]).error,
    )


def tempered(scores: np.ndarray, temperature: float) -> np.ndarray:
    """(n,) scores at a temperature.

    >>> tempered(np.array([0.5, 0.8]), 2.0).round(3)
    array([0.5  , 0.667])
    """
    return 1 / (1 + np.exp(-_logits(scores) / temperature))


def temperature(scores: np.ndarray, is_right: np.ndarray) -> float:
    """The temperature under which what is right and wrong is likeliest, within 0.05 … 20; nan without detections.

    >>> temperature(np.array([0.9, 0.9, 0.9]), np.array([True, True, False])).__round__(2)  # ln 9 / ln 2
    3.17
    """
    if not len(scores):
        return float("nan")
    logits, signs = _logits(scores), np.where(is_right, 1.0, -1.0)

    def slope(factor: float) -> float:
        """Of the likelihood's logarithm, which is concave in the factor 1 / T."""
        return float((signs * logits / (1 + np.exp(np.minimum(signs * logits * factor, 500)))).sum())

    low, high = 1 / LARGEST, 1 / SMALLEST
    if slope(low) <= 0:
        return LARGEST
    if slope(high) >= 0:
        return SMALLEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return 1 / low


def _logits(scores: np.ndarray) -> np.ndarray:
    inside = np.clip(scores, _NEAREST, 1 - _NEAREST)
    return np.log(inside / (1 - inside))


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value


def _heat(temperature: float) -> str:
    """With a sign where a more extreme one would be likelier still."""
    bound = {SMALLEST: "≤ ", LARGEST: "≥ "}.get(temperature, "")
    return bound + _number(temperature)


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
