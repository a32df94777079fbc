"""A linker after ByteTrack (Zhang 2022): weak detections, too, can continue a track that is expected there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np

from pagoda.plain import checked
from pagoda.structures.tracks import UNLINKED
from pagoda.tracking.association import iou_costs
from pagoda.tracking.motion import VELOCITY, HeightScaledMotion, MotionModel
from pagoda.tracking.pairs import Pairs
from pagoda.tracking.staged import Stage, StagedTracker


@checked
@dataclass
class ByteTracker(StagedTracker):
    """ByteTrack's linker: strong detections against all tracks, weak ones against those in sight, then new tracks.

    A new track is given an id at its second sight (in the first frame of the video, at once). Defaults are
    the paper's at 30 frames per second; for other rates scale `max_lost_frames`.

    >>> import torch
    >>> from pagoda.structures.instances import Detections
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
    max_cost: float = 0.9
    """of a strong detection and a track: 1 - IoU · score"""
    max_low_cost: float = 0.5
    """of a weak detection and a track in sight: 1 - IoU"""
    max_new_cost: float = 0.7
    """of a strong detection and a track seen once: 1 - IoU · score"""
    near: float = 0.3
    """heights from where it is expected, times the root of the frames it was not seen, within which a track that nobody
    continued goes on wherever its box is, unless looks are compared; 0: nowhere"""
    max_lost_frames: int = 30
    """a track unseen for longer is forgotten"""
    max_duplicate_cost: float = 0.15
    """1 - IoU below which a lost track and one in sight are the same; the one seen for longer stays"""
    appearance_weight: float = 0.6
    """of how alike two look, 1 - cosine, beside how near they are, where objects have an appearance"""
    max_look_cost: float = 1.0
    """up to which a track that nobody continued is found again by its looks alone, within `reach`; 1: unlike neither
    way; 0: never"""
    reach: float = 0.6
    """of what is found again: heights from where it is expected, times the root of the frames it was not seen"""
    momentum: float = 0.9
    """of a track's appearance that is kept when it is seen"""
    model: MotionModel = field(default_factory=HeightScaledMotion)
    """where a track's box is expected"""

    keeps_new = False

    def stages(self) -> Sequence[Stage]:
        """See `StagedTracker.stages`."""
        return (
            Stage("known", "strong", self._fused, self.max_cost),
            Stage("in sight", "weak", attrgetter("apart"), self.max_low_cost),
            *self.by_place(),
            *self.by_looks(),
            Stage("new", "strong", self._fused, self.max_new_cost),
        )

    def by_place(self) -> tuple[Stage, ...]:
        """A stage for tracks whose box meets none, but is not far from one, or none."""
        return (Stage("known", "strong", self._placed, self.near),) if self.near > 0 else ()

    @property
    def told_at_once(self) -> bool:
        """In the first frame."""
        return self._frame == 0

    @property
    def min_new_score(self) -> float:
        """The margin above `min_score`."""
        return self.min_score + min(self.new_margin, (1 - self.min_score) / 2)

    def is_told(self, num_seen: np.ndarray) -> np.ndarray:
        """At the second sight."""
        return num_seen >= 2

    def steady(self, tracks: np.ndarray, lost: np.ndarray) -> None:
        """Unseen, a height is not allowed to grow on."""
        tracks["motion"][lost, VELOCITY, 3] = 0

    def doubles(self, tracks: np.ndarray, lost: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        """Of a lost track and one in sight that lie on each other, the one seen for a shorter time."""
        seen = ((unseen == 0) & (tracks["track_id"] != UNLINKED)).nonzero()[0]
        boxes = self.model.boxes(tracks["motion"])
        first, second = (iou_costs(boxes[seen], boxes[lost]) < self.max_duplicate_cost).nonzero()
        if not len(first):
            return first
        a, b = seen[first], lost[second]
        alike = tracks["label"][a] == tracks["label"][b]
        a, b = a[alike], b[alike]
        ages = tracks["frames"][:, -1] - tracks["first_frame"]
        return np.where(ages[a] > ages[b], b, a)

    def _placed(self, pairs: Pairs) -> np.ndarray | None:
        """Where looks tell who is who, no place does alone."""
        return pairs.off_expected() if pairs.looks_apart is None else None

    def _fused(self, pairs: Pairs) -> np.ndarray:
        costs = self.with_looks(1 - (1 - pairs.apart) * pairs.objects.scores, pairs)
        return costs if pairs.looks_apart is None else np.where(pairs.boxes_apart < 1, costs, np.inf)
