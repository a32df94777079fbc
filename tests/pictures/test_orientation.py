"""One orientation: whatever format says it, and wherever in the file, header and pixels agree and it is applied."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from pagoda.pictures.read import picture_facts, picture_size, read_picture, stored_size, to_picture

# Where row 0 and column 0 of the file belong, by the EXIF standard.
TURNED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
# Four grounds of different brightness, large enough for lossy formats to keep them apart.
PIXELS = (
    np.kron(np.array([[20, 90, 90], [160, 230, 230]]), np.ones((16, 16)))[..., None]
    .repeat(3, 2)
    .astype(np.uint8)
)


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def xmp(orientation: int) -> bytes:
    words = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'
    )
    return words.encode()


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(orientation: int, *, before: bytes = b"", behind: bytes = b"") -> bytes:
    content = saved("PNG")
    first, last = content.index(b"IDAT") - 4, content.index(b"IEND") - 4
    return content[:first] + before + content[first:last] + behind + content[last:]


def raw_exif(orientation: int) -> bytes:
    """As ImageMagick writes it."""
    content = exif(orientation)
    words = f"\nexif\n{len(content):8d}\n{content.hex()}\n".encode()
    return chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(words))


def png_xmp(orientation: int) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation))


def segment(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments: bytes) -> bytes:
    content = saved("JPEG", quality=95)
    return content[:2] + b"".join(segments) + content[2:]


def png_exif(orientation: int) -> bytes:
    return chunk(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0"))


def apng(orientation: int) -> bytes:
    file = io.BytesIO()
    more = [Image.fromarray(PIXELS[:, ::-1]), Image.fromarray(255 - PIXELS)]
    Image.fromarray(PIXELS).save(file, "PNG", save_all=True, append_images=more, duration=100)
    content = file.getvalue()
    last = content.index(b"IEND") - 4
    return content[:last] + png_exif(orientation) + content[last:]


CASES = {
    "png": lambda o: png(o, before=png_exif(o)),
    "png, EXIF behind the pixels": lambda o: png(o, behind=png_exif(o)),
    "png, two EXIFs": lambda o: png(o, before=png_exif(9 - o), behind=png_exif(o)),
    "png, as ImageMagick": lambda o: png(o, before=raw_exif(o)),
    "png, as ImageMagick behind": lambda o: png(o, behind=raw_exif(o)),
    "png, XMP": lambda o: png(o, before=png_xmp(o)),
    "png, XMP behind": lambda o: png(o, behind=png_xmp(o)),
    "png, animated": apng,
    "jpeg": lambda o: jpeg(segment(b"Exif\0\0" + exif(o).removeprefix(b"Exif\0\0"))),
    "jpeg, two EXIFs": lambda o: jpeg(
        *(segment(b"Exif\0\0" + exif(n).removeprefix(b"Exif\0\0")) for n in (o, 9 - o))
    ),
    "jpeg, XMP": lambda o: jpeg(segment(b"http://ns.adobe.com/xap/1.0/\0" + xmp(o))),
    "tiff": lambda o: saved("TIFF", tiffinfo={274: o}),
    "tiff, compressed": lambda o: saved("TIFF", tiffinfo={274: o}, compression="tiff_lzw"),
    "tiff, XMP": lambda o: saved("TIFF", tiffinfo={700: xmp(o)}),
    "webp": lambda o: saved("WEBP", exif=exif(o), quality=95),
    "webp, XMP": lambda o: saved("WEBP", xmp=xmp(o), quality=95),
    "mpo": lambda o: saved("MPO", exif=exif(o), quality=95),
    "avif": lambda o: saved("AVIF", exif=exif(o), quality=90),
    "jpeg 2000": lambda o: saved("JPEG2000"),
    "bmp": lambda o: saved("BMP"),
}
NEEDS = {
    "avif": "avif",
    "jpeg 2000": "jpg_2000",
    "webp": "webp",
    "webp, XMP": "webp",
    "tiff, compressed": "libtiff",
}
SAYS_NOTHING = ("jpeg 2000", "bmp")


@pytest.mark.parametrize("case", CASES)
def test_header_and_pixels_agree_and_the_picture_is_upright(tmp_path: Path, case: str) -> None:
    if case in NEEDS and not features.check(NEEDS[case]):
        pytest.skip(f"this Pillow has no {NEEDS[case]}")
    for orientation in range(1, 9):
        path = tmp_path / f"{orientation}.picture"
        path.write_bytes(CASES[case](orientation))
        applied = 1 if case in SAYS_NOTHING else orientation
        expected = TURNED[applied](PIXELS)
        picture = read_picture(path)
        assert picture_size(path) == picture.shape[:2] == expected.shape[:2], (case, orientation)
        assert np.abs(picture.astype(int) - expected).mean() < 6, (case, orientation)
        facts = picture_facts(path)
        assert facts.size == picture.shape[:2] and facts.orientation == applied
        assert facts.stored == stored_size(path) == PIXELS.shape[:2]
        with Image.open(path) as image:
            assert to_picture(image)[0].shape == picture.shape


def test_the_pixels_of_a_png_are_stepped_over_not_read(tmp_path: Path) -> None:
    """The size is told though they are damaged."""
    content = bytearray(png(6, behind=png_exif(6)))
    start = content.index(b"IDAT") + 4
    content[start : start + 20] = bytes(20)
    (tmp_path / "a.png").write_bytes(content)
    assert picture_size(tmp_path / "a.png") == PIXELS.shape[1::-1]


@pytest.mark.parametrize("lost", [1, 5, 12])
def test_a_png_cut_off_in_what_stands_behind_its_pixels_has_one_size(tmp_path: Path, lost: int) -> None:
    (tmp_path / "a.png").write_bytes(png(6, behind=png_exif(6))[:-lost])
    assert picture_size(tmp_path / "a.png") == read_picture(tmp_path / "a.png").shape[:2]
