"""What can be wrong with masks and keypoints that can be read, one by one. K keypoints."""

import numpy as np

from pagoda.data.reading.complaints import Complaints
from pagoda.data.table.masks import PackedMasks
from pagoda.explain.doctor.records import Split
from pagoda.ops.boxes import xywh_to_xyxy
from pagoda.ops.rle import mask_areas, mask_boxes
from pagoda.structures.skeleton import Skeleton

MIN_INSIDE = 0.5
"""Share of a mask's own box that must lie in the annotated box"""
FAR = 0.5
"""Of the box's longer side: how far outside of it a keypoint is a mistake rather than a loose box"""
MIN_FAR = 8.0
"""Pixels, for small boxes"""


def check_masks_keypoints(split: Split, notes: Complaints) -> None:
    """Note masks and keypoints that do not fit their pictures or boxes, and skeletons without flip pairs."""
    objects, skeleton = split.reading.objects, split.reading.label_map.skeleton
    if objects.masks is not None:
        _check_masks(split, objects.masks, notes)
    if skeleton is None or objects.keypoints is None:
        return
    _check_flips(split, skeleton, notes)
    for row in np.flatnonzero(objects.keypoints.rows >= 0).tolist():
        points = objects.keypoints.triples[objects.keypoints.rows[row]]
        _check_keypoints(split, row, points, skeleton, notes)


def _check_flips(split: Split, skeleton: Skeleton, notes: Complaints) -> None:
    if skeleton.flip_pairs is None:
        notes.add("missing_flip_pairs", f"{split.name}: {', '.join(skeleton.names[:8])}, …")
    elif skeleton.without_partner:
        alone = ", ".join(skeleton.without_partner)
        notes.add(
            "missing_flip_pairs", f"{split.name}: no partner for {alone}", len(skeleton.without_partner)
        )


def _check_masks(split: Split, masks: PackedMasks, notes: Complaints) -> None:
    is_known = masks.is_known
    without = np.flatnonzero(~split.ignored & ~is_known).tolist()
    are_meant = len(without) < (~split.ignored).sum() and "malformed_masks" not in split.reading.complaints
    for row in without if are_meant else ():
        notes.add("missing_masks", split.where(row))
    rows, areas, own_xywh = _measure(split, masks)
    own, own_sides = xywh_to_xyxy(own_xywh), own_xywh[:, 2:]
    for row in rows[areas == 0].tolist():
        notes.add("empty_masks", split.where(row))
    boxes = split.boxes[rows]
    with np.errstate(invalid="ignore", over="ignore"):
        sides = np.minimum(own[:, 2:], boxes[:, 2:]) - np.maximum(own[:, :2], boxes[:, :2])
        is_off = (areas > 0) & (sides.clip(0).prod(1) < MIN_INSIDE * own_sides.prod(1))
    for k in np.flatnonzero(is_off).tolist():
        row = int(rows[k])
        if _is_sound(boxes[k], split.sizes[split.owners[row]]):  # else the box is reported by itself
            around = ", ".join(f"{value:g}" for value in own[k])
            drawn = ", ".join(f"{value:.6g}" for value in boxes[k])
            place = f"{split.where(row)}: mask within x1, y1, x2, y2 = {around}, box {drawn}"
            notes.add("masks_off_boxes", place)


def _measure(split: Split, masks: PackedMasks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(objects with a mask, its pixels, x, y, width, height around them), where the picture's size is known."""
    rows_of: dict[int, list[int]] = {}
    for row in np.flatnonzero(masks.is_known).tolist():
        rows_of.setdefault(int(split.owners[row]), []).append(row)
    rows: list[int] = []
    areas, boxes = [np.zeros(0, np.int64)], [np.zeros((0, 4))]
    for owner, members in rows_of.items():
        size = split.sizes[owner]
        if size is not None:
            texts = [masks.text(row, size) for row in members]
            rows += members
            areas.append(mask_areas(texts, size))
            boxes.append(mask_boxes(texts, size))
    return np.array(rows, np.int64), np.concatenate(areas), np.concatenate(boxes)


def _check_keypoints(
    split: Split, row: int, points: np.ndarray, skeleton: Skeleton, notes: Complaints
) -> None:
    size, box = split.sizes[split.owners[row]], split.boxes[row]
    labelled = points[:, 2] > 0
    if size is not None:
        off = labelled & ((points[:, :2] < 0) | (points[:, :2] > (size[1], size[0]))).any(1)
        if off.any():
            notes.add("keypoints_outside", f"{split.where(row)}: {_names(skeleton, off)}")
            labelled &= ~off
    if not _is_sound(box, size):
        return
    low, high = box[:2], box[2:]
    room = max(FAR * (high - low).max(), MIN_FAR)
    far = labelled & (np.maximum(low - points[:, :2], points[:, :2] - high).max(1) > room)
    if far.any():
        notes.add("keypoints_off_boxes", f"{split.where(row)}: {_names(skeleton, far)}")


def _is_sound(box: np.ndarray, size: tuple[int, int] | None) -> bool:
    """Has area, and some of it in the picture."""
    x1, y1, x2, y2 = box
    height, width = size or (np.inf, np.inf)
    return bool(np.isfinite(box).all()) and max(x1, 0) < min(x2, width) and max(y1, 0) < min(y2, height)


def _names(skeleton: Skeleton, which: np.ndarray) -> str:
    return ", ".join(skeleton.names[k] for k in np.flatnonzero(which).tolist())
