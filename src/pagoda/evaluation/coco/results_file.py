"""COCO results files: written while the detections come, read back as columns or as `Detections`.

A row is {image_id, category_id, score} with at least one of bbox (xywh), segmentation (run lengths or polygons)
and keypoints (x, y, score of each).
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from pagoda.evaluation.coco.ground_truth import GroundTruth, shorten
from pagoda.evaluation.coco.state import State
from pagoda.files.atomic import write_atomically
from pagoda.files.text import as_number, as_whole, json_text, read_json
from pagoda.messages import short_list
from pagoda.ops.boxes import xywh_to_xyxy
from pagoda.ops.rle import decode_masks, mask_boxes, to_text
from pagoda.places import told_at
from pagoda.plain import JsonObject
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

Rows = list[JsonObject]
"""results, one per object: image_id, category_id, score, and bbox, segmentation or keypoints"""
Value = TypeVar("Value")


def write_results(path: str | Path, detections: Iterable[Detections]) -> int:
    """Write one row per object, holding one image's rows at a time; returns how many.

    The file appears whole or not at all. Every image needs its image_id, or ValueError is raised.

    >>> from tempfile import TemporaryDirectory
    >>> cats = LabelMap(("cat",), (17,))
    >>> one = Detections(torch.tensor([[1.0, 2, 4, 6]]), torch.ones(1), torch.zeros(1).long(), (8, 8), cats, image_id=7)
    >>> with TemporaryDirectory() as folder:
    ...     write_results(Path(folder, "results.json"), [one]), read_results(Path(folder, "results.json"))
    (1, [{'image_id': 7, 'category_id': 17, 'bbox': [1.0, 2.0, 3.0, 4.0], 'score': 1.0}])
    """
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        with open(temporary, "w", encoding="utf-8") as file:
            file.write("[")
            for found in detections:
                for row in found.to_coco():
                    file.write(",\n" if count else "\n")
                    file.write(json_text(row))
                    count += 1
            file.write("\n]\n")

    write_atomically(path, write)
    return count


def read_results(path: str | Path) -> Rows:
    """The rows of a results file: a list, or a COCO document with them under "annotations".

    Numbers may be written as text, and whole numbers as 1.0. Raises ValueError naming file and row for what is none.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "results.json")
    ...     _ = file.write_text('[{"image_id": 7, "category_id": 1.0, "score": "0.5", "bbox": [0, 0, 2, 2]}]')
    ...     read_results(file)
    [{'image_id': 7, 'category_id': 1, 'score': 0.5, 'bbox': [0, 0, 2, 2]}]
    """
    return _rows_of(read_json(path), path)


def read_results_by_name(path: str | Path, label_map: LabelMap) -> tuple[Rows, dict[str, int]]:
    """The rows with the category ids of `label_map`, and how many were left out of each class it does not have.

    Classes meet by name where the file names its own, in a COCO document's categories; a list of results has only
    ids, which stay. Raises ValueError where the file names classes and none of them is known.
    """
    content = read_json(path)
    rows = _rows_of(content, path)
    named = content.get("categories") if isinstance(content, dict) else None
    with told_at(f"{path}: its categories, which need id and name"):
        names = {category["id"]: str(category["name"]) for category in named or []}
    ids = dict(zip(label_map.names, label_map.category_ids, strict=True))
    if names and not ids.keys() & set(names.values()):
        raise ValueError(
            f"{path} has results of the classes {shorten(list(names.values()))}, none of which the data have:"
            f" {shorten(list(label_map.names))}"
        )
    kept, left_out = [], Counter[str]()
    for row in rows:
        name = names.get(row.get("category_id"))
        if name is None or name in ids:
            kept.append(row if name is None else {**row, "category_id": ids[name]})
        else:
            left_out[name] += 1
    return kept, dict(left_out)


def _rows_of(content: object, path: str | Path) -> Rows:
    if isinstance(content, dict):
        if "annotations" not in content:
            raise ValueError(f"{path} holds neither a list of results nor 'annotations': {sorted(content)}")
        content = content["annotations"]
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a list of results, got a {type(content).__name__}")
    with told_at(Path(path)):
        return plain_rows(content)


def plain_rows(rows: Rows) -> Rows:
    """The rows with numbers where numbers belong; a row that has them already is passed on as it is.

    Raises ValueError with the number of the row where there is none.

    >>> plain_rows([{"image_id": "a", "category_id": "3", "score": "0.5", "bbox": ["0", 0, 2, 2]}])
    [{'image_id': 'a', 'category_id': 3, 'score': 0.5, 'bbox': [0.0, 0.0, 2.0, 2.0]}]
    """
    return [_plain_row(number, row) for number, row in enumerate(rows)]


def _plain_row(number: int, row: object) -> JsonObject:
    if not isinstance(row, dict):
        raise ValueError(f"result {number} must be an object with image_id, got {str(row)[:60]}")
    changed: JsonObject = {}
    if type(row.get("image_id")) not in (int, str) and "image_id" in row:
        changed["image_id"] = _wanted(as_whole(row["image_id"]), number, "image_id", row)
    if type(row.get("category_id")) is not int and "category_id" in row:
        changed["category_id"] = _wanted(as_whole(row["category_id"]), number, "category_id", row)
    if type(row.get("score")) is not float and "score" in row:
        changed["score"] = _wanted(as_number(row["score"]), number, "score", row)
    for key in ("bbox", "keypoints"):
        values = row.get(key)
        if values is None or (isinstance(values, list) and {type(value) for value in values} <= {int, float}):
            continue
        numbers = (
            [as_number(value) for value in values]
            if isinstance(values, list | tuple | np.ndarray)
            else [None]
        )
        changed[key] = _wanted(None if None in numbers else numbers, number, key, row)
    if isinstance(row.get("bbox"), list) and row["bbox"] and len(row["bbox"]) != 4:
        raise ValueError(f"result {number}: bbox must be [x, y, width, height], got {row['bbox']}")
    return {**row, **changed} if changed else row


def _wanted(value: Value | None, number: int, key: str, row: JsonObject) -> Value:
    if value is None:
        what = {"image_id": "text or a whole number", "category_id": "a whole number", "score": "a number"}
        raise ValueError(
            f"result {number}: {key} must be {what.get(key, 'numbers')}, got {str(row[key])[:60]!r}"
        )
    return value


def with_known_ids(rows: Rows, known: Container[int | str]) -> Rows:
    """The rows with the image ids of the ground truth: 7 for "7" where only 7 is known, and the other way round.

    >>> with_known_ids([{"image_id": "7"}, {"image_id": "b"}], known={7, "a"})
    [{'image_id': 7}, {'image_id': 'b'}]
    """
    return [
        row
        if row.get("image_id") is None or row["image_id"] in known
        else {**row, "image_id": _other_form(row["image_id"], known)}
        for row in rows
    ]


def _other_form(image_id: int | str, known: Container[int | str]) -> int | str:
    other = as_whole(image_id) if isinstance(image_id, str) else str(image_id)
    return image_id if other is None or other not in known else other


def read_detections(
    path: str | Path, label_map: LabelMap, sizes: Mapping[int | str, tuple[int, int]]
) -> Iterator[Detections]:
    """The detections of each image in a results file, best first; `sizes`: image id → (height, width)."""
    rows = with_known_ids(read_results(path), sizes)
    with told_at(Path(path)):
        parts = check_rows(rows)
    position = {image_id: index for index, image_id in enumerate(sizes)}
    strangers = sorted({str(row["image_id"]) for row in rows if row["image_id"] not in position})
    if strangers:
        raise ValueError(f"{path} has results of images that are not known: {short_list(strangers)}")
    ordered = sorted(rows, key=lambda row: (position[row["image_id"]], -row["score"]))
    for image_id, group in groupby(ordered, key=lambda row: row["image_id"]):
        with told_at(Path(path)):
            detections = _one_image(image_id, list(group), parts, label_map, sizes[image_id])
        yield detections


def check_rows(rows: Rows) -> set[str]:
    """Which of bbox, segmentation and keypoints all rows have.

    Raises ValueError for a row that lacks what it needs, and where rows differ in what they have.

    >>> check_rows([{"image_id": 7, "category_id": 1, "score": 0.5, "bbox": [0, 0, 2, 2]}])
    {'bbox'}
    """
    found: set[str] = set()
    for number, row in enumerate(rows):
        missing = [key for key in ("image_id", "category_id", "score") if key not in row]
        has = {key for key in ("bbox", "segmentation", "keypoints") if row.get(key)}
        if not has:
            missing.append("bbox")
        if missing:
            raise ValueError(f"result {number} has no {', '.join(missing)}; it has {sorted(row)}")
        if number and has != found:
            raise ValueError(
                f"result {number} has {', '.join(sorted(has))}, those before {', '.join(sorted(found))}; all rows"
                " of a file must have the same"
            )
        found = has
        if "keypoints" in has and len(row["keypoints"]) % 3:
            raise ValueError(
                f"result {number}: keypoints must be x, y, score of each, got {len(row['keypoints'])} numbers"
            )
    if len({len(row["keypoints"]) for row in rows if "keypoints" in found}) > 1:
        raise ValueError("the results have different numbers of keypoints; all must be of one skeleton")
    return found


def read_columns(rows: Rows, truth: GroundTruth) -> State:
    """The rows of known images and categories as columns; missing boxes are drawn around mask or keypoints."""
    found = check_rows(rows)
    images = truth.indices_of_images([row["image_id"] for row in rows])
    columns: State = {
        "images": images,
        "scores": np.array([row["score"] for row in rows], dtype=np.float64),
        "categories": np.array([truth.category_index[row["category_id"]] for row in rows], dtype=np.int64),
    }
    around: np.ndarray | None = None
    if "keypoints" in found:
        columns["keypoints"] = np.array([row["keypoints"] for row in rows], np.float64).reshape(
            len(rows), -1, 3
        )
        points = columns["keypoints"][..., :2]
        around = np.concatenate([points.min(1), np.ptp(points, axis=1)], 1)
    if "segmentation" in found:
        sizes = [truth.size_of(image) for image in images.tolist()]
        texts = [
            _text(number, row["segmentation"], size)
            for number, (row, size) in enumerate(zip(rows, sizes, strict=True))
        ]
        columns["masks"] = np.array(texts, dtype=object)
        around = np.array([mask_boxes([t], size)[0] for t, size in zip(texts, sizes, strict=True)])
    if "bbox" in found or around is None:
        around = np.array([row["bbox"] for row in rows], dtype=np.float64)
    columns["boxes_xywh"] = around.reshape(-1, 4)
    if not truth.has_mask.any():
        columns.pop("masks", None)
    if not truth.has_keypoints.any():
        columns.pop("keypoints", None)
    return columns


def _text(number: int, segmentation: object, size: tuple[int, int]) -> str:
    try:
        return to_text(segmentation, size)
    except ValueError as error:
        raise ValueError(f"result {number}: {error}") from error


def _one_image(
    image_id: int | str, rows: Rows, parts: set[str], label_map: LabelMap, size: tuple[int, int]
) -> Detections:
    if "bbox" not in parts:
        raise ValueError(f"the results of image {image_id!r} have no bbox; only scoring can do without")
    xywh = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64)
    masks = keypoints = scores = None
    if "segmentation" in parts:
        texts = [_text(number, row["segmentation"], size) for number, row in enumerate(rows)]
        masks = torch.from_numpy(decode_masks(texts, size))
    if "keypoints" in parts:
        triples = torch.tensor([row["keypoints"] for row in rows], dtype=torch.float64).reshape(
            len(rows), -1, 3
        )
        keypoints, scores = triples[..., :2].float(), triples[..., 2].float()
    return Detections(
        boxes=xywh_to_xyxy(xywh).float(),
        scores=torch.tensor([row["score"] for row in rows], dtype=torch.float32),
        labels=torch.tensor([label_map.label_of(row["category_id"]) for row in rows], dtype=torch.long),
        image_size=size,
        label_map=label_map,
        masks=masks,
        keypoints=keypoints,
        keypoint_scores=scores,
        image_id=image_id,
    )
