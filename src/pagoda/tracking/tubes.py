"""Linking clips by the frames they share: two tubes that lie on each other there are one object.

Clips around neighbouring frames have T-1 frames in common, and a tube says of each where the object is. That
compares an object with itself at the same moment, needs no guess about motion, and bridges gaps of up to
T-2 frames as it is. Detect-and-Track computed such tubes but linked only their key frames.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from pagoda.plain import checked
from pagoda.structures.instances import Detections
from pagoda.structures.tracks import UNLINKED
from pagoda.structures.tubes import Tubes
from pagoda.tracking.association import assign, forbid_other_labels, iou_costs, oks_costs
from pagoda.tracking.tracker import Found, to_arrays, with_track_ids


@dataclass
class _Track:
    boxes: dict[int, np.ndarray]
    """frame → (4,) box of the tube last seen"""
    keypoints: dict[int, np.ndarray]
    """frame → (K, 2) xy of the same tube"""
    key_frame: int
    """that its last clip was about"""
    label: int
    """its class, which it keeps"""
    track_id: int
    """`UNLINKED` until it is known"""


@checked
@dataclass
class TubeTracker:
    """A linker of clips by least total cost over shared frames: 1 - mean IoU, for poses half of it 1 - mean OKS.

    A track whose tube shares no frame with the clip at hand is compared by its last box.

    >>> from pagoda.structures.labels import LabelMap
    >>> def clip(left: float, right: float, frame: int) -> Tubes:  # an object in this frame and the one before
    ...     boxes = torch.tensor([[[left, 0., left + 9., 9.], [right, 0., right + 9., 9.]]])
    ...     one, frames = torch.tensor([0]), (frame - 1, frame)
    ...     return Tubes(boxes, torch.tensor([0.9]), one, frames, 1, (99, 99), LabelMap.numbered(1))
    >>> tracker = TubeTracker()
    >>> moves = [clip(0, 30, 1), clip(30, 60, 2)]  # 30 pixels in a frame: both tubes say where it was in frame 1
    >>> [tracker.update(tubes).track_ids.item() for tubes in moves]
    [1, 1]
    """

    min_score: float = 0.5
    """weaker tubes get no track"""
    min_overlap: float = 0.1
    """1 - cost below which two tubes are never the same object"""
    max_lost_frames: int = 30
    """a track unseen for longer is forgotten"""
    use_keypoints: bool = True
    """compare poses as well, where there are any"""

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next clip is the first of another video."""
        self._tracks: list[_Track] = []
        self._next_id = 1

    def update(self, tubes: Tubes) -> Detections:
        """The tubes' boxes in the key frame with `track_ids`; -1 for tubes below `min_score`."""
        if not torch.isfinite(tubes.boxes).all():
            bad = (~torch.isfinite(tubes.boxes).flatten(1).all(1)).nonzero().flatten().tolist()
            raise ValueError(f"boxes to link must be finite xyxy pixels; those of tubes {bad} are not")
        ids = np.full(len(tubes), UNLINKED)
        rows = np.flatnonzero((tubes.scores >= self.min_score).cpu().numpy())
        labels = tubes.labels.cpu().long().numpy()
        current = [self._track(tubes, int(row), int(labels[row])) for row in rows]
        if current and self._tracks:
            costs = self._costs(self._tracks, current, tubes)
            old_labels = np.array([track.label for track in self._tracks])
            found = assign(
                forbid_other_labels(costs, old_labels, labels[rows]), max_cost=1 - self.min_overlap
            )
        else:
            found = np.full(len(current), -1)
        for new, position, row in zip(current, found, rows, strict=True):
            new.track_id = self._tracks[position].track_id if position >= 0 else self._new_id()
            ids[row] = new.track_id
        taken = set(found[found >= 0].tolist())
        now = tubes.frames[tubes.key]
        waiting = [old for index, old in enumerate(self._tracks) if index not in taken]
        self._tracks = current + [old for old in waiting if now - old.key_frame <= self.max_lost_frames]
        return with_track_ids(tubes.at(tubes.key), ids)

    def _track(self, tubes: Tubes, row: int, label: int) -> _Track:
        seen = [True] * len(tubes.frames) if tubes.visible is None else tubes.visible[row].tolist()
        seen[tubes.key] = True
        boxes = tubes.boxes[row].detach().cpu().double().numpy()
        points = {}
        if tubes.keypoints is not None and self.use_keypoints:
            poses = tubes.keypoints[row].detach().cpu().double().numpy()
            points = {
                frame: pose for frame, pose, there in zip(tubes.frames, poses, seen, strict=True) if there
            }
        places = {frame: box for frame, box, there in zip(tubes.frames, boxes, seen, strict=True) if there}
        return _Track(places, points, tubes.frames[tubes.key], label, UNLINKED)

    def _costs(self, old: list[_Track], new: list[_Track], tubes: Tubes) -> np.ndarray:
        """(N, M) costs of the tracks that wait and the tubes of the clip at hand."""
        total, shared = np.zeros((2, len(old), len(new)))
        for frame in dict.fromkeys(tubes.frames):
            rows = [i for i, track in enumerate(old) if frame in track.boxes]
            columns = [i for i, track in enumerate(new) if frame in track.boxes]
            if rows and columns:
                there = np.ix_(rows, columns)
                total[there] += self._frame_costs(
                    [old[i] for i in rows], [new[i] for i in columns], frame, tubes
                )
                shared[there] += 1
        last = np.stack([track.boxes[max(track.boxes)] for track in old])
        first = np.stack([track.boxes[min(track.boxes)] for track in new])
        return np.where(shared > 0, total / np.maximum(shared, 1), iou_costs(last, first))

    def _frame_costs(self, old: list[_Track], new: list[_Track], frame: int, tubes: Tubes) -> np.ndarray:
        before, now = (np.stack([track.boxes[frame] for track in side]) for side in (old, new))
        costs = iou_costs(before, now)
        skeleton = tubes.label_map.skeleton
        if tubes.keypoints is None or skeleton is None or not self.use_keypoints:
            return costs
        poses_before, poses_now = (
            np.stack([track.keypoints[frame] for track in side]) for side in (old, new)
        )
        areas = np.prod(before[:, 2:] - before[:, :2], axis=1)
        return (costs + oks_costs(poses_before, poses_now, areas, np.array(skeleton.sigmas))) / 2

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


@checked
@dataclass
class PairedFrames:
    """A `Tracker` of single frames, which lets `TubeTracker` link clips of two frames that it makes of them.

    Where an object was one frame ago is taken from the detection there that it overlaps most; where none
    overlaps by `min_iou`, it is believed to have stood still. Tubes of a model of clips are linked as they are.

    >>> from pagoda.structures.labels import LabelMap
    >>> def person(x: float) -> Detections:
    ...     box, label = torch.tensor([[x, 0., x + 9., 30.]]), torch.tensor([0])
    ...     return Detections(box, torch.tensor([0.9]), label, (99, 99), LabelMap.from_names(["person"]))
    >>> tracker = PairedFrames(TubeTracker())
    >>> [tracker.update(person(x)).track_ids.item() for x in (0., 4., 60.)]
    [1, 1, 2]
    """

    tracker: TubeTracker
    """what links the clips"""
    min_iou: float = 0.3
    """of an object's boxes in two neighbouring frames, from 0 to 1"""

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of another video."""
        self.tracker.reset()
        self._before: Detections | None = None
        self._frame = 0

    def update(self, found: Found) -> Detections:
        """The frame's objects with track ids; see `Tracker.update`."""
        if isinstance(found, Tubes):
            return self.tracker.update(found)
        to_arrays(found)  # refuses boxes that are no numbers
        tubes = pair_frames(self._before, found, self._frame, min_iou=self.min_iou)
        self._before, self._frame = replace(found, picture=None), self._frame + 1
        ids = self.tracker.update(tubes).track_ids
        assert ids is not None
        return with_track_ids(found, ids.numpy())


def pair_frames(before: Detections | None, now: Detections, frame: int, *, min_iou: float = 0.3) -> Tubes:
    """The detections of `frame` as tubes over it and the frame before; see `PairedFrames`.

    >>> from pagoda.structures.labels import LabelMap
    >>> people, one = LabelMap.from_names(["person"]), torch.tensor([0])
    >>> before = Detections(torch.tensor([[0., 0., 9., 30.]]), torch.ones(1), one, (99, 99), people)
    >>> now = Detections(torch.tensor([[2., 0., 11., 30.]]), torch.ones(1), one, (99, 99), people)
    >>> tubes = pair_frames(before, now, frame=7)
    >>> tubes.frames, tubes.boxes[0].tolist()
    ((6, 7), [[0.0, 0.0, 9.0, 30.0], [2.0, 0.0, 11.0, 30.0]])
    """
    earlier = torch.arange(len(now))
    boxes, points = now.boxes.detach().cpu().double(), now.keypoints
    found = torch.zeros(len(now), dtype=torch.bool)
    past_boxes, past_points = boxes, points
    if before is not None and len(before) and len(now):
        overlaps = torch.from_numpy(
            1 - iou_costs(before.boxes.detach().cpu().double().numpy(), boxes.numpy())
        )
        overlaps[before.labels.cpu()[:, None] != now.labels.cpu()[None]] = 0
        best, earlier = overlaps.max(0)
        found = best >= min_iou
        past_boxes = torch.where(found[:, None], before.boxes.detach().cpu().double()[earlier], boxes)
        if points is not None and before.keypoints is not None:
            past_points = torch.where(found[:, None, None], before.keypoints[earlier], points)
    return Tubes(
        torch.stack([past_boxes, boxes], 1),
        now.scores,
        now.labels,
        (frame - 1, frame),
        1,
        now.image_size,
        now.label_map,
        keypoints=None if points is None or past_points is None else torch.stack([past_points, points], 1),
    )
