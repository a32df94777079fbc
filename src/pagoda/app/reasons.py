"""Why objects of one picture of a data set were missed and detections are wrong: `pagoda why` of that picture."""

from typing import NamedTuple

import torch
from torch import Tensor

from pagoda.app.looking import Looker, ShownLimits
from pagoda.data.dataset import DetectionDataset
from pagoda.data.table.annotations import Annotations
from pagoda.explain.why.examine import why
from pagoda.explain.why.records import MISS_WORDS, WRONG_WORDS, Why
from pagoda.ops.boxes import xywh_to_xyxy
from pagoda.structures.instances import Detections

SAME_PIXELS = 0.05
"""from a corner of a detection to that of itself, found once more; records round to a hundredth"""
NOTHING = "nothing is annotated in this picture"


class Reasons(NamedTuple):
    """What one model's objects and misses in one picture are, by given limits."""

    limits: ShownLimits
    """by which the picture was looked at"""
    why: Why | None
    """None: nothing is annotated there"""
    classes: tuple[str, ...] = ()
    """of the data"""

    def of_object(self, row: int) -> str:
        """What became of the annotated object in `row`: a sentence or two."""
        if self.why is None:
            return NOTHING
        picture = self.why.pictures[0]
        said = [
            f"missed – {MISS_WORDS[miss.reason]}: {miss.words}{f' → {miss.remedy}' if miss.remedy else ''}"
            for miss in self.why.misses
            if miss.object == row
        ]
        if not said and picture.ignored[row]:
            said.append("a crowd or difficult object, which cannot be missed")
        if not said:
            by = picture.found_by[row]
            score = "" if by is None else f", {picture.labels[by]} {picture.scores[by]:.2f}"
            said.append(f"found by detection {by}{score}")
        said += [
            f"suspect annotation: {each.words}"
            for each in self.why.suspects
            if each.object == row and each.kind != "missing"
        ]
        return "; ".join(said)

    def of_detection(self, found: Detections, row: int) -> str:
        """What the detection in `row` finds, or what kind of wrong one it is."""
        if self.why is None:
            return f"{NOTHING}, so it finds nothing"
        own = self._row_of(found, row)
        if own is None:
            return "what it finds is not known: another look at the picture did not give it"
        return f"detection {own}: {self._verdict(found.names[row], own)}"

    def _verdict(self, name: str, own: int) -> str:
        assert self.why is not None
        picture = self.why.pictures[0]
        wrong = next((each for each in self.why.wrong if each.detection == own), None)
        if wrong is not None:
            return f"wrong – {WRONG_WORDS[wrong.kind]}: {wrong.words}"
        if own in picture.found_by:
            target = picture.found_by.index(own)
            return f"finds {picture.object_labels[target]} {target}"
        if name not in self.classes:
            return f"the data have no class {name}, so it counts neither way"
        return "it counts neither way"

    def _row_of(self, found: Detections, row: int) -> int | None:
        """Its row in the record, whose detections may be in another order."""
        assert self.why is not None
        picture, name = self.why.pictures[0], found.names[row]
        rows = [number for number, label in enumerate(picture.labels) if label == name]
        if not rows:
            return None
        theirs = torch.tensor([picture.boxes[number] for number in rows], dtype=torch.float64)
        distances = (theirs - xywh_to_xyxy(found.boxes_xywh[row])).abs().amax(1)
        nearest = int(distances.argmin())
        return rows[nearest] if float(distances[nearest]) <= SAME_PIXELS else None


def reasons_of(looker: Looker, annotations: Annotations, limits: ShownLimits) -> Reasons:
    """What became of the objects of one picture, which `annotations` are of alone.

    Kinds that need other pictures to compare with, probably missing annotations, are judged by this one. Raises
    ValueError where the data have classes that the model does not know, PictureError where it cannot be read.
    """
    if not len(annotations.labels):
        return Reasons(limits, None)
    dataset = DetectionDataset(annotations, channels=looker.model.input_spec.read_channels)
    max_iou = None if looker.is_file else limits.max_iou
    shown = {"min_score": limits.min_score, "max_iou": max_iou}
    with looker.asking() as model:
        told = why(model, dataset, limits=shown, batch_size=1)
    return Reasons(limits, told, annotations.label_map.names)


def annotated_boxes(annotations: Annotations) -> Tensor:
    """(N, 4) float64 of the objects of one picture, in the rows that reasons count."""
    return torch.from_numpy(annotations.boxes.astype("float64"))
