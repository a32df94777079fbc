"""The objects of a clip, each in every frame: annotated (`TubeTargets`), or found (`Tubes`). N objects, T frames, K
keypoints.

A keypoint that is not there (not annotated, not reported) has nan coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.per_object import TubeRows


@dataclass(frozen=True, eq=False)
class TubeTargets(TubeRows):
    """The annotated objects of a clip, in pixels of `image_size`; an object may be absent from some frames.

    Raises ValueError where its tensors speak of other objects, frames or keypoints than `boxes`.

    >>> boxes, one = torch.zeros(1, 3, 4), torch.tensor([0])
    >>> seen = torch.tensor([[True, True, False]])
    >>> clip = TubeTargets(boxes, one, seen, (32, 32), one > 0, track_ids=one, key=1)
    >>> len(clip.at(1)), len(clip.at(2))  # the objects of a frame
    (1, 0)
    """

    boxes: Tensor
    """(N, T, 4) xyxy; zeros where the object is absent"""
    labels: Tensor
    """(N,) 0 … num_classes-1"""
    visible: Tensor
    """(N, T) bool: annotated in that frame"""
    image_size: tuple[int, int]
    """(height, width), the same for all frames"""
    ignored: Tensor
    """(N,) bool: crowds; never trained on, never counted as missed"""
    track_ids: Tensor
    """(N,) of the objects in their video"""
    key: int
    """which of the T frames the clip is about"""
    keypoints: Tensor | None = None
    """(N, T, K, 2) xy; zeros where the object is absent"""
    visibility: Tensor | None = None
    """(N, T, K): 0 not labelled, 1 labelled but hidden, 2 visible"""
    image_id: int | str | None = None
    """of the key frame"""
    file: str | None = None
    """of the key frame"""

    def __post_init__(self) -> None:
        self._check_tubes(self.visible.shape[1] if self.visible.ndim == 2 else 0, self.key)

    @property
    def num_frames(self) -> int:
        """T, the frames of the clip."""
        return self.boxes.shape[1]

    def learnable(self) -> "TubeTargets":
        """The clip without the ignored objects."""
        return self[~self.ignored]

    def at(self, position: int) -> Targets:
        """The objects that are there in one of the T frames."""
        here = self.visible[:, position]
        points, visibility = self.keypoints, self.visibility
        return Targets(
            self.boxes[here, position],
            self.labels[here],
            self.image_size,
            self.ignored[here],
            keypoints=None if points is None else points[here, position],
            visibility=None if visibility is None else visibility[here, position],
            track_ids=self.track_ids[here],
            image_id=self.image_id if position == self.key else None,
            file=self.file if position == self.key else None,
        )

    def around_key(self, length: int) -> "TubeTargets":
        """The clip cut down to `length` frames about its key; objects that are absent from all of them are left out.

        Raises ValueError where the clip has fewer frames on one side of its key.
        """
        first = self.key - length // 2
        if not 0 <= first <= self.num_frames - length:
            raise ValueError(
                f"a clip of {self.num_frames} frames with key {self.key} holds no {length} frames about that key"
            )
        window = slice(first, first + length)
        there = self.visible[:, window].any(1)
        points, visibility = self.keypoints, self.visibility
        return replace(
            self[there],
            boxes=self.boxes[there, window],
            visible=self.visible[there, window],
            key=length // 2,
            keypoints=None if points is None else points[there, window],
            visibility=None if visibility is None else visibility[there, window],
        )

    @classmethod
    def join(cls, frames: Sequence[Targets], track_ids: Sequence[Tensor], *, key: int) -> "TubeTargets":
        """One clip of the targets of its frames and the (N_t,) track ids of their rows; objects in the order of ids.

        An object is ignored where any of its frames says so. Raises ValueError for frames of different sizes and
        for a track that stands twice in a frame.
        """
        size = frames[key].image_size
        if any(tuple(frame.image_size) != tuple(size) for frame in frames):
            sizes = ", ".join(sorted({f"{f.image_size[0]}×{f.image_size[1]}" for f in frames}))
            raise ValueError(f"the frames of a clip must have one size, got (height × width) {sizes}")
        if any(len(ids.unique()) < len(ids) for ids in track_ids):
            raise ValueError("a track id stands twice in a frame; an object can be in one place only")
        ids = torch.cat(list(track_ids)).unique()
        count, length = len(ids), len(frames)
        boxes, visible = torch.zeros(count, length, 4), torch.zeros(count, length, dtype=torch.bool)
        labels = torch.zeros(count, dtype=torch.long)
        ignored = torch.zeros(count, dtype=torch.bool)
        num_keypoints = {f.keypoints.shape[1] for f in frames if f.keypoints is not None}
        points = torch.zeros(count, length, *num_keypoints, 2) if num_keypoints else None
        visibility = torch.zeros(count, length, *num_keypoints, dtype=torch.long) if num_keypoints else None
        for position, (frame, of_rows) in enumerate(zip(frames, track_ids, strict=True)):
            rows, known, seen = torch.searchsorted(ids, of_rows), frame.keypoints, frame.visibility
            boxes[rows, position], visible[rows, position] = frame.boxes, True
            labels[rows] = frame.labels
            ignored[rows] |= frame.ignored
            if points is not None and visibility is not None and known is not None and seen is not None:
                points[rows, position], visibility[rows, position] = known, seen.to(visibility.dtype)
        return cls(
            boxes,
            labels,
            visible,
            (size[0], size[1]),
            ignored,
            ids,
            key,
            points,
            visibility,
            frames[key].image_id,
            frames[key].file,
        )


@dataclass(frozen=True, eq=False)
class Tubes(TubeRows):
    """What a model says of a clip: each object as a box in every frame of it, in pixels of `image_size`.

    Raises ValueError where scores, labels, keypoints and the like have other rows or frames than the boxes.

    >>> boxes, none = torch.tensor([[[0., 0., 4., 8.], [4., 0., 8., 8.]]]), torch.tensor([0])
    >>> tubes = Tubes(boxes, torch.tensor([0.9]), none, (6, 7), 1, (32, 32), LabelMap.numbered(1))
    >>> tubes.at(tubes.key).boxes, tubes.at(tubes.key).image_id  # in frame 7, which the clip is about
    (tensor([[4., 0., 8., 8.]]), 7)
    """

    boxes: Tensor
    """(N, T, 4) xyxy"""
    scores: Tensor
    """(N,) 0 … 1"""
    labels: Tensor
    """(N,) 0 … num_classes-1"""
    frames: tuple[int, ...]
    """(T,) position of each frame in the video; at the borders of the video a frame may stand twice"""
    key: int
    """which of the T frames the clip is about"""
    image_size: tuple[int, int]
    """(height, width), the same for all frames"""
    label_map: LabelMap
    """what the labels are called"""
    visible: Tensor | None = None
    """(N, T) bool: False where the object is believed hidden or gone; None: seen in all frames"""
    keypoints: Tensor | None = None
    """(N, T, K, 2) xy"""
    keypoint_scores: Tensor | None = None
    """(N, T, K)"""
    appearance: Tensor | None = None
    """(N, D) vectors that are alike where objects look alike, of the key frame"""

    def __post_init__(self) -> None:
        self._check_tubes(len(self.frames), self.key)

    def at(self, position: int) -> Detections:
        """Where all tubes are in one of the T frames, as `Detections`."""
        points, scores = self.keypoints, self.keypoint_scores
        return Detections(
            self.boxes[:, position],
            self.scores,
            self.labels,
            self.image_size,
            self.label_map,
            keypoints=None if points is None else points[:, position],
            keypoint_scores=None if scores is None else scores[:, position],
            appearance=self.appearance if position == self.key else None,
            image_id=self.frames[position],
        )


AnyTargets: TypeAlias = Targets | TubeTargets
"""of a picture, or of a clip"""
SomeTargets = TypeVar("SomeTargets", Targets, TubeTargets)
"""what losses are told of a picture or a clip"""


def clip_frames(index: int, num_frames: int, *, clip_length: int, interval: int = 1) -> tuple[int, ...]:
    """The frames of the clip about frame `index` of a video; position `clip_length // 2` is `index` itself.

    A neighbour beyond the video's ends is replaced by the nearest one towards the key frame that exists. Raises
    IndexError for a frame the video has not, ValueError for a length or interval below 1.

    >>> clip_frames(1, 6, clip_length=3), clip_frames(1, 6, clip_length=3, interval=2)
    ((0, 1, 2), (1, 1, 3))
    """
    if clip_length < 1 or interval < 1:
        raise ValueError(f"a clip needs clip_length ≥ 1 and interval ≥ 1, got {clip_length} and {interval}")
    if not 0 <= index < num_frames:
        raise IndexError(f"frame {index} of a video of {num_frames}")
    steps_before, steps_after = index // interval, (num_frames - 1 - index) // interval
    steps = (position - clip_length // 2 for position in range(clip_length))
    return tuple(index + interval * min(max(step, -steps_before), steps_after) for step in steps)
