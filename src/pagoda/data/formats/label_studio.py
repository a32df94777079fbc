"""Label Studio's own JSON export: a list of tasks whose results are in percent of the picture, boxes perhaps turned."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import radians
from pathlib import Path

import numpy as np

from pagoda.data.reading.coco_document import coco_document
from pagoda.data.reading.outlines import box_corners, ellipse_corners, enclosing, turned
from pagoda.files.text import read_json
from pagoda.plain import JsonObject


def label_studio_document(path: Path, every: Sequence[Path], notes: list[str]) -> JsonObject:
    """One file as a COCO document; the classes are those of `every` file of the data set, sorted.

    Of each task the first annotation that was not cancelled counts. A turned rectangle becomes what it encloses:
    its polygon and the box around that. Brush strokes, key points and relations are noted and left out. Raises
    ValueError naming the task where it has no picture or a result is broken.
    """
    contents = {each: _tasks(each) for each in dict.fromkeys((path, *every))}
    names = sorted(
        {
            label
            for tasks in contents.values()
            for task in tasks
            for label, _ in _objects(task, path, Counter())
        }
    )
    if not names:
        raise ValueError(
            f"{path}: no task has a labelled rectangle, polygon or ellipse; there is nothing to detect"
        )
    left_out: Counter[str] = Counter()
    pictures = (
        ({"file_name": _picture(task, path), **_size(task)}, _objects(task, path, left_out))
        for task in contents[path]
    )
    document = coco_document(pictures, names)
    notes += [f"{path}: {count} {what} are left out" for what, count in left_out.items()]
    return document


def _tasks(path: Path) -> list[JsonObject]:
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise ValueError(f"{path}: Label Studio's JSON is a list of tasks")
    return content


def _picture(task: JsonObject, path: Path) -> str:
    values = [value for value in (task.get("data") or {}).values() if isinstance(value, str)]
    if not values:
        raise ValueError(
            f"{path}: task {task.get('id')} has no picture in its data: {str(task.get('data'))[:100]}"
        )
    named = task["data"].get("image")
    return named if isinstance(named, str) else values[0]


def _results(task: JsonObject, left_out: Counter[str]) -> list[JsonObject]:
    kept = [each for each in task.get("annotations") or [] if not each.get("was_cancelled")]
    if len(kept) > 1:
        left_out["annotations of tasks that have an earlier one"] += len(kept) - 1
    return kept[0].get("result") or [] if kept else []


def _size(task: JsonObject) -> dict[str, int]:
    for result in _results(task, Counter()):
        if result.get("original_width") and result.get("original_height"):
            return {"width": int(result["original_width"]), "height": int(result["original_height"])}
    return {}


def _objects(task: JsonObject, path: Path, left_out: Counter[str]) -> Iterator[tuple[str, JsonObject]]:
    """(class, COCO's bbox and, where it is no upright rectangle, segmentation) of each area of a task."""
    for result in _results(task, left_out):
        kind, value = str(result.get("type")), result.get("value") or {}
        labels = value.get(kind)
        if kind not in ("rectanglelabels", "polygonlabels", "ellipselabels"):
            left_out[f"results of the type {kind}"] += 1
        elif not labels:
            left_out[f"{kind.removesuffix('labels')}s without a label"] += 1
        else:
            try:
                yield str(labels[0]), _outline(kind, value, result)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}: task {task.get('id')}: a broken {kind}: {str(value)[:150]}"
                ) from error


def _outline(kind: str, value: JsonObject, result: JsonObject) -> JsonObject:
    scale = np.array([float(result["original_width"]), float(result["original_height"])]) / 100
    angle = radians(float(value.get("rotation") or 0))
    if kind == "polygonlabels":
        return enclosing(np.array(value["points"], np.float64).reshape(-1, 2) * scale)
    place = np.array([float(value["x"]), float(value["y"])]) * scale
    if kind == "ellipselabels":
        radii = np.array([float(value["radiusX"]), float(value["radiusY"])]) * scale
        return enclosing(ellipse_corners(tuple(place.tolist()), tuple(radii.tolist()), angle))
    width, height = (np.array([float(value["width"]), float(value["height"])]) * scale).tolist()
    corners = turned(box_corners(*place.tolist(), width, height), place, angle)  # about the top left corner
    outline = enclosing(corners)
    return outline if angle else {"bbox": outline["bbox"]}
