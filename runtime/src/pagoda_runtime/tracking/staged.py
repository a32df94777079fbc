# Written by tools/runtime_tracking.py from src/pagoda/tracking/staged.py: change that one.
"""What byte and ocsort have in common: tracks are predicted, paired with objects round by round, begun and forgotten.

A linker of this kind is a motion model and a short list of `Stage`s; each pairs some of the tracks that are left with
some of the objects that are left, at the least total cost. N tracks, M objects.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pagoda_runtime.detections import Detections
from pagoda_runtime.tracking import table
from pagoda_runtime.tracking.association import pair_up
from pagoda_runtime.tracking.motion import MotionModel
from pagoda_runtime.tracking.objects import Objects
from pagoda_runtime.tracking.pairs import Pairs
from pagoda_runtime.tracking.tracker import UNLINKED, Found, in_key_frame, to_objects, with_track_ids

EVERYONE = slice(None)
Which = Literal["all", "known", "in sight", "new"]
"""tracks: every one; those with an id; of these those seen in the last frame; those without an id yet"""


@dataclass(frozen=True)
class Stage:
    """One round of pairing."""

    tracks: Which
    """of those that no earlier stage has paired"""
    objects: Literal["strong", "weak"]
    """likewise; strong ones score `min_score` or more, weak ones `min_low_score` or more"""
    costs: Callable[[Pairs], np.ndarray | None]
    """(N, M) what a pair costs; inf: never; None: the stage does not take place"""
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
        self._all_seen = True  # all tracks, in the frame before
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
        ids = np.empty(len(objects), dtype=np.int64)
        ids.fill(UNLINKED)
        is_strong = objects.scores >= self.min_score
        strong = is_strong.nonzero()[0]
        if objects.appearance is not None and len(strong):
            self._note_looks(objects.appearance[strong])
        if len(self._tracks):
            self._expect(camera)
            weak = strong[:0]
            if len(strong) < len(objects):
                weak = (~is_strong & (objects.scores >= self.min_low_score)).nonzero()[0]
            left, seen = {"strong": strong, "weak": weak}, strong[:0]
            if len(strong) or len(weak):
                seen, rows = self._pair(objects, left)
                strong = left["strong"]
            if len(seen):
                self._see(seen, rows, objects, ids)
            self._all_seen = len(seen) == len(self._tracks)
        if len(strong):
            begins = strong[objects.scores[strong] >= self.min_new_score]
            if len(begins):
                ids[begins] = self._begin(objects.rows(begins))
        if not self._all_seen:
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
        tracks["motion"] = self.model.predict(tracks["motion"])

    def _pair(self, objects: Objects, left: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(numbers of tracks, ascending, rows of objects) that go together; of `left`, rows by kind, they are taken."""
        tracks, usual = self._tracks, self._looks / self._num_looks if self._num_looks else None
        pairs = Pairs(self.model, tracks, objects, self._frame, usual)
        known = tracks["track_id"] != UNLINKED
        unpaired = np.arange(len(tracks))
        seen, rows = [unpaired[:0]], [unpaired[:0]]
        for stage in self._stages:
            those = left[stage.objects]
            if not len(those):
                continue
            some = self._those(stage.tracks, unpaired, known)
            costs = stage.costs(pairs) if len(some) else None
            if costs is None:
                continue
            if costs.shape != (len(some), len(those)):
                costs = costs[some[:, None], those]
            mine, theirs = pair_up(costs, stage.max_cost)
            seen.append(mine if len(some) == len(tracks) else some[mine])
            rows.append(theirs if len(those) == len(objects) else those[theirs])
            left[stage.objects] = without(those, theirs) if len(theirs) < len(those) else those[:0]
            if len(mine) == len(unpaired):
                break
            unpaired = without(
                unpaired, mine if len(some) == len(unpaired) else unpaired.searchsorted(seen[-1])
            )
        if len(seen) == 2:
            return seen[1], rows[1]
        every = np.concatenate(seen)
        order = every.argsort()
        return every[order], np.concatenate(rows)[order]

    def _those(self, which: Which, unpaired: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Of the numbers of `unpaired` tracks those a stage is for; `known` (N,) have an id."""
        if which == "all" or (which == "known" and np.count_nonzero(known) == len(known)):
            return unpaired
        if which == "new":
            known = ~known
        elif which == "in sight":
            known = known & (self._tracks["frames"][:, -1] == self._frame - 1)
        return unpaired[known[unpaired]]

    def _see(self, seen: np.ndarray, rows: np.ndarray, objects: Objects, ids: np.ndarray) -> None:
        """Tracks continued by the objects of some rows, whose `ids` are filled in."""
        tracks = self._tracks
        which: np.ndarray | slice = seen
        if len(seen) == len(tracks):
            which = EVERYONE  # a whole field costs less than some numbers of it
        boxes, motion = objects.boxes[rows], tracks["motion"][which]
        if not self._all_seen:
            motion = self.resumed(motion, seen, boxes)
        table.see(
            tracks,
            which,
            self.model.correct(motion, boxes),
            objects,
            rows,
            self._frame,
            momentum=self.momentum,
        )
        mine = tracks["track_id"][which]
        due = (mine == UNLINKED).nonzero()[0]
        if len(due):
            due = due[self.is_told(tracks["num_seen"][seen[due]])]
            due = due[rows[due].argsort()]
            mine[due] = self._new_ids(len(due))
            tracks["track_id"][which] = mine
        ids[rows] = mine

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
        unseen = self._frame - self._tracks["frames"][:, -1]
        lost = unseen.nonzero()[0]
        gone = unseen[lost] > self.max_lost_frames
        if not self.keeps_new:
            gone |= self._tracks["track_id"][lost] == UNLINKED
        if np.count_nonzero(gone):
            unseen = without(unseen, lost[gone])
            self._tracks, lost = without(self._tracks, lost[gone]), unseen.nonzero()[0]
        if len(lost):
            self.steady(self._tracks, lost)
            doubles = self.doubles(self._tracks, lost, unseen)
            if len(doubles):
                self._tracks = without(self._tracks, doubles)

    def with_looks(self, costs: np.ndarray, pairs: Pairs) -> np.ndarray:
        """(N, M) costs of places, less where two look alike and more where they do not."""
        looks = pairs.looks_apart
        return costs if looks is None else costs + self.appearance_weight * (looks - 1)

    def by_looks(self) -> tuple[Stage, ...]:
        """A stage for tracks that come back where no place tells, or none."""
        if self.max_look_cost <= 0:
            return ()
        return (Stage("known", "strong", self._found_again, self.max_look_cost),)

    def _found_again(self, pairs: Pairs) -> np.ndarray | None:
        """(N, M) costs of looks alone, of what is within reach."""
        looks = pairs.looks_apart
        if looks is None:
            return None
        return np.where(pairs.off_expected() <= self.reach, looks, np.inf)

    def steady(self, tracks: np.ndarray, lost: np.ndarray) -> None:  # noqa: B027
        """Change in place the motions with which the tracks of the numbers `lost` go on unseen."""

    def resumed(self, motion: np.ndarray, seen: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """(n, 5, 4) the predictions `motion` of the tracks `seen`, which are in `boxes` now and of which some were not
        seen before, as they are to be corrected."""
        return motion

    def doubles(self, tracks: np.ndarray, lost: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        """Numbers of tracks that another one stands for; `unseen` (N,) for how many frames, `lost` for more than 0."""
        return np.empty(0, dtype=np.int64)


def without(numbers: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Numbers, or tracks, but those at some places."""
    kept = np.empty(len(numbers), dtype=bool)
    kept.fill(True)
    kept[places] = False
    return numbers[kept]
