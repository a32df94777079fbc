"""Large TIFF and PNG files in bands of rows, of which Pillow decodes one at a time.

Pillow decodes a file whole, at four bytes a pixel. So a band is handed to it as a small file of its own: of a TIFF, the
strips or tiles that hold the band, as they are in the file; of a PNG, whose rows need those above them, the rows as
filtered, below the last one of the band before.
"""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import IO

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

BAND_PIXELS = 2**23
"""of a band, about: 34 MB as Pillow holds them"""
PNG_BAND_PIXELS = 2**21
"""… of a PNG, whose rows stand in memory four times on their way to Pillow"""
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""{colour type: bytes of a pixel of eight bits a channel}"""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_KEPT = (b"PLTE", b"tRNS")
"""chunks that a band needs of its file, besides the header"""
PNG_READ = 2**20
"""bytes of the file at a time"""
# Tags of a TIFF (TIFF 6.0, and the technical notes on JPEG and on tiles).
WIDTH, LENGTH, COMPRESSION, PLANES, ROWS_PER_STRIP = 256, 257, 259, 284, 278
STRIPS, TILES = (273, 279), (324, 325)
TILE_WIDTH, TILE_LENGTH = 322, 323
TIFF_KEPT = (258, 259, 262, 266, 277, 284, 317, 320, 322, 323, 338, 339, 347, 530, 531)
"""what says how samples are stored: bits, compression, colours, predictor, palette, sides of tiles, JPEG's tables"""
OLD_JPEG = 6
"""a compression whose strips do not stand alone"""


def bands(image: ImageFile.ImageFile) -> Iterator[Image.Image] | None:
    """The picture from top to bottom, whole in width; None where the file cannot be taken apart.

    That is where it is small, or neither TIFF nor PNG; a TIFF with planes of colours, or of an old compression; a PNG
    that is interlaced, or has not eight bits a channel. `image` is opened, and not yet decoded.

    >>> file = BytesIO()
    >>> Image.new("RGB", (4096, 5000), (1, 2, 3)).save(file, "TIFF", compression="tiff_lzw")
    >>> sum(part.height for part in bands(Image.open(file)))
    5000
    """
    if image.width * image.height <= BAND_PIXELS:
        return None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _tiff_bands(image)
    return _png_bands(image) if image.format == "PNG" else None


def _tiff_bands(image: TiffImagePlugin.TiffImageFile) -> Iterator[Image.Image] | None:
    tags = image.tag_v2
    is_tiled = TILES[0] in tags
    offsets, counts = (tags.get(tag) for tag in (TILES if is_tiled else STRIPS))
    rows = tags.get(TILE_LENGTH if is_tiled else ROWS_PER_STRIP, image.height)
    across = -(-image.width // tags[TILE_WIDTH]) if is_tiled else 1
    if not isinstance(rows, int) or not 0 < rows * image.width <= 4 * BAND_PIXELS:
        return None
    if tags.get(PLANES, 1) != 1 or tags.get(COMPRESSION) == OLD_JPEG:
        return None
    down = -(-image.height // rows)
    if not (
        isinstance(offsets, tuple)
        and isinstance(counts, tuple)
        and len(offsets) == len(counts) == down * across
    ):
        return None
    if (image.width, image.height) != (tags.get(WIDTH), tags.get(LENGTH)):  # turned by its orientation
        return None
    return _parts_of_tiff(image, rows, across, list(zip(offsets, counts, strict=True)))


def _parts_of_tiff(
    image: TiffImagePlugin.TiffImageFile, rows: int, across: int, places: list[tuple[int, int]]
) -> Iterator[Image.Image]:
    """`places`: (offset, bytes) of every strip or tile, `across` of them side by side, `rows` rows each."""
    several = max(1, BAND_PIXELS // (rows * image.width))
    file = image.fp
    assert file is not None
    for first in range(0, len(places) // across, several):
        top = first * rows
        height = min(several * rows, image.height - top)
        parts = [_read_at(file, *place) for place in places[first * across : (first + several) * across]]
        with Image.open(BytesIO(_small_tiff(image, rows, height, parts))) as band:
            band.load()
            yield band


def _read_at(file: IO[bytes], offset: int, count: int) -> bytes:
    file.seek(offset)
    found = file.read(count)
    if len(found) < count:
        raise OSError(f"the file ends before byte {offset + count}; it is cut off")
    return found


def _small_tiff(image: TiffImagePlugin.TiffImageFile, rows: int, height: int, parts: list[bytes]) -> bytes:
    """A TIFF of these strips or tiles alone, which says of them what its file says."""
    tags = image.tag_v2
    little = "<" if tags.prefix == b"II" else ">"
    said = {tag: tags[tag] for tag in TIFF_KEPT if tag in tags}
    places, sizes = TILES if TILES[0] in tags else STRIPS
    if places == STRIPS[0]:
        said[ROWS_PER_STRIP] = rows
    starts = np.cumsum([8, *map(len, parts)]).tolist()
    said |= {WIDTH: image.width, LENGTH: height, places: tuple(starts[:-1]), sizes: tuple(map(len, parts))}
    end = starts[-1] + starts[-1] % 2
    directory, behind = struct.pack(little + "H", len(said)), b""
    first_behind = end + 2 + 12 * len(said) + 4
    for tag in sorted(said):
        kind, count, content = _tiff_value(said[tag], little)
        if len(content) > 4:
            at = first_behind + len(behind)
            behind += content + b"\0" * (len(content) % 2)
            content = struct.pack(little + "I", at)
        directory += struct.pack(little + "HHI", tag, kind, count) + content.ljust(4, b"\0")
    head = tags.prefix + struct.pack(little + "HI", 42, end)
    return b"".join([head, *parts, b"\0" * (end - starts[-1]), directory, b"\0" * 4, behind])


def _tiff_value(value: int | tuple[int, ...] | bytes, little: str) -> tuple[int, int, bytes]:
    """(kind, count, bytes) of a tag: bytes as they are, whole numbers of two bytes, or of four where one needs them."""
    if isinstance(value, bytes):
        return 7, len(value), value
    values = value if isinstance(value, tuple) else (value,)
    kind, letter = (3, "H") if max(values) < 2**16 else (4, "I")
    return kind, len(values), struct.pack(f"{little}{len(values)}{letter}", *values)


def _png_bands(image: ImageFile.ImageFile) -> Iterator[Image.Image] | None:
    file = image.fp
    assert file is not None
    at = file.tell()
    file.seek(0)
    header = file.read(33)
    file.seek(at)
    if header[:8] != PNG_MAGIC or header[12:16] != b"IHDR":
        return None
    width, height, bits, colours, _, _, interlaced = struct.unpack(">IIBBBBB", header[16:29])
    if bits != 8 or interlaced or colours not in PNG_CHANNELS or (width, height) != image.size:
        return None
    return _parts_of_png(file, width, height, colours)


def _parts_of_png(file: IO[bytes], width: int, height: int, colours: int) -> Iterator[Image.Image]:
    length = width * PNG_CHANNELS[colours] + 1  # of a row, with the number of its filter
    several = max(1, PNG_BAND_PIXELS // width)
    kept: list[bytes] = []
    stream, rows, before = _inflated(file, kept), bytearray(), b""
    for top in range(0, height, several):
        needed = min(several, height - top) * length
        while len(rows) < needed:
            more = next(stream, b"")
            if not more:
                raise OSError("the file ends before its last row; it is cut off")
            rows += more
        # The row above, as it is: filters look at it.
        content = (b"\0" + before if before else b"") + bytes(rows[:needed])
        del rows[:needed]
        size = struct.pack(">IIBBBBB", width, len(content) // length, 8, colours, 0, 0, 0)
        chunks = (
            _chunk(b"IHDR", size),
            *kept,
            _chunk(b"IDAT", zlib.compress(content, 0)),
            _chunk(b"IEND", b""),
        )
        with Image.open(BytesIO(PNG_MAGIC + b"".join(chunks))) as band:
            band.load()
            is_later = bool(before)
            before = band.crop((0, band.height - 1, width, band.height)).tobytes()
            yield band.crop((0, 1, width, band.height)) if is_later else band


def _inflated(file: IO[bytes], kept: list[bytes]) -> Iterator[bytes]:
    """The filtered rows of a PNG, a part at a time; `kept` gets the chunks before them that bands need."""
    file.seek(len(PNG_MAGIC))
    inflate = zlib.decompressobj()
    while len(head := file.read(8)) == 8:
        count, kind = struct.unpack(">I4s", head)
        if kind in PNG_KEPT:
            kept.append(_chunk(kind, file.read(count)))
        elif kind == b"IDAT":
            yield from _inflated_chunk(file, count, inflate)
        else:
            file.seek(count, 1)
        file.seek(4, 1)  # its checksum


def _inflated_chunk(file: IO[bytes], count: int, inflate: "zlib._Decompress") -> Iterator[bytes]:
    while count > 0 and (data := file.read(min(count, PNG_READ))):
        count -= len(data)
        while data:
            try:
                found = inflate.decompress(data, PNG_READ)
            except zlib.error as error:
                raise OSError(f"its pixels are damaged: {error}") from error
            if not found:
                break
            yield found
            data = inflate.unconsumed_tail


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
