"""A linker after ByteTrack (Zhang 2022): weak detections, too, can continue a track that is expected there."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pagoda.plain import checked
from pagoda.structures.instances import Detections
from pagoda.structures.tracks import UNLINKED
from pagoda.tracking.association import assign, forbid_other_labels, iou_costs
from pagoda.tracking.motion import HeightScaledMotion, Motion
from pagoda.tracking.tracker import Found, in_key_frame, to_arrays, with_track_ids


@dataclass
class _Track:
    motion: Motion
    """of its one box, as predicted for the frame at hand or corrected in it"""
    label: int
    """its class, which it keeps"""
    first_frame: int
    """when it was first seen, counted from 0"""
    last_frame: int
    """when it was last seen"""
    state: Literal["new", "tracked", "lost"]
    """seen once, without id yet; seen in the last frame; or not"""
    track_id: int = UNLINKED
    """given at the second sight, or at once in the first frame"""


@checked
@dataclass
class ByteTracker:
    """ByteTrack's linker: strong detections against all tracks, weak ones against those in sight, then new tracks.

    A new track is given an id at its second sight (in the first frame of the video, at once). Defaults are
    the paper's at 30 frames per second; for other rates scale `max_lost_frames`.

    >>> import torch
    >>> from pagoda.structures.labels import LabelMap
    >>> def person(score: float) -> Detections:
    ...     box, label = torch.tensor([[0., 0., 9., 30.]]), torch.tensor([0])
    ...     return Detections(box, torch.tensor([score]), label, (99, 99), LabelMap.from_names(["person"]))
    >>> tracker = ByteTracker()
    >>> [tracker.update(person(score)).track_ids.item() for score in (0.9, 0.2, 0.05)]  # weak, too weak
    [1, 1, -1]
    """

    min_score: float = 0.5
    """strong detections are those of at least this score"""
    min_low_score: float = 0.1
    """weaker ones are not looked at"""
    new_margin: float = 0.1
    """a track starts with a detection at least this much above `min_score`, or half-way to 1 where that is nearer"""
    max_cost: float = 0.8
    """of a strong detection and a track: 1 - IoU · score"""
    max_low_cost: float = 0.5
    """of a weak detection and a track in sight: 1 - IoU"""
    max_new_cost: float = 0.7
    """of a strong detection and a track seen once: 1 - IoU · score"""
    max_lost_frames: int = 30
    """a track unseen for longer is forgotten"""
    max_duplicate_cost: float = 0.15
    """1 - IoU below which a lost track and one in sight are the same; the one seen for longer stays"""
    model: HeightScaledMotion = field(default_factory=HeightScaledMotion)
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
        strong = np.flatnonzero(scores >= self.min_score)
        weak = np.flatnonzero((scores >= self.min_low_score) & (scores < self.min_score))
        known = [track for track in self._tracks if track.state != "new"]
        unconfirmed = [track for track in self._tracks if track.state == "new"]

        def continue_tracks(
            tracks: list[_Track], rows: np.ndarray, max_cost: float, *, fused: bool
        ) -> tuple[list[_Track], np.ndarray]:
            """Match, note the matches, and return the tracks and rows that are left."""
            costs = self._costs(tracks, boxes[rows], labels[rows], scores[rows] if fused else None)
            found = assign(costs, max_cost=max_cost)
            for row, position in zip(rows[found >= 0], found[found >= 0], strict=True):
                ids[row] = self._see(tracks[position], boxes[row])
            seen = set(found[found >= 0].tolist())
            return [t for index, t in enumerate(tracks) if index not in seen], rows[found < 0]

        left, strong = continue_tracks(known, strong, self.max_cost, fused=True)
        in_sight = [track for track in left if track.state == "tracked"]
        continue_tracks(in_sight, weak, self.max_low_cost, fused=False)
        given_up, strong = continue_tracks(unconfirmed, strong, self.max_new_cost, fused=True)
        margin = min(self.new_margin, (1 - self.min_score) / 2)
        for row in strong[scores[strong] >= self.min_score + margin]:
            ids[row] = self._start(boxes[row], int(labels[row]))
        self._forget(given_up)
        return with_track_ids(detections, ids)

    def _predict(self) -> None:
        for track in self._tracks:
            if track.state == "lost":
                # Unseen, its height is not allowed to grow on.
                track.motion.state[:, 7] = 0
        if self._tracks:
            moved = self.model.predict(_stacked(self._tracks))
            for track, motion in zip(self._tracks, moved.split(), strict=True):
                track.motion = motion

    def _costs(
        self, tracks: list[_Track], boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None
    ) -> np.ndarray:
        if not tracks:
            return np.zeros((0, len(boxes)))
        costs = iou_costs(self.model.boxes(_stacked(tracks)), boxes)
        if scores is not None:
            costs = 1 - (1 - costs) * scores
        return forbid_other_labels(costs, np.array([track.label for track in tracks]), labels)

    def _see(self, track: _Track, box: np.ndarray) -> int:
        track.motion = self.model.correct(track.motion, box[None])
        track.last_frame, track.state = self._frame, "tracked"
        if track.track_id == UNLINKED:
            track.track_id = self._new_id()
        return track.track_id

    def _start(self, box: np.ndarray, label: int) -> int:
        is_first = self._frame == 0
        state: Literal["new", "tracked"] = "tracked" if is_first else "new"
        track = _Track(self.model.start(box[None]), label, self._frame, self._frame, state)
        if is_first:
            track.track_id = self._new_id()
        self._tracks.append(track)
        return track.track_id

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _forget(self, given_up: list[_Track]) -> None:
        for track in self._tracks:
            if track.last_frame < self._frame and track.state == "tracked":
                track.state = "lost"
        self._tracks = [
            track
            for track in self._tracks
            if self._frame - track.last_frame <= self.max_lost_frames
            and not any(track is g for g in given_up)
        ]
        in_sight = [track for track in self._tracks if track.state == "tracked"]
        lost = [track for track in self._tracks if track.state == "lost"]
        if not in_sight or not lost:
            return
        costs = self._costs(
            in_sight, self.model.boxes(_stacked(lost)), np.array([t.label for t in lost]), None
        )
        doubles = []
        for a, b in zip(*np.nonzero(costs < self.max_duplicate_cost), strict=True):
            ages = [track.last_frame - track.first_frame for track in (in_sight[a], lost[b])]
            doubles.append(lost[b] if ages[0] > ages[1] else in_sight[a])
        self._tracks = [track for track in self._tracks if not any(track is double for double in doubles)]


def _stacked(tracks: list[_Track]) -> Motion:
    return Motion.stack([track.motion for track in tracks])
