"""Pictures that are the same or nearly so, and boxes that are.

Two pictures are nearly the same when a difference hash (which of two neighbouring patches is brighter) and a
small grey copy both agree: the hash forgives brightness and compression, the copy sees what moved on a like
ground.
N pictures, M boxes of one picture.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

HASH_SIDE = 16
COPY_SIDE = 32
MAX_DIFFERENT_BITS = 16
"""of 256; independent pictures differ in about 128"""
MAX_GREY_DIFFERENCE = 4.0
"""mean over the small copies, of 255, after both are brought to the same mean"""
MAX_BOX_IOU = 0.9
BLOCK = 512


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a picture: about a kilobyte."""

    digest: bytes
    """of size and pixels: equal for equal pictures, however they are stored"""
    bits: np.ndarray
    """(256,) bool"""
    copy: np.ndarray
    """(32 · 32,) uint8 grey"""


def fingerprint(picture: np.ndarray) -> Fingerprint:
    """Digest, difference hash and small grey copy of an RGB picture (H, W, 3) uint8.

    >>> dark = fingerprint(np.full((40, 60, 3), 9, np.uint8))
    >>> int(dark.copy.max()), bool(dark.bits.any()), len(dark.digest)
    (9, False, 16)
    """
    grey = Image.fromarray(picture).convert("L")
    patches = np.asarray(grey.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX))
    small = np.asarray(grey.resize((COPY_SIDE, COPY_SIDE), Image.Resampling.BOX))
    digest = hashlib.blake2b(np.ascontiguousarray(picture), key=repr(picture.shape).encode(), digest_size=16)
    return Fingerprint(digest.digest(), (patches[:, 1:] > patches[:, :-1]).ravel(), small.ravel())


def same_pictures(prints: Sequence[Fingerprint]) -> list[list[int]]:
    """Groups of two or more positions with equal pixels.

    >>> black, white = (fingerprint(np.full((8, 8, 3), value, np.uint8)) for value in (0, 255))
    >>> same_pictures([black, white, black])
    [[0, 2]]
    """
    groups: dict[bytes, list[int]] = {}
    for index, each in enumerate(prints):
        groups.setdefault(each.digest, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def similar_pictures(prints: Sequence[Fingerprint]) -> list[list[int]]:
    """Groups of two or more positions that are nearly equal, or linked by others that are.

    >>> ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (60, 1, 3))
    >>> similar_pictures([fingerprint(each) for each in (ramp, ramp[:, ::-1], ramp + 9)])  # the last is brighter
    [[0, 2]]
    """
    if len(prints) < 2:
        return []
    signs = np.stack([each.bits for each in prints]).astype(np.float32) * 2 - 1
    copies = np.stack([each.copy for each in prints])
    labels = np.arange(len(prints))
    for start in range(0, len(prints), BLOCK):
        # The product of two rows of ±1 is 256 - 2 · (number of different bits).
        agreement = signs[start : start + BLOCK] @ signs[start:].T
        rows, columns = np.nonzero(agreement >= signs.shape[1] - 2 * MAX_DIFFERENT_BITS)
        later = columns > rows
        rows, columns = rows[later] + start, columns[later] + start
        for part in range(0, len(rows), 8 * BLOCK):
            _link(labels, copies, rows[part : part + 8 * BLOCK], columns[part : part + 8 * BLOCK])
    groups = [np.flatnonzero(labels == label).tolist() for label, count in _counts(labels) if count > 1]
    return sorted(groups)


def _link(labels: np.ndarray, copies: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    """Give one label to the groups of every pair whose small copies agree."""
    apart = labels[rows] != labels[columns]
    rows, columns = rows[apart], columns[apart]
    difference = copies[rows].astype(np.float32) - copies[columns]
    difference -= difference.mean(1, keepdims=True)
    close = np.abs(difference).mean(1) <= MAX_GREY_DIFFERENCE
    for row, column in zip(rows[close].tolist(), columns[close].tolist(), strict=True):
        if labels[row] != labels[column]:
            labels[labels == labels[column]] = labels[row]


def _counts(labels: np.ndarray) -> list[tuple[int, int]]:
    values, counts = np.unique(labels, return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


@np.errstate(over="ignore", invalid="ignore")  # a box without end overlaps nothing by much
def overlapping_boxes(boxes: np.ndarray, min_iou: float) -> list[tuple[int, int, float]]:
    """(first, second, IoU) of every pair of (M, 4) xyxy boxes with area that overlap by over `min_iou`.

    >>> overlapping_boxes(np.array([[0.0, 0, 4, 4], [5, 5, 9, 9], [0, 0, 4, 2]]), min_iou=0.4)
    [(0, 2, 0.5)]
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    pairs = []
    for start in range(0, len(boxes), BLOCK):
        some = boxes[start : start + BLOCK]
        width = np.minimum(some[:, None, 2], boxes[None, start:, 2]) - np.maximum(
            some[:, None, 0], boxes[None, start:, 0]
        )
        height = np.minimum(some[:, None, 3], boxes[None, start:, 3]) - np.maximum(
            some[:, None, 1], boxes[None, start:, 1]
        )
        common = width.clip(0) * height.clip(0)
        iou = common / (areas[start : start + BLOCK, None] + areas[None, start:] - common)
        rows, columns = np.nonzero(iou > min_iou)
        pairs += [
            (row + start, column + start, float(iou[row, column]))
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if column > row
        ]
    return pairs
