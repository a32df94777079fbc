"""Videos as pictures one after the other, and pictures as a video; read and written by PyAV."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from pagoda.pictures import PictureError, list_pictures, read_picture
from pagoda.plain import checked

EXTENSIONS = frozenset(
    (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
)
"""What counts as a video; anything else is taken for a picture, a folder of pictures or a glob"""
TICKS_PER_SECOND = 90_000


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One picture of a video."""

    picture: np.ndarray
    """(H, W, 3) RGB uint8, upright"""
    seconds: float
    """when it is shown, from the start of the video"""
    name: str
    """its file, or the video's name and its number"""


@checked
class VideoSource:
    """The frames of a video file, or of a folder or glob of pictures, one at a time; `len` may be an estimate.

    A frame that cannot be read, or that has another size than the first, raises `PictureError` with its
    number when its turn comes; the frames before it have been handed out by then.
    """

    def __init__(self, source: str | Path, *, frames_per_second: float = 25.0, first_frame: int = 0) -> None:
        self.path, self.first_frame = Path(source), first_frame
        self.is_video = self.path.suffix.lower() in EXTENSIONS
        if self.is_video:
            self._facts = _probe(self.path)
        else:
            self._files = list_pictures(source)
            self._facts = _Facts(frames_per_second, len(self._files), len(self._files) / frames_per_second)
        self.frames_per_second, length = self._facts.frames_per_second, len(self) + first_frame
        if first_frame < 0 or (length and first_frame >= length):
            raise ValueError(f"{self.path} has {length} frames; it cannot start at frame {first_frame}")

    def __len__(self) -> int:
        facts = self._facts
        return max(0, (facts.num_frames or round(facts.seconds * facts.frames_per_second)) - self.first_frame)

    @property
    def name(self) -> str:
        """The file or folder without its ending."""
        return self.path.stem if self.path.suffix else self.path.name

    def __iter__(self) -> Iterator[VideoFrame]:
        size: tuple[int, ...] | None = None
        frames = self._of_video() if self.is_video else self._of_pictures()
        for number, frame in enumerate(frames, self.first_frame):
            size = size or frame.picture.shape[:2]
            if frame.picture.shape[:2] != size:
                raise PictureError(
                    f"frame {number} of {self.path} has (height, width) {frame.picture.shape[:2]}, the first one"
                    f" {tuple(size)}; frames of one video must have one size"
                )
            yield frame

    def _of_pictures(self) -> Iterator[VideoFrame]:
        for number, file in enumerate(self._files[self.first_frame :], self.first_frame):
            yield VideoFrame(read_picture(file), number / self.frames_per_second, str(file))

    def _of_video(self) -> Iterator[VideoFrame]:
        number, seconds = 0, 0.0
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for frame in container.decode(stream):
                    # Decoded and left out: jumping to a key frame would miss by some frames.
                    seconds = number / self.frames_per_second if frame.time is None else float(frame.time)
                    if number >= self.first_frame:
                        yield VideoFrame(_upright(frame), seconds, f"{self.path.name}#{number}")
                    number += 1
        except av.FFmpegError as error:
            raise PictureError(f"{self.path} cannot be read beyond frame {number}: {error}") from error
        self._facts.check_end(self.path, number, seconds)


@dataclass(frozen=True)
class _Facts:
    """What a file says of itself."""

    frames_per_second: float
    num_frames: int = 0
    """0 where it does not say"""
    seconds: float = 0.0

    def check_end(self, path: Path, number: int, seconds: float) -> None:
        """Raises PictureError when the video ends clearly before it should."""
        left = self.seconds - seconds
        # Without a count only the time is left; the last frame of a video may stand for a while.
        if number < self.num_frames or (
            not self.num_frames and left > max(0.1 * self.seconds, 10 / self.frames_per_second)
        ):
            should = f"{self.num_frames} frames" if self.num_frames else f"{self.seconds:.1f} seconds"
            raise PictureError(
                f"{path} should last {should} but ends after {number} frames, {seconds:.1f} seconds; it seems to be"
                " cut off"
            )


@checked
class VideoWriter:
    """An H.264 file that appears whole when closed, at the times of the frames it is given.

    Sides are made even by repeating the last row or column. Use it in a `with` block; after an
    error in the block, the frames that were added are still there.
    """

    def __init__(self, path: str | Path, *, frames_per_second: float, quality: int = 23) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = self.path.with_name(f".{self.path.stem}.part{self.path.suffix}")
        self._rate = Fraction(frames_per_second).limit_denominator(1001)
        self._quality = quality
        self._container: av.container.OutputContainer | None = None
        self._last_tick = -1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """The next frame, (H, W, 3) RGB uint8 of the size of the first, shown from `seconds` on."""
        even = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
        if self._container is None:
            self._open(even.shape[0], even.shape[1])
        if even.shape[:2] != (self._stream.height, self._stream.width):
            raise ValueError(
                f"a frame for {self.path} must be (height, width) {(self._stream.height, self._stream.width)}"
                f" like the first, got {even.shape[:2]}"
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        # Times must rise, whatever the source says.
        self._last_tick = max(round(seconds * TICKS_PER_SECOND), self._last_tick + 1)
        frame.pts, frame.time_base = self._last_tick, Fraction(1, TICKS_PER_SECOND)
        self._write(frame)

    def close(self) -> None:
        """Finish the file. Further calls do nothing; without any frame there is no file."""
        if self._container is not None:
            self._write(None)
            self._container.close()
            self._container = None
            os.replace(self._part, self.path)

    def _open(self, height: int, width: int) -> None:
        self._container = av.open(str(self._part), "w")
        self._stream = self._container.add_stream("libx264", rate=self._rate)
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        self._stream.options = {"crf": str(self._quality), "preset": "veryfast"}

    def _write(self, frame: av.VideoFrame | None) -> None:
        assert self._container is not None
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


def _probe(path: Path) -> _Facts:
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a video, a folder of pictures or a glob pattern, but there is no {path}"
        )
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise PictureError(
                    f"{path} has no pictures that can be read; it is cut off, or holds sound only"
                )
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            seconds = (container.duration or 0) / av.time_base
            return _Facts(rate, int(stream.frames), seconds)
    except av.FFmpegError as error:
        raise PictureError(f"{path} cannot be read as a video: {error}") from error


def _upright(frame: av.VideoFrame) -> np.ndarray:
    turned = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90) % 4)
    return np.ascontiguousarray(turned)
