"""Large files in bands of rows: the pixels that Pillow reads of the whole, and never many at once."""

import struct

import numpy as np
import pytest
from PIL import Image

from pagoda.pictures import bands as bands_module
from pagoda.pictures.bands import bands
from pagoda.pictures.read import PictureError, read_picture, read_strips

SIZE = (211, 173)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(bands_module, "BAND_PIXELS", 4000)
    monkeypatch.setattr(bands_module, "PNG_BAND_PIXELS", 4000)
    monkeypatch.setattr(bands_module, "PNG_READ", 1000)


def drawn(mode, seed=0):
    """Smooth with some noise, so that every filter of a PNG is used."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    planes = [
        (np.sin(x / 9 + k) + np.cos(y / 7 - k)) * 50 + 128 + rng.normal(0, 5, SIZE) * (x > 80)
        for k in range(4)
    ]
    rgba = Image.fromarray(np.stack(planes, -1).clip(0, 255).astype(np.uint8), "RGBA")
    return rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode)


def check(path, is_taken_apart=True):
    with Image.open(path) as image:
        parts = bands(image)
        assert (parts is not None) == is_taken_apart
        if parts is not None:
            heights = [part.height for part in parts]
            assert sum(heights) == SIZE[0] and max(heights) * SIZE[1] <= 16_000 and len(heights) > 3
    expected = read_picture(path)
    for multiple in (1, 8):
        strips = list(read_strips(path, multiple=multiple))
        assert all(len(strip) % multiple == 0 for strip in strips[:-1])
        assert np.array_equal(np.concatenate(strips), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "RGBA"])
@pytest.mark.parametrize("level", [0, 6])
def test_png(mode, level, tmp_path):
    drawn(mode).save(tmp_path / "a.png", compress_level=level)
    check(tmp_path / "a.png")


def test_png_with_one_transparent_colour(tmp_path):
    drawn("RGB").save(tmp_path / "a.png", transparency=(1, 2, 3))
    check(tmp_path / "a.png")


def test_pngs_that_are_read_whole(tmp_path):
    drawn("1").save(tmp_path / "bits.png")
    check(tmp_path / "bits.png", is_taken_apart=False)
    values = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE)
    Image.fromarray(values).save(tmp_path / "deep.png")
    check(tmp_path / "deep.png", is_taken_apart=False)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_striped_tiff(mode, compression, tmp_path):
    if compression == "jpeg" and mode in ("P", "RGBA"):
        pytest.skip("JPEG holds neither")
    drawn(mode).save(tmp_path / "a.tif", compression=compression, tiffinfo={278: 8})
    check(tmp_path / "a.tif")


@pytest.mark.parametrize("predictor", [1, 2])
def test_tiff_with_a_predictor(predictor, tmp_path):
    drawn("RGB").save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={278: 5, 317: predictor})
    check(tmp_path / "a.tif")


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiled_tiff(order, tmp_path):
    """Written here: Pillow writes none."""
    side, pixels = 16, np.asarray(drawn("RGB"))
    down, across = -(-SIZE[0] // side), -(-SIZE[1] // side)
    padded = np.zeros((down * side, across * side, 3), np.uint8)
    padded[: SIZE[0], : SIZE[1]] = pixels
    tiles = padded.reshape(down, side, across, side, 3).swapaxes(1, 2).reshape(-1, side * side * 3)
    count = len(tiles)
    entries = [
        (256, 3, [SIZE[1]]), (257, 3, [SIZE[0]]), (258, 3, [8, 8, 8]), (259, 3, [1]), (262, 3, [2]), (277, 3, [3]),
        (322, 3, [side]), (323, 3, [side]), (324, 4, [8 + k * side * side * 3 for k in range(count)]),
        (325, 4, [side * side * 3] * count),
    ]  # fmt: skip
    at = 8 + tiles.size + 2 + 12 * len(entries) + 4
    directory, more = struct.pack(order + "H", len(entries)), b""
    for tag, kind, values in entries:
        content = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(content) > 4:
            place = struct.pack(order + "I", at + len(more))
            more += content
        else:
            place = content.ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + place
    magic = b"II" if order == "<" else b"MM"
    head = magic + struct.pack(order + "HI", 42, 8 + tiles.size)
    (tmp_path / "a.tif").write_bytes(head + tiles.tobytes() + directory + b"\0\0\0\0" + more)
    assert np.array_equal(read_picture(tmp_path / "a.tif"), pixels)
    check(tmp_path / "a.tif")


def test_a_tiff_that_lies_on_its_side_is_read_whole_and_upright(tmp_path):
    drawn("RGB").save(tmp_path / "a.tif", tiffinfo={278: 8, 274: 6})
    expected = read_picture(tmp_path / "a.tif")
    assert expected.shape[:2] == SIZE[::-1]
    assert np.array_equal(np.concatenate(list(read_strips(tmp_path / "a.tif"))), expected)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_file_that_is_cut_off_says_so(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    drawn("RGB").save(path, **({"tiffinfo": {278: 8}} if ending == "tif" else {}))
    content = path.read_bytes()
    # Pillow writes the directory of a TIFF first.
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(PictureError, match=r"cannot read .*a\."):
        list(read_strips(path))


def test_a_damaged_png_says_so(tmp_path):
    drawn("RGB").save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PictureError, match=r"cannot read .*a\.png: "):
        list(read_strips(tmp_path / "a.png"))
