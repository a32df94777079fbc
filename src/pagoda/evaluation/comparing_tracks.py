"""Two sets of tracks on the same annotated videos: which is better, and how surely."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pagoda.evaluation.coco.bootstrap import draw_samples, interval
from pagoda.evaluation.coco.result import ApDifference
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.plain import check_counts

FEWEST_VIDEOS = 5
"""with which an interval is told; with fewer the bootstrap draws the same few sets over and over"""
ENOUGH_VIDEOS = 20
"""from which on an interval holds what it says, in simulated sets (tests/evaluation/tracks/test_comparing.py)"""


@dataclass(frozen=True, kw_only=True)
class VideoChange:
    """How much the second tracks are better in one video, as fractions 0 … 1; nan without objects."""

    video: str
    """its name"""
    hota: float
    """of HOTA"""
    mota: float
    """of MOTA"""
    idf1: float
    """of IDF1"""


@dataclass(frozen=True, kw_only=True)
class TrackComparison:
    """The second tracks beside the first, on the same videos."""

    parts: dict[str, ApDifference]
    """HOTA, DetA, AssA, MOTA, IDF1; without an interval (nan) where there are too few videos"""
    videos: list[VideoChange]
    """in which anything is otherwise, the greatest gain of HOTA first"""
    num_videos: int
    """that both were scored on"""
    rounds: int
    """samples that the intervals are from"""
    protocol_of_scores: str
    """how each side was scored"""

    def table(self) -> str:
        """Every score with its interval, and what may be said of HOTA, IDF1 and MOTA."""
        width = max(map(len, self.parts))
        lines = [f"{'':{width}}    first   second   change   95 % interval"]
        lines += [f"{name:{width}} {difference.row()}" for name, difference in self.parts.items()]
        verdicts = [f"{name}: {self.verdict(name)}" for name in ("HOTA", "IDF1", "MOTA")]
        return "\n".join([*lines, "", *verdicts, self.protocol(), self.protocol_of_scores])

    def verdict(self, name: str) -> str:
        """Which of the two is better by this score; or why that cannot be told."""
        part = self.parts[name]
        if math.isnan(part.difference):
            return "nothing to compare: no objects"
        if math.isnan(part.low):
            return (
                f"cannot be told: {100 * part.difference:+.1f} points in {self.num_videos} of the at least"
                f" {FEWEST_VIDEOS} videos that an interval takes"
            )
        return part.verdict(self.num_videos, "videos")

    def protocol(self) -> str:
        """What the intervals cover."""
        told = (
            f"{self.num_videos} videos, {self.rounds} bootstrap samples of them, the same for both, percentiles widened"
            " for so few; the intervals cover other videos, not other seeds"
        )
        if not FEWEST_VIDEOS <= self.num_videos < ENOUGH_VIDEOS:
            return told
        return (
            f"{told}; of fewer than {ENOUGH_VIDEOS} videos they hold the truth some 92 times in 100, not 95"
        )

    def to_dict(self) -> dict[str, object]:
        """Plain numbers and words; None for what is undefined."""
        return {
            "parts": {name: each.to_dict() for name, each in self.parts.items()},
            "verdicts": {name: self.verdict(name) for name in self.parts},
            "videos": [
                {
                    name: None if isinstance(value, float) and math.isnan(value) else value
                    for name, value in asdict(each).items()
                }
                for each in self.videos
            ],
            "num_videos": self.num_videos,
            "rounds": self.rounds,
            "protocol": f"{self.protocol()}\n{self.protocol_of_scores}",
        }


def compare_tracks(
    first: TrackEvaluator, second: TrackEvaluator, *, rounds: int = 2000, seed: int = 0
) -> TrackComparison:
    """Score both on `rounds` samples of the videos, as many as there are, drawn with replacement.

    HOTA and the others are computed from the summed counts of each sample, as of any set of videos. The interval is
    the expanded percentile one (Hesterberg 2015): plain percentiles of few videos are too narrow.

    Raises ValueError where the two were scored on other videos or by other rules.

    >>> import pagoda.data.drawn.walking as walking
    >>> truths = [each.tracks for each in (walking.WalkingFigures(num_videos=5, num_frames=3)[i] for i in range(5))]
    >>> first, second = TrackEvaluator(), TrackEvaluator()
    >>> for truth in truths:
    ...     first.update(truth, truth.rows(truth.frames > 0))
    ...     second.update(truth, truth)
    >>> compare_tracks(first, second, rounds=100).parts["MOTA"].ap
    1.0
    """
    check_counts(rounds=rounds)
    _check_alike(first, second)
    before, now = first.video_counts(), second.video_counts()
    order = [now.names.index(name) for name in before.names]
    now = now._replace(
        names=before.names, **{field: getattr(now, field)[order] for field in now._fields if field != "names"}
    )
    count = len(before.names)
    drawn = draw_samples(count, rounds, seed)
    samples = np.concatenate([np.ones_like(drawn[:1]), drawn])
    sides = [each.metrics(samples) for each in (before, now)]
    alone = [each.metrics(np.eye(count)) for each in (before, now)]
    changes = {name: alone[1][name] - alone[0][name] for name in ("HOTA", "MOTA", "IDF1")}
    videos = [
        VideoChange(video=video, **{name.lower(): float(values[place]) for name, values in changes.items()})
        for place, video in enumerate(before.names)
        if any(abs(values[place]) > 1e-12 for values in changes.values())
    ]
    return TrackComparison(
        parts={name: _difference(sides[1][name], sides[0][name], count) for name in sides[0]},
        videos=sorted(videos, key=lambda each: -each.hota),
        num_videos=count,
        rounds=rounds,
        protocol_of_scores=second.result().protocol,
    )


def _difference(mine: np.ndarray, theirs: np.ndarray, num_videos: int) -> ApDifference:
    low, high = (
        interval((mine - theirs)[1:], num_videos) if num_videos >= FEWEST_VIDEOS else (math.nan, math.nan)
    )
    return ApDifference(ap=float(mine[0]), other_ap=float(theirs[0]), low=low, high=high)


def _check_alike(first: TrackEvaluator, second: TrackEvaluator) -> None:
    rules = [(each.min_iou, each.matches_survive_gaps, each.min_ignored_share) for each in (first, second)]
    if rules[0] != rules[1]:
        raise ValueError(
            f"the two sides are scored by other rules: {rules[0]} and {rules[1]}; give both the same"
        )
    names = [set(each.video_counts().names) for each in (first, second)]
    if not names[0] or not names[1]:
        raise ValueError("nothing to compare yet; call update(truth, found) of both for each video")
    apart: Sequence[str] = sorted(names[0] ^ names[1])
    if apart:
        raise ValueError(f"only one side was scored on the video '{apart[0]}'; both need the same videos")
