"""LabelMe folders: one JSON file per picture with polygons, boxes, circles, masks and points.

Shapes of one label that share a `group_id` are one object; points that share it are its keypoints. The picture is
where `imagePath` says, seen from the JSON file, or beside that file, or inside it (`imageData`).
"""

import base64
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TypedDict

import numpy as np
from PIL import Image

from pagoda.data.formats.coco_places import Placed
from pagoda.data.reading.annotation_files import files_like
from pagoda.data.reading.coco_document import coco_document
from pagoda.data.reading.found import usable_size
from pagoda.data.reading.json_kinds import json_kind
from pagoda.data.reading.outside import is_refused
from pagoda.data.reading.picture_paths import PictureFinder, files_below
from pagoda.data.reading.splits import choose_split, files_by_split
from pagoda.files.text import as_name, as_number, read_json, truth_value
from pagoda.messages import counted
from pagoda.ops.rle import as_rle, decode_masks, draw_polygons, encode_masks, mask_boxes
from pagoda.pictures.read import PictureError, picture_size
from pagoda.plain import JsonObject

CIRCLE_CORNERS = 64
AREAS = ("polygon", "rectangle", "circle", "mask")
TURNED = ("rotation", "quadrilateral", "oriented_rectangle")
"""Shapes of four corners of X-AnyLabeling and, the last, LabelMe: the polygon they enclose"""


class _Shape(TypedDict):
    """A shape of a file whose values have been checked."""

    number: int
    """from 1, in the file"""
    label: str
    points: list[list[float]]
    """x, y in pixels"""
    shape_type: str
    group_id: int | str | None
    mask: str | None
    """of a mask its pixels, a PNG in base64; not checked yet"""
    is_ignored: bool


def labelme_splits(root: Path) -> tuple[dict[str, tuple[Path, ...]], list[Path]]:
    """(split name → the folders its files lie in, files of no split), at any depth; none where there is no file."""
    splits, alone = files_by_split(_files(root), root)
    return {
        name: tuple(dict.fromkeys(path.parent for path in files)) for name, files in splits.items()
    }, alone


def labelme_files(root: Path) -> dict[str, list[Path]]:
    """Split name → its files, one per picture, at any depth."""
    return files_by_split(_files(root), root)[0]


def labelme_document(root: Path, split: str, *, within: Path | None = None) -> Placed:
    """The files of one split as a COCO document; classes and keypoints are those of all splits, sorted.

    What is neither an area nor the keypoint of one (lines, lone points) is noted and left out. Files and
    shapes that cannot be read are told in `Placed.broken`, and reading goes on. Pictures that do not lie
    `within` that folder are not asked for their size. Raises ValueError where no file has an area.
    """
    splits, _ = files_by_split(_files(root), root)
    notes: list[str] = []
    broken: list[tuple[str, str]] = []
    files = [path for paths in splits.values() for path in paths]
    loaded = {path: file for path in files if (file := _load(path, notes, broken)) is not None}
    every = [shape for file in loaded.values() for shape in file["shapes"]]
    names = sorted({shape["label"] for shape in every if _is_area(shape)})
    keypoints = sorted({shape["label"] for shape in every if _is_keypoint(shape)})
    if not names:
        why = broken[0][1] if broken else "there is nothing to detect"
        raise ValueError(f"{root}: no LabelMe file has a {', '.join(AREAS)}; {why}")
    paths = [path for path in choose_split(splits, split, str(root)) if path in loaded]
    placed = _place_pictures(paths, loaded, root, split)
    pictures = []
    for path, entry in zip(paths, placed.document["images"], strict=True):
        file, picture = loaded[path], placed.folder / entry["file_name"]
        entry |= {} if is_refused(picture, within) else _size(file, picture)
        size = (entry["height"], entry["width"]) if "height" in entry else None
        pictures.append((entry, _objects(path, file["shapes"], size, keypoints, notes, broken)))
    document = coco_document(pictures, names, keypoints)
    shapes = [shape for path in paths for shape in loaded[path]["shapes"] if _is_area(shape)]
    if num_difficult := sum(shape["is_ignored"] for shape in shapes):
        are = "is" if num_difficult == 1 else "are"
        place = f"{root} ({split}): {counted(num_difficult, 'shape')} {are} marked difficult and ignored, as in VOC"
        broken.append(("difficult_objects", place))
    return placed._replace(document=document, left_out=tuple(notes), broken=tuple(broken))


def _size(file: JsonObject, picture: Path) -> dict[str, int]:
    """Height and width of the picture, {} where neither the file nor the picture tells."""
    size = usable_size(file.get("imageHeight"), file.get("imageWidth"))
    if size is None:
        try:
            size = picture_size(picture)
        except (PictureError, OSError):
            return {}
    return {"height": size[0], "width": size[1]}


def _place_pictures(
    paths: Sequence[Path],
    loaded: dict[Path, JsonObject],
    root: Path,
    split: str,
) -> Placed:
    """A document of one image for each file: its picture, or the file itself where the picture is inside."""
    finder = PictureFinder(root, split)
    names = [str(loaded[path].get("imagePath") or "") or f"{path.stem}.jpg" for path in paths]
    has_data = [bool(loaded[path]["imageData"]) for path in paths]
    parents = [path.parent for path in paths]
    places = finder.locate(names, [[folder] for folder in parents], parents, replaceable=has_data)
    inside = [place is None and data for place, data in zip(places, has_data, strict=True)]
    places = [str(path) if own else place for path, place, own in zip(paths, places, inside, strict=True)]
    lost = [folder / name.replace("\\", "/") for folder, name in zip(parents, names, strict=True)]
    folder = parents[0] if len(set(parents)) == 1 else root
    base, files = files_below(list(map(str, lost)), places, folder, root)
    document: JsonObject = {"images": [{"file_name": file} for file in files]}
    notes = finder.notes(f"{root} ({split})")
    if any(inside):
        notes.append(
            f"{root} ({split}): {counted(sum(inside), 'picture is', 'pictures are')} read from imageData"
            " inside their JSON files"
        )
    return Placed(document, base, sum(place is not None for place in places), finder, tuple(notes))


def _files(root: Path) -> list[Path]:
    """The JSON files at any depth, in folders that have a LabelMe file; those of other programs are none."""
    kinds = {path: json_kind(path) for path in sorted(files_like(root, "**/*.json"))}
    folders = {path.parent for path, kind in kinds.items() if kind == "labelme"}
    return [path for path, kind in kinds.items() if path.parent in folders and kind in ("labelme", None)]


def _load(path: Path, notes: list[str], broken: list[tuple[str, str]]) -> JsonObject | None:
    """The file's content, of imageData only whether there is any; None where it has no shapes and is another thing."""
    try:
        content = read_json(path)
    except (ValueError, OSError) as error:
        broken.append(("unreadable_annotations", str(error)))
        return None
    if not isinstance(content, dict) or "shapes" not in content:
        notes.append(f"{path} has no shapes and is no LabelMe file; it is not read")
        return None
    if not isinstance(content["shapes"], list):
        place = f"{path}: a LabelMe file has shapes, each with label and points [[x, y], …]"
        broken.append(("unreadable_annotations", place))
        return None
    shapes = []
    for number, written in enumerate(content["shapes"], 1):
        try:
            shape = _plain_shape(written, number)
            shapes.append(shape)
            if isinstance(written["label"], str) and written["label"] != shape["label"]:
                place = f"{path}: shape {number}: {written['label']!r} becomes '{shape['label']}'"
                broken.append(("trimmed_names", place))
        except ValueError as error:
            broken.append(("malformed_shapes", f"{path}: shape {number}: {error}"))
    return {**content, "shapes": shapes, "imageData": bool(content.get("imageData"))}


def _plain_shape(shape: object, number: int) -> _Shape:
    """Raises ValueError where it is no shape."""
    values = shape if isinstance(shape, dict) else {}
    label, points = as_name(values.get("label")), values.get("points")
    pairs = [
        [as_number(value) for value in point] if isinstance(point, list) else []
        for point in (points if isinstance(points, list) else [[]])
    ]
    known = [[x, y] for x, y in (pair for pair in pairs if len(pair) == 2) if x is not None and y is not None]
    if not label or len(known) < len(pairs):
        raise ValueError(
            f"a LabelMe file has shapes, each with label and points [[x, y], …], got {str(shape)[:100]}"
        )
    if not np.isfinite(known).all():
        raise ValueError(f"('{label}') a point holds NaN or infinity")
    group = values.get("group_id")
    return {
        "number": number,
        "label": label,
        "points": known,
        "shape_type": _shape_type(values),
        "group_id": group if isinstance(group, int | str | None) else str(group),
        "mask": values.get("mask"),
        "is_ignored": _is_difficult(values),
    }


def _is_difficult(shape: JsonObject) -> bool:
    """X-AnyLabeling has a key for it; in LabelMe it is a check box of that name."""
    flags = shape.get("flags")
    given = shape.get("difficult"), flags.get("difficult") if isinstance(flags, dict) else None
    return any([truth_value(value, "difficult") for value in given])


def _shape_type(shape: JsonObject) -> str:
    """As LabelMe means it: none, or null, is a polygon."""
    kind = str(shape.get("shape_type") or "polygon")
    return "polygon" if kind in TURNED else kind


def _is_area(shape: _Shape) -> bool:
    return shape["shape_type"] in AREAS and not _is_short(shape)


def _is_short(shape: _Shape) -> bool:
    """A polygon that encloses nothing, as an interrupted click leaves."""
    return shape["shape_type"] == "polygon" and len(shape["points"]) < 3


def _is_keypoint(shape: _Shape) -> bool:
    return shape["shape_type"] == "point" and shape["group_id"] is not None


def _objects(
    path: Path,
    shapes: list[_Shape],
    size: tuple[int, int] | None,
    keypoints: list[str],
    notes: list[str],
    broken: list[tuple[str, str]],
) -> Iterator[tuple[str, JsonObject]]:
    """(class, its entry) of each object of a file: areas alone, or those of one group and label."""
    groups: dict[tuple[int | str, str | int], list[_Shape]] = {}
    points: dict[int | str | None, list[_Shape]] = {}
    for shape in shapes:
        group = shape["group_id"]
        if _is_area(shape):
            alone = "alone", shape["number"]
            groups.setdefault(alone if group is None else (group, shape["label"]), []).append(shape)
        elif _is_keypoint(shape):
            points.setdefault(group, []).append(shape)
        else:
            what = f"{path}: shape {shape['number']} ('{shape['label']}') is a {shape['shape_type']}"
            if _is_short(shape):
                count = counted(len(shape["points"]), "point")
                broken.append(
                    ("short_polygons", f"{what} of {count}, which encloses nothing; it is left out")
                )
            else:
                why = " of no group" if shape["shape_type"] == "point" else ", which is no area"
                notes.append(f"{what}{why}; it is left out")
    for key, areas in groups.items():
        own = points.pop(key[0], []) if key[0] != "alone" else []
        try:
            yield areas[0]["label"], _entry(areas, own, size, keypoints)
        except ValueError as error:
            broken.append(("malformed_shapes", f"{path}: {error}"))
    for group, lost in points.items():
        belong = "belongs" if len(lost) == 1 else "belong"
        place = f"{path}: {counted(len(lost), 'point')} of group {group} {belong} to no object"
        notes.append(f"{place}; left out")


def _entry(
    shapes: list[_Shape],
    points: list[_Shape],
    size: tuple[int, int] | None,
    keypoints: list[str],
) -> JsonObject:
    """One object: its box, its mask where it has more than rectangles, its keypoints."""
    outlines = [_outline(shape) for shape in shapes]
    corners = np.concatenate(outlines)
    low, high = corners.min(0), corners.max(0)
    entry: JsonObject = {
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "iscrowd": int(any(shape["is_ignored"] for shape in shapes)),
    }
    if any(shape["shape_type"] == "mask" for shape in shapes):
        if size is not None:
            text = _painted(shapes, size)
            entry |= {"bbox": mask_boxes([text], size)[0].tolist(), "segmentation": as_rle(text, size)}
    elif any(shape["shape_type"] != "rectangle" for shape in shapes):
        entry["segmentation"] = [outline.flatten().tolist() for outline in outlines]
    if points:
        triples = np.zeros((len(keypoints), 3))
        for point in points:
            if not point["points"]:
                raise ValueError(f"the point '{point['label']}' has no place")
            triples[keypoints.index(point["label"])] = (*point["points"][0], 2)
        entry["keypoints"] = triples.flatten().tolist()
    return entry


def _outline(shape: _Shape) -> np.ndarray:
    """(P, 2) corners."""
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    kind = shape["shape_type"]
    if len(points) < 2:
        raise ValueError(f"a {kind} ('{shape['label']}') needs at least 2 points, got {len(points)}")
    if kind == "circle":  # its middle and a point on it
        angles = 2 * np.pi * np.arange(CIRCLE_CORNERS) / CIRCLE_CORNERS
        return points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.cos(angles), np.sin(angles)], 1)
    if kind in ("rectangle", "mask"):
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
        return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    return points


def _painted(shapes: list[_Shape], size: tuple[int, int]) -> str:
    """The run lengths of all shapes of an object, of which some are masks."""
    drawn = [_outline(shape).flatten().tolist() for shape in shapes if shape["shape_type"] != "mask"]
    mask = decode_masks([draw_polygons(drawn, size)], size)[0] if drawn else np.zeros(size, bool)
    for shape in shapes:
        if shape["shape_type"] == "mask":
            _paint(shape, mask)
    return encode_masks(mask[None])[0]


def _paint(shape: _Shape, mask: np.ndarray) -> None:
    """Add the pixels of a mask shape: a PNG in base64 whose corner pixels are its two points."""
    left, top = np.array(shape["points"], np.float64).min(0).round().astype(int).tolist()
    try:
        with Image.open(BytesIO(base64.b64decode(shape["mask"] or ""))) as image:
            width, height = image.size
            is_inside = (
                left >= 0 and top >= 0 and top + height <= mask.shape[0] and left + width <= mask.shape[1]
            )
            pixels = _is_painted(image) if is_inside else None  # whatever size it claims to have
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise ValueError(f"the mask of '{shape['label']}' is no picture: {error}") from error
    if pixels is None:
        raise ValueError(
            f"the mask of '{shape['label']}' is {height}×{width} (height×width) from x, y = {left}, {top},"
            f" which is not inside the picture of {mask.shape[0]}×{mask.shape[1]}"
        )
    mask[top : top + height, left : left + width] |= pixels


def _is_painted(image: Image.Image) -> np.ndarray:
    """(H, W) bool"""
    return np.asarray(image if image.mode in ("1", "L", "P") else image.convert("L")) > 0
