"""Which classes are taken for which, and for background: annotated objects beside what was found in their place."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from pagoda.evaluation.coco.ground_truth import GroundTruth
from pagoda.evaluation.coco.matching import LEFT_OUT, Matches, match
from pagoda.evaluation.coco.state import State
from pagoda.messages import aligned
from pagoda.plain import JsonObject

BACKGROUND = "background"
_SHOWN = 20
"""classes of a table in a terminal: more are not seen at a glance"""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How often an annotated class, a row, was found as which, a column; background is the last of both.

    The last column holds objects that nothing was found for, the last row detections that found nothing. Detections of
    each class count from its own score on. The best first, each takes the object it overlaps most among those that
    nobody has taken, of whatever class, from an IoU of .5 on. Crowds and ignored objects, and what lies on them, do
    not count.

    >>> matrix = ConfusionMatrix(("cat", "dog"), np.array([[3, 1, 0], [0, 2, 4], [1, 0, 0]]), np.array([0.5, 0.25]))
    >>> print(matrix.table())
    annotated   cat  dog  background
    cat           3    1           0
    dog           0    2           4
    background    1    0           0
    from scores of cat 0.500, dog 0.250
    """

    names: tuple[str, ...]
    """of the classes"""
    counts: np.ndarray
    """(classes + 1, classes + 1) whole numbers"""
    min_scores: np.ndarray
    """(classes,) from which detections count"""

    def table(self) -> str:
        """Plain text; of many classes those that are confused with others most often."""
        shown = self.most_confused(_SHOWN)
        labels = [*(self.names[place] for place in shown), BACKGROUND]
        places = [*shown, len(self.names)]
        rows = [
            [label, *(str(self.counts[place, column]) for column in places)]
            for label, place in zip(labels, places, strict=True)
        ]
        told = ", ".join(f"{self.names[place]} {self.min_scores[place]:.3f}" for place in shown)
        rest = len(self.names) - len(shown)
        more = f"; {rest} more classes, confused less often, are in --json" if rest else ""
        return f"{aligned([['annotated', *labels], *rows])}\nfrom scores of {told}{more}"

    def most_confused(self, limit: int) -> list[int]:
        """The classes, in their order, of which the most objects and detections are elsewhere than on the diagonal."""
        own = np.diag(self.counts)[:-1]
        wrong = self.counts[:-1].sum(1) + self.counts[:, :-1].sum(0) - 2 * own
        return sorted(np.argsort(-wrong, kind="stable")[:limit].tolist())

    def to_dict(self) -> JsonObject:
        """Names and lists."""
        return {
            "classes": [*self.names, BACKGROUND],
            "counts": self.counts.tolist(),
            "min_scores": dict(zip(self.names, self.min_scores.tolist(), strict=True)),
            "rows": "annotated",
            "columns": "found",
            "iou": 0.5,
        }


def confusion(
    matches: Matches, collected: State, names: Sequence[str], min_scores: np.ndarray
) -> ConfusionMatrix:
    """Of boxes. `matches` says which of the detections collected count at all, `min_scores` (classes,) from where."""
    rows = np.sort(matches.rows[matches.scores >= min_scores[matches.categories]])
    kept: State = {name: collected[name][rows] for name in ("images", "boxes_xywh", "scores", "categories")}
    found = match(_of_one_class(matches), kept | {"categories": np.zeros_like(rows)}, "bbox", len(rows) or 1)
    truth, classes = matches.truth, len(names)
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    objects = found.objects[0]
    is_counted = found.status[0, 0] != LEFT_OUT
    annotated = np.where(objects >= 0, truth.categories[objects.clip(0)] if len(truth.images) else 0, classes)
    np.add.at(counts, (annotated[is_counted], kept["categories"][found.rows][is_counted]), 1)
    missed = found.counted[0].copy()
    missed[objects[is_counted & (objects >= 0)]] = False
    counts[:classes, classes] = np.bincount(truth.categories[missed], minlength=classes)
    return ConfusionMatrix(tuple(names), counts, min_scores)


def _of_one_class(matches: Matches) -> GroundTruth:
    """The same objects, as if all were of one class."""
    truth = copy(matches.truth)
    truth.categories = np.zeros_like(truth.categories)
    truth.category_ids = truth.category_ids[:1]
    return truth
