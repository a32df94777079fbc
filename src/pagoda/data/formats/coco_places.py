"""Which files of a folder are COCO's, which split each is, and where its pictures lie."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pagoda.data.reading.annotation_files import files_like
from pagoda.data.reading.json_kinds import json_files, json_kind
from pagoda.data.reading.picture_paths import PictureFinder, files_below, written_name
from pagoda.data.reading.splits import common_name, is_split_name, split_in_name, with_common_names
from pagoda.messages import counted
from pagoda.plain import JsonObject

OTHER_COCO_FILES = ("captions_", "image_info_", "panoptic_", "stuff_")
"""Files COCO keeps beside the boxes"""
SECOND_FILES = ("person_keypoints_", "labels_")
"""Files of COCO and, the last, of Datumaro that count only where nothing else is there"""

LOOSE = ("*.json", "*/*.json", "*/annotations/*.json")
"""Where COCO files lie that have no folder annotations/ of their own"""

UNREAD = ("*.json", "*/*.json", "*/*/*.json")
MAX_LOOKED_INTO = 100
"""Files are looked into only to say that they are not read; folders of thousands are another format's."""


SAMPLED = 1000
"""Names by which the folder of the pictures is chosen"""


class Placed(NamedTuple):
    """A COCO document whose pictures were looked for."""

    document: JsonObject
    """file_name is relative to `folder` wherever the picture was found"""
    folder: Path
    num_found: int
    finder: PictureFinder
    notes: tuple[str, ...] = ()
    """how pictures were found, and what is not read as it is written"""
    left_out: tuple[str, ...] = ()
    """what is no object"""
    broken: tuple[tuple[str, str], ...] = ()
    """kind of complaint and place of what could not be read"""

    def paths(self) -> list[str]:
        """The files of all pictures that have a name, in `folder`."""
        images = self.document["images"] if isinstance(self.document["images"], list) else []
        names = [entry.get("file_name") for entry in images if isinstance(entry, dict)]
        return [os.path.join(self.folder, name) for name in names if isinstance(name, str)]


def coco_splits(root: Path) -> dict[str, tuple[Path, ...]]:
    """Split name → its one file; {} where there is none."""
    files = sorted(files_like(root / "annotations", "*.json"))
    files = [path for path in files if not path.name.startswith(OTHER_COCO_FILES)]
    if files and json_kind(files[0]) not in (None, "coco"):
        files = []  # another program's files in a folder of that name
    boxes = [path for path in files if not path.name.startswith(SECOND_FILES)]
    splits = {coco_split(path): (path,) for path in boxes or files}
    if not splits:
        splits = {path.parent.name: (path,) for path in sorted(files_like(root, "*/_annotations.coco.json"))}
    if splits:
        return with_common_names(splits)
    loose = [path for path in json_files(root, "coco", LOOSE) if not path.name.startswith(OTHER_COCO_FILES)]
    boxes = [path for path in loose if not path.name.startswith(SECOND_FILES)]
    return with_common_names(named_by_split(boxes or loose, root))


def unread_coco_files(root: Path, splits: Mapping[str, Sequence[Path]]) -> list[Path]:
    """COCO files at the usual depths that are no split: lower than the first ones found."""
    read = {path for files in splits.values() for path in files}
    others = (path for pattern in UNREAD for path in sorted(files_like(root, pattern)) if path not in read)
    known = (*OTHER_COCO_FILES, *SECOND_FILES)
    candidates = [path for path in others if not path.name.startswith(known)][:MAX_LOOKED_INTO]
    return [path for path in candidates if json_kind(path) == "coco"]


def coco_split(path: Path) -> str:
    """The split that a COCO file is by its name: instances_train2017.json is train2017.

    >>> coco_split(Path("annotations/instances_train2017.json")), coco_split(Path("val.json"))
    ('train2017', 'val')
    """
    return re.sub(r"^(instances|person_keypoints)_", "", path.stem)


def named_by_split(files: Sequence[Path], root: Path) -> dict[str, tuple[Path, ...]]:
    """Split name → file, told from the file's name, else from its folders; a lone file of no split is train.

    >>> root = Path("set")
    >>> list(named_by_split([root / "train.json", root / "valid/labels.json"], root))
    ['train', 'val']
    """
    names = [_split_of(path.relative_to(root)) for path in files]
    if len(files) == 1:
        return {names[0] or "train": (files[0],)}
    named = [name or path.stem for name, path in zip(names, files, strict=True)]
    if len(set(named)) < len(named):
        named = [path.relative_to(root).with_suffix("").as_posix() for path in files]
    return {name: (path,) for name, path in zip(named, files, strict=True)}


def picture_folders(root: Path, json_path: Path, split: str) -> Iterator[Path]:
    """Where the pictures of a COCO file may lie, likeliest first."""
    written = coco_split(json_path)
    names = dict.fromkeys((written, common_name(written), split, f"{common_name(written)}2017"))
    yield root / "images"
    for name in names:
        yield from (root / "images" / name, root / name, root / name / "images")
    yield from (json_path.parent, root)
    for folder in (json_path.parent, json_path.parent.parent):
        if folder == root or root in folder.parents:
            yield from (folder / "images", folder / "data")


def place_pictures(document: JsonObject, root: Path, json_path: Path, split: str) -> Placed:
    """The document with the files of its pictures as they lie on disk, below the likeliest folder.

    Entries are taken as they are, broken ones too; names that cannot be found stay as they are written, except that
    an address stands in where there is no file_name. Ambiguous names are listed by `Placed.finder`.
    """
    entries = document["images"] if isinstance(document["images"], list) else []
    names = [written_name(entry) if isinstance(entry, dict) else "" for entry in entries]
    finder = PictureFinder(root, split)
    candidates = list(dict.fromkeys(picture_folders(root, json_path, split)))
    folder = _fullest(candidates, names, finder)
    places = finder.locate(names, [[folder] if folder else candidates] * len(names))
    notes = finder.notes(str(json_path))
    unnamed = [
        index for index, entry in enumerate(entries) if isinstance(entry, dict) and not entry.get("file_name")
    ]
    if unnamed and names[unnamed[0]]:
        notes.insert(
            0,
            f"{json_path}: {counted(len(unnamed), 'image has', 'images have')} no file_name; the end of coco_url names"
            " the picture",
        )
    base, files = folder or root, list(names)
    if notes:
        base, files = files_below(names, places, base, root)
    if files != names or unnamed:
        images = [
            {**entry, "file_name": file} if isinstance(entry, dict) and name else entry
            for entry, file, name in zip(entries, files, names, strict=True)
        ]
        document = {**document, "images": images}
    return Placed(document, base, sum(place is not None for place in places), finder, tuple(notes))


def _fullest(folders: Sequence[Path], names: Sequence[str], finder: PictureFinder) -> Path | None:
    """The folder in which most of the first pictures lie as they are written; the likeliest of equals."""
    texts = list(map(str, folders))
    for few in (names[:5], names[:: 1 + len(names) // SAMPLED]):  # the missing ones may stand together
        counts = [sum(finder.exists(folder, name) for name in few if name) for folder in texts]
        if any(counts):
            return folders[counts.index(max(counts))]
    return None


def _split_of(path: Path) -> str | None:
    """The split a relative path speaks of, in the file's name before its folders, the nearest first."""
    if found := split_in_name(path.stem):
        return found
    return next((common_name(part) for part in reversed(path.parts[:-1]) if is_split_name(part)), None)
