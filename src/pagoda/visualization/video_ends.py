"""Whether a video file holds all the bytes it says it has: what tells one that was cut off from one that was trimmed.

Containers nest pieces that begin with their length. A file that was cut off ends inside the last of them.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"


def is_whole(path: str | Path) -> bool | None:
    """False where the file ends before its last piece does, None where its format does not tell.

    Told are MP4, MOV and their kin, AVI, Matroska and WebM.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        ends: Callable[[BinaryIO, int], bool | None]
        if head[:4] == b"RIFF":
            ends = _riff_is_whole
        elif head[:4] == _EBML:
            ends = _matroska_is_whole
        elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            ends = _boxes_are_whole
        else:
            return None
        file.seek(0)
        return ends(file, size)


def _boxes_are_whole(file: BinaryIO, size: int) -> bool | None:
    """MP4: boxes of a length and a name. Those of a stream in fragments may end after any of them."""
    at, is_told = 0, True
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        is_told &= kind != b"moof"
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length == 0:  # to the end of the file, wherever that is
            return None
        if length < 8:
            return False
        at += length
    if at > size:
        return False
    return True if is_told else None


def _riff_is_whole(file: BinaryIO, size: int) -> bool | None:
    """AVI: one or several pieces called RIFF; programs that crashed leave a length of 0."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF":
            break  # what somebody put behind
        if length == 0:
            return None
        at += 8 + length + length % 2
    return at <= size + 1  # the last padding byte is not always written


def _matroska_is_whole(file: BinaryIO, size: int) -> bool | None:
    """A header and a segment; the length of a live stream is unknown."""
    for _ in range(2):
        if not file.read(4):
            return False
        length = _variable_number(file)
        if length is None:
            return None
        file.seek(length, 1)
    return file.tell() <= size


def _variable_number(file: BinaryIO) -> int | None:
    """A number of 1 to 8 bytes, as many as the first has leading zeros and one more; None for "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    count = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] ^ (1 << (8 - count))]) + file.read(count - 1), "big")
    return None if value == (1 << 7 * count) - 1 else value
