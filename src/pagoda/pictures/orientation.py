"""How the pixels of a picture file have to be turned: its EXIF or XMP orientation, without decoding it."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from PIL import ExifTags, Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation → what makes the stored pixels upright; any other value leaves them as they are"""
SIDES_SWAPPED = (5, 6, 7, 8)
# The texts of a PNG that Pillow looks for an orientation in.
_PNG_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")


def orientation(image: Image.Image) -> int:
    """The orientation, 1 … 8, that an opened picture's file says, decoded or not; 1 where it says none.

    >>> orientation(Image.new("L", (3, 2)))
    1
    """
    # The base class reads what the header gave; the PNG subclass would decode all pixels to look for more.
    exif = Image.Image.getexif(image)
    if image.format == "PNG" and (late := _late_exif(getattr(image, "fp", None))) is not None:
        exif = late
    found = exif.get(ExifTags.Base.Orientation, 1)
    return found if found in TURNS else 1


def upright_and_stored(image: Image.Image) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) once upright, and as the pixels lie in the file; of a picture that is not decoded yet."""
    width, height = image.size
    stored = (height, width)
    # Pillow reports the size of a TIFF turned by its tag already, though not by its XMP.
    if (
        image.format == "TIFF"
        and getattr(image, "tag_v2", {}).get(ExifTags.Base.Orientation) in SIDES_SWAPPED
    ):
        stored = (width, height)
    return (stored[::-1] if orientation(image) in SIDES_SWAPPED else stored), stored


def upright(image: Image.Image, found: int | None = None) -> Image.Image:
    """The decoded picture, turned by its orientation, or by the one `found` where the first frame said it for all.

    >>> upright(Image.new("L", (3, 2)), 6).size  # turned by a quarter
    (2, 3)
    """
    # Asked before decoding: a PNG closes its file then. A TIFF is turned by Pillow while it is decoded.
    turn = TURNS.get(orientation(image) if found is None else found)
    is_turned_by_pillow = image.format == "TIFF"
    image.load()
    return image if turn is None or is_turned_by_pillow else image.transpose(turn)


def _late_exif(file: BinaryIO | None) -> Image.Exif | None:
    """The EXIF of a PNG that has some behind its pixels, None for any other; pixels are stepped over."""
    if file is None:
        return None
    before = file.tell()
    try:
        found = list(_metadata_chunks(file))
    finally:
        file.seek(before)
    if not any(is_late for _, is_late in found):
        return None
    # A picture of the metadata alone, in their order: Pillow reads them by its own rules.
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    chunks = b"".join(chunk for chunk, _ in found)
    with Image.open(
        BytesIO(PNG_SIGNATURE + header + chunks + _chunk(b"IDAT", b"")), formats=["PNG"]
    ) as image:
        return Image.Image.getexif(image)


def _metadata_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """(a chunk that may say how the picture is turned, whether it stands behind the first pixels)."""
    file.seek(len(PNG_SIGNATURE))
    is_late = False
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        is_late |= kind == b"IDAT"
        if kind == b"IEND":
            return
        if kind in (b"eXIf", b"zTXt", b"tEXt", b"iTXt"):
            content = file.read(length)
            if len(content) == length and (kind == b"eXIf" or content.startswith(_PNG_TEXTS)):
                yield _chunk(kind, content), is_late
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
