"""Work done in threads beside the model: what comes next is read meanwhile, and what came last is written."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat, takewhile
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """`make` of each item, in order, one item further than what has been asked for.

    An error of `make` is raised when its item's turn comes, which ends the iterator; what shall go on returns it.

    >>> list(ahead(str.upper, ["a", "b"]))
    ['A', 'B']
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    pending: deque[Future[Made]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) > 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # nobody asks for what is left


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items of an iterable whose work is in its iterator, which runs in a thread, one item ahead.

    >>> list(one_ahead(range(3)))
    [0, 1, 2]
    """
    iterator, end = iter(items), object()
    found = ahead(lambda _: next(iterator, end), repeat(None))
    return takewhile(lambda item: item is not end, found)  # type: ignore[arg-type]


class Behind:
    """In its `with` block jobs run one after the other in a thread, at most one waiting; leaving it waits for all.

    >>> said = []
    >>> with Behind() as behind:
    ...     behind.do(lambda: said.append("written"))
    >>> said
    ['written']
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._last: Future[object] | None = None

    def __enter__(self) -> "Behind":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            self._wait()

    def do(self, job: Callable[[], object]) -> None:
        """Start the job once the one before is done; raises the error of that one here."""
        self._wait()
        self._last = self._pool.submit(job)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()
