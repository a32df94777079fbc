"""What linkers remember: all tracks of a video in one array, a record each. N tracks, H observations, K keypoints."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pagoda.tracking.motion import move_boxes, move_points
from pagoda.tracking.objects import Objects, unit_length

PARTS = ("keypoints", "masks", "appearance")
"""what objects may have and tracks then keep as last seen, appearance as a running mean"""


def begin_tracks(
    objects: Objects,
    motion: np.ndarray,
    track_ids: np.ndarray,
    frame: int,
    memory: int,
    *,
    like: np.dtype | None = None,
) -> np.ndarray:
    """(N,) a record for each of the objects: a track that begins, of whose observations `memory` are kept.

    Fields: motion (5, 4), as predicted for the frame at hand or corrected in it; at_last_sight (5, 4), as corrected
    when last seen; label; track_id; first_frame; num_seen, the frames it was seen in; frames (H,) of the last
    observations, the newest last, -1 before the first; boxes (H, 4) of them, xyxy pixels of the frame at hand; and of
    `PARTS` what the objects have, or what tracks have that are `like` these; what of that is missing is 0.

    >>> objects = Objects(np.array([[0., 0., 9., 30.]]), np.array([0.9]), np.array([4]))
    >>> tracks = begin_tracks(objects, np.zeros((1, 5, 4)), np.array([1]), frame=7, memory=2)
    >>> tracks["label"], tracks["frames"]
    (array([4]), array([[-1,  7]]))
    """
    parts = {name: getattr(objects, name) for name in PARTS if getattr(objects, name) is not None}
    tracks = np.zeros(len(objects), dtype=_kinds(parts, memory) if like is None else like)
    tracks["motion"] = tracks["at_last_sight"] = motion
    tracks["label"], tracks["track_id"] = objects.labels, track_ids
    tracks["first_frame"], tracks["num_seen"] = frame, 1
    tracks["frames"], tracks["boxes"] = -1, objects.boxes[:, None]
    tracks["frames"][:, -1] = frame
    for name, values in parts.items():
        if name in (tracks.dtype.names or ()):
            tracks[name] = values
    return tracks


def _kinds(parts: Mapping[str, np.ndarray], memory: int) -> np.dtype:
    kinds: list[tuple[Any, ...]] = [
        ("motion", "f8", (5, 4)),
        ("at_last_sight", "f8", (5, 4)),
        ("label", "i8"),
        ("track_id", "i8"),
        ("first_frame", "i8"),
        ("num_seen", "i8"),
        ("frames", "i8", (memory,)),
        ("boxes", "f8", (memory, 4)),
    ]
    kinds += [(name, values.dtype, values.shape[1:]) for name, values in parts.items()]
    return np.dtype(kinds)


def see(
    tracks: np.ndarray,
    seen: np.ndarray | slice,
    motion: np.ndarray,
    objects: Objects,
    rows: np.ndarray,
    frame: int,
    *,
    momentum: float,
) -> None:
    """Note in place that the tracks of the numbers `seen` were seen as the objects of `rows`, and now are believed to
    do `motion`.

    Of their appearance so far `momentum` is kept.
    """
    tracks["motion"][seen] = tracks["at_last_sight"][seen] = motion
    tracks["num_seen"][seen] += 1
    frames, boxes = tracks["frames"], tracks["boxes"]
    if frames.shape[1] > 1:
        frames[seen, :-1], boxes[seen, :-1] = frames[seen, 1:], boxes[seen, 1:]
    frames[seen, -1], boxes[seen, -1] = frame, objects.boxes[rows]
    for name in shared_parts(tracks, objects):
        now = getattr(objects, name)[rows]
        if name == "appearance":
            now = unit_length(momentum * tracks[name][seen] + (1 - momentum) * now)
        tracks[name][seen] = now


def shared_parts(tracks: np.ndarray, objects: Objects) -> list[str]:
    """Of `PARTS` those that tracks and objects have."""
    if objects.keypoints is objects.masks is objects.appearance is None:
        return []
    names = tracks.dtype.names or ()
    return [name for name in PARTS if getattr(objects, name) is not None and name in names]


def move(tracks: np.ndarray, camera: np.ndarray) -> None:
    """Take the places where tracks were seen into the frame at hand; `MotionModel.move` does it for motions."""
    tracks["boxes"] = move_boxes(tracks["boxes"], camera)
    if "keypoints" in (tracks.dtype.names or ()):
        tracks["keypoints"] = move_points(tracks["keypoints"], camera)
