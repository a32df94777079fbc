"""pagoda track tune CHECKPOINT --data DIR"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Literal

import tyro

from pagoda.cli.arguments.parsing import AnyPrecision, open_ready, parse
from pagoda.data.tracks.folders import open_videos
from pagoda.data.tracks.mot_classes import Benchmark
from pagoda.data.videos import Video
from pagoda.detectors.contract import Detector
from pagoda.files.text import json_text
from pagoda.follow.clips import TUBE_MIN_SCORE
from pagoda.follow.score import has_poses
from pagoda.follow.tuning import FoundVideo, TuningResult, find_videos, tune
from pagoda.plain import check_counts, checked
from pagoda.progress import Progress
from pagoda.recipes.thresholds_file import check_takes_thresholds, save_linker


@checked
@dataclass(frozen=True, kw_only=True)
class TuneCommand:
    """Choose the linker that follows a model's objects best, and its numbers, and write them into the model's file.

    pagoda track tune runs/NAME-1/best.safetensors --data MOT/ --split train --val-split val

    The model looks once at every frame of both splits. What it found is then linked with byte and ocsort, with and
    without appearance and camera motion, and with many other numbers; the first split chooses, by HOTA of boxes or by
    PoseTrack's MOTA of poses, and the second one says what it is worth. Where that is less than before, nothing is
    written. From then on pagoda track takes it with --linker card.
    """

    common = ("data", "split", "val_split", "trials", "appearance", "camera")

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """a .safetensors file of a run, or an exported .onnx or .xml"""
    data: str
    """annotated videos: MOTChallenge sequences or PoseTrack, with their pictures"""
    split: str = "train"
    """to choose on; join several with +. A sequence's folder is a split of its own, too"""
    val_split: str = "val"
    """to tell on what the choice is worth"""
    trials: int = 100
    """other numbers to try"""
    seed: int = 0
    """of the numbers that are tried"""
    appearance: Literal["model", "none"] = "model"
    """none: looks are not compared"""
    camera: Literal["auto", "moving", "still"] = "auto"
    """auto: how the picture moves is measured where opencv is installed"""
    benchmark: Benchmark = "auto"
    """for MOT text: whose rules say which rows count, as in pagoda track eval"""
    dry_run: bool = False
    """say what would be chosen, and write nothing"""
    json: bool = False
    """print the result as JSON"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto: the accelerator, where there is one"""
    precision: AnyPrecision = "fp32"
    """of the network, as in pagoda track"""


def main(arguments: Sequence[str]) -> int:
    command = parse(TuneCommand, "track tune", arguments)
    check_counts(trials=command.trials)
    seen = None if command.dry_run else check_takes_thresholds(command.checkpoint, what="linker")
    splits = [
        open_videos(command.data, split, benchmark=command.benchmark)
        for split in (command.split, command.val_split)
    ]
    model = open_ready(command.checkpoint, "", "", device=command.device, precision=command.precision)
    with Progress() as bar:
        train, val = (_found(command, model, videos, bar) for videos in splits)
        result = tune(
            train,
            val,
            trials=command.trials,
            seed=command.seed,
            is_pose=all(has_poses(model, videos) for videos in splits),
            start={"min_score": TUBE_MIN_SCORE} if model.sees_clips else None,
            split=command.split,
            progress=bar.task("linking", None),
        )
    print(json_text(result.to_dict()) if command.json else _told(result, command))
    if result.gain < 0:
        print(
            f"nothing was written: on {command.val_split} it is worse by {-result.gain:.1f} points than byte with its"
            " own numbers; more videos to choose on, or fewer --trials, may help",
            file=sys.stderr,
        )
    elif not command.dry_run:
        print(
            f"written into {save_linker(command.checkpoint, result.best, seen=seen)}; use it with --linker card",
            file=sys.stderr,
        )
    return 0


def _found(command: TuneCommand, model: Detector, videos: Sequence[Video], bar: Progress) -> list[FoundVideo]:
    camera = command.camera
    if camera == "auto":
        camera = "moving" if find_spec("cv2") else "still"
    task = bar.task("looking", sum(video.tracks.num_frames for video in videos))
    return find_videos(model, videos, appearance=command.appearance, camera=camera, progress=task)


def _told(result: TuningResult, command: TuneCommand) -> str:
    gain = f"{result.gain:+.1f} points of {result.metric} on {command.val_split}"
    return f"{result.table()}\n\n{result.best.text()}\n{gain} against byte with its own numbers"
