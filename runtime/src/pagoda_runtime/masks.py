"""Masks pasted into pictures: the arithmetic of `pagoda.ops.masks`. N objects, M × M cells of a mask inside its box.

A pixel is a sum of four cells at most. Weights are the same bits as Pagoda's; their products are added in another
order, so that a pixel whose probability is the limit but for a few millionths may be judged the other way.
"""

from typing import Literal

import numpy as np

from pagoda_runtime.resize import SERIAL

PasteRule = Literal["continuous", "whole_pixels"]
"""where the pixels of a picture lie in a box's mask: at their centres, the box as it is; or in a box cut to whole
pixels after mask and box have grown by a cell on each side"""
RULES = ("continuous", "whole_pixels")


def paste_masks(
    probabilities: np.ndarray,
    boxes: np.ndarray,
    size: tuple[int, int],
    *,
    rule: PasteRule = "continuous",
    min_probability: float = 0.5,
) -> np.ndarray:
    """(N, height, width) bool: the pixels of a picture of `size` that belong to each object.

    `probabilities` (N, M, M) and `boxes` (N, 4) are float32. Only pixels near a box are looked at, a band of rows at a
    time. One belongs to the object from `min_probability` on, or above it where `rule` is "whole_pixels". Raises
    ValueError for another rule.

    >>> paste_masks(np.ones((1, 2, 2), np.float32), np.array([[1, 0, 3, 1]], np.float32), (2, 4)).astype(int)
    array([[[0, 1, 1, 0],
            [0, 0, 0, 0]]])
    """
    if rule not in RULES:
        raise ValueError(f"rule must be {' or '.join(RULES)}, got {rule!r}")
    pasted = np.zeros((len(boxes), *size), bool)
    with np.errstate(invalid="ignore", over="ignore"):  # boxes that are not finite lie nowhere
        if rule == "whole_pixels":
            probabilities, boxes = _grown(probabilities, boxes)
        windows = _windows(boxes, probabilities.shape[-1], size)
    passes = np.greater if rule == "whole_pixels" else np.greater_equal
    for mask, box, inside, (x1, y1, x2, y2) in zip(pasted, boxes, probabilities, windows, strict=True):
        if x1 >= x2 or y1 >= y2:
            continue
        rows = _weights(box[1], box[3], (y1, y2), len(inside), rule) @ inside
        columns = _weights(box[0], box[2], (x1, x2), len(inside), rule).T
        step = max(1, SERIAL // columns.size)
        for top in range(0, y2 - y1, step):
            values = rows[top : top + step] @ columns
            passes(values, np.float32(min_probability), out=mask[y1 + top : y1 + top + len(values), x1:x2])
    return pasted


def _windows(boxes: np.ndarray, cells: int, size: tuple[int, int]) -> list[list[int]]:
    """Left, top, right and bottom pixels around each box: masks reach half a cell beyond, boxes cut to whole pixels a
    pixel."""
    height, width = size
    reach = (boxes[:, 2:] - boxes[:, :2]) / cells + 2
    corners = np.concatenate([boxes[:, :2] - reach, boxes[:, 2:] + reach], axis=1)
    frame = np.array([width, height, width, height], np.float32)
    windows: list[list[int]] = np.clip(np.nan_to_num(corners), 0, frame).astype(np.int64).tolist()
    return windows


def _grown(probabilities: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A border of zeros one cell wide around each mask, its box enlarged alike and cut to whole pixels."""
    cells = probabilities.shape[-1]
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * ((cells + 2) / cells)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    grown = np.trunc(np.concatenate([center - half, center + half], axis=1))
    return np.pad(probabilities, ((0, 0), (1, 1), (1, 1))), grown


def _weights(
    start: np.float32, end: np.float32, window: tuple[int, int], cells: int, rule: PasteRule
) -> np.ndarray:
    """(pixels of the window, cells): how much each cell counts at every pixel of one axis; nothing outside the box."""
    pixel = np.arange(*window, dtype=np.float32)
    if rule == "continuous":
        with np.errstate(divide="ignore", invalid="ignore"):
            place = (pixel + np.float32(0.5) - start) / (end - start) * np.float32(cells) - np.float32(0.5)
        is_inside = np.isfinite(place)
    else:
        length = np.maximum(end - start + np.float32(1), np.float32(1))
        place = (pixel - start + np.float32(0.5)) * (np.float32(cells) / length) - np.float32(0.5)
        place = np.clip(place, 0, cells - 1)
        is_inside = (pixel >= start) & (pixel < start + length)
    place = np.where(is_inside, place, np.float32(-2))  # further than a cell from all
    distance = np.abs(place[:, None] - np.arange(cells, dtype=np.float32))
    return np.maximum(np.float32(1) - distance, np.float32(0))
