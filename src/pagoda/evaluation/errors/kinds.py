"""What is wrong with each detection and with each object that was missed, told from detections alone.

The kinds are those of TIDE (Bolya 2020), at an overlap of .5: D detections, N annotations.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.ground_truth import GroundTruth
from pagoda.evaluation.coco.matching import LEFT_OUT, RIGHT, WRONG, Matches, pairs_of
from pagoda.evaluation.coco.overlaps import overlaps
from pagoda.evaluation.coco.scoring import Task
from pagoda.evaluation.coco.state import State
from pagoda.evaluation.errors.mending import Oracle
from pagoda.plain import checked
from pagoda.structures.skeleton import Skeleton

Verdict = Literal[
    "not counted",
    "right",
    "crowd",
    "duplicate",
    "wrong class",
    "loose box",
    "wrong class, loose box",
    "background",
]
"""on a detection"""
Fate = Literal["not counted", "found", "wrong class", "loose box", "nothing there"]
"""of an annotation"""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
FATES: tuple[Fate, ...] = get_args(Fate)
ERRORS: dict[str, tuple[Verdict, ...] | tuple[Fate, ...]] = {"wrong": VERDICTS[3:], "missed": FATES[2:]}
"""what counts against a detector; COCO holds nothing against detections in a crowd at this overlap"""
ENOUGH, NEARBY = 0.5, 0.1
"""overlaps from which on an object counts as found, and as meant"""


class ErrorKinds(NamedTuple):
    """Rows of detections are those collected, rows of annotations those of the document."""

    verdicts: np.ndarray
    """(D,) places in `VERDICTS`"""
    objects: np.ndarray
    """(D,) annotation that the verdict speaks of; of one on the background the nearest; -1: touches none"""
    overlaps: np.ndarray
    """(D,) with that annotation"""
    fates: np.ndarray
    """(N,) places in `FATES`"""
    blamed: np.ndarray
    """(N,) of a missed object the wrong detection that is on it, -1 without"""
    images: np.ndarray
    """(D,) positions of the pictures of the detections"""
    truth_images: np.ndarray
    """(N,) positions of the pictures of the annotations"""

    def wrong(self) -> dict[str, np.ndarray]:
        """Kind → rows of detections, those in crowds included."""
        return {name: np.flatnonzero(self.verdicts == VERDICTS.index(name)) for name in VERDICTS[2:]}

    def missed(self) -> dict[str, np.ndarray]:
        """Kind → rows of annotations."""
        return {name: np.flatnonzero(self.fates == FATES.index(name)) for name in FATES[2:]}

    def counts(self, num_images: int) -> dict[str, np.ndarray]:
        """ "wrong: duplicate", "missed: loose box" … → (images,) how many there are in each picture."""
        wrong, missed = self.wrong(), self.missed()
        counts = {
            f"wrong: {name}": np.bincount(self.images[wrong[name]], minlength=num_images)
            for name in VERDICTS[3:]
        }
        return counts | {
            f"missed: {name}": np.bincount(self.truth_images[rows], minlength=num_images)
            for name, rows in missed.items()
        }


@checked
def error_kinds(
    evaluator: DetectionEvaluator, task: Task = "bbox", *, min_scores: np.ndarray | None = None
) -> ErrorKinds:
    """The first that holds, of a detection that COCO counts at an overlap of .5:

    right · crowd: matched to a crowd or to what cannot be found · duplicate: it overlaps an object of its class by .5,
    which a better one has found · wrong class: it overlaps an object of another class by .5 · loose box: one of its
    class by .1 · wrong class, loose box: one of another class by .1 · background.

    Of an object that was not found: wrong class: a wrong detection of another class overlaps it by .5 · loose box: a
    wrong one of its class by .1 · nothing there. "Loose" are masks and keypoints where these are scored.

    Args:
        evaluator: with all its detections.
        task: by what overlaps are measured.
        min_scores: (classes,) detections below the score of their class are not there; None: all are.

    >>> from pagoda.structures.labels import LabelMap
    >>> cats = [{"image_id": 7, "category_id": 1, "bbox": [x, 10, 40, 40], "area": 1600} for x in (10, 90)]
    >>> truth = {"images": [{"id": 7}], "annotations": cats, "categories": [{"id": 1, "name": "cat"}]}
    >>> evaluator = DetectionEvaluator(truth, LabelMap.from_names(["cat"]))
    >>> rows = [{"image_id": 7, "category_id": 1, "bbox": [x, 10, 40, 40], "score": 0.9} for x in (10, 12, 110, 300)]
    >>> evaluator.update_results(rows)
    >>> kinds = error_kinds(evaluator)
    >>> [VERDICTS[each] for each in kinds.verdicts], [FATES[each] for each in kinds.fates]
    (['right', 'duplicate', 'loose box', 'background'], ['found', 'loose box'])
    """
    oracle = Oracle(evaluator, task)
    skeleton = evaluator.label_map.skeleton
    return kinds_of(oracle.matches, oracle.collected, task, skeleton, min_scores=min_scores)


@checked
def kinds_of(
    matches: Matches,
    collected: State,
    task: Task,
    skeleton: Skeleton | None = None,
    *,
    min_scores: np.ndarray | None = None,
) -> ErrorKinds:
    """`error_kinds` of what is matched already: `matches` of all that was `collected`."""
    status = matches.status[0, 0]
    is_shown = np.ones(len(matches.rows), bool)
    if min_scores is not None:
        is_shown = matches.scores >= np.asarray(min_scores)[matches.categories]
    number = len(collected["scores"])
    verdicts, objects, shares = np.zeros(number, np.int64), np.full(number, -1), np.zeros(number)
    for name, mark in (("right", RIGHT), ("crowd", LEFT_OUT), ("background", WRONG)):
        rows = matches.rows[is_shown & (status == mark)]
        verdicts[rows] = VERDICTS.index(name)
        objects[rows] = matches.objects[0][is_shown & (status == mark)]
    pairs = _pairs(matches.truth, collected, task, np.flatnonzero(verdicts), skeleton)
    matched = objects[pairs.found] == pairs.annotations
    shares[pairs.found[matched]] = pairs.values[matched]

    is_wrong = verdicts == VERDICTS.index("background")
    pairs = pairs.only(is_wrong[pairs.found] & matches.counted[0][pairs.annotations])
    own, other = (
        _best(side.found, side.annotations, side.values, number)
        for side in (pairs.only(pairs.is_same), pairs.only(~pairs.is_same))
    )
    is_kind = [own.values >= ENOUGH, other.values >= ENOUGH, own.values >= NEARBY, other.values >= NEARBY]
    kinds = np.select(is_kind, range(3, 7), VERDICTS.index("background"))
    verdicts[is_wrong] = kinds[is_wrong]
    is_own = np.select(is_kind, [True, False, True, False], own.values >= other.values)
    for mine, (one, two) in ((objects, (own.places, other.places)), (shares, (own.values, other.values))):
        mine[is_wrong] = np.where(is_own, one, two)[is_wrong]
    fates, blamed = _fates(pairs, matches.counted[0], objects[verdicts == VERDICTS.index("right")])
    return ErrorKinds(verdicts, objects, shares, fates, blamed, collected["images"], matches.truth.images)


class _Pairs(NamedTuple):
    """Detections and annotations of any class of a picture that overlap at all."""

    found: np.ndarray
    annotations: np.ndarray
    values: np.ndarray
    is_same: np.ndarray
    """whether both are of one class"""

    def only(self, kept: np.ndarray) -> "_Pairs":
        return _Pairs(*(column[kept] for column in self))


def _pairs(
    truth: GroundTruth, collected: State, task: Task, found: np.ndarray, skeleton: Skeleton | None
) -> _Pairs:
    annotations = np.flatnonzero(truth.has_mask if task == "segm" else np.ones_like(truth.crowd))
    annotations = annotations[np.argsort(truth.images[annotations], kind="stable")]
    pairs = pairs_of(collected["images"][found], truth.images[annotations])
    mine, theirs = found[pairs.found], annotations[pairs.annotations]
    values = overlaps(truth, collected, task, mine, theirs, skeleton).values
    is_same = collected["categories"][mine] == truth.categories[theirs]
    return _Pairs(mine, theirs, values, is_same).only(values > 0)


class _Best(NamedTuple):
    values: np.ndarray
    """largest of each group, 0 without any"""
    places: np.ndarray
    """whose it is, the first of equal ones, -1 without any"""


def _best(groups: np.ndarray, others: np.ndarray, values: np.ndarray, number: int) -> _Best:
    order = np.lexsort((-others, values, groups))  # the last of a group is its best
    best = _Best(np.zeros(number), np.full(number, -1))
    best.values[groups[order]] = values[order]
    best.places[groups[order]] = others[order]
    return best


def _fates(pairs: _Pairs, counted: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) places in `FATES` and the wrong detection on each; `pairs` are those of wrong detections."""
    own, other = (
        _best(side.annotations, side.found, side.values, len(counted))
        for side in (pairs.only(pairs.is_same), pairs.only(~pairs.is_same))
    )
    is_kind = [other.values >= ENOUGH, own.values >= NEARBY]
    fates = np.select(is_kind, [FATES.index("wrong class"), FATES.index("loose box")], len(FATES) - 1)
    blamed = np.select(is_kind, [other.places, own.places], -1)
    fates[found], fates[~counted] = FATES.index("found"), FATES.index("not counted")
    blamed[fates < FATES.index("wrong class")] = -1
    return fates, blamed
