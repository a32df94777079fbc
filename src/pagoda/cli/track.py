"""pagoda track CKPT VIDEO · pagoda track link DETECTIONS · pagoda track eval · compare · tune"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import AnyPrecision, open_ready, parse
from pagoda.cli.arguments.tile_options import TileOptions
from pagoda.files.atomic import claim_folder
from pagoda.files.text import json_text
from pagoda.follow.follower import FollowedFrame, TrackOptions, VideoFollower
from pagoda.follow.resuming import Wording
from pagoda.follow.run import FollowedVideo, follow_video
from pagoda.plain import checked
from pagoda.recipes.thresholds_file import say_thresholds
from pagoda.video.frames import VideoSource
from pagoda.video.live import LiveFrame, LiveSource

SUBVERBS = {
    "link": "pagoda.cli.tracks.link",
    "eval": "pagoda.cli.tracks.evaluate",
    "compare": "pagoda.cli.tracks.compare",
    "tune": "pagoda.cli.tracks.tune",
}
"""word → its module, loaded where it is asked for"""


@checked
@dataclass(frozen=True, kw_only=True)
class TrackCommand(TileOptions, TrackOptions):
    """Follow the objects of a video and write the video with them, MOT text, PoseTrack JSON and a table.

    pagoda track runs/NAME-1/best.safetensors street.mp4 --linker byte --out DIR

    A run that was stopped or killed goes on with the same words and --resume.

    A camera or a stream, with a line of JSON for each frame until Ctrl-C:

    pagoda track CKPT rtsp://HOST/PATH --stream --no-video

    Detections of any program, without a model: pagoda track link --help

    Scores against ground truth: pagoda track eval --help

    Which of two is better: pagoda track compare --help

    The linker and its numbers for your videos: pagoda track tune --help
    """

    common = ("out", "linker", "relink", "min_score", "classes", "tiles", "resume")

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """a .safetensors file of a run, another program's checkpoint (file or address), or an exported .onnx or .xml"""
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """a video, an animated picture, a folder of pictures in the order of their numbers, or a glob of them; live:
    webcam:0, rtsp://…, http(s)://…, tcp://…, udp://…, a named pipe, or - for standard input"""
    out: str = ""
    """folder for the results; default: a new runs/track-<n>"""
    resume: bool = False
    """go on where the run in --out was stopped; its files are then those of a run that was not"""
    stream: bool = False
    """print each frame's objects as one line of JSON as soon as they are known"""
    no_video: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """write all but the video"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto: the accelerator, where there is one"""
    precision: AnyPrecision = "fp32"
    """of the network; half of it may be quicker: auto takes what this machine does best, as measured once (see pagoda
    bench); boxes and scores stay fp32"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""


def main(arguments: Sequence[str]) -> int:
    """0; 1 when the source could not be read to its end: what came before is written all the same."""
    if arguments and arguments[0] in SUBVERBS:
        return import_module(SUBVERBS[arguments[0]]).main(arguments[1:])
    command = parse(TrackCommand, "track", arguments)
    source, tiles = command.open(command.source), command.cut()
    model = open_ready(
        command.checkpoint, command.model, command.take, device=command.device, precision=command.precision
    )
    if command.resume and not command.out:
        raise ValueError("--resume needs the folder of the run that was stopped: --out DIR")
    if command.min_score == "card":
        say_thresholds(model, command.checkpoint)
    follower = VideoFollower(model, source, command, tiles=tiles)
    if tiles is not None:
        print(tiles.text(model.input_spec), file=sys.stderr)
    out = Path(command.out) if command.out else claim_folder("runs", "track")
    result = follow_video(
        follower,
        out,
        resume=command.resume,
        write_video=not command.no_video,
        on_frame=partial(_print_line, source) if command.stream else None,
        wording=Wording("--resume", "--out", again=_again(command, arguments, out)),
    )
    print(result.table(), file=sys.stderr)
    return _stopped(result) if result.failure else 0


def _again(command: TrackCommand, arguments: Sequence[str], out: Path) -> str:
    """The command that goes on with a run that was stopped."""
    more = ([] if command.out else ["--out", str(out)]) + ([] if command.resume else ["--resume"])
    return shlex.join(["pagoda", "track", *arguments, *more])


def _print_line(source: VideoSource | LiveSource, each: FollowedFrame) -> None:
    line = {**each.linked.to_dict(), "seconds": round(each.frame.seconds, 6)}
    if isinstance(source, LiveSource) and isinstance(each.frame, LiveFrame):
        line |= {
            "frame": each.frame.number,
            "delay": round(source.delay(each.frame), 6),
            "dropped": each.frame.num_dropped,
        }
    print(json_text(line), flush=True)


def _stopped(result: FollowedVideo) -> int:
    """Says why, and how to go on where there is something to go on from."""
    said = f"stopped early: {result.failure}"
    if result.is_resumable:
        said += f"\nwhen it is mended, go on with the same command and --out {result.folder} --resume"
    print(said, file=sys.stderr)
    return 1
