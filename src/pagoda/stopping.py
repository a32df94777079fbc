"""Ends that are asked for, by Ctrl-C or by the signal of a scheduler, and wait until nothing is lost."""

import _thread
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType

REQUESTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, a scheduler or `kill`, a terminal that was closed"""
AGAIN_SECONDS = 0.05
"""after which a request is raised again that nobody could hear"""
GRACE_SECONDS = 60
"""how long a reading process waits for the end of the one it reads for"""


class Stopped(KeyboardInterrupt):
    """Somebody asked for the end. The message says what is kept and how to go on."""

    def __init__(self, signum: int, said: str = "") -> None:
        super().__init__(said)
        self.signum = int(signum)

    @property
    def exit_code(self) -> int:
        """As shells count it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signum


class StopRequests:
    """In its `with` block the first request is noted, and `check` raises it; a second Ctrl-C raises at once.

    In a thread that is not the main one, signals stay as they are.
    """

    def __init__(self, said: str = "") -> None:
        """`said`: what to tell on standard error when the first request comes."""
        self.received = 0
        """the signal of the first request; 0: none has come"""
        self._said, self._pid = said, os.getpid()
        self._raises = self._has_raised = False
        self._handled = ExitStack()

    def __enter__(self) -> "StopRequests":
        self._handled.enter_context(_handled(self._note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.close()
        if self._has_raised and isinstance(error, Exception):
            raise Stopped(self.received) from error  # some library took it for an error of its own

    def check(self) -> None:
        """Raises Stopped where a request has come."""
        if self.received:
            raise Stopped(self.received)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """For work of which nothing needs to be kept: in the block a request raises where it comes."""
        self.check()
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a process for reading that has only begun
            return
        is_again = bool(self.received) and signum == signal.SIGINT
        if not self.received and self._said and not self._raises:
            os.write(2, f"\n{self._said}\n".encode())  # printing is not safe in here
        self.received = self.received or signum
        if is_again or self._raises:
            self._has_raised = True
            raise Stopped(self.received)


@contextmanager
def stops_raise() -> Iterator[None]:
    """In the block every request raises Stopped where it comes, so that `finally` and `with` are heeded."""
    received: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        raise Stopped(signum)

    with _handled(stop):
        try:
            yield
        except Exception as error:
            if received:
                raise Stopped(received[0]) from error  # some library took it for an error of its own
            raise


def leave_stops_to_parent() -> None:
    """For a process that reads pictures: Ctrl-C and a scheduler reach it too, but it ends with its parent.

    Where that does not come to its end, this one goes after `GRACE_SECONDS`. Where it was killed, what then fails here,
    a connection to it above all, is nobody's concern and not told.
    """
    for signum in REQUESTS:
        signal.signal(signum, signal.SIG_IGN if signum == signal.SIGINT else _end_later)
    parent, tell = multiprocessing.parent_process(), sys.excepthook

    def tell_while_it_lives(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if parent is None or parent.is_alive():
            tell(kind, error, trace)

    sys.excepthook = tell_while_it_lives


def _end_later(signum: int, frame: FrameType | None) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(GRACE_SECONDS)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that somebody chose to ignore, as nohup does, stay ignored. What is raised where Python can pass nothing
    on, in a destructor or the callback of a weak reference, comes again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    tell_others, is_over = sys.unraisablehook, threading.Event()

    def come_again(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, Stopped):
            again = threading.Timer(
                AGAIN_SECONDS, _raise_while, [is_over, signal.Signals(lost.exc_value.signum)]
            )
            again.daemon = True
            again.start()
        else:
            tell_others(lost)

    heard = [signum for signum in REQUESTS if signal.getsignal(signum) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, handler) for signum in heard}
    sys.unraisablehook = come_again
    try:
        yield
    finally:
        is_over.set()
        sys.unraisablehook = tell_others
        for signum, old in before.items():
            signal.signal(signum, signal.SIG_DFL if old is None else old)


def _raise_while(is_over: threading.Event, signum: signal.Signals) -> None:
    """Once nobody handles it any more, the signal would end the process."""
    if not is_over.is_set():
        _thread.interrupt_main(signum)
