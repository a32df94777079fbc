"""What every detection that finds nothing is, and what the kinds of errors cost: from all pictures together."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.scoring import size_name
from pagoda.evaluation.errors.costs import Costs, costs_of
from pagoda.evaluation.errors.kinds import VERDICTS, ErrorKinds, error_kinds
from pagoda.explain.why.records import Miss, SeenPicture, Suspect, Wrong, WrongKind
from pagoda.structures.instances import Detections

WRONG = VERDICTS[2:]
"""of the verdicts those on detections that find nothing"""
CERTAIN = 0.4
"""suspicion of a detection on nothing that is annotated, which another look gives nearly the score of what is right"""


class Collected:
    """Detections of pictures one after the other, scored together."""

    def __init__(self, evaluator: DetectionEvaluator) -> None:
        self.evaluator = evaluator
        self._owners: list[tuple[int | str, int]] = []

    def add(self, found: Detections, rows: Sequence[int]) -> None:
        """Detections of one picture in classes of the data, and their rows among all of the picture."""
        assert found.image_id is not None
        self.evaluator.update(found)
        self._owners += [(found.image_id, row) for row in rows]

    def wrong(self, pictures: Iterable[SeenPicture], suspects: Sequence[Suspect]) -> list[Wrong]:
        """What each detection is that finds nothing, in the order of the pictures."""
        kinds = error_kinds(self.evaluator)
        seen = {picture.image_id: picture for picture in pictures}
        unannotated = {
            (each.image_id, each.detection)
            for each in suspects
            if each.kind == "missing" and each.suspicion >= CERTAIN
        }
        told = [
            self._wrong(row, kinds, seen, unannotated)
            for verdict in WRONG
            for row in np.flatnonzero(kinds.verdicts == VERDICTS.index(verdict)).tolist()
        ]
        order = {image_id: number for number, image_id in enumerate(seen)}
        return sorted(told, key=lambda each: (order[each.image_id], each.detection))

    def costs(self, misses: Sequence[Miss], wrong: Sequence[Wrong]) -> Costs:
        """What AP of boxes is regained by mending each reason of misses and each kind of wrong detections."""
        rows = {owner: row for row, owner in enumerate(self._owners)}
        by_reason: dict[str, list[int]] = {}
        for miss in misses:
            if miss.reason not in ("poor mask", "poor keypoints"):  # whose boxes are right
                by_reason.setdefault(miss.reason, []).append(self._firsts[miss.image_id] + miss.object)
        by_kind: dict[str, list[int]] = {}
        for each in wrong:
            if each.kind != "crowd":  # which COCO holds nothing against
                by_kind.setdefault(each.kind, []).append(rows[each.image_id, each.detection])
        return costs_of(self.evaluator, by_reason, by_kind)

    @cached_property
    def _firsts(self) -> dict[int | str, int]:
        """Where the annotations of each picture begin, which stand together in the document."""
        truth = self.evaluator.ground_truth
        images, rows = np.unique(truth.images, return_index=True)
        return {
            truth.image_ids[image]: row for image, row in zip(images.tolist(), rows.tolist(), strict=True)
        }

    def _wrong(
        self,
        row: int,
        kinds: ErrorKinds,
        seen: dict[int | str, SeenPicture],
        unannotated: set[tuple[int | str, int | None]],
    ) -> Wrong:
        image_id, detection = self._owners[row]
        picture = seen[image_id]
        kind: WrongKind = VERDICTS[kinds.verdicts[row]]  # type: ignore[assignment]
        annotation, iou = int(kinds.objects[row]), float(kinds.overlaps[row])
        own = None if annotation < 0 else annotation - self._firsts[image_id]
        if kind == "background" and (image_id, detection) in unannotated:
            kind = "not annotated"
        x1, y1, x2, y2 = picture.boxes[detection]
        return Wrong(
            image_id=image_id,
            detection=detection,
            label=picture.labels[detection],
            size=size_name((x2 - x1) * (y2 - y1)),
            kind=kind,
            words=_words(kind, picture, detection, own, iou),
            object=own,
            iou=iou,
        )


def _words(kind: WrongKind, picture: SeenPicture, detection: int, own: int | None, iou: float) -> str:
    score = f"score {picture.scores[detection]:.2f}"
    if own is None:
        what = "it touches nothing that is annotated"
        return (
            f"{score}; {what}{', and is as sure as half of what is right' if kind == 'not annotated' else ''}"
        )
    name, by = picture.object_labels[own], picture.found_by[own]
    match kind:
        case "duplicate":
            finder = f"detection {by}" if by is not None else "another"
            return f"{score}; {finder} has found {name} {own}, which it overlaps by {iou:.2f}"
        case "wrong class" | "wrong class, loose box":
            return f"{score}; it overlaps {name} {own} by {iou:.2f}"
        case "loose box":
            return f"{score}; it overlaps {name} {own} by {iou:.2f} only"
        case "crowd":
            return f"{score}; it lies on {name} {own}, which does not count, with {iou:.2f}"
        case _:
            sure = ", and is as sure as half of what is right" if kind == "not annotated" else ""
            return f"{score}; nothing is nearer than {name} {own}, IoU {iou:.2f}{sure}"
