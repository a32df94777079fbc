"""What two models find in the same pictures, to be looked at side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pagoda.evaluation.coco.matching import LEFT_OUT, RIGHT, Matches
from pagoda.evaluation.coco.state import State
from pagoda.evaluation.coco.thresholds import best_f1

Box = tuple[float, float, float, float]
"""xyxy, pixels of the picture"""


@dataclass(frozen=True, kw_only=True)
class FoundInPicture:
    """Detections of one model in one picture, from the scores of its best F1 on."""

    boxes: list[Box]
    """the best first"""
    scores: list[float]
    """of each"""
    labels: list[str]
    """class of each"""
    objects: list[int | None]
    """row of the object that each finds at an IoU of .5, None where it is wrong"""


@dataclass(frozen=True, kw_only=True)
class PicturePair:
    """One picture as annotated, and what both models find in it."""

    image_id: int | str
    """of the data set"""
    object_boxes: list[Box]
    """that can be found or missed"""
    object_labels: list[str]
    """their classes"""
    first: FoundInPicture
    """of the first model; of several runs the first"""
    second: FoundInPicture
    """of the second model"""


def picture_pairs(
    first: tuple[Matches, State],
    second: tuple[Matches, State],
    image_ids: Sequence[int | str],
    names: Sequence[str],
) -> list[PicturePair]:
    """The pictures of these ids; `names` of the classes, as numbered in the ground truth that both were matched to.

    What lies on crowds, or finds an object that does not count, is left out, as it is in scores.
    """
    truth = first[0].truth
    least = best_f1(first[0]), best_f1(second[0])
    pairs = []
    for image_id in image_ids:
        image = truth.image_index[image_id]
        rows = np.flatnonzero((truth.images == image) & first[0].counted[0])
        place = {int(row): number for number, row in enumerate(rows)}
        before, now = (
            _found(*side, image, scores, place, names)
            for side, scores in zip((first, second), least, strict=True)
        )
        pairs.append(
            PicturePair(
                image_id=image_id,
                object_boxes=_corners(truth.boxes_xywh[rows]),
                object_labels=[names[category] for category in truth.categories[rows].tolist()],
                first=before,
                second=now,
            )
        )
    return pairs


def _found(
    matches: Matches,
    collected: State,
    image: int,
    least: np.ndarray,
    place: dict[int, int],
    names: Sequence[str],
) -> FoundInPicture:
    status = matches.status[0, 0]
    rows = np.flatnonzero(
        (matches.images == image) & (matches.scores >= least[matches.categories]) & (status != LEFT_OUT)
    )
    rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
    return FoundInPicture(
        boxes=_corners(collected["boxes_xywh"][matches.rows[rows]]),
        scores=matches.scores[rows].tolist(),
        labels=[names[category] for category in matches.categories[rows].tolist()],
        objects=[place[int(matches.objects[0, row])] if status[row] == RIGHT else None for row in rows],
    )


def _corners(boxes_xywh: np.ndarray) -> list[Box]:
    x, y, width, height = boxes_xywh.T
    return [tuple(box) for box in np.stack([x, y, x + width, y + height], 1).tolist()]
