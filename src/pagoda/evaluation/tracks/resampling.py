"""HOTA, CLEAR and identity scores of samples of the videos, from counts that add up: no video is matched anew.

V videos, R samples, 19 similarity thresholds of HOTA.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pagoda.evaluation.tracks.clear import ClearCounts
from pagoda.evaluation.tracks.hota import Scores

Part = tuple[Mapping[str, Scores], ClearCounts]
"""one class of one video: TrackEval's scores under HOTA, CLEAR and Identity, and CLEAR's counts across gaps"""


class VideoCounts(NamedTuple):
    """What adds up over videos and classes, a row per video."""

    names: tuple[str, ...]
    """of the videos"""
    found: np.ndarray
    """(V, 19) pairs at each threshold"""
    detections: np.ndarray
    """(V, 19) pairs, misses and false positives: the whole of DetA"""
    associated: np.ndarray
    """(V, 19) sum of AssA over the pairs"""
    objects: np.ndarray
    """(V,) in every frame they are in"""
    wrong: np.ndarray
    """(V,) misses, false positives and switches of CLEAR"""
    identified: np.ndarray
    """(V, 2) IDTP, and the whole of IDF1: IDTP + ½ IDFP + ½ IDFN"""

    def metrics(self, drawn: np.ndarray) -> dict[str, np.ndarray]:
        """HOTA, DetA, AssA, MOTA, IDF1 → (R,) of samples that hold each video as often as `drawn` (R, V) says.

        As the evaluator computes them from one set of videos; nan for a sample without objects.

        >>> none = np.zeros((2, 19))
        >>> clear, identity = np.array([8, 2]), np.array([[6.0, 8], [0, 2]])
        >>> counts = VideoCounts(("a", "b"), none, none, none, clear, np.array([2, 2]), identity)
        >>> counts.metrics(np.array([[1, 1], [2, 0]]))["MOTA"].round(2).tolist()
        [0.6, 0.75]
        """
        objects = drawn @ self.objects
        found = drawn @ self.found
        detection = found / np.maximum(drawn @ self.detections, 1)
        association = (drawn @ self.associated) / np.maximum(found, 1)
        identity = drawn @ self.identified
        numbers = {
            "HOTA": np.sqrt(detection * association).mean(1),
            "DetA": detection.mean(1),
            "AssA": association.mean(1),
            "MOTA": 1 - (drawn @ self.wrong) / np.maximum(objects, 1),
            "IDF1": identity[:, 0] / np.maximum(identity[:, 1], 1),
        }
        return {name: np.where(objects > 0, values, np.nan) for name, values in numbers.items()}


def video_counts(parts: Mapping[str, Sequence[Part]], *, survive_gaps: bool) -> VideoCounts:
    """Of each video its parts, one per class; `survive_gaps`: MOTA by `ClearCounts`, not by TrackEval's scores."""
    rows = [[_counts(part, survive_gaps) for part in mine] for mine in parts.values()]
    width = len(VideoCounts._fields) - 1
    columns = (np.array([sum(row[place] for row in mine) for mine in rows]) for place in range(width))
    return VideoCounts(tuple(parts), *columns)


def _counts(part: Part, survive_gaps: bool) -> tuple[np.ndarray, ...]:
    """In the order of the fields of `VideoCounts`."""
    scores, gaps = part
    hota, clear, identity = (scores[name] for name in ("HOTA", "CLEAR", "Identity"))
    wrong = (
        gaps.misses + gaps.false_positives + gaps.switches
        if survive_gaps
        else clear["CLR_FN"] + clear["CLR_FP"] + clear["IDSW"]
    )
    whole = identity["IDTP"] + (identity["IDFP"] + identity["IDFN"]) / 2
    return (
        np.asarray(hota["HOTA_TP"], np.float64),
        np.asarray(hota["HOTA_TP"] + hota["HOTA_FN"] + hota["HOTA_FP"], np.float64),
        np.asarray(hota["AssA"] * hota["HOTA_TP"]),
        np.asarray(clear["CLR_TP"] + clear["CLR_FN"], np.float64),
        np.asarray(wrong, np.float64),
        np.array([identity["IDTP"], whole], np.float64),
    )
