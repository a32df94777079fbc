"""What linkers ask of objects: how alike two are, as arrays. N objects seen before, M objects seen now."""

from dataclasses import replace

import numpy as np

from pagoda_runtime.detections import Detections

UNLINKED = -1
"""The track id of an object that belongs to no track (yet)"""


def iou_costs(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(N, M) 1 - IoU of (N, 4) and (M, 4) xyxy boxes."""
    left, top = (np.maximum(before[:, None, side], now[None, :, side]) for side in (0, 1))
    right, bottom = (np.minimum(before[:, None, side], now[None, :, side]) for side in (2, 3))
    shared = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (before, now)]
    union = areas[0][:, None] + areas[1][None] - shared
    return 1 - shared / np.maximum(union, np.finfo(union.dtype).tiny)


def forbid_other_labels(costs: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(N, M) costs with inf between objects of different classes."""
    return np.where(before[:, None] == now[None], costs, np.inf)


def to_arrays(detections: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4) xyxy and scores (N,) as float64, labels (N,) as int64. Raises ValueError for boxes not finite."""
    boxes = detections.boxes.astype(np.float64)
    if not np.isfinite(boxes).all():
        rows = np.flatnonzero(~np.isfinite(boxes).all(1)).tolist()
        raise ValueError(f"boxes to link must be finite xyxy pixels; those of rows {rows} are not")
    return boxes, detections.scores.astype(np.float64), detections.labels.astype(np.int64)


def with_track_ids(detections: Detections, track_ids: np.ndarray) -> Detections:
    """The detections with (N,) track ids in place of whatever they had."""
    return replace(detections, track_ids=np.asarray(track_ids, dtype=np.int64))
