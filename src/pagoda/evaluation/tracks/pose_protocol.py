"""How PoseTrack is counted: what the programs that publish its scores do differently, as named choices."""

from dataclasses import dataclass
from typing import Literal

from pagoda.plain import checked

EqualScores = Literal["together", "one_by_one"]
"""how predictions with the same score enter AP: all at once, or in the order a sort leaves them in"""
EmptyFrames = Literal["count", "one_of_each", "repeat_previous"]
"""what a frame without annotated or predicted people counts as"""


@checked
@dataclass(frozen=True)
class PoseTrackProtocol:
    """How PoseTrack is counted where programs differ. The default counts everything that is there.

    >>> PROTOCOLS["poseval-2017"].empty_frames, PoseTrackProtocol().empty_frames
    ('repeat_previous', 'count')
    """

    drop_last_frame: bool = True
    """of each video, from the tracking scores; all published numbers do"""
    empty_frames: EmptyFrames = "count"
    """where nobody is annotated or nobody predicted: count those who are there; or one object, one miss and
    one false positive per joint; or the previous frame once more"""
    absent_joints_are_zero: bool = False
    """a joint never annotated has AP and MOTP 0 in the mean, instead of being left out"""
    motp_of_logged_events: bool = False
    """MOTP sums the distances of everything py-motmetrics 1.4 logs, not only of what was found"""
    equal_scores: EqualScores = "together"
    """predictions with the same score enter AP at once; or one by one, as numpy's argsort happens to leave them"""
    max_distance: float = 0.5
    """up to which a joint is right, in head sizes (0.6 · the diagonal of the head box)"""


POSEVAL_2017 = PoseTrackProtocol(
    empty_frames="repeat_previous", absent_joints_are_zero=True, equal_scores="one_by_one"
)
"""As the first poseval and Detect-and-Track's copy of it count: people missed by a whole frame go unnoticed."""
POSEVAL_CURRENT = PoseTrackProtocol(
    empty_frames="one_of_each",
    absent_joints_are_zero=True,
    motp_of_logged_events=True,
    equal_scores="one_by_one",
)
"""As poseval of 2020 counts with py-motmetrics 1.2 or later; its MOTP is too low."""
PROTOCOLS = {"clean": PoseTrackProtocol(), "poseval-2017": POSEVAL_2017, "poseval-current": POSEVAL_CURRENT}
