"""Detect-and-Track's linker (Girdhar 2018): who goes with whom between two neighbouring frames, and no more."""

import warnings
from dataclasses import dataclass, field

import numpy as np

from pagoda.plain import checked
from pagoda.structures.instances import Detections
from pagoda.structures.tracks import UNLINKED
from pagoda.tracking.association import (
    Algorithm,
    assign,
    cosine_costs,
    forbid_other_labels,
    iou_costs,
    oks_costs,
    pck_costs,
)
from pagoda.tracking.tracker import Found, in_key_frame, to_arrays, with_track_ids


@checked
@dataclass(frozen=True)
class CostWeights:
    """How much each difference between an object before and one now counts; 0: it is not looked at.

    >>> tracker = ReferenceTracker(weights=CostWeights(box=0.5, oks=0.5))  # half where it is, half how it stands
    >>> tracker.weights.appearance
    0.0
    """

    box: float = 1.0
    """1 - IoU, sides measured as x2 - x1 + 1 like the original"""
    pck: float = 0.0
    """1 - the share of keypoints that stayed within half a head length; needs head_top and head_bottom"""
    oks: float = 0.0
    """1 - object keypoint similarity; not in the original"""
    appearance: float = 0.0
    """1 - cosine of appearance vectors, which `update` is given"""


@dataclass(frozen=True)
class _Frame:
    """The N objects of a frame that may have tracks."""

    boxes: np.ndarray
    """(N, 4) xyxy, cut to the frame"""
    labels: np.ndarray
    """(N,)"""
    track_ids: np.ndarray
    """(N,), filled once they are known"""
    keypoints: np.ndarray | None
    """(N, K, 2) xy"""
    appearance: np.ndarray | None
    """(N, D) vectors, as `update` was given them"""


@checked
@dataclass
class ReferenceTracker:
    """Detect-and-Track's linker: weighted costs between this frame and the last; what is left over starts a track.

    As in the original there is no memory, so that who is missed once comes back as somebody new, and no
    gate, so that an object far from all others still inherits the track that is free. The original's
    ids come round again: `wrap_ids_at=999`.

    >>> import torch
    >>> from pagoda.structures.labels import LabelMap
    >>> def person(score: float) -> Detections:
    ...     box, label = torch.tensor([[0., 0., 9., 30.]]), torch.tensor([0])
    ...     return Detections(box, torch.tensor([score]), label, (99, 99), LabelMap.from_names(["person"]))
    >>> tracker = ReferenceTracker()
    >>> [tracker.update(person(score)).track_ids.item() for score in (1.0, 1.0, 0.2, 1.0)]  # missed once: another
    [0, 0, -1, 1]
    """

    min_score: float = 0.95
    """weaker objects get no track"""
    min_area: float = 50.0
    """pixels² inside the frame; smaller ones get no track"""
    weights: CostWeights = field(default_factory=CostWeights)
    """of the differences that make a cost; the boxes' alone by default"""
    algorithm: Algorithm = "hungarian"
    """least total cost, or the least cost again and again: see `tracking.association.assign`"""
    max_cost: float | None = None
    """a gate, which the original has not: dearer pairs are not made"""
    wrap_ids_at: int | None = None
    """after so many ids they begin at 0 again, with a warning; None: never"""

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of another video."""
        self._before: _Frame | None = None
        self._next_id = 0

    def update(self, found: Found, *, appearance: np.ndarray | None = None) -> Detections:
        """The frame's objects with track ids, see `Tracker.update`.

        `appearance` (N, D) has one vector per object, for a weight above 0; None: that of the objects. Raises
        ValueError where a weight is above 0 and what it weighs is not there.
        """
        detections = in_key_frame(found)
        boxes, scores, labels = to_arrays(detections)
        if appearance is None and detections.appearance is not None:
            appearance = detections.appearance.detach().cpu().numpy()
        height, width = detections.image_size
        clipped = np.clip(boxes, 0, [width, height, width, height])
        areas = np.prod(np.maximum(clipped[:, 2:] - clipped[:, :2], 0), axis=1)
        kept = np.flatnonzero((scores >= self.min_score) & (areas >= self.min_area))
        points = (
            None if detections.keypoints is None else detections.keypoints.detach().cpu().double().numpy()
        )
        now = _Frame(
            clipped[kept],
            labels[kept],
            np.full(len(kept), UNLINKED),
            None if points is None else points[kept],
            None if appearance is None else np.asarray(appearance, dtype=np.float64)[kept],
        )
        if self._before is not None and len(self._before.boxes) and len(kept):
            costs = forbid_other_labels(
                self._costs(self._before, now, detections), self._before.labels, now.labels
            )
            rows = assign(costs, max_cost=self.max_cost, algorithm=self.algorithm)
            now.track_ids[rows >= 0] = self._before.track_ids[rows[rows >= 0]]
        for index in np.flatnonzero(now.track_ids == UNLINKED):
            now.track_ids[index] = self._new_id()
        self._before = now
        ids = np.full(len(boxes), UNLINKED)
        ids[kept] = now.track_ids
        return with_track_ids(detections, ids)

    def _costs(self, before: _Frame, now: _Frame, detections: Detections) -> np.ndarray:
        weights = self.weights
        costs = np.zeros((len(before.boxes), len(now.boxes)))
        if weights.box:
            costs += weights.box * iou_costs(before.boxes, now.boxes, inclusive=True)
        if weights.appearance:
            if before.appearance is None or now.appearance is None:
                raise ValueError(
                    "a weight for appearance needs update(detections, appearance=(n, d) vectors)"
                )
            costs += weights.appearance * cosine_costs(before.appearance, now.appearance)
        if not (weights.pck or weights.oks):
            return costs
        skeleton = detections.label_map.skeleton
        if before.keypoints is None or now.keypoints is None or skeleton is None:
            raise ValueError("weights for pck and oks need detections with keypoints and a named skeleton")
        if weights.oks:
            areas = np.prod(before.boxes[:, 2:] - before.boxes[:, :2], axis=1)
            costs += weights.oks * oks_costs(
                before.keypoints, now.keypoints, areas, np.array(skeleton.sigmas)
            )
        if weights.pck:
            missing = {"head_top", "head_bottom"} - set(skeleton.names)
            if missing:
                names = ", ".join(sorted(missing))
                raise ValueError(f"a weight for pck measures heads and needs the keypoints {names}")
            ends = skeleton.names.index("head_top"), skeleton.names.index("head_bottom")
            costs += weights.pck * pck_costs(before.keypoints, now.keypoints, ends)
        return costs

    def _new_id(self) -> int:
        given, self._next_id = self._next_id, self._next_id + 1
        if self.wrap_ids_at is not None and self._next_id >= self.wrap_ids_at:
            warnings.warn(
                f"{self.wrap_ids_at} track ids are used up; they start again at 0 and may stand for two objects"
                " in one frame; leave wrap_ids_at=None to avoid it",
                stacklevel=3,
            )
            self._next_id %= self.wrap_ids_at
        return given
