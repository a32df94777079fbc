"""One connection to a live source: a thread that decodes, and the newest frames, which wait for being asked for."""

import errno
import math
import os
import select
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread
from typing import NamedTuple

import av

from pagoda.pictures.read import PictureError
from pagoda.plain import checked
from pagoda.video.addresses import STANDARD_INPUT, LiveAddress
from pagoda.video.files import is_cover

Clock = Callable[[], float]
"""seconds, counted from any moment"""
MAX_WAITING_BYTES = 2**28
"""of frames that wait, about: 190 of 1280x720, 21 of 4K; at least one waits"""
MAX_HELD = 4
"""frames that wait where none may be dropped"""
LOOK = {"analyzeduration": "100000", "fpsprobesize": "3", "formatprobesize": "131072"}
"""FFmpeg's options: how long it looks at a stream, in microseconds, frames and bytes, before it gives frames. Its own
choice are two seconds of 25 frames each: a minute of a camera that sends one per second"""
CALM = 30
"""frames in a row before which none was dropped, after which somebody is as quick as the source"""
READ_SECONDS = 0.2
"""how long a pipe is waited for before looking whether anybody still wants to know"""


class Taken(NamedTuple):
    """A decoded frame whose turn has come."""

    frame: av.VideoFrame
    """in the colours of its codec"""
    arrived: float
    """by the clock, when it was decoded"""
    num_dropped: int
    """frames dropped since the one before"""


@checked
class LiveQueue:
    """The frames of a connection that wait, none older than it may be, and how many were dropped.

    One thread puts, another takes. `max_delay` None: none is dropped, and who puts has to wait.

    >>> queue = LiveQueue(max_delay=0.5, clock=iter([0.0, 0.1, 0.7, 0.7]).__next__)
    >>> frame = av.VideoFrame(4, 4, "rgb24")
    >>> queue.put(frame), queue.put(frame), queue.put(frame)
    (True, True, True)
    >>> queue.take().num_dropped  # two are older than half a second now
    2
    """

    def __init__(self, *, max_delay: float | None, clock: Clock, holds: bool = False) -> None:
        """`holds`: nothing is dropped before `begin`."""
        self.ending: str | None = None
        """why no more will come; "" at the end of the stream, None while it lasts"""
        self.frames_per_second = 25.0
        """as the stream says, 25 where it does not"""
        self.num_damaged = 0
        """packets that gave no frame because they could not be decoded"""
        self.has_begun = False
        """whether any frame came"""
        self._max_delay, self._clock, self._holds = max_delay, clock, holds or max_delay is None
        self._changed = Condition()
        self._frames: deque[tuple[av.VideoFrame, float]] = deque()
        self._num_dropped, self._hurries, self._is_closed = 0, 0, False

    def put(self, frame: av.VideoFrame) -> bool:
        """Add the newest frame; False where nobody wants more."""
        with self._changed:
            while self._holds and len(self._frames) >= MAX_HELD and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return False
            now = self._clock()
            self._frames.append((frame, now))
            self.has_begun = True
            if not self._holds:
                most = max(1, MAX_WAITING_BYTES // max(1, 3 * frame.width * frame.height // 2))
                self._drop(now - (self._max_delay or 0), most)
            self._changed.notify_all()
            return True

    def begin(self) -> None:
        """From now on frames are asked for."""
        with self._changed:
            self._holds = self._max_delay is None
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """At most so long for a frame, or for the end; whether a frame waits."""
        with self._changed:
            if not self._frames and self.ending is None:
                self._changed.wait(seconds)
            return bool(self._frames)

    def take(self, *, work_seconds: float = 0.0) -> Taken:
        """The frame that waits longest, unless it would be older than `max_delay` after work that takes so long.

        Then the newest is taken, the others are dropped, and so on until none had to be for `CALM` frames: who is too
        slow sees frames at even distances and has time in hand. Raises IndexError where none waits.
        """
        with self._changed:
            if not self._holds:
                self._drop(self._clock() - max(0.0, (self._max_delay or 0) - work_seconds), len(self._frames))
                if self._num_dropped:
                    self._hurries = CALM
                if self._hurries:
                    self._drop(math.inf, 1)
                    self._hurries = CALM if self._num_dropped else self._hurries - 1
            frame, arrived = self._frames.popleft()
            num_dropped, self._num_dropped = self._num_dropped, 0
            self._changed.notify_all()
            return Taken(frame, arrived, num_dropped)

    def end(self, reason: str) -> None:
        """No more will come; "" at the end of the stream."""
        with self._changed:
            if self.ending is None:
                self.ending = reason
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody will ask any more."""
        with self._changed:
            self._is_closed = True
            self._frames.clear()
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether nobody will ask any more."""
        return self._is_closed

    def _drop(self, before: float, most: int) -> None:
        """The oldest ones, of which the newest always stays."""
        while len(self._frames) > 1 and (self._frames[0][1] < before or len(self._frames) > most):
            self._frames.popleft()
            self._num_dropped += 1


def connect(address: LiveAddress, queue: LiveQueue, *, timeout: float) -> None:
    """Start a thread that opens the address and fills the queue until the stream ends, breaks or nobody asks.

    Where a system keeps it from coming back, as a camera may that was pulled out, it is left behind.
    """
    Thread(target=_read, args=(address, queue, timeout), name=f"live {address.name}", daemon=True).start()


def _read(address: LiveAddress, queue: LiveQueue, timeout: float) -> None:
    try:
        with _opened(address, queue, timeout) as (container, stream):
            _decode(container, stream, queue)
        queue.end("")
    except PictureError as error:
        queue.end(str(error))
    except (av.FFmpegError, OSError, ValueError) as error:
        # What such an error says of itself holds the address, and that the password.
        queue.end(_reason(error, timeout))
    except BaseException as error:  # whoever waits must hear of it
        queue.end(f"{type(error).__name__} while reading")
        raise


def _decode(container: av.container.InputContainer, stream: av.VideoStream, queue: LiveQueue) -> None:
    """Packets that are damaged on their way are passed over; before the first frame they just lack others."""
    for packet in _packets(container, stream, queue):
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.InvalidDataError:
            queue.num_damaged += queue.has_begun
            continue
        except av.error.EOFError:  # it has given all it had
            return
        for frame in frames:
            frame.time_base = stream.time_base  # those that come last have none
            if not queue.put(frame):
                return


def _packets(
    container: av.container.InputContainer, stream: av.VideoStream, queue: LiveQueue
) -> Iterator[av.Packet | None]:
    """Those of the stream, and None at its end, for which a decoder gives what it still holds."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except OSError as error:
        # What FFmpeg says at the end of a stream whose length it was not told.
        if error.errno != errno.EIO or not queue.has_begun:
            raise
    yield None


@contextmanager
def _opened(
    address: LiveAddress, queue: LiveQueue, timeout: float
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    pipe = _Pipe(address.target, queue) if address.kind == "pipe" else None
    try:
        with av.open(
            pipe or address.target,
            format=address.file_format,
            options={**LOOK, **address.options},
            timeout=None if pipe else (timeout, timeout),
        ) as container:
            if address.kind == "network":
                _check_is_live(container)
            streams = [each for each in container.streams.video if not is_cover(each)]
            if not streams or streams[0].codec_context is None:
                raise PictureError(
                    "it holds sound only"
                    if container.streams.audio
                    else "it holds no pictures that can be decoded"
                )
            stream = streams[0]
            stream.thread_type = "SLICE"  # threads that take a frame each give it back some frames later
            rate = stream.average_rate or stream.guessed_rate
            queue.frames_per_second = float(rate) if rate else 25.0
            yield container, stream
    finally:
        if pipe is not None:
            pipe.close()


def _check_is_live(container: av.container.InputContainer) -> None:
    kind = container.format.name
    if kind.startswith("image2") or kind.endswith("_pipe"):
        raise PictureError("it answers with a picture, no stream")
    if container.duration:
        raise PictureError(
            f"it is a whole video of {container.duration / av.time_base:.1f} seconds, no live stream; fetch the file"
            " and give its path"
        )


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, av.error.ExitError):
        return f"no frame came for {timeout:g} seconds"
    if isinstance(error, av.error.EOFError):
        return ""
    said = getattr(error, "strerror", None) or type(error).__name__
    if isinstance(error, av.error.InvalidDataError | ValueError):
        said += " (expected a video stream: MPEG-TS, MJPEG, Matroska, FLV, y4m …)"
    elif getattr(error, "errno", None) == errno.EIO:
        said += " (is there such a host, and does it send a video stream?)"
    return said


class _Pipe:
    """Standard input or a named pipe, as PyAV reads it; waiting for it ends when nobody asks for frames any more."""

    def __init__(self, target: str, queue: LiveQueue) -> None:
        self._queue = queue
        if target == STANDARD_INPUT:
            self._file = os.dup(sys.stdin.fileno())
        else:  # without waiting for somebody who writes
            self._file = os.open(target, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(self._file, select.POLLIN | select.POLLHUP)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        while self._poll is not None and not self._poll.poll(1000 * READ_SECONDS):
            if self._queue.is_closed:
                break
        # Who reads no more must not take what somebody else waits for.
        return b"" if self._queue.is_closed else os.read(self._file, size)

    def close(self) -> None:
        os.close(self._file)
