"""What each kind of error costs: the AP that is gained where all of that kind are mended."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.matching import RIGHT, WRONG
from pagoda.evaluation.coco.scoring import Task
from pagoda.evaluation.errors.kinds import kinds_of
from pagoda.evaluation.errors.mending import Edits, MendedAp, Oracle, Rows
from pagoda.plain import checked

BOX_ACCURACY = "box accuracy"
"""what is found, but not exactly"""


@dataclass(frozen=True, kw_only=True)
class KindCost:
    """What is gained where one kind of error is mended and nothing else, as fractions 0 … 1."""

    kind: str
    """of misses or of wrong detections, or "box accuracy" """
    is_miss: bool
    """objects that were missed, not detections that are wrong"""
    count: int
    """of them"""
    ap: float
    """of AP; now and then below 0: where what is mended takes an object, at a high overlap, from what had found it"""
    per_class: dict[str, float]
    """of AP of each class that has objects"""
    per_size: dict[str, float]
    """of APs, APm, APl under small, medium, large, as far as there are objects"""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """All kinds, and how far they explain what is missing."""

    kinds: list[KindCost]
    """the dearest first"""
    ap: float
    """as it is; nan without objects"""
    mended_ap: float
    """with all kinds mended at once: 1, unless something that counts is of no kind or cannot be found"""
    untold_missed: int
    """objects that were not found at an overlap of .5 and are of no kind"""
    untold_wrong: int
    """detections that find nothing, at one overlap at least, and are neither right at .5 nor of any kind"""

    @property
    def overlap(self) -> float:
        """How much more the kinds regain one by one than all at once; below 0: how much only all together do.

        Errors overlap: an object that was missed lowers the recall at which a wrong detection does harm.
        """
        return sum(each.ap for each in self.kinds) - (self.mended_ap - self.ap)

    def words(self) -> str:
        """What is missing, what is regained, and by how much the kinds overlap."""
        if np.isnan(self.ap):
            return "no objects: nothing can be missing"
        told = (
            f"{100 * (1 - self.ap):.1f} points are missing; mended one by one the kinds regain"
            f" {100 * sum(each.ap for each in self.kinds):.1f}, all at once {100 * (self.mended_ap - self.ap):.1f}"
        )
        relation = "overlap" if self.overlap >= 0 else "add to each other"
        return f"{told}: they {relation} by {100 * abs(self.overlap):.1f}"


@checked
def costs_of(
    evaluator: DetectionEvaluator,
    misses: Mapping[str, Rows],
    wrong: Mapping[str, Rows],
    task: Task = "bbox",
) -> Costs:
    """Mend each kind alone, then all at once.

    * Missed objects: each is found exactly, by a new detection of score 1. Where the evaluator, which may hold scores
      that were not looked at, has found one at an overlap of .5 all the same, the new detection takes its place.
    * Wrong detections, whatever is wrong with them: none counts any more where it finds nothing. At .5 they are gone;
      one that fits another object from .75 on, say, stays right there. A wrong class or a loose box is not put right
      instead, or it would find what is mended as missed a second time.
    * "box accuracy": each detection that is right at .5 gets exactly its object's box, or mask, or keypoints.

    With all of them mended AP is 1, which holds as long as every object that counts has an area and no picture has
    more of a class than `max_detections`.

    Args:
        evaluator: with all its detections.
        misses: kind → annotations, by their place in the document the evaluator was made of. Those of a picture are
            `np.flatnonzero(truth.images == truth.image_index[image_id])` with `truth = evaluator.ground_truth`, in
            the document's order.
        wrong: kind → detections, by their row among those collected. Those of a picture are
            `np.flatnonzero(evaluator.state()["images"] == truth.image_index[image_id])`, in the order of its update
            (of a model's detections only those of classes that the data have).
        task: by what detections are matched.

    Raises ValueError for rows that are not there, that are of two kinds or that are right, and for crowds as misses.

    >>> from pagoda.structures.labels import LabelMap
    >>> cats = [{"image_id": 7, "category_id": 1, "bbox": [x, 10, 40, 40], "area": 1600} for x in (10, 60)]
    >>> truth = {"images": [{"id": 7}], "annotations": cats, "categories": [{"id": 1, "name": "cat"}]}
    >>> evaluator = DetectionEvaluator(truth, LabelMap.from_names(["cat"]))
    >>> row = {"image_id": 7, "category_id": 1}
    >>> boxes = [([0, 80, 9, 9], 0.9), ([60, 10, 40, 40], 0.8)]  # on the background; right
    >>> evaluator.update_results([{**row, "bbox": box, "score": score} for box, score in boxes])
    >>> costs = costs_of(evaluator, {"low score": [0]}, {"background": [0]})
    >>> [(each.kind, round(each.ap, 2)) for each in costs.kinds], costs.mended_ap
    ([('low score', 0.58), ('background', 0.25), ('box accuracy', 0.0)], 1.0)
    """
    return _costs(Oracle(evaluator, task), misses, wrong)


@checked
def error_costs(evaluator: DetectionEvaluator, task: Task = "bbox") -> Costs:
    """`costs_of` the kinds that `error_kinds` tells from the detections alone."""
    oracle = Oracle(evaluator, task)
    kinds = kinds_of(oracle.matches, oracle.collected, task, evaluator.label_map.skeleton)
    return _costs(oracle, kinds.missed(), kinds.wrong())


def _costs(oracle: Oracle, misses: Mapping[str, Rows], wrong: Mapping[str, Rows]) -> Costs:
    missing, failing = _distinct(misses, "annotation"), _distinct(wrong, "detection")
    matches = oracle.matches
    is_right = matches.status[0, 0] == RIGHT
    rows, onto = matches.rows[is_right], matches.objects[0][is_right]
    refused = np.intersect1d(rows, failing)
    if len(refused):
        raise ValueError(f"detection {refused[0]} is right at an overlap of .5; it cannot be of a wrong kind")

    def mended(missed: Rows, wrongs: Rows, *, exact: bool = False) -> MendedAp:
        replaced = np.isin(onto, np.asarray(missed))
        pairs = np.column_stack([rows, onto])[~replaced] if exact else ()
        return oracle.score(Edits(dropped=rows[replaced], forgiven=wrongs, moved=pairs, added=missed))

    as_is = oracle.score()
    kinds = [_cost(kind, True, len(each), mended(each, ()), as_is) for kind, each in misses.items()]
    kinds += [_cost(kind, False, len(each), mended((), each), as_is) for kind, each in wrong.items()]
    kinds.append(_cost(BOX_ACCURACY, False, len(rows), mended((), (), exact=True), as_is))
    fails = (matches.status[0] == WRONG).any(0) & ~is_right
    counted = np.flatnonzero(matches.counted[0])
    return Costs(
        kinds=sorted(kinds, key=lambda each: -np.nan_to_num(each.ap)),
        ap=as_is.ap,
        mended_ap=mended(missing, failing, exact=True).ap,
        untold_missed=len(np.setdiff1d(counted, np.concatenate([onto, missing]))),
        untold_wrong=len(np.setdiff1d(matches.rows[fails], failing)),
    )


def _distinct(kinds: Mapping[str, Rows], what: str) -> np.ndarray:
    """All rows of all kinds."""
    rows = np.concatenate([np.zeros(0, np.int64), *(np.asarray(each, np.int64) for each in kinds.values())])
    values, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{what} {values[counts > 1][0]} is named twice; each can be of one kind, once")
    return rows


def _cost(kind: str, is_miss: bool, count: int, mended: MendedAp, as_is: MendedAp) -> KindCost:
    gains = {
        part: {
            name: value - getattr(as_is, part)[name]
            for name, value in getattr(mended, part).items()
            if not np.isnan(value)
        }
        for part in ("per_class", "per_size")
    }
    return KindCost(kind=kind, is_miss=is_miss, count=count, ap=mended.ap - as_is.ap, **gains)
