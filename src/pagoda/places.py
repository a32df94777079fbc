"""Errors of readers name the file and the entry, whatever a value there turned out to be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISFITS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What values raise that are missing, of another kind, too large, or no number where one should be"""


@contextmanager
def told_at(place: str | Path) -> Iterator[None]:
    """Within, whatever a misfit raises becomes a ValueError that begins with `place`: a file, or an entry in words.

    Within each other the outer one comes first. An error that names a file (a Path) already stays as it is.

    >>> with told_at(Path("a.json")), told_at("frame 3"):
    ...     {}["image"]
    Traceback (most recent call last):
    ValueError: a.json: frame 3: 'image' is missing
    """
    try:
        yield
    except MISFITS as error:
        if isinstance(error, ValueError) and isinstance(place, Path) and str(place) in str(error):
            raise
        raise ValueError(f"{place}: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, RecursionError):
        return "its values are nested without end"
    return f"a value is of another kind than it should be ({error or type(error).__name__})"
