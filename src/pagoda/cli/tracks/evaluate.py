"""pagoda track eval --gt TRUTH --pred TRACKS"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pagoda.cli.arguments.parsing import parse
from pagoda.data.tracks.files import match_videos, poses_in, read_tracks, same_frames
from pagoda.data.tracks.mot_classes import Benchmark
from pagoda.data.tracks.posetrack_joints import to_posetrack_15
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.evaluation.tracks.pose_protocol import PROTOCOLS
from pagoda.evaluation.tracks.posetrack import PoseTrackEvaluator
from pagoda.files.text import json_text
from pagoda.messages import counted
from pagoda.places import told_at
from pagoda.plain import checked
from pagoda.structures.left_out import check_something_counts
from pagoda.structures.tracks import Tracks

NOTHING_COUNTS = (
    "choose other classes (--classes), or other rules: --benchmark own takes the file's own classes, by number,"
    " --benchmark MOT15 flags alone"
)


@checked
@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Score tracks: boxes by HOTA, CLEAR and identity metrics, poses by PoseTrack's.

    pagoda track eval --gt MOT/ --pred runs/track-1/
    pagoda track eval --gt posetrack/val/ --pred posetrack18/ --protocol poseval-current
    """

    common = ("classes", "benchmark", "protocol", "json")

    gt: str
    """ground truth: MOT text or sequences, or PoseTrack JSON; a file or a folder"""
    pred: str
    """tracks of the same videos under the same names"""
    classes: tuple[str, ...] = ()
    """for boxes: only these classes of the ground truth, by name or number"""
    benchmark: Benchmark = "auto"
    """for MOT text: whose rules say which rows count; own: classes are the file's own; auto: labels.txt beside the file
    or VisDrone's ten columns, the benchmark in the names of sequence and folders, or MOT17"""
    task: Literal["auto", "boxes", "poses"] = "auto"
    """auto: poses where the ground truth has some"""
    min_iou: float = 0.5
    """for boxes: CLEAR and identity metrics match a prediction with an object it overlaps this much; HOTA looks at all
    thresholds"""
    matches_survive_gaps: bool = False
    """for boxes: count CLEAR as py-motmetrics does, not as TrackEval"""
    protocol: Literal["clean", "poseval-2017", "poseval-current"] = "clean"
    """for poses: count correctly, or as one of PoseTrack's evaluators"""
    hota: bool = True
    """for poses: keypoint-HOTA too"""
    min_keypoint_score: float | None = None
    """for poses: predicted joints below are left out"""
    json: bool = False
    """print all scores as JSON, those of each video too"""


def main(arguments: Sequence[str]) -> int:
    command = parse(EvalCommand, "track eval", arguments)
    truths = truths_of(command)
    is_pose = command.task == "poses" or (
        command.task == "auto" and any(truth.keypoints is not None and len(truth) for truth in truths)
    )
    result = (_poses if is_pose else boxes)(command, truths).result()
    print(json_text(result.to_dict()) if command.json else result.table())
    return 0


def truths_of(command: EvalCommand) -> list[Tracks]:
    """The ground truth, of which something counts."""
    truths = read_tracks(command.gt, is_truth=True, benchmark=command.benchmark, classes=command.classes)
    check_something_counts(truths, remedy=NOTHING_COUNTS)
    return truths


def _pairs(command: EvalCommand, truths: Sequence[Tracks], *, is_pose: bool) -> list[tuple[Tracks, Tracks]]:
    """Ground truth and predictions of each video; says what is worth knowing of them."""
    found_ones = _predictions(command, truths, is_pose=is_pose)
    for note in dict.fromkeys(note for tracks in (*truths, *found_ones) for note in tracks.notes):
        _say(note)
    pairs = []
    with told_at(f"{command.pred} against {command.gt}"):
        for truth, found in match_videos(truths, found_ones):
            found, note = same_frames(truth, found)
            pairs.append((truth, found))
            _say(note)
    return pairs


def _say_loose(pairs: Sequence[tuple[Tracks, Tracks]], consequence: str) -> None:
    loose = sum(len(found) - len(found.linked()) for _, found in pairs)
    if loose:
        belong = counted(loose, "predicted object belongs", "predicted objects belong")
        _say(f"{belong} to no track: {consequence}")


def _predictions(command: EvalCommand, truths: Sequence[Tracks], *, is_pose: bool) -> list[Tracks]:
    """Of the folder of a run that wrote several kinds of files those with poses, where poses are scored."""
    place = poses_in(Path(command.pred)) if is_pose else Path(command.pred)
    if place != Path(command.pred):
        _say(f"the poses of {command.pred} are read from {place}")
    found = read_tracks(place, truths=truths)
    if is_pose and any(map(len, found)) and all(tracks.keypoints is None for tracks in found):
        raise ValueError(
            f"{place} holds boxes alone, but {command.gt} holds poses: give the JSON file or folder of predicted poses"
            " (PoseTrack's, or predictions.json of pagoda predict) to --pred, or score boxes with --task boxes"
        )
    return found


def boxes(command: EvalCommand, truths: Sequence[Tracks]) -> TrackEvaluator:
    """Those predictions that belong to a track, scored. Raises ValueError where none does."""
    pairs = _pairs(command, truths, is_pose=False)
    with told_at(f"{command.pred} against {command.gt}"):
        total = sum(len(found) for _, found in pairs)
        if total and not any(len(found.linked()) for _, found in pairs):
            raise ValueError(
                f"none of the {counted(total, 'prediction')} in {command.pred} has a track id, and scores of"
                " tracks need them; link"
                " them first: pagoda track link"
            )
        evaluator = TrackEvaluator(min_iou=command.min_iou, matches_survive_gaps=command.matches_survive_gaps)
        for truth, found in pairs:
            evaluator.update(truth, found.linked())
    _say_loose(pairs, "not counted")
    return evaluator


def _poses(command: EvalCommand, truths: Sequence[Tracks]) -> PoseTrackEvaluator:
    """All of them: average precision asks for no identities."""
    pairs = _pairs(command, truths, is_pose=True)
    evaluator = PoseTrackEvaluator(PROTOCOLS[command.protocol], with_hota=command.hota)
    with told_at(f"{command.pred} against {command.gt}"):
        for truth, found in pairs:
            predicted = to_posetrack_15(found, min_keypoint_score=command.min_keypoint_score)
            evaluator.update(to_posetrack_15(truth), predicted)
    _say_loose(pairs, "counted for AP alone")
    return evaluator


def _say(text: str) -> None:
    if text:
        print(text, file=sys.stderr)
