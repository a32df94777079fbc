"""Folders of annotated videos: PoseTrack's and MOTChallenge's layouts, found, read and written. N objects.

PoseTrack (2017 or 2018): `annotations/<split>/<video>.json`, and the pictures it names beside `annotations`,
there or in `images`. MOTChallenge: `<split>/<sequence>/` with `gt/gt.txt`, the pictures in `img1` or where
seqinfo.ini says, in the order of their numbers, from 1 or from 0; a sequence's folder is also a split of its own.
Which rows count, and as which class, is told as by `count_truth`.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pagoda.data.clips import ClipDataset
from pagoda.data.reading.annotation_files import files_like
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.outside import complain_of_outside
from pagoda.data.reading.picture_paths import PictureFinder
from pagoda.data.reading.splits import choose_split
from pagoda.data.tracks.mot import MAX_VIDEO_BYTES, read_mot, video_word
from pagoda.data.tracks.mot_classes import Benchmark
from pagoda.data.tracks.mot_rows import sequence_info
from pagoda.data.tracks.posetrack import boxes_around, read_posetrack
from pagoda.data.tracks.posetrack_writing import write_posetrack_truth
from pagoda.data.videos import Video, frame_files
from pagoda.files.atomic import hashed_name, inside, writing
from pagoda.files.text import with_home
from pagoda.messages import short_list
from pagoda.pictures.read import list_pictures, natural_order, picture_size
from pagoda.plain import checked
from pagoda.structures.left_out import check_something_counts
from pagoda.structures.tracks import Tracks

_NUMBERED = re.compile(r"(.*?)(\d+)", re.DOTALL)

KNOWN = (
    "PoseTrack (annotations/<split>/*.json beside the pictures) or MOTChallenge (<split>/<sequence>/gt/gt.txt with"
    " the pictures in img1)"
)


def open_clips(
    folder: str | Path,
    split: str,
    *,
    clip_length: int = 3,
    interval: int = 1,
    complete: bool = False,
    pose_box_scale: float | None = None,
) -> ClipDataset:
    """The clips of one split, or of several as "train+val"; for training with `complete`. See `ClipDataset`.

    `pose_box_scale`: the box of a person becomes the smallest around its keypoints, so many times as large (1.2 in
    Detect-and-Track), for files that hold no boxes (2017); None: boxes as annotated, or the smallest.
    """
    videos = open_videos(folder, split)
    if pose_box_scale is not None:
        videos = [replace(each, tracks=boxes_of_poses(each.tracks, pose_box_scale)) for each in videos]
    return ClipDataset(videos, clip_length=clip_length, interval=interval, complete=complete)


@checked
def open_videos(
    folder: str | Path, split: str, *, benchmark: Benchmark = "auto", inside_only: bool = False
) -> list[Video]:
    """The annotated videos of a split, in the order of their names; splits as in `open_clips`.

    `benchmark`: by whose rules rows of MOTChallenge's text count (`count_truth`). `inside_only`: pictures outside
    the folder raise ValueError before one is opened.
    Raises FileNotFoundError or ValueError for a folder of another layout, a split that is not there, pictures
    that are missing or do not match their annotations, and where no row of any file counts.
    """
    folder = with_home(folder)
    splits = find_videos(folder)
    names = [split] if split in splits else split.split("+")
    videos = [
        video
        for name in names
        for source in choose_split(splits, name.strip(), str(folder))
        for video in (
            _posetrack_videos(folder, source) if source.suffix == ".json" else [_mot_video(source, benchmark)]
        )
    ]
    if inside_only:
        _refuse_outside(videos, folder)
    if any(video.tracks.left_out for video in videos):
        check_something_counts(video.tracks for video in videos)
    return videos


def _refuse_outside(videos: Sequence[Video], folder: Path) -> None:
    complaints = Complaints(str(folder))
    complain_of_outside(frame_files(videos), folder, str(folder), complaints, refuse=True)
    complaints.check()


def find_videos(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Split → its JSON files (PoseTrack), or folders of sequences (MOTChallenge).

    Raises FileNotFoundError for no folder, ValueError with what is in it for one of another layout.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; expected {KNOWN}")
    splits = splits_of_videos(folder)
    if not splits:
        entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
        found = short_list(entries, 12)
        raise ValueError(f"{folder} holds no videos we know: expected {KNOWN}; found {found or 'nothing'}")
    return splits


def splits_of_videos(folder: Path) -> dict[str, tuple[Path, ...]]:
    """As `find_videos`; none where the folder is of another layout."""
    files = sorted(files_like(folder / "annotations", "*/*.json"), key=natural_order)
    if files:
        names = dict.fromkeys(file.parent.name for file in files)
        return {name: tuple(file for file in files if file.parent.name == name) for name in names}
    splits: dict[str, tuple[Path, ...]] = {}
    for truth in sorted([*folder.glob("*/gt/gt.txt"), *folder.glob("*/*/gt/gt.txt")], key=natural_order):
        sequence = truth.parents[1]
        name = sequence.name if sequence.parent == folder else sequence.parent.name
        splits[name] = (*splits.get(name, ()), sequence)
    return splits


def _posetrack_videos(folder: Path, file: Path) -> list[Video]:
    roots = (folder, folder / "images", folder / "images" / file.parent.name, folder / file.parent.name)
    finder, found = PictureFinder(folder, file.parent.name), []
    for tracks in read_posetrack(file):
        names = tracks.frame_names
        if not tracks.num_frames or not all(names):
            raise ValueError(f"{file}: video '{tracks.name}' does not name the picture of every frame")
        paths = finder.locate(names, [roots] * len(names))
        finder.check(str(file))
        missing = [name for name, path in zip(names, paths, strict=True) if path is None]
        if missing:
            raise FileNotFoundError(
                f"{file}: {len(missing)} of {len(names)} pictures are not there, the first is {missing[0]}; looked for"
                f" it in {', '.join(map(str, roots))} and by the end of its path below {folder}"
            )
        found.append((tracks, tuple(Path(path) for path in paths if path is not None)))
    notes = tuple(finder.notes(str(file)))
    return [Video(tracks, frames, notes) for tracks, frames in found]


def _mot_video(sequence: Path, benchmark: Benchmark) -> Video:
    truth, info = sequence / "gt" / "gt.txt", sequence_info(sequence)
    pictures = sorted(list_pictures(sequence / info.get("imdir", "img1")), key=natural_order)
    length = None if "seqlength" in info else len(pictures)
    tracks = read_mot(truth, is_truth=True, num_frames=length, benchmark=benchmark)
    numbers = _frame_numbers(pictures)
    first = numbers[0] if numbers[0] in (0, 1) else 1
    if numbers != list(range(first, first + tracks.num_frames)):
        raise ValueError(
            f"{sequence}: expected the pictures 1 … {tracks.num_frames}, as 000001.jpg, in {pictures[0].parent};"
            f" found {len(pictures)}, {pictures[0].name} … {pictures[-1].name}"
        )
    note = f"{sequence}: the pictures are numbered from 0, and frames of gt.txt from 1: frame 1 is {pictures[0].name}"
    return Video(tracks, tuple(pictures), () if first else (note,))


def _frame_numbers(pictures: Sequence[Path]) -> list[int]:
    """What the names end in, -1 for one without a number or with other words before it than the first has."""
    found = [_NUMBERED.fullmatch(path.stem) for path in pictures]
    words = {match[1] for match in found if match}
    return [int(match[2]) if match and len(words) == 1 else -1 for match in found]


def boxes_of_poses(tracks: Tracks, scale: float) -> Tracks:
    """Tracks with boxes around their keypoints, `scale` times as large, inside frames of known size.

    Objects without keypoints keep their box. Raises ValueError for videos without poses.

    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> tracks = WalkingFigures(num_videos=1, num_frames=2).tracks(0)
    >>> wide = boxes_of_poses(tracks, scale=1.2)
    >>> bool((wide.boxes != tracks.boxes).any()), wide.boxes.shape == tracks.boxes.shape
    (True, True)
    """
    if tracks.keypoints is None:
        raise ValueError(f"boxes cannot be made from poses: video '{tracks.name}' has none")
    tight = boxes_around(tracks.keypoints)
    centers, sides = (tight[:, :2] + tight[:, 2:]) / 2, (tight[:, 2:] - tight[:, :2]) * scale
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], 1)
    if tracks.image_size is not None:
        boxes = boxes.clip(0, tracks.image_size[::-1] * 2)
    has_pose = np.isfinite(tracks.keypoints).all(2).any(1, keepdims=True)
    return replace(tracks, boxes=np.where(has_pose, boxes, tracks.boxes))


@checked
def write_video_folder(
    videos: Iterable[Video], folder: str | Path, split: str, *, kind: Literal["jpg", "png"] = "jpg"
) -> Path:
    """PoseTrack 2018's layout: annotations/<split>/<video>.json and images/<split>/<video>/000000.jpg, ….

    Videos must have names, which become folders' (`mot.video_word`). png keeps every bit. A later call adds further
    videos and splits. Raises FileExistsError where a video's file or folder is there already, ValueError where it
    would lie outside `folder`.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> walk = WalkingFigures(num_videos=1, num_frames=2, image_size=(32, 40))
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_video_folder(walk, folder, "train")
    ...     (video,) = open_videos(folder, "train")
    ...     [path.name for path in video.frames], find_videos(Path(folder)).keys()
    (['000000.jpg', '000001.jpg'], dict_keys(['train']))
    """
    folder = Path(folder)
    given: dict[str, str] = {}
    for video in videos:
        if not video.tracks.name:
            raise ValueError("a video needs a name to be written, for it becomes a folder; got one without")
        word = video_word(video.tracks.name)
        if given.setdefault(word.casefold(), video.tracks.name) != video.tracks.name:
            word = hashed_name(video.tracks.name, max_bytes=MAX_VIDEO_BYTES)
        truth = inside(folder, "annotations", split, f"{word}.json")
        place = _new_place(folder, split, word, truth)
        names = [f"{place}/{frame:06d}.{kind}" for frame in range(video.tracks.num_frames)]
        for frame, name in enumerate(names):
            with writing(folder / name):
                Image.fromarray(video.picture(frame)).save(
                    folder / name, quality=95
                )  # which PNG has no use for
        size = video.tracks.image_size or picture_size(folder / names[0])
        write_posetrack_truth(replace(video.tracks, frame_names=tuple(names), image_size=size), truth)
    return folder


def _new_place(folder: Path, split: str, word: str, truth: Path) -> str:
    """The new folder of a video's pictures, relative to `folder`."""
    pictures = inside(folder, "images", split, word)
    if os.path.lexists(truth) or os.path.lexists(pictures):
        raise FileExistsError(
            f"{truth} or {pictures} is there already; remove them, rename the video or choose another split"
        )
    pictures.mkdir(parents=True)
    return pictures.relative_to(folder).as_posix()
