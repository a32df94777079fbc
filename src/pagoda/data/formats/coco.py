"""COCO files: boxes, classes, crowd regions, masks, keypoints. Category ids may be any whole numbers, 0 included.

Read leniently where the meaning is certain: whole numbers may be written as 1.0 or "1", coordinates as text, flags
as 0, "0", false …; image ids are whole numbers of any length or text.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pagoda.data.formats.coco_masks_keypoints import (
    box_of_mask,
    read_keypoints,
    read_masks,
    read_skeleton,
)
from pagoda.data.reading.box_habits import complain_of_habits
from pagoda.data.reading.category_ids import find_labels, read_categories
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.found import Reading, size_of_file, usable_size
from pagoda.data.reading.other_programs import describe_unread
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import NO_BOX, NO_SIZE, ImageColumns, ObjectColumns
from pagoda.data.table.masks import PackedMasks
from pagoda.files.atomic import write_atomically
from pagoda.files.text import as_number, as_whole, json_text, read_json, truth_value
from pagoda.messages import counted, short_list
from pagoda.ops.rle import mask_areas


def read_coco(json_path: str | Path, pictures_root: str | Path, *, boxes_only: bool = False) -> Annotations:
    """The objects in a COCO ground-truth file; labels follow the ascending category ids.

    With `boxes_only` masks and keypoints are neither read nor checked. Raises ValueError naming the file where it
    is not such a file, or with everything in it that cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> with TemporaryDirectory() as folder:
    ...     write_coco(DrawnShapes(2, (32, 48)).annotations, f"{folder}/truth.json")
    ...     table = read_coco(f"{folder}/truth.json", folder)
    >>> len(table), table.label_map.names
    (2, ('circle', 'square', 'triangle'))
    """
    return from_coco_dict(load_coco(json_path), pictures_root, str(json_path), boxes_only=boxes_only)


def load_coco(json_path: str | Path) -> dict:
    """A COCO ground-truth file as its document, with the lists images, annotations and categories.

    Raises ValueError naming the file where it has none of that kind.
    """
    document = read_json(json_path)
    found = sorted(document) if isinstance(document, dict) else [f"a {type(document).__name__}"]
    missing = {"images", "annotations", "categories"}.difference(found)
    if missing:
        if len(missing) > 1 and (other := describe_unread(Path(json_path))):
            raise ValueError(other)
        raise ValueError(
            f"{json_path}: a COCO ground truth has images, annotations and categories;"
            f" {', '.join(sorted(missing))} missing, found {', '.join(found)}"
        )
    wrong = [key for key in ("images", "annotations", "categories") if not isinstance(document[key], list)]
    if wrong:
        raise ValueError(f"{json_path}: {', '.join(wrong)} must be lists in a COCO ground truth")
    return document


def from_coco_dict(
    document: dict, pictures_root: str | Path, source: str, *, boxes_only: bool = False
) -> Annotations:
    """The objects of a COCO ground-truth document in memory; `source` names it in messages.

    Raises as `read_coco`.

    >>> categories = [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}]
    >>> images = [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}]
    >>> annotations = [{"id": 5, "image_id": 1, "category_id": 18, "bbox": [0, 0, 2, 3]}]
    >>> document = {"images": images, "annotations": annotations, "categories": categories}
    >>> table = from_coco_dict(document, "pictures", "memory")
    >>> table.label_map.names, table.labels.tolist(), table.boxes.tolist()
    (('cat', 'dog'), [1], [[0.0, 0.0, 2.0, 3.0]])
    """
    return read_document(document, pictures_root, source, boxes_only=boxes_only).annotations()


def read_document(
    document: dict, pictures_root: str | Path, source: str, *, boxes_only: bool = False
) -> Reading:
    """A COCO ground-truth document as a `Reading`: all that it gives, with everything that is wrong in it."""
    complaints = Complaints(source)
    root = Path(pictures_root)
    label_map = read_categories(document["categories"], source, complaints)
    images, positions = _read_images(document["images"], root, source, complaints)
    entries, owners = _match_images(document["annotations"], positions, images.files, source, complaints)

    def place(row: int) -> str:
        return f"annotation {entries[row].get('id')} of {images.files[owners[row]]}"

    sizes = [images.sizes[owner] for owner in owners]
    columns = _read_objects(entries, sizes, f"{source}: ", place, complaints)
    used = [entry.get("category_id") for entry in entries]
    boxes = _packed_boxes(columns.boxes)
    sides = np.array(images.sizes, np.float64).reshape(-1, 2)
    complain_of_habits(boxes, sides[np.array(owners, np.int64)], source, place, complaints)
    objects = ObjectColumns(
        owners=np.array(owners, np.int64),
        boxes_xywh=boxes,
        labels=np.array(find_labels(used, label_map, source, complaints, place), np.int32),
        ignored=np.array(columns.ignored, bool),
        areas=columns.areas,
        ids=_annotation_ids(entries, source, complaints),
        numbers=[entry.get("id") for entry in entries],
    )
    if not boxes_only:
        objects.masks = read_masks(entries, sizes, source, complaints)
        if objects.masks is not None:
            objects.areas = _with_mask_areas(columns.areas, objects.masks, sizes)
        skeleton = read_skeleton(document["categories"], entries, source, complaints)
        if skeleton is not None:
            label_map = replace(label_map, skeleton=skeleton)
            objects.keypoints = read_keypoints(entries, skeleton, source, complaints)
    return Reading(source, root, complaints, label_map, images, objects)


def _with_mask_areas(areas: list[float], masks: PackedMasks, sizes: list[tuple[int, int]]) -> list[float]:
    """Where the file gives no area, that of the mask."""
    unknown = np.flatnonzero(np.isnan(areas) & masks.is_known).tolist()
    for row in unknown:
        if sizes[row] != NO_SIZE:
            areas[row] = float(mask_areas([masks.text(row, sizes[row])], sizes[row])[0])
    return areas


def write_coco(annotations: Annotations, json_path: str | Path) -> None:
    """Ground truth that `read_coco` reads back to the last bit; an existing file is replaced."""
    text = json_text(annotations.to_coco())
    write_atomically(json_path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _read_images(
    entries: list, root: Path, source: str, complaints: Complaints
) -> tuple[ImageColumns, dict[int | str, int]]:
    """The pictures with id and name, and the position of the first with each id."""
    images = ImageColumns()
    known: list[tuple[dict, int | str]] = []
    for entry in entries:
        number = _as_id(entry.get("id")) if isinstance(entry, dict) else None
        if number is None or not _is_file_name(entry.get("file_name")):
            complaints.add(
                "unreadable_annotations", f"{source}: an image needs id and file_name, got {str(entry)[:100]}"
            )
        else:
            known.append((entry, number))
    ids = [number for _, number in known]
    if len({type(number) for number in ids}) > 1:
        complaints.add("ids_of_two_kinds", f"{source}: image ids are numbers and text; all are read as text")
        ids = [str(number) for number in ids]
    images.ids = ids
    positions: dict[int | str, int] = {}
    seen: set[str] = set()
    for index, ((entry, _), number) in enumerate(zip(known, ids, strict=True)):
        file = entry["file_name"]
        if positions.setdefault(number, index) != index:
            other = images.files[positions[number]]
            complaints.add("repeated_image_ids", f"{source}: id {number!r} of {other} and {file}")
        if file in seen:
            complaints.add("repeated_files", f"{source}: {file}, again with id {number!r}")
        seen.add(file)
        images.files.append(file)
        height, width = entry.get("height"), entry.get("width")
        written = f"height {height!r}, width {width!r}"
        images.sizes.append(
            usable_size(height, width) or size_of_file(root, file, written, source, complaints)
        )
    return images, positions


def _is_file_name(value: object) -> bool:
    """A text that can be the name of a file."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return value.isascii() or value.encode(errors="replace").decode() == value


def _as_id(value: object) -> int | str | None:
    """A whole number or text; None where it is neither."""
    return value if type(value) is int or type(value) is str else as_whole(value)


def _match_images(
    entries: list, positions: dict[int | str, int], files: list[str], source: str, complaints: Complaints
) -> tuple[list[dict], list[int]]:
    """The annotations whose image is known, and the positions of their images."""
    kept, owners, num_other_kind, num_by_name = [], [], 0, 0
    by_name = {file: index for index, file in enumerate(files)}
    orphans: Counter[str] = Counter()
    for entry in entries:
        if not isinstance(entry, dict):
            place = f"{source}: an annotation must be an object, got {str(entry)[:100]}"
            complaints.add("unreadable_annotations", place)
            continue
        number = _as_id(entry.get("image_id"))
        owner = None if number is None else positions.get(number)
        if owner is None and number is not None:  # 7 for "7", or the other way round
            other = as_whole(number) if isinstance(number, str) else str(number)
            owner = None if other is None else positions.get(other)
            num_other_kind += owner is not None
        if owner is None and isinstance(number, str):
            owner = by_name.get(number)
            num_by_name += owner is not None
        if owner is None:
            orphans[repr(entry.get("image_id"))[:60]] += 1
        else:
            kept.append(entry)
            owners.append(owner)
    if num_other_kind:
        other = counted(num_other_kind, "annotation writes its", "annotations write their")
        place = f"{source}: {other} image_id in another way than the images do"
        complaints.add("ids_of_two_kinds", place, num_other_kind)
    if num_by_name:
        named = counted(num_by_name, "annotation names its", "annotations name their")
        place = f"{source}: {named} image by its file_name instead of its id"
        complaints.add("read_otherwise", place, num_by_name)
    if orphans and not kept:
        listed = short_list(orphans)
        known = short_list([repr(each) for each in positions])
        place = f"{source}: image_id {listed} in annotations, id {known} in images"
        complaints.add("foreign_annotations", place, orphans.total())
        return kept, owners
    for image_id, count in orphans.items():
        its = counted(count, "annotation is", "annotations are")
        place = f"{source}: no image has the id {image_id}; its {its} left out"
        complaints.add("orphan_annotations", place, count)
    return kept, owners


@dataclass
class _Columns:
    """Boxes, flags and areas as the file has them, one entry per annotation."""

    boxes: list[Sequence[float]] = field(default_factory=list)
    """x, y, width, height; `NO_BOX` where the file has no four numbers"""
    ignored: list[bool] = field(default_factory=list)
    """crowd regions"""
    areas: list[float] = field(default_factory=list)
    """NaN where the file has none"""


def _read_objects(
    entries: list[dict],
    sizes: list[tuple[int, int]],
    source: str,
    place: Callable[[int], str],
    complaints: Complaints,
) -> _Columns:
    columns = _Columns()
    for row, entry in enumerate(entries):
        box = _read_box(entry.get("bbox"))
        if box is NO_BOX:
            box = _box_without_bbox(entry, sizes[row], f"{source}{place(row)}", complaints)
        columns.boxes.append(box)
        flag = entry.get("iscrowd")
        is_crowd = (
            flag == 1 if type(flag) is int and flag in (0, 1) else _flag(flag, source, place, row, complaints)
        )
        columns.ignored.append(is_crowd)
        if entry.get("ignore") and not is_crowd and _is_set(entry["ignore"]):
            complaints.add("ignore_keys", f"{source}{place(row)}: ignore {entry['ignore']!r}, iscrowd 0")
        written = entry.get("area")
        area = written if type(written) is float else as_number(written)
        if area is None and written is not None:
            complaints.add("bad_areas", f"{source}{place(row)}: area {str(written)[:60]}")
        columns.areas.append(float("nan") if area is None else area)
    return columns


def _box_without_bbox(
    entry: dict, size: tuple[int, int], where: str, complaints: Complaints
) -> Sequence[float]:
    """The box around the mask where there is no bbox; `NO_BOX` where there is neither, or no box of four numbers."""
    written = entry.get("bbox")
    if written is not None and written != []:
        words = f"bbox must be [x, y, width, height], got {str(written)[:60]}"
        complaints.add("malformed_boxes", f"{where}: {words}")
        return NO_BOX
    box = box_of_mask(entry.get("segmentation"), size)
    if box is None:
        words = "no bbox [x, y, width, height], and no segmentation to take it from"
        complaints.add("malformed_boxes", f"{where}: {words}")
        return NO_BOX
    complaints.add("read_otherwise", f"{where}: no bbox; it is taken around the segmentation")
    return box


def _flag(value: object, source: str, place: Callable[[int], str], row: int, complaints: Complaints) -> bool:
    try:
        return truth_value(value, "iscrowd")
    except ValueError as error:
        complaints.add("bad_flags", f"{source}{place(row)}: {error}")
        return False


def _is_set(value: object) -> bool:
    try:
        return truth_value(value, "ignore")
    except ValueError:
        return True


def _read_box(box: object) -> Sequence[float]:
    if not isinstance(box, list | tuple) or len(box) != 4:
        return NO_BOX
    if {type(value) for value in box} <= {int, float}:
        return box
    numbers = [as_number(value) for value in box]
    return NO_BOX if None in numbers else numbers  # type: ignore[return-value]


def _packed_boxes(boxes: list[Sequence[float]]) -> np.ndarray:
    """(M, 4) float64; whole numbers too long for it become infinite, which is left out as such."""
    try:
        return np.array(boxes, np.float64).reshape(-1, 4)
    except OverflowError:
        rows = [[np.inf if as_number(value) is None else value for value in box] for box in boxes]
        return np.array(rows, np.float64).reshape(-1, 4)


def _annotation_ids(entries: list[dict], source: str, complaints: Complaints) -> Sequence[int]:
    """The ids of the file, unless they cannot tell the objects apart."""
    ids = [value if type(value := entry.get("id")) is int else as_whole(value) for entry in entries]
    usable = [number for number in ids if number is not None and -(2**63) <= number < 2**63 - 1]
    if len(usable) < len(ids):
        without = counted(len(ids) - len(usable), "annotation has", "annotations have")
        place = f"{source}: {without} no whole number as annotation id"
        complaints.add("missing_annotation_ids", f"{place}; numbered 1 … {len(ids)}", len(ids) - len(usable))
    repeated = {number: count for number, count in Counter(usable).items() if count > 1}
    for number, count in repeated.items():
        place = f"{source}: annotation id {number} stands {count} times; numbered 1 … {len(ids)}"
        complaints.add("repeated_annotation_ids", place, count - 1)
    if len(usable) < len(ids) or repeated:
        return range(1, len(ids) + 1)
    if 0 in usable:
        # COCO's scoring keeps the id of the matched object and reads 0 as "no match": a miss that is none.
        unused = max(usable) + 1
        place = f"{source}: annotation id 0 becomes {unused}; COCO scoring reads 0 as no match"
        complaints.add("annotation_id_0", place)
        usable[usable.index(0)] = unused
    return usable
