"""The lenient reading of `records` for formats with one annotation file per picture: VOC and YOLO."""

import os
from pathlib import Path
from xml.etree.ElementTree import Element

from pagoda.data import voc, yolo
from pagoda.data.layouts import Layout
from pagoda.explain.doctor.findings import Notebook
from pagoda.explain.doctor.records import NO_BOX, Split, resolve_categories
from pagoda.pictures import PictureError, picture_size

UNKNOWN_SIDE = 640
"""Pixels a side is taken to have where the picture of a YOLO label file cannot be read."""


def read_voc_splits(layout: Layout, notes: Notebook) -> list[Split]:
    """All splits of a VOC folder; each XML file is read once."""
    folder = layout.root / "Annotations"
    trees: dict[str, Element] = {}
    broken: set[str] = set()
    for path in sorted(folder.glob("*.xml")):
        try:
            trees[path.stem] = voc.parse_xml(path)
        except ValueError as error:
            notes.add("unreadable_annotations", str(error))
            broken.add(path.stem)
    try:
        pictures = voc.pictures_folder(layout.root)
    except FileNotFoundError as error:
        notes.add("missing_pictures", str(error), len(trees))
        pictures = layout.root
    stored = {path.name for path in pictures.iterdir()}
    names = sorted({voc.class_name(element) for tree in trees.values() for element in tree.iter("object")})
    splits = []
    reported: set[str] = set()  # a picture may be in train and trainval
    for name, (listed,) in layout.splits.items():
        split = Split(name, str(listed), pictures, categories=dict(enumerate(filter(None, names), 1)))
        lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else list(trees)
        for stem in (line.split()[0] for line in lines if line.strip()):
            if stem in trees:
                quiet = Notebook() if stem in reported else notes
                _add_voc_picture(split, stem, trees[stem], stored, quiet)
            elif stem not in broken and stem not in reported:
                notes.add("missing_labels", f"{name}: {folder / stem}.xml, listed in {listed}")
            reported.add(stem)
        splits.append(split)
    return splits


def _add_voc_picture(split: Split, stem: str, tree: Element, stored: set[str], notes: Notebook) -> None:
    owner = len(split.files)
    split.files.append(voc.picture_name(stem, tree, stored))
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
    description = yolo.read_description(layout.root)
    try:
        labels = yolo.read_classes(layout.root, description)
        categories = dict(zip(labels.category_ids, labels.names, strict=True))
    except (ValueError, FileNotFoundError) as error:
        notes.add("bad_categories", str(error))
        categories = {}
    splits = []
    for name, places in layout.splits.items():
        split = Split(name, str(layout.root), layout.root, categories=categories)
        try:
            _read_yolo_split(split, yolo.split_pictures(places), "kpt_shape" in description, notes)
        except (FileNotFoundError, UnicodeDecodeError) as error:
            notes.add("unreadable_annotations", f"{name}: {error}")
        splits.append(split)
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
        numbers += _add_yolo_objects(split, owner, yolo.label_file_of(picture), size, has_keypoints, notes)
    whole = [int(value) if value.is_integer() else value for value in numbers]
    rows = range(len(whole))
    split.objects.names = resolve_categories(whole, split, [split.where(row) for row in rows], notes)


def _find_lone_labels(splits: list[Split], notes: Notebook) -> None:
    """Label files of no picture in any split: two splits may share a folder."""
    known = {yolo.label_file_of(split.path(index)) for split in splits for index in range(len(split.files))}
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
