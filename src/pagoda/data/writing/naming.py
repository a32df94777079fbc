"""What splits and pictures are called in a format: names that are files' names everywhere, and never meet."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from PIL import Image

from pagoda.data.reading.splits import SPLIT_NAMES, common_name
from pagoda.data.table.strings import PackedStrings
from pagoda.data.writing.contents import Contents
from pagoda.data.writing.holding import TITLES, FormatName
from pagoda.files.atomic import safe_name
from pagoda.pictures.files import is_picture
from pagoda.pictures.read import PictureError, picture_inside
from pagoda.plain import checked

Counted = tuple[int, Contents]
"""how many things are affected, and what is left of the data set"""


@checked
def without_empty_splits(contents: Contents, name: FormatName) -> Counted:
    """Splits without pictures left out. Raises ValueError where no picture is left."""
    full = {split: table for split, table in contents.splits.items() if len(table)}
    if not full:
        raise ValueError(f"{contents.source} has no pictures; there is nothing to write as {TITLES[name]}")
    return len(contents.splits) - len(full), replace(contents, splits=full)


@checked
def name_splits(contents: Contents, name: FormatName) -> Counted:
    """Splits as the format can call them. Raises ValueError for several that YOLO or LabelMe do not know."""
    names = {split: safe_name(split) for split in contents.splits}
    if name in ("yolo", "labelme"):
        names = {split: common_name(split) for split in contents.splits}
        strange = [split for split, word in names.items() if word not in SPLIT_NAMES]
        if (strange and len(names) > 1) or len(set(names.values())) < len(names):
            listed = ", ".join(contents.splits)
            raise ValueError(
                f"{TITLES[name]} knows the splits {', '.join(SPLIT_NAMES)}, and {contents.source} has {listed};"
                f" choose those with --splits, or write COCO (--to coco), which keeps all names"
            )
        names = dict.fromkeys(names, "train") if strange else names
    changed = sum(split != word for split, word in names.items())
    return changed, _renamed(contents, names)


def _renamed(contents: Contents, names: dict[str, str]) -> Contents:
    if len({word.casefold() for word in names.values()}) < len(names):
        raise ValueError(
            f"the splits {', '.join(names)} of {contents.source} would share files; choose some with --splits"
        )
    ids = contents.track_ids
    return replace(
        contents,
        splits={names[split]: table for split, table in contents.splits.items()},
        pictures={names[split]: contents.pictures[split] for split in contents.splits},
        track_ids=None if ids is None else {names[split]: ids[split] for split in contents.splits},
    )


@checked
def name_pictures(contents: Contents, name: FormatName) -> Counted:
    """Pictures under the names they get, in the order in which the format is read.

    VOC has one folder for all splits: a picture that stands in several with the same objects is there once.
    """
    changed, splits, pictures = 0, {}, {}
    taken: set[str] = set()
    shared: dict[tuple[object, ...], str] = {}
    for split, table in contents.splits.items():
        taken = taken if name == "voc" else set()
        files: dict[str, None] = {}
        sources = contents.pictures[split]
        for index, (written, source) in enumerate(zip(table.files, sources, strict=True)):
            key = (
                (source.resolve(), *_objects_of(contents, split, index)) if name == "voc" else (split, index)
            )
            if key not in shared or shared[key] in files:
                shared[key] = _free(_wanted(written, source, tuple(contents.splits), name), taken, name)
            changed += PurePosixPath(shared[key]) != PurePosixPath(written)
            files[shared[key]] = None
        names = list(files)
        order = sorted(range(len(names)), key=lambda k: _place_when_read(names[k], k, name))
        named = replace(table, files=PackedStrings.pack(names))
        splits[split] = named if order == list(range(len(names))) else named.subset(order)
        pictures[split] = tuple(sources[k] for k in order)
    return changed, replace(contents, splits=splits, pictures=pictures)


def _objects_of(contents: Contents, split: str, index: int) -> tuple[object, ...]:
    """What VOC writes of a picture: two with the same can share a file."""
    table = contents.splits[split]
    rows = slice(table.offsets[index], table.offsets[index + 1])
    return tuple(getattr(table, name)[rows].tobytes() for name in ("boxes_xywh", "labels", "ignored"))


def _wanted(written: str, source: Path, splits: Sequence[str], name: FormatName) -> str:
    """The name of a picture, relative to its split's folder, before it is looked whether it is free."""
    path = PurePosixPath(written.replace("\\", "/"))
    parts = list(path.parts)
    if path.is_absolute() or ".." in parts or (parts and ":" in parts[0]):
        parts = parts[-1:]
    folders = [safe_name(part) for part in parts[:-1]]
    if name == "coco" and folders and folders[0] in splits:
        folders[0] = f"_{folders[0]}"  # images/val/a.jpg of train would be taken for a.jpg of val
    ending = path.suffix
    stem = safe_name(path.stem)
    if not is_picture(f"{stem}{ending}"):
        ending = ending_of(source)
    return "/".join([*folders, f"{stem}{ending}"])


def ending_of(source: Path) -> str:
    """The usual ending of a picture whose name has none, or that lies inside a LabelMe file; .jpg where it is none."""
    try:
        file = picture_inside(source)
        with Image.open(file) as image:
            return {"JPEG": ".jpg", "TIFF": ".tif"}.get(
                image.format or "JPEG", f".{(image.format or '').lower()}"
            )
    except (PictureError, OSError):
        return ".jpg"


def _free(wanted: str, taken: set[str], name: FormatName) -> str:
    """The name, or the first of NAME-2, NAME-3 … that no other picture has."""
    path, number = PurePosixPath(wanted), 1
    while True:
        free = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        key = (free if name == "coco" else free.with_suffix("")).as_posix().casefold()
        if key not in taken:
            taken.add(key)
            return free.as_posix()
        number += 1


def _place_when_read(file: str, index: int, name: FormatName) -> object:
    if name == "yolo":
        return PurePosixPath(file)
    return PurePosixPath(file).with_suffix(".json") if name == "labelme" else index
