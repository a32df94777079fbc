"""LabelMe written: a JSON file beside each picture, in a folder for each split."""

import base64
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from pagoda.data.table.annotations import Annotations
from pagoda.data.writing.contents import Contents
from pagoda.files.text import json_text
from pagoda.ops.rle import decode_masks, mask_boxes
from pagoda.plain import JsonObject

VERSION = "5.5.0"
"""of LabelMe, whose files these are like"""


def write_labelme_files(contents: Contents, folder: Path) -> None:
    """Rectangles, polygons and masks of pixels; the parts of an object, and its keypoints, share a group_id."""
    for split, table in contents.splits.items():
        for index, file in enumerate(table.files):
            place = folder / split / PurePosixPath(file).with_suffix(".json")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json_text(_file(table, index), indent=2), encoding="utf-8")


def _file(table: Annotations, index: int) -> JsonObject:
    height, width = table.sizes[index].tolist()
    shapes = []
    for number, row in enumerate(range(table.offsets[index], table.offsets[index + 1]), 1):
        areas, points = _areas(table, row, (height, width)), _points(table, row)
        group = number if points or len(areas) > 1 else None
        flags = {"difficult": True} if table.ignored[row] else {}
        shapes += [{**shape, "group_id": group, "flags": flags} for shape in areas]
        shapes += [{**shape, "group_id": group, "flags": {}} for shape in points]
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": PurePosixPath(table.files[index]).name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _areas(table: Annotations, row: int, size: tuple[int, int]) -> list[JsonObject]:
    label = table.label_map.names[table.labels[row]]
    polygons = [] if table.masks is None else table.masks.polygons(row)
    text = "" if table.masks is None else table.masks.run_lengths[row]
    if polygons:
        corners = [polygon.reshape(-1, 2).tolist() for polygon in polygons]
        return [{"label": label, "points": each, "shape_type": "polygon"} for each in corners]
    if text:
        x, y, w, h = mask_boxes([text], size)[0].astype(int).tolist()
        pixels = decode_masks([text], size)[0][y : y + h, x : x + w]
        points = [[x, y], [x + w - 1, y + h - 1]]
        return [{"label": label, "points": points, "shape_type": "mask", "mask": _png(pixels)}]
    x, y, w, h = table.boxes_xywh[row].tolist()
    return [{"label": label, "points": [[x, y], [x + w, y + h]], "shape_type": "rectangle"}]


def _png(pixels: np.ndarray) -> str:
    file = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def _points(table: Annotations, row: int) -> list[JsonObject]:
    skeleton = table.label_map.skeleton
    if table.keypoints is None or skeleton is None:
        return []
    triples = table.keypoints.dense(np.array([row]))[0].tolist()
    return [
        {"label": name, "points": [[x, y]], "shape_type": "point"}
        for name, (x, y, visibility) in zip(skeleton.names, triples, strict=True)
        if visibility
    ]
