"""What is said of pictures that cannot be used."""

from pathlib import Path
from typing import BinaryIO

OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"<!doctype html", "a web page: the download met an error page or needs a login; fetch it again"),
    (b"<html", "a web page: the download met an error page or needs a login; fetch it again"),
    (b"<svg", "an SVG drawing; export it as PNG"),
)


class PictureError(ValueError):
    """A picture cannot be used; the message names it and says why.

    >>> issubclass(PictureError, ValueError)
    True
    """


def instead_of_picture(file: str | Path | BinaryIO) -> str:
    """What a file is that Pillow does not know, as far as its beginning tells.

    >>> from io import BytesIO
    >>> instead_of_picture(BytesIO(b"<svg></svg>"))
    'no picture, but an SVG drawing; export it as PNG'
    """
    if isinstance(file, str | Path):
        with open(file, "rb") as opened:
            head = opened.read(512)
    else:
        file.seek(0)
        head = file.read(512)
    plain = head.lstrip().lower()
    is_drawing = plain.startswith(b"<?xml") and b"<svg" in plain
    for start, what in OTHERS:
        if plain.startswith(start) or (is_drawing and start == b"<svg"):
            return f"no picture, but {what}"
    return "empty, or no picture in a known format"
