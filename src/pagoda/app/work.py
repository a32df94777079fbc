"""What the page computes, so that its end can wait for it: a thread that computes when Python ends takes it down."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Any

from pagoda.plain import checked

END_SECONDS = 60
"""that a picture or a frame may take which is being looked at when the end is asked for"""


class Ended(Exception):
    """The page has ended, and nothing new begins."""


@checked
class Work:
    """All that is under way for anybody.

    >>> work = Work()
    >>> with work.one():
    ...     work.num_running
    1
    >>> work.end(), work.is_over
    (None, True)
    """

    num_running: int
    """pieces of work that threads are at"""
    is_over: bool
    """nothing new begins any more"""

    def __init__(self) -> None:
        self.num_running, self.is_over = 0, False
        self._films: list[Generator[Any]] = []
        self._changed = Condition()

    @contextmanager
    def one(self) -> Iterator[None]:
        """In the block a piece of work is under way. Raises Ended after the end."""
        with self._changed:
            if self.is_over:
                raise Ended
            self.num_running += 1
        try:
            yield
        finally:
            with self._changed:
                self.num_running -= 1
                self._changed.notify_all()

    @contextmanager
    def film(self, frames: Generator[Any]) -> Iterator[Iterator[Any]]:
        """What follows a video, each step a piece of work; it is closed with the block, and at the end in any case."""
        self._films.append(frames)
        try:
            yield self._steps(frames)
        finally:
            frames.close()
            self._films.remove(frames)

    def _steps(self, frames: Generator[Any]) -> Iterator[Any]:
        while True:
            try:
                with self.one():
                    step = next(frames, None)
            except Ended:
                return
            if step is None:
                return
            yield step

    def end(self) -> None:
        """Begin nothing any more, and wait for what is under way."""
        with self._changed:
            self.is_over = True
            self._changed.wait_for(lambda: not self.num_running, timeout=END_SECONDS)
        for frames in self._films.copy():
            frames.close()
