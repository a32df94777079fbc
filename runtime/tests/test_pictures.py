"""Pictures are read as Pagoda reads them, and what cannot be read is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda_runtime.errors import PictureError
from pagoda_runtime.pictures import MAX_PIXELS, read_picture, to_picture

pytestmark = pytest.mark.medium

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F")


def draw(rng: np.random.Generator, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (13, 17)).astype(np.uint16))
    if mode in "IF":
        values = rng.integers(0, 65536, (13, 17)).astype(np.int32)
        return Image.fromarray(values if mode == "I" else (values / 65535).astype(np.float32))
    image = Image.fromarray(rng.integers(0, 256, (13, 17, 4), dtype=np.uint8), "RGBA")
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def files(rng: np.random.Generator, folder: Path) -> list[Path]:
    """Every mode that a format takes, each of eight orientations, and a palette with a transparent colour."""
    written = []
    for mode in MODES:
        image = draw(rng, mode)
        for ending in ("png", "tif", "jpg", "webp", "bmp"):
            path = folder / f"{mode.replace(';', '')}.{ending}"
            try:
                image.save(path)
            except (OSError, KeyError, ValueError):  # the format has no such mode
                path.unlink(missing_ok=True)
                continue
            written.append(path)
    for orientation in range(1, 10):
        exif = Image.Exif()
        exif[274] = orientation
        for ending in ("jpg", "png", "tif", "webp"):
            written.append(folder / f"turned-{orientation}.{ending}")
            draw(rng, "RGB").save(written[-1], exif=exif)
    written.append(folder / "transparent.png")
    draw(rng, "P").save(written[-1], transparency=3)
    return written


def test_files_are_read_as_pagoda_reads_them(rng, tmp_path):
    reader = pytest.importorskip("pagoda.pictures.read")
    paths = files(rng, tmp_path)
    assert len(paths) > 60
    for path in paths:
        for channels in (3, 4):
            expected, found = reader.read_picture(path, channels=channels), read_picture(path, channels)
            assert found.dtype == np.uint8 and np.array_equal(found, expected), path.name


def test_pictures_in_memory_are_those_of_pagoda(rng):
    reader = pytest.importorskip("pagoda.pictures.read")
    shapes = ((9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4))
    arrays = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    images = [draw(rng, mode) for mode in MODES]
    for source in (*arrays, *(array / 255 for array in arrays), *images):
        for channels in (3, 4):
            expected, _ = reader.to_picture(source, channels=channels)
            assert np.array_equal(to_picture(source, channels)[0], expected)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 5, 2), np.uint8), r"must be \(H, W\), \(H, W, 3\).*got \(4, 5, 2\)"),
        (np.zeros((0, 5, 3), np.uint8), r"not empty, got \(0, 5, 3\)"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"got \(2, 4, 5, 3\)"),
        (np.zeros((4, 5, 3), np.int64), "must be uint8, or floating point within 0 … 1, got int64"),
        (np.full((4, 5, 3), 255.0), "within 0 … 1, got 255 … 255"),
        (np.full((4, 5), np.nan), "within 0 … 1, got nan … nan"),
    ],
)
def test_other_arrays_are_refused(array, said):
    with pytest.raises(PictureError, match=said):
        to_picture(array)


def test_other_things_are_no_pictures():
    with pytest.raises(TypeError, match="a path, a PIL image or a numpy array, got int"):
        to_picture(3)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (64, 64)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-40])
    Image.fromarray(np.full((3, 3), 70000, np.int32)).save(tmp_path / "deep.tif")
    for name, said in (
        ("none.jpg", "there is no such file"),
        ("text.jpg", "no picture in a known format"),
        ("cut.png", "cannot read"),
        ("deep.tif", r"within 0 … 65535, got 70000 … 70000"),
    ):
        with pytest.raises(PictureError, match=said) as caught:
            read_picture(tmp_path / name)
        assert name in str(caught.value)


def test_pillows_limit_is_left_as_it_was(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    Image.new("L", (2, 2)).save(tmp_path / "small.png")
    read_picture(tmp_path / "small.png")
    assert before == Image.MAX_IMAGE_PIXELS and before < MAX_PIXELS
