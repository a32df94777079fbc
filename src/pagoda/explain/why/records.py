"""What is said of every object missed and every detection that is wrong. Boxes: xyxy, pixels of their picture."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

from torch import Tensor

from pagoda.evaluation.coco.scoring import SizeName
from pagoda.evaluation.errors.costs import KindCost
from pagoda.plain import JsonObject

Box = tuple[float, float, float, float]
MissReason = Literal[
    "unreadable",
    "no prior",
    "no proposal",
    "loose box",
    "wrong class",
    "low score",
    "max_candidates",
    "suppressed",
    "max_detections",
    "taken",
    "poor mask",
    "poor keypoints",
    "broken tube",
    "not told",
]
"""why an object was not found, in the order of the pipeline"""
WrongKind = Literal[
    "duplicate", "wrong class", "loose box", "wrong class, loose box", "crowd", "not annotated", "background"
]
"""what a detection is that finds nothing"""
SuspectKind = Literal["class", "box", "missing"]
"""what may be wrong with an annotation: another class, another box, or an object that nobody annotated"""

MISS_WORDS: dict[MissReason, str] = {
    "unreadable": "the picture cannot be read",
    "no prior": "no location or anchor can serve it at this input size",
    "no proposal": "no proposal was made of it",
    "loose box": "no box fits it",
    "wrong class": "right box, wrong class",
    "low score": "the score of its class is too low",
    "max_candidates": "cut by max_candidates",
    "suppressed": "suppressed by a better detection",
    "max_detections": "cut by max_detections",
    "taken": "its detection fits another object better",
    "poor mask": "right box, poor mask",
    "poor keypoints": "right box, poor keypoints",
    "broken tube": "its tube breaks in a frame",
    "not told": "the exported file does not tell",
}
WRONG_WORDS: dict[WrongKind, str] = {
    "duplicate": "finds an object again",
    "wrong class": "right box, wrong class",
    "loose box": "right class, loose box",
    "wrong class, loose box": "wrong class and loose box",
    "crowd": "inside a crowd or an ignored object",
    "not annotated": "probably an object that nobody annotated",
    "background": "on the background",
}


def plain_boxes(boxes: Tensor) -> list[Box]:
    """Boxes (n, 4) as plain numbers, to a hundredth of a pixel.

    >>> import torch
    >>> plain_boxes(torch.tensor([[0.0, 1.0, 2.004, 3.0]]))
    [(0.0, 1.0, 2.0, 3.0)]
    """
    return [tuple(box) for box in boxes.double().round(decimals=2).tolist()]


def plain_box(box: Tensor) -> Box:
    """One of them (4,)."""
    return plain_boxes(box[None])[0]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The location, anchor or proposal that came closest to an object."""

    box: Box
    """what it made of the object"""
    iou: float
    """of that box with the object's"""
    score: float
    """of the object's class there"""
    best_label: str
    """the class that won there"""
    best_score: float
    """its score"""
    level: int | None = None
    """of the pyramid; None for a proposal"""
    prior: Box | None = None
    """the anchor or proposal; a location is a box without area"""


@dataclass(frozen=True, kw_only=True)
class Miss:
    """An annotated object that was not found, and the first reason."""

    image_id: int | str
    """of its picture"""
    object: int
    """its row among the picture's annotations"""
    label: str
    """its class"""
    size: SizeName
    """COCO's, by its area"""
    reason: MissReason
    """where in the pipeline it was lost"""
    words: str
    """the reason with its numbers, a sentence"""
    remedy: str = ""
    """the option that mends it, where there is one"""
    evidence: Evidence | None = None
    """what came closest; None where nothing was looked at"""
    detection: int | None = None
    """row among the picture's detections of the one that suppressed it, or named it otherwise"""


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A detection that finds nothing, and what it is."""

    image_id: int | str
    """of its picture"""
    detection: int
    """its row among the picture's detections"""
    label: str
    """its class"""
    size: SizeName
    """COCO's, by its area"""
    kind: WrongKind
    """what it is"""
    words: str
    """the same with its numbers, a sentence"""
    object: int | None = None
    """row of the annotation it overlaps most, where it overlaps one at all"""
    iou: float = 0.0
    """with that"""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """An annotation that is probably wrong."""

    image_id: int | str
    """of its picture"""
    kind: SuspectKind
    """what of it"""
    box: Box
    """the annotation's, or of the object that is missing"""
    label: str
    """as annotated, "" where it is missing"""
    suggested: str
    """the class it should have"""
    suspicion: float
    """0 … 1, the most suspicious near 1"""
    words: str
    """why, a sentence"""
    object: int | None = None
    """row of the annotation, None where it is missing"""
    detection: int | None = None
    """row of the detection that says otherwise"""


@dataclass(frozen=True, kw_only=True)
class SeenPicture:
    """A picture, all that is annotated in it and all that was found."""

    image_id: int | str
    """of the data set"""
    file: str
    """as the data set names it"""
    image_size: tuple[int, int]
    """(height, width)"""
    object_boxes: list[Box]
    """of what is annotated"""
    object_labels: list[str]
    """their classes"""
    found_by: list[int | None]
    """of each object the row of the detection that found it"""
    ignored: list[bool]
    """of each object: crowds and difficult ones, which cannot be missed"""
    boxes: list[Box]
    """of the detections, the best first"""
    scores: list[float]
    """of the detections"""
    labels: list[str]
    """classes of the detections"""


@dataclass(frozen=True, kw_only=True)
class Why:
    """Every miss and every wrong detection of a model on a data set, explained."""

    pictures: list[SeenPicture]
    """in the order of the data set; those that cannot be read without detections"""
    misses: list[Miss]
    """picture by picture"""
    wrong: list[Wrong]
    """picture by picture"""
    suspects: list[Suspect]
    """the most suspicious first"""
    costs: list[KindCost]
    """the dearest first"""
    ap: float | None
    """AP (0 … 1) as it is, None without objects"""
    num_objects: int
    """that count"""
    limits: dict[str, float | int | None]
    """the model's own, with which it was looked at, and the IoU from which on an object is found"""
    left_out: list[str]
    """what was not looked at, and why: a sentence each"""

    def miss_counts(self) -> Counter[str]:
        """Misses by reason."""
        return Counter(each.reason for each in self.misses)

    def wrong_counts(self) -> Counter[str]:
        """Wrong detections by kind."""
        return Counter(each.kind for each in self.wrong)

    def to_dict(self) -> JsonObject:
        """Plain numbers and words, as they stand in why.json."""
        return asdict(self)
