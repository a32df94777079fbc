"""Which pictures of many are looked at together: neighbours of one size, read meanwhile."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pagoda_runtime.errors import PictureError
from pagoda_runtime.input_spec import InputSpec
from pagoda_runtime.pictures import to_picture

MOST, PIXELS_SEEN, PIXELS_HELD = 8, 2 * 480 * 640, 2**22
"""of one group: pictures, and of all of them the pixels that the network sees and those that were read; Pagoda's"""


@dataclass(frozen=True)
class Seen:
    """A picture that was read."""

    picture: np.ndarray
    """(H, W, C) as it stands upright"""
    name: str | None
    pixels: np.ndarray
    """(C, height, width) that the network sees"""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        return self.picture.shape[0], self.picture.shape[1]


def see(source: Any, spec: InputSpec) -> Seen:
    """Raises PictureError and TypeError as `to_picture` does."""
    picture, name = to_picture(source, spec.read_channels)
    return Seen(picture, name, spec.prepare(picture))


def groups(sources: Iterable[Any], spec: InputSpec, batch: int | None) -> Iterator[list[Seen] | PictureError]:
    """The pictures in order, those that are alike in groups, and by itself what says why one could not be read.

    `batch`: how many a file takes at a time, where that is fixed. Two groups are held at most.
    """
    group: list[Seen] = []
    for found in _read_ahead(sources, spec, batch):
        is_alike = isinstance(found, Seen) and group and found.size == group[-1].size
        if group and not (is_alike and len(group) < _most(group[-1], batch)):
            yield group
            group = []
        if isinstance(found, Seen):
            group.append(found)
        elif isinstance(found, PictureError):
            yield found
        else:
            raise found
    if group:
        yield group


def _most(seen: Seen, batch: int | None) -> int:
    """Of pictures like this one."""
    if batch is not None:
        return batch
    by_pixels = min(PIXELS_SEEN // math.prod(seen.pixels.shape[1:]), PIXELS_HELD // math.prod(seen.size))
    return max(1, min(MOST, by_pixels))


def _read_ahead(sources: Iterable[Any], spec: InputSpec, batch: int | None) -> Iterator[Seen | Exception]:
    """By two threads, as many further than what has been asked for as make a group; errors in their turn, those of the
    sources themselves among them.

    What is in memory is waited for: it may be another picture when the next is asked for, as frames of a camera are.
    """

    def read(source: Any, failure: Exception | None) -> Seen | Exception:
        try:
            return failure or see(source, spec)
        except Exception as error:
            return error

    pool = ThreadPoolExecutor(2, thread_name_prefix="read")
    pending: deque[Future[Seen | Exception]] = deque()
    ahead = 1
    try:
        for source, failure in _with_failure(sources):
            kept = source.copy() if isinstance(source, np.ndarray) else source
            pending.append(pool.submit(read, kept, failure))
            if not isinstance(source, str | Path):
                wait([pending[-1]])
            while len(pending) > ahead:
                found = pending.popleft().result()
                if isinstance(found, Seen):
                    ahead = _most(found, batch)
                yield found
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # nobody asks for what is left


def _with_failure(sources: Iterable[Any]) -> Iterator[tuple[Any, Exception | None]]:
    """Each with None; where they fail, the failure comes last."""
    try:
        for source in sources:
            yield source, None
    except Exception as error:
        yield None, error
