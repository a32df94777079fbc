"""Videos as pictures one after the other, and pictures as a video; read and written by PyAV."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from pagoda.files.atomic import writing
from pagoda.files.drafts import draft_beside, settle
from pagoda.files.text import with_home
from pagoda.messages import counted
from pagoda.pictures.read import (
    PictureError,
    find_pictures,
    is_picture,
    picture_facts,
    read_frames,
    read_picture,
)
from pagoda.plain import checked
from pagoda.video.files import VideoFacts, decode_video, probe_video

TICKS_PER_SECOND = 90_000
PIECES, PIECE_BYTES = 64, 2**16
"""of a video's file, spread over it, which tell whether it is the same"""


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
    """The frames of a video, of an animated picture, or of a folder or glob of pictures in their natural order, one
    at a time; `len` may be an estimate.

    A file is a video when PyAV opens it, whatever its ending; a GIF, WebP, PNG or AVIF with several frames, and the
    pages of a TIFF, are one, too. A frame that cannot be read, or that has another size than the first, raises
    `PictureError` with its number when its turn comes; the frames before it have been handed out by then.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as folder:
    ...     for number in (2, 10):
    ...         Image.new("L", (4, 3), number).save(f"{folder}/{number}.png")
    ...     frames = list(VideoSource(folder, frames_per_second=5))
    >>> [(Path(frame.name).name, frame.seconds) for frame in frames]
    [('2.png', 0.0), ('10.png', 0.2)]
    """

    def __init__(self, source: str | Path, *, frames_per_second: float = 25.0, first_frame: int = 0) -> None:
        self.path, self.first_frame = with_home(source), first_frame
        if not self.path.exists() and not glob.has_magic(str(source)):
            raise FileNotFoundError(
                f"expected a video, a folder of pictures or a glob pattern, but there is no {self.path}"
            )
        self.left_out = ""
        """what of a folder or glob is no frame, in words"""
        self._asked_rate = frames_per_second
        self._files: list[Path] = []
        self._facts = self._look(frames_per_second)
        self.frames_per_second, length = self._facts.frames_per_second, self._facts.max_frames
        if first_frame < 0 or (length is not None and first_frame >= length):
            raise ValueError(
                f"{self.path} has {counted(length, 'frame')}; it cannot start at frame {first_frame}"
            )

    def __len__(self) -> int:
        return max(0, self._facts.num_frames - self.first_frame)

    @property
    def name(self) -> str:
        """The file without its ending, or the folder."""
        if self.path.is_file():
            return self.path.stem
        return (self.path if self.path.is_dir() else self.path.parent).resolve().name

    def starting_at(self, first_frame: int) -> "VideoSource":
        """The same frames, from another one on."""
        return VideoSource(self.path, frames_per_second=self._asked_rate, first_frame=first_frame)

    def content_hash(self) -> str:
        """Of a file its length and 64 pieces of its content; "" of a folder or glob, whose frames tell."""
        if self._files:
            return ""
        length = self.path.stat().st_size
        digest = sha256(str(length).encode())
        with self.path.open("rb") as file:
            for piece in range(PIECES):
                file.seek(max(0, length - PIECE_BYTES) * piece // (PIECES - 1))
                digest.update(file.read(PIECE_BYTES))
        return digest.hexdigest()

    def __iter__(self) -> Iterator[VideoFrame]:
        size: tuple[int, ...] | None = None
        for number, frame in enumerate(self._frames(), self.first_frame):
            size = size or frame.picture.shape[:2]
            if frame.picture.shape[:2] != size:
                raise PictureError(
                    f"frame {number} of {self.path} has (height, width) {frame.picture.shape[:2]}, the first one"
                    f" {tuple(size)}; frames of one video must have one size"
                )
            yield frame
        if size is None:  # no more frames than its header promised
            raise PictureError(f"{self.path} ends before frame {self.first_frame}; it cannot start there")

    def _look(self, frames_per_second: float) -> VideoFacts:
        """Sets what is read: `_files` of pictures, or an `_is_animation`, or a video."""
        self._is_animation = False
        if self.path.is_file():
            # Told by the content; the ending says only what to try first.
            attempts = [self._look_at_animation, self._look_at_video]
            reasons = []
            for attempt in attempts if is_picture(self.path) else reversed(attempts):
                try:
                    return attempt(frames_per_second)
                except PictureError as error:
                    reasons.append(str(error))
            raise PictureError("; ".join(reasons))
        found = find_pictures(self.path)
        self._files, self.left_out = found.pictures, found.left_out()
        return _facts_of(len(self._files), frames_per_second)

    def _look_at_animation(self, frames_per_second: float) -> VideoFacts:
        count = picture_facts(self.path).num_frames
        if count == 1:
            self._files = [self.path]
            return _facts_of(1, frames_per_second)
        self._is_animation = True
        _, seconds = next(read_frames(self.path, default_seconds=1 / frames_per_second))
        return _facts_of(count, 1 / seconds)

    def _look_at_video(self, _: float) -> VideoFacts:
        return probe_video(self.path)

    def _frames(self) -> Iterator[VideoFrame]:
        """From `first_frame` on."""
        if self._files:
            return self._of_pictures()
        return self._of_animation() if self._is_animation else self._of_video()

    def _of_pictures(self) -> Iterator[VideoFrame]:
        for number, file in enumerate(self._files[self.first_frame :], self.first_frame):
            yield VideoFrame(read_picture(file), number / self.frames_per_second, str(file))

    def _of_animation(self) -> Iterator[VideoFrame]:
        seconds = 0.0
        frames = read_frames(self.path, default_seconds=1 / self.frames_per_second)
        for number, (picture, shown) in enumerate(frames):
            if number >= self.first_frame:
                yield VideoFrame(picture, seconds, f"{self.path.name}#{number}")
            seconds += shown

    def _of_video(self) -> Iterator[VideoFrame]:
        frames = decode_video(self.path, self._facts, first_frame=self.first_frame)
        for number, (picture, seconds) in enumerate(frames, self.first_frame):
            yield VideoFrame(picture, seconds, f"{self.path.name}#{number}")


@checked
class VideoWriter:
    """An H.264 file that appears whole when closed, at the times of the frames it is given.

    Sides are made even by repeating the last row or column. Use it in a `with` block; after an
    error in the block, the frames that were added are still there. Equal frames give equal bytes: x264's macroblock
    tree is off (files an eighth larger), which with AVX-512 reads memory that nobody set.
    """

    def __init__(self, path: str | Path, *, frames_per_second: float, quality: int = 23) -> None:
        self.path = Path(path)
        self._draft: Path | None = None
        self._rate = Fraction(frames_per_second).limit_denominator(1001)
        self._quality = quality
        self._last_tick = -1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """The next frame, (H, W, 3) RGB uint8 of the size of the first, shown from `seconds` on."""
        odd = picture.shape[0] % 2, picture.shape[1] % 2
        even = np.pad(picture, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge") if any(odd) else picture
        if self._draft is None:
            with writing(self.path):
                self._open(even.shape[0], even.shape[1])
        if even.shape[:2] != (self._stream.height, self._stream.width):
            raise ValueError(
                f"a frame for {self.path} must be (height, width) {(self._stream.height, self._stream.width)}"
                f" like the first, got {even.shape[:2]}"
            )
        # Without a copy of it: the encoder takes other colours, which are one.
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(even), format="rgb24")
        # Times must rise, whatever the source says.
        self._last_tick = max(round(seconds * TICKS_PER_SECOND), self._last_tick + 1)
        frame.pts, frame.time_base = self._last_tick, Fraction(1, TICKS_PER_SECOND)
        with writing(self.path):
            self._encode(frame)

    def close(self) -> None:
        """Finish the file. Further calls do nothing; without any frame there is no file."""
        if self._draft is None:
            return
        draft, self._draft = self._draft, None
        try:
            with writing(self.path):
                self._encode(None)
                self._container.close()
                settle(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)

    def _open(self, height: int, width: int) -> None:
        self._draft = draft_beside(self.path, suffix=self.path.suffix)
        self._container = av.open(str(self._draft), "w")
        self._stream = self._container.add_stream("libx264", rate=self._rate)
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        self._stream.options = {"crf": str(self._quality), "preset": "superfast", "x264-params": "mbtree=0"}

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


def _facts_of(count: int, frames_per_second: float) -> VideoFacts:
    return VideoFacts(frames_per_second, count, count, count / frames_per_second)
