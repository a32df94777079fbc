"""What can be wrong with masks and keypoints, told from COCO annotations one by one. K keypoints."""

from typing import Any

import numpy as np

from pagoda.data.coco_shapes import read_skeleton
from pagoda.explain.doctor.findings import Notebook
from pagoda.explain.doctor.records import Split
from pagoda.structures.run_lengths import check_polygons, mask_areas, mask_boxes, to_text
from pagoda.structures.skeleton import Skeleton

MIN_INSIDE = 0.5
"""Share of a mask's own box that must lie in the annotated box"""
FAR = 0.5
"""Of the box's longer side: how far outside of it a keypoint is a mistake rather than a loose box"""
MIN_FAR = 8.0
"""Pixels, for small boxes"""


def check_shapes(split: Split, document: dict[str, Any], notes: Notebook) -> None:
    """Masks against pictures and boxes, keypoints against pictures, boxes and skeleton."""
    entries = [entry for entry, _ in split.shapes]
    skeleton = _read_skeleton(split, document, entries, notes)
    without = []
    for row, (entry, owner) in enumerate(split.shapes):
        where, size, box = split.where(row), split.sizes[owner], split.objects.boxes[row]
        if entry.get("segmentation") and size is not None:
            _check_mask(entry["segmentation"], size, box, where, notes)
        elif not entry.get("segmentation") and not entry.get("iscrowd"):
            without.append(where)
        if entry.get("keypoints") and skeleton is not None:
            _check_keypoints(entry["keypoints"], skeleton, size, box, where, notes)
    if len(without) < sum(not entry.get("iscrowd") for entry in entries):
        for where in without:
            notes.add("missing_masks", where)


def _read_skeleton(
    split: Split, document: dict[str, Any], entries: list[dict], notes: Notebook
) -> Skeleton | None:
    remarks: list[str] = []
    categories = [entry for entry in document["categories"] if isinstance(entry, dict) and "name" in entry]
    try:
        skeleton = read_skeleton(categories, entries, split.source, remarks)
    except (ValueError, TypeError) as error:
        notes.add("bad_skeletons", f"{split.name}: {error}")
        return None
    for remark in remarks:
        notes.add("bad_skeletons", f"{split.name}: {remark}")
    if skeleton is None or not any(entry.get("keypoints") for entry in entries):
        return skeleton
    if skeleton.flip_pairs is None:
        notes.add("missing_flip_pairs", f"{split.name}: {', '.join(skeleton.names[:8])}, …")
    elif skeleton.without_partner:
        alone = ", ".join(skeleton.without_partner)
        notes.add(
            "missing_flip_pairs", f"{split.name}: no partner for {alone}", len(skeleton.without_partner)
        )
    return skeleton


def _check_mask(
    segmentation: Any, size: tuple[int, int], box: tuple[float, ...], where: str, notes: Notebook
) -> None:
    try:
        if isinstance(segmentation, list) and len(check_polygons(segmentation)) < len(segmentation):
            notes.add("short_polygons", where)
        text = to_text(segmentation, size)
    except (ValueError, TypeError) as error:
        notes.add("malformed_masks", f"{where}: {error}")
        return
    if not mask_areas([text], size)[0]:
        notes.add("empty_masks", where)
        return
    x, y, width, height = mask_boxes([text], size)[0].tolist()
    if not _is_sound(box, size):
        return  # the box is reported by itself
    common = max(min(x + width, box[2]) - max(x, box[0]), 0) * max(
        min(y + height, box[3]) - max(y, box[1]), 0
    )
    if common < MIN_INSIDE * width * height:
        own = ", ".join(f"{value:g}" for value in (x, y, x + width, y + height))
        drawn = ", ".join(f"{value:.6g}" for value in box)
        notes.add("masks_off_boxes", f"{where}: mask within x1, y1, x2, y2 = {own}, box {drawn}")


def _check_keypoints(
    values: Any,
    skeleton: Skeleton,
    size: tuple[int, int] | None,
    box: tuple[float, ...],
    where: str,
    notes: Notebook,
) -> None:
    try:
        points = np.array(values, np.float64).reshape(len(skeleton), 3)
    except (ValueError, TypeError):
        notes.add(
            "malformed_keypoints",
            f"{where}: expected {3 * len(skeleton)} numbers for {len(skeleton)} keypoints, got {str(values)[:60]}",
        )
        return
    if not np.isfinite(points).all() or not np.isin(points[:, 2], (0, 1, 2)).all():
        notes.add("malformed_keypoints", f"{where}: visibility {points[:, 2].tolist()}")
        return
    labelled = points[:, 2] > 0
    if size is not None:
        off = labelled & ((points[:, :2] < 0) | (points[:, :2] > (size[1], size[0]))).any(1)
        if off.any():
            notes.add("keypoints_outside", f"{where}: {_names(skeleton, off)}")
            labelled &= ~off
    if not _is_sound(box, size):
        return
    low, high = np.array(box[:2]), np.array(box[2:])
    room = max(FAR * (high - low).max(), MIN_FAR)
    far = labelled & (np.maximum(low - points[:, :2], points[:, :2] - high).max(1) > room)
    if far.any():
        notes.add("keypoints_off_boxes", f"{where}: {_names(skeleton, far)}")


def _is_sound(box: tuple[float, ...], size: tuple[int, int] | None) -> bool:
    """Has area, and some of it in the picture."""
    x1, y1, x2, y2 = box
    height, width = size or (np.inf, np.inf)
    return bool(np.isfinite(box).all()) and max(x1, 0) < min(x2, width) and max(y1, 0) < min(y2, height)


def _names(skeleton: Skeleton, which: np.ndarray) -> str:
    return ", ".join(skeleton.names[k] for k in np.flatnonzero(which).tolist())
