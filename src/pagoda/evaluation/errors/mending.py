"""Average precision with some errors mended: only pictures and classes that an edit touches are matched anew.

D detections, N annotations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pagoda.evaluation.coco.bootstrap import resampled_ap
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.matching import LEFT_OUT, WRONG, Matches, match
from pagoda.evaluation.coco.scoring import MAX_POSES, SIZE_NAMES, SIZES, Task, mean
from pagoda.evaluation.coco.state import State
from pagoda.plain import checked

Rows = Sequence[int] | np.ndarray
"""(n,) whole numbers"""
Pairs = Sequence[tuple[int, int]] | np.ndarray
"""(n, 2) whole numbers"""


@checked
class Edits:
    """What is changed of the detections before they are scored.

    A detection is named by its row among those collected, `DetectionEvaluator.state()["scores"]`; an annotation by its
    place in the document the evaluator was made of; a class by its place among the sorted category ids.

    Args:
        dropped: detections that are taken out.
        forgiven: detections that are taken out where they find nothing: at that overlap, among objects of that size.
            They go on filling places among the `max_detections` that count.
        moved: (detection, annotation of its picture) that gets exactly the annotation's box, or mask, or keypoints.
        renamed: (detection, class) that it is given.
        added: annotations that a new detection finds exactly, by box, mask or keypoints, and class. It stands behind
            everything collected, which tells where scores are equal.
        added_scores: of these, one for all or one for each.

    Raises ValueError for what is not made of whole numbers, and for a detection that is moved or renamed twice.

    >>> Edits(dropped=[3, 4], moved=[(7, 2)]).moved
    array([[7, 2]])
    """

    def __init__(
        self,
        *,
        dropped: Rows = (),
        forgiven: Rows = (),
        moved: Pairs = (),
        renamed: Pairs = (),
        added: Rows = (),
        added_scores: float | Sequence[float] | np.ndarray = 1.0,
    ) -> None:
        self.dropped, self.forgiven = _whole("dropped", dropped), _whole("forgiven", forgiven)
        self.moved, self.renamed = _whole("moved", moved, (2,)), _whole("renamed", renamed, (2,))
        self.added = _whole("added", added)
        scores = np.atleast_1d(np.asarray(added_scores, np.float64))
        if scores.shape not in ((1,), self.added.shape) or not np.isfinite(scores).all():
            raise ValueError(
                f"added_scores must be a finite number, or one for each of the {len(self.added)} detections added,"
                f" got {added_scores}"
            )
        self.added_scores = np.broadcast_to(scores, self.added.shape)
        for name, pairs in (("moved", self.moved), ("renamed", self.renamed)):
            if len(np.unique(pairs[:, 0])) < len(pairs):
                raise ValueError(f"a detection is {name} twice; each can be {name} once")


@dataclass(frozen=True, kw_only=True)
class MendedAp:
    """Average precision, as fractions 0 … 1; nan where there is no object of that class or size."""

    ap: float
    """mean over overlaps and classes"""
    ap50: float
    """at an overlap of .5"""
    ap75: float
    """at .75"""
    per_size: dict[str, float]
    """small, medium, large; of keypoints without small"""
    per_class: dict[str, float]
    """class name → AP"""


@checked
class Oracle:
    """Scores the detections of an evaluator again and again, each time edited otherwise.

    Args:
        evaluator: with all its detections; what it collects later does not count here.
        task: what they are matched by. Raises ValueError where there are no such detections.

    >>> from pagoda.structures.labels import LabelMap
    >>> cats = [{"image_id": 7, "category_id": 1, "bbox": [x, 10, 40, 40], "area": 1600} for x in (10, 60)]
    >>> truth = {"images": [{"id": 7}], "annotations": cats, "categories": [{"id": 1, "name": "cat"}]}
    >>> evaluator = DetectionEvaluator(truth, LabelMap.from_names(["cat"]))
    >>> evaluator.update_results([{"image_id": 7, "category_id": 1, "bbox": [60, 10, 40, 40], "score": 0.9}])
    >>> oracle = Oracle(evaluator)
    >>> round(oracle.score().ap, 3), oracle.score(Edits(added=[0])).ap  # half of the recalls, 0 … .50; all
    (0.505, 1.0)
    """

    def __init__(self, evaluator: DetectionEvaluator, task: Task = "bbox") -> None:
        self.truth = evaluator.ground_truth
        self.collected = evaluator.state()
        column = {"bbox": "boxes_xywh", "segm": "masks", "keypoints": "keypoints"}[task]
        if column not in self.collected:
            raise ValueError(f"the detections cannot be scored by '{task}': they have no {column}")
        self.task = task
        self.names = evaluator.class_names()
        self.label_map = evaluator.label_map
        self._limit = MAX_POSES if task == "keypoints" else evaluator.max_detections
        self.matches = self._match(self.collected)
        """what each detection is matched to as it is"""

    @cached_property
    def _table(self) -> np.ndarray:
        return self._areas(self.matches)

    def score(self, edits: Edits | None = None) -> MendedAp:
        """AP after the edits; without any as it is. Raises ValueError for rows that are not there or do not fit."""
        return self._summary(self._table if edits is None else self._edited_table(edits))

    def _edited_table(self, edits: Edits) -> np.ndarray:
        """(S, T, classes); classes that no edit touches keep what they have."""
        self._check(edits)
        columns = self._edited(edits)
        classes = len(self.truth.category_ids)
        total = len(self.collected["scores"])
        mine = np.arange(len(columns["scores"]))
        before = self.collected["images"] * classes + self.collected["categories"]
        after = columns["images"] * classes + columns["categories"]
        changed = np.concatenate([edits.dropped, edits.moved[:, 0], edits.renamed[:, 0], mine[total:]])
        cells = np.unique(np.concatenate([after[changed], before[changed[changed < total]]]))
        touched = np.unique(np.concatenate([cells % classes, self.collected["categories"][edits.forgiven]]))
        if not len(touched):
            return self._table
        kept = np.ones(len(mine), bool)
        kept[edits.dropped] = False
        again = np.flatnonzero(np.isin(after, cells) & kept)
        stays = np.isin(self.matches.categories, touched)
        if len(cells):
            stays &= ~np.isin(before[self.matches.rows], cells)
        spliced = _taken(self.matches._replace(objects=self.matches.objects[:0]), stays)
        if len(again):
            fresh = self._match({name: values[again] for name, values in columns.items()})
            spliced = _joined(spliced, fresh._replace(rows=again[fresh.rows], objects=fresh.objects[:0]))
        table = self._table.copy()
        table[..., touched] = self._areas(_forgiving(spliced, edits.forgiven), touched)[..., touched]
        return table

    def _match(self, columns: State) -> Matches:
        return match(self.truth, columns, self.task, self._limit, self.label_map.skeleton)

    def _areas(self, matches: Matches, categories: np.ndarray | None = None) -> np.ndarray:
        ones = np.ones((1, len(self.truth.image_ids)), np.int32)
        return resampled_ap(matches, ones, categories=categories)[0]

    def _edited(self, edits: Edits) -> State:
        """The columns that matching looks at, what was dropped included, with what was added behind them."""
        truth, collected = self.truth, self.collected
        shapes = self._shapes(np.concatenate([edits.moved[:, 1], edits.added]))
        found, count = edits.moved[:, 0], len(edits.moved)
        columns: State = {}
        for name, values in shapes.items():
            columns[name] = np.concatenate([collected[name], values[count:]])
            columns[name][found] = values[:count]
        categories = collected["categories"].copy()
        categories[edits.renamed[:, 0]] = edits.renamed[:, 1]
        return {
            **columns,
            "images": np.concatenate([collected["images"], truth.images[edits.added]]),
            "scores": np.concatenate([collected["scores"], edits.added_scores]),
            "categories": np.concatenate([categories, truth.categories[edits.added]]),
        }

    def _shapes(self, annotations: np.ndarray) -> State:
        """Boxes of the annotations, and their masks or keypoints where these are scored."""
        shapes = {"boxes_xywh": self.truth.boxes_xywh[annotations]}
        if self.task == "segm":
            shapes["masks"] = np.array(self.truth.mask_texts(), dtype=object)[annotations]
        if self.task == "keypoints":
            assert self.label_map.skeleton is not None
            shapes["keypoints"] = self.truth.keypoint_triples(len(self.label_map.skeleton))[annotations]
        return shapes

    def _check(self, edits: Edits) -> None:
        truth, images = self.truth, self.collected["images"]
        detections = np.concatenate([edits.dropped, edits.forgiven, edits.moved[:, 0], edits.renamed[:, 0]])
        annotations = np.concatenate([edits.added, edits.moved[:, 1]])
        for what, rows, number in (
            ("detection", detections, len(images)),
            ("annotation", annotations, len(truth.images)),
            ("class", edits.renamed[:, 1], len(truth.category_ids)),
        ):
            outside = rows[(rows < 0) | (rows >= number)]
            if len(outside):
                raise ValueError(f"an edit names {what} {outside[0]}, but there are {number}, counted from 0")
        uncounted = annotations[~truth.counted(self.task)[annotations]]
        if len(uncounted):
            raise ValueError(
                f"annotation {uncounted[0]} (counted from 0) can be neither found nor missed by '{self.task}': it is a"
                " crowd or has no such shape; leave it out of the edits"
            )
        apart = edits.moved[images[edits.moved[:, 0]] != truth.images[edits.moved[:, 1]]]
        if len(apart):
            raise ValueError(
                f"detection {apart[0, 0]} cannot move to annotation {apart[0, 1]}: they are of two pictures"
            )
        both = np.intersect1d(edits.dropped, np.concatenate([edits.moved[:, 0], edits.renamed[:, 0]]))
        if len(both):
            raise ValueError(f"detection {both[0]} cannot be dropped and changed at once")

    def _summary(self, table: np.ndarray) -> MendedAp:
        def average(values: np.ndarray) -> float:
            return mean(np.where(np.isnan(values), -1, values))

        return MendedAp(
            ap=average(table[0]),
            ap50=average(table[0, 0]),
            ap75=average(table[0, 5]),
            per_size={
                SIZE_NAMES[letter]: average(table[place])
                for place, letter in enumerate(SIZES[self.task])
                if letter
            },
            per_class={name: average(table[0, :, place]) for place, name in enumerate(self.names)},
        )


@checked
def mended_ap(evaluator: DetectionEvaluator, edits: Edits, task: Task = "bbox") -> MendedAp:
    """AP of what an evaluator collected, edited; for more than one set of edits `Oracle` is quicker."""
    return Oracle(evaluator, task).score(edits)


def _whole(name: str, values: Rows | Pairs, shape: tuple[int, ...] = ()) -> np.ndarray:
    column = np.asarray(values)
    if not column.size:
        return np.zeros((0, *shape), np.int64)
    if column.dtype.kind not in "iu" or column.ndim != 1 + len(shape) or column.shape[1:] != shape:
        expected = "pairs of whole numbers" if shape else "whole numbers"
        raise ValueError(f"{name} must be {expected}, got {column.dtype} of shape {column.shape}")
    return column.astype(np.int64)


def _taken(matches: Matches, kept: np.ndarray) -> Matches:
    return matches._replace(
        images=matches.images[kept],
        categories=matches.categories[kept],
        scores=matches.scores[kept],
        rows=matches.rows[kept],
        in_range=matches.in_range[:, kept],
        status=matches.status[..., kept],
        objects=matches.objects[:, kept],
    )


def _joined(one: Matches, other: Matches) -> Matches:
    """Both, in the order in which they would have been matched at once."""
    both = one._replace(
        images=np.concatenate([one.images, other.images]),
        categories=np.concatenate([one.categories, other.categories]),
        scores=np.concatenate([one.scores, other.scores]),
        rows=np.concatenate([one.rows, other.rows]),
        in_range=np.concatenate([one.in_range, other.in_range], axis=-1),
        status=np.concatenate([one.status, other.status], axis=-1),
        objects=np.concatenate([one.objects, other.objects], axis=-1),
    )
    return _taken(both, np.lexsort((both.rows, both.images, -both.scores, both.categories)))


def _forgiving(matches: Matches, rows: np.ndarray) -> Matches:
    """What finds nothing does not count, of these rows."""
    if not len(rows):
        return matches
    forgiven = np.flatnonzero(np.isin(matches.rows, rows))
    status, in_range = matches.status.copy(), matches.in_range.copy()
    status[..., forgiven] = np.where(status[..., forgiven] == WRONG, LEFT_OUT, status[..., forgiven])
    in_range[:, forgiven] = False
    return matches._replace(status=status, in_range=in_range)
