"""Frames of a source that lives: a camera, a stream of the network or a pipe, each soon after it came or not at all."""

import math
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pagoda.messages import counted
from pagoda.pictures.read import PictureError
from pagoda.plain import checked
from pagoda.video.addresses import STANDARD_INPUT, LiveAddress, live_address
from pagoda.video.connection import Clock, LiveQueue, Taken, connect
from pagoda.video.files import Upright
from pagoda.video.frames import VideoFrame

MAX_DELAY = 0.5
"""seconds a frame may be old, by default"""
STALL_SECONDS = 10.0
"""without a frame, after which a connection counts as lost, by default"""
RECONNECT = 5
"""attempts, one after the other, at a camera or an address, by default"""
LONGEST_PAUSE = 30.0
"""seconds between two attempts to connect; the first comes after one, each further one after twice as long"""
POLL_SECONDS = 0.1
"""how soon a wish to end is heard while nothing comes"""
FORGOTTEN = 0.9
"""of the longest time the work on a frame took lately, what counts after one that was quicker"""


@dataclass(frozen=True, eq=False)
class LiveFrame(VideoFrame):
    """One picture of a live source."""

    number: int
    """of the frame in its stream, counted from 0, dropped ones too"""
    arrived: float
    """when it was decoded, by the clock of its source"""
    num_dropped: int
    """frames dropped since the one before"""


@checked
class LiveSource:
    """The frames of a camera, a stream or a pipe as they come; who asks too seldom gets the newest ones.

    Opened when made, and gone through once. Frames wait until somebody asks for them, as long as they can be dealt with
    before they are `max_delay` old, by the longest time that passed lately from asking to asking. When one cannot, the
    newest is handed out and the older ones are dropped and counted, and so on until who asks is as quick as the source.
    The delay is counted from when a frame is decoded.

    A connection that breaks, or over which no frame comes for `stall_seconds`, is made anew, after pauses that double
    from one second to half a minute. When that fails `reconnect` times in a row PictureError says why, and when the
    frames have another size. The end of a pipe is the end, and so is that of any stream with `reconnect` 0.

    Raises PictureError where it cannot be opened or nothing comes, ValueError for words that name no live source.

    >>> LiveSource("street.mp4")
    Traceback (most recent call last):
    ValueError: expected webcam:0, rtsp://…, http(s)://…, tcp://…, udp://…, - or a named pipe, got 'street.mp4'
    """

    is_live = True
    first_frame = 0

    def __init__(
        self,
        source: str | Path,
        *,
        max_delay: float | None = MAX_DELAY,
        reconnect: int | None = None,
        stall_seconds: float = STALL_SECONDS,
        first_pause: float = 1.0,
        clock: Clock = time.monotonic,
    ) -> None:
        """
        Args:
            max_delay: seconds; 0: always the newest frame; None: none is dropped, and the source has to wait.
            reconnect: attempts; None: 5, of a pipe 0.
            first_pause: seconds before the first attempt to connect anew.
            clock: seconds, counted from any moment.
        """
        address = live_address(source)
        if address is None:
            raise ValueError(
                "expected webcam:0, rtsp://…, http(s)://…, tcp://…, udp://…, - or a named pipe, got"
                f" {str(source)!r}"
            )
        _check_times(address, max_delay=max_delay, reconnect=reconnect, stall_seconds=stall_seconds)
        self.address: LiveAddress = address
        self.max_delay, self.stall_seconds, self._first_pause = max_delay, stall_seconds, first_pause
        self.reconnect = (0 if address.kind == "pipe" else RECONNECT) if reconnect is None else reconnect
        self.num_frames = self.num_dropped = self.num_reconnects = 0
        """frames handed out, frames dropped, connections made after the first"""
        self._clock, self._is_begun, self._work = clock, False, 0.0
        self._asked_to_end: Callable[[], bool] = lambda: False
        self._say: Callable[[str], object] = lambda text: None
        self._num_damaged_before = 0
        self._queue = self._connect(holds=address.kind == "pipe")
        try:
            reason = self._wait_for_first(self._queue)
        except BaseException:
            self.close()
            raise
        if reason is not None:
            self.close()
            raise PictureError(
                f"{address.shown} cannot be read: {reason or 'it ended without a single frame'}"
            )
        self.frames_per_second = self._queue.frames_per_second

    @property
    def name(self) -> str:
        """Of the source, for files: without user and password."""
        return self.address.name

    @property
    def left_out(self) -> str:
        """How many frames were dropped so far, in words, and how often it was connected anew; "" where neither."""
        said = []
        if self.num_dropped:
            total = self.num_frames + self.num_dropped
            why = f"to stay within {self.max_delay:g} s"
            said.append(f"{self.num_dropped} of {counted(total, 'frame')} dropped {why}")
        if self.num_damaged:
            said.append(f"{counted(self.num_damaged, 'damaged packet')} passed over")
        if self.num_reconnects:
            said.append(f"connected anew {counted(self.num_reconnects, 'time')}")
        return ", ".join(said)

    @property
    def num_damaged(self) -> int:
        """Packets of all connections that could not be decoded."""
        return self._num_damaged_before + self._queue.num_damaged

    @property
    def is_ended(self) -> bool:
        """Whether its connection has ended, so that what waits is the last, unless it is made anew."""
        return self._queue.ending is not None

    def delay(self, frame: LiveFrame) -> float:
        """Seconds since the frame was decoded."""
        return self._clock() - frame.arrived

    def attend(
        self,
        *,
        asked_to_end: Callable[[], bool] | None = None,
        say: Callable[[str], object] | None = None,
    ) -> None:
        """Whom to ask whether to end, before each frame and while none comes; whom to tell of lost connections."""
        self._asked_to_end = asked_to_end or self._asked_to_end
        self._say = say or self._say

    def close(self) -> None:
        """Leave the source; frames that wait are forgotten. Further calls do nothing."""
        self._leave()

    def __iter__(self) -> Iterator[LiveFrame]:
        if self._is_begun:
            raise ValueError(f"{self.address.shown} is live: its frames come once; open it again")
        self._is_begun = True
        try:
            yield from self._frames()
        finally:
            self.close()

    def _frames(self) -> Iterator[LiveFrame]:
        self._queue.begin()
        times = _Times(self.frames_per_second, by_arrival=self.max_delay is not None)
        upright, size = Upright(), (0, 0)
        while (taken := self._next()) is not None:
            asked, number = self._clock(), self.num_frames + self.num_dropped + taken.num_dropped
            picture = upright(taken.frame)
            found = picture.shape[0], picture.shape[1]
            if size not in ((0, 0), found):
                raise PictureError(
                    f"{self.address.shown} changed its size: frame {number} has (height, width)"
                    f" {found}, those before {size}; tracks end here, start again for new ones"
                )
            size = found
            self.num_frames += 1
            self.num_dropped += taken.num_dropped
            seconds = times.of(taken, connection=self.num_reconnects)
            yield LiveFrame(
                picture, seconds, f"{self.name}#{number}", number, taken.arrived, taken.num_dropped
            )
            self._work = max(self._clock() - asked, FORGOTTEN * self._work)

    def _next(self) -> Taken | None:
        """None at the end; a connection that is lost is made anew."""
        since = self._clock()
        while not self._asked_to_end():
            if self._queue.wait(POLL_SECONDS):
                return self._queue.take(work_seconds=self._work)
            reason = self._queue.ending
            if reason is not None and self._queue.wait(0):
                continue  # its last frames came just now
            if reason is None and self._clock() - since > self.stall_seconds:
                reason = self._stalled()
            if reason is not None:
                if not self._go_on_after(reason):
                    return None
                since = self._clock()
        return None

    def _go_on_after(self, reason: str) -> bool:
        """Whether there is a new connection after the end of one; "" where that just ended."""
        shown, pause = self.address.shown, self._first_pause
        if not self.reconnect and not reason:
            return False
        for attempt in range(1, self.reconnect + 1):
            said = reason or "it ended"
            self._say(
                f"{shown}: {said}; connecting anew in {pause:g} s (attempt {attempt} of {self.reconnect})"
            )
            self._pause(pause)
            if self._asked_to_end():
                return False
            self.close()
            self._num_damaged_before += self._queue.num_damaged
            self._queue = self._connect()
            reason = self._wait_for_first(self._queue) or ""
            if self._queue.wait(0):
                self.num_reconnects += 1
                return True
            pause = min(2 * pause, LONGEST_PAUSE)
        after = f"after {counted(self.num_frames + self.num_dropped, 'frame')}"
        tried = f", and {counted(self.reconnect, 'attempt')} to connect anew failed" if self.reconnect else ""
        raise PictureError(f"{shown} was lost {after}{tried}: {reason or 'it ended'}")

    def _connect(self, *, holds: bool = False) -> LiveQueue:
        queue = LiveQueue(max_delay=self.max_delay, clock=self._clock, holds=holds)
        self._leave = weakref.finalize(self, queue.close)  # its thread ends with whoever would ask
        connect(self.address, queue, timeout=self.stall_seconds)
        return queue

    def _wait_for_first(self, queue: LiveQueue) -> str | None:
        """None once a frame has come, or else why none will; "" where the stream ended without one."""
        since = self._clock()
        while not queue.wait(POLL_SECONDS):
            if queue.ending is not None or self._asked_to_end():
                return None if queue.wait(0) else queue.ending or ""
            if self._clock() - since > self.stall_seconds:
                return self._stalled()
        return None

    def _stalled(self) -> str:
        return f"no frame came for {self.stall_seconds:g} seconds"

    def _pause(self, seconds: float) -> None:
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0 and not self._asked_to_end():
            time.sleep(min(left, POLL_SECONDS))


class _Times:
    """When a frame is shown, in seconds from the first: when it came, or, where nothing is dropped, by its stream."""

    def __init__(self, frames_per_second: float, *, by_arrival: bool) -> None:
        self._interval, self._by_arrival = 1 / frames_per_second, by_arrival
        self._origin: float | None = None
        self._connection, self._last = 0, -self._interval

    def of(self, taken: Taken, *, connection: int) -> float:
        time_of_frame = taken.arrived if self._by_arrival else taken.frame.time
        following = self._last + self._interval
        if time_of_frame is None:
            self._last = following
            return following
        if self._origin is None or (connection != self._connection and not self._by_arrival):
            self._origin = time_of_frame - following
        self._connection, self._last = connection, time_of_frame - self._origin
        return self._last


def _check_times(
    address: LiveAddress, *, max_delay: float | None, reconnect: int | None, stall_seconds: float
) -> None:
    """Raises ValueError with what was expected."""
    if max_delay is not None and not 0 <= max_delay < math.inf:
        raise ValueError(f"max_delay must be seconds from 0 on, or None to drop nothing, got {max_delay}")
    if not 0 < stall_seconds < math.inf:
        raise ValueError(f"stall_seconds must be above 0, got {stall_seconds}")
    if reconnect is not None and reconnect < 0:
        raise ValueError(f"reconnect must be 0 or more attempts, got {reconnect}")
    if reconnect and address.target == STANDARD_INPUT:
        raise ValueError("standard input cannot be opened anew; leave reconnect at 0")
    if address.target == STANDARD_INPUT and sys.stdin.isatty():
        raise ValueError(
            "standard input is a terminal; send a stream into it: PROGRAM | pagoda track MODEL -"
        )
