"""Work done in threads beside the model: what comes next is read meanwhile, and what came last is written."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat, takewhile
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item], *, by: int = 1) -> Iterator[Made]:
    """`make` of each item, in order, `by` items further than what has been asked for.

    An error of `make` is raised when its item's turn comes, which ends the iterator; what shall go on returns it.

    >>> list(ahead(str.upper, ["a", "b"]))
    ['A', 'B']
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    pending: deque[Future[Made]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) > by:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # nobody asks for what is left


def taken_ahead(items: Iterable[Item], *, by: int = 1) -> Iterator[Item]:
    """The items of an iterable whose work is in its iterator, which runs in a thread, `by` items ahead.

    >>> list(taken_ahead(range(3)))
    [0, 1, 2]
    """
    iterator, end = iter(items), object()
    found = ahead(lambda _: next(iterator, end), repeat(None), by=by)
    return takewhile(lambda item: item is not end, found)  # type: ignore[arg-type]


class Behind:
    """In its `with` block jobs run one after the other in a thread; leaving it waits for all.

    >>> said = []
    >>> with Behind() as behind:
    ...     behind.do(lambda: said.append("written"))
    >>> said
    ['written']
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._jobs = deque[Future[object]]()

    def __enter__(self) -> "Behind":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            self._wait(0)

    def do(self, job: Callable[[], object], *, waiting: int = 1) -> None:
        """Take the job once fewer than `waiting` others are not done; raises the error of one of those here."""
        self._wait(waiting - 1)
        self._jobs.append(self._pool.submit(job))

    def _wait(self, left: int) -> None:
        """Until no more than so many are not done."""
        while self._jobs and (len(self._jobs) > left or self._jobs[0].done()):
            self._jobs.popleft().result()
