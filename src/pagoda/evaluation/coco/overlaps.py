"""How well pairs of a detection and an annotation overlap, as COCO measures boxes, masks and keypoints."""

from typing import NamedTuple

import hotcoco
import numpy as np

from pagoda.evaluation.coco.ground_truth import GroundTruth
from pagoda.evaluation.coco.scoring import Task
from pagoda.evaluation.coco.state import State
from pagoda.ops.rle import as_rle, mask_areas
from pagoda.plain import checked
from pagoda.structures.skeleton import Skeleton


class Overlaps(NamedTuple):
    """Of P pairs, D detections and N annotations."""

    values: np.ndarray
    """(P,) 0 … 1: IoU or OKS; on a crowd the share of the detection that lies in it"""
    areas: np.ndarray
    """(D,) pixels² of the detections"""
    ignored: np.ndarray
    """(N,) bool: annotations that are neither found nor missed"""


@checked
def overlaps(
    truth: GroundTruth,
    rows: State,
    task: Task,
    found: np.ndarray,
    annotations: np.ndarray,
    skeleton: Skeleton | None = None,
) -> Overlaps:
    """Of pairs: `found` and `annotations` are (P,) row of the detection and of the annotation of each.

    Areas are those of all rows. `skeleton` gives the sigmas of keypoints.
    """
    areas = rows["boxes_xywh"][:, 2:].prod(1)
    if task == "bbox":
        mine, theirs = rows["boxes_xywh"][found], truth.boxes_xywh[annotations]
        return Overlaps(_box_iou(mine, theirs, truth.crowd[annotations]), areas, truth.crowd)
    if task == "segm":
        return _of_masks(truth, rows, found, annotations)
    assert skeleton is not None
    triples = truth.keypoint_triples(len(skeleton))
    values = _oks(
        rows["keypoints"][found],
        triples[annotations],
        truth.boxes_xywh[annotations],
        truth.areas[annotations],
        np.array(skeleton.sigmas),
    )
    return Overlaps(values, areas, truth.crowd | ~(triples[..., 2] > 0).any(1))


def _box_iou(mine: np.ndarray, theirs: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(P,) of xywh boxes."""
    low = np.maximum(mine[:, :2], theirs[:, :2])
    high = np.minimum(mine[:, :2] + mine[:, 2:], theirs[:, :2] + theirs[:, 2:])
    inside = (high - low).clip(0).prod(1)
    own = mine[:, 2:].prod(1)
    whole = np.where(crowd, own, own + theirs[:, 2:].prod(1) - inside)
    return np.divide(inside, whole, out=np.zeros_like(inside), where=whole > 0)


def _of_masks(truth: GroundTruth, rows: State, found: np.ndarray, annotations: np.ndarray) -> Overlaps:
    """Picture by picture, as hotcoco computes them; the size of a found mask is its number of pixels."""
    texts, images = truth.mask_texts(), rows["images"]
    values = np.zeros(len(found))
    areas = np.zeros(len(images))
    for image in np.unique(images).tolist():
        size = truth.size_of(image)
        of_image = np.flatnonzero(images == image)
        areas[of_image] = mask_areas([rows["masks"][row] for row in of_image.tolist()], size)
        pairs = np.flatnonzero(images[found] == image)
        if len(pairs):
            mine, places = np.unique(found[pairs], return_inverse=True)
            theirs, columns = np.unique(annotations[pairs], return_inverse=True)
            table = hotcoco.primitives.mask_iou(
                [as_rle(rows["masks"][row], size) for row in mine.tolist()],
                [as_rle(texts[row], size) for row in theirs.tolist()],
                truth.crowd[theirs].tolist(),
            )
            values[pairs] = np.asarray(table)[places, columns]
    return Overlaps(values, areas, truth.crowd)


def _oks(
    mine: np.ndarray, theirs: np.ndarray, boxes: np.ndarray, areas: np.ndarray, sigmas: np.ndarray
) -> np.ndarray:
    """(P,) of (P, K, 3) keypoints; where nothing is annotated, by how far points lie outside the box, doubled."""
    visible = theirs[..., 2] > 0
    away = mine[..., :2] - theirs[..., :2]
    low, high = boxes[:, None, :2] - boxes[:, None, 2:], boxes[:, None, :2] + 2 * boxes[:, None, 2:]
    outside = np.maximum(low - mine[..., :2], 0) + np.maximum(mine[..., :2] - high, 0)
    nothing = ~visible.any(1)
    squared = np.square(np.where(nothing[:, None, None], outside, away)).sum(-1)
    spread = np.square(2 * sigmas) * 2 * (areas[:, None] + np.spacing(1))
    likeness = np.exp(-squared / spread) * (visible | nothing[:, None])
    return likeness.sum(1) / np.where(nothing, len(sigmas), visible.sum(1))
