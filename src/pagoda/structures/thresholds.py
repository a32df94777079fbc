"""From which score on a model's detections of each class are worth having, as its file says it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from pagoda.messages import did_you_mean, short_list
from pagoda.plain import JsonObject, check_numbers, checked, from_plain
from pagoda.structures.labels import LabelMap

DEFAULT_MIN_SCORE = 0.3
"""what people are shown where nothing else is said"""
REMEDY = "pagoda val {file} --data DIR --save-thresholds"
"""what puts thresholds into a file"""


@checked
@dataclass(frozen=True, kw_only=True)
class ScoreThresholds:
    """A score for each class, chosen on annotated pictures; a detection is kept from the score of its own class on.

    Raises ValueError for scores outside 0 … 1, and for a precision where it is not what they were chosen by.

    >>> thresholds = ScoreThresholds(scores={"cat": 0.41}, kind="best_f1", split="val")
    >>> thresholds.of_labels(LabelMap.from_names(["dog", "cat"]))
    [0.3, 0.41]
    >>> thresholds.meaning()
    'best F1 at IoU 0.5 on split val'
    """

    scores: Mapping[str, float]
    """class name → score; a class that was never found has none"""
    kind: Literal["best_f1", "precision"]
    """where F1 is largest, or the lowest that reaches `precision`"""
    split: str
    """of the data set that they were chosen on"""
    precision: float | None = None
    """that was asked for"""
    iou: float = 0.5
    """of boxes, from which a detection has found an object"""
    counted_from: float = 0.001
    """the model's own limit `min_score` when they were chosen"""
    otherwise: float = DEFAULT_MIN_SCORE
    """holds for a class without a score"""

    def __post_init__(self) -> None:
        if not isinstance(self.split, str):
            raise ValueError(f"ScoreThresholds: split must be the name of one, got {self.split!r:.80}")
        check_numbers(self, 0, 1, "precision", "iou", "counted_from", "otherwise")
        for name, score in self.scores.items():
            if not 0 <= score <= 1:
                raise ValueError(f"ScoreThresholds: scores must be from 0 to 1, got {score} for '{name:.80}'")
        if (self.kind == "precision") != (self.precision is not None):
            raise ValueError(
                f"ScoreThresholds: precision belongs to kind 'precision', got {self.precision} and {self.kind!r}"
            )

    @classmethod
    def from_dict(cls, data: object, label_map: LabelMap) -> "ScoreThresholds":
        """What `to_dict` wrote, for a model of these classes. Raises ValueError that names the entry which is none."""
        found = from_plain(cls, data, "thresholds.")
        for name in found.scores:
            if name not in label_map.names:
                raise ValueError(
                    f"thresholds: no class is called '{name:.80}'; {did_you_mean(name, label_map.names)}"
                )
        return found

    def to_dict(self) -> JsonObject:
        """Words and numbers, ready for JSON."""
        return {**asdict(self), "scores": dict(self.scores)}

    def of_labels(self, label_map: LabelMap) -> list[float]:
        """The score of each label; `otherwise` where its class has none."""
        return [self.scores.get(name, self.otherwise) for name in label_map.names]

    def lowest(self, label_map: LabelMap) -> float:
        """The least of `of_labels`: below it no detection is kept."""
        return min(self.of_labels(label_map))

    def meaning(self) -> str:
        """What they are, in words."""
        what = "best F1" if self.precision is None else f"precision {self.precision:g}"
        return f"{what} at IoU {self.iou:g} on split {self.split}"

    def text(self, label_map: LabelMap) -> str:
        """What holds for which class, for people.

        >>> thresholds = ScoreThresholds(scores={"cat": 0.41}, kind="precision", precision=0.9, split="test")
        >>> print(thresholds.text(LabelMap.from_names(["dog", "cat"])))
        thresholds (precision 0.9 at IoU 0.5 on split test): cat 0.410; 0.3 for classes without one: dog
        """
        told = [f"{name} {self.scores[name]:.3f}" for name in label_map.names if name in self.scores]
        without = [name for name in label_map.names if name not in self.scores]
        rest = f"{self.otherwise:g} for classes without one: {short_list(without, 10)}" if without else ""
        return f"thresholds ({self.meaning()}): {'; '.join(filter(None, (short_list(told, 20), rest)))}"


def below(thresholds: ScoreThresholds, label_map: LabelMap, min_score: float) -> str:
    """A sentence where a file that gives nothing below `min_score` cannot give all that its thresholds admit; else "".

    >>> thresholds = ScoreThresholds(scores={"cat": 0.12}, kind="best_f1", split="val")
    >>> below(thresholds, LabelMap.from_names(["cat"]), 0.2)  # doctest: +ELLIPSIS
    'the file gives no objects below 0.2, and the thresholds of some classes are lower: cat 0.120; objects between ...'
    """
    low = [
        f"{name} {score:.3f}"
        for name, score in zip(label_map.names, thresholds.of_labels(label_map), strict=True)
        if score < min_score
    ]
    if not low:
        return ""
    return (
        f"the file gives no objects below {min_score:g}, and the thresholds of some classes are lower:"
        f" {short_list(low, 10)}; objects between are not found: pagoda export … --min-score"
        f" {_just_below(thresholds.lowest(label_map)):g} gives all"
    )


def _just_below(score: float) -> float:
    """With three decimals; limits have to be exceeded."""
    return max(math.ceil(score * 1000) - 1, 0) / 1000
