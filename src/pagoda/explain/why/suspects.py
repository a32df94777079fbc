"""Annotations that are probably wrong: what a model that has learnt from the others says otherwise, and how surely.

As Northcutt 2021 reasons for classes and Tkachenko 2023 for boxes: a label is suspect where the model is unsure of it
and sure of something else. How sure is judged beside the detections of that class that are right.

N objects of a picture, P priors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from pagoda.explain.why.objects import Annotated
from pagoda.explain.why.records import Suspect, plain_box
from pagoda.explain.why.traced import Traced
from pagoda.ops.boxes import box_areas, pairwise_iou, xywh_to_xyxy

SAME_IOU = 0.5
"""from which on two boxes are of one object"""
APART_IOU = 0.3
"""below which a detection is of no annotated object"""
LOOSE_IOU = 0.75
"""below which an annotated box differs from what was found"""
LEAST = 0.1
"""score or suspicion, from which on it is told"""


class Doubt(NamedTuple):
    """What speaks against an annotation, before it is known how sure the model is of what is right."""

    suspect: Suspect
    """without its suspicion"""
    share: float
    """0 … 1 how far it contradicts"""
    score: float
    """of what speaks against it"""


def ranked(doubts: Sequence[Doubt], right: Mapping[str, Sequence[float]]) -> list[Suspect]:
    """Suspects, the most suspicious first; `right` are the scores of each class's detections that find objects.

    What is as sure as half of these counts in full. Another box, and an object that nobody annotated, are half as
    suspicious as another class: they are as often the model's own mistakes.
    """
    typical = {name: median(scores) for name, scores in right.items() if scores}
    suspects = []
    for suspect, share, score in doubts:
        sure = min(1.0, score / max(typical.get(suspect.suggested, 1.0), 1e-9))
        suspicion = share * sure * (1.0 if suspect.kind == "class" else 0.5)
        if suspicion >= LEAST:
            suspects.append(replace(suspect, suspicion=round(suspicion, 4)))
    return sorted(suspects, key=lambda each: -each.suspicion)


def doubts_of(traced: Traced, annotated: Annotated, known: Tensor, stable: dict[int, float]) -> list[Doubt]:
    """What speaks against a picture's annotations.

    `known` (classes,) bool: those of the model that the data have; `stable`: of detections that no annotation explains
    the least score that other looks at the picture gave them, by row.
    """
    return [
        *_of_objects(traced, annotated, known),
        *(_missing(traced, annotated, row, score) for row, score in stable.items()),
    ]


def unexplained(traced: Traced, annotated: Annotated, known: Tensor) -> list[int]:
    """Rows of detections that no annotation explains, the best of each place: perhaps objects nobody annotated."""
    found = traced.found
    boxes = xywh_to_xyxy(found.boxes_xywh)
    explained = pairwise_iou(boxes, annotated.boxes).amax(1) >= APART_IOU if len(annotated.boxes) else None
    free = torch.ones(len(boxes), dtype=torch.bool) if explained is None else ~explained
    free &= known[found.labels] & (found.scores >= LEAST)
    free &= ~_inside(boxes, annotated.boxes[annotated.ignored])
    chosen: list[int] = []
    for row in free.nonzero().flatten().tolist():  # the best first
        if not chosen or float(pairwise_iou(boxes[row : row + 1], boxes[chosen]).max()) < APART_IOU:
            chosen.append(row)
    return chosen


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


def _of_objects(traced: Traced, annotated: Annotated, known: Tensor) -> list[Doubt]:
    rows = (~annotated.ignored).nonzero().flatten()
    if not len(rows) or not len(traced.pairs.scores):
        return []
    backing = support(traced, annotated.boxes[rows]).masked_fill(~known, 0)
    return [
        doubt
        for row, scores in zip(rows.tolist(), backing, strict=True)
        if (doubt := _other_class(traced, annotated, row, scores) or _other_box(traced, annotated, row))
    ]


def _other_class(traced: Traced, annotated: Annotated, row: int, scores: Tensor) -> Doubt | None:
    """`scores` (classes,) the model has in the object's place."""
    label, names = int(annotated.labels[row]), traced.found.label_map.names
    twins = pairwise_iou(annotated.boxes[row : row + 1], annotated.boxes)[0] >= SAME_IOU
    others = scores.clone()
    others[annotated.labels[twins]] = 0  # another object in the same place is no contradiction
    other = int(others.argmax())
    own, theirs = float(scores[label]), float(others[other])
    if theirs < LEAST or theirs <= own:
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


def _other_box(traced: Traced, annotated: Annotated, row: int) -> Doubt | None:
    label, found = int(annotated.labels[row]), traced.found
    boxes = xywh_to_xyxy(found.boxes_xywh)
    overlaps = pairwise_iou(annotated.boxes[row : row + 1], boxes)[0].masked_fill(found.labels != label, 0)
    if not len(boxes) or not APART_IOU <= float(overlaps.max()) < LOOSE_IOU:
        return None
    best = int(overlaps.argmax())
    if int(pairwise_iou(annotated.boxes, boxes[best : best + 1])[:, 0].argmax()) != row:
        return None  # it stands for a neighbour
    iou, score = float(overlaps[best]), float(found.scores[best])
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


def _missing(traced: Traced, annotated: Annotated, row: int, score: float) -> Doubt:
    found = traced.found
    name = found.names[row]
    suspect = Suspect(
        image_id=annotated.image_id,
        kind="missing",
        box=plain_box(xywh_to_xyxy(found.boxes_xywh)[row]),
        label="",
        suggested=name,
        suspicion=0.0,
        words=f"detection {row}, a {name} of score {float(found.scores[row]):.2f}, is on nothing that is annotated; in"
        f" the mirrored and the smaller picture it has {score:.2f} or more",
        detection=row,
    )
    return Doubt(suspect, 1.0, score)


def _inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """(n,) bool: boxes of which half or more lies in one of the regions."""
    if not len(regions):
        return torch.zeros(len(boxes), dtype=torch.bool)
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    return (shared >= 0.5 * box_areas(boxes)[:, None].clamp(min=1e-9)).any(1)
