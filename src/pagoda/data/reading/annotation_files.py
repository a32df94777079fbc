"""Annotation files by their ending, in small letters or capitals."""

from collections.abc import Iterator
from pathlib import Path


def files_like(folder: Path, pattern: str) -> Iterator[Path]:
    """What a pattern of `Path.glob` matches, its ending in any case; not the ._ files that a Mac leaves beside others.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("a.xml", "B.XML", "._a.xml", "c.txt"):
    ...         Path(folder, name).touch()
    ...     sorted(path.name for path in files_like(Path(folder), "*.xml"))
    ['B.XML', 'a.xml']
    """
    stem, dot, ending = pattern.rpartition(".")
    either = "".join(
        f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter for letter in ending
    )
    return (path for path in folder.glob(f"{stem}{dot}{either}") if not path.name.startswith("._"))
