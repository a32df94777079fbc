"""What every linker does: objects of one frame in, the same objects with track ids out."""

from math import isfinite
from typing import Protocol

import numpy as np
import torch

from pagoda.structures.instances import Detections
from pagoda.structures.tubes import Tubes
from pagoda.tracking.objects import Objects, inside_boxes, unit_length

Found = Detections | Tubes
"""What a model says of a frame: the objects in it, or the tubes of the clip about it"""


class Tracker(Protocol):
    """Links the frames of one video, handed over one by one and in order, every frame once.

    What it remembers does not grow with the length of the video. A frame without objects has to be handed
    over too: time passes by calls.

    >>> class Numbering:  # a linker of one's own, of frames whose objects never change places
    ...     def reset(self) -> None: ...
    ...     def update(self, found: Found) -> Detections:
    ...         return with_track_ids(in_key_frame(found), np.arange(len(found)))
    >>> from pagoda.structures.labels import LabelMap
    >>> three = Detections(torch.zeros(3, 4), torch.ones(3), torch.zeros(3).long(), (9, 9), LabelMap.numbered(1))
    >>> Numbering().update(three).track_ids
    tensor([0, 1, 2])
    """

    def update(self, found: Found) -> Detections:
        """The same rows in the same order with `track_ids`; -1 for objects that are not (yet) tracked.

        Of tubes: where they are in the frame that their clip is about.
        """
        ...

    def reset(self) -> None:
        """Forget everything: the next frame is the first of another video."""
        ...


def in_key_frame(found: Found) -> Detections:
    """The objects of one frame: of tubes, where they are in the frame that their clip is about.

    >>> from pagoda.structures.labels import LabelMap
    >>> boxes, one = torch.tensor([[[0., 0., 4., 8.], [4., 0., 8., 8.]]]), torch.tensor([0])
    >>> in_key_frame(Tubes(boxes, torch.tensor([0.9]), one, (6, 7), 1, (32, 32), LabelMap.numbered(1))).boxes
    tensor([[4., 0., 8., 8.]])
    """
    return found.at(found.key) if isinstance(found, Tubes) else found


def with_track_ids(detections: Detections, track_ids: np.ndarray) -> Detections:
    """The detections with (N,) track ids in place of whatever they had; see `Tracker`."""
    num_objects = detections.boxes.shape[0]
    if len(track_ids) != num_objects:
        raise ValueError(f"there must be {num_objects} track ids, one of each object, got {len(track_ids)}")
    ids = torch.from_numpy(np.asarray(track_ids, dtype=np.int64))
    # `replace` would check again what was checked, which takes longer than to link it.
    linked: Detections = object.__new__(type(detections))
    linked.__dict__.update(detections.__dict__, track_ids=ids)
    return linked


def to_arrays(detections: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4) xyxy and scores (N,) as float64, labels (N,) as int64. Raises ValueError for boxes that are not
    finite.

    >>> from pagoda.structures.labels import LabelMap
    >>> found = Detections(torch.zeros(1, 4), torch.tensor([0.5]), torch.tensor([2]), (9, 9), LabelMap.numbered(3))
    >>> to_arrays(found)
    (array([[0., 0., 0., 0.]]), array([0.5]), array([2]))
    """
    boxes = _array(detections.boxes).astype(np.float64)
    # The sum of squares costs less, but may be too large where no number is.
    if not isfinite(np.vdot(boxes, boxes)) and not np.isfinite(boxes).all():
        rows = np.flatnonzero(~np.isfinite(boxes).all(1)).tolist()
        raise ValueError(f"boxes to link must be finite xyxy pixels; those of rows {rows} are not")
    scores = _array(detections.scores).astype(np.float64)
    return boxes, scores, _array(detections.labels).astype(np.int64, copy=False)


def _array(tensor: torch.Tensor) -> np.ndarray:
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):  # numpy has no bfloat16, nothing that lies elsewhere, and no gradients
        return tensor.detach().cpu().double().numpy()


def to_objects(detections: Detections) -> Objects:
    """The detections as linkers compare them. Raises ValueError as `to_arrays` does.

    >>> from pagoda.structures.labels import LabelMap
    >>> found = Detections(torch.ones(1, 4), torch.tensor([0.5]), torch.tensor([2]), (9, 9), LabelMap.numbered(3))
    >>> to_objects(found).boxes
    array([[1., 1., 1., 1.]])
    """
    boxes, scores, labels = to_arrays(detections)
    keypoints = sigmas = masks = appearance = None
    skeleton = detections.label_map.skeleton
    if detections.keypoints is not None and skeleton is not None and len(skeleton.sigmas):
        keypoints = detections.keypoints.detach().cpu().double().numpy()
        sigmas = np.asarray(skeleton.sigmas)
    if detections.mask_crops is not None:
        masks = (detections.mask_crops >= 0.5).cpu().numpy()
    elif detections.masks is not None:
        masks = inside_boxes(detections.masks.cpu().numpy(), boxes)
    if detections.appearance is not None:
        appearance = unit_length(detections.appearance.detach().cpu().float().numpy())
    return Objects(boxes, scores, labels, keypoints, sigmas, masks, appearance)
