"""Masks as COCO writes them: run lengths down the columns, packed into text. N masks, H height, W width.

Text is what JSON files hold ("counts" as a string); the pixels of one mask cost no Python step of their own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hotcoco import mask as coco_mask

from pagoda.files.text import as_number, as_whole
from pagoda.plain import JsonObject

FARTHEST = 1e6
"""Pixels; polygons that reach further are broken, and drawing them would take for ever."""


def encode_masks(masks: np.ndarray) -> list[str]:
    """The text of each mask; `masks` is (N, H, W) bool. Raises ValueError for masks of another shape or type.

    >>> encode_masks(np.array([[[True, False], [True, False]]]))  # 0 outside, 2 inside, 2 outside
    ['022']
    """
    if masks.ndim != 3 or masks.dtype != bool:
        raise ValueError(f"masks to encode must be (n, height, width) bool, got {masks.shape} {masks.dtype}")
    if not masks.size:
        return [_pack([masks.shape[1] * masks.shape[2]])] * len(masks)
    encoded: Any = coco_mask.encode(np.ascontiguousarray(masks).view(np.uint8).transpose(1, 2, 0))
    return [rle["counts"].decode() for rle in encoded]


def decode_masks(texts: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """(N, H, W) bool; the texts must be of masks of `size`, (height, width).

    >>> decode_masks(["022"], (2, 2)).astype(int).tolist()
    [[[1, 0], [1, 0]]]
    """
    masks = np.zeros((len(texts), *size), np.uint8)
    if not texts:
        return masks.view(bool)
    by_column = coco_mask.decode([as_rle(text, size) for text in texts]).transpose(2, 1, 0)
    # Turning columns into rows is what costs time, so only the box of each mask is turned.
    boxes = mask_boxes(texts, size).astype(int).tolist()
    for mask, columns, (x, y, width, height) in zip(masks, by_column, boxes, strict=True):
        mask[y : y + height, x : x + width] = columns[x : x + width, y : y + height].T
    return masks.view(bool)


def place_mask(mask: np.ndarray, start: tuple[int, int], size: tuple[int, int]) -> str:
    """The text of a mask (h, w) bool that begins at `start` (x, y) of a picture of `size`, (height, width).

    The picture's own pixels are never made.

    >>> unpack(place_mask(np.array([[True], [True]]), (1, 2), (5, 3)))
    array([7, 2, 6])
    """
    height, width = mask.shape
    columns = np.zeros((width, height + 2), np.int8)
    columns[:, 1:-1] = mask.T
    steps = np.diff(columns, axis=1)
    (column, top), (_, bottom) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    return text_of_runs(np.stack([column + start[0], top + start[1], bottom + start[1]], axis=1), size)


def draw_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> str:
    """The text of the pixels within any of the polygons, [x1, y1, x2, y2, …] each, exactly as COCO has it.

    >>> draw_polygons([[0, 0, 1, 0, 1, 2, 0, 2]], (2, 2))  # the left column
    '022'
    """
    parts = [coco_mask.fr_poly(polygon, *size) for polygon in polygons]
    merged = parts[0] if len(parts) == 1 else coco_mask.merge(parts)
    return merged["counts"].decode()


def mask_areas(texts: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """(N,) pixels inside each mask of a picture of `size`, (height, width).

    >>> mask_areas(["022"], (2, 2))
    array([2])
    """
    if not texts:
        return np.zeros(0, np.int64)
    return np.asarray(coco_mask.area([as_rle(text, size) for text in texts])).astype(np.int64)


def mask_boxes(texts: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """(N, 4) float64 x, y, width, height around the pixels of each mask; zeros around none.

    >>> mask_boxes(["022"], (2, 2))
    array([[0., 0., 1., 2.]])
    """
    if not texts:
        return np.zeros((0, 4))
    return np.asarray(coco_mask.to_bbox([as_rle(text, size) for text in texts])).reshape(-1, 4)


def as_rle(text: str, size: tuple[int, int]) -> JsonObject:
    """{"size": [height, width], "counts": text}, COCO's compressed form.

    >>> as_rle("022", (2, 2))
    {'size': [2, 2], 'counts': '022'}
    """
    return {"size": list(size), "counts": text}


def to_text(segmentation: object, size: tuple[int, int]) -> str:
    """The text of a COCO segmentation: polygons, compressed or uncompressed run lengths.

    Raises ValueError where it is none of these, or not of a picture of `size`, (height, width).

    >>> to_text({"size": [2, 2], "counts": [0, 2, 2]}, (2, 2)), to_text([[0, 0, 1, 0, 1, 2, 0, 2]], (2, 2))
    ('022', '022')
    """
    if isinstance(segmentation, list):
        polygons = check_polygons(segmentation)
        return draw_polygons(polygons, size) if polygons else _pack([size[0] * size[1]])
    return check_run_lengths(segmentation, size)


def check_polygons(segmentation: list) -> list[list[float]]:
    """The polygons with at least three points. ValueError for what is no list of x, y, x, y, …

    >>> check_polygons([[0, 0, 4, 0, "4", 4], [1, 1, 2, 2]])
    [[0, 0, 4, 0, 4.0, 4]]
    """
    polygons = []
    for number, polygon in enumerate(segmentation, 1):
        if not isinstance(polygon, list):
            raise ValueError(
                f"a segmentation must be a list of polygons [x1, y1, x2, y2, …], got {str(segmentation)[:60]}"
            )
        if len(polygon) % 2:
            raise ValueError(
                f"polygon {number} has {len(polygon)} numbers: an x or a y is missing; they must come in pairs"
            )
        if len(polygon) >= 6:
            polygons.append(_check_coordinates(polygon, number))
    return polygons


def _check_coordinates(polygon: list, number: int) -> list[float]:
    if not {type(value) for value in polygon} <= {int, float}:
        values = [value if isinstance(value, int | float) else as_number(value) for value in polygon]
        if None in values or any(isinstance(value, bool) for value in values):
            raise ValueError(f"polygon {number} holds what is no number: {str(polygon)[:60]}")
        polygon = values
    if not (min(polygon) > -FARTHEST and max(polygon) < FARTHEST and sum(polygon) == sum(polygon)):
        raise ValueError(f"polygon {number} holds NaN or infinity, or coordinates beyond {FARTHEST:g} pixels")
    return polygon


def check_run_lengths(rle: object, size: tuple[int, int] | None) -> str:
    """The text of {"size": …, "counts": text, bytes or list of runs} that covers a picture of `size` exactly, or
    of the size it names itself where `size` is None. Raises ValueError where it is no such thing.

    >>> check_run_lengths({"size": [2, 2], "counts": [0, 2, 2]}, None)
    '022'
    """
    entries = rle if isinstance(rle, dict) else {}
    own = entries.get("size")
    sides = [as_whole(side) for side in own] if isinstance(own, list | tuple) and len(own) == 2 else [None]
    if "counts" not in entries or None in sides:
        raise ValueError(
            f"a segmentation must be polygons, or run lengths with size and counts, got {str(rle)[:60]}"
        )
    size = tuple(sides) if size is None else tuple(size)  # type: ignore[assignment]
    if tuple(sides) != size:
        raise ValueError(
            f"the mask is of a picture of (height, width) {tuple(sides)}, but the picture has"
            f" {size}; scale the mask or correct the size"
        )
    text, covered = _read_counts(entries["counts"])
    if covered != size[0] * size[1]:
        raise ValueError(
            f"the run lengths of the mask add up to {covered} pixels, but the picture of (height, width)"
            f" {size} has {size[0] * size[1]}; export the mask again"
        )
    return text


def _read_counts(counts: object) -> tuple[str, int]:
    """The text of run lengths, and the pixels they cover."""
    if isinstance(counts, list):
        runs = counts if all(type(run) is int for run in counts) else [as_whole(run) for run in counts]
        whole = [run for run in runs if run is not None and 0 <= run < 2**32]
        if len(whole) < len(runs):
            raise ValueError("the run lengths of the mask must be whole numbers, 0 or above")
        return _pack(whole), sum(whole)
    text = counts.decode() if isinstance(counts, bytes) else counts
    if not isinstance(text, str):
        raise ValueError(f"the run lengths of the mask must be text or whole numbers, got {str(counts)[:40]}")
    unpacked = unpack(text)
    if (unpacked < 0).any():
        raise ValueError("the run lengths of the mask must be whole numbers, 0 or above")
    return text, int(unpacked.sum())


def unpack(text: str) -> np.ndarray:
    """The run lengths, int64: outside, inside, outside, … Five bits per character, lowest first; from the
    fourth run on a text holds the difference to the last but one. Raises ValueError for another text.

    >>> unpack("022")
    array([0, 2, 2])
    """
    if not text.isascii():
        raise ValueError(f"the run lengths of the mask are no such text: {text[:40]!r}")
    digits = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((digits & 32) == 0)
    if (
        not len(digits)
        or ends[-1:].tolist() != [len(digits) - 1]
        or not ((digits >= 0) & (digits < 64)).all()
    ):
        raise ValueError(f"the run lengths of the mask are no such text: {text[:40]!r}")
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((digits & 31) << (5 * place), starts)
    values = np.where(digits[ends] & 16, values - (1 << (5 * (place[ends] + 1))), values)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def column_runs(text: str, height: int) -> np.ndarray:
    """(R, 3) int64 column, top, bottom of the pixels inside a mask, cut where a column of `height` ends.

    >>> column_runs("022", 2).tolist(), column_runs("13", 2).tolist()
    ([[0, 0, 2]], [[0, 1, 2], [1, 0, 2]])
    """
    runs = unpack(text)
    ends = np.cumsum(runs)[1::2]
    starts = (ends - runs[1::2])[runs[1::2] > 0]
    ends = ends[runs[1::2] > 0]
    first, last = starts // height, (ends - 1) // height
    counts = last - first + 1
    owner = np.repeat(np.arange(len(starts)), counts)
    column = first[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    top = np.maximum(starts[owner] - column * height, 0)
    bottom = np.minimum(ends[owner] - column * height, height)
    return np.stack([column, top, bottom], axis=1)


def look_at_runs(runs: np.ndarray, window: Sequence[int]) -> np.ndarray:
    """The part of `column_runs` inside a window (x1, y1, x2, y2), in its frame.

    >>> look_at_runs(np.array([[0, 1, 4], [1, 0, 4]]), (1, 2, 3, 9)).tolist()
    [[0, 0, 2]]
    """
    left, top, right, bottom = window
    seen = np.stack(
        [runs[:, 0] - left, runs[:, 1].clip(top) - top, runs[:, 2].clip(max=bottom) - top], axis=1
    )
    return seen[(seen[:, 0] >= 0) & (seen[:, 0] < right - left) & (seen[:, 2] > seen[:, 1])]


def text_of_runs(runs: np.ndarray, size: tuple[int, int]) -> str:
    """The text of a mask of `size`, (height, width), that is made of `column_runs`.

    >>> text_of_runs(np.array([[0, 1, 2], [1, 0, 2]]), (2, 2)), text_of_runs(np.zeros((0, 3), int), (2, 2))
    ('13', '4')
    """
    height, total = size[0], size[0] * size[1]
    ends = (runs[:, 0] * height)[:, None] + runs[:, 1:]
    edges, counts = np.unique(ends, return_counts=True)
    edges = edges[counts == 1]  # what goes on in the next column is one run
    lengths = np.diff(np.concatenate([[0], edges, [total]])).tolist()
    return _pack(lengths if lengths[-1] or len(lengths) == 1 else lengths[:-1])


def _pack(runs: list[int]) -> str:
    """The inverse of `unpack`."""
    return coco_mask.rle_to_string({"size": [sum(runs), 1], "counts": runs})
