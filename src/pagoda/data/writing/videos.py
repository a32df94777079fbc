"""Annotated videos read whole, and written as MOTChallenge's or PoseTrack's folders, or frame by frame as pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from pagoda.data.reading.splits import choose_split
from pagoda.data.tracks.folders import find_videos, open_videos
from pagoda.data.tracks.mot import MAX_VIDEO_BYTES
from pagoda.data.tracks.mot_classes import PEDESTRIAN
from pagoda.data.tracks.posetrack_writing import write_posetrack_truth
from pagoda.data.unread.videos import unread_of_videos
from pagoda.data.videos import Video, check_same_labels, frame_files, frame_table, labelled_frames
from pagoda.data.writing.contents import Contents, contents_of
from pagoda.data.writing.holding import VIDEO_PROPERTIES, FormatName, Loss, loss_of
from pagoda.data.writing.unread import unread_losses
from pagoda.files.atomic import safe_names
from pagoda.ops.boxes import xyxy_to_xywh
from pagoda.pictures.read import picture_size
from pagoda.plain import checked
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_15, PERSON_17, POSETRACK_15
from pagoda.structures.tracks import UNLINKED, Tracks

Pairs = list[tuple[Path, str]]
"""each picture and where it goes, relative to the folder"""


@dataclass(frozen=True, eq=False)
class VideoContents:
    """The videos of a folder, split by split."""

    noun: ClassVar[str] = "video"
    """what it is made of"""
    kind: str
    """the format it was read from"""
    source: str
    """what was read, for messages"""
    splits: Mapping[str, tuple[Video, ...]]
    """split → its videos, whose frames are files"""
    folders: tuple[Path, ...]
    """what was read"""
    unread: tuple[Loss, ...] = ()
    """what stands in the files that were read, but no reader takes up"""
    told: tuple[str, ...] = ()
    """what was done to it, a line each"""

    @property
    def videos(self) -> list[Video]:
        return [video for videos in self.splits.values() for video in videos]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done, taken for granted or left out, a line each."""
        notes = [note for video in self.videos for note in (*video.notes, *video.tracks.notes)]
        return tuple(dict.fromkeys([*self.told, *notes]))

    @property
    def label_map(self) -> LabelMap:
        return self.videos[0].tracks.label_map

    @property
    def num_pictures(self) -> int:
        return sum(video.tracks.num_frames for video in self.videos)

    @property
    def num_objects(self) -> int:
        return sum(len(video.tracks) for video in self.videos)

    @property
    def pictures(self) -> dict[str, tuple[Path, ...]]:
        """Split → the files of all frames."""
        return {split: tuple(frame_files(videos)) for split, videos in self.splits.items()}

    def names(self, split: str) -> list[str]:
        """What each video of a split is called."""
        return [video.tracks.name for video in self.splits[split]]

    def files(self, split: str) -> list[tuple[Path, ...]]:
        """What is never divided: the frames of each video."""
        return [tuple(frame_files([video])) for video in self.splits[split]]

    def counts(self, split: str) -> np.ndarray:
        """(N, C) rows of each class in each video of a split."""
        labels = [video.tracks.labels for video in self.splits[split]]
        rows = [np.bincount(each, minlength=len(self.label_map)) for each in labels]
        return np.array(rows, np.int64).reshape(-1, len(self.label_map))

    def changed(self, change: Callable[[Tracks], Tracks]) -> "VideoContents":
        """The same with other tracks for each video, of the same frames."""
        splits = {
            split: tuple(replace(video, tracks=change(video.tracks)) for video in videos)
            for split, videos in self.splits.items()
        }
        return replace(self, splits=splits)

    def taken(self, chosen: Mapping[str, np.ndarray]) -> "VideoContents":
        """Only these videos, positions in their split, in that order; splits that are not named are left out, and with
        a note those that have none any more. Raises ValueError where no video is left."""
        splits = {split: tuple(self.splits[split][k] for k in which) for split, which in chosen.items()}
        empty = [split for split, videos in splits.items() if not videos]
        if len(empty) == len(splits):
            raise ValueError(f"no video of {self.source} is left to be written; choose others")
        notes = [f"{split} has no video any more, and is left out" for split in empty]
        return replace(self, splits={split: each for split, each in splits.items() if each}).noted(notes)

    def divided(self, split: str, picked: Mapping[str, np.ndarray]) -> "VideoContents":
        """The videos of one split in others, each whole: name → positions."""
        videos = self.splits[split]
        return replace(self, splits={name: tuple(videos[k] for k in which) for name, which in picked.items()})

    def noted(self, notes: Sequence[str]) -> "VideoContents":
        """With what was done to it, before what was known."""
        return replace(self, told=(*notes, *self.told))


def open_video_contents(path: str | Path, splits: Sequence[str] = ()) -> VideoContents:
    """All splits of a folder of annotated videos, or those that are named; "train+val" is both as one.

    Raises ValueError or FileNotFoundError as `open_videos`, and for videos of different classes.
    """
    found = find_videos(Path(path))
    opened = {split: tuple(open_videos(path, split)) for split in splits or found}
    parts = [[split] if split in found else split.split("+") for split in opened]
    sources = [
        source for each in parts for name in each for source in choose_split(found, name.strip(), str(path))
    ]
    unread = unread_losses(unread_of_videos(dict.fromkeys(sources)))
    kind = "mot" if sources[0].is_dir() else "posetrack"
    contents = VideoContents(kind, str(path), opened, (Path(path),), unread)
    check_same_labels(contents.videos)
    return contents


def as_frames(contents: VideoContents) -> Contents:
    """Every frame as a picture, in the order of the videos; track ids beside."""
    tables, track_ids = {}, {}
    for split, videos in contents.splits.items():
        tables[split], track_ids[split] = frame_table(videos)
    frames = contents_of("frames", contents.source, tables, contents.folders)
    pictures = {split: tuple(frame_files(videos)) for split, videos in contents.splits.items()}
    return replace(frames, pictures=pictures, track_ids=track_ids)


@checked
def hold_videos(contents: VideoContents, name: FormatName) -> tuple[VideoContents, tuple[Loss, ...]]:
    """The videos as they come back, and what of `VIDEO_PROPERTIES` is lost; for formats of pictures the latter alone,
    for `hold` does the rest."""
    counts = {each.key: _count(contents, each.key) for each in VIDEO_PROPERTIES}
    losses = [
        loss_of(each, counts[each.key], name)
        for each in VIDEO_PROPERTIES
        if name in each.becomes and counts[each.key]
    ]
    if name not in ("mot", "posetrack"):
        return contents, tuple(losses)
    held = {
        split: tuple(
            replace(video, tracks=_held(video, word, name))
            for video, word in zip(videos, _words(videos), strict=True)
        )
        for split, videos in contents.splits.items()
    }
    return replace(contents, splits=held), tuple(losses)


def _count(contents: VideoContents, key: str) -> int:
    videos = contents.videos
    tracks = [video.tracks for video in videos]
    if key == "frame_names":
        places = (enumerate(frame_files([video])) for video in videos)
        return sum(path.stem != f"{k + 1:06d}" for frames in places for k, path in frames)
    if key == "video_names":
        pairs = (zip(each, _words(each), strict=True) for each in contents.splits.values())
        return sum(video.tracks.name != word for each in pairs for video, word in each)
    if key == "class_numbers":
        numbers = enumerate(contents.label_map.category_ids, 1)
        return sum(number != place for place, number in numbers)
    if key == "regions":
        return sum(bool(polygons) for each in tracks for polygons in each.ignore_regions.values())
    if key == "unlabelled":
        return sum(int((~labelled_frames(each)).sum()) for each in tracks)
    return sum(int(_COUNTED[key](each).sum()) for each in tracks)


def _none(tracks: Tracks) -> np.ndarray:
    return np.zeros(len(tracks), bool)


def _or_none(tracks: Tracks, values: np.ndarray | bool | None) -> np.ndarray:
    return _none(tracks) if values is None else np.broadcast_to(values, len(tracks))


def _ignored(tracks: Tracks) -> np.ndarray:
    return _or_none(tracks, tracks.ignored)


def _has_track(tracks: Tracks) -> np.ndarray:
    return (tracks.track_ids != UNLINKED) & ~_ignored(tracks)


_COUNTED: Mapping[str, Callable[[Tracks], np.ndarray]] = {
    "class_names": lambda each: (
        _has_track(each) & (np.array(each.label_map.names)[each.labels] != PERSON_17.names[0])
    ),
    "unlinked": lambda each: (each.track_ids == UNLINKED) & ~_ignored(each),
    "ignored_rows": _ignored,
    "distractors": lambda each: _or_none(each, each.distractors),
    "poses": lambda each: (
        np.isfinite(each.keypoints).all(2).any(1) if each.keypoints is not None else _none(each)
    ),
    "heads": lambda each: _or_none(each, each.head_boxes is not None),
    "scores": lambda each: each.scores != 1,
}
"""key of a `Property` → the rows that it concerns"""


def _held(video: Video, word: str, name: FormatName) -> Tracks:
    """The rows that the format has a place for, with what it can say of them."""
    tracks = replace(video.tracks, image_size=_size(video))
    if name == "posetrack":
        people = tracks.rows(_has_track(tracks))
        known = tracks.label_map.skeleton
        label_map = PERSON_15 if known is not None and known.names == POSETRACK_15.names else PERSON_17
        nobody = {"ignored": None, "distractors": None, "regions": None, "of_other_class": None}
        return replace(people, **nobody, name=word, label_map=label_map, labels=np.zeros_like(people.labels))
    names = LabelMap.from_names(tracks.label_map.names)
    kept = tracks.rows((tracks.track_ids != UNLINKED) | _ignored(tracks))
    return replace(kept, label_map=names, keypoints=None, keypoint_scores=None, head_boxes=None)


def write_posetrack_files(contents: VideoContents, folder: Path) -> Pairs:
    """annotations/<split>/<video>.json of 2018; returns where the pictures go: images/<split>/<video>/."""
    pairs: Pairs = []
    for split, videos in contents.splits.items():
        for video, word in zip(videos, _words(videos), strict=True):
            files = frame_files([video])
            names = tuple(f"images/{split}/{word}/{path.name}" for path in files)
            pairs += zip(files, names, strict=True)
            tracks = replace(video.tracks, frame_names=names, image_size=_size(video))
            write_posetrack_truth(tracks, folder / "annotations" / split / f"{word}.json")
    return pairs


def write_mot_files(contents: VideoContents, folder: Path) -> Pairs:
    """<split>/<video>/gt/gt.txt and seqinfo.ini, and gt/labels.txt where the class is not pedestrian; returns where the
    pictures go: img1/000001.jpg …. A split of one video called as the split is its folder alone."""
    pairs: Pairs = []
    for split, videos in contents.splits.items():
        for video, word in zip(videos, _words(videos), strict=True):
            place = word if len(videos) == 1 and word == split else f"{split}/{word}"
            tracks, sequence = video.tracks, folder / place
            (sequence / "gt").mkdir(parents=True)
            (sequence / "gt" / "gt.txt").write_text("".join(_rows(tracks)), encoding="utf-8")
            if tracks.label_map.names != PEDESTRIAN.names:
                text = "".join(f"{name}\n" for name in tracks.label_map.names)
                (sequence / "gt" / "labels.txt").write_text(text, encoding="utf-8")
            height, width = _size(video)
            info = {"name": tracks.name, "imDir": "img1", "seqLength": tracks.num_frames}
            info |= {"imWidth": width, "imHeight": height, "imExt": frame_files([video])[0].suffix}
            lines = ["[Sequence]", *(f"{key}={value}" for key, value in info.items())]
            (sequence / "seqinfo.ini").write_text("\n".join(lines) + "\n", encoding="utf-8")
            files = frame_files([video])
            pairs += [(path, f"{place}/img1/{k + 1:06d}{path.suffix}") for k, path in enumerate(files)]
    return pairs


def _words(videos: Sequence[Video]) -> list[str]:
    """A folder's name for each video of a split."""
    return safe_names([video.tracks.name for video in videos], max_bytes=MAX_VIDEO_BYTES)


def _size(video: Video) -> tuple[int, int]:
    return video.tracks.image_size or picture_size(frame_files([video])[0])


def _rows(tracks: Tracks) -> list[str]:
    """Nine columns: frame, id, left, top, width, height counted from 1, whether the row counts, class, visibility."""
    boxes = xyxy_to_xywh(tracks.boxes.astype(np.float64)) + np.array([1, 1, 0, 0])
    columns = (tracks.frames + 1, tracks.track_ids, boxes, ~_ignored(tracks), tracks.labels + 1)
    return [
        f"{frame},{track},{','.join(f'{v:.12g}' for v in box)},{int(counts)},{label},1\n"
        for frame, track, box, counts, label in zip(*(column.tolist() for column in columns), strict=True)
    ]
