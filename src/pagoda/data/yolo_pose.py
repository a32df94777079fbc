"""Keypoints in YOLO folders: kpt_shape, flip_idx and kpt_names of data.yaml, and what follows a box in a line."""

from pathlib import Path

import numpy as np

from pagoda.data.complaints import Complaints
from pagoda.structures.skeleton import COCO_17, Skeleton, known_skeleton
from pagoda.text_files import as_whole


def read_pose(root: Path, description: dict, complaints: Complaints) -> tuple[Skeleton | None, int]:
    """The skeleton that kpt_shape, flip_idx and kpt_names tell of, and the numbers per keypoint: 2, or 3 with
    the visibility. (None, 0) where there are no keypoints; 17 without names that flip as COCO's are COCO's."""
    if description.get("kpt_shape") is None:
        return None, 0
    try:
        return _skeleton(str(root), description)
    except ValueError as error:
        complaints.add("broken_skeletons", str(error))
        return None, 0


def _skeleton(root: str, description: dict) -> tuple[Skeleton, int]:
    shape, order, names = (description.get(key) for key in ("kpt_shape", "flip_idx", "kpt_names"))
    count, num_values = map(as_whole, shape) if isinstance(shape, list) and len(shape) == 2 else (None, None)
    if count is None or count < 1 or num_values not in (2, 3):
        raise ValueError(f"{root}: kpt_shape must be [number of keypoints, 2 or 3], got {shape!r}")
    if order is not None:
        order = [as_whole(k) for k in order] if isinstance(order, list) else None
        if order is None or set(order) != set(range(count)) or len(order) != count:
            given = description["flip_idx"]
            raise ValueError(f"{root}: flip_idx must hold each of 0 … {count - 1} once, got {given!r}")
    pairs = None if order is None else tuple((k, other) for k, other in enumerate(order) if k < other)
    names = next(iter(names.values()), None) if isinstance(names, dict) else names
    if names is None and count == len(COCO_17) and pairs == COCO_17.flip_pairs:
        return COCO_17, num_values
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{root}: kpt_names must be a list of names, got {names!r}")
    names = tuple(names) if names else tuple(f"point_{k}" for k in range(count))
    if len(names) != count:
        raise ValueError(f"{root}: kpt_names must name {count} keypoints as kpt_shape says, got {len(names)}")
    known = known_skeleton(names)
    try:
        return known or Skeleton(names, flip_pairs=pairs), num_values
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from error


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
