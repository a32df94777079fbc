"""Which files are pictures, in which order they follow one another, and what is said of the others."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from pagoda.pictures.read import (
    PictureError,
    find_pictures,
    is_picture,
    list_pictures,
    natural_order,
    other_files,
    picture_facts,
    read_frames,
    read_picture,
)

PIXELS = np.random.default_rng(0).integers(0, 255, (16, 24, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "names",
    [
        ["frame_1.png", "frame_2.png", "frame_9.png", "frame_10.png", "frame_11.png", "frame_100.png"],
        ["1.jpg", "2.jpg", "10.jpg"],
        ["a1b2.png", "a1b10.png", "a2b1.png"],
        ["000001.png", "000002.png", "000010.png"],
        ["day2/frame_9.png", "day2/frame_10.png", "day10/frame_1.png"],
        ["a/1.png", "a.b/1.png"],  # folder by folder: a comes before a.b
        ["01.png", "1.png", "2.png"],  # equal numbers: as text
        ["frame.png", "frame_1.png"],
        ["7", "seven"],
    ],
)
def test_numbers_in_names_are_numbers(names: list[str]) -> None:
    for shuffled in itertools.islice(itertools.permutations(names), 200):
        assert sorted(shuffled, key=natural_order) == names
        assert [path.as_posix() for path in sorted(map(Path, shuffled), key=natural_order)] == names


@given(st.lists(st.text("a01²٣/._-", min_size=1, max_size=8), max_size=8))
def test_any_names_have_one_order(names: list[str]) -> None:
    unique = sorted(set(names))
    ordered = sorted(unique, key=natural_order)
    assert sorted(reversed(unique), key=natural_order) == ordered
    assert len({natural_order(name) for name in unique}) == len(unique)


def test_folders_and_globs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(1, 13):
        (tmp_path / f"frame_{number}.png").touch()
    expected = [f"frame_{number}.png" for number in range(1, 13)]
    assert [path.name for path in list_pictures(tmp_path)] == expected
    assert [path.name for path in list_pictures(f"{tmp_path}/*.png")] == expected


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        *(
            (name, "")
            for name in ("a.jpg", "a.JFIF", "a.jpe", "a.png", "a.apng", "a.mpo", "a.tga", "a.PNM", "a.ico")
        ),
        *((name, "avif") for name in ("a.avif", "a.AVIF")),
        *((name, "jpg_2000") for name in ("a.jp2", "a.j2k", "a.jpx")),
        *((name, "webp") for name in ("a.webp",)),
    ],
)
def test_what_pillow_reads_is_a_picture(tmp_path: Path, name: str, needs: str) -> None:
    if needs and not features.check(needs):
        pytest.skip(f"this Pillow has no {needs}")
    path = tmp_path / name
    Image.fromarray(PIXELS).save(path)
    assert is_picture(path) and list_pictures(tmp_path) == [path]
    assert read_picture(path).shape[2] == 3


@pytest.mark.parametrize(
    "name", ["a.pdf", "a.eps", "a.mpg", "a.mp4", "a.h5", "a.wmf", "a.txt", "a", "a.heic_", "._a.jpg"]
)
def test_documents_videos_and_leavings_are_none(name: str) -> None:
    assert not is_picture(name)


def test_a_format_another_library_adds_counts_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_picture("a.later")
    monkeypatch.setitem(Image.OPEN, "LATER", (lambda *_: None, None))
    monkeypatch.setitem(Image.EXTENSION, ".later", "LATER")
    assert is_picture("a.later")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    for name in ("1.png", "2.heic", "3.heic", "4.txt", ".DS_Store", "._1.png", "sub/5.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_pictures(tmp_path)
    assert [path.name for path in found.pictures] == ["1.png"]
    said = found.left_out()
    assert "3 files are no picture by the ending (2 .heic, 1 .txt)" in said
    assert "1 folder is not looked into" in said
    assert len(list_pictures(f"{tmp_path}/**/*")) == 2, "the pattern that is offered finds the others"
    assert find_pictures(tmp_path / "1.png").left_out() == find_pictures(tmp_path / "sub").left_out() == ""
    assert [path.name for path in other_files([tmp_path])] == ["2.heic", "3.heic"]


def frames(count: int = 3) -> list[Image.Image]:
    return [Image.fromarray(np.full((16, 24, 3), 60 * number, np.uint8)) for number in range(count)]


@pytest.mark.parametrize(
    ("kind", "options", "seconds"),
    [
        ("gif", {"duration": [40, 500, 70]}, [0.04, 0.5, 0.07]),
        ("gif", {"duration": [0, 10, 20]}, [0.1, 0.1, 0.02]),
        ("webp", {"duration": [40, 500, 70], "lossless": True}, [0.04, 0.5, 0.07]),
        ("png", {"duration": [40, 500, 70]}, [0.04, 0.5, 0.07]),
        ("png", {"duration": [40, 500], "default_image": True}, [0.04, 0.5]),
        ("avif", {"duration": [40, 500, 70]}, [0.04, 0.5, 0.07]),
        ("tif", {}, [0.2, 0.2, 0.2]),
    ],
)
def test_animations_have_all_frames_and_their_times(
    tmp_path: Path, kind: str, options: dict, seconds: list[float]
) -> None:
    if kind in ("avif", "webp") and not features.check(kind):
        pytest.skip(f"this Pillow has no {kind}")
    first, *more = frames()
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=more, **options)
    shown = list(read_frames(tmp_path / f"a.{kind}", default_seconds=0.2))
    assert [duration for _, duration in shown] == pytest.approx(seconds)
    assert picture_facts(tmp_path / f"a.{kind}").num_frames == len(seconds)
    greys = [0, 60, 120] if len(seconds) == 3 else [60, 120]
    assert [picture.mean() for picture, _ in shown] == pytest.approx(greys, abs=3)
    assert read_picture(tmp_path / f"a.{kind}").mean() < 3, "one picture is the first"


def test_pages_that_repeat_one_in_small_are_no_frames(tmp_path: Path) -> None:
    first, second, _ = frames()
    small = second.resize((12, 8))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    assert [picture.shape for picture, _ in read_frames(tmp_path / "a.tif", default_seconds=1)] == [
        (16, 24, 3)
    ]


def test_the_previews_of_a_camera_are_no_frames(tmp_path: Path) -> None:
    first, second, _ = frames()
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second])
    assert picture_facts(tmp_path / "a.mpo").num_frames == 1


def test_a_document_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\0\0\1\xb3" + bytes(range(60)))  # the start of an MPEG stream
    with pytest.raises(PictureError, match=r"MPEG is no format of pictures|no picture in a known format"):
        read_picture(tmp_path / "a.png")
