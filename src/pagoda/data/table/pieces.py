"""What windows show of the objects of one picture. W windows, M objects in the table, P pieces."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from pagoda.data.table.annotations import Annotations, cut_to_picture
from pagoda.data.table.masks import NO_PIXELS, PackedMasks
from pagoda.ops.boxes import xywh_to_xyxy, xyxy_to_xywh
from pagoda.ops.rle import column_runs, look_at_runs, text_of_runs

PAIRS_AT_ONCE = 2**18
"""Windows times objects that are compared in one go"""


class Pieces(NamedTuple):
    """Pieces of objects, by window and then in the order of the table."""

    windows: np.ndarray
    """(P,) int64: which window"""
    rows: np.ndarray
    """(P,) int64: which row of the table"""
    boxes_xywh: np.ndarray
    """(P, 4) float64 in the window's frame"""
    shares: np.ndarray
    """(P,) of the object that is seen, 1 where it is not cut"""
    is_cut: np.ndarray
    """(P,) bool: the window's border cuts the box"""
    texts: np.ndarray
    """(P,) the run lengths of each mask, "" where there is none"""

    def take(self, which: np.ndarray) -> "Pieces":
        """Some of the pieces, by their numbers or one bool each."""
        return Pieces(*(column[which] for column in self))

    @classmethod
    def join(cls, parts: Sequence["Pieces"]) -> "Pieces":
        """The pieces of all parts, one part after the other."""
        return cls(*map(np.concatenate, zip(_NOTHING, *parts, strict=True)))


_NOTHING = Pieces(
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros((0, 4)),
    np.zeros(0),
    np.zeros(0, bool),
    np.zeros(0, object),
)


def cut_picture(annotations: Annotations, index: int, windows: np.ndarray) -> Pieces:
    """The pieces of one picture's objects in (W, 4) windows of whole pixels, xyxy.

    A box that no border cuts stays as annotated. One that is cut becomes its visible part; where the object has a mask,
    that of its visible pixels. Objects without area in their picture, or without a pixel in the window, have no piece.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> table = DrawnShapes(2, (64, 96), seed=1).annotations
    >>> pieces = cut_picture(table, 0, np.array([[0, 0, 48, 64], [48, 0, 96, 64]]))
    >>> pieces.windows.tolist(), pieces.rows.tolist(), pieces.is_cut.tolist()
    ([0, 0, 0, 0, 1, 1], [1, 2, 3, 4, 0, 1], [True, False, False, False, False, True])
    """
    first, last = annotations.offsets[index : index + 2].tolist()
    height, width = annotations.sizes[index].tolist()
    boxes_xywh = annotations.boxes_xywh[first:last]
    step = max(PAIRS_AT_ONCE // max(last - first, 1), 1)
    chunks = range(0, len(windows), step)
    parts = [_of_boxes(boxes_xywh, (height, width), windows[at : at + step]) for at in chunks]
    pieces = Pieces.join(
        [
            part._replace(windows=part.windows + at, rows=part.rows + first)
            for at, part in zip(chunks, parts, strict=True)
        ]
    )
    return (
        pieces
        if annotations.masks is None
        else _of_masks(pieces, annotations.masks, (height, width), windows)
    )


def _of_boxes(boxes_xywh: np.ndarray, size: tuple[int, int], windows: np.ndarray) -> Pieces:
    """The pieces of (m, 4) boxes of one picture, whatever their masks; rows count from 0."""
    sides = np.array([size])
    has_area = cut_to_picture(boxes_xywh, sides)[1]
    boxes = xywh_to_xyxy(boxes_xywh).clip(0, sides[:, [1, 0, 1, 0]])  # as it does, in float64
    seen = np.concatenate(
        [
            np.maximum(boxes[None, :, :2], windows[:, None, :2]),
            np.minimum(boxes[None, :, 2:], windows[:, None, 2:]),
        ],
        axis=2,
    )
    numbers, rows = np.nonzero((seen[..., 2:] > seen[..., :2]).all(2) & has_area)
    seen, whole = seen[numbers, rows], boxes[rows]
    is_cut = (seen != whole).any(1)
    shares = np.where(is_cut, _areas(seen) / _areas(whole), 1.0)
    origins = windows[numbers][:, [0, 1, 0, 1]]
    as_annotated = boxes_xywh[rows] - origins * np.array([1, 1, 0, 0])
    moved = np.where(is_cut[:, None], xyxy_to_xywh(seen - origins), as_annotated)
    return Pieces(numbers, rows, moved, shares, is_cut, np.full(len(rows), NO_PIXELS, object))


def _of_masks(pieces: Pieces, masks: PackedMasks, size: tuple[int, int], windows: np.ndarray) -> Pieces:
    """The same with masks cut to their windows, and with boxes and shares by them where something is cut."""
    boxes, shares, texts = pieces.boxes_xywh.copy(), pieces.shares.copy(), pieces.texts.copy()
    order = np.argsort(pieces.rows, kind="stable")
    for row, of_row in groupby(order[masks.is_known[pieces.rows[order]]].tolist(), pieces.rows.__getitem__):
        runs = column_runs(masks.text(int(row), size), size[0])
        pixels = _num_pixels(runs)
        for piece in of_row:
            left, top, right, bottom = windows[pieces.windows[piece]].tolist()
            seen = look_at_runs(runs, (left, top, right, bottom))
            texts[piece] = text_of_runs(seen, (bottom - top, right - left))
            if pieces.is_cut[piece] and pixels:
                shares[piece] = _num_pixels(seen) / pixels
                boxes[piece] = _shrunk(boxes[piece], seen)
    left_over = (shares > 0) & (boxes[:, 2:] > 0).all(1)
    return pieces._replace(boxes_xywh=boxes, shares=shares, texts=texts).take(left_over)


def _num_pixels(runs: np.ndarray) -> int:
    return int((runs[:, 2] - runs[:, 1]).sum())


def _shrunk(box_xywh: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """The part of a box around the pixels of a mask; without area where there is none."""
    if not len(runs):
        return np.zeros(4)
    x, y, width, height = box_xywh
    left, top = max(x, runs[:, 0].min()), max(y, runs[:, 1].min())
    right, bottom = min(x + width, runs[:, 0].max() + 1), min(y + height, runs[:, 2].max())
    return np.array([left, top, max(right - left, 0), max(bottom - top, 0)])


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
