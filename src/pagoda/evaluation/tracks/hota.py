"""HOTA, CLEAR and identity metrics from TrackEval, handed plain arrays instead of files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

INSTALL = "HOTA and identity metrics come from TrackEval; install it with: pip install 'pagoda-vision[track]'"


@dataclass(frozen=True)
class FramePairs:
    """One frame of one video: ids of the objects (N,), of the hypotheses (M,), and how alike they are (N, M), 0 … 1."""

    objects: np.ndarray
    hypotheses: np.ndarray
    similarities: np.ndarray


def sequence_data(frames: Sequence[FramePairs]) -> dict[str, Any]:
    """The frames of one video as TrackEval's metrics want them: ids numbered from 0 without gaps."""
    objects, num_objects = _numbered([frame.objects for frame in frames])
    hypotheses, num_hypotheses = _numbered([frame.hypotheses for frame in frames])
    return {
        "num_timesteps": len(frames),
        "num_gt_ids": num_objects,
        "num_tracker_ids": num_hypotheses,
        "num_gt_dets": sum(map(len, objects)),
        "num_tracker_dets": sum(map(len, hypotheses)),
        "gt_ids": objects,
        "tracker_ids": hypotheses,
        "similarity_scores": [frame.similarities for frame in frames],
    }


def create_metrics(min_similarity: float = 0.5) -> dict[str, Any]:
    """TrackEval's HOTA, CLEAR and Identity by name; the last two count pairs of at least `min_similarity`.

    Raises ImportError with the remedy when TrackEval is not installed.
    """
    try:
        from trackeval.metrics import CLEAR, HOTA, Identity
    except ImportError as error:
        raise ImportError(INSTALL) from error
    config = {"THRESHOLD": min_similarity, "PRINT_CONFIG": False}
    return {"HOTA": HOTA(), "CLEAR": CLEAR(config), "Identity": Identity(config)}


def combine(metric: Any, per_sequence: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    """The result of all videos (or videos and classes) together."""
    return metric.combine_sequences(per_sequence)


def hota_numbers(result: dict[str, Any]) -> dict[str, float]:
    """HOTA, DetA, AssA and LocA, each the mean over the 19 similarity thresholds 0.05 … 0.95."""
    return {name: float(np.mean(result[name])) for name in ("HOTA", "DetA", "AssA", "LocA")}


def _numbered(per_frame: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    known, inverse = np.unique(np.concatenate([np.zeros(0, np.int64), *per_frame]), return_inverse=True)
    ends = np.cumsum([len(ids) for ids in per_frame])
    return np.split(inverse, ends[:-1]) if per_frame else [], len(known)
