"""Whether a video file holds all the bytes it says it has: what tells one that was cut off from one that was trimmed.

Containers nest pieces that begin with their length. A file that was cut off ends inside the last of them.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

Ending = Literal["whole", "cut", "cut in pictures", "unknown"]
_EBML = b"\x1a\x45\xdf\xa3"


def ending_of(path: str | Path) -> Ending:
    """How the file ends by its own account: "cut" inside its last piece, which may hold pictures or not.

    Told are MP4, MOV and their kin, AVI, Matroska and WebM.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.avi")
    ...     _ = path.write_bytes(struct.pack("<4sI", b"RIFF", 100) + bytes(60))  # 60 of 100 bytes
    ...     ending_of(path)
    'cut'
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        told: Callable[[BinaryIO, int], Ending]
        if head[:4] == b"RIFF":
            told = _riff
        elif head[:4] == _EBML:
            told = _matroska
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            told = _boxes
        else:
            return "unknown"
        file.seek(0)
        return told(file, size)


def _boxes(file: BinaryIO, size: int) -> Ending:
    """MP4: boxes of a length and a name. A stream in fragments may end after any of them."""
    at, kind, has_fragments = 0, b"", False
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        has_fragments |= kind == b"moof"
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length == 0:  # to the end of the file, wherever that is
            return "unknown"
        if length < 8:
            return "cut"
        at += length
    if at > size:
        return "cut in pictures" if has_fragments and kind in (b"moof", b"mdat") else "cut"
    return "unknown" if has_fragments else "whole"


def _riff(file: BinaryIO, size: int) -> Ending:
    """AVI: one or several pieces called RIFF; programs that crashed leave a length of 0."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF":
            break  # what somebody put behind
        if length == 0:
            return "unknown"
        at += 8 + length + length % 2
    return "whole" if at <= size + 1 else "cut"  # the last padding byte is not always written


def _matroska(file: BinaryIO, size: int) -> Ending:
    """A header and a segment; the length of a live stream is unknown."""
    for _ in range(2):
        if not file.read(4):
            return "cut"
        length = _variable_number(file)
        if length is None:
            return "unknown"
        file.seek(length, 1)
    return "whole" if file.tell() <= size else "cut"


def _variable_number(file: BinaryIO) -> int | None:
    """A number of 1 to 8 bytes, as many as the first has leading zeros and one more; None for "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    count = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] ^ (1 << (8 - count))]) + file.read(count - 1), "big")
    return None if value == (1 << 7 * count) - 1 else value
