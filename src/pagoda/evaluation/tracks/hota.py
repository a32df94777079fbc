"""HOTA, CLEAR and identity metrics from TrackEval, handed plain arrays instead of files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

INSTALL = "HOTA and identity metrics come from TrackEval; install it with: pip install 'pagoda-vision[track]'"


SequenceData = dict[str, int | list[np.ndarray]]
"""one video as TrackEval takes it"""
Scores = dict[str, float | np.ndarray]
"""TrackEval's names to counts and shares; HOTA's are (19,), one for each similarity threshold"""
Key = TypeVar("Key")


class Metric(Protocol):
    """A metric of TrackEval: HOTA, CLEAR or Identity."""

    def eval_sequence(self, data: SequenceData) -> Scores:
        """The scores of one video."""

    def combine_sequences(self, all_res: Mapping[Key, Scores]) -> Scores:
        """The scores of all videos together."""


@dataclass(frozen=True)
class FramePairs:
    """One frame of one video: objects, hypotheses, and how alike each pair is.

    >>> FramePairs(np.array([4]), np.array([9, 7]), np.array([[0.8, 0.1]])).similarities.shape
    (1, 2)
    """

    objects: np.ndarray
    """(N,) ids of the ground truth"""
    hypotheses: np.ndarray
    """(M,) ids of the predictions"""
    similarities: np.ndarray
    """(N, M) 0 … 1; IoU for boxes"""


def sequence_data(frames: Sequence[FramePairs]) -> SequenceData:
    """The frames of one video as TrackEval's metrics want them: ids numbered from 0 without gaps.

    >>> data = sequence_data([FramePairs(np.array([4]), np.array([9, 7]), np.array([[0.8, 0.1]]))])
    >>> data["num_tracker_ids"], data["tracker_ids"]
    (2, [array([1, 0])])
    """
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


def create_metrics(min_similarity: float = 0.5) -> dict[str, Metric]:
    """TrackEval's HOTA, CLEAR and Identity by name; the last two count pairs of at least `min_similarity`.

    Raises ImportError with the remedy when TrackEval is not installed.
    """
    try:
        from trackeval.metrics import CLEAR, HOTA, Identity
    except ImportError as error:
        raise ImportError(INSTALL) from error
    config = {"THRESHOLD": min_similarity, "PRINT_CONFIG": False}
    return {"HOTA": HOTA(), "CLEAR": CLEAR(config), "Identity": Identity(config)}


def combine(metric: Metric, per_sequence: Mapping[Key, Scores]) -> Scores:
    """The scores of all videos (or videos and classes) together; the keys are only told apart."""
    return metric.combine_sequences(per_sequence)


def hota_numbers(result: Scores) -> dict[str, float]:
    """HOTA, DetA, AssA and LocA, each the mean over the 19 similarity thresholds 0.05 … 0.95.

    >>> hota_numbers({name: np.linspace(0, 1, 19) for name in ("HOTA", "DetA", "AssA", "LocA")})["HOTA"]
    0.5
    """
    return {name: float(np.mean(result[name])) for name in ("HOTA", "DetA", "AssA", "LocA")}


def _numbered(per_frame: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    known, inverse = np.unique(np.concatenate([np.zeros(0, np.int64), *per_frame]), return_inverse=True)
    ends = np.cumsum([len(ids) for ids in per_frame])
    return np.split(inverse, ends[:-1]) if per_frame else [], len(known)
