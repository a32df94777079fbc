"""People as boxes walking straight through a 200 × 300 picture, seen with small errors and sometimes missed."""

import numpy as np
import torch

from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import Tracks

PERSON = LabelMap.from_names(["person"])
SIZE = (200, 300)


def true_tracks(starts, speeds, num_frames, name="walk") -> Tracks:
    """Boxes 20 × 50 from `starts` (n, 2) on, moving by `speeds` (n, 2) pixels per frame."""
    starts, speeds = np.array(starts, dtype=float), np.array(speeds, dtype=float)
    n = len(starts)
    corners = starts[None] + np.arange(num_frames)[:, None, None] * speeds[None]
    boxes = np.concatenate([corners, corners + np.array([20, 50])], 2).reshape(-1, 4)
    frames, ids = np.repeat(np.arange(num_frames), n), np.tile(np.arange(n), num_frames)
    labels = np.zeros(len(boxes), dtype=np.int64)
    return Tracks(frames, ids, boxes, np.full(len(boxes), 0.97), labels, PERSON, num_frames, SIZE, name)


def seen(truth: Tracks, *, missed=(), noise=0.0, seed=0) -> list[Detections]:
    """What a detector reports: `missed` (frame, id) are left out, corners are off by about `noise` pixels."""
    rng = np.random.default_rng(seed)
    is_seen = np.array(
        [
            (f, i) not in set(missed)
            for f, i in zip(truth.frames.tolist(), truth.track_ids.tolist(), strict=True)
        ]
    )
    rows = truth.rows(np.flatnonzero(is_seen))
    boxes = rows.boxes + rng.normal(0, noise, rows.boxes.shape)
    frames = []
    for frame in range(truth.num_frames):
        mine = rng.permutation(np.flatnonzero(rows.frames == frame))
        frames.append(detections(boxes[mine], rows.scores[mine]))
    return frames


def detections(boxes, scores, labels=None, label_map=PERSON, keypoints=None) -> Detections:
    n = len(boxes)
    return Detections(
        torch.as_tensor(np.asarray(boxes, dtype=float).reshape(-1, 4)),
        torch.as_tensor(np.asarray(scores, dtype=float)),
        torch.zeros(n, dtype=torch.long) if labels is None else torch.as_tensor(labels),
        SIZE,
        label_map,
        keypoints=None if keypoints is None else torch.as_tensor(np.asarray(keypoints, dtype=float)),
    )
