"""A data set as its files have it, read leniently: what is wrong goes into a `Notebook`, and reading goes on.

The readers in `pagoda.data` stop at the first contradiction; here the same files give as much as they can.
M objects over all pictures of a split.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pagoda.data.layouts import Layout, picture_folders
from pagoda.explain.doctor.findings import Notebook

NO_BOX = (float("nan"),) * 4


@dataclass
class Objects:
    """Columns, one entry per object."""

    owners: list[int] = field(default_factory=list)
    """position of the picture in `Split.files`"""
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    """xyxy pixels as annotated; `NO_BOX` where the file has no four numbers"""
    names: list[str | None] = field(default_factory=list)
    """class; None where the category is unknown"""
    ignored: list[bool] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    """where in its file: "annotation 17", "line 3" """

    def add(self, owner: int, box: tuple[float, ...], name: str | None, ignored: bool, place: str) -> None:
        self.owners.append(owner)
        self.boxes.append(box)
        self.names.append(name)
        self.ignored.append(ignored)
        self.places.append(place)


@dataclass
class Split:
    """Pictures and objects of one split."""

    name: str
    source: str
    """the file or folder the annotations came from, for messages"""
    root: Path = Path()
    """the folder of the pictures"""
    files: list[str] = field(default_factory=list)
    """relative to `root`"""
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    """(height, width) as annotated, None where not given or not whole numbers above 0"""
    categories: dict[int, str] = field(default_factory=dict)
    objects: Objects = field(default_factory=Objects)
    document: dict[str, Any] | None = None
    """the COCO document it was read from, if it was one"""
    shapes: list[tuple[dict[str, Any], int]] = field(default_factory=list)
    """in a COCO document, the annotation and picture of each object"""

    def path(self, index: int) -> Path:
        return self.root / self.files[index]

    def where(self, row: int) -> str:
        """Split, picture and place of object `row`, for messages."""
        objects = self.objects
        name = objects.names[row]
        return f"{self.name}: {self.files[objects.owners[row]]}, {objects.places[row]}" + (
            f" ({name})" if name else ""
        )

    def boxes(self) -> np.ndarray:
        """(M, 4) float64 xyxy."""
        return np.array(self.objects.boxes, np.float64).reshape(-1, 4)


def read_document_split(layout: Layout, name: str, notes: Notebook) -> Split:
    """One split that is, or amounts to, a COCO document; an unreadable one gives an empty split and a finding."""
    what = layout.splits[name]
    split = Split(name, str(what[0] if len(what) == 1 else layout.root), layout.root)
    try:
        placed = layout.document(name)
    except (ValueError, OSError) as error:
        notes.add("unreadable_annotations", f"{name}: {error}")
        return split
    for kind, lines in (
        ("read_otherwise", placed.notes),
        ("shapes_left_out", placed.left_out),
        ("ambiguous_pictures", placed.finder.ambiguous),
    ):
        for line in lines:
            notes.add(kind, f"{name}: {line}")
    split.document = placed.document
    split.categories = _read_categories(placed.document["categories"], split, notes)
    positions = _read_images(placed.document["images"], split, notes)
    split.root = (
        placed.folder if placed.num_found else _picture_folder(layout.root, what[0], name, split.files)
    )
    _read_annotations(placed.document["annotations"], positions, split, notes)
    return split


def find_category_shift(used: set[int], known: set[int]) -> int:
    """What to add to the used ids so that all are known: 1, -1, or 0 where no such shift explains them."""
    # A single strange id is a slip, not a habit, unless there is only one category to name.
    if used <= known or (len(used) == 1 and len(known) > 1):
        return 0
    return next((shift for shift in (1, -1) if {value + shift for value in used} <= known), 0)


def resolve_categories(used: list[Any], split: Split, places: list[str], notes: Notebook) -> list[str | None]:
    """The class name of each category id; unknown and shifted ids become findings."""
    known = split.categories
    whole = {value for value in used if type(value) is int}
    shift = find_category_shift(whole, set(known))
    if shift:
        notes.add(
            "shifted_categories",
            f"{split.name}: {split.source} uses category ids {min(whole)} … {max(whole)} where {min(known)} …"
            f" {max(known)} are listed: shifted by one, {'too low' if shift > 0 else 'too high'}",
            len(used),
        )
        return [known.get(value + shift) if type(value) is int else None for value in used]
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    names = [known.get(value) if type(value) is int else None for value in used]
    for value, name, place in zip(used, names, places, strict=True):
        if name is None:
            counts[repr(value)] += 1
            first.setdefault(repr(value), place)
    for value, count in counts.items():
        listed = ", ".join(map(str, list(known)[:10])) or "none"
        notes.add(
            "unknown_categories",
            f"{split.name}: category {value} of {count} annotations, first {first[value]}; listed: {listed}",
            count,
        )
    return names


def _read_categories(entries: list, split: Split, notes: Notebook) -> dict[int, str]:
    categories: dict[int, str] = {}
    for entry in entries:
        number, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if type(number) is not int or not isinstance(name, str):
            notes.add("bad_categories", f"{split.name}: category {entry!r} in {split.source}")
        elif number in categories or name in categories.values():
            notes.add(
                "bad_categories",
                f"{split.name}: id {number} or name '{name}' is given twice in {split.source}",
            )
        else:
            categories[number] = name
    return categories


def _read_images(entries: list, split: Split, notes: Notebook) -> dict[Any, int]:
    """Fill files and sizes; image id → position of its first entry."""
    positions: dict[Any, int] = {}
    seen: set[str] = set()
    for entry in entries:
        number, file = (entry.get("id"), entry.get("file_name")) if isinstance(entry, dict) else (None, None)
        if not isinstance(file, str) or not file or not isinstance(number, int | str):
            notes.add(
                "unreadable_annotations",
                f"{split.name}: an image needs id and file_name, got {str(entry)[:100]}",
            )
            continue
        if number in positions:
            other = split.files[positions[number]]
            notes.add("repeated_image_ids", f"{split.name}: id {number!r} of {other} and {file}")
        if file in seen:
            notes.add("repeated_files", f"{split.name}: {file}, again with id {number!r}")
        size = entry.get("height"), entry.get("width")
        is_given = all(isinstance(side, int | float) and side >= 1 for side in size)
        if not is_given:
            notes.add("sizes_not_given", f"{split.name}: {file}: height {size[0]!r}, width {size[1]!r}")
        seen.add(file)
        positions.setdefault(number, len(split.files))
        split.files.append(file)
        split.sizes.append((int(size[0]), int(size[1])) if is_given else None)
    return positions


def _read_annotations(entries: list, positions: dict[Any, int], split: Split, notes: Notebook) -> None:
    kept = []
    for entry in entries:
        if not isinstance(entry, dict):
            notes.add(
                "unreadable_annotations",
                f"{split.name}: an annotation must be an object, got {str(entry)[:100]}",
            )
        elif not isinstance(entry.get("image_id"), int | str) or entry["image_id"] not in positions:
            place = f"annotation {entry.get('id')} of image {entry.get('image_id')!r}"
            notes.add("orphan_annotations", f"{split.name}: {place}")
        else:
            kept.append(entry)
    places = [f"annotation {entry.get('id')}" for entry in kept]
    for place, count in Counter(places).items():
        if count > 1:
            notes.add("repeated_annotation_ids", f"{split.name}: {place} stands {count} times", count - 1)
    owners = [positions[entry["image_id"]] for entry in kept]
    owned = [f"{place} of {split.files[owner]}" for place, owner in zip(places, owners, strict=True)]
    names = resolve_categories([entry.get("category_id") for entry in kept], split, owned, notes)
    for entry, owner, name, place, where in zip(kept, owners, names, places, owned, strict=True):
        box = _xywh_to_xyxy(entry.get("bbox"))
        if box is NO_BOX:
            notes.add("malformed_boxes", f"{split.name}: {where}: bbox {entry.get('bbox')!r}")
        split.objects.add(owner, box, name, bool(entry.get("iscrowd", 0)), place)
    split.shapes = list(zip(kept, owners, strict=True))


def _xywh_to_xyxy(box: Any) -> tuple[float, ...]:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
        return NO_BOX
    x, y, width, height = box
    return x, y, x + width, y + height


def _picture_folder(root: Path, json_path: Path, name: str, files: list[str]) -> Path:
    """The usual folder that holds most of the pictures, whichever are missing."""
    folders = list(dict.fromkeys(picture_folders(root, json_path, name)))
    # Spread over the list: the missing ones may stand together.
    sample = files[:: max(1, len(files) // 100)]
    return max(folders, key=lambda folder: sum((folder / file).is_file() for file in sample))
