"""LabelMe folders: one JSON file per picture with polygons, boxes, circles, masks and points.

Shapes of one label that share a `group_id` are one object; points that share it are its keypoints. The picture is
where `imagePath` says, seen from the JSON file, or beside that file, or inside it (`imageData`).
"""

import base64
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pagoda.data.coco_places import Placed
from pagoda.data.json_kinds import json_kind
from pagoda.data.picture_paths import PictureFinder, files_below
from pagoda.data.splits import choose_split, files_by_split
from pagoda.pictures import picture_size
from pagoda.structures.run_lengths import as_rle, decode_masks, draw_polygons, encode_masks, mask_boxes
from pagoda.text_files import read_json

CIRCLE_CORNERS = 64
AREAS = ("polygon", "rectangle", "circle", "mask")
TURNED = ("rotation", "quadrilateral")
"""X-AnyLabeling's shapes of four corners: the polygon they enclose"""


def labelme_splits(root: Path) -> tuple[dict[str, tuple[Path, ...]], list[Path]]:
    """(split name → the folders its files lie in, files of no split), at any depth; none where there is no file."""
    splits, alone = files_by_split(_files(root), root)
    return {
        name: tuple(dict.fromkeys(path.parent for path in files)) for name, files in splits.items()
    }, alone


def labelme_document(root: Path, split: str) -> Placed:
    """The files of one split as a COCO document; classes and keypoints are those of all splits, sorted.

    What is neither an area nor the keypoint of one (lines, lone points) is noted and left out.
    """
    splits, _ = files_by_split(_files(root), root)
    notes: list[str] = []
    loaded = {path: file for files in splits.values() for path in files if (file := _load(path)) is not None}
    others = [path for files in splits.values() for path in files if path not in loaded]
    notes += [f"{path} has no shapes and is no LabelMe file; it is not read" for path in others]
    names = sorted(
        {shape["label"] for file in loaded.values() for shape in file["shapes"] if _is_area(shape)}
    )
    keypoints = sorted(
        {shape["label"] for file in loaded.values() for shape in file["shapes"] if _is_keypoint(shape)}
    )
    if not names:
        raise ValueError(f"{root}: no LabelMe file has a {', '.join(AREAS)}; there is nothing to detect")
    skeleton = {"keypoints": keypoints} if keypoints else {}
    document: dict[str, Any] = {
        "categories": [{"id": number, "name": name, **skeleton} for number, name in enumerate(names, 1)],
        "images": [],
        "annotations": [],
    }
    paths = [path for path in choose_split(splits, split, str(root)) if path in loaded]
    placed = _place_pictures(document, paths, loaded, root, split)
    for number, path in enumerate(paths, 1):
        file, picture = loaded[path], placed.document["images"][number - 1]["file_name"]
        height, width = file.get("imageHeight"), file.get("imageWidth")
        if not height or not width:
            height, width = picture_size(placed.folder / picture)
        placed.document["images"][number - 1] |= {"height": height, "width": width}
        for entry in _objects(path, file, (height, width), keypoints, notes):
            entry |= {"id": len(document["annotations"]) + 1, "image_id": number, "iscrowd": 0}
            document["annotations"].append({**entry, "category_id": names.index(entry.pop("name")) + 1})
    notes += _difficult_note([loaded[path] for path in paths], f"{root} ({split})")
    return placed._replace(left_out=tuple(notes))


def _difficult_note(files: Sequence[dict[str, Any]], source: str) -> list[str]:
    count = sum(bool(shape.get("difficult")) for file in files for shape in file["shapes"])
    return (
        [f"{source}: {count} shapes are marked difficult; they are objects like any other"] if count else []
    )


def _place_pictures(
    document: dict[str, Any],
    paths: Sequence[Path],
    loaded: dict[Path, dict[str, Any]],
    root: Path,
    split: str,
) -> Placed:
    """`document` with an image entry for each file: its picture, or the file itself where the picture is inside."""
    finder = PictureFinder(root, split)
    names = [str(loaded[path].get("imagePath") or "") or f"{path.stem}.jpg" for path in paths]
    has_data = [bool(loaded[path]["imageData"]) for path in paths]
    parents = [path.parent for path in paths]
    places = finder.locate(names, [[folder] for folder in parents], parents, replaceable=has_data)
    inside = [place is None and data for place, data in zip(places, has_data, strict=True)]
    places = [path if own else place for path, place, own in zip(paths, places, inside, strict=True)]
    lost = [folder / name.replace("\\", "/") for folder, name in zip(parents, names, strict=True)]
    folder = parents[0] if len(set(parents)) == 1 else root
    base, files = files_below(list(map(str, lost)), places, folder, root)
    document["images"] = [{"id": number, "file_name": file} for number, file in enumerate(files, 1)]
    notes = finder.notes(f"{root} ({split})")
    if any(inside):
        notes.append(
            f"{root} ({split}): {sum(inside)} pictures are read from imageData inside their JSON files"
        )
    return Placed(document, base, sum(place is not None for place in places), finder, tuple(notes))


def _files(root: Path) -> list[Path]:
    """The JSON files at any depth, in folders that have a LabelMe file; those of other programs are none."""
    kinds = {path: json_kind(path) for path in sorted(root.rglob("*.json"))}
    folders = {path.parent for path, kind in kinds.items() if kind == "labelme"}
    return [path for path, kind in kinds.items() if path.parent in folders and kind in ("labelme", None)]


def _load(path: Path) -> dict[str, Any] | None:
    """The file's content, of imageData only whether there is any; None where it has no shapes and is another thing."""
    content = read_json(path)
    if not isinstance(content, dict) or "shapes" not in content:
        return None
    shapes = content["shapes"]
    if not isinstance(shapes, list) or not all(_is_shape(shape) for shape in shapes):
        raise ValueError(f"{path}: a LabelMe file has shapes, each with label and points [[x, y], …]")
    shapes = [{**shape, "label": str(shape["label"]), "shape_type": _shape_type(shape)} for shape in shapes]
    return {**content, "shapes": shapes, "imageData": bool(content.get("imageData"))}


def _shape_type(shape: dict[str, Any]) -> str:
    """As LabelMe means it: none, or null, is a polygon."""
    kind = shape.get("shape_type") or "polygon"
    return "polygon" if kind in TURNED else kind


def _is_shape(shape: Any) -> bool:
    points = shape.get("points") if isinstance(shape, dict) else None
    has_label = isinstance(shape, dict) and isinstance(shape.get("label"), str | int | float)
    return has_label and isinstance(points, list) and all(len(point) == 2 for point in points)


def _is_area(shape: dict[str, Any]) -> bool:
    return shape["shape_type"] in AREAS and not _is_short(shape)


def _is_short(shape: dict[str, Any]) -> bool:
    """A polygon that encloses nothing, as an interrupted click leaves."""
    return shape["shape_type"] == "polygon" and len(shape["points"]) < 3


def _is_keypoint(shape: dict[str, Any]) -> bool:
    return shape.get("shape_type") == "point" and shape.get("group_id") is not None


def _objects(
    path: Path, file: dict[str, Any], size: tuple[int, int], keypoints: list[str], notes: list[str]
) -> Iterator[dict[str, Any]]:
    groups: dict[Any, list[dict[str, Any]]] = {}
    points: dict[Any, list[dict[str, Any]]] = {}
    for number, shape in enumerate(file["shapes"], 1):
        group = shape.get("group_id")
        if _is_area(shape):
            alone = ("alone", number)
            groups.setdefault(alone if group is None else (group, shape["label"]), []).append(shape)
        elif _is_keypoint(shape):
            points.setdefault(group, []).append(shape)
        else:
            is_short = _is_short(shape)
            why = f"of {len(shape['points'])} points, which encloses nothing" if is_short else "of no group"
            kind = f"shape {number} ('{shape['label']}') is a {shape['shape_type']} {why}"
            notes.append(f"{path}: {kind}; it is left out")
    for key, shapes in groups.items():
        own = points.pop(key[0], []) if key[0] != "alone" else []
        yield _entry(path, shapes, own, size, keypoints)
    for group, lost in points.items():
        notes.append(f"{path}: {len(lost)} points of group {group} belong to no object; they are left out")


def _entry(
    path: Path,
    shapes: list[dict[str, Any]],
    points: list[dict[str, Any]],
    size: tuple[int, int],
    keypoints: list[str],
) -> dict[str, Any]:
    """One object: its box, its mask where it has more than rectangles, its keypoints."""
    corners = np.concatenate([_outline(path, shape) for shape in shapes])
    low, high = corners.min(0), corners.max(0)
    entry: dict[str, Any] = {"name": shapes[0]["label"], "bbox": [*low.tolist(), *(high - low).tolist()]}
    if any(shape.get("shape_type") == "mask" for shape in shapes):
        text = _painted(path, shapes, size)
        entry |= {"bbox": mask_boxes([text], size)[0].tolist(), "segmentation": as_rle(text, size)}
    elif any(shape.get("shape_type") != "rectangle" for shape in shapes):
        entry["segmentation"] = [_outline(path, shape).flatten().tolist() for shape in shapes]
    if points:
        triples = np.zeros((len(keypoints), 3))
        for point in points:
            triples[keypoints.index(point["label"])] = (*point["points"][0], 2)
        entry["keypoints"] = triples.flatten().tolist()
    return entry


def _outline(path: Path, shape: dict[str, Any]) -> np.ndarray:
    """(P, 2) corners."""
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    kind = shape.get("shape_type", "polygon")
    if len(points) < 2:
        raise ValueError(f"{path}: a {kind} ('{shape['label']}') needs at least 2 points, got {len(points)}")
    if kind == "circle":  # its middle and a point on it
        angles = 2 * np.pi * np.arange(CIRCLE_CORNERS) / CIRCLE_CORNERS
        return points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.cos(angles), np.sin(angles)], 1)
    if kind in ("rectangle", "mask"):
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
        return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    return points


def _painted(path: Path, shapes: list[dict[str, Any]], size: tuple[int, int]) -> str:
    """The run lengths of all shapes of an object, of which some are masks."""
    drawn = [
        _outline(path, shape).flatten().tolist() for shape in shapes if shape.get("shape_type") != "mask"
    ]
    mask = decode_masks([draw_polygons(drawn, size)], size)[0] if drawn else np.zeros(size, bool)
    for shape in shapes:
        if shape.get("shape_type") == "mask":
            _paint(path, shape, mask)
    return encode_masks(mask[None])[0]


def _paint(path: Path, shape: dict[str, Any], mask: np.ndarray) -> None:
    """Add the pixels of a mask shape: a PNG in base64 whose corner pixels are its two points."""
    left, top = np.array(shape["points"], np.float64).min(0).round().astype(int).tolist()
    pixels = np.asarray(Image.open(BytesIO(base64.b64decode(shape.get("mask") or "")))) > 0
    height, width = pixels.shape[:2]
    if left < 0 or top < 0 or top + height > mask.shape[0] or left + width > mask.shape[1]:
        raise ValueError(
            f"{path}: the mask of '{shape['label']}' is {height}×{width} (height×width) from x, y = {left}, {top},"
            f" which is not inside the picture of {mask.shape[0]}×{mask.shape[1]}"
        )
    mask[top : top + height, left : left + width] |= pixels
