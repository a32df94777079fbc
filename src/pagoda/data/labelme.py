"""LabelMe folders: one JSON file per picture, beside it, with polygons, boxes, circles, masks and points.

Shapes of one label that share a `group_id` are one object; points that share it are its keypoints.
"""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pagoda.data.splits import with_common_names
from pagoda.pictures import picture_size
from pagoda.structures.run_lengths import as_rle, decode_masks, draw_polygons, encode_masks, mask_boxes

CIRCLE_CORNERS = 64
AREAS = ("polygon", "rectangle", "circle", "mask")


def labelme_splits(root: Path) -> dict[str, tuple[Path, ...]]:
    """Split name → its folder; a folder without such subfolders counts as train. {} where it is no LabelMe."""
    if _is_labelme(root):
        return {"train": (root,)}
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and _is_labelme(folder))
    return with_common_names({folder.name: (folder,) for folder in folders})


def labelme_document(root: Path, folder: Path, notes: list[str]) -> dict[str, Any]:
    """The files of one split as a COCO document; classes and keypoints are those of all splits, sorted.

    What is neither an area nor the keypoint of one (lines, lone points) is noted and left out.
    """
    everywhere = [_load(path) for (place,) in labelme_splits(root).values() for path in _files(place)]
    names = sorted({shape["label"] for file in everywhere for shape in file["shapes"] if _is_area(shape)})
    keypoints = sorted(
        {shape["label"] for file in everywhere for shape in file["shapes"] if _is_keypoint(shape)}
    )
    if not names:
        raise ValueError(f"{root}: no LabelMe file has a {', '.join(AREAS)}; there is nothing to detect")
    skeleton = {"keypoints": keypoints} if keypoints else {}
    document: dict[str, Any] = {
        "categories": [{"id": number, "name": name, **skeleton} for number, name in enumerate(names, 1)],
        "images": [],
        "annotations": [],
    }
    for number, path in enumerate(_files(folder), 1):
        file = _load(path)
        picture = _picture(path, file)
        height, width = file.get("imageHeight"), file.get("imageWidth")
        if not height or not width:
            height, width = picture_size(folder / picture)
        document["images"].append({"id": number, "file_name": picture, "height": height, "width": width})
        for entry in _objects(path, file, (height, width), keypoints, notes):
            entry |= {"id": len(document["annotations"]) + 1, "image_id": number, "iscrowd": 0}
            document["annotations"].append({**entry, "category_id": names.index(entry.pop("name")) + 1})
    return document


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def _is_labelme(folder: Path) -> bool:
    first = next(iter(_files(folder)), None)
    if first is None:
        return False
    try:
        content = json.loads(first.read_bytes())
    except ValueError:
        return False  # some other kind of file; whoever owns it will say what is wrong
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(_is_shape(shape) for shape in shapes):
        raise ValueError(f"{path}: a LabelMe file has shapes, each with label and points [[x, y], …]")
    return content


def _is_shape(shape: Any) -> bool:
    points = shape.get("points") if isinstance(shape, dict) else None
    return isinstance(points, list) and "label" in shape and all(len(point) == 2 for point in points)


def _is_area(shape: dict[str, Any]) -> bool:
    return shape.get("shape_type", "polygon") in AREAS


def _is_keypoint(shape: dict[str, Any]) -> bool:
    return shape.get("shape_type") == "point" and shape.get("group_id") is not None


def _picture(path: Path, file: dict[str, Any]) -> str:
    """The picture beside the file: as written there, wherever it once lay."""
    written = str(file.get("imagePath") or "").replace("\\", "/").rsplit("/", 1)[-1]
    return written or f"{path.stem}.jpg"


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
            kind = shape.get("shape_type")
            notes.append(
                f"{path}: shape {number} ('{shape['label']}') is a {kind} of no group; it is left out"
            )
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
    needed = 3 if kind == "polygon" else 2
    if len(points) < needed:
        raise ValueError(
            f"{path}: a {kind} ('{shape['label']}') needs at least {needed} points, got {len(points)}"
        )
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
