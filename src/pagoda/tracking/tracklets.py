"""Who is who once a video is known to its end. N rows of a video.

A linker decides frame by frame, before it is seen where people go who have met. Afterwards its tracks can be cut where
they met, and the pieces (tracklets) joined along the straightest paths: in stages as Huang et al. (2008) do it, with
the fit of one path to both pieces in the place of likenesses that are learnt.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pagoda.plain import check_counts, checked
from pagoda.structures.instances import Detections
from pagoda.structures.tracks import UNLINKED, Tracks
from pagoda.tracking.association import iou_costs
from pagoda.tracking.motion import move_boxes
from pagoda.tracking.tracker import Found, in_key_frame, with_track_ids

Tracklet = np.ndarray
"""(n,) rows of one object, in the order of their frames"""
FLAT = 1e-6
"""pixels that boxes without any height have"""


class Sights(NamedTuple):
    """Some sights of one object in sums, over frames t and places x, y: all that a straight path through them needs."""

    n: int
    """how many"""
    height: float
    """the median, in pixels"""
    t: float
    tt: float
    x: float
    tx: float
    xx: float
    y: float
    ty: float
    yy: float


@checked
@dataclass(frozen=True, kw_only=True)
class Relinker:
    """Gives the tracks of a whole video their numbers anew; what is in no track stays so, and no box is moved.

    Tracks are cut where they have a gap and where their box begins or ceases to lie on another's. Then the two pieces
    that fit together best are joined, again and again, until none fit to `max_cost`.

    >>> from pagoda.structures.labels import LabelMap
    >>> x = np.array([0.0, 10.0, 20.0, 50.0, 60.0, 70.0])  # somebody walks on behind a pillar, and gets a new number
    >>> boxes, ids = np.stack([x, 0 * x, x + 40, 0 * x + 80], 1), np.array([1, 1, 1, 2, 2, 2])
    >>> frames, labels = np.array([0, 1, 2, 5, 6, 7]), np.zeros(6, int)
    >>> Relinker().relink(Tracks(frames, ids, boxes, np.ones(6), labels, LabelMap.numbered(1), num_frames=8)).track_ids
    array([1, 1, 1, 1, 1, 1])
    """

    max_gap: int = 30
    """frames from the end of one piece to the beginning of the next, at most"""
    max_overlap: float = 0.2
    """IoU of two boxes of a frame from which on either may belong to the other's track"""
    noise: float = 0.06
    """heights by which boxes are off a straight path"""
    speed: float = 0.1
    """heights per frame that are nothing unusual; what pieces of many frames show counts more"""
    window: int = 10
    """frames of each piece to which a path is fitted"""
    doubt: float = 0.8
    """how much more it costs to join pieces of one frame than such of many"""
    size_noise: float = 0.15
    """by which two sights of one object differ in the logarithm of their height"""
    max_cost: float = 3.0
    """beyond, pieces stay apart: distances from the path in `noise`, and the doubt"""

    def __post_init__(self) -> None:
        check_counts(max_gap=self.max_gap, window=self.window)
        for name in ("noise", "speed", "size_noise"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")

    def relink(self, tracks: Tracks, camera: Sequence[np.ndarray] = ()) -> Tracks:
        """The same objects, tracks numbered from 1 on in the order in which they begin.

        `camera`: of each frame what takes pixels of the one before to it, (2, 3), as `tracking.camera` finds it out;
        none: it stands still. Where it moves, straight paths are none in the picture. Raises ValueError for another
        number of frames.
        """
        return replace(tracks, track_ids=self.new_ids(tracks, camera))

    def new_ids(self, tracks: Tracks, camera: Sequence[np.ndarray] = ()) -> np.ndarray:
        """(N,) the number of each row's track; `UNLINKED` stays."""
        joined = _Joining(self, _steadied(tracks, camera) if len(camera) else tracks).tracks()
        ids = np.full(len(tracks), UNLINKED)
        for number, rows in enumerate(sorted(joined, key=lambda rows: (tracks.frames[rows[0]], rows[0])), 1):
            ids[rows] = number
        return ids

    def cost(self, before: Sights, after: Sights, gap: int) -> float:
        """Of taking both for one object, seen `gap` frames after it was seen last; `max_cost` or less is good enough.

        Distances from the straight path that fits best, where an unusual speed is a distance, too, or the change of
        height if that is larger; and the doubt.
        """
        n = before.n + after.n
        height = (before.n * before.height + after.n * after.height) / n
        t = (before.t + after.t) / n
        tt = before.tt + after.tt - n * t * t
        worst = 0.0
        for x, tx, xx in (
            (before.x + after.x, before.tx + after.tx, before.xx + after.xx),
            (before.y + after.y, before.ty + after.ty, before.yy + after.yy),
        ):
            together, spread = (tx - t * x) / height, (xx - x * x / n) / height**2
            speed = together / (tt + (self.noise / self.speed) ** 2)
            off = spread - 2 * speed * together + speed**2 * tt
            worst = max(worst, off / self.noise**2 + (speed / self.speed) ** 2)
        grown = abs(math.log(before.height / after.height)) / self.size_noise
        few = math.sqrt(1 / before.n + 1 / after.n) * (1 + 0.1 * gap)
        return max(math.sqrt(worst / (n - 1)), grown) + self.doubt * few


class KnownTracks:
    """A linker that was told the (N,) track ids of every frame beforehand; what comes after belongs to no track.

    >>> import torch
    >>> from pagoda.structures.labels import LabelMap
    >>> two = Detections(torch.zeros(2, 4), torch.ones(2), torch.zeros(2).long(), (9, 9), LabelMap.numbered(1))
    >>> linker = KnownTracks([np.array([7, UNLINKED])])
    >>> [linker.update(two).track_ids.tolist() for _ in range(2)]
    [[7, -1], [-1, -1]]
    """

    def __init__(self, ids: Sequence[np.ndarray]) -> None:
        self._ids = ids
        self.reset()

    def reset(self) -> None:
        """See `Tracker.reset`."""
        self._left = iter(self._ids)

    def update(self, found: Found) -> Detections:
        """See `Tracker.update`."""
        objects = in_key_frame(found)
        ids = next(self._left, None)
        return with_track_ids(objects, np.full(len(objects), UNLINKED) if ids is None else ids)


class _Joining:
    """The pieces of one video, and what it costs to join each with those near it in time."""

    def __init__(self, how: Relinker, tracks: Tracks) -> None:
        self._how, self._frames, self._labels = how, tracks.frames, tracks.labels
        left, top, right, bottom = tracks.boxes.T
        self._heights = np.maximum(bottom - top, FLAT)
        self._centers = np.stack([left + right, top + bottom], 1) / 2
        self._pieces = dict(enumerate(_cut(tracks, how.max_overlap)))
        self._ends = {key: self._ends_of(rows) for key, rows in self._pieces.items()}
        self._count = len(self._pieces)
        self._when = {key: frozenset(self._frames[rows].tolist()) for key, rows in self._pieces.items()}
        self._near: dict[int, set[int]] = {key: set() for key in self._pieces}
        for one, other in self._neighbours():
            self._near[one].add(other)
            self._near[other].add(one)

    def tracks(self) -> list[Tracklet]:
        """The pieces once nothing more fits together."""
        offers = [
            (cost, one, other)
            for one, others in self._near.items()
            for other in others
            if other < one and (cost := self._cost(one, other)) <= self._how.max_cost
        ]
        heapq.heapify(offers)
        while offers:
            _, one, other = heapq.heappop(offers)
            if one in self._pieces and other in self._pieces:
                for offer in self._join(one, other):
                    heapq.heappush(offers, offer)
        return list(self._pieces.values())

    def _join(self, one: int, other: int) -> Iterator[tuple[float, int, int]]:
        """Make one piece of two: what it costs to join it with others."""
        key, self._count = self._count, self._count + 1
        rows = np.concatenate([self._pieces.pop(one), self._pieces.pop(other)])
        self._pieces[key] = rows = rows[np.argsort(self._frames[rows])]
        self._ends[key] = self._ends_of(rows)
        self._when[key] = self._when.pop(one) | self._when.pop(other)
        near = (self._near.pop(one) | self._near.pop(other)) - {one, other}
        self._near[key] = {each for each in near if self._when[each].isdisjoint(self._when[key])}
        for each in near:
            self._near[each] -= {one, other}
        for each in sorted(self._near[key]):
            self._near[each].add(key)
            if (cost := self._cost(key, each)) <= self._how.max_cost:
                yield cost, key, each

    def _neighbours(self) -> Iterator[tuple[int, int]]:
        """Pairs of one class that have no frame in common and no more than `max_gap` between them."""
        order = sorted(self._pieces, key=lambda key: self._frames[self._pieces[key][0]])
        running: list[int] = []
        for key in order:
            first = self._frames[self._pieces[key][0]]
            running = [
                each for each in running if first - self._frames[self._pieces[each][-1]] <= self._how.max_gap
            ]
            for each in running:
                is_alike = self._labels[self._pieces[each][0]] == self._labels[self._pieces[key][0]]
                if is_alike and first > self._frames[self._pieces[each][-1]]:
                    yield each, key
            running.append(key)

    def _cost(self, one: int, other: int) -> float:
        """How far the boxes about the place where two pieces meet are from one straight path."""
        frames, window = self._frames, self._how.window
        a, b = self._pieces[one], self._pieces[other]
        if frames[a[0]] > frames[b[0]]:
            one, other, a, b = other, one, b, a
        if (gap := int(frames[b[0]] - frames[a[-1]])) > 0:
            return self._how.cost(self._ends[one][1], self._ends[other][0], gap)
        # It lies within a gap of the other, or each in one of the other's.
        is_near = (frames[a] >= frames[b[0]] - window) & (frames[a] <= frames[b[-1]] + window)
        return self._how.cost(self._sights(a[is_near]), self._ends[other][0], 1) if is_near.any() else np.inf

    def _ends_of(self, rows: Tracklet) -> tuple[Sights, Sights]:
        """The first sights of a piece, and the last."""
        return self._sights(rows[: self._how.window]), self._sights(rows[-self._how.window :])

    def _sights(self, rows: Tracklet) -> Sights:
        t, (x, y) = self._frames[rows].astype(float), self._centers[rows].T
        sums = (t, t * t, x, t * x, x * x, y, t * y, y * y)
        return Sights(len(rows), float(np.median(self._heights[rows])), *(float(each.sum()) for each in sums))


def _steadied(tracks: Tracks, camera: Sequence[np.ndarray]) -> Tracks:
    """With boxes where they lie in the first frame's picture, as if that went on beyond its border."""
    if len(camera) != tracks.num_frames:
        raise ValueError(f"camera must be of {tracks.num_frames} frames, got {len(camera)}")
    boxes, back = tracks.boxes.copy(), np.eye(3)
    for frame, moved in enumerate(camera):
        back = back @ np.linalg.inv(np.vstack([moved, [0, 0, 1]])) if frame else back
        here = tracks.frame_slice(frame)
        boxes[here] = move_boxes(boxes[here], back[:2])
    return replace(tracks, boxes=boxes)


def _cut(tracks: Tracks, max_overlap: float) -> Iterator[Tracklet]:
    """The tracks in pieces without gaps, of frames in which the box lies on no other, or on one in all of them."""
    meets = np.zeros(len(tracks), bool)
    (linked,) = np.nonzero(tracks.track_ids != UNLINKED)
    for rows in np.split(linked, np.flatnonzero(np.diff(tracks.frames[linked])) + 1):
        overlaps = 1 - iou_costs(tracks.boxes[rows], tracks.boxes[rows])
        np.fill_diagonal(overlaps, 0)
        meets[rows] = overlaps.max(1, initial=0) > max_overlap
    by_track = linked[np.lexsort((tracks.frames[linked], tracks.track_ids[linked]))]
    ends = (
        (np.diff(tracks.track_ids[by_track]) != 0)
        | (np.diff(tracks.frames[by_track]) > 1)
        | (np.diff(meets[by_track].astype(int)) != 0)
    )
    yield from (piece for piece in np.split(by_track, np.flatnonzero(ends) + 1) if len(piece))
