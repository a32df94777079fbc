"""Annotations that are probably wrong: what a model that has learnt from the others says otherwise, and how surely.

As Northcutt 2021 reasons for classes and Tkachenko 2023 for boxes: a label is suspect where the model is unsure of it and
sure of something else. N objects of a picture, P priors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
"""suspicion, from which on it is told"""


@dataclass(frozen=True)
class Annotated:
    """What is annotated in one picture."""

    image_id: int | str
    """of the picture"""
    boxes: Tensor
    """(N, 4) float64 xyxy"""
    labels: Tensor
    """(N,) in the model's classes"""
    ignored: Tensor
    """(N,) bool"""
    names: Sequence[str]
    """of the model's classes"""
    known: Tensor
    """(classes,) bool: which of the model's classes the data have"""


def suspects_of(traced: Traced, annotated: Annotated, stable: dict[int, float]) -> list[Suspect]:
    """What of a picture's annotations is suspect.

    `stable`: of detections that find nothing the least score that other looks at the picture gave them, by row.
    """
    return [
        *_of_objects(traced, annotated),
        *(_missing(traced, annotated, row, score) for row, score in stable.items() if score >= LEAST),
    ]


def unexplained(traced: Traced, annotated: Annotated) -> list[int]:
    """Rows of detections that no annotation explains, the best of each place: perhaps objects nobody annotated."""
    found = traced.found
    boxes = xywh_to_xyxy(found.boxes_xywh)
    explained = pairwise_iou(boxes, annotated.boxes).amax(1) >= APART_IOU if len(annotated.boxes) else None
    free = torch.ones(len(boxes), dtype=torch.bool) if explained is None else ~explained
    free &= annotated.known[found.labels] & (found.scores >= LEAST)
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


def _of_objects(traced: Traced, annotated: Annotated) -> list[Suspect]:
    rows = (~annotated.ignored).nonzero().flatten()
    if not len(rows) or not len(traced.pairs.scores):
        return []
    backing = support(traced, annotated.boxes[rows]).masked_fill(~annotated.known, 0)
    twins = pairwise_iou(annotated.boxes[rows], annotated.boxes) >= SAME_IOU
    found, boxes = traced.found, xywh_to_xyxy(traced.found.boxes_xywh)
    overlaps = pairwise_iou(annotated.boxes[rows], boxes) if len(boxes) else None
    suspects = []
    for place, row in enumerate(rows.tolist()):
        label = int(annotated.labels[row])
        own = float(backing[place, label])
        others = backing[place].clone()
        others[annotated.labels[twins[place]]] = 0  # another object in the same place is no contradiction
        others[label] = 0
        other = int(others.argmax())
        suspicion = float(others[other]) * (1 - own)
        if suspicion >= LEAST:
            suspects.append(
                Suspect(
                    image_id=annotated.image_id,
                    kind="class",
                    box=plain_box(annotated.boxes[row]),
                    label=annotated.names[label],
                    suggested=annotated.names[other],
                    suspicion=round(suspicion, 4),
                    words=f"annotated as {annotated.names[label]}, for which the model has {own:.2f} there; for"
                    f" {annotated.names[other]} it has {float(others[other]):.2f}",
                    object=row,
                )
            )
            continue
        if overlaps is None:
            continue
        same = (found.labels == label) & (overlaps[place] >= APART_IOU) & (overlaps[place] < LOOSE_IOU)
        best = int(overlaps[place].masked_fill(found.labels != label, 0).argmax())
        # Stands for this object, and not for a neighbour that it fits better.
        is_mine = (
            bool(same[best])
            and int(pairwise_iou(annotated.boxes, boxes[best : best + 1])[:, 0].argmax()) == row
        )
        suspicion = float(found.scores[best]) * (1 - float(overlaps[place, best])) / 2 if is_mine else 0.0
        if suspicion >= LEAST:
            suspects.append(
                Suspect(
                    image_id=annotated.image_id,
                    kind="box",
                    box=plain_box(annotated.boxes[row]),
                    label=annotated.names[label],
                    suggested=annotated.names[label],
                    suspicion=round(suspicion, 4),
                    words=f"detection {best} of its class, score {float(found.scores[best]):.2f}, overlaps the annotated"
                    f" box by {float(overlaps[place, best]):.2f} only",
                    object=row,
                    detection=best,
                )
            )
    return suspects


def _missing(traced: Traced, annotated: Annotated, row: int, score: float) -> Suspect:
    found = traced.found
    name = found.names[row]
    return Suspect(
        image_id=annotated.image_id,
        kind="missing",
        box=plain_box(xywh_to_xyxy(found.boxes_xywh)[row]),
        label="",
        suggested=name,
        suspicion=round(score, 4),
        words=f"detection {row}, a {name} of score {float(found.scores[row]):.2f}, is on nothing that is annotated; in the"
        f" mirrored and the smaller picture it has {score:.2f} or more",
        detection=row,
    )


def _inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """(n,) bool: boxes of which half or more lies in one of the regions."""
    if not len(regions):
        return torch.zeros(len(boxes), dtype=torch.bool)
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    return (shared >= 0.5 * box_areas(boxes)[:, None].clamp(min=1e-9)).any(1)
