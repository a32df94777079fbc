"""Several data sets made one, and pictures that are the same byte for byte."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from pagoda.data.table.assembly import concatenate
from pagoda.data.table.strings import PackedStrings
from pagoda.data.videos import Video
from pagoda.data.writing.contents import Contents, joint_labels, with_labels
from pagoda.data.writing.videos import VideoContents
from pagoda.messages import counted
from pagoda.pictures.read import PictureError
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import Tracks

Place = tuple[str, int]
"""split and position of a picture"""


def merge(parts: Sequence[Contents]) -> Contents:
    """All pictures of several data sets, split by split, with all classes by their names; what is to be known of it is
    in the notes: classes that look alike, ids that meet, pictures that are there twice.

    Raises ValueError for fewer than two, one given twice, and different keypoints.

    >>> merge([])
    Traceback (most recent call last):
    ValueError: at least two data sets are needed to put them together, got 0
    """
    if len(parts) < 2:
        raise ValueError(f"at least two data sets are needed to put them together, got {len(parts)}")
    _refuse_twice([folder for part in parts for folder in part.folders])
    label_map, notes = joint_labels([part.label_map for part in parts], [part.source for part in parts])
    splits, pictures = {}, {}
    for split in dict.fromkeys(split for part in parts for split in part.splits):
        having = [part for part in parts if split in part.splits]
        tables = [replace(with_labels(part.splits[split], label_map), notes=()) for part in having]
        joint = concatenate(tables)
        files = PackedStrings.pack([file for table in tables for file in table.files])
        splits[split] = replace(joint, files=files)
        pictures[split] = tuple(path for part in having for path in part.pictures[split])
        notes += joint.notes
    kinds = {part.kind for part in parts}
    whole = Contents(
        kinds.pop() if len(kinds) == 1 else "coco",
        " + ".join(part.source for part in parts),
        splits,
        pictures,
        unread=tuple(loss for part in parts for loss in part.unread),
        folders=tuple(folder for part in parts for folder in part.folders),
    )
    read = [note for part in parts for note in part.notes]
    return replace(whole, notes=(*dict.fromkeys([*notes, *_said_twice(whole)]), *dict.fromkeys(read)))


def merge_videos(parts: Sequence[VideoContents]) -> VideoContents:
    """All videos of several data sets, split by split, each whole with its own track ids, and all classes by their
    names. A video whose name another one of the split has is named anew, which is noted.

    Raises ValueError as `merge`.
    """
    if len(parts) < 2:
        raise ValueError(f"at least two data sets are needed to put them together, got {len(parts)}")
    _refuse_twice([folder for part in parts for folder in part.folders])
    label_map, notes = joint_labels([part.label_map for part in parts], [part.source for part in parts])
    alike = [part.changed(partial(_relabelled, label_map=label_map)) for part in parts]
    splits: dict[str, tuple[Video, ...]] = {}
    for split in dict.fromkeys(split for part in alike for split in part.splits):
        videos = [video for part in alike for video in part.splits.get(split, ())]
        names = _free_names([video.tracks.name for video in videos])
        notes += [
            f"{split}: a second video '{video.tracks.name}' is called '{name}' from now on"
            for video, name in zip(videos, names, strict=True)
            if video.tracks.name != name
        ]
        splits[split] = tuple(
            replace(video, tracks=replace(video.tracks, name=name))
            for video, name in zip(videos, names, strict=True)
        )
    kinds = {part.kind for part in parts}
    whole = VideoContents(
        kinds.pop() if len(kinds) == 1 else "coco",
        " + ".join(part.source for part in parts),
        splits,
        tuple(folder for part in parts for folder in part.folders),
        tuple(loss for part in parts for loss in part.unread),
    )
    told = [line for part in parts for line in part.told]
    return whole.noted([*notes, *_said_twice(whole), *told])


def _relabelled(tracks: Tracks, label_map: LabelMap) -> Tracks:
    """The tracks with a label map that has all their classes by name."""
    number = np.array([label_map.names.index(name) for name in tracks.label_map.names], np.int64)
    return replace(tracks, labels=number[tracks.labels], label_map=label_map)


def _free_names(names: Sequence[str]) -> list[str]:
    """The names, of which a later one that is there already gets a number: walk, walk-2."""
    taken = {name.casefold() for name in names}
    met: set[str] = set()
    free = []
    for name in names:
        new = name
        for number in count(2):
            if new.casefold() not in met and (new == name or new.casefold() not in taken):
                break
            new = f"{name}-{number}"
        met.add(new.casefold())
        free.append(new)
    return free


def _refuse_twice(folders: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for folder in folders:
        if (other := seen.setdefault(folder.resolve(), folder)) is not folder:
            raise ValueError(f"{folder} is given twice ({other}); every picture would be there twice")


def same_pictures(pictures: Mapping[str, Sequence[Path]]) -> list[list[Place]]:
    """The places of each picture that is there more than once, byte for byte; only files of one length are read.

    >>> same_pictures({"train": [], "val": []})
    []
    """
    by_length: dict[int, list[Place]] = {}
    for split, paths in pictures.items():
        for index, path in enumerate(paths):
            by_length.setdefault(path.stat().st_size, []).append((split, index))
    by_content: dict[bytes, list[Place]] = {}
    for places in by_length.values():
        for split, index in places if len(places) > 1 else ():
            by_content.setdefault(_digest(pictures[split][index]), []).append((split, index))
    return [places for places in by_content.values() if len(places) > 1]


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise PictureError(f"cannot read {path}: {error}") from error


def _said_twice(contents: Contents | VideoContents) -> list[str]:
    """One line on pictures that are there twice, and one on those of several splits."""
    pictures = contents.pictures
    groups = same_pictures(pictures)
    lines = []
    for what, some in (
        ("there more than once, byte for byte", groups),
        ("in more than one split, so that what is learnt is scored", [g for g in groups if _is_leak(g)]),
    ):
        if some:
            first = " and ".join(str(pictures[split][index]) for split, index in some[0][:2])
            lines.append(f"{counted(len(some), 'picture is', 'pictures are')} {what}: {first}")
    return lines


def _is_leak(places: Sequence[Place]) -> bool:
    return len({split for split, _ in places}) > 1
