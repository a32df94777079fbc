"""What PoseTrack's evaluation says: scores of each joint in percent, their means, and the usual table."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pagoda.evaluation.tracks.pose_protocol import EqualScores, PoseTrackProtocol
from pagoda.evaluation.tracks.result import finite_or_none, text_columns
from pagoda.plain import JsonObject, checked

COLUMNS = {
    "Head": ("head_top", "neck", "head_bottom", "nose"),
    "Shou": ("left_shoulder", "right_shoulder"),
    "Elb": ("left_elbow", "right_elbow"),
    "Wri": ("left_wrist", "right_wrist"),
    "Hip": ("left_hip", "right_hip"),
    "Knee": ("left_knee", "right_knee"),
    "Ankl": ("left_ankle", "right_ankle"),
}


@dataclass(frozen=True)
class PoseTrackResult:
    """PoseTrack's scores of each joint, in percent; nan for joints of which there is nothing to score.

    >>> rows = {"nose": {"AP": 80.0, "MOTA": 50.0}, "left_hip": {"AP": 60.0, "MOTA": float("nan")}}
    >>> PoseTrackResult(rows, PoseTrackProtocol(), num_videos=1).metrics
    {'mAP': 70.0, 'MOTA': 50.0}
    """

    per_joint: dict[str, dict[str, float]]
    """joint → AP, AP_precision, AP_recall (of all predictions), MOTA, MOTP, precision, recall, perhaps HOTA"""
    protocol: PoseTrackProtocol
    """how was counted"""
    num_videos: int
    """that were added"""
    notes: tuple[str, ...] = ()
    """what could not be scored, and why"""

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each score over the joints that have it; AP is called mAP."""
        names = next(iter(self.per_joint.values()))
        means = {name: _mean_of(row[name] for row in self.per_joint.values()) for name in names}
        return {"mAP" if name == "AP" else name: value for name, value in means.items()}

    def columns(self, name: str) -> dict[str, float]:
        """One score for head, shoulders, … as the mean of their joints, and in total."""
        grouped = {
            column: _mean_of(self.per_joint[joint][name] for joint in joints if joint in self.per_joint)
            for column, joints in COLUMNS.items()
        }
        return {**grouped, "Total": _mean_of(row[name] for row in self.per_joint.values())}

    def table(self) -> str:
        """Plain text: AP and tracking scores in PoseTrack's columns, then how they were counted."""
        names = [n for n in next(iter(self.per_joint.values())) if not n.startswith("AP_")]
        rows = [["", *COLUMNS, "Total"]]
        for name in names:
            rows.append([name, *("–" if np.isnan(v) else f"{v:.1f}" for v in self.columns(name).values())])
        return "\n".join([text_columns(rows), "", str(self.protocol), *self.notes])

    def to_dict(self) -> JsonObject:
        """Plain numbers, ready for JSON; None where a value is undefined."""
        return {
            "metrics": finite_or_none(self.metrics),
            "per_joint": {name: finite_or_none(row) for name, row in self.per_joint.items()},
            "protocol": vars(self.protocol),
            "num_videos": self.num_videos,
            "notes": list(self.notes),
        }


def _mean_of(values: Iterable[float]) -> float:
    """The mean of the values that are not nan; nan when there are none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


@checked
def average_precision(
    scores: np.ndarray, is_right: np.ndarray, num_annotated: int, *, equal_scores: EqualScores = "together"
) -> dict[str, float]:
    """AP in percent (VOC's, all points), precision and recall of all predictions together.

    AP is the area under the precision, made non-increasing, over the recall. nan without annotated joints.

    >>> average_precision(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 0, 1, 1, 0], bool), 4)["AP"]
    62.5
    """
    if not num_annotated:
        return dict.fromkeys(("AP", "AP_precision", "AP_recall"), float("nan"))
    if not len(scores):
        return {"AP": 0.0, "AP_precision": float("nan"), "AP_recall": 0.0}
    order = np.argsort(scores)[::-1]
    right, counted = np.cumsum(is_right[order]), np.arange(1, len(scores) + 1)
    if equal_scores == "together":
        is_last = np.diff(scores[order], append=-np.inf) != 0
        right, counted = right[is_last], counted[is_last]
    recall, precision = right / num_annotated, right / counted
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    area = float(np.sum(np.diff(recall, prepend=0.0) * envelope))
    return {
        "AP": 100 * area,
        "AP_precision": 100 * float(precision[-1]),
        "AP_recall": 100 * float(recall[-1]),
    }
