"""Video files through PyAV: what they say of themselves, their frames upright, and whether they end too early."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from pagoda.messages import counted
from pagoda.pictures.read import PictureError
from pagoda.video.ends import ending_of


@dataclass(frozen=True)
class VideoFacts:
    """Rate, length and number of frames, as a video file tells them before it is decoded."""

    frames_per_second: float
    """the mean, where they are not evenly spaced"""
    num_frames: int = 0
    """an estimate; 0 where nothing tells"""
    max_frames: int | None = None
    """no more than so many; None where nothing tells"""
    seconds: float = 0.0
    """the end of its pictures, from the start of the file"""


def probe_video(path: Path) -> VideoFacts:
    """What a video file says of itself, once its first frame has been decoded.

    Raises PictureError with the reason where PyAV cannot.
    """
    with _opened(path) as (container, stream):
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        seconds = _end(container, stream)
        try:
            first = next(container.decode(stream), None)
        except av.FFmpegError as error:
            raise PictureError(f"{path} cannot be read as a video: {error}") from error
        if first is None:
            raise PictureError(f"{path} holds a video without a single frame; it is cut off, or empty")
        guess, count = round(seconds * rate), int(stream.frames)
        # A header counts frames, too, that a cut without decoding hides.
        return VideoFacts(
            rate, min(guess, count) if guess and count else guess or count, count or None, seconds
        )


def decode_video(
    path: Path, facts: VideoFacts, *, first_frame: int = 0
) -> Iterator[tuple[np.ndarray, float]]:
    """((H, W, 3) uint8 RGB, seconds from the start) of every frame that is shown, from `first_frame` on.

    Raises PictureError when a frame cannot be read, and after the last one when the video ends too early.
    """
    number, end, upright = 0, 0.0, Upright()
    try:
        for frame, seconds in _timed_frames(path, facts):
            if number >= first_frame:  # jumping to a key frame would miss it by some frames
                yield upright(frame), seconds
            shown = _seconds_shown(frame) or 1 / facts.frames_per_second
            number, end = number + 1, max(end, seconds + shown)
    except av.FFmpegError as error:
        raise PictureError(f"{path} cannot be read beyond frame {number}: {error}") from error
    _check_end(path, facts, number, end)


def _timed_frames(path: Path, facts: VideoFacts) -> Iterator[tuple[av.VideoFrame, float]]:
    """(frame, seconds from the start), by the rate where the file has no times."""
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        origin = (container.start_time or 0) / av.time_base
        for number, frame in enumerate(container.decode(stream)):
            yield frame, number / facts.frames_per_second if frame.time is None else frame.time - origin


def _check_end(path: Path, facts: VideoFacts, number: int, end: float) -> None:
    """A file that is whole may end early: another program left frames out, or its sound is longer."""
    left, frame, ending = facts.seconds - end, 1 / facts.frames_per_second, ending_of(path)
    if ending == "cut in pictures":
        raise PictureError(f"{path} is cut off behind {counted(number, 'frame')}, {end:.1f} seconds")
    allowed = frame / 2 if ending == "cut" else max(0.1 * facts.seconds, 10 * frame)
    if left > allowed and ending != "whole":
        raise PictureError(
            f"{path} should last {facts.seconds:.1f} seconds but ends after {counted(number, 'frame')},"
            f" {end:.1f} seconds; it"
            " seems to be cut off"
        )


def _seconds_shown(frame: av.VideoFrame) -> float:
    """How long a frame is shown; 0 where the file does not say, or PyAV is too old to."""
    return float((getattr(frame, "duration", 0) or 0) * (frame.time_base or 0))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    try:
        container = av.open(str(path))
    except (av.FFmpegError, ValueError) as error:
        raise PictureError(f"{path} cannot be read as a video: {error}") from error
    with container:
        kind = container.format.name
        # FFmpeg takes single pictures, and text drawn with letters, for videos of one frame.
        if kind == "tty" or kind.startswith("image2") or kind.endswith("_pipe"):
            raise PictureError(f"{path} cannot be read as a video: its content is {kind}, no film")
        # The cover of a song is a video stream, too.
        streams = [each for each in container.streams.video if not is_cover(each)]
        if not streams:
            raise PictureError(f"{path} has no pictures that can be read; it is cut off, or holds sound only")
        if streams[0].codec_context is None:
            raise PictureError(f"{path} cannot be read as a video: the installed PyAV has no decoder for it")
        yield container, streams[0]


def is_cover(stream: av.VideoStream) -> bool:
    """Whether it is the cover of a song, a stream of one picture, and no film."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _end(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Seconds from the start of the file to the end of the pictures, of everything where that is all it says."""
    if stream.duration and stream.time_base:
        first = (
            float((stream.start_time or 0) * stream.time_base) - (container.start_time or 0) / av.time_base
        )
        return first + float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


class Upright:
    """Makes (H, W, 3) uint8 RGB of the frames of one video, turned and mirrored as its display matrix says.

    The matrix is looked up again where a frame's rotation is another. Looking ties a frame to itself, so that its
    memory comes back when Python next collects garbage, which a few hundred large frames may be too late for.
    """

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._matrix: tuple[tuple[int, int], tuple[int, int]] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        if frame.rotation != self._rotation:
            self._rotation, self._matrix = frame.rotation, _display_matrix(frame)
        picture = frame.to_ndarray(format="rgb24")
        if self._matrix is None:
            return np.ascontiguousarray(picture)
        # A pixel at (x, y) is shown at (a x + c y, b x + d y). PyAV's `rotation` tells turns alone, no mirror.
        (a, b), (c, d) = self._matrix
        if abs(b) + abs(c) > abs(a) + abs(d):
            picture, across, down = picture.transpose(1, 0, 2), c, b
        else:
            across, down = a, d
        return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _display_matrix(frame: av.VideoFrame) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """((a, b), (c, d)) of the nine numbers a, b, u, c, d, v, x, y, w."""
    for data in frame.side_data:
        if data.type == av.sidedata.sidedata.Type.DISPLAYMATRIX:
            numbers = np.frombuffer(bytes(data), np.int32).tolist()
            return (numbers[0], numbers[1]), (numbers[3], numbers[4])
    return None
