"""COCO files: boxes, classes, crowd regions, masks, keypoints. Category ids may be any whole numbers, 0 included."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pagoda.data.annotations import Annotations
from pagoda.data.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.data.coco_shapes import read_keypoints, read_masks, read_skeleton
from pagoda.data.packed_masks import PackedMasks
from pagoda.pictures import picture_size
from pagoda.structures.labels import LabelMap
from pagoda.structures.run_lengths import mask_areas


def read_coco(json_path: str | Path, pictures_root: str | Path, *, boxes_only: bool = False) -> Annotations:
    """The objects in a COCO ground-truth file; labels follow the ascending category ids.

    With `boxes_only` masks and keypoints are neither read nor checked. Raises ValueError naming the file where it
    is not such a file, or where ids contradict each other.
    """
    return from_coco_dict(load_coco(json_path), pictures_root, str(json_path), boxes_only=boxes_only)


def load_coco(json_path: str | Path) -> dict:
    """The document, checked to have the three lists of a COCO ground truth."""
    try:
        document = json.loads(Path(json_path).read_bytes())
    except ValueError as error:  # bad JSON, or bytes that are not text
        raise ValueError(f"{json_path} is not a JSON file: {error}") from error
    found = sorted(document) if isinstance(document, dict) else [f"a {type(document).__name__}"]
    missing = {"images", "annotations", "categories"}.difference(found)
    if missing:
        raise ValueError(
            f"{json_path}: a COCO ground truth has images, annotations and categories;"
            f" {', '.join(sorted(missing))} missing, found {', '.join(found)}"
        )
    return document


def from_coco_dict(
    document: dict, pictures_root: str | Path, source: str, *, boxes_only: bool = False
) -> Annotations:
    """The same for a document in memory; `source` names it in messages."""
    notes: list[str] = []
    pictures_root = Path(pictures_root)
    label_map = _label_map(document["categories"], source)
    images = _read_images(document["images"], pictures_root, source, notes)
    entries, owners = _match_images(document["annotations"], images.ids, source, notes)
    _check_categories(entries, label_map, source)
    _check_boxes(entries, source)
    areas = [np.nan if entry.get("area") is None else entry["area"] for entry in entries]
    objects = ObjectColumns(
        owners=owners,
        boxes_xywh=[entry["bbox"] for entry in entries],
        labels=[label_map.label_of(entry["category_id"]) for entry in entries],
        ignored=[bool(entry.get("iscrowd", 0)) for entry in entries],
        areas=areas,
        ids=_annotation_ids(entries, source, notes),
    )
    if not boxes_only:
        sizes = [images.sizes[owner] for owner in owners]
        objects.masks = read_masks(entries, sizes, source, notes)
        objects.areas = areas if objects.masks is None else _with_mask_areas(areas, objects.masks, sizes)
        skeleton = read_skeleton(document["categories"], entries, source, notes)
        if skeleton is not None:
            label_map = replace(label_map, skeleton=skeleton)
            objects.keypoints = read_keypoints(entries, skeleton, source)
    return assemble(images, objects, label_map=label_map, root=pictures_root, source=source, notes=notes)


def _with_mask_areas(areas: list[float], masks: PackedMasks, sizes: list[tuple[int, int]]) -> list[float]:
    """Where the file gives no area, that of the mask."""
    unknown = np.flatnonzero(np.isnan(areas) & masks.is_known).tolist()
    for row in unknown:
        areas[row] = float(mask_areas([masks.text(row, sizes[row])], sizes[row])[0])
    return areas


def write_coco(annotations: Annotations, json_path: str | Path) -> None:
    """Ground truth that `read_coco` reads back to the last bit; an existing file is replaced."""
    Path(json_path).write_text(json.dumps(annotations.to_coco()), encoding="utf-8")


def _label_map(categories: list[dict], source: str) -> LabelMap:
    wrong = [entry for entry in categories if type(entry.get("id")) is not int or "name" not in entry]
    if wrong or not categories:
        raise ValueError(
            f"{source}: expected categories with a whole number as id and a name, got {_some(wrong)}"
        )
    ordered = sorted(categories, key=lambda entry: entry["id"])
    try:
        return LabelMap(tuple(entry["name"] for entry in ordered), tuple(entry["id"] for entry in ordered))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _read_images(entries: list[dict], pictures_root: Path, source: str, notes: list[str]) -> ImageColumns:
    ids: list = [entry.get("id") for entry in entries]
    kinds = {type(value) for value in ids}
    if kinds - {int} and kinds != {str}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"{source}: image ids must be all whole numbers or all text, got {names}")
    repeated = [value for value, count in Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(f"{source}: image id given to several images: {_some(repeated)}")
    unnamed = [entry["id"] for entry in entries if not entry.get("file_name")]
    if unnamed:
        raise ValueError(f"{source}: images without file_name: ids {_some(unnamed)}")
    columns = ImageColumns(files=[entry["file_name"] for entry in entries], ids=ids)
    for entry in entries:
        if not entry.get("height") or not entry.get("width"):
            columns.sizes.append(picture_size(pictures_root / entry["file_name"]))
            notes.append(f"{source}: {entry['file_name']} has no height and width; taken from the picture")
        else:
            columns.sizes.append((entry["height"], entry["width"]))
    return columns


def _match_images(
    entries: list[dict], image_ids: Sequence[int | str], source: str, notes: list[str]
) -> tuple[list[dict], list[int]]:
    """The annotations whose image is known, and the positions of their images."""
    position = {image_id: index for index, image_id in enumerate(image_ids)}
    orphans = Counter(entry.get("image_id") for entry in entries if entry.get("image_id") not in position)
    if orphans and orphans.total() == len(entries):
        raise ValueError(
            f"{source}: no annotation belongs to an image: image_id {_some(list(orphans))} in annotations,"
            f" id {_some(list(image_ids))} in images"
        )
    for image_id, count in orphans.items():
        notes.append(f"{source}: no image has the id {image_id!r}; its {count} annotations are left out")
    kept = [entry for entry in entries if entry.get("image_id") in position]
    return kept, [position[entry["image_id"]] for entry in kept]


def _check_categories(entries: list[dict], label_map: LabelMap, source: str) -> None:
    used = Counter(entry.get("category_id") for entry in entries)
    wrong = [value for value in used if type(value) is not int or value not in label_map.category_ids]
    if wrong:
        raise ValueError(
            f"{source}: {sum(used[value] for value in wrong)} annotations have a category_id that meets no"
            f" category: {_some(wrong)}; the categories are {_some(list(label_map.category_ids))}"
        )


def _check_boxes(entries: list[dict], source: str) -> None:
    for entry in entries:
        box = entry.get("bbox")
        if not isinstance(box, list | tuple) or len(box) != 4:
            raise ValueError(
                f"{source}: annotation {entry.get('id')} of image {entry['image_id']!r} must have"
                f" bbox = [x, y, width, height], got {box!r}"
            )


def _annotation_ids(entries: list[dict], source: str, notes: list[str]) -> list[int]:
    """The ids of the file, unless they cannot tell the objects apart."""
    ids: list = [entry.get("id") for entry in entries]
    if any(type(value) is not int for value in ids) or len(set(ids)) < len(ids):
        notes.append(f"{source}: annotation ids are missing, repeated or not whole; numbered 1 … {len(ids)}")
        return list(range(1, len(ids) + 1))
    if 0 in ids:
        # COCO's scoring keeps the id of the matched object and reads 0 as "no match": a miss that is none.
        unused = max(ids) + 1
        notes.append(f"{source}: annotation id 0 becomes {unused}; COCO scoring reads 0 as no match")
        ids[ids.index(0)] = unused
    return ids


def _some(values: list, limit: int = 10) -> str:
    text = ", ".join(repr(value) for value in values[:limit]) or "none"
    return text if len(values) <= limit else f"{text}, … ({len(values)} in all)"
