"""pagoda track eval --gt TRUTH --pred TRACKS"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.console import Console

from pagoda.cli.parsing import parse
from pagoda.data.posetrack_joints import to_posetrack_15
from pagoda.data.track_files import match_videos, read_tracks
from pagoda.evaluation.pose_protocol import PROTOCOLS
from pagoda.evaluation.posetrack import PoseTrackEvaluator
from pagoda.evaluation.tracking import TrackEvaluator
from pagoda.plain import checked
from pagoda.structures.tracks import Tracks


@checked
@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Score tracks: boxes by HOTA, CLEAR and identity metrics, poses by PoseTrack's.

    pagoda track eval --gt MOT/ --pred runs/track-1/
    pagoda track eval --gt posetrack/val/ --pred posetrack18/ --protocol poseval-current
    """

    gt: str
    """ground truth: MOT text or sequences, or PoseTrack JSON; a file or a folder"""
    pred: str
    """tracks of the same videos under the same names"""
    task: Literal["auto", "boxes", "poses"] = "auto"
    """auto: poses where the ground truth has some"""
    min_iou: float = 0.5
    matches_survive_gaps: bool = False
    """for boxes: count CLEAR as py-motmetrics does, not as TrackEval"""
    protocol: Literal["clean", "poseval-2017", "poseval-current"] = "clean"
    """for poses: count correctly, or as one of PoseTrack's evaluators"""
    hota: bool = True
    """for poses: keypoint-HOTA too"""
    min_keypoint_score: float | None = None
    """for poses: predicted joints below are left out"""
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    command = parse(EvalCommand, "track eval", arguments)
    pairs = match_videos(read_tracks(command.gt, is_truth=True), read_tracks(command.pred))
    pairs = [(truth, _same_length(truth, found)) for truth, found in pairs]
    is_pose = command.task == "poses" or (
        command.task == "auto" and any(truth.keypoints is not None and len(truth) for truth, _ in pairs)
    )
    evaluator: PoseTrackEvaluator | TrackEvaluator
    if is_pose:
        evaluator = PoseTrackEvaluator(PROTOCOLS[command.protocol], with_hota=command.hota)
    else:
        evaluator = TrackEvaluator(min_iou=command.min_iou, matches_survive_gaps=command.matches_survive_gaps)
    loose = sum(len(found) - len(found.linked()) for _, found in pairs)
    for truth, found in pairs:
        if is_pose:
            truth = to_posetrack_15(truth)
            found = to_posetrack_15(found, min_keypoint_score=command.min_keypoint_score)
        evaluator.update(truth, found.linked())
    if loose:
        text = f"{loose} predicted objects belong to no track and are not counted"
        Console(stderr=True).print(text, highlight=False)
    result = evaluator.result()
    print(json.dumps(result.to_dict()) if command.json else result.table())
    return 0


def _same_length(truth: Tracks, found: Tracks) -> Tracks:
    """MOT text does not tell how many frames there are: a tracker that saw nobody at the end has fewer."""
    if found.frame_names or found.num_frames >= truth.num_frames:
        return found
    return replace(found, num_frames=truth.num_frames)
