"""Whatever the file holds, the reader gives upright RGB bytes or says why not."""

import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.pictures import read as pictures
from pagoda.pictures.read import (
    PictureError,
    list_pictures,
    picture_size,
    read_picture,
    read_strips,
    stored_size,
    to_picture,
)
from pagoda.pictures.strips import STRIP_PIXELS


@pytest.fixture
def pixels() -> np.ndarray:
    """(5, 8, 3) of random bytes."""
    return np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "CMYK"])
def test_every_mode_becomes_three_channels_of_the_same_colours(
    tmp_path: Path, pixels: np.ndarray, mode: str
) -> None:
    image = Image.fromarray(pixels).convert(mode)
    path = save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), image)
    picture = read_picture(path)
    assert picture.shape == (5, 8, 3) and picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert np.array_equal(picture, np.asarray(image.convert("RGB")))


def test_transparency_is_dropped_not_blended(tmp_path: Path, pixels: np.ndarray) -> None:
    alpha = np.zeros((5, 8, 1), np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(np.concatenate([pixels, alpha], 2)))
    assert np.array_equal(read_picture(path), pixels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "CMYK", "I;16", "I", "F"])
def test_large_pictures_have_the_pixels_of_their_parts(tmp_path: Path, mode: str) -> None:
    grey = np.random.default_rng(0).integers(0, 2**16, (23, 300)).astype(np.uint16)
    deep = {"I;16": grey, "I": grey.astype(np.int32), "F": (grey / 65535).astype(np.float32)}
    part = Image.fromarray(deep[mode] if mode in deep else grey.view(np.uint8)[:, :300])
    part = part if mode in deep else part.convert(mode)
    times = 2 * STRIP_PIXELS // (300 * 23) + 1
    whole = part.resize((300, 23 * times))
    for number in range(times):
        whole.paste(part, (0, 23 * number))
    small, large = (
        read_picture(save(tmp_path / f"{name}.tif", image)) for name, image in (("a", part), ("b", whole))
    )
    assert np.array_equal(large.reshape(times, 23, 300, 3), np.broadcast_to(small, (times, 23, 300, 3)))
    strips = list(read_strips(tmp_path / "b.tif", multiple=5))
    assert len(strips) > 1 and all(len(strip) % 5 == 0 for strip in strips[:-1])
    assert np.array_equal(np.concatenate(strips), large)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pictures_of_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(np.array([[0.5, value]], np.float32)))
    with pytest.raises(PictureError, match=r"a\.tif: it holds NaN or infinity"):
        read_picture(path)


@pytest.mark.parametrize(
    ("side", "said"),
    [
        (100_000, "100000×100000 is more than .* cut it into tiles"),
        (20_000, "bytes cannot hold the 20000×20000"),
    ],
)
def test_a_header_alone_asks_for_no_memory(side: int, said: str, tmp_path: Path) -> None:
    """A file of a hundred bytes that claims more pixels than memory, or than could lie in it."""
    path = save(tmp_path / "a.png", Image.new("RGB", (3, 3)))
    content = path.read_bytes()
    header = struct.pack(">II", side, side) + content[24:29]
    path.write_bytes(content[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + content[33:])
    for read in (read_picture, picture_size):
        with pytest.raises(PictureError, match=rf"a\.png: .*{said}"):
            read(path)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_grey_is_scaled_by_its_range(tmp_path: Path, ending: str) -> None:
    grey = np.array([[0, 128, 257], [32768, 65278, 65535]], np.uint16)
    picture = read_picture(save(tmp_path / f"a.{ending}", Image.fromarray(grey)))
    assert np.array_equal(picture[..., 0], np.rint(grey / 257).astype(np.uint8))
    assert (picture == picture[..., :1]).all()


def test_32_bit_grey_out_of_range_is_refused(tmp_path: Path) -> None:
    inside = save(tmp_path / "a.tif", Image.fromarray(np.array([[0, 65535]], np.int32)))
    assert read_picture(inside)[0, :, 0].tolist() == [0, 255]
    outside = save(tmp_path / "b.tif", Image.fromarray(np.array([[0, 70000]], np.int32)))
    with pytest.raises(PictureError, match=r"b\.tif: grey values must lie within 0 … 65535, got 0 … 70000"):
        read_picture(outside)


def test_float_pictures_hold_0_to_1(tmp_path: Path) -> None:
    inside = save(tmp_path / "a.tif", Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)))
    assert read_picture(inside)[0, :, 2].tolist() == [0, 128, 255]
    outside = save(tmp_path / "b.tif", Image.fromarray(np.array([[0.0, 255.0]], np.float32)))
    with pytest.raises(PictureError, match=r"must hold values within 0 … 1, got 0 … 255"):
        read_picture(outside)


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, pixels: np.ndarray, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if ending == "webp" else {}
    path = save(tmp_path / f"a.{ending}", Image.fromarray(pixels), exif=exif, **options)
    # What each orientation means, by the EXIF standard: where row 0 and column 0 of the file belong.
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels[::-1].transpose(1, 0, 2),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: pixels[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    assert np.array_equal(read_picture(path), upright)
    assert np.array_equal(np.concatenate(list(read_strips(path))), upright)
    assert picture_size(path) == upright.shape[:2]
    assert stored_size(path) == (5, 8)


def test_size_is_read_without_decoding(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (300, 200)))
    path.write_bytes(path.read_bytes()[:700])
    assert picture_size(path) == (200, 300)
    with pytest.raises(PictureError, match=r"a\.jpg: .*truncated"):
        read_picture(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"", "empty, or no picture"),
        (b"hello", "empty, or no picture"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page: .*fetch it again"),
        (b"<html>not found</html>", "a web page: .*fetch it again"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "an SVG drawing; export it as PNG"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer; .*git lfs pull"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "cannot read"),
    ],
)
def test_what_is_no_picture_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    for read in (read_picture, picture_size):
        with pytest.raises(PictureError, match=reason) as caught:
            read(path)
        assert "broken.png" in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage before it fails
def test_damaged_bytes_raise_picture_errors_only(tmp_path: Path, pixels: np.ndarray) -> None:
    rng, refused = np.random.default_rng(1), 0
    for ending in ("png", "gif", "bmp", "tif", "webp"):
        good = save(tmp_path / f"good.{ending}", Image.fromarray(pixels)).read_bytes()
        for trial in range(30):
            broken = bytearray(good)
            for position in rng.integers(0, len(good), 4):
                broken[position] = int(rng.integers(256))
            path = tmp_path / f"{trial}.{ending}"
            path.write_bytes(broken)
            try:
                read_picture(path)
            except PictureError as error:
                assert path.name in str(error)
                refused += 1
    assert 30 < refused < 150


def test_large_pictures_pass_and_very_large_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", Image.new("1", (20_000, 10_000)))  # more than Pillow's own 179 million
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert picture_size(path) == (10_000, 20_000)
    assert before == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    with pytest.raises(PictureError, match="10000×20000 is more than the 1000 pixels"):
        picture_size(path)


def test_every_source_gives_the_same_picture(tmp_path: Path, pixels: np.ndarray) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    with Image.open(path) as opened:
        sources = [
            path,
            str(path),
            opened,
            Image.fromarray(pixels),
            pixels,
            pixels / 255,
            planes,
            planes / 255,
        ]
        sources += [(planes / 255).double(), np.concatenate([pixels, pixels[..., :1]], 2)]
        results = [to_picture(source) for source in sources]
    for picture, _ in results:
        assert np.array_equal(picture, pixels) and picture.flags.c_contiguous and picture.dtype == np.uint8
    assert [name for _, name in results] == [str(path)] * 3 + [None] * 7


def test_grey_arrays_and_planes_are_spread(pixels: np.ndarray) -> None:
    grey = pixels[..., 0]
    for source in (grey, torch.from_numpy(grey)[None], torch.from_numpy(grey)[None] / 255):
        assert np.array_equal(to_picture(source)[0], np.repeat(grey[..., None], 3, 2))


def test_the_caller_keeps_his_pixels(pixels: np.ndarray) -> None:
    before = pixels.copy()
    to_picture(pixels)[0][:] = 0
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.full((4, 4, 3), 255.0), r"within 0 … 1, got 255 … 255"),
        (np.full((4, 4, 3), np.nan), r"within 0 … 1, got nan … nan"),
        (np.zeros((4, 4, 3), np.int64), "uint8, or floating point within 0 … 1, got int64"),
        (np.zeros((3, 4, 5), np.uint8), r"must be \(H, W\), .*got \(3, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), "not empty"),
        (torch.zeros(4, 4, 3), r"\(3, H, W\) or \(1, H, W\), got \(4, 4, 3\)"),
        (torch.zeros(3, 2, 2, dtype=torch.int32), "got int32"),
    ],
)
def test_arrays_that_would_have_to_be_guessed_are_refused(source: object, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        to_picture(source)


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="got int"):
        to_picture(7)


def test_addresses_are_fetched_within_limits(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    asked = []

    def answer(address: str, timeout: float) -> io.BytesIO:
        asked.append((address, timeout))
        return io.BytesIO(content.getvalue())

    monkeypatch.setattr("urllib.request.urlopen", answer)
    picture, name = to_picture("https://example.org/some/dog.png?size=1")
    assert np.array_equal(picture, pixels) and name == "dog.png"
    assert asked == [("https://example.org/some/dog.png?size=1", pictures.DOWNLOAD_TIMEOUT_SECONDS)]
    assert to_picture("https://example.org/my%20dög 1.png")[1] == "my dög 1.png"
    assert asked[-1][0] == "https://example.org/my%20d%C3%B6g%201.png"
    monkeypatch.setattr(pictures, "MAX_DOWNLOAD_BYTES", 10)
    with pytest.raises(PictureError, match="more than 10 bytes"):
        to_picture("https://example.org/dog.png")


@pytest.mark.parametrize("address", ["http://", "https://[::1/a.png", "http://localhost:port/a.png"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(PictureError, match=rf"cannot fetch {re.escape(address)}: "):
        to_picture(address)


def test_pictures_are_listed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.JPG", "a.png", "notes.txt", "sub/c.png"):
        (tmp_path / name).touch()
    names = [path.name for path in list_pictures(tmp_path)]
    assert names == ["a.png", "b.JPG"]
    assert list_pictures(tmp_path / "a.png") == [tmp_path / "a.png"]
    assert [path.name for path in list_pictures(f"{tmp_path}/**/*.png")] == ["a.png", "c.png"]
    assert list_pictures(str(tmp_path / "*" / "*")) == [tmp_path / "sub" / "c.png"]


def test_a_folder_whose_name_is_a_pattern_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "take [1]").mkdir()
    (tmp_path / "take [1]" / "a.png").touch()
    with pytest.raises(FileNotFoundError, match="a folder's name is part of the pattern") as told:
        list_pictures(str(tmp_path / "take [1]" / "*.png"))
    literal = str(told.value).partition("the one that is there: ")[2].partition(")")[0]
    assert list_pictures(literal) == [tmp_path / "take [1]" / "a.png"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", "expected a picture, a folder or a glob pattern"),
        ("empty", "no pictures in the folder .*nothing is there"),
        ("outer", r"found 1 entry, the first is inner; .*outer/\*/\*"),
        ("*.jpg", "nothing that is a picture matches"),
    ],
)
def test_listing_nothing_says_what_is_there(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=message):
        list_pictures(tmp_path / source)


def test_real_rgba_pictures(shared_data: Path) -> None:
    files = list_pictures(shared_data / "nuclei" / "images")
    assert len(files) == 70
    with Image.open(files[0]) as image:
        assert image.mode == "RGBA"
    assert read_picture(files[0]).shape == (*picture_size(files[0]), 3)


def test_four_channels_are_colours_and_opacity(tmp_path: Path, pixels: np.ndarray) -> None:
    """The colours are those of three channels; files that tell of no transparency are opaque."""
    alpha = np.arange(pixels.shape[0] * pixels.shape[1], dtype=np.uint8).reshape(pixels.shape[:2])
    rgba = np.dstack([pixels, alpha])
    palette = Image.fromarray(pixels).quantize(8)
    palette.info["transparency"] = 0
    kinds = {
        "rgba.png": (Image.fromarray(rgba), alpha),
        "turned.webp": (Image.fromarray(rgba), None),
        "la.png": (Image.merge("LA", [Image.fromarray(pixels[..., 0]), Image.fromarray(alpha)]), alpha),
        "palette.png": (palette, np.where(np.asarray(palette) == 0, 0, 255)),
        "rgb.png": (Image.fromarray(pixels), np.full_like(alpha, 255)),
        "grey.jpg": (Image.fromarray(pixels[..., 0]), np.full_like(alpha, 255)),
        "deep.png": (Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), np.full_like(alpha, 255)),
    }
    for name, (image, wanted) in kinds.items():
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif.tobytes(), "lossless": True} if name.startswith("turned") else {}
        image.save(tmp_path / name, **options)
        found = read_picture(tmp_path / name, channels=4)
        assert found.dtype == np.uint8 and found.flags.c_contiguous
        np.testing.assert_array_equal(found[..., :3], read_picture(tmp_path / name), err_msg=name)
        wanted = np.rot90(alpha, -1) if wanted is None else wanted
        np.testing.assert_array_equal(found[..., 3], wanted, err_msg=name)
    for source in (rgba, rgba / 255, torch.from_numpy(rgba).permute(2, 0, 1), Image.fromarray(rgba)):
        np.testing.assert_array_equal(to_picture(source, channels=4)[0], rgba)
    opaque = np.dstack([pixels, np.full_like(alpha, 255)])
    np.testing.assert_array_equal(to_picture(pixels, channels=4)[0], opaque)
    with pytest.raises(PictureError, match=r"must be \(3, H, W\) or \(1, H, W\), got \(4, "):
        to_picture(torch.zeros(4, 5, 6))
