"""What a trial of damaged files may take: a reader that takes more has a fault."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

Result = TypeVar("Result")
NOISE = 4 * 2**20
"""bytes by which two readings of one file differ: what libraries set up for themselves, once"""
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


class Tried(NamedTuple):
    """One damaged file."""

    seed: int
    result: str
    """"read", "refused", or the fault"""
    memory: float
    """the most that was held meanwhile, as a multiple of what the whole file takes; 0 where that cannot be told"""


def most_held(call: Callable[[], Result]) -> tuple[Result, int]:
    """What a call returns, and the most bytes it held beyond what the process held before; 0 beside Linux."""
    process = Path("/proc/self")
    if not (process / "clear_refs").exists():
        return call(), 0
    (process / "clear_refs").write_text("5")  # the peak becomes what is held now
    before = _kilobytes(process / "status", "VmHWM")
    result = call()
    return result, 1024 * (_kilobytes(process / "status", "VmHWM") - before)


def _kilobytes(status: Path, field: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(field))


def multiple(held: int, whole: int) -> float:
    """Of what the whole file takes; less than `NOISE` is no amount."""
    return held / max(whole, NOISE)
