"""Videos as pictures with annotations: every frame of every video as a row of one table. N objects, K keypoints."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.data.table.keypoints import PackedKeypoints
from pagoda.messages import counted
from pagoda.ops.boxes import xyxy_to_xywh
from pagoda.pictures.read import picture_size, read_picture
from pagoda.structures.left_out import describe_left_out
from pagoda.structures.tracks import UNLINKED, Tracks


@dataclass(frozen=True, eq=False)
class Video:
    """A video's pictures and what is annotated in them.

    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> video = WalkingFigures(num_videos=1, num_frames=4, image_size=(32, 40))[0]
    >>> video.picture(3).shape, video.tracks.num_frames
    ((32, 40, 3), 4)
    """

    tracks: Tracks
    """what is annotated in it"""
    frames: Sequence[Path] | Callable[[int], Tensor]
    """the file of each frame, or what gives frame i as uint8 (3, H, W)"""
    notes: tuple[str, ...] = ()
    """what should be known of how its pictures were found"""

    def __post_init__(self) -> None:
        if not callable(self.frames) and len(self.frames) != self.tracks.num_frames:
            raise ValueError(
                f"video '{self.tracks.name}' has {counted(len(self.frames), 'picture')}, but annotations for"
                f" {counted(self.tracks.num_frames, 'frame')}; each frame needs its picture"
            )

    def picture(self, frame: int) -> np.ndarray:
        """(H, W, 3) RGB uint8 of one frame."""
        if callable(self.frames):
            return self.frames(frame).permute(1, 2, 0).contiguous().numpy()
        return read_picture(self.frames[frame])


def check_same_labels(videos: Sequence[Video]) -> None:
    """Raises ValueError for no videos, and for videos whose classes or keypoints differ.

    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> check_same_labels(list(WalkingFigures(num_videos=2, num_frames=2)))  # nothing to complain of
    >>> check_same_labels([])
    Traceback (most recent call last):
    ValueError: clips need at least one video, got none
    """
    if not videos:
        raise ValueError("clips need at least one video, got none")
    first = videos[0].tracks
    for tracks in (video.tracks for video in videos[1:]):
        if tracks.label_map != first.label_map:
            raise ValueError(
                f"videos that are put together need the same classes and keypoints; '{first.name}' and"
                f" '{tracks.name}' differ"
            )


def labelled_frames(tracks: Tracks) -> np.ndarray:
    """(num_frames,) bool: somebody annotated the frame, be it to say that it is empty.

    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> labelled_frames(WalkingFigures(num_videos=1, num_frames=3).tracks(0))
    array([ True,  True,  True])
    """
    return np.ones(tracks.num_frames, bool) if tracks.labelled_frames is None else tracks.labelled_frames


def frame_table(videos: Sequence[Video]) -> tuple[Annotations, np.ndarray]:
    """Every frame of every video as one table of pictures, and the (M,) track ids of its objects.

    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> table, track_ids = frame_table(list(WalkingFigures(num_videos=2, num_frames=3, image_size=(32, 40))))
    >>> len(table), table.files[3], len(track_ids) == len(table.labels)
    (6, 'walk_0001/000000.png', True)
    """
    files, root = _files(videos)
    images = ImageColumns(files, range(1, len(files) + 1))
    tracks = [video.tracks for video in videos]
    starts = np.cumsum([0, *(each.num_frames for each in tracks)])
    for video in videos:
        images.sizes += [_size(video)] * video.tracks.num_frames
    boxes = np.concatenate([each.boxes for each in tracks])
    finite = np.isfinite(boxes).all(1)
    objects = ObjectColumns(
        owners=np.concatenate([e.frames + s for e, s in zip(tracks, starts.tolist(), strict=False)]).tolist(),
        boxes_xywh=xyxy_to_xywh(boxes).tolist(),
        labels=np.concatenate([each.labels for each in tracks]).tolist(),
        ignored=np.concatenate([_ignored(each) for each in tracks]).tolist(),
        keypoints=_keypoints(tracks),
    )
    source = videos[0].tracks.name if len(videos) == 1 else f"{len(videos)} videos"
    found = dict.fromkeys(note for video in videos for note in video.notes)
    notes = [*_left_out(tracks, source), *found]
    table = assemble(images, objects, label_map=tracks[0].label_map, root=root, source=source, notes=notes)
    # `assemble` leaves out boxes that are not finite; rows are sorted by frame already.
    return table, np.concatenate([_ids(each) for each in tracks])[finite]


def _left_out(tracks: Sequence[Tracks], source: str) -> list[str]:
    """One note on the rows that are no objects, where there are some."""
    what = describe_left_out(tracks)
    rules = "; ".join(dict.fromkeys(each.rules for each in tracks if each.left_out))
    return [f"{source}: {what} are not to be found, but ignored ({rules})"] if what else []


def frame_files(videos: Sequence[Video]) -> list[Path]:
    """The pictures of all frames that are files.

    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> frame_files(list(WalkingFigures(num_videos=1, num_frames=2)))  # drawn when asked for, so no files
    []
    """
    return [Path(file) for video in videos if not callable(video.frames) for file in video.frames]


def _files(videos: Sequence[Video]) -> tuple[list[str], Path]:
    """A name for every frame, relative to the folder above all that are files."""
    files = [file.absolute() for file in frame_files(videos)]
    root = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    names = []
    for video in videos:
        if callable(video.frames):
            made_up = (f"{video.tracks.name}/{frame:06d}.png" for frame in range(video.tracks.num_frames))
            names += list(video.tracks.frame_names or made_up)
        else:
            names += [Path(file).absolute().relative_to(root).as_posix() for file in video.frames]
    return names, root


def _size(video: Video) -> tuple[int, int]:
    """(height, width), of the first frame where the annotations do not say."""
    if video.tracks.image_size is not None:
        return video.tracks.image_size
    if callable(video.frames):
        _, height, width = video.frames(0).shape
        return int(height), int(width)
    return picture_size(video.frames[0])


def _ignored(tracks: Tracks) -> np.ndarray:
    return np.zeros(len(tracks), bool) if tracks.ignored is None else tracks.ignored


def _ids(tracks: Tracks) -> np.ndarray:
    """(N,) track ids; negative, each its own, for objects that belong to no track."""
    keys = np.stack([tracks.frames, tracks.track_ids], 1).reshape(-1, 2)
    _, which, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    # Ignored regions may share the id of an object, or one among themselves.
    alone = (tracks.track_ids == UNLINKED) | (_ignored(tracks) & (counts[which.reshape(-1)] > 1))
    return np.where(alone, -2 - np.arange(len(tracks)), tracks.track_ids)


def _keypoints(tracks: Sequence[Tracks]) -> PackedKeypoints | None:
    count = next((each.keypoints.shape[1] for each in tracks if each.keypoints is not None), None)
    if count is None:
        return None
    parts = []
    for each in tracks:
        if each.keypoints is None:
            parts.append(PackedKeypoints.none(len(each), count))
            continue
        is_there = np.isfinite(each.keypoints).all(2, keepdims=True)
        triples = np.concatenate([np.where(is_there, each.keypoints, 0), 2 * is_there], 2)
        is_known = is_there.any((1, 2))
        parts.append(PackedKeypoints.of_rows(is_known, triples[is_known]))
    return PackedKeypoints.concatenate(parts)
