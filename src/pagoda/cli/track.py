"""pagoda track CKPT VIDEO · pagoda track link DETECTIONS · pagoda track eval --gt TRUTH --pred TRACKS"""

import json
import shlex
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pagoda.cli import track_eval, track_link
from pagoda.cli.arguments.parsing import open_checkpoint, parse
from pagoda.detectors.contract import Detector
from pagoda.files.atomic import claim_folder
from pagoda.files.lock import hold_folder
from pagoda.follow.clips import FOLLOWING_LIMITS, find_in_video, link_frame, neighbours, tracker_for
from pagoda.follow.frame_log import (
    Found,
    FoundWriter,
    picture_hash,
    read_about,
    read_found,
    read_seen,
)
from pagoda.follow.outputs import TrackOutputs
from pagoda.pictures.read import PictureError
from pagoda.plain import checked
from pagoda.stopping import Stopped, StopRequests
from pagoda.tracking.linking import LinkerName
from pagoda.video.frames import VideoFrame, VideoSource
from pagoda.weights.files import state_hash

RECORD = "found.jsonl"
"""what the model found so far; there only until the run comes to its end"""


@checked
@dataclass(frozen=True, kw_only=True)
class TrackCommand:
    """Follow the objects of a video and write the video with them, MOT text, PoseTrack JSON and a table.

    pagoda track runs/NAME-1/best.safetensors street.mp4 --linker byte --out DIR

    A run that was stopped or killed goes on with the same words and --resume.

    Detections of any program, without a model: pagoda track link --help

    Scores against ground truth: pagoda track eval --help
    """

    checkpoint: Annotated[str, tyro.conf.Positional]
    source: Annotated[str, tyro.conf.Positional]
    """a video, an animated picture, a folder of pictures in the order of their numbers, or a glob of them"""
    linker: LinkerName = "byte"
    min_score: float | None = None
    """a detection this good starts a track; default: the linker's own, 0.9 for models of clips"""
    classes: tuple[str, ...] = ()
    """names of the classes to follow; default: all"""
    out: str = ""
    """folder for the results; default: a new runs/track-<n>"""
    first_frame: int = 0
    """counted from 0; a model of clips looks at the frames before it, too, but tracks begin here"""
    max_frames: int | None = None
    """stop after so many"""
    resume: bool = False
    """go on where the run in --out was stopped; its files are then those of a run that was not"""
    frames_per_second: float = 25.0
    """of a folder of pictures or the pages of a TIFF; a video knows its own"""
    stream: bool = False
    """print each frame's objects as one line of JSON as soon as they are known"""
    no_video: bool = False
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""


def main(arguments: Sequence[str]) -> int:
    """0; 1 when the source could not be read to its end: what came before is written all the same."""
    if arguments and arguments[0] == "link":
        return track_link.main(arguments[1:])
    if arguments and arguments[0] == "eval":
        return track_eval.main(arguments[1:])
    command = parse(TrackCommand, "track", arguments)
    source = _open(command, command.first_frame)
    model = open_checkpoint(command.checkpoint, command.model, command.take)
    if command.resume and not command.out:
        raise ValueError("--resume needs the folder of the run that was stopped: --out DIR")
    if command.resume:
        read_about(Path(command.out) / RECORD)  # nothing is made in a folder that holds no run
    if source.left_out:
        print(f"left out: {source.left_out}", file=sys.stderr)
    out = Path(command.out) if command.out else claim_folder("runs", "track")
    with hold_folder(out, "follows objects"):
        return _follow_and_write(command, arguments, source, model, out)


def _follow_and_write(
    command: TrackCommand,
    arguments: Sequence[str],
    source: VideoSource,
    model: Detector,
    out: Path,
) -> int:
    about = _about(command, model, source)
    known = _known_frames(command, out / RECORD, about, neighbours(model)[1])
    rate = None if command.no_video else source.frames_per_second
    outputs = TrackOutputs(out, source.name, rate, first_frame=command.first_frame, replaces=command.resume)
    try:
        with StopRequests() as stops, outputs, FoundWriter(out / RECORD, about, keep_frames=known) as record:
            failure = _follow(command, model, outputs, record, known, stops)
    except KeyboardInterrupt as stop:
        signum = getattr(stop, "signum", signal.SIGINT)
        raise Stopped(
            signum, _how_to_go_on(command, arguments, out, max(known, outputs.num_frames))
        ) from stop
    print(outputs.table(), file=sys.stderr)
    if failure:
        return _stopped(failure, out, max(known, outputs.num_frames))
    is_part = command.max_frames is not None and outputs.num_frames == command.max_frames
    if not is_part:
        (out / RECORD).unlink()
    return 0


def _how_to_go_on(command: TrackCommand, arguments: Sequence[str], out: Path, num_frames: int) -> str:
    """What a person who stopped the run is told; without a frame there is nothing to go on from."""
    if not num_frames:
        (out / RECORD).unlink(missing_ok=True)
        return "stopped before the first frame was done"
    more = ([] if command.out else ["--out", str(out)]) + ([] if command.resume else ["--resume"])
    again = shlex.join(["pagoda", "track", *arguments, *more])
    return f"stopped; {num_frames} frames are done; go on with: {again}"


def _stopped(failure: str, out: Path, num_frames: int) -> int:
    """Says why, and how to go on where there is something to go on from."""
    said = f"stopped early: {failure}"
    if num_frames:
        said += f"\nwhen it is mended, go on with the same command and --out {out} --resume"
    else:
        (out / RECORD).unlink()
    print(said, file=sys.stderr)
    return 1


def _follow(
    command: TrackCommand,
    model: Detector,
    outputs: TrackOutputs,
    record: FoundWriter,
    known: int,
    stops: StopRequests,
) -> str:
    """Frame by frame through the video, until somebody asks it to stop; returns why it ended early, or ""."""
    labels = [model.label_map.label_named(name) for name in command.classes] or None
    tracker = tracker_for(model, command.linker, min_score=command.min_score)
    waiting: deque[VideoFrame] = deque()  # a model of clips runs a few frames behind
    frames = _found(command, model, labels, known, waiting)
    started, rate, failure = time.perf_counter(), 0.0, ""
    with _progress() as bar:
        total = _total(_open(command, command.first_frame), command.max_frames)
        task = bar.add_task("following", total=total, rate="")
        try:
            for number, found in enumerate(islice(frames, command.max_frames)):
                frame, linked = waiting.popleft(), link_frame(found, tracker)
                if number < known:
                    started = time.perf_counter()  # what follows is how quick the model is
                else:
                    record.add(found, seen=picture_hash(frame.picture))
                linked = replace(linked, file=frame.name)
                outputs.add(linked, frame.picture, frame.seconds)
                if command.stream:
                    print(json.dumps(linked.to_dict()), flush=True)
                rate = (number + 1 - known) / (time.perf_counter() - started)
                bar.update(task, advance=1, rate=f"{rate:.1f} frames/s" if rate > 0 else "already known")
                stops.check()
        except PictureError as error:
            failure = str(error)
    seconds = time.perf_counter() - started
    already = f", {known} of them known from before" if known else ""
    said = f"{outputs.num_frames} frames{already} in {seconds:.1f} s, {rate:.1f} per second; see {outputs.folder}"
    print(said, file=sys.stderr)
    return failure


def _found(
    command: TrackCommand,
    model: Detector,
    labels: list[int] | None,
    known: int,
    waiting: deque[VideoFrame],
) -> Iterator[Found]:
    """What is in each frame from the first one on: read for the first `known` frames, looked for in the others."""
    before, _ = neighbours(model)
    first = max(0, command.first_frame - before)
    frames = iter(_open(command, first))
    recent = deque((frame.picture for frame in islice(frames, command.first_frame - first)), maxlen=before)
    pictures = _pictures(frames, waiting)
    if known:
        for found in read_found(Path(command.out) / RECORD, model.label_map, num_frames=known):
            recent.append(next(pictures))
            yield found
    now = command.first_frame + known
    yield from find_in_video(
        model,
        chain(recent, pictures),
        limits=FOLLOWING_LIMITS,
        classes=labels,
        start=now - len(recent),
        first=now,
    )


def _open(command: TrackCommand, first_frame: int) -> VideoSource:
    return VideoSource(command.source, frames_per_second=command.frames_per_second, first_frame=first_frame)


def _about(command: TrackCommand, model: Detector, source: VideoSource) -> dict[str, Any]:
    """What decides what is found where, by its content: a run goes on only with the same, wherever it lies."""
    return {
        "weights": state_hash(model.state_dict()),
        "class_names": list(model.label_map.names),
        "first_frame": command.first_frame,
        "classes": list(command.classes),
        "video": source.content_hash(),
    }


def _known_frames(command: TrackCommand, record: Path, wanted: dict[str, Any], behind: int) -> int:
    """How many frames of the stopped run in `record` stand; 0 for a run that starts.

    The last `behind` frames are looked at again: what follows them was not there to see.
    """
    if not command.resume:
        if record.exists():
            raise ValueError(
                f"{record.parent} holds a run that was stopped; go on with it (--resume) or choose another --out"
            )
        return 0
    about, count = read_about(record)
    is_same_file = wanted["video"] and about.get("video") == wanted["video"]
    different = [
        f"other {name}" if name == "weights" else f"{name} {about.get(name)!r}"
        for name, value in wanted.items()
        if about.get(name) != value and name != "video"
    ]
    if different:
        raise ValueError(
            f"the run in {record.parent} was made with {', '.join(different)}; --resume needs the same"
        )
    known = max(0, count - behind)
    if not is_same_file:
        _check_frames(command, record, known)
    return known


def _check_frames(command: TrackCommand, record: Path, known: int) -> None:
    """Raises ValueError where the first `known` frames are not those that the run saw: they may come from another
    file, or from a folder whose last pictures were mended."""
    frames = iter(_open(command, command.first_frame))
    for number, seen in enumerate(read_seen(record, num_frames=known), command.first_frame):
        frame = next(frames, None)
        if frame is None or picture_hash(frame.picture) != seen:
            what = f"has no frame {number}" if frame is None else f"shows something else in frame {number}"
            raise ValueError(
                f"the run in {record.parent} was made of another video: {command.source} {what}; --resume needs the"
                " same frames"
            )


def _pictures(frames: Iterable[VideoFrame], waiting: deque[VideoFrame]) -> Iterator[np.ndarray]:
    """Their pixels; each frame waits for its objects."""
    for frame in frames:
        waiting.append(frame)
        yield frame.picture


def _total(source: VideoSource, max_frames: int | None) -> int | None:
    """None where the video does not say."""
    known = len(source) or None
    return known if max_frames is None else min(max_frames, known or max_frames)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[rate]}"), console=Console(stderr=True), transient=True)
