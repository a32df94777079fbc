"""From which score on to believe a detector, class by class, and what it then takes for what."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pagoda.evaluation.coco.calibration import Calibration, calibration
from pagoda.evaluation.coco.confusion import ConfusionMatrix, confusion
from pagoda.evaluation.coco.matching import Matches
from pagoda.evaluation.coco.state import State
from pagoda.evaluation.coco.thresholds import IOU, ClassThresholds, best_f1, check_precision, thresholds
from pagoda.messages import aligned
from pagoda.plain import JsonObject, check_numbers, checked
from pagoda.structures.thresholds import ScoreThresholds


@checked
@dataclass(frozen=True, kw_only=True)
class OperatingOptions:
    """What to find out about scores, besides AP. Raises ValueError for values that are no shares.

    >>> OperatingOptions(precision_at=95)
    Traceback (most recent call last):
    ValueError: a precision is a share above 0, at most 1, got 95; 95 % is 0.95
    """

    precision_at: float | None = None
    """the precision that is wished for; None: only where F1 is best"""
    confusion_from: float | None = None
    """score from which detections count in the confusion matrix; None: each class's score of best F1"""
    rounds: int = 2000
    """bootstrap samples of the pictures, for intervals; 0: none"""
    seed: int = 0
    """of the samples"""

    def __post_init__(self) -> None:
        check_precision(self.precision_at)
        check_numbers(self, 0, 1, "confusion_from")
        check_numbers(self, 0, float("inf"), "rounds", "seed")


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """Scores to cut at, confusions from there on, and calibration: what a detector is worth in use."""

    thresholds: dict[str, ClassThresholds]
    """class name → where to cut"""
    precision: float | None
    """that was wished for"""
    rounds: int
    """samples that the intervals are from"""
    confusion: ConfusionMatrix | None
    """of boxes; None for masks and keypoints"""
    calibration: Calibration
    """whether scores mean what they say"""

    def score_thresholds(self, names: Collection[str], *, split: str, counted_from: float) -> ScoreThresholds:
        """What a model of the classes `names` may keep in its file: the scores that reach the wished precision, else
        those of best F1. See `ScoreThresholds` for the rest."""
        points = {
            name: each.best_f1 if self.precision is None else each.at_precision
            for name, each in self.thresholds.items()
            if name in names
        }
        return ScoreThresholds(
            scores={name: point.score.value for name, point in points.items() if point is not None},
            kind="best_f1" if self.precision is None else "precision",
            precision=self.precision,
            split=split,
            iou=IOU,
            counted_from=counted_from,
        )

    def table(self) -> str:
        """Plain text: scores of best F1, of the wished precision, and what is taken for what."""
        parts = [self._best_table()]
        if self.precision is not None:
            parts.append(self._precision_table(self.precision))
        if self.rounds:
            parts.append(
                f"IoU {IOU}, all sizes; in brackets 95 % intervals of {self.rounds} bootstrap samples of the pictures:"
                "\nof scores, what would be chosen on others; of the rest, what this score is worth there"
            )
        if self.confusion is not None:
            parts.append(self.confusion.table())
        return "\n\n".join(parts)

    def _best_table(self) -> str:
        rows = [["class", "score of best F1", "F1", "precision", "recall"]]
        for name, each in self.thresholds.items():
            best = each.best_f1
            cells = ["none is right"] if best is None else [best.score, best.f1, best.precision, best.recall]
            rows.append([name, *map(str, cells), *[""] * (4 - len(cells))])
        return aligned(rows)

    def _precision_table(self, precision: float) -> str:
        rows = [["class", f"score of precision {precision:g}", "precision", "recall"]]
        for name, each in self.thresholds.items():
            point = each.at_precision
            if point is not None:
                rows.append([name, str(point.score), str(point.precision), str(point.recall)])
                continue
            most = each.most_precision
            told = "nothing found" if np.isnan(most) else f"not reached; at most {most:.3f}"
            rows.append([name, told, "", ""])
        return aligned(rows)

    def to_dict(self) -> JsonObject:
        """Plain lists and numbers."""
        return {
            "iou": IOU,
            "precision_at": self.precision,
            "rounds": self.rounds,
            "thresholds": {name: each.to_dict() for name, each in self.thresholds.items()},
            "confusion": None if self.confusion is None else self.confusion.to_dict(),
            "calibration": self.calibration.to_dict(),
        }


def operating_points(
    matches: Matches, names: Sequence[str], options: OperatingOptions, *, collected: State | None = None
) -> OperatingPoints:
    """Of one task's matches; `names` are those of the classes.

    `collected`: the detections that were matched, for the confusion matrix of boxes; None leaves that out.
    """
    found = thresholds(matches, precision=options.precision_at, rounds=options.rounds, seed=options.seed)
    matrix = None
    if collected is not None:
        given = options.confusion_from
        bars = best_f1(matches) if given is None else np.full(len(names), given)
        matrix = confusion(matches, collected, names, bars)
    return OperatingPoints(
        dict(zip(names, found, strict=True)),
        options.precision_at,
        options.rounds,
        matrix,
        calibration(matches, names),
    )
