"""Objects through a video. N rows, K keypoints.

A keypoint that is not there (not annotated, not reported) has nan coordinates.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pagoda.ops.boxes import xywh_to_xyxy
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

UNLINKED = -1
"""The track id of an object that belongs to no track (yet)"""
LONGEST = "<frames>"
FARTHEST = 1e9
"""Pixels from the corner of the frame within which boxes and keypoints lie: products of four are numbers still"""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Everything seen or annotated in one video as flat arrays: one row per object and frame, sorted by frame.

    The rows are sorted when the object is made; rows of one frame keep their order.
    Raises ValueError when lengths differ, frames lie outside the video, boxes or keypoints beyond
    `FARTHEST`, or a frame has a track id twice.

    >>> frames, ids, boxes = np.array([1, 0]), np.array([7, 7]), np.array([[4., 0., 8., 8.], [0., 0., 4., 8.]])
    >>> tracks = Tracks(frames, ids, boxes, np.ones(2), np.zeros(2, int), LabelMap.numbered(1), num_frames=5)
    >>> tracks.frames, tracks.boxes[tracks.frame_slice(0)]
    (array([0, 1]), array([[0., 0., 4., 8.]]))
    """

    frames: Int[np.ndarray, " n"]
    """0 … num_frames-1"""
    track_ids: Int[np.ndarray, " n"]
    """0 or more; `UNLINKED` where no track has been found"""
    boxes: Float[np.ndarray, "n 4"]
    """xyxy pixels"""
    scores: Float[np.ndarray, " n"]
    """0 … 1; 1 in ground truth"""
    labels: Int[np.ndarray, " n"]
    """0 … num_classes-1"""
    label_map: LabelMap
    """what the labels are called"""
    num_frames: int
    """of the video, those without objects included"""
    image_size: tuple[int, int] | None = None
    """(height, width); None where a file of boxes does not tell"""
    name: str = ""
    """of the video; ground truth and predictions are matched by it"""
    keypoints: Float[np.ndarray, "n k 2"] | None = None
    """xy pixels; nan where one is not there"""
    keypoint_scores: Float[np.ndarray, "n k"] | None = None
    """the higher the surer"""
    head_boxes: Float[np.ndarray, "n 4"] | None = None
    """xyxy; by their size PoseTrack measures how far a joint may be off"""
    ignored: Bool[np.ndarray, " n"] | None = None
    """crowds and other rows that are not to be found"""
    boxes_from_1: Float[np.ndarray, "n 4"] | None = None
    """the boxes as MOTChallenge's files count, (1, 1) being the corner of the first pixel: overlaps can then be
    compared to the last bit with programs that never shift them"""
    regions: Bool[np.ndarray, " n"] | None = None
    """those of the ignored rows in which whatever is found is not counted against who finds it; None: all of them"""
    distractors: Bool[np.ndarray, " n"] | None = None
    """rows that take out the prediction matched to them, before anything is scored (MOTChallenge); None: none"""
    of_other_class: Bool[np.ndarray, " n"] | None = None
    """rows of classes that were not asked for; predictions that name no class and match one are not scored"""
    frame_names: tuple[str, ...] = ()
    """the file of each frame, where known"""
    labelled_frames: Bool[np.ndarray, " f"] | None = None
    """(num_frames,) False for the frames nobody annotated; None: all are"""
    ignore_regions: Mapping[int, tuple[np.ndarray, ...]] = field(default_factory=dict)
    """frame → polygons, (points, 2) xy each, within which keypoints are not scored"""
    rules: str = ""
    """by which rows were taken for objects, where a file leaves a choice; stands in the protocol of scores"""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """why rows of the file do not count → how many"""
    has_classes: bool = True
    """False: a file that names no classes, of objects that may be of several; `label_map` then says nothing"""
    length_remedy: str = ""
    """what to do where `num_frames` is wrong; `LONGEST` in it stands for the right number"""
    notes: tuple[str, ...] = ()
    """what was taken for granted where the file does not say it, a sentence each"""

    def __post_init__(self) -> None:
        for name, values in self._rows().items():
            if len(values) != len(self.frames):
                raise ValueError(f"{name} must have {len(self.frames)} rows like frames, got {len(values)}")
        order = np.argsort(self.frames, kind="stable")
        if (order[1:] < order[:-1]).any():
            for name, values in self._rows().items():
                object.__setattr__(self, name, values[order])
        self._check_frames()
        self._check_places()
        self._check_track_ids()

    def _check_frames(self) -> None:
        if len(self.frames) and not (self.frames[0] >= 0 and self.frames[-1] < self.num_frames):
            raise ValueError(
                f"{self._where()}frames must lie within 0 … {self.num_frames - 1} of a video of"
                f" {self.num_frames} frames, got {self.frames[0]} … {self.frames[-1]}"
            )
        for what, values in (("frame_names", self.frame_names), ("labelled_frames", self.labelled_frames)):
            if values is not None and len(values) not in (0, self.num_frames):
                raise ValueError(
                    f"{self._where()}{what} must be one per frame, {self.num_frames}, got {len(values)}"
                )

    def _check_places(self) -> None:
        points = () if self.keypoints is None else (("keypoints", self.keypoints),)
        for what, values in (("boxes", self.boxes), *points):
            is_far = np.abs(values) > FARTHEST if what == "keypoints" else ~(np.abs(values) <= FARTHEST)
            if is_far.any():
                row = int(np.flatnonzero(is_far.reshape(len(values), -1).any(1))[0])
                raise ValueError(
                    f"{self._where()}{what} must lie within ±{FARTHEST:g} pixels, got {values[row].tolist()} in"
                    f" frame {self.frames[row]} (counted from 0)"
                )

    def _check_track_ids(self) -> None:
        is_real = (
            self.track_ids != UNLINKED
            if self.ignored is None
            else (self.track_ids != UNLINKED) & ~self.ignored
        )
        frames, ids = self.frames[is_real], self.track_ids[is_real]
        if (ids < 0).any():
            raise ValueError(
                f"{self._where()}track ids must be 0 or more ({UNLINKED}: no track), got {ids.min()}"
            )
        order = np.lexsort((ids, frames))
        frames, ids = frames[order], ids[order]
        repeated = np.flatnonzero((frames[1:] == frames[:-1]) & (ids[1:] == ids[:-1]))
        if len(repeated):
            first = repeated[0]
            raise ValueError(
                f"{self._where()}track id {ids[first]} stands twice in frame {frames[first]} (counted from 0);"
                f" {len(repeated)} such repetitions; an object can be in one place only"
            )

    def _where(self) -> str:
        return f"{self.name}: " if self.name else ""

    def _rows(self) -> dict[str, np.ndarray]:
        per_row = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "labelled_frames"}
        return {name: value for name, value in per_row.items() if isinstance(value, np.ndarray)}

    def __len__(self) -> int:
        return len(self.frames)

    def rows(self, index: np.ndarray) -> "Tracks":
        """The rows at `index`: a boolean mask or indices. The video keeps its length."""
        return replace(self, **{name: values[index] for name, values in self._rows().items()})

    def linked(self) -> "Tracks":
        """The rows that belong to a track, without the others."""
        return self.rows(self.track_ids != UNLINKED)

    def frame_slice(self, frame: int) -> slice:
        """The slice of all rows that are of one frame."""
        start, stop = np.searchsorted(self.frames, (frame, frame + 1))
        return slice(int(start), int(stop))

    def at(self, frame: int) -> Detections:
        """What there is in one frame, in the order of the rows, as `Detections` with track ids."""
        if self.image_size is None:
            raise ValueError(
                f"{self._where()}the size of the frames is not known; give image_size=(height, width)"
                " (--image-size HEIGHT WIDTH)"
            )
        here = self.frame_slice(frame)
        points, points_scores = self.keypoints, self.keypoint_scores
        return Detections(
            torch.from_numpy(self.boxes[here]),
            torch.from_numpy(self.scores[here]),
            torch.from_numpy(self.labels[here]),
            self.image_size,
            self.label_map,
            keypoints=None if points is None else torch.from_numpy(points[here]),
            keypoint_scores=None if points_scores is None else torch.from_numpy(points_scores[here]),
            track_ids=torch.from_numpy(self.track_ids[here]),
            image_id=frame,
            file=self.frame_names[frame] if self.frame_names else None,
        )

    def per_track(self) -> list[dict[str, float | int | str]]:
        """One row per track: id, class, first and last frame, frames seen, mean score."""
        rows: list[dict[str, float | int | str]] = []
        for track in np.unique(self.track_ids[self.track_ids != UNLINKED]).tolist():
            mine = self.track_ids == track
            frames = self.frames[mine]
            rows.append(
                {
                    "track": track,
                    "name": self.label_map.names[int(self.labels[mine][0])],
                    "first_frame": int(frames[0]),
                    "last_frame": int(frames[-1]),
                    "seen_frames": len(frames),
                    "mean_score": float(self.scores[mine].mean()),
                }
            )
        return rows

    @classmethod
    def from_detections(cls, frames: Iterable[Detections], name: str = "") -> "Tracks":
        """The tracks of a video from one `Detections` per frame, in order; a frame without objects counts too.

        Raises ValueError for no frames, frames of different sizes, and frames with and without keypoints.
        """
        found = list(frames)
        if not found:
            raise ValueError("tracks need at least one frame, got none; a frame without objects is one too")
        first = found[0]
        for index, each in enumerate(found):
            if tuple(each.image_size) != tuple(first.image_size):
                raise ValueError(
                    f"frame {index} has (height, width) {tuple(each.image_size)}, the first one"
                    f" {tuple(first.image_size)}; frames of one video must have one size"
                )
        unlinked = [torch.full((len(each),), UNLINKED) for each in found]
        ids = [
            each.track_ids if each.track_ids is not None else none
            for each, none in zip(found, unlinked, strict=True)
        ]
        return cls(
            np.repeat(np.arange(len(found)), [len(each) for each in found]),
            _joined(ids).astype(np.int64),
            _joined([xywh_to_xyxy(each.boxes_xywh) for each in found]),
            _joined([each.scores for each in found]).astype(np.float64),
            _joined([each.labels for each in found]).astype(np.int64),
            first.label_map,
            len(found),
            first.image_size,
            name,
            keypoints=_joined_or_none([each.keypoints for each in found], "keypoints"),
            keypoint_scores=_joined_or_none([each.keypoint_scores for each in found], "keypoint_scores"),
            frame_names=tuple(each.file or "" for each in found) if any(each.file for each in found) else (),
        )


def _joined(values: list[Tensor]) -> np.ndarray:
    return torch.cat([value.detach().cpu() for value in values]).numpy()


def _joined_or_none(values: list[Tensor | None], what: str) -> np.ndarray | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    if len(known) < len(values):
        raise ValueError(
            f"{len(known)} of {len(values)} frames have {what}; all frames or none must have them"
        )
    return _joined(known).astype(np.float64)
