"""The pictures that words stand for: files, folders, patterns, lists, rows of Parquet files, addresses of stores.

Names alone are read here; the bytes of a picture are read where it is looked at.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pagoda.files.text import read_text, with_home
from pagoda.pictures.read import find_pictures, is_address, is_picture, natural_order

LIST, TABLE = ".txt", ".parquet"
IMAGE = "image"
"""the column of a Parquet file with the bytes of picture files, or with structs that hold them as `bytes`"""
NAMES = ("file_name", "name", "path")
"""columns by which a picture of a Parquet file is called, the first that is there"""


class Place(NamedTuple):
    """Where one picture is."""

    file: str
    """as results call it; "": by what is found there"""
    at: str
    """an absolute path, or an address"""
    row: int | None = None
    """of a Parquet file, from 0"""

    @property
    def is_local(self) -> bool:
        return self.row is None and not is_stored(self.at)


def is_stored(word: str) -> bool:
    """Whether a word is an address of any store.

    >>> is_stored("s3://bucket/a.jpg"), is_stored("a.jpg")
    (True, False)
    """
    return "://" in word


def places_of(words: Iterable[str], say: Callable[[str], object]) -> Iterator[Place]:
    """Every picture, in the order of the words; `say` is told what is left out of them.

    Raises FileNotFoundError for what is not there, ValueError for a Parquet file without pictures, ImportError for a
    store whose package is missing, OSError for one that does not answer.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "a.png").touch()
    ...     _ = Path(folder, "more.txt").write_text(f"{folder}/b.png\\ns3://bucket/c.png\\n")
    ...     [Path(place.at).name for place in places_of([folder, f"{folder}/more.txt"], say=lambda text: None)]
    ['a.png', 'b.png', 'c.png']
    """
    for word in words:
        if word.lower().endswith(LIST):
            yield from _listed(word)
        elif is_address(word) and not word.lower().endswith(TABLE):
            yield Place("", word)
        elif is_stored(word):
            yield from _in_store(word)
        elif word.lower().endswith(TABLE):
            for path in _tables(word):
                yield from _rows(str(path), os.path.abspath(path))
        else:
            found = find_pictures(word)
            if left_out := found.left_out():
                say(f"left out of {word}: {left_out}")
            yield from (_local(path) for path in found.pictures)


def open_stored(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it.

    Raises ImportError that names the missing package, ValueError for a store that nobody knows.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ImportError(f"{address} cannot be read: {error} (pip install it beside Pagoda)") from error
    except ValueError as error:
        raise ValueError(f"{address} is in no store that fsspec knows: {error}") from error


@contextmanager
def open_table(at: str) -> Iterator[Any]:
    """The Parquet file at a path or address, as pyarrow reads it. Raises ValueError for what is none."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    system, path = open_stored(at) if is_stored(at) else (None, at)
    with _answering(at), open(at, "rb") if system is None else system.open(path, "rb") as file:
        try:
            table = ParquetFile(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{at} cannot be read as a Parquet file: {error}") from error
        yield table


def columns_of(schema: Any, at: str) -> tuple[list[str], bool, str | None]:
    """(columns to read, whether the picture is a struct with `bytes`, the column of names) of a Parquet file.

    Raises ValueError where it has no pictures.
    """
    import pyarrow.types as types

    kind = schema.field(IMAGE).type if IMAGE in schema.names else None
    is_struct = kind is not None and types.is_struct(kind)
    if is_struct:
        fields = [kind.field(number).name for number in range(kind.num_fields)]
        kind = kind.field(fields.index("bytes")).type if "bytes" in fields else None
    if kind is None or not (types.is_binary(kind) or types.is_large_binary(kind)):
        raise ValueError(
            f"{at} needs a column '{IMAGE}' of the bytes of picture files, or of structs that hold them as 'bytes'; it"
            f" has {', '.join(f'{field.name} ({field.type})' for field in schema)}"
        )
    name = next((each for each in NAMES if each in schema.names), None)
    return [IMAGE, *([name] if name else [])], is_struct, name


def _local(path: Path) -> Place:
    return Place(str(path), os.path.abspath(path))


def _listed(word: str) -> Iterator[Place]:
    """The lines of a text file, one picture each, which need not be there; empty lines count for nothing."""
    if is_stored(word):
        system, path = open_stored(word)
        with _answering(word):
            text = system.read_text(path, encoding="utf-8")
    else:
        text = read_text(with_home(word))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{word} lists no pictures; it should have a path or an address on each line")
    for line in lines:
        if is_address(line):
            yield Place("", line)
        else:
            yield Place(line, line) if is_stored(line) else _local(with_home(line))


def _in_store(word: str) -> Iterator[Place]:
    """A file, folder or pattern of a store."""
    system, path = open_stored(word)
    with _answering(word):
        if glob.has_magic(path):
            found = system.glob(path)
        elif system.isdir(path):
            found = [entry["name"] for entry in system.ls(path, detail=True) if entry["type"] == "file"]
        else:
            found = [path] if system.exists(path) else []
    is_one = found == [path]
    wanted = [name for name in found if is_one or is_picture(name) or name.lower().endswith(TABLE)]
    if not wanted:
        raise FileNotFoundError(f"no pictures at {word}; found {len(found)} entries")
    for name in sorted(wanted, key=natural_order):
        address = system.unstrip_protocol(name)
        if address.lower().endswith(TABLE):
            yield from _rows(address, address)
        else:
            yield Place(address, address)


def _tables(word: str) -> list[Path]:
    path = with_home(word)
    if path.is_file():
        return [path]
    found = sorted(map(Path, glob.glob(str(path), recursive=True)), key=natural_order)
    if not found:
        raise FileNotFoundError(f"there is no Parquet file {word}")
    return found


def _rows(shown: str, at: str) -> Iterator[Place]:
    with open_table(at) as table:
        columns_of(table.schema_arrow, shown)
        num_rows = table.metadata.num_rows
    yield from (Place("", at, row) for row in range(num_rows))


@contextmanager
def _answering(at: str) -> Iterator[None]:
    """What a store's package raises becomes an OSError that names the place."""
    try:
        yield
    except (OSError, ImportError, ValueError):
        raise
    except Exception as error:  # each package has its own
        raise OSError(f"{at} cannot be read: {type(error).__name__}: {error}") from error
