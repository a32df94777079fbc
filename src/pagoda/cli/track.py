"""pagoda track CKPT VIDEO · pagoda track link DETECTIONS · pagoda track eval --gt TRUTH --pred TRACKS"""

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pagoda.cli import track_eval, track_link
from pagoda.cli.parsing import open_checkpoint, parse
from pagoda.cli.track_outputs import TrackOutputs
from pagoda.pictures import PictureError
from pagoda.predict_video import link_video
from pagoda.tracking.linking import LinkerName, create_tracker
from pagoda.training.settings import new_run_folder
from pagoda.visualization.video import VideoFrame, VideoSource

MIN_DETECTION_SCORE = 0.1
"""What the model reports at all; ByteTrack's second round looks at weak detections too"""


@dataclass(frozen=True, kw_only=True)
class TrackCommand:
    """Follow the objects of a video and write the video with them, MOT text, PoseTrack JSON and a table.

    pagoda track runs/NAME-1/best.safetensors street.mp4 --linker byte --out DIR

    Detections of any program, without a model: pagoda track link --help

    Scores against ground truth: pagoda track eval --help
    """

    checkpoint: Annotated[str, tyro.conf.Positional]
    source: Annotated[str, tyro.conf.Positional]
    """a video, a folder of pictures in order, or a glob of them"""
    linker: LinkerName = "byte"
    min_score: float | None = None
    """a detection this good starts a track; default: the linker's own"""
    classes: tuple[str, ...] = ()
    """names of the classes to follow; default: all"""
    out: str = ""
    """folder for the results; default: a new runs/track-<n>"""
    first_frame: int = 0
    """counted from 0"""
    max_frames: int | None = None
    """stop after so many"""
    frames_per_second: float = 25.0
    """of a folder of pictures; a video knows its own"""
    stream: bool = False
    """print each frame's objects as one line of JSON as soon as they are known"""
    no_video: bool = False
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""


def main(arguments: Sequence[str]) -> int:
    """0; 1 when the source could not be read to its end: what came before is written all the same."""
    if arguments and arguments[0] == "link":
        return track_link.main(arguments[1:])
    if arguments and arguments[0] == "eval":
        return track_eval.main(arguments[1:])
    command = parse(TrackCommand, "track", arguments)
    source = VideoSource(
        command.source, frames_per_second=command.frames_per_second, first_frame=command.first_frame
    )
    model = open_checkpoint(command.checkpoint, command.model)
    labels = [model.label_map.label_named(name) for name in command.classes]
    tracker = create_tracker(command.linker, min_score=command.min_score)
    out = Path(command.out) if command.out else new_run_folder("runs", "track")
    console = Console(stderr=True)
    rate_of_video = None if command.no_video else source.frames_per_second
    outputs = TrackOutputs(out, source.name, rate_of_video, first_frame=command.first_frame)
    started, failure = time.perf_counter(), ""
    waiting: deque[VideoFrame] = deque()  # a model of clips runs a few frames behind
    with outputs, _progress(console) as bar:
        task = bar.add_task("following", total=_total(source, command.max_frames), rate="")
        pictures = _pictures(islice(source, command.max_frames), waiting)
        found = link_video(
            model, pictures, tracker, limits={"min_score": MIN_DETECTION_SCORE}, classes=labels or None
        )
        try:
            for number, linked in enumerate(found):
                frame = waiting.popleft()
                linked = replace(linked, file=frame.name)
                outputs.add(linked, frame.picture, frame.seconds)
                if command.stream:
                    print(json.dumps(linked.to_dict()), flush=True)
                rate = (number + 1) / (time.perf_counter() - started)
                bar.update(task, advance=1, rate=f"{rate:.1f} frames/s")
        except PictureError as error:
            failure = str(error)
    console.print(outputs.table(), highlight=False, markup=False, soft_wrap=True)
    seconds = time.perf_counter() - started
    rate = outputs.num_frames / max(seconds, 1e-9)
    said = f"{outputs.num_frames} frames in {seconds:.1f} s, {rate:.1f} per second; see {out}"
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    if failure:
        console.print(f"stopped early: {failure}", highlight=False, markup=False, soft_wrap=True)
    return 1 if failure else 0


def _pictures(frames: Iterable[VideoFrame], waiting: deque[VideoFrame]) -> Iterator[np.ndarray]:
    """Their pixels; each frame waits for its objects."""
    for frame in frames:
        waiting.append(frame)
        yield frame.picture


def _total(source: VideoSource, max_frames: int | None) -> int | None:
    """None where the video does not say."""
    known = len(source) or None
    return known if max_frames is None else min(max_frames, known or max_frames)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[rate]}"), console=console, transient=True)
