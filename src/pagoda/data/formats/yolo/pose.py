"""Keypoints in YOLO folders: kpt_shape, flip_idx and kpt_names of data.yaml, and what follows a box in a line."""

from pathlib import Path

import numpy as np

from pagoda.data.reading.category_ids import complain_of_trimming
from pagoda.data.reading.complaints import Complaints
from pagoda.files.text import as_name, as_whole
from pagoda.messages import counted
from pagoda.structures.skeleton import COCO_17, Skeleton, known_skeleton

MOST_KEYPOINTS = 10_000
POLYGON_MARGIN = 0.01
"""How far beyond the picture a polygon may reach: programs round"""


def read_pose(root: Path, description: dict, complaints: Complaints) -> tuple[Skeleton | None, int]:
    """The skeleton that kpt_shape, flip_idx and kpt_names tell of, and the numbers per keypoint: 2, or 3 with
    the visibility. (None, 0) where there are no keypoints; 17 without names that flip as COCO's are COCO's.

    >>> description = {"kpt_shape": [3, 2], "flip_idx": [0, 2, 1]}
    >>> skeleton, num_values = read_pose(Path("set"), description, Complaints())
    >>> skeleton.names, skeleton.flip_pairs, num_values
    (('point_0', 'point_1', 'point_2'), ((1, 2),), 2)
    """
    if description.get("kpt_shape") is None:
        return None, 0
    try:
        return _skeleton(str(root), _with_plain_names(str(root), description, complaints))
    except ValueError as error:
        complaints.add("broken_skeletons", str(error))
        return None, 0


def _with_plain_names(root: str, description: dict, complaints: Complaints) -> dict:
    """kpt_names, of the first class where each has its own, as names are read; what is no list of text stays."""
    written = description.get("kpt_names")
    written = next(iter(written.values()), None) if isinstance(written, dict) else written
    if not isinstance(written, list) or not all(isinstance(name, str) for name in written):
        return {**description, "kpt_names": written}
    names = [as_name(name) for name in written]
    for value, name in zip(written, names, strict=True):
        complain_of_trimming(value, name, root, complaints)
    return {**description, "kpt_names": names}


def _skeleton(root: str, description: dict) -> tuple[Skeleton, int]:
    shape, order, names = (description.get(key) for key in ("kpt_shape", "flip_idx", "kpt_names"))
    count, num_values = map(as_whole, shape) if isinstance(shape, list) and len(shape) == 2 else (None, None)
    if count is None or not 1 <= count <= MOST_KEYPOINTS or num_values not in (2, 3):
        raise ValueError(
            f"{root}: kpt_shape must be [number of keypoints, 2 or 3], got {shape!r:.60};"
            f" at most {MOST_KEYPOINTS} keypoints"
        )
    if order is not None:
        order = [as_whole(k) for k in order] if isinstance(order, list) else None
        if order is None or set(order) != set(range(count)) or len(order) != count:
            given = description["flip_idx"]
            raise ValueError(f"{root}: flip_idx must hold each of 0 … {count - 1} once, got {given!r}")
    pairs = None if order is None else tuple((k, other) for k, other in enumerate(order) if k < other)
    if names is None and count == len(COCO_17) and pairs == COCO_17.flip_pairs:
        return COCO_17, num_values
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{root}: kpt_names must be a list of names, got {names!r}")
    names = tuple(names) if names else tuple(f"point_{k}" for k in range(count))
    if len(names) != count:
        raise ValueError(
            f"{root}: kpt_names must name {counted(count, 'keypoint')} as kpt_shape says, got {len(names)}"
        )
    known = known_skeleton(names)
    remedy = (
        f"add flip_idx to the YAML file in {root}, for each of the {counted(count, 'keypoint')} the number"
        " of the one it becomes"
        f" in a mirror ({list(range(count))} where none changes)"
    )
    try:
        return known or Skeleton(names, flip_pairs=pairs, flip_remedy=remedy), num_values
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from error


def pose_in_pixels(
    values: list[float], count: int, num_values: int, size_wh: tuple[int, int], where: str
) -> list[float]:
    """x, y, visibility of each keypoint in pixels; without a visibility (0, 0) is not labelled.

    Raises ValueError that begins with `where` for another count of numbers, or numbers that are none.

    >>> pose_in_pixels([0.5, 0.5, 0.0, 0.0], count=2, num_values=2, size_wh=(40, 20), where="a.txt, line 1")
    [20.0, 10.0, 2.0, 0.0, 0.0, 0.0]
    """
    if len(values) != count * num_values:
        raise ValueError(
            f"{where}: expected {counted(count, 'keypoint')} of {num_values} numbers after the box, as kpt_shape says,"
            f" got {len(values)} numbers"
        )
    points = np.reshape(values, (count, num_values))
    if not np.isfinite(points).all():
        raise ValueError(f"{where}: keypoints must be finite numbers, got {points.tolist()}"[:200])
    visibility = points[:, 2] if num_values == 3 else np.where((points > 0).any(1), 2.0, 0.0)
    if not np.isin(visibility, (0, 1, 2)).all():
        raise ValueError(
            f"{where}: the visibility of a keypoint must be 0, 1 or 2, got {visibility.tolist()}"
        )
    pixels = points[:, :2] * size_wh * (visibility > 0)[:, None]
    return np.column_stack([pixels, visibility]).flatten().tolist()


def refuse_unsaid_keypoints(values: list[float], where: str) -> None:
    """Raises ValueError where the numbers after the class must be, or may be, keypoints that kpt_shape does not tell
    of: a visibility would be read as a coordinate. What can be a polygon of the picture is let through."""
    if count := _keypoints_in(values):
        raise ValueError(
            f"{where}: this looks like a box and {counted(count, 'keypoint')} with their visibility, but"
            " kpt_shape is not given;"
            f" add kpt_shape: [{count}, 3] to the YAML file of the data set"
        )
    is_polygon = len(values) >= 6 and len(values) % 2 == 0
    if is_polygon and not -POLYGON_MARGIN <= min(values) <= max(values) <= 1 + POLYGON_MARGIN:
        outside = max(values, key=lambda value: abs(value - 0.5))
        raise ValueError(
            f"{where}: expected shares of the picture, 0 … 1, got {outside:g}, so this is no polygon; if these are"
            " keypoints, add kpt_shape: [number of keypoints, 2 or 3] to the YAML file of the data set, if they are"
            " pixels, divide them by the picture's size"
        )


def _keypoints_in(values: list[float]) -> int:
    """How many keypoints x, y, visibility follow a box in a row where nobody says so; 0 where that is not certain.

    Certain is a visibility of 2, an odd number of values, which no polygon has, or at least three keypoints of which
    each has 0, 1 or 2 in its place: no polygon touches the border so often in just these coordinates.
    """
    count, rest = divmod(len(values) - 4, 3)
    visibilities = values[6::3]
    if rest or count < 1 or not set(visibilities) <= {0, 1, 2}:
        return 0
    return count if 2 in visibilities or len(values) % 2 or count >= 3 else 0
