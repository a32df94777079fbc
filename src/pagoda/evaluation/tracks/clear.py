"""CLEAR MOT counts (Bernardin 2008), a pair of object and hypothesis surviving gaps of any length.

An object keeps the hypothesis it was last matched with whenever both are there and close enough, even if
nearer ones are about and even after frames in which one of them was missing; py-motmetrics, and with it
PoseTrack's and BDD100K's scores, count so. TrackEval lets a pair survive from one frame to the next only;
the two must not be mixed in one table. N objects, M hypotheses.
"""

from dataclasses import dataclass, field, fields

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment


@dataclass
class ClearCounts:
    """Counts of CLEAR MOT, which add up over frames and videos.

    >>> both = ClearCounts(objects=6, matches=5, misses=1) + ClearCounts(objects=4, matches=3, switches=1)
    >>> both.objects, both.metrics()["mota"]  # 1 − (misses + switches + false positives) / objects
    (10, 0.8)
    """

    objects: int = 0
    """of the ground truth, each counted in every frame it is in; so are the next four"""
    matches: int = 0
    """objects found by the same hypothesis as before, or for the first time"""
    switches: int = 0
    """objects found by another hypothesis than before"""
    misses: int = 0
    """objects without a hypothesis"""
    false_positives: int = 0
    """hypotheses without an object"""
    distance: float = 0.0
    """sum over matches and switches"""
    logged_distance: float = 0.0
    """sum over all events that py-motmetrics 1.4 logs: every allowed pair, and some switches once more"""
    mostly_tracked: int = 0
    """objects found in at least 80 % of their frames"""
    partly_tracked: int = 0
    """objects between the two"""
    mostly_lost: int = 0
    """objects found in less than 20 % of their frames"""
    fragmentations: int = 0
    """how often an object was found again after frames in which it was missed"""

    def __add__(self, other: "ClearCounts") -> "ClearCounts":
        return ClearCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def found(self) -> int:
        """Objects with a hypothesis, rightly named or not."""
        return self.matches + self.switches

    def metrics(self) -> dict[str, float]:
        """mota, precision, recall, mean distance of what was found; nan where nothing is there to divide by."""
        wrong = self.misses + self.switches + self.false_positives
        return {
            "mota": 1 - _ratio(wrong, self.objects),
            "precision": _ratio(self.found, self.found + self.false_positives),
            "recall": _ratio(self.found, self.objects),
            "mean_distance": _ratio(self.distance, self.found),
        }


@dataclass
class ClearMatcher:
    """One video, frame by frame; what it remembers grows with the identities, not with the frames.

    >>> matcher = ClearMatcher()
    >>> for hypothesis in (8, 8, 9):  # the same object, found by another hypothesis in the third frame
    ...     matcher.update(np.array([1]), np.array([hypothesis]), np.array([[0.2]]))
    >>> matcher.result().matches, matcher.result().switches
    (2, 1)
    """

    counts: ClearCounts = field(default_factory=ClearCounts)
    """of the frames so far; how well each object was followed is in `result` alone"""

    def __post_init__(self) -> None:
        self._hypothesis_of: dict[int, int] = {}
        self._object_of: dict[int, int] = {}
        self._history: dict[
            int, list[int]
        ] = {}  # object: [frames, frames found, missed since, fragmentations]

    def update(
        self,
        objects: Int[np.ndarray, " n"],
        hypotheses: Int[np.ndarray, " m"],
        distances: Float[np.ndarray, "n m"],
    ) -> None:
        """One frame: ids of both, and their distances, nan where a pair is not allowed."""
        pairs = self._surviving(objects, hypotheses, distances)
        open_rows = np.setdiff1d(np.arange(len(objects)), [row for row, _ in pairs])
        open_columns = np.setdiff1d(np.arange(len(hypotheses)), [column for _, column in pairs])
        counts, remaining = self.counts, distances[np.ix_(open_rows, open_columns)]
        counts.logged_distance += float(np.nansum(distances))
        for row, column in zip(*most_pairs(remaining), strict=True):
            pair = int(open_rows[row]), int(open_columns[column])
            self._count_new(int(objects[pair[0]]), int(hypotheses[pair[1]]), float(distances[pair]))
            pairs.append(pair)
        found_distance = sum(float(distances[pair]) for pair in pairs)
        counts.objects += len(objects)
        counts.misses += len(objects) - len(pairs)
        counts.false_positives += len(hypotheses) - len(pairs)
        counts.matches = counts.objects - counts.misses - counts.switches
        counts.distance += found_distance
        counts.logged_distance += found_distance
        found = {row for row, _ in pairs}
        for row, each in enumerate(objects.tolist()):
            self._note(each, row in found)

    def result(self) -> ClearCounts:
        """The counts of this video, with how well each object was followed."""
        total = self.counts + ClearCounts()
        for frames, found, _, breaks in self._history.values():
            share = found / frames
            total.mostly_tracked += share >= 0.8
            total.mostly_lost += share < 0.2
            total.partly_tracked += 0.2 <= share < 0.8
            total.fragmentations += breaks
        return total

    def _surviving(
        self, objects: np.ndarray, hypotheses: np.ndarray, distances: np.ndarray
    ) -> list[tuple[int, int]]:
        column_of = {hypothesis: column for column, hypothesis in enumerate(hypotheses.tolist())}
        pairs, taken = [], set()
        for row, each in enumerate(objects.tolist()):
            column = column_of.get(self._hypothesis_of.get(each, -1))
            if column is not None and column not in taken and np.isfinite(distances[row, column]):
                pairs.append((row, column))
                taken.add(column)
        return pairs

    def _count_new(self, each: int, hypothesis: int, distance: float) -> None:
        counts, before = self.counts, self._hypothesis_of.get(each)
        is_switch = before is not None and before != hypothesis
        counts.switches += is_switch
        is_transfer = self._object_of.get(hypothesis, each) != each
        # py-motmetrics logs a switch to a hypothesis never matched before (ascend), and a hypothesis going over
        # to another object (transfer), the latter twice when that object was never matched (migrate).
        # As there, a pair that survives does not refresh whose the hypothesis is.
        times = int(is_switch and hypothesis not in self._object_of)
        times += int(is_transfer) + int(is_transfer and before is None)
        counts.logged_distance += times * distance
        self._hypothesis_of[each], self._object_of[hypothesis] = hypothesis, each

    def _note(self, each: int, is_found: bool) -> None:
        history = self._history.setdefault(each, [0, 0, 0, 0])
        history[0] += 1
        if is_found:
            history[3] += history[2] and history[1] > 0
            history[1] += 1
        history[2] = int(not is_found)


def most_pairs(distances: Float[np.ndarray, "n m"]) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """(rows, columns) of as many pairs as can be made without those that are nan, chosen for the least sum.

    >>> nearest_first = np.array([[0.1, 0.4], [0.2, np.nan]])  # the nearest pair would leave row 1 alone
    >>> most_pairs(nearest_first)
    (array([0, 1]), array([1, 0]))
    """
    is_allowed = np.isfinite(distances)
    if not is_allowed.any():
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    penalty = 1 + 2 * min(distances.shape) * float(np.abs(distances[is_allowed]).max())
    rows, columns = linear_sum_assignment(np.where(is_allowed, distances, penalty))
    kept = is_allowed[rows, columns]
    return rows[kept], columns[kept]


def _ratio(part: float, whole: float) -> float:
    """part / whole; nan where the whole is 0."""
    return part / whole if whole else float("nan")
