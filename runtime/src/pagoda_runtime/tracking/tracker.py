"""What every linker does: objects of one frame in, the same objects with track ids out."""

from dataclasses import replace

import numpy as np

from pagoda_runtime.detections import Detections
from pagoda_runtime.tracking.objects import Objects, inside_boxes, unit_length

Found = Detections

UNLINKED = -1
"""The track id of an object that belongs to no track (yet)"""


def in_key_frame(found: Found) -> Detections:
    """The objects of one frame, which is all that a file says."""
    return found


def to_objects(detections: Detections) -> Objects:
    """The detections as linkers compare them. Raises ValueError for boxes that are not finite."""
    boxes = detections.boxes.astype(np.float64)
    if not np.isfinite(boxes).all():
        rows = np.flatnonzero(~np.isfinite(boxes).all(1)).tolist()
        raise ValueError(f"boxes to link must be finite xyxy pixels; those of rows {rows} are not")
    keypoints = sigmas = masks = appearance = None
    skeleton = detections.label_map.skeleton
    if detections.keypoints is not None and skeleton is not None and skeleton.sigmas:
        keypoints = detections.keypoints.astype(np.float64)
        sigmas = np.asarray(skeleton.sigmas)
    if detections.mask_crops is not None:
        masks = detections.mask_crops >= 0.5
    elif detections.masks is not None:
        masks = inside_boxes(detections.masks, boxes)
    if detections.appearance is not None:
        appearance = unit_length(detections.appearance.astype(np.float32))
    scores, labels = detections.scores.astype(np.float64), detections.labels.astype(np.int64)
    return Objects(boxes, scores, labels, keypoints, sigmas, masks, appearance)


def with_track_ids(detections: Detections, track_ids: np.ndarray) -> Detections:
    """The detections with (N,) track ids in place of whatever they had."""
    return replace(detections, track_ids=np.asarray(track_ids, dtype=np.int64))
