"""A video followed from its first frame to its last: its tracks, and a folder of files from which a run can go on."""

import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pagoda.beside import Behind
from pagoda.files.lock import hold_folder
from pagoda.follow.follower import FollowedFrame, VideoFollower
from pagoda.follow.frame_log import FoundWriter, picture_hash, read_about, read_found
from pagoda.follow.outputs import TrackOutputs, TrackSummaries
from pagoda.follow.resuming import IN_PYTHON, RECORD, Wording, about_run, known_frames
from pagoda.messages import counted
from pagoda.pictures.read import PictureError
from pagoda.progress import Progress
from pagoda.stopping import Stopped, StopRequests
from pagoda.structures.instances import Detections
from pagoda.structures.tracks import UNLINKED, Tracks
from pagoda.tracking.tracker import Found, Tracker
from pagoda.tracking.tracklets import KnownTracks, Relinker
from pagoda.video.frames import VideoSource
from pagoda.video.live import LiveSource

DOING = "follows objects"
"""in a folder, as others are told who find it held"""
OnFrame = Callable[[FollowedFrame], object]
"""Called with each frame and its objects, those without a track included, as soon as they are known"""


@dataclass(frozen=True, eq=False)
class FollowedVideo:
    """A followed video: how far the run came, and what it leaves."""

    folder: Path | None
    """where its files are; None where nothing was written"""
    num_frames: int
    """followed, those that were known from before included"""
    left_out: str
    """what of a folder or glob of pictures is no frame, or how many frames of a live source were dropped, in words"""
    failure: str
    """why the run ended before the video did, a frame that cannot be read; "" where it did not"""
    is_resumable: bool
    """whether the folder holds what it takes to go on"""
    summaries: TrackSummaries = field(repr=False)
    """a row for every track"""

    def table(self) -> str:
        """Plain text: the tracks seen longest, and how many there are."""
        return self.summaries.table()


@dataclass(frozen=True, eq=False)
class TrackResult(FollowedVideo):
    """A followed video with its tracks in memory."""

    tracks: Tracks = field(repr=False)
    """every object that belongs to a track, in every frame; frames are counted as in the video, from 0"""


class TrackCollector:
    """Gathers the tracks of one video in memory, where `add` is called with each frame's objects.

    >>> import torch
    >>> from pagoda.structures.labels import LabelMap
    >>> cats, collector = LabelMap.from_names(["cat"]), TrackCollector()
    >>> boxes, labels, ids = torch.ones(2, 4), torch.zeros(2).long(), torch.tensor([7, UNLINKED])
    >>> collector.add(Detections(boxes, torch.ones(2), labels, (8, 8), cats, track_ids=ids, file="street_30.jpg"))
    >>> tracks = collector.tracks("street", first_frame=30)
    >>> tracks.track_ids, tracks.frames  # of the second cat no track is known
    (array([7]), array([30]))
    """

    def __init__(self) -> None:
        self._frames: list[Detections] = []

    def add(self, linked: Detections) -> None:
        """Keep the next frame; what belongs to no track is left out, and so are masks, which `Tracks` does not hold."""
        light = replace(linked, masks=None, mask_crops=None, picture=None, found_by=None)
        self._frames.append(_followed(light))

    def tracks(self, name: str, *, first_frame: int) -> Tracks:
        """The tracks of all frames so far, the first of which has the number `first_frame` in the video.

        Raises ValueError where there was none.
        """
        tracks = Tracks.from_detections(self._frames, name)
        return replace(
            tracks,
            frames=tracks.frames + first_frame,
            num_frames=tracks.num_frames + first_frame,
            frame_names=tracks.frame_names and ("",) * first_frame + tracks.frame_names,
        )


def follow_video(
    follower: VideoFollower,
    out: Path | None = None,
    *,
    resume: bool = False,
    write_video: bool = True,
    on_frame: OnFrame | None = None,
    wording: Wording = IN_PYTHON,
    quiet: bool = False,
) -> FollowedVideo:
    """Go through a video; with a folder `out`, write what was found into it, and what it takes to go on.

    A frame that cannot be read is the end, and told in the result. Ctrl-C or SIGTERM ends a run that writes after the
    frame at hand, its files whole, and raises Stopped, which says how to go on. Of a live source it is the end like any
    other, with a folder or without, and nobody can go on from there.

    Args:
        resume: go on with the run in `out` that was stopped; its files are replaced. Raises FileNotFoundError where
            there is none, ValueError where its model, classes or frames were others, and for a live source.
        write_video: write the video with the objects drawn into it, too.
        wording: of messages, for somebody who asks otherwise than in Python.
        quiet: no bar and no words on standard error.
    """
    if resume:
        if isinstance(follower.source, LiveSource):
            raise ValueError(
                f"{wording.resume} is for videos: the frames of {follower.source.address.shown} do not come again"
            )
        if out is None:
            raise ValueError(f"{wording.resume} needs the folder of the run that was stopped: out=DIR")
        read_about(out / RECORD)  # nothing is made in a folder that holds no run
    if isinstance(follower.source, LiveSource):
        return _follow_live(out, follower, write_video=write_video, on_frame=on_frame, quiet=quiet)
    if follower.source.left_out and not quiet:
        print(f"left out: {follower.source.left_out}", file=sys.stderr)
    if out is None:
        return _follow(follower, on_frame, quiet)
    with hold_folder(out, DOING):
        return _follow_into(
            out,
            follower,
            follower.source,
            resume=resume,
            write_video=write_video,
            on_frame=on_frame,
            wording=wording,
            quiet=quiet,
        )


def _follow(follower: VideoFollower, on_frame: OnFrame | None, quiet: bool) -> FollowedVideo:
    """Follow without a folder: nothing is left behind, so nothing makes Ctrl-C wait."""
    if not follower.options.relink:
        return _follow_known(follower, on_frame, quiet)
    with TemporaryDirectory() as folder, FoundWriter(Path(folder, RECORD), {}) as log:
        ids = _ids_of_whole(follower, log, quiet=quiet)
        known = read_found(log.path, follower.model.label_map, num_frames=len(ids))
        return _follow_known(follower, on_frame, quiet, known, ids)


def _follow_known(
    follower: VideoFollower,
    on_frame: OnFrame | None,
    quiet: bool,
    known: Iterable[Found] = (),
    ids: Sequence[np.ndarray] = (),
) -> FollowedVideo:
    """Follow without a folder; `ids` as `_ids_of_whole` gives them, of the frames in which all is known."""
    summaries, first = TrackSummaries(), follower.source.first_frame

    def take(number: int, each: FollowedFrame) -> None:
        summaries.add(_followed(each.linked), first + number)
        if on_frame is not None:
            on_frame(each)

    num_frames, failure = _go_through(
        follower, known, take, num_known=len(ids), tracker=_tracker_of(ids), quiet=quiet
    )
    return FollowedVideo(None, num_frames, follower.source.left_out, failure, False, summaries)


def _follow_live(
    out: Path | None,
    follower: VideoFollower,
    *,
    write_video: bool,
    on_frame: OnFrame | None,
    quiet: bool,
) -> FollowedVideo:
    """Follow until the source or somebody ends it; there is no record of what was found, which nobody could use."""
    assert isinstance(follower.source, LiveSource)
    source = follower.source
    with StopRequests() as stops, ExitStack() as open_:
        open_.callback(source.close)
        outputs: TrackOutputs | None = None
        if out is not None:
            open_.enter_context(hold_folder(out, DOING))
            rate = source.frames_per_second if write_video else None
            outputs = open_.enter_context(TrackOutputs(out, source.name, rate))
        behind = open_.enter_context(Behind())
        summaries = outputs.summaries if outputs else TrackSummaries()

        def take(number: int, each: FollowedFrame) -> None:
            if on_frame is not None:
                on_frame(each)
            if outputs is None:
                summaries.add(_followed(each.linked), number)
            else:
                behind.do(partial(outputs.add, each.linked, each.frame.picture, each.frame.seconds))

        source.attend(asked_to_end=lambda: stops.received != 0)
        num_frames, failure = _go_through(follower, (), take, out=out, quiet=quiet)
    return FollowedVideo(out, num_frames, source.left_out, failure, False, summaries)


def _follow_into(
    out: Path,
    follower: VideoFollower,
    source: VideoSource,
    *,
    resume: bool,
    write_video: bool,
    on_frame: OnFrame | None,
    wording: Wording,
    quiet: bool,
) -> FollowedVideo:
    """Follow into a folder that is held."""
    model, record = follower.model, out / RECORD
    about = about_run(follower, source)
    known = known_frames(record, about, model, source, resume=resume, wording=wording)
    rate = source.frames_per_second if write_video else None
    outputs = TrackOutputs(out, source.name, rate, first_frame=source.first_frame, replaces=resume)
    try:
        with (
            StopRequests() as stops,
            outputs,
            FoundWriter(record, about, keep_frames=known) as log,
            Behind() as behind,
        ):
            ids: Sequence[np.ndarray] = ()
            if follower.options.relink:
                ids = _ids_of_whole(follower, log, known, stops=stops, quiet=quiet)
                known = len(ids)

            def write(number: int, each: FollowedFrame) -> None:
                if number >= known:
                    log.add(each.found, seen=picture_hash(each.frame.picture))
                outputs.add(each.linked, each.frame.picture, each.frame.seconds)

            def take(number: int, each: FollowedFrame) -> None:
                behind.do(partial(write, number, each), waiting=follower.together(each.frame))
                if on_frame is not None:
                    on_frame(each)
                stops.check()

            before = read_found(record, model.label_map, num_frames=known)
            _, failure = _go_through(
                follower, before, take, num_known=known, tracker=_tracker_of(ids), out=out, quiet=quiet
            )
    except KeyboardInterrupt as stop:
        signum = getattr(stop, "signum", signal.SIGINT)
        said = _how_to_go_on(record, read_about(record)[1], wording)
        raise Stopped(signum, said) from stop
    is_part = outputs.num_frames == follower.options.max_frames
    is_resumable = max(known, outputs.num_frames) > 0 if failure else is_part
    if not is_resumable:
        record.unlink()
    return FollowedVideo(out, outputs.num_frames, source.left_out, failure, is_resumable, outputs.summaries)


def _ids_of_whole(
    follower: VideoFollower,
    log: FoundWriter,
    known: int = 0,
    *,
    stops: StopRequests | None = None,
    quiet: bool,
) -> list[np.ndarray]:
    """Of every frame the track ids that its objects get once the video is known to its end.

    What is found is kept in `log`, which holds the first `known` frames already, so that nothing is looked at twice.
    """
    collector, camera, ids = TrackCollector(), [], []

    def take(number: int, each: FollowedFrame) -> None:
        if number >= known:
            log.add(each.found, seen=picture_hash(each.frame.picture))
        collector.add(each.linked)
        assert each.linked.track_ids is not None
        ids.append(each.linked.track_ids.numpy().copy())
        if each.camera is not None:
            camera.append(each.camera)
        if stops is not None:
            stops.check()

    before = read_found(log.path, follower.model.label_map, num_frames=known)
    _go_through(follower, before, take, num_known=known, quiet=quiet)
    if not ids:
        return []
    tracks = collector.tracks("", first_frame=0)
    if not quiet:
        print(f"joining the tracks of {counted(len(ids), 'frame')}", file=sys.stderr)
    joined = Relinker().new_ids(tracks, camera)
    for frame, of_frame in enumerate(ids):
        of_frame[of_frame != UNLINKED] = joined[tracks.frame_slice(frame)]
    return ids


def _tracker_of(ids: Sequence[np.ndarray]) -> Tracker | None:
    """What says so in the place of the follower's own; None where nothing is known."""
    return KnownTracks(ids) if ids else None


def _go_through(
    follower: VideoFollower,
    known: Iterable[Found],
    take: Callable[[int, FollowedFrame], None],
    *,
    num_known: int = 0,
    tracker: Tracker | None = None,
    out: Path | None = None,
    quiet: bool,
) -> tuple[int, str]:
    """Hand every frame to `take`, with a bar that tells the time left: how many there were, and why they ended early,
    or ""."""
    started, rate, number, failure = time.perf_counter(), 0.0, 0, ""
    with Progress(quiet=quiet) as bar:
        task = bar.task("following", _total(follower))
        if isinstance(follower.source, LiveSource):
            follower.source.attend(say=bar.say)
        try:
            for each in follower.frames(known, tracker):
                # Frames that are known say nothing of how quick the model is.
                started = time.perf_counter() if number < num_known else started
                take(number, each)
                number += 1
                rate = (number - num_known) / (time.perf_counter() - started)
                task(number, f"{rate:.1f} frames/s" if rate > 0 else "already known")
        except PictureError as error:
            failure = str(error)
    if not quiet:
        seconds = time.perf_counter() - started
        already = f", {num_known} of them known from before" if num_known else ""
        told = f" in {seconds:.1f} s, {rate:.1f} per second" if number > num_known or not number else ""
        see = f"; see {out}" if out else ""
        if isinstance(follower.source, LiveSource) and follower.source.left_out:
            see = f"; {follower.source.left_out}{see}"
        print(f"{counted(number, 'frame')}{already}{told}{see}", file=sys.stderr)
    return number, failure


def _followed(linked: Detections) -> Detections:
    assert linked.track_ids is not None
    return linked[linked.track_ids != UNLINKED]


def _how_to_go_on(record: Path, num_frames: int, wording: Wording) -> str:
    """What a person who stopped the run is told; without a frame there is nothing to go on from."""
    if not num_frames:
        record.unlink(missing_ok=True)
        return "stopped before the first frame was done"
    return f"stopped; {counted(num_frames, 'frame is', 'frames are')} done; go on with: {wording.again}"


def _total(follower: VideoFollower) -> int | None:
    """How many frames will be followed; None where the video does not say."""
    most = follower.options.max_frames
    known = None if isinstance(follower.source, LiveSource) else len(follower.source) or None
    return known if most is None else min(most, known or most)
