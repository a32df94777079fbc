"""Pictures of 12 bits in 16 and of 32 bits: remarked, and the command that is offered makes them usable."""

import shlex
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.data.levels import dark_levels, peak_level, stretch_levels
from pagoda.pictures.read import PictureError, read_picture

RAMP = np.linspace(0, 4095, 64 * 48).reshape(48, 64)


def save(path: Path, levels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path, **options)
    return path


def deep_colours(path: Path, levels: np.ndarray, orientation: int = 1) -> Path:
    """A PNG of 16 bits per colour, which Pillow reads but cannot write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def run_remedy(said: str) -> None:
    """The command, taken apart as a shell does; another process would only be slower."""
    python, option, code = shlex.split(said[said.index("python -c") :])
    assert (python, option) == ("python", "-c")
    exec(code, {})


@pytest.mark.parametrize(
    ("name", "levels", "reason"),
    [
        ("12 bits.png", RAMP.astype(np.uint16), "only 4095 of 65535"),
        ("10 bits.tif", (RAMP / 4).astype(np.uint16), "only 1023 of 65535"),
        ("12 bits of 32.tif", RAMP.astype(np.int32), "only 4095 of 65535"),
        ("20 bits.tif", (RAMP * 256).astype(np.int32), "must lie within 0 … 65535, got 0 … 1048320"),
        ("below 0.tif", (RAMP - 1024).astype(np.int32), "must lie within 0 … 65535, got -1024 … 3071"),
        (
            "0 to 255.tif",
            (RAMP / 4095 * 255).astype(np.float32),
            "must hold values within 0 … 1, got 0 … 255",
        ),
        ("0 to 0.1.tif", (RAMP / 40950).astype(np.float32), "only 0.1 of 1"),
    ],
)
def test_the_remedy_that_is_named_works(tmp_path: Path, name: str, levels: np.ndarray, reason: str) -> None:
    path = save(tmp_path / "data" / "images" / name, levels)
    try:
        said = dark_levels({path: peak_level(path)}, path.parent)
        assert read_picture(path).max() < 64
    except PictureError as error:
        said = str(error)
    assert reason in said
    run_remedy(said)
    picture = read_picture(tmp_path / "data" / "images-stretched" / name)
    expected = (levels - levels.min()) / np.ptp(levels.astype(np.float64)) * 255
    assert np.abs(picture[..., 0] - expected).max() <= 1
    stretched = tmp_path / "data" / "images-stretched" / name
    assert dark_levels({stretched: peak_level(stretched)}, stretched.parent) == ""


def test_the_whole_data_set_is_copied(tmp_path: Path) -> None:
    data = tmp_path / "data"
    save(data / "images" / "a.png", RAMP.astype(np.uint16))
    colours = save(data / "images" / "b.png", np.zeros((4, 4, 3), np.uint8))
    (data / "labels").mkdir()
    (data / "labels" / "a.txt").write_text("0 .5 .5 .1 .1")
    (data / "images" / "broken.png").write_bytes(b"broken")
    made = stretch_levels(data, tmp_path / "out", top=4095)
    assert [path.name for path in made] == ["a.png"]
    names = sorted(path.relative_to(data) for path in data.rglob("*"))
    assert sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*")) == names
    assert (tmp_path / "out" / "images" / "b.png").read_bytes() == colours.read_bytes()
    assert np.asarray(Image.open(made[0])).max() == 65535
    assert np.asarray(Image.open(data / "images" / "a.png")).max() == 4095, "what was there is kept"


@pytest.mark.parametrize("orientation", [1, 6])
def test_colours_of_12_bits_are_stretched_too(tmp_path: Path, orientation: int) -> None:
    levels = np.stack([RAMP, RAMP[::-1], RAMP / 2], 2).astype(np.uint16)
    path = deep_colours(tmp_path / "data" / "a.png", levels, orientation)
    assert read_picture(path).max() == 15
    said = dark_levels({path: peak_level(path)}, path.parent)
    assert "1 picture of more than 8 bits reaches only" in said
    run_remedy(said)
    expected = levels / 4095 * 255
    expected = expected if orientation == 1 else expected[::-1].transpose(1, 0, 2)
    assert np.abs(read_picture(tmp_path / "data-stretched" / "a.png") - expected).max() <= 1


def test_copies_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "data" / "a.png", RAMP.astype(np.uint16), exif=exif)
    (copy,) = stretch_levels(tmp_path / "data", tmp_path / "out", top=4095)
    assert read_picture(copy).shape == read_picture(tmp_path / "data" / "a.png").shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"top": 4000}, ValueError, r"a\.png holds values 0 … 4095, outside 0 … 4000"),
        ({"top": 0}, ValueError, "top must be above bottom"),
    ],
)
def test_nothing_is_written_where_values_do_not_fit(
    tmp_path: Path, options: dict, error: type[Exception], message: str
) -> None:
    save(tmp_path / "data" / "a.png", RAMP.astype(np.uint16))
    with pytest.raises(error, match=message):
        stretch_levels(tmp_path / "data", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_pages_and_what_exists_are_kept(tmp_path: Path) -> None:
    page = Image.fromarray(RAMP.astype(np.uint16))
    save(tmp_path / "data" / "a.tif", RAMP.astype(np.uint16), save_all=True, append_images=[page])
    with pytest.raises(ValueError, match="several pages"):
        stretch_levels(tmp_path / "data", tmp_path / "out", top=4095)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="there already"):
        stretch_levels(tmp_path / "data", tmp_path / "out", top=4095)
    with pytest.raises(FileNotFoundError, match="no folder"):
        stretch_levels(tmp_path / "nowhere", tmp_path / "new", top=4095)


@pytest.mark.parametrize(
    ("levels", "is_remarked"),
    [
        (np.array([[0, 4095]], np.uint16), True),
        (np.array([[0, 16383]], np.uint16), True),  # 14 bits
        (np.array([[0, 40000]], np.uint16), False),
        (np.array([[0, 0]], np.uint16), False),
        (np.array([[0, 200]], np.uint8), False),
    ],
)
def test_what_counts_as_dark(tmp_path: Path, levels: np.ndarray, is_remarked: bool) -> None:
    path = save(tmp_path / "a.png", levels)
    peak = peak_level(path)
    peaks = {} if peak is None else {path: peak}
    assert bool(dark_levels(peaks, tmp_path)) == is_remarked


def test_one_bright_picture_shows_that_the_range_is_meant(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{top}.png", np.array([[0, top]], np.uint16)) for top in (3000, 60000)]
    assert dark_levels({path: peak_level(path) for path in paths}, tmp_path) == ""
