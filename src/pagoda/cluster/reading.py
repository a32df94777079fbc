"""The pixels of one place after another, read by the process that looks at them."""

import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

from pagoda.cluster.sources import IMAGE, Place, columns_of, is_stored, open_stored, open_table
from pagoda.drawing.objects import MAX_DRAWN_PIXELS
from pagoda.finding.look import Read, read_source
from pagoda.pictures.arrays import ReadPicture
from pagoda.pictures.read import PictureError, is_address, is_picture, to_picture
from pagoda.plain import checked
from pagoda.preprocess import InputSpec

TRIES, WAIT_SECONDS = 3, 2.0
"""of a store that does not answer, and between them"""
ROWS_TOGETHER = 16
"""of a Parquet file that are in memory"""


@checked
class PlaceReader:
    """What a model of `spec` takes of each place; places of one Parquet file are best asked for in order.

    Raises OSError where a store does not answer, and ImportError where its package is missing: pictures that are not
    there, or no pictures, are a PictureError that is returned.
    """

    def __init__(self, spec: InputSpec, *, is_whole: bool) -> None:
        self._spec, self._is_whole = spec, is_whole
        self._table: _Table | None = None

    def __call__(self, place: Place) -> Read | PictureError:
        try:
            if place.row is not None:
                return self._row(place.at, place.row)
            if is_stored(place.at) and not is_address(place.at):
                return self._picture(_stored_bytes(place.at), place.at, place.file)
        except PictureError as error:
            return error
        source = place.at if is_address(place.at) else Path(place.at)
        found = read_source(source, self._spec, is_whole=self._is_whole, max_pixels=MAX_DRAWN_PIXELS)
        if not isinstance(found, PictureError) or is_address(place.at):
            return found
        told = str(found).replace(place.at, place.file)
        return PictureError(told if is_picture(source) else f"{told}; a video is for pagoda track")

    def _row(self, at: str, row: int) -> Read:
        if self._table is None or self._table.at != at:
            self._table = _Table(at)
        content, name = self._table.content(row)
        name = name or f"{at}#{row}"
        if content is None:
            raise PictureError(f"cannot read {name}: row {row} of {at} holds no bytes")
        return self._picture(content, f"{name} (row {row} of {at})", name)

    def _picture(self, content: bytes, told: str, name: str) -> Read:
        try:
            return ReadPicture(to_picture(content, channels=self._spec.read_channels)[0], name)
        except PictureError as error:
            raise PictureError(str(error).replace("the given bytes", told)) from error


def _stored_bytes(address: str) -> bytes:
    """Raises PictureError where there is no such file, OSError where the store does not answer."""
    system, path = open_stored(address)
    for number in range(1, TRIES + 1):
        try:
            return system.cat_file(path)
        except FileNotFoundError as error:
            raise PictureError(f"cannot read {address}: there is no such file") from error
        except Exception as error:  # each package has its own
            if number == TRIES:
                raise OSError(f"{address} cannot be read: {type(error).__name__}: {error}") from error
        time.sleep(WAIT_SECONDS)
    raise AssertionError("it returns or raises")


class _Table:
    """A Parquet file, of which a few rows are in memory."""

    def __init__(self, at: str) -> None:
        self.at = at
        self._open = ExitStack()
        self._file = self._open.enter_context(open_table(at))
        self._columns, self._is_struct, self._name = columns_of(self._file.schema_arrow, at)
        facts = self._file.metadata
        sizes = [facts.row_group(number).num_rows for number in range(facts.num_row_groups)]
        self._starts = [0, *accumulate(sizes)][: len(sizes)]
        self._batches: Iterator[Any] = iter(())
        self._rows: list[dict] = []
        self._first = -1  # of the rows in memory; -1: none was read

    def content(self, row: int) -> tuple[bytes | None, str | None]:
        """(bytes, name) of a row. Raises PictureError where it is damaged."""
        import pyarrow

        try:
            self._go_to(row)
        except (pyarrow.ArrowException, OSError) as error:
            self._first = -1
            if is_stored(self.at) and not isinstance(error, pyarrow.ArrowException):
                raise
            raise PictureError(f"cannot read row {row} of {self.at}: {error}") from error
        found = self._rows[row - self._first]
        image = found[IMAGE]
        inner = (image or {}) if self._is_struct else {"bytes": image}
        name = (found[self._name] if self._name else None) or inner.get("path")
        return inner.get("bytes"), None if name is None else str(name)

    def _go_to(self, row: int) -> None:
        """Have the row in memory: groups are gone through one by one, so that a damaged one is met alone."""
        group = bisect_right(self._starts, row) - 1
        if not max(0, self._starts[group]) <= self._first <= row:
            self._batches = self._file.iter_batches(
                ROWS_TOGETHER, row_groups=[group], columns=self._columns, use_threads=False
            )
            self._first, self._rows = self._starts[group], []
        while row >= self._first + len(self._rows):
            self._first += len(self._rows)
            batch = next(self._batches, None)
            if batch is None:
                raise PictureError(f"cannot read row {row} of {self.at}: it ends before")
            self._rows = batch.to_pylist()
