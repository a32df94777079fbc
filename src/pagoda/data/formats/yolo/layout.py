"""YOLO folders on disk: the file that describes them, their splits, their pictures and label files.

Described by a YAML file (data.yaml, or any other given by its path), by Darknet's and CVAT's obj.data, or by nothing
but a list of class names.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pagoda.data.reading.category_ids import plain_name
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.picture_paths import PictureFinder
from pagoda.data.reading.splits import SPLIT_NAMES, common_name, is_split_name, with_common_names
from pagoda.files.text import as_whole, read_text, read_yaml
from pagoda.messages import short_list
from pagoda.pictures.read import is_picture, other_files_note
from pagoda.places import told_at
from pagoda.plain import JsonObject
from pagoda.structures.labels import LabelMap

SPLITS = ("train", "val", "valid", "validation", "test")
NAME_FILES = ("classes.txt", "labels/classes.txt", "obj.names", "_darknet.labels", "train/_darknet.labels")
PICTURE_FOLDER_NAMES = ("images", "jpegimages")
"""In any case; of these the label files' folder is the twin called labels"""
LABEL_FOLDERS = ("labels", "Labels")

TEXT_KEYS = ("names", "kpt_names")
_NAMING = re.compile(rb"^\W*names\W*[:=]", re.MULTILINE)


class YoloSplits(NamedTuple):
    """The splits of a YOLO folder that are there, and those that are only named."""

    places: dict[str, tuple[Path, ...]]
    """split → its picture folders and list files"""
    absent: dict[str, str]
    """split that the description names → why it cannot be read"""
    notes: list[str]


def yolo_splits(root: str | Path) -> dict[str, tuple[Path, ...]]:
    """Split name → picture folders and list files; a folder without splits counts as train."""
    return find_splits(root).places


def find_splits(root: str | Path) -> YoloSplits:
    """The splits of a folder, or of the YAML or .data file `root`.

    What the description names but is not there is told in `absent`: whether that matters depends on what is asked.
    """
    folder, description = folder_of(root), read_description(root)
    found, absent, notes = {}, {}, []
    for name in (name for name in SPLITS if description.get(name)):
        try:
            with told_at(f"{description_file(root)}: {name}"):
                found[name] = _places(root, description, name, notes)
        except FileNotFoundError as error:
            absent[name] = str(error)
    if not found and not absent:
        found = _undescribed(folder)
    return YoloSplits(with_common_names(found), with_common_names(absent), notes)


def _undescribed(folder: Path) -> dict[str, tuple[Path, ...]]:
    """images/train or train/images for each split; else pictures beside their labels, in split folders or in one."""
    found: dict[str, tuple[Path, ...]] = {}
    own = _split_folders(folder)
    for path in [*_split_folders(folder / "images"), *(each / "images" for each in own)]:
        if path.is_dir():
            name = path.parent.name if path.name == "images" else path.name
            found[name] = (*found.get(name, ()), path)
    if not found and (folder / "images").is_dir():
        found = {"train": (folder / "images",)}
    if not found:
        found = {path.name: (path,) for path in own if _has_pictures(path)}
    if not found and _has_pictures(folder):
        found = {"train": (folder,)}
    return found


def _split_folders(above: Path) -> list[Path]:
    """The folders in `above` that are called as splits are, in any case, training first."""
    folders = above.iterdir() if above.is_dir() else ()
    found = [path for path in folders if is_split_name(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: (SPLIT_NAMES.index(common_name(path.name)), path.name))


def data_folder(root: str | Path, description: Mapping[str, object]) -> Path:
    """Where what a description names is looked for first: its folder, or what `path` says, seen from there or from a
    folder called datasets in it or beside it."""
    folder, written = folder_of(root), str(description.get("path") or "")
    places = [
        folder / written,
        *(above / "datasets" / written for above in (folder, folder.resolve().parent)),
    ]
    return next(
        (place for place in places if os.path.isdir(place) and len(place.resolve().parts) > 1), folder
    )


def folder_of(root: str | Path) -> Path:
    """The folder of a data set given by itself or by the file that describes it."""
    return Path(root).parent if Path(root).is_file() else Path(root)


def description_file(root: str | Path) -> Path | None:
    """data.yaml, obj.data, or the one YAML or .data file of the folder that names classes; `root` if it is a file."""
    root = Path(root)
    if root.is_file():
        return root
    for name in ("data.yaml", "data.yml", "obj.data"):
        if (root / name).is_file():
            return root / name
    naming = naming_files(root)
    return naming[0] if len(naming) == 1 else None


def naming_files(root: Path) -> list[Path]:
    """The YAML and .data files of a folder that name classes."""
    files = [path for pattern in ("*.yaml", "*.yml", "*.data") for path in sorted(root.glob(pattern))]
    return [path for path in files if _names_classes(path)]


def _names_classes(path: Path) -> bool:
    """Files that cannot be read count only where they seem to; others are settings of another program."""
    try:
        return "names" in _load(path)
    except ValueError:
        if _NAMING.search(path.read_bytes().replace(b"\0", b"")):
            raise
        return False


def read_description(root: str | Path) -> JsonObject:
    """The contents of the file that describes the data set, {} where there is none; names are text."""
    path = description_file(root)
    return {} if path is None else _load(path)


def _load(path: Path) -> JsonObject:
    if path.suffix.lower() != ".data":
        entries = read_yaml(path, as_text=TEXT_KEYS)
        renamed = {key: key.lower() for key in entries if isinstance(key, str) and key.lower() in SPLITS}
        plain = {key: value for key, value in entries.items() if renamed.get(key, key) == key}
        return {renamed[key]: entries[key] for key in renamed} | plain
    description = _data_entries(path)
    if names := description.get("names"):
        listed = _existing(names, (path.parent,))
        description["names"] = _listed_names(listed) if listed is not None else None
    if str(description.get("classes", "")).isdigit():
        description["nc"] = int(description["classes"])
    return description


def _data_entries(path: Path) -> JsonObject:
    pairs = (line.partition("=") for line in read_text(path).splitlines() if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def names_files(root: str | Path) -> list[Path]:
    """The list of names that a .data file refers to, none where there is none."""
    path = description_file(root)
    names = _data_entries(path).get("names") if path is not None and path.suffix.lower() == ".data" else None
    listed = _existing(names, (path.parent,)) if path is not None and names else None
    return [] if listed is None else [listed]


def read_classes(root: str | Path, description: JsonObject, complaints: Complaints) -> LabelMap:
    """The classes of the description or of a list of names, numbered from 0; none where they are bad.

    >>> read_classes(Path("set"), {"names": {0: "cat", 1: "dog"}}, Complaints()).names
    ('cat', 'dog')
    """
    names = description.get("names")
    if isinstance(names, dict):
        by_number = {as_whole(number): name for number, name in names.items()}
        if set(by_number) != set(range(len(names))):
            place = f"{root}: names must be numbered 0 … {len(names) - 1}, got {list(names)}"
            complaints.add("bad_categories", place[:200])
            return LabelMap((), ())
        names = [by_number[number] for number in range(len(names))]
    if not names:
        names = _names_of_list(root, complaints)
    if not isinstance(names, list):
        complaints.add(
            "bad_categories", f"{root}: names must be a list, got {str(names)[:60]}; write [cat, dog]"
        )
        return LabelMap((), ())
    plain = [plain_name(name, str(number), str(root), complaints) for number, name in enumerate(names)]
    if None in plain:
        complaints.add(
            "bad_categories", f"{root}: class {plain.index(None)} is {str(names)[:60]}, which is no name"
        )
        return LabelMap((), ())
    try:
        return LabelMap(tuple(plain), tuple(range(len(plain))))  # type: ignore[arg-type]
    except ValueError as error:
        complaints.add("bad_categories", f"{root}: {error}")
        return LabelMap((), ())


def _names_of_list(root: str | Path, complaints: Complaints) -> list[str]:
    listed = next((path for name in NAME_FILES if (path := folder_of(root) / name).is_file()), None)
    if listed is None:
        complaints.add("bad_categories", f"{root}: no class names; expected them in data.yaml or classes.txt")
        return []
    try:
        names = _listed_names(listed)
    except (ValueError, OSError) as error:
        complaints.add("bad_categories", str(error))
        return []
    if not names:
        complaints.add("bad_categories", f"{listed}: no class names; expected one in each line")
    return names


def contradicting_count(root: str | Path, description: JsonObject, label_map: LabelMap) -> list[str]:
    """One line where nc is not the number of names; the names count.

    >>> contradicting_count("set", {"nc": 2}, LabelMap.from_names(["cat", "dog"]))
    []
    """
    count = description.get("nc")
    if count is None or str(count) == str(len(label_map)) or not len(label_map):
        return []
    path = description_file(root)
    return [
        f"{path}: nc is {count}, but names has {len(label_map)} ({short_list(label_map.names, 5)}); names count"
    ]


def _listed_names(path: Path) -> list[str]:
    """A name per line; an empty line within is a class without a name, for the others keep their numbers."""
    return [line.strip() for line in read_text(path).rstrip().splitlines()]


def _places(root: str | Path, description: JsonObject, split: str, notes: list[str]) -> tuple[Path, ...]:
    """The folders or list files of a split. Exports often write ../train/images and mean train/images."""
    entries = description[split] if isinstance(description[split], list) else [description[split]]
    folder = folder_of(root)
    written, base = folder / str(description.get("path") or ""), data_folder(root, description)
    bases = tuple(dict.fromkeys((written, base, folder)))
    places = []
    for entry in map(str, entries):
        place = _existing(entry, bases)
        if place is None:
            looked = dict.fromkeys(str(above / entry) for above in bases)
            raise FileNotFoundError(
                f"{description_file(root)} names '{entry}' for {split}, but there is no such folder or file;"
                f" looked for {', '.join(looked)}, and for the ends of that path in {folder}"
            )
        if _lies_far_below(folder, place):
            raise FileNotFoundError(
                f"{description_file(root)} names '{entry}' for {split}, which is {place.resolve()}, a folder far above"
                " the data set; name the folder of that split's pictures"
            )
        if place.is_dir() and not _has_pictures(place):
            raise FileNotFoundError(
                f"{description_file(root)} names '{entry}' for {split}, but there are no pictures in {place}"
            )
        inner = entry.replace("\\", "/").removeprefix("./").removeprefix("../")
        if place.resolve() not in {(above / inner).resolve() for above in (written, folder)} | {
            (written / entry).resolve()
        }:
            notes.append(f"{description_file(root)}: '{entry}' is taken for {place}")
        places.append(place.resolve())
    return tuple(places)


def _existing(entry: str, bases: Sequence[Path]) -> Path | None:
    """The folder or file: as written, one folder lower, then by the longest end of its path that is there."""
    text = entry.replace("\\", "/")
    parts = PurePosixPath(text).parts
    inner = text.removeprefix("../").removeprefix("./")
    # An end that has lost the split's name may be another split's folder.
    last = max((index for index, part in enumerate(parts) if is_split_name(part)), default=len(parts) - 1)
    ends = ["/".join(parts[start:]) for start in range(1, last + 1) if parts[start] != ".."]
    candidates = [base / name for name in (entry, text, inner, *ends) for base in bases]
    return next(
        (path for path in candidates if os.path.exists(path)), None
    )  # False where it cannot be a path


def _lies_far_below(folder: Path, place: Path) -> bool:
    """Whether `place` holds the folder more than one level down: all that is in it would be searched for pictures."""
    return len(place.resolve().parts) < len(folder.resolve().parts) - 1 and folder.resolve().is_relative_to(
        place.resolve()
    )


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(is_picture(path) for path in folder.rglob("*"))


def split_pictures(
    places: Sequence[Path], root: Path | None = None, notes: list[str] | None = None
) -> list[Path]:
    """All pictures in the folders and list files of a split; FileNotFoundError where there are none.

    A line of a list is found beside the list, in `root`, or by the end of its path below `root`, which goes into
    `notes`. Raises ValueError where it may be several pictures.
    """
    pictures: list[Path] = []
    for place in places:
        if place.is_dir():
            pictures += sorted(p.resolve() for p in place.rglob("*") if is_picture(p))
        else:
            pictures += _listed_pictures(place, root or place.parent, notes if notes is not None else [])
    if not pictures:
        others = "".join(f"; {note}" for note in other_files_note(places))
        raise FileNotFoundError(f"no pictures in {', '.join(str(place) for place in places)}{others}")
    return pictures


def _listed_pictures(listing: Path, root: Path, notes: list[str]) -> list[Path]:
    lines = [line.strip() for line in read_text(listing).splitlines() if line.strip()]
    finder = PictureFinder(root, common_name(listing.stem))
    places = finder.locate(lines, [[listing.parent, root]] * len(lines))
    finder.check(str(listing))
    missing = [line for line, place in zip(lines, places, strict=True) if place is None]
    if missing:
        raise FileNotFoundError(
            f"{listing}: {len(missing)} of {len(lines)} listed pictures are not there, the first is {missing[0]};"
            f" put them where the list says, or below {root}, or take them off the list"
        )
    notes += finder.notes(str(listing))
    return [Path(place).resolve() for place in places if place is not None]


def unread_labels(root: Path, places: Mapping[str, Sequence[Path]]) -> list[Path]:
    """Label files of pictures below `root` in no split's folder; none where a split is a list, for that is a choice."""
    folders = {os.path.realpath(place) for each in places.values() for place in each}
    if os.path.realpath(root) in folders or not all(os.path.isdir(folder) for folder in folders):
        return []
    unread = []
    for folder, below, names in os.walk(os.path.realpath(root)):
        below[:] = [
            name for name in below if not name.startswith(".") and os.path.join(folder, name) not in folders
        ]
        if folder not in folders:
            pictures = (Path(folder, name) for name in names if is_picture(name))
            unread += [path for picture in pictures if (path := label_file_of(picture)).is_file()]
    return [Path(os.path.join(root, os.path.relpath(path, os.path.realpath(root)))) for path in unread]


def has_labels(places: Mapping[str, Sequence[Path]]) -> bool:
    """Whether some picture in the folders of the splits has a label file; lists count as if theirs had."""
    every = [place for each in places.values() for place in each]
    pictures = (path for place in every for path in place.rglob("*") if is_picture(path))
    return not all(map(os.path.isdir, every)) or any(label_file_of(path).is_file() for path in pictures)


def label_file_of(picture: Path) -> Path:
    """…/images/a/b.jpg → …/labels/a/b.txt by the last folder called images, if it is there; else beside the picture.

    Where neither is there, the one that would be usual.

    >>> label_file_of(Path("images/train/a.jpg")).as_posix(), label_file_of(Path("train/a.jpg")).as_posix()
    ('labels/train/a.txt', 'train/a.txt')
    """
    beside = picture.with_suffix(".txt")
    parts = list(beside.parts)
    where = [index for index, part in enumerate(parts[:-1]) if part.lower() in PICTURE_FOLDER_NAMES]
    twins = (
        [Path(*parts[: where[-1]], name, *parts[where[-1] + 1 :]) for name in LABEL_FOLDERS] if where else []
    )
    places = [*twins[:1], beside, *twins[1:]]
    spelt = (*places, *(place.with_suffix(".TXT") for place in places))
    return next((place for place in spelt if place.is_file()), places[0])
