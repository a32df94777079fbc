# Written by tools/runtime_tracking.py from src/pagoda/tracking/staged.py: change that one.
"""What byte and ocsort have in common: tracks are predicted, paired with objects round by round, begun and forgotten.

A linker of this kind is a motion model and a short list of `Stage`s; each pairs some of the tracks that are left with
some of the objects that are left, at the least total cost. N tracks, M objects.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pagoda_runtime.detections import Detections
from pagoda_runtime.tracking import table
from pagoda_runtime.tracking.association import assign
from pagoda_runtime.tracking.motion import MotionModel
from pagoda_runtime.tracking.objects import Objects
from pagoda_runtime.tracking.pairs import Pairs
from pagoda_runtime.tracking.tracker import UNLINKED, Found, in_key_frame, to_objects, with_track_ids

Which = Literal["all", "known", "in sight", "new"]
"""tracks: every one; those with an id; of these those seen in the last frame; those without an id yet"""


@dataclass(frozen=True)
class Stage:
    """One round of pairing."""

    tracks: Which
    """of those that no earlier stage has paired"""
    objects: Literal["strong", "weak"]
    """likewise; strong ones score `min_score` or more, weak ones `min_low_score` or more"""
    costs: Callable[[Pairs], np.ndarray]
    """(N, M) what a pair costs; inf: never"""
    max_cost: float | None = None
    """dearer pairs are not made; None: as many as can be, at any finite cost"""


class StagedTracker(ABC):
    """A linker made of stages. A subclass says how; its fields are its options."""

    min_score: float
    """of strong objects"""
    min_low_score: float = np.inf
    """of weak objects; inf: there are none"""
    max_lost_frames: int
    """a track unseen for longer is forgotten"""
    momentum: float
    """of a track's appearance that is kept when it is seen"""
    appearance_weight: float
    """of how alike two look beside how near they are, where objects have an appearance"""
    max_look_cost: float
    """up to which a track that nobody continued is found again by its looks"""
    reach: float
    """how far from where it is expected, in heights"""
    model: MotionModel
    """where a track's box is expected"""
    keeps_new = True
    """whether a track without an id may be missed; False: it is forgotten"""

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of another video."""
        self._tracks: np.ndarray = np.empty(0)
        self._frame = -1
        self._next_id = 1
        self._looks: np.ndarray = np.zeros(0)  # their sum
        self._num_looks = 0
        self._stages = tuple(self.stages())

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """The rounds of pairing, in their order."""

    @abstractmethod
    def is_told(self, num_seen: np.ndarray) -> np.ndarray:
        """(N,) whether tracks get an id that have been seen so often, in a frame that is not among the first."""

    @property
    @abstractmethod
    def told_at_once(self) -> bool:
        """Whether a track that begins in the frame at hand, `self._frame`, gets an id at once."""

    @property
    def observations(self) -> int:
        """Of a track, that are kept."""
        return 1

    @property
    def min_new_score(self) -> float:
        """From which score on an object that nobody continues begins a track."""
        return self.min_score

    def update(self, found: Found, *, camera: np.ndarray | None = None) -> Detections:
        """The frame's objects with track ids; see `Tracker.update`.

        `camera` (2, 3) takes xy pixels of the frame before to this one, where the picture as a whole has moved
        (`tracking.camera`). Raises ValueError for one of another shape, for boxes that are not finite, and for an
        appearance of another length than before.
        """
        if camera is not None and np.shape(camera) != (2, 3):
            raise ValueError(
                f"camera must be (2, 3), from the frame before to this one, got {np.shape(camera)}"
            )
        detections = in_key_frame(found)
        return with_track_ids(detections, self.link(to_objects(detections), camera))

    def link(self, objects: Objects, camera: np.ndarray | None = None) -> np.ndarray:
        """(M,) the track ids of the next frame's objects; `camera` as in `update`."""
        self._frame += 1
        ids = np.full(len(objects), UNLINKED)
        is_strong = objects.scores >= self.min_score
        begins = is_strong.nonzero()[0]
        if objects.appearance is not None and len(begins):
            self._note_looks(objects.appearance[begins])
        if len(self._tracks):
            self._expect(camera)
            is_weak = ~is_strong & (objects.scores >= self.min_low_score)
            seen, rows = self._pair(objects, {"strong": is_strong, "weak": is_weak})
            if len(seen):
                ids[rows] = self._see(seen, objects.rows(rows))
            begins = is_strong.nonzero()[0]
        begins = begins[objects.scores[begins] >= self.min_new_score]
        if len(begins):
            ids[begins] = self._begin(objects.rows(begins))
        self._forget()
        return ids

    def _note_looks(self, appearance: np.ndarray) -> None:
        if self._num_looks and appearance.shape[1] != len(self._looks):
            raise ValueError(
                f"appearance must be vectors of one length, got {appearance.shape[1]} numbers each after"
                f" {len(self._looks)} in the frames before"
            )
        self._looks = self._looks + appearance.sum(0) if self._num_looks else appearance.sum(0)
        self._num_looks += len(appearance)

    def _expect(self, camera: np.ndarray | None) -> None:
        """Where the tracks should be in this frame."""
        tracks = self._tracks
        if camera is not None:
            tracks["motion"] = self.model.move(tracks["motion"], camera)
            tracks["at_last_sight"] = self.model.move(tracks["at_last_sight"], camera)
            table.move(tracks, camera)
        self.steady(tracks)
        tracks["motion"] = self.model.predict(tracks["motion"])

    def _pair(self, objects: Objects, left: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(numbers of tracks, rows of objects) that go together; `left` are bools of the objects, True where left."""
        tracks, usual = self._tracks, self._looks / self._num_looks if self._num_looks else None
        pairs = Pairs(self.model, tracks, objects, self._frame, usual)
        known = tracks["track_id"] != UNLINKED
        unpaired, seen, rows = np.ones(len(tracks), dtype=bool), [], []
        for stage in self._stages:
            those = left[stage.objects].nonzero()[0]
            if not len(those):
                continue
            some = (unpaired & self._are(stage.tracks, known)).nonzero()[0]
            if not len(some):
                continue
            partner = assign(stage.costs(pairs)[some[:, None], those], max_cost=stage.max_cost)
            paired = partner >= 0
            seen.append(some[partner[paired]])
            rows.append(those[paired])
            unpaired[seen[-1]] = left[stage.objects][rows[-1]] = False
        if not seen:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        return (seen[0], rows[0]) if len(seen) == 1 else (np.concatenate(seen), np.concatenate(rows))

    def _are(self, which: Which, known: np.ndarray) -> np.ndarray | bool:
        """(N,) which tracks, of which `known` have an id."""
        if which == "all":
            return True
        if which == "new":
            return ~known
        return known if which == "known" else known & (self._tracks["frames"][:, -1] == self._frame - 1)

    def _see(self, seen: np.ndarray, objects: Objects) -> np.ndarray:
        """Tracks continued by objects: their ids."""
        tracks = self._tracks
        motion = self.model.correct(self.resumed(tracks[seen], objects), objects.boxes)
        table.see(tracks, seen, motion, objects, self._frame, momentum=self.momentum)
        ids = tracks["track_id"][seen]
        due = (ids == UNLINKED) & self.is_told(tracks["num_seen"][seen])
        if due.any():
            ids[due] = self._new_ids(int(due.sum()))
            tracks["track_id"][seen] = ids
        return ids

    def _begin(self, objects: Objects) -> np.ndarray:
        """Tracks for objects that continue none: their ids."""
        n = len(objects)
        ids = self._new_ids(n) if self.told_at_once else np.full(n, UNLINKED)
        motion = self.model.start(objects.boxes)
        like = self._tracks.dtype if len(self._tracks) else None
        begun = table.begin_tracks(objects, motion, ids, self._frame, self.observations, like=like)
        self._tracks = begun if like is None else np.concatenate([self._tracks, begun])
        return ids

    def _new_ids(self, count: int) -> np.ndarray:
        self._next_id += count
        return np.arange(self._next_id - count, self._next_id)

    def _forget(self) -> None:
        if not len(self._tracks):
            return
        unseen = self._frame - self._tracks["frames"][:, -1]
        kept = unseen <= self.max_lost_frames
        if not self.keeps_new:
            kept &= (self._tracks["track_id"] != UNLINKED) | (unseen == 0)
        if not kept.all():
            self._tracks, unseen = self._tracks[kept], unseen[kept]
        if unseen.any():
            doubles = self.doubles(self._tracks)
            if doubles.any():
                self._tracks = self._tracks[~doubles]

    def with_looks(self, costs: np.ndarray, pairs: Pairs) -> np.ndarray:
        """(N, M) costs of places, less where two look alike and more where they do not."""
        looks = pairs.looks_apart
        return costs if looks is None else costs + self.appearance_weight * (looks - 1)

    def by_looks(self) -> tuple[Stage, ...]:
        """A stage for tracks that come back where no place tells, or none."""
        if self.max_look_cost <= 0:
            return ()
        return (Stage("known", "strong", self._found_again, self.max_look_cost),)

    def _found_again(self, pairs: Pairs) -> np.ndarray:
        """(N, M) costs of looks alone, of what is within reach; inf without an appearance."""
        looks = pairs.looks_apart
        if looks is None:
            return np.full((len(pairs.tracks), len(pairs.objects)), np.inf)
        return np.where(pairs.within_reach(self.reach), looks, np.inf)

    def steady(self, tracks: np.ndarray) -> None:  # noqa: B027
        """Change in place the motions with which tracks go on."""

    def resumed(self, tracks: np.ndarray, objects: Objects) -> np.ndarray:
        """(N, 5, 4) the prediction for tracks that are seen as `objects`, row by row, before it is corrected."""
        return tracks["motion"]

    def doubles(self, tracks: np.ndarray) -> np.ndarray:
        """(N,) tracks that another one stands for."""
        return np.zeros(len(tracks), dtype=bool)
