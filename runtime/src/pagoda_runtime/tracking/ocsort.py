# Written by tools/runtime_tracking.py from src/pagoda/tracking/ocsort.py: change that one.
"""A linker after OC-SORT (Cao 2023): trust what was observed more than what the filter made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pagoda_runtime.tracking.association import TINY
from pagoda_runtime.tracking.motion import AreaMotion, MotionModel
from pagoda_runtime.tracking.pairs import Pairs
from pagoda_runtime.tracking.staged import Stage, StagedTracker

TWICE_THE_CENTRE = np.array([[1.0, 0, 1, 0], [0, 1, 0, 1]])


@dataclass
class OCSortTracker(StagedTracker):
    """OC-SORT's linker: IoU with the prediction and agreement of direction, then IoU with the last place seen.

    When an object returns, the filter is run again along the straight path between the two places where it
    was seen, instead of going on from where it drifted in between. A track is given its id at
    its `min_seen`-th sight; in the first frames of a video, at once.
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
    appearance_weight: float = 0.6
    """of how alike two look, 1 - cosine, beside how near they are, where objects have an appearance"""
    max_look_cost: float = 1.0
    """up to which a track that nobody continued is found again by its looks alone, within `reach`; 1: unlike neither
    way; 0: never"""
    reach: float = 0.6
    """of what is found again: heights from where it is expected, times the root of the frames it was not seen"""
    momentum: float = 0.9
    """of a track's appearance that is kept when it is seen"""
    model: AreaMotion = field(default_factory=AreaMotion)
    """where a track's box is expected"""

    def stages(self) -> Sequence[Stage]:
        """See `StagedTracker.stages`."""
        return (
            Stage("all", "strong", self._directed),
            Stage("all", "strong", self._from_last),
            *self.by_looks(),
        )

    @property
    def observations(self) -> int:
        """Those that directions are measured from, and the last."""
        return self.direction_frames + 1

    @property
    def told_at_once(self) -> bool:
        """In the first frames."""
        return self._frame < self.min_seen or self.min_seen <= 1

    def is_told(self, num_seen: np.ndarray) -> np.ndarray:
        """At the `min_seen`-th sight."""
        return num_seen >= self.min_seen

    def resumed(self, motion: np.ndarray, seen: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Tracks that were unseen have gone straight on to where they are seen now."""
        tracks = self._tracks
        gaps = self._frame - tracks["frames"][seen, -1]
        late = (gaps > 1).nonzero()[0]
        if len(late):
            before, last = tracks["at_last_sight"][seen[late]], tracks["boxes"][seen[late], -1]
            motion[late] = along_the_path(self.model, before, last, boxes[late], gaps[late])
        return motion

    def _directed(self, pairs: Pairs) -> np.ndarray:
        # Directions are reckoned of what is near alone, which most pairs are not.
        near = (pairs.apart <= 1 - self.min_iou).nonzero()
        tracks, rows = near
        earlier, last = self._earlier_boxes(pairs.tracks)[tracks], pairs.tracks["boxes"][tracks, -1]
        agreement = direction_agreement(earlier, last, pairs.objects.boxes[rows])
        agreement *= self.direction_weight * pairs.objects.scores[rows]
        costs = np.full(pairs.apart.shape, np.inf)
        costs[near] = self.with_looks(pairs.apart, pairs)[near] - agreement
        return costs

    def _from_last(self, pairs: Pairs) -> np.ndarray:
        costs = pairs.apart_from_last
        return np.where(costs <= 1 - self.min_iou, costs, np.inf)

    def _earlier_boxes(self, tracks: np.ndarray) -> np.ndarray:
        """(N, 4) the observation `direction_frames` back, or the oldest one after it, or the last."""
        frames = tracks["frames"]
        recent = frames >= max(self._frame - self.direction_frames, 0)
        recent[:, -1] = True
        return tracks["boxes"][np.arange(len(tracks)), recent.argmax(1)]


def along_the_path(
    model: MotionModel, motion: np.ndarray, last: np.ndarray, now: np.ndarray, gaps: np.ndarray
) -> np.ndarray:
    """(N, 5, 4) the motions predicted for the frame of `now`, as if objects had been seen on the straight way there.

    `motion` is what was known of them when they were last seen, in the boxes `last` (N, 4), `gaps` (N,) frames ago.
    """
    motion = motion.copy()
    for step in range(1, int(gaps.max(initial=1))):
        on = (gaps > step).nonzero()[0]
        between = last[on] + (now[on] - last[on]) * (step / gaps[on])[:, None]
        motion[on] = model.correct(model.predict(motion[on]), between)
    return model.predict(motion)


def direction_agreement(earlier: np.ndarray, last: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) from 1/2 for going on straight to -1/2 for turning back: (π/2 - angle) / π between the way from
    `earlier` to `last` (N, 4) and the way from `earlier` to `boxes` (N, 4), row by row; 0 where there was no way yet.
    """
    (x, y), (to_x, to_y) = (TWICE_THE_CENTRE @ (to - earlier).T for to in (last, boxes))
    # Where there was no way, next to nothing across is a right angle, of which the agreement is 0.
    across, along = np.abs(x * to_y - y * to_x) + TINY, x * to_x + y * to_y
    return 0.5 - np.arctan2(across, along) / np.pi
