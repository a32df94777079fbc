"""Annotations that are probably wrong: what a model that has learnt from the others says otherwise, and how surely.

As Northcutt 2021 reasons for classes and Tkachenko 2023 for boxes: a label is suspect where the model is unsure of it
and sure of something else. How sure is judged beside the detections of that class that are right.

N objects of a picture, P priors.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from pagoda.explain.why.objects import Annotated
from pagoda.explain.why.records import SeenPicture, Suspect, plain_box
from pagoda.explain.why.traced import Traced
from pagoda.ops.boxes import box_areas, pairwise_iou, xywh_to_xyxy

SAME_IOU = 0.5
"""from which on two boxes are of one object"""
APART_IOU = 0.3
"""below which a detection is of no annotated object"""
LOOSE_IOU = 0.75
"""below which an annotated box differs from what was found"""
LEAST_SCORE = 0.1
"""from which on a detection speaks against annotations"""
LEAST_SUSPICION = 0.2
"""from which on it is told"""


class Doubt(NamedTuple):
    """What speaks against an annotation, before it is known how sure the model is of what is right."""

    suspect: Suspect
    """without its suspicion"""
    share: float
    """0 … 1 how far it contradicts"""
    score: float
    """of what speaks against it"""


def typical_scores(pictures: Iterable[SeenPicture]) -> dict[str, float]:
    """Of each class the score that half of the detections reach that find an object."""
    scores: dict[str, list[float]] = {}
    for picture in pictures:
        for row in picture.found_by:
            if row is not None:
                scores.setdefault(picture.labels[row], []).append(picture.scores[row])
    return {name: median(each) for name, each in scores.items()}


def ranked(doubts: Iterable[Doubt], typical: Mapping[str, float]) -> list[Suspect]:
    """Suspects, the most suspicious first; `typical` as `typical_scores` has them.

    What is as sure as half of the detections that are right counts in full. Another box, and an object that nobody
    annotated, are half as suspicious as another class: they are as often the model's own mistakes.
    """
    suspects = []
    for suspect, share, score in doubts:
        sure = min(1.0, score / max(typical.get(suspect.suggested, 1.0), 1e-9))
        suspicion = share * sure * (1.0 if suspect.kind == "class" else 0.5)
        if suspicion >= LEAST_SUSPICION:
            suspects.append(replace(suspect, suspicion=round(suspicion, 4)))
    return sorted(suspects, key=lambda each: -each.suspicion)


def unexplained(picture: SeenPicture, typical: Mapping[str, float]) -> list[int]:
    """Rows of detections that no annotation explains, as sure as half of what is right, the best of each place."""
    sure = [
        row
        for row, (score, name) in enumerate(zip(picture.scores, picture.labels, strict=True))
        if score >= typical.get(name, 2.0) and row not in picture.found_by
    ]
    if not sure:
        return []
    boxes = torch.tensor([picture.boxes[row] for row in sure], dtype=torch.float64)
    objects = torch.tensor(picture.object_boxes, dtype=torch.float64).reshape(-1, 4)
    free = (pairwise_iou(boxes, objects) < APART_IOU).all(1)
    free &= ~_inside(boxes, objects[torch.tensor(picture.ignored, dtype=torch.bool)])
    chosen: list[int] = []
    for place in free.nonzero().flatten().tolist():  # the best first
        if not chosen or float(pairwise_iou(boxes[place : place + 1], boxes[chosen]).max()) < APART_IOU:
            chosen.append(place)
    return [sure[place] for place in chosen]


def support(traced: Traced, boxes: Tensor) -> Tensor:
    """(N, classes) the best score of each class among all pairs whose box is that of the object."""
    scores = traced.pairs.scores
    if traced.pairs.boxes.ndim == 2:
        same = pairwise_iou(traced.pairs.boxes, boxes) >= SAME_IOU  # (P, N)
        return torch.stack([scores.masked_fill(~own[:, None], 0).amax(0) for own in same.T])
    columns = [
        (scores[:, label, None] * (pairwise_iou(traced.boxes_of(label), boxes) >= SAME_IOU)).amax(0)
        for label in range(scores.shape[1])
    ]
    return torch.stack(columns, dim=1)


def doubts_of(traced: Traced, annotated: Annotated, known: Tensor) -> list[Doubt]:
    """What speaks against the annotated objects of a picture; `known` (classes,) bool: those that the data have."""
    rows = (~annotated.ignored).nonzero().flatten()
    if not len(rows) or not len(traced.pairs.scores):
        return []
    backing = support(traced, annotated.boxes[rows]).masked_fill(~known, 0)
    twins = pairwise_iou(annotated.boxes[rows], annotated.boxes) >= SAME_IOU
    overlaps = pairwise_iou(annotated.boxes, xywh_to_xyxy(traced.found.boxes_xywh))
    doubts = []
    for place, row in enumerate(rows.tolist()):
        in_place = annotated.labels[twins[place]]
        doubt = _other_class(traced, annotated, row, backing[place], in_place)
        doubt = doubt or _other_box(traced, annotated, row, overlaps)
        if doubt is not None:
            doubts.append(doubt)
    return doubts


def _other_class(
    traced: Traced, annotated: Annotated, row: int, scores: Tensor, in_place: Tensor
) -> Doubt | None:
    """`scores` (classes,) the model has in the object's place; `in_place`: labels of all that is annotated there."""
    label, names = int(annotated.labels[row]), traced.found.label_map.names
    others = scores.clone()
    others[in_place] = 0  # another object in the same place is no contradiction
    other = int(others.argmax())
    own, theirs = float(scores[label]), float(others[other])
    if theirs < LEAST_SCORE or theirs <= own:
        return None
    suspect = Suspect(
        image_id=annotated.image_id,
        kind="class",
        box=plain_box(annotated.boxes[row]),
        label=names[label],
        suggested=names[other],
        suspicion=0.0,
        words=f"annotated as {names[label]}, for which the model has {own:.2f} there; for {names[other]} it has"
        f" {theirs:.2f}",
        object=row,
    )
    return Doubt(suspect, 1 - own / theirs, theirs)


def _other_box(traced: Traced, annotated: Annotated, row: int, overlaps: Tensor) -> Doubt | None:
    """`overlaps` (N, detections) of all that is annotated."""
    label, found = int(annotated.labels[row]), traced.found
    own = overlaps[row].masked_fill(found.labels != label, 0)
    if not len(own) or not APART_IOU <= float(own.max()) < LOOSE_IOU:
        return None
    best = int(own.argmax())
    if int(overlaps[:, best].argmax()) != row:
        return None  # it stands for a neighbour
    iou, score = float(own[best]), float(found.scores[best])
    name = found.label_map.names[label]
    suspect = Suspect(
        image_id=annotated.image_id,
        kind="box",
        box=plain_box(annotated.boxes[row]),
        label=name,
        suggested=name,
        suspicion=0.0,
        words=f"detection {best} of its class, score {score:.2f}, overlaps the annotated box by {iou:.2f} only",
        object=row,
        detection=best,
    )
    return Doubt(suspect, 1 - iou, score)


def missing(picture: SeenPicture, row: int, again: float) -> Doubt:
    """An object that nobody annotated: what is found in `row`, and with the score `again` in another look."""
    name, score = picture.labels[row], picture.scores[row]
    suspect = Suspect(
        image_id=picture.image_id,
        kind="missing",
        box=picture.boxes[row],
        label="",
        suggested=name,
        suspicion=0.0,
        words=f"detection {row}, a {name} of score {score:.2f}, is on nothing that is annotated; in the mirrored,"
        f" smaller picture it has {again:.2f}",
        detection=row,
    )
    return Doubt(suspect, 1.0, min(score, again))


def _inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """(n,) bool: boxes of which half or more lies in one of the regions."""
    if not len(regions):
        return torch.zeros(len(boxes), dtype=torch.bool)
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    return (shared >= 0.5 * box_areas(boxes)[:, None].clamp(min=1e-9)).any(1)
