"""A linker after OC-SORT (Cao 2023): trust what was observed more than what the filter made of it."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from pagoda.plain import checked
from pagoda.structures.instances import Detections
from pagoda.structures.tracks import UNLINKED
from pagoda.tracking.association import assign, forbid_other_labels, iou_costs
from pagoda.tracking.motion import AreaMotion, Motion
from pagoda.tracking.tracker import Found, in_key_frame, to_arrays, with_track_ids


@dataclass
class _Track:
    motion: Motion
    """as predicted for the frame at hand"""
    at_last_sight: Motion
    """as corrected when last seen"""
    label: int
    """its class, which it keeps"""
    seen: deque[tuple[int, np.ndarray]]
    """(frame, box) of the last few observations, newest last"""
    num_seen: int = 1
    """frames it was seen in so far"""
    track_id: int = UNLINKED
    """given at the `min_seen`-th sight"""

    @property
    def last_frame(self) -> int:
        return self.seen[-1][0]

    @property
    def last_box(self) -> np.ndarray:
        return self.seen[-1][1]


@checked
@dataclass
class OCSortTracker:
    """OC-SORT's linker: IoU with the prediction and agreement of direction, then IoU with the last place seen.

    When an object returns, the filter is run again along the straight path between the two places where it
    was seen, instead of going on from where it drifted in between. A track is given its id at
    its `min_seen`-th sight; in the first frames of a video, at once.

    >>> import torch
    >>> from pagoda.structures.labels import LabelMap
    >>> def person(score: float) -> Detections:
    ...     box, label = torch.tensor([[0., 0., 9., 30.]]), torch.tensor([0])
    ...     return Detections(box, torch.tensor([score]), label, (99, 99), LabelMap.from_names(["person"]))
    >>> tracker = OCSortTracker()
    >>> [tracker.update(person(score)).track_ids.item() for score in (0.9, 0.2, 0.9)]  # weak ones are no sights
    [1, -1, 1]
    """

    min_score: float = 0.5
    """weaker detections are not looked at"""
    min_iou: float = 0.3
    """of a detection and a track's box, as predicted or as last seen, below which they never pair"""
    max_lost_frames: int = 30
    """a track unseen for longer is forgotten"""
    min_seen: int = 3
    """frames a track is seen in before it gets an id"""
    direction_frames: int = 3
    """directions are measured from the observation this many frames back"""
    direction_weight: float = 0.2
    """of the agreement of directions, -1/2 … 1/2, beside the IoU"""
    model: AreaMotion = field(default_factory=AreaMotion)
    """where a track's box is expected"""

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of another video."""
        self._tracks: list[_Track] = []
        self._frame = -1
        self._next_id = 1

    def update(self, found: Found) -> Detections:
        """The frame's objects with track ids; see `Tracker.update`."""
        detections = in_key_frame(found)
        boxes, scores, labels = to_arrays(detections)
        self._frame += 1
        self._predict()
        ids = np.full(len(boxes), UNLINKED)
        rows = np.flatnonzero(scores >= self.min_score)
        left = self._tracks
        for costs_of in (self._motion_costs, self._last_place_costs):
            if not left or not len(rows):
                break
            costs = costs_of(left, boxes[rows], scores[rows])
            same = forbid_other_labels(costs, np.array([track.label for track in left]), labels[rows])
            partner = assign(same)
            for row, position in zip(rows[partner >= 0], partner[partner >= 0], strict=True):
                ids[row] = self._see(left[position], boxes[row])
            seen = set(partner[partner >= 0].tolist())
            left = [track for index, track in enumerate(left) if index not in seen]
            rows = rows[partner < 0]
        for row in rows:
            ids[row] = self._start(boxes[row], int(labels[row]))
        self._tracks = [t for t in self._tracks if self._frame - t.last_frame <= self.max_lost_frames]
        return with_track_ids(detections, ids)

    def _predict(self) -> None:
        if self._tracks:
            moved = self.model.predict(Motion.stack([track.motion for track in self._tracks]))
            for track, motion in zip(self._tracks, moved.split(), strict=True):
                track.motion = motion

    def _motion_costs(self, tracks: list[_Track], boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        predicted = self.model.boxes(Motion.stack([track.motion for track in tracks]))
        ious = 1 - iou_costs(predicted, boxes)
        earlier = np.stack([self._earlier_box(track) for track in tracks])
        last = np.stack([track.last_box for track in tracks])
        agreement = direction_agreement(earlier, last, boxes) * scores
        return np.where(ious >= self.min_iou, 1 - ious - self.direction_weight * agreement, np.inf)

    def _last_place_costs(self, tracks: list[_Track], boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        costs = iou_costs(np.stack([track.last_box for track in tracks]), boxes)
        return np.where(costs <= 1 - self.min_iou, costs, np.inf)

    def _earlier_box(self, track: _Track) -> np.ndarray:
        """The observation `direction_frames` back, or the oldest one after it."""
        wanted = self._frame - self.direction_frames
        return next((box for frame, box in track.seen if frame >= wanted), track.last_box)

    def _see(self, track: _Track, box: np.ndarray) -> int:
        gap = self._frame - track.last_frame
        if gap > 1:
            track.motion = along_the_path(self.model, track.at_last_sight, track.last_box, box, gap)
        track.motion = track.at_last_sight = self.model.correct(track.motion, box[None])
        track.seen.append((self._frame, box))
        track.num_seen += 1
        if track.track_id == UNLINKED and track.num_seen >= self.min_seen:
            track.track_id = self._new_id()
        return track.track_id

    def _start(self, box: np.ndarray, label: int) -> int:
        motion = self.model.start(box[None])
        seen = deque([(self._frame, box)], maxlen=self.direction_frames + 1)
        track = _Track(motion, motion, label, seen)
        if self._frame < self.min_seen or self.min_seen <= 1:
            track.track_id = self._new_id()
        self._tracks.append(track)
        return track.track_id

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


def along_the_path(model: AreaMotion, motion: Motion, last: np.ndarray, now: np.ndarray, gap: int) -> Motion:
    """The motion predicted for the frame of `now`, as if the object had been seen on the straight way there.

    `motion` is what was known when it was last seen, in the box `last` (4,), `gap` frames ago.

    >>> model, last = AreaMotion(), np.array([0., 0., 10., 10.])
    >>> now = last + [8, 0, 8, 0]
    >>> model.boxes(along_the_path(model, model.start(last[None]), last, now, gap=4)).round(1)
    array([[ 8.,  0., 18., 10.]])
    """
    for step in range(1, gap):
        between = last + (now - last) * step / gap
        motion = model.correct(model.predict(motion), between[None])
    return model.predict(motion)


def direction_agreement(earlier: np.ndarray, last: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N, M) from 1/2 for going on straight to -1/2 for turning back: (π/2 - angle) / π between the way from
    `earlier` to `last` (N, 4) and the way from `earlier` to each of `boxes` (M, 4); 0 where there was no way yet.

    >>> earlier = np.zeros((1, 4))
    >>> boxes = np.array([[9., 0., 9., 0.], [0., 9., 0., 9.], [-9., 0., -9., 0.]])  # on, aside, back
    >>> direction_agreement(earlier, earlier + [1, 0, 1, 0], boxes)
    array([[ 0.5,  0. , -0.5]])
    """
    before, now = _centers(last) - _centers(earlier), _centers(boxes)[None] - _centers(earlier)[:, None]
    lengths = np.linalg.norm(before, axis=1)[:, None] * np.linalg.norm(now, axis=2)
    cosines = np.einsum("nx,nmx->nm", before, now) / np.maximum(lengths, 1e-12)
    angles = np.arccos(np.clip(cosines, -1, 1))
    return np.where(lengths > 0, (np.pi / 2 - angles) / np.pi, 0)


def _centers(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2
