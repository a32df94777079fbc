"""Which detection finds which object, of some pictures at a time: COCO's matching, as `pagoda val` counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pagoda.data.table.annotations import Annotations
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.matching import LEFT_OUT, Matches
from pagoda.evaluation.coco.scoring import Task
from pagoda.explain.why.misses import Reason
from pagoda.explain.why.records import MissReason
from pagoda.plain import JsonObject
from pagoda.structures.instances import Detections

POOR: dict[str, MissReason] = {"segm": "poor mask", "keypoints": "poor keypoints"}


@dataclass
class Matched:
    """What was found in one picture. Rows of detections and of the picture's annotations."""

    finds: dict[int, int] = field(default_factory=dict)
    """detection → the object it finds"""
    found_by: dict[int, int] = field(default_factory=dict)
    """the same the other way round"""
    left_out: set[int] = field(default_factory=set)
    """detections on crowds and ignored objects, which count neither way"""
    poor: dict[Task, set[int]] = field(default_factory=dict)
    """objects that "segm" or "keypoints" do not find"""

    @property
    def taken(self) -> dict[int, int | None]:
        """detection → the object it finds, None for an ignored one."""
        return {**self.finds, **dict.fromkeys(self.left_out)}

    def with_rows(self, rows: Sequence[int]) -> "Matched":
        """The same where detection i stands in row `rows[i]`."""
        return Matched(
            {rows[row]: own for row, own in self.finds.items()},
            {own: rows[row] for own, row in self.found_by.items()},
            {rows[row] for row in self.left_out},
            self.poor,
        )

    def poor_reasons(self, row: int, iou: float) -> list[Reason]:
        """What is wrong with an object that is found by its box."""
        row_found = self.found_by[row]
        return [
            Reason(
                POOR[task],
                f"detection {row_found} has its box, but its {task_name} overlaps by less than {iou:g}",
                detection=row_found,
            )
            for task, task_name in (("segm", "mask"), ("keypoints", "pose (OKS)"))
            if row in self.poor.get(task, ())  # type: ignore[call-overload]
        ]


class Matcher:
    """Matches pictures of one data set, at an IoU of .5."""

    def __init__(self, annotations: Annotations, max_detections: int) -> None:
        self._annotations, self._limit = annotations, max_detections
        self._document = annotations.to_coco()
        ids = annotations.image_ids.tolist()
        self._index = {image_id: index for index, image_id in enumerate(ids)}

    def evaluator(self, indices: Sequence[int]) -> DetectionEvaluator:
        """One that scores these pictures; annotations of a picture stand together, in their order."""
        return DetectionEvaluator(
            self._part(indices), self._annotations.label_map, max_detections=self._limit
        )

    def match(self, found: Sequence[Detections]) -> list[Matched]:
        """What each picture's detections find; classes that the data do not have find nothing."""
        evaluator = self.evaluator([self._index[each.image_id] for each in found])  # type: ignore[index]
        owners: list[tuple[int, int]] = []
        for number, each in enumerate(found):
            evaluator.update(each)
            owners += [(number, row) for row in range(len(each))]
        matched = [Matched() for _ in found]
        firsts = np.concatenate([[0], np.cumsum([self._count(each) for each in found])])
        matches = evaluator.matches()
        for row, annotation, state in zip(
            *(part.tolist() for part in (matches["bbox"].rows, matches["bbox"].objects[0])),
            matches["bbox"].status[0, 0].tolist(),
            strict=True,
        ):
            number, detection = owners[row]
            _note(matched[number], detection, annotation - firsts[number], annotation >= 0, state)
        numbers = {each.image_id: number for number, each in enumerate(found)}
        for task in ("segm", "keypoints"):
            if task in matches:
                for image_id, annotation in _not_found(matches[task]):
                    number = numbers[image_id]
                    matched[number].poor.setdefault(task, set()).add(annotation - int(firsts[number]))
        return matched

    def _count(self, found: Detections) -> int:
        index = self._index[found.image_id]  # type: ignore[index]
        return int(self._annotations.offsets[index + 1] - self._annotations.offsets[index])

    def _part(self, indices: Sequence[int]) -> JsonObject:
        offsets = self._annotations.offsets
        return {
            **self._document,
            "images": [self._document["images"][index] for index in indices],
            "annotations": [
                annotation
                for index in indices
                for annotation in self._document["annotations"][offsets[index] : offsets[index + 1]]
            ],
        }


def _note(matched: Matched, detection: int, own: int, is_matched: bool, state: int) -> None:
    if state == LEFT_OUT:
        matched.left_out.add(detection)
    elif is_matched:
        matched.finds[detection] = int(own)
        matched.found_by[int(own)] = detection


def _not_found(matches: Matches) -> Iterator[tuple[int | str, int]]:
    """(picture, annotation) of what counts and no detection finds."""
    truth = matches.truth
    for annotation in np.setdiff1d(np.flatnonzero(matches.counted[0]), matches.objects[0]).tolist():
        yield truth.image_ids[int(truth.images[annotation])], annotation
