"""What a trial of damaged files may take: a reader that takes more has a fault."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIGNALS = {signal.ITIMER_REAL: signal.SIGALRM, signal.ITIMER_PROF: signal.SIGPROF}


class Hangs(BaseException):
    """A reader took longer than any whole file would."""


@contextmanager
def limited(seconds: int, room: int, *, timer: int = signal.ITIMER_REAL) -> Iterator[None]:
    """Within, more than `seconds` raises Hangs and more than `room` bytes beyond what the process holds MemoryError.

    `timer`: ITIMER_REAL counts the seconds of a clock, ITIMER_PROF those of the processor.
    """

    def stop(*_: object) -> None:
        raise Hangs(f"more than {seconds} seconds")

    old = signal.signal(SIGNALS[timer], stop)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, limits[1]))
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(SIGNALS[timer], old)
        resource.setrlimit(resource.RLIMIT_AS, limits)
