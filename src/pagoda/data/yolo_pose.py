"""Keypoints in YOLO folders: kpt_shape, flip_idx and kpt_names of data.yaml, and what follows a box in a line."""

from pathlib import Path

import numpy as np

from pagoda.structures.skeleton import COCO_17, Skeleton, known_skeleton


def read_pose(root: Path, description: dict) -> tuple[Skeleton | None, int]:
    """The skeleton that kpt_shape, flip_idx and kpt_names tell of, and the numbers per keypoint: 2, or 3 with
    the visibility. (None, 0) where there are no keypoints; 17 without names that flip as COCO's are COCO's."""
    shape = description.get("kpt_shape")
    if shape is None:
        return None, 0
    if not isinstance(shape, list) or len(shape) != 2 or shape[0] < 1 or shape[1] not in (2, 3):
        raise ValueError(f"{root}: kpt_shape must be [number of keypoints, 2 or 3], got {shape!r}")
    count = int(shape[0])
    order = description.get("flip_idx")
    if order is not None and sorted(order) != list(range(count)):
        raise ValueError(f"{root}: flip_idx must hold each of 0 … {count - 1} once, got {order!r}")
    pairs = None if order is None else tuple((k, other) for k, other in enumerate(order) if k < other)
    names = description.get("kpt_names")
    names = next(iter(names.values()), None) if isinstance(names, dict) else names
    if names is None and count == len(COCO_17) and pairs == COCO_17.flip_pairs:
        return COCO_17, int(shape[1])
    names = tuple(map(str, names)) if names else tuple(f"point_{k}" for k in range(count))
    known = known_skeleton(names)
    if known is not None:
        return known, int(shape[1])
    if len(names) != count:
        raise ValueError(f"{root}: kpt_names must name {count} keypoints as kpt_shape says, got {len(names)}")
    return Skeleton(names, flip_pairs=pairs), int(shape[1])


def pose_in_pixels(
    values: list[float], count: int, num_values: int, size_wh: tuple[int, int], where: str
) -> list[float]:
    """x, y, visibility of each keypoint in pixels; without a visibility (0, 0) is not labelled."""
    if len(values) != count * num_values:
        raise ValueError(
            f"{where}: expected {count} keypoints of {num_values} numbers after the box, as kpt_shape says,"
            f" got {len(values)} numbers"
        )
    points = np.reshape(values, (count, num_values))
    visibility = points[:, 2] if num_values == 3 else np.where((points > 0).any(1), 2.0, 0.0)
    if not np.isin(visibility, (0, 1, 2)).all():
        raise ValueError(
            f"{where}: the visibility of a keypoint must be 0, 1 or 2, got {visibility.tolist()}"
        )
    pixels = points[:, :2] * size_wh * (visibility > 0)[:, None]
    return np.column_stack([pixels, visibility]).flatten().tolist()
