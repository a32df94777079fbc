"""From which score on detections of each class are worth having, as `pagoda val --save-thresholds` put it down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

REMEDY = "pagoda val MODEL --data DIR --save-thresholds puts some there"


@dataclass(frozen=True)
class ScoreThresholds:
    """A score for each class; a detection is kept from the score of its own class on."""

    scores: Mapping[str, float]
    """class name → score; a class that was never found has none"""
    otherwise: float
    """holds for a class without a score"""
    kind: str
    """"best_f1" or "precision": what they were chosen by"""
    split: str
    """of the data set that they were chosen on"""

    @classmethod
    def from_dict(cls, data: Any, names: Sequence[str]) -> "ScoreThresholds":
        """Undo Pagoda's `ScoreThresholds.to_dict`. Raises ValueError for classes that are none of `names` and for what
        is no score."""
        scores = data.get("scores") if isinstance(data, Mapping) else None
        if not isinstance(scores, Mapping):
            raise ValueError(f"thresholds must hold scores by class name, got {data!r:.80}")
        unknown = [name for name in scores if name not in names]
        if unknown:
            raise ValueError(
                f"thresholds: no class is called {unknown[0]!r:.80}; known: {', '.join(names[:10])}"
            )
        for name, score in {**scores, "otherwise": data.get("otherwise")}.items():
            if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
                raise ValueError(f"thresholds: scores are from 0 to 1, got {score!r:.80} for {name!r:.80}")
        return cls(dict(scores), float(data["otherwise"]), str(data.get("kind")), str(data.get("split")))

    def of_labels(self, names: Sequence[str]) -> np.ndarray:
        """(classes,) float32: the score of each label."""
        return np.array([self.scores.get(name, self.otherwise) for name in names], np.float32)
