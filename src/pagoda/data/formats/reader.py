"""The annotations of a data set in whatever format it is: the one reader of each."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pagoda.data.formats.coco import read_document
from pagoda.data.formats.coco_places import (
    coco_split,
    picture_folders,
)
from pagoda.data.formats.documents import DOCUMENT_KINDS
from pagoda.data.formats.layouts import ANNOTATION_FOLDERS, Layout, find_dataset
from pagoda.data.formats.voc import VocFolder
from pagoda.data.formats.voc_layout import find_voc
from pagoda.data.formats.yolo.folder import YoloFolder
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.found import Reading
from pagoda.data.reading.outside import complain_of_outside
from pagoda.data.reading.splits import choose_split
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import concatenate
from pagoda.messages import counted
from pagoda.pictures.files import is_picture


def open_annotations(
    path: str | Path,
    split: str | None = None,
    *,
    skip_missing: bool = False,
    boxes_only: bool = False,
    inside_only: bool = False,
) -> Annotations:
    """The annotations of one split, or of several as "train+val".

    `split` None is train where there is one, else the only split; for a COCO folder it may also be the name of a
    file in annotations/, as person_keypoints_train2017. Pictures that are not on disk stop the reading, or with
    `skip_missing` are left out and noted. With `boxes_only` masks and keypoints are not read. Pictures outside the
    data set's folder are noted, and with `inside_only` they stop the reading before any of them is opened.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.saving import write_coco_folder
    >>> with TemporaryDirectory() as folder:
    ...     for split in ("train", "val"):
    ...         _ = write_coco_folder(DrawnShapes(2, (32, 48)), folder, split=split)
    ...     len(open_annotations(folder)), len(open_annotations(folder, "train+val"))
    (2, 4)
    """
    layout = find_dataset(path)
    if split is None:
        split = "train" if "train" in layout.splits or len(layout.splits) != 1 else next(iter(layout.splits))
    # A split may itself be called "a+b"; only a name that is unknown as a whole is taken apart.
    names = [split] if split in layout.splits else split.split("+")
    parts = [_open_split(layout, name.strip(), skip_missing, boxes_only, inside_only) for name in names]
    annotations = parts[0] if len(parts) == 1 else concatenate(parts)
    return replace(annotations, notes=(*layout.unread, *annotations.notes))


def _open_split(
    layout: Layout, split: str, skip_missing: bool, boxes_only: bool, inside_only: bool
) -> Annotations:
    named = layout.root / "annotations" / f"{split}.json"
    if layout.kind == "coco" and split not in layout.splits and named.is_file():
        layout, split = replace(layout, splits={coco_split(named): (named,)}), coco_split(named)
    what = choose_split(layout.splits, split, str(layout.root), dict(layout.absent))
    reading = split_reader(layout, boxes_only=boxes_only, inside_only=inside_only)(split)
    missing = reading.missing_pictures()
    if not missing:
        return reading.annotations()
    reading.complaints.check()
    files = reading.images.files
    if len(missing) == len(files) and layout.kind in DOCUMENT_KINDS:
        raise FileNotFoundError(_nothing_found(files, layout.root, what[0], split))
    if len(missing) == len(files) or not skip_missing:
        names = [files[index] for index in missing]
        raise FileNotFoundError(_missing(reading.source, reading.root, names, len(files)))
    notes = [f"{reading.source}: there is no picture {files[index]}; it is left out" for index in missing]
    annotations = reading.subset(sorted(set(range(len(files))).difference(missing))).annotations()
    return replace(annotations, notes=(*annotations.notes, *notes))


def split_reader(
    layout: Layout, *, boxes_only: bool = False, inside_only: bool = False
) -> Callable[[str], Reading]:
    """What reads one split of a data set after the other: the one reader of its format.

    What concerns the whole data set is complained of in the first split that is read; pictures outside its folder
    before all else of a split.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.saving import write_coco_folder
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_coco_folder(DrawnShapes(2, (32, 48)), folder)
    ...     reading = split_reader(find_dataset(folder))("train")
    >>> reading.images.files, reading.missing_pictures(), reading.complaints.stopping
    (['000001.png', '000002.png'], [0, 1], ())
    """
    read = _reader(layout, boxes_only, inside_only)

    def read_and_look(split: str) -> Reading:
        reading = read(split)
        complaints = Complaints(reading.source)
        if "pictures_refused" not in reading.complaints:
            paths = [os.path.join(reading.root, file) for file in reading.images.files]
            complain_of_outside(paths, layout.home, reading.source, complaints, refuse=inside_only)
        complaints.extend(reading.complaints)
        return replace(reading, complaints=complaints)

    return read_and_look


def _reader(layout: Layout, boxes_only: bool, inside_only: bool) -> Callable[[str], Reading]:
    within = layout.home if inside_only else None
    if layout.kind == "yolo":
        yolo = YoloFolder(layout.description or layout.root, within=within)
        places = layout.splits
        return lambda split: yolo.read(
            choose_split(places, split, str(layout.root)), f"{layout.root} ({split})", boxes_only=boxes_only
        )
    if layout.kind == "voc":
        found = find_voc(layout.root)
        assert found is not None, f"{layout.root} was found to be a VOC folder"
        voc = VocFolder(found, within=within)
        is_whole = list(layout.splits) == ["train"] and layout.splits["train"][0].suffix != ".txt"
        return lambda split: voc.read(None if is_whole else split)
    return lambda split: _read_document(layout, split, boxes_only, inside_only)


def _read_document(layout: Layout, split: str, boxes_only: bool, inside_only: bool) -> Reading:
    what = choose_split(layout.splits, split, str(layout.root))
    source = str(what[0] if len(what) == 1 else f"{layout.root} ({split})")
    try:
        placed = layout.document(split, inside_only=inside_only)
    except (ValueError, OSError) as error:
        return Reading.broken(source, layout.root, error)
    if inside_only:
        refused = Reading(source, layout.root, Complaints(source))
        complain_of_outside(placed.paths(), layout.home, source, refused.complaints, refuse=True)
        if refused.complaints.stopping:
            return refused
    reading = read_document(placed.document, placed.folder, source, boxes_only=boxes_only)
    skeleton = reading.label_map.skeleton
    if layout.kind == "labelme" and skeleton is not None:
        remedy = "call the points that change places left_… and right_… in LabelMe"
        reading.label_map = replace(reading.label_map, skeleton=replace(skeleton, flip_remedy=remedy))
    for kind, lines in (
        ("shapes_left_out", placed.left_out),
        ("read_otherwise", placed.notes),
        ("ambiguous_pictures", placed.finder.ambiguous),
    ):
        for line in lines:
            reading.complaints.add(kind, line)
    for kind, line in placed.broken:
        reading.complaints.add(kind, line)
    return reading


def _nothing_found(files: list[str], root: Path, json_path: Path, split: str) -> str:
    folders = dict.fromkeys(map(str, picture_folders(root, json_path, split)))
    other = next(filter(None, (_other_ending(Path(folder), files[0]) for folder in folders)), "")
    return (
        f"{json_path}: none of its {counted(len(files), 'picture')} is where one is looked for; put {files[0]}"
        f" and the others into one of {', '.join(folders)}{other}{_perhaps_above(root)}"
    )


def _missing(source: str, folder: Path, names: list[str], count: int) -> str:
    return (
        f"{source}: {len(names)} of {counted(count, 'picture is', 'pictures are')} not in {folder}, the first is"
        f" {names[0]}; add them, or leave"
        f" them out with skip_missing=True{_other_ending(folder, names[0])}{_perhaps_above(folder)}"
    )


def _other_ending(folder: Path, name: str) -> str:
    """What to do where a picture of that name with another ending is there, which may be a mask as well."""
    path = folder / name
    entries = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    alike = next((entry for entry in entries if entry.stem == path.stem and is_picture(entry)), None)
    if alike is None or alike.name == path.name:
        return ""
    return f"; there is {alike}: correct the ending in the annotations if that is the picture"


def _perhaps_above(folder: Path) -> str:
    """What to do where a folder of annotations was given in place of the data set's."""
    is_part = folder.name.lower() in ANNOTATION_FOLDERS
    return f"; or give the folder above, {folder.parent}, if the pictures are there" if is_part else ""
