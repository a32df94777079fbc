"""The lenient reading of `records` for formats with one annotation file per picture: VOC and YOLO."""

import os
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from pagoda.data import voc, yolo, yolo_layout
from pagoda.data.layouts import Layout
from pagoda.data.voc_layout import find_voc, place_pictures
from pagoda.explain.doctor.findings import Notebook
from pagoda.explain.doctor.records import NO_BOX, Split, resolve_categories
from pagoda.pictures import PictureError, picture_size

UNKNOWN_SIDE = 640
"""Pixels a side is taken to have where the picture of a YOLO label file cannot be read."""


def read_voc_splits(layout: Layout, notes: Notebook) -> list[Split]:
    """All splits of a VOC folder; each XML file is read once."""
    voc_set = find_voc(layout.root)
    assert voc_set is not None, f"{layout.root} was found to be a VOC folder"
    trees: dict[str, Element] = {}
    broken: set[str] = set()
    for key, path in voc_set.files.items():
        try:
            trees[key] = voc.parse_xml(path)
        except ValueError as error:
            notes.add("unreadable_annotations", str(error))
            broken.add(key)
    try:
        pictures = voc_set.pictures
    except FileNotFoundError as error:
        notes.add("missing_pictures", str(error), len(trees))
        voc_set = replace(voc_set, has_folder=False)
        pictures = voc_set.pictures
    names = sorted({voc.class_name(element) for tree in trees.values() for element in tree.iter("object")})
    splits = []
    reported: set[str] = set()  # a picture may be in train and trainval
    for name in layout.splits:
        listed = layout.splits[name][0]
        split = Split(name, str(listed), pictures, categories=dict(enumerate(filter(None, names), 1)))
        for key in voc_set.keys[name]:
            if key not in trees and key not in broken and key not in reported:
                where = layout.root / "Annotations" / f"{key}.xml"
                notes.add("missing_labels", f"{name}: {where}, listed in {listed}")
        keys = [key for key in voc_set.keys[name] if key in trees]
        written = [(trees[key].findtext("filename") or "").strip() for key in keys]
        placed = place_pictures(voc_set, keys, written, name)
        split.root = placed.folder
        for kind, lines in (("read_otherwise", placed.notes), ("ambiguous_pictures", placed.ambiguous)):
            for line in lines:
                notes.add(kind, line)
        for key, file in zip(keys, placed.files, strict=True):
            _add_voc_picture(split, key, file, trees[key], Notebook() if key in reported else notes)
        reported |= set(voc_set.keys[name])
        splits.append(split)
    return splits


def _add_voc_picture(split: Split, stem: str, file: str, tree: Element, notes: Notebook) -> None:
    owner = len(split.files)
    split.files.append(file)
    try:
        size = voc.annotated_size(tree)
    except ValueError as error:
        notes.add("unreadable_annotations", f"{split.name}: {stem}.xml, size: {error}")
        size = None
    if size is None:
        notes.add("sizes_not_given", f"{split.name}: {stem}.xml")
    split.sizes.append(size)
    for number, element in enumerate(tree.iter("object"), 1):
        try:
            x, y, width, height = voc.object_box_xywh(element, Path(f"{stem}.xml"))
            box = (x, y, x + width, y + height)
        except ValueError as error:
            notes.add("malformed_boxes", f"{split.name}: {error}")
            box = NO_BOX
        is_difficult = (element.findtext("difficult") or "0").strip() == "1"
        name = voc.class_name(element)
        if not name:
            notes.add("unknown_categories", f"{split.name}: {stem}.xml, object {number} has no name")
        split.objects.add(owner, box, name or None, is_difficult, f"object {number}")


def read_yolo_splits(layout: Layout, notes: Notebook) -> list[Split]:
    """All splits of a YOLO folder."""
    root = layout.description or layout.root
    description = yolo_layout.read_description(root)
    try:
        labels = yolo_layout.read_classes(root, description)
        categories = dict(zip(labels.category_ids, labels.names, strict=True))
        for line in yolo_layout.contradicting_count(root, description, labels):
            notes.add("contradicting_counts", line)
    except (ValueError, FileNotFoundError) as error:
        notes.add("bad_categories", str(error))
        categories = {}
    splits = []
    for name, places in layout.splits.items():
        split = Split(name, str(layout.root), layout.root, categories=categories)
        remarks: list[str] = []
        try:
            pictures = yolo_layout.split_pictures(places, layout.root, remarks)
            _read_yolo_split(split, pictures, "kpt_shape" in description, notes)
        except (FileNotFoundError, ValueError) as error:
            notes.add("unreadable_annotations", f"{name}: {error}")
        for remark in remarks:
            notes.add("read_otherwise", f"{name}: {remark}")
        splits.append(split)
    for remark in yolo_layout.find_splits(root).notes:
        notes.add("read_otherwise", remark)
    _find_lone_labels(splits, notes)
    return splits


def _read_yolo_split(split: Split, pictures: list[Path], has_keypoints: bool, notes: Notebook) -> None:
    split.root = Path(os.path.commonpath([picture.parent for picture in pictures]))
    numbers: list[float] = []
    for owner, picture in enumerate(pictures):
        split.files.append(picture.relative_to(split.root).as_posix())
        try:
            size = picture_size(picture)
        except PictureError:
            size = None  # the picture itself is reported when the pictures are opened
        split.sizes.append(size)
        numbers += _add_yolo_objects(
            split, owner, yolo_layout.label_file_of(picture), size, has_keypoints, notes
        )
    whole = [int(value) if value.is_integer() else value for value in numbers]
    rows = range(len(whole))
    split.objects.names = resolve_categories(whole, split, [split.where(row) for row in rows], notes)


def _find_lone_labels(splits: list[Split], notes: Notebook) -> None:
    """Label files of no picture in any split: two splits may share a folder."""
    known = {
        yolo_layout.label_file_of(split.path(index)) for split in splits for index in range(len(split.files))
    }
    for folder in sorted({path.parent for path in known}):
        for path in sorted(set(folder.glob("*.txt")) - known):
            # Lists of pictures and the README of an export lie beside labels that lie beside pictures.
            if path.name != "classes.txt" and folder.name in ("labels", *(split.name for split in splits)):
                notes.add("lone_labels", str(path))


def _add_yolo_objects(
    split: Split, owner: int, path: Path, size: tuple[int, int] | None, has_keypoints: bool, notes: Notebook
) -> list[float]:
    """Add what the lines say, without class names; returns the class numbers."""
    numbers = []
    height, width = size or (UNKNOWN_SIDE, UNKNOWN_SIDE)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            label, *values = (float(word) for word in line.split())
        except ValueError:
            notes.add(
                "unreadable_annotations",
                f"{split.name}: {where}: expected numbers, got '{line.strip()[:80]}'",
            )
            continue
        try:
            x, y, w, h = yolo.parse_box(values, has_keypoints, where)
            box = (x * width, y * height, (x + w) * width, (y + h) * height)
        except ValueError as error:
            notes.add("malformed_boxes", f"{split.name}: {error}")
            box = NO_BOX
        split.objects.add(owner, box, None, False, f"line {number}")
        numbers.append(label)
    return numbers
