"""Label Studio's own JSON export: a list of tasks whose results are in percent of the picture, boxes perhaps turned.

Also its JSON-MIN, where each task has its data and, under the name of each tool, the values of its results.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import radians
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from pagoda.data.reading.category_ids import spellings
from pagoda.data.reading.coco_document import coco_document
from pagoda.data.reading.outlines import box_corners, ellipse_corners, enclosing, turned
from pagoda.files.text import as_name, read_json
from pagoda.pictures.read import is_picture
from pagoda.plain import JsonObject

AREAS = ("rectanglelabels", "polygonlabels", "ellipselabels")
SHAPES = ("rectangle", "polygon", "ellipse")
"""Without labels; where Label Studio keeps these in a result of their own, that one has the place, too"""

PREDICTIONS_REMEDY = (
    "predictions are not read: make annotations of them in the Data Manager (Actions, Create Annotations From"
    " Predictions) and export again"
)


def label_studio_document(path: Path, every: Sequence[Path], lost: list[str]) -> JsonObject:
    """One file as a COCO document; the classes are those of `every` file of the data set, sorted.

    Of each task the first annotation that was not cancelled counts; tasks without one nobody has looked at, and they
    are left out, which `lost` tells. A turned rectangle becomes what it encloses:
    its polygon and the box around that. Brush strokes, key points and relations are noted and left out. Raises
    ValueError naming the task where it has no picture or a result is broken.
    """
    contents = {each: _tasks(each) for each in dict.fromkeys((path, *every))}
    written = spellings(
        label for tasks in contents.values() for task in tasks for label, _ in _objects(task, path, Counter())
    )
    if not written:
        has_predictions = any(task.get("predictions") for tasks in contents.values() for task in tasks)
        raise ValueError(
            f"{path}: no task has a labelled rectangle, polygon or ellipse; there is nothing to detect"
            + (f"; {PREDICTIONS_REMEDY}" if has_predictions else "")
        )
    left_out: Counter[str] = Counter()
    tasks = [task for task in contents[path] if _kept(task)]
    if len(tasks) < len(contents[path]):
        left_out["tasks without an annotation"] += len(contents[path]) - len(tasks)
    pictures = (
        (
            {"file_name": _picture(task, path), **_size(task)},
            ((written[as_name(label) or label], entry) for label, entry in _objects(task, path, left_out)),
        )
        for task in tasks
    )
    document = coco_document(pictures, list(written.values()))
    lost += [f"{path}: {what} are left out: {count}" for what, count in left_out.items()]
    return document


def _tasks(path: Path) -> list[JsonObject]:
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise ValueError(f"{path}: Label Studio's JSON is a list of tasks")
    return [task if isinstance(task.get("data"), dict) else _whole_task(task) for task in content]


def _whole_task(task: JsonObject) -> JsonObject:
    """A task of JSON-MIN as the other export has it."""
    results = []
    for values in task.values():
        for value in values if isinstance(values, list) else ():
            if isinstance(value, dict) and "original_width" in value:
                kind = next((key for key in value if key.endswith("labels")), "")
                results.append({**value, "type": kind, "value": value})
    return {"id": task.get("id"), "data": task, "annotations": [{"result": results}]}


def _picture(task: JsonObject, path: Path) -> str:
    values = [value for value in (task.get("data") or {}).values() if isinstance(value, str) and value]
    if not values:
        raise ValueError(
            f"{path}: task {task.get('id')} has no picture in its data: {str(task.get('data'))[:100]}"
        )
    named = task["data"].get("image")
    return named if isinstance(named, str) else next(filter(_is_of_picture, values), values[0])


def _is_of_picture(text: str) -> bool:
    """Whether a value of a task's data ends as the path or the address of a picture does."""
    return any(is_picture(Path(part)) for part in (text, urlsplit(text).path))


def _kept(task: JsonObject) -> list[JsonObject]:
    annotations = task.get("annotations") or task.get("completions") or []  # as versions before 1.0 call them
    return [each for each in annotations if not each.get("was_cancelled")]


def _results(task: JsonObject, left_out: Counter[str]) -> list[JsonObject]:
    kept = _kept(task)
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
    results = _results(task, left_out)
    labelled = {result.get("id") for result in results if result.get("type") == "labels"}
    for result in results:
        written, value = str(result.get("type")), result.get("value") or {}
        kind, labels = _kind_of(written, value), value.get(written)
        if kind not in AREAS:
            if written not in SHAPES or result.get("id") not in labelled:
                left_out[f"results of the type {written}"] += 1
        elif not labels:
            left_out[f"{kind.removesuffix('labels')}s without a label"] += 1
        else:
            if len(labels) > 1:
                left_out["further labels of an object"] += len(labels) - 1
            try:
                yield _label(labels[0]), _outline(kind, value, result)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}: task {task.get('id')}: a broken {kind}: {str(value)[:150]}"
                ) from error


def _kind_of(written: str, value: JsonObject) -> str:
    """The type of a result; of one with labels for any shape, what it is by its place."""
    if written != "labels":
        return written
    keys = (("points", "polygonlabels"), ("radiusX", "ellipselabels"), ("width", "rectanglelabels"))
    return next((kind for key, kind in keys if key in value), written)


def _label(written: object) -> str:
    """Raises ValueError where it is no name."""
    label = written if isinstance(written, str) else as_name(written)
    if not label or not as_name(label):
        raise ValueError(f"a label must be text, got {written!r}")
    return label


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
