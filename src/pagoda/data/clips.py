"""Clips of videos as training and test data: a key frame, its neighbours, and every object in all of them.

T frames, K keypoints. Frames are counted from 0 within their video, and through all videos one after the other.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pagoda.data.dataset import DetectionDataset
from pagoda.data.table.annotations import Annotations, cut_to_picture
from pagoda.data.videos import Video, check_same_labels, frame_table, labelled_frames
from pagoda.messages import counted
from pagoda.pictures.read import PictureError
from pagoda.plain import checked
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import TubeTargets, clip_frames


@checked
class ClipDataset(Dataset):
    """Item i is (frames (T, 3, H, W) uint8 RGB, their `TubeTargets`) about the i-th annotated frame.

    Objects stand in the order of their ids in the video; those without a track have negative ids, each its own.
    Keypoints are visible (2) where annotated. Polygons to be ignored (`Tracks.ignore_regions`) are left to the
    evaluation of poses. A frame that cannot be read, or is not of its video's size, raises `PictureError`.

    Args:
        complete: only clips of which every frame is annotated, as training needs them; otherwise objects of frames
            that nobody annotated are absent there, whatever is seen.

    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> clips = ClipDataset(WalkingFigures(num_videos=1, num_frames=4, image_size=(32, 40)), clip_length=3)
    >>> len(clips), tuple(clips.clip(0).shape), clips.place(0), clips.place(2)
    (4, (3, 3, 32, 40), (0, (0, 0, 1)), (0, (1, 2, 3)))
    """

    def __init__(
        self,
        videos: Iterable[Video],
        *,
        clip_length: int = 3,
        interval: int = 1,
        complete: bool = False,
    ) -> None:
        self.videos = tuple(videos)
        self.clip_length, self.interval = clip_length, interval
        check_same_labels(self.videos)
        self.all_frames, self._track_ids = frame_table(self.videos)
        self._files = DetectionDataset(self.all_frames)
        lengths = [video.tracks.num_frames for video in self.videos]
        self._starts = np.cumsum([0, *lengths])
        clips = np.array(
            [
                start + np.array(clip_frames(index, length, clip_length=clip_length, interval=interval))
                for start, length in zip(self._starts.tolist(), lengths, strict=False)
                for index in range(length)
            ]
        )
        labelled = np.concatenate([labelled_frames(video.tracks) for video in self.videos])
        is_key = labelled & labelled[clips].all(1) if complete else labelled
        if not is_key.any():
            raise ValueError(
                f"none of the {counted(len(clips), 'frame')} can be the key of a clip: {labelled.sum()} are annotated"
                f"{', none in a clip that is so as a whole; take shorter clips' if labelled.any() else ''}"
            )
        self._clips = clips[is_key]
        self.annotations = _of_keys(self.all_frames, is_key, labelled)
        """of the key frames, item by item: what scoring compares with"""

    @property
    def label_map(self) -> LabelMap:
        return self.annotations.label_map

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[Tensor, TubeTargets]:
        return self.clip(index), self.targets(index)

    def place(self, index: int) -> tuple[int, tuple[int, ...]]:
        """(number of the video, its T frames) of an item."""
        clip = self._clips[index]
        video = int(np.searchsorted(self._starts, clip[0], side="right")) - 1
        return video, tuple((clip - self._starts[video]).tolist())

    def clip(self, index: int) -> Tensor:
        """(T, 3, H, W) uint8 RGB, before any transform."""
        pictures = {frame: self._picture(frame) for frame in dict.fromkeys(self._clips[index].tolist())}
        return torch.stack([pictures[frame] for frame in self._clips[index].tolist()])

    def targets(self, index: int) -> TubeTargets:
        """What is annotated in the clip, before any transform."""
        parts = [self._targets(frame) for frame in self._clips[index].tolist()]
        ids = [part.track_ids for part in parts if part.track_ids is not None]
        return TubeTargets.join(parts, ids, key=self.clip_length // 2)

    def _picture(self, frame: int) -> Tensor:
        number = int(np.searchsorted(self._starts, frame, side="right")) - 1
        read = self.videos[number].frames
        if not callable(read):
            return self._files.picture(frame)
        picture = read(frame - int(self._starts[number]))
        expected = (3, *self.all_frames.sizes[frame].tolist())
        if tuple(picture.shape) != expected or picture.dtype != torch.uint8:
            raise PictureError(
                f"{self.all_frames.files[frame]} must be uint8 {expected}, got {picture.dtype} {tuple(picture.shape)}"
            )
        return picture

    def _targets(self, frame: int) -> Targets:
        table = self.all_frames
        rows = slice(table.offsets[frame], table.offsets[frame + 1])
        _, has_area = cut_to_picture(table.boxes_xywh[rows], table.sizes[frame : frame + 1])
        return replace(table.targets(frame), track_ids=torch.from_numpy(self._track_ids[rows][has_area]))


def _of_keys(table: Annotations, is_key: np.ndarray, labelled: np.ndarray) -> Annotations:
    keys = table.subset(is_key)
    missing = int((labelled & ~is_key).sum())
    if not missing:
        return keys
    note = f"{table.source}: {missing} of {int(labelled.sum())} annotated frames have neighbours nobody annotated"
    return replace(keys, notes=(*keys.notes, f"{note}; their clips are left out"))
