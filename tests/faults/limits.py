"""What a trial of damaged files may take: a reader that takes more has a fault."""

import argparse
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
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


def command(description: str, kinds: Collection[str], run: Callable[[str, range], Iterable[Tried]]) -> None:
    """Spoil files of every kind, or of one, and print what came of them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--show", type=int, default=5, help="faults that are printed, of each kind of file")
    options = parser.parse_args()
    names = [options.only] if options.only else list(kinds)
    each = -(-options.count // len(names))
    total: Counter[str] = Counter()
    memory = 0.0
    for name in names:
        since, found = time.process_time(), list(run(name, range(options.seed, options.seed + each)))
        counts = Counter(tried.result.split(" (")[0] for tried in found)
        total += counts
        memory = max(memory, *(tried.memory for tried in found))
        print(f"{name:28} {dict(counts)} in {time.process_time() - since:.1f} s", flush=True)
        faults = [tried for tried in found if tried.result not in ("read", "refused")]
        for fault in faults[: options.show]:
            print(f"    {fault.seed}: {fault.result}", flush=True)
    print(f"{'all':28} {dict(total)}; peak memory {memory:.2f} times that of the whole file")
