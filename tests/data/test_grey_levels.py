"""Greys of 12 bits in 16 and of 32 bits: remarked, and the command that is offered makes them usable."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.data.grey_levels import dark_greys, grey_peak, stretch_greys
from pagoda.pictures import PictureError, read_picture

RAMP = np.linspace(0, 4095, 64 * 48).reshape(48, 64)


def save(path: Path, levels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path, **options)
    return path


def run_remedy(said: str) -> None:
    """The command, taken apart as a shell does; another process would only be slower."""
    python, option, code = shlex.split(said[said.index("python -c") :])
    assert (python, option) == ("python", "-c")
    exec(code, {})


@pytest.mark.parametrize(
    ("name", "levels", "reason"),
    [
        ("12 bits.png", RAMP.astype(np.uint16), "reach only 4095 of 65535"),
        ("10 bits.tif", (RAMP / 4).astype(np.uint16), "reach only 1023 of 65535"),
        ("12 bits of 32.tif", RAMP.astype(np.int32), "reach only 4095 of 65535"),
        ("20 bits.tif", (RAMP * 256).astype(np.int32), "must lie within 0 … 65535, got 0 … 1048320"),
        ("below 0.tif", (RAMP - 1024).astype(np.int32), "must lie within 0 … 65535, got -1024 … 3071"),
        (
            "0 to 255.tif",
            (RAMP / 4095 * 255).astype(np.float32),
            "must hold values within 0 … 1, got 0 … 255",
        ),
        ("0 to 0.1.tif", (RAMP / 40950).astype(np.float32), "reach only 0.1 of 1"),
    ],
)
def test_the_remedy_that_is_named_works(tmp_path: Path, name: str, levels: np.ndarray, reason: str) -> None:
    path = save(tmp_path / "data" / "images" / name, levels)
    try:
        said = dark_greys({path: grey_peak(path)}, path.parent)
        assert read_picture(path).max() < 64
    except PictureError as error:
        said = str(error)
    assert reason in said
    run_remedy(said)
    picture = read_picture(tmp_path / "data" / "images-stretched" / name)
    expected = (levels - levels.min()) / np.ptp(levels.astype(np.float64)) * 255
    assert np.abs(picture[..., 0] - expected).max() <= 1
    stretched = tmp_path / "data" / "images-stretched" / name
    assert dark_greys({stretched: grey_peak(stretched)}, stretched.parent) == ""


def test_the_whole_data_set_is_copied(tmp_path: Path) -> None:
    data = tmp_path / "data"
    save(data / "images" / "a.png", RAMP.astype(np.uint16))
    colours = save(data / "images" / "b.png", np.zeros((4, 4, 3), np.uint8))
    (data / "labels").mkdir()
    (data / "labels" / "a.txt").write_text("0 .5 .5 .1 .1")
    (data / "images" / "broken.png").write_bytes(b"broken")
    made = stretch_greys(data, tmp_path / "out", top=4095)
    assert [path.name for path in made] == ["a.png"]
    names = sorted(path.relative_to(data) for path in data.rglob("*"))
    assert sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*")) == names
    assert (tmp_path / "out" / "images" / "b.png").read_bytes() == colours.read_bytes()
    assert np.asarray(Image.open(made[0])).max() == 65535
    assert np.asarray(Image.open(data / "images" / "a.png")).max() == 4095, "what was there is kept"


def test_copies_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "data" / "a.png", RAMP.astype(np.uint16), exif=exif)
    (copy,) = stretch_greys(tmp_path / "data", tmp_path / "out", top=4095)
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
        stretch_greys(tmp_path / "data", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_pages_and_what_exists_are_kept(tmp_path: Path) -> None:
    page = Image.fromarray(RAMP.astype(np.uint16))
    save(tmp_path / "data" / "a.tif", RAMP.astype(np.uint16), save_all=True, append_images=[page])
    with pytest.raises(ValueError, match="several pages"):
        stretch_greys(tmp_path / "data", tmp_path / "out", top=4095)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="there already"):
        stretch_greys(tmp_path / "data", tmp_path / "out", top=4095)
    with pytest.raises(FileNotFoundError, match="no folder"):
        stretch_greys(tmp_path / "nowhere", tmp_path / "new", top=4095)


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
    peak = grey_peak(path)
    peaks = {} if peak is None else {path: peak}
    assert bool(dark_greys(peaks, tmp_path)) == is_remarked


def test_one_bright_picture_shows_that_the_range_is_meant(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{top}.png", np.array([[0, top]], np.uint16)) for top in (3000, 60000)]
    assert dark_greys({path: grey_peak(path) for path in paths}, tmp_path) == ""
