"""The one rule that finds pictures: what is written, other spellings, ends of paths, and never the wrong one."""

from pathlib import Path

import pytest

from pagoda.data.reading.picture_paths import PictureFinder


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def find(
    root: Path, *names: str, split: str = "", folder: str = "images"
) -> tuple[list[str | None], PictureFinder]:
    finder = PictureFinder(root, split)
    places = finder.locate(names, [[root / folder]] * len(names))
    short = [place and Path(place).resolve().relative_to(root.resolve()).as_posix() for place in places]
    return short, finder


@pytest.mark.parametrize(
    ("written", "stored", "way"),
    [
        ("a.jpg", "images/a.jpg", None),
        ("./sub/../a.jpg", "images/a.jpg", None),
        ("../other/a.jpg", "other/a.jpg", None),
        ("back\\slash.jpg", "images/back\\slash.jpg", None),  # a file may be called so
        ("sub\\a.jpg", "images/sub/a.jpg", "with forward slashes"),
        (" a.jpg ", "images/a.jpg", "without the spaces around the name"),
        (" a.jpg ", "images/ a.jpg ", None),
        ("p%20x.jpg", "images/p x.jpg", "percent-decoded"),
        ("p%20x.jpg", "images/p%20x.jpg", None),
        ("sub\\p%C3%A4.jpg", "images/sub/pä.jpg", "percent-decoded"),
        (
            "http://host.invalid/val2017/a.jpg?token=1",
            "images/val2017/a.jpg",
            "by the path of the web address",
        ),
        ("http://host.invalid/val2017/a.jpg", "val2017/a.jpg", "by the end of the path"),
        ("/data/local-files/?d=set/a%20b.jpg", "images/set/a b.jpg", "by the path of the web address"),
        ("/data/upload/4/0f-a.jpg", "images/0f-a.jpg", "by the bare name"),
        ("../../media/upload/4/0f-a.jpg", "pictures/0f-a.jpg", "by the bare name"),
        ("/home/somebody/set/cam1/a.jpg", "images/cam1/a.jpg", "by the end of the path"),
        ("C:\\Users\\me\\set\\cam1\\a.jpg", "deep/er/cam1/a.jpg", "by the end of the path"),
        ("train2017/a.jpg", "images/a.jpg", "by the bare name"),
        ("A.JPG", "images/a.jpg", "with other upper and lower case"),
        ("Cam1/A.jpg", "images/cam1/a.JPG", "with other upper and lower case"),
        ("a\u0308.jpg", "images/\u00e4.jpg", "with other upper and lower case"),  # ä as two letters
        ("b.jpg", None, None),
        ("", None, None),
    ],
)
def test_one_name(tmp_path: Path, written: str, stored: str | None, way: str | None) -> None:
    touch(tmp_path, stored or "images/a.jpg", "images/sub/other.jpg")
    (place,), finder = find(tmp_path, written)
    assert place == stored and finder.ambiguous == []
    notes = finder.notes("here")
    assert len(notes) == (way is not None)
    if way:
        assert f"1 picture was found {way}" in notes[0] and f"'{written}' is {stored}" in notes[0]


def test_the_longest_end_decides(tmp_path: Path) -> None:
    touch(tmp_path, "x/cam1/a.jpg", "x/cam2/a.jpg", "a.jpg")
    places, finder = find(tmp_path, "/other/cam1/a.jpg", "/other/cam2/a.jpg")
    assert places == ["x/cam1/a.jpg", "x/cam2/a.jpg"] and finder.ambiguous == []
    assert "2 pictures were found by the end of the path" in finder.notes("here")[0]


@pytest.mark.parametrize(
    ("names", "stored", "both"),
    [
        (["/old/a.jpg"], ["one/a.jpg", "two/a.jpg"], "'/old/a.jpg' may be one/a.jpg or two/a.jpg"),
        (["/old/A.jpg"], ["one/a.jpg", "two/a.JPG"], "'/old/A.jpg' may be one/a.jpg or two/a.JPG"),
        (
            ["B.jpg", "a.jpg"],
            ["images/a.jpg", "images/b.jpg", "images/b.JPG"],
            "'B.jpg' may be b.JPG or b.jpg",
        ),
        (["x/a.jpg", "y/a.jpg"], ["images/z/a.jpg"], "'x/a.jpg' and 'y/a.jpg' would both be images/z/a.jpg"),
    ],
)
def test_what_is_not_certain_is_an_error_with_both_names(
    tmp_path: Path, names: list[str], stored: list[str], both: str
) -> None:
    touch(tmp_path, *stored)
    _, finder = find(tmp_path, *names)
    assert finder.ambiguous == [both]
    with pytest.raises(ValueError, match="here: it is not certain which pictures are meant") as caught:
        finder.check("here")
    assert both in str(caught.value)


def test_a_missing_picture_is_not_another_of_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "masks/a.jpg", "masks/b.jpg", "val/c.jpg")
    assert find(tmp_path, "a.jpg", "b.jpg")[0] == ["images/a.jpg", None], (
        "names without folders are right here"
    )
    touch(tmp_path, "images/deep/er/d.jpg", "other/d.jpg")
    assert find(tmp_path, "a.jpg", "d.jpg")[0] == ["images/a.jpg", "images/deep/er/d.jpg"], "but at any depth"
    assert find(tmp_path, "a.jpg", "b.jpg", folder="masks")[0] == ["masks/a.jpg", "masks/b.jpg"]
    assert find(tmp_path, "images/a.jpg", "d.jpg", folder=".")[0] == ["images/a.jpg", None], (
        "two of that name"
    )
    assert find(tmp_path, "/x/c.jpg", split="train")[0] == [None], "it belongs to another split"
    assert find(tmp_path, "/x/val/c.jpg", split="train")[0] == ["val/c.jpg"], "unless that is what is written"
    assert find(tmp_path, "/x/c.jpg", split="validation")[0] == ["val/c.jpg"]


def test_beside_the_annotation_file_comes_before_anywhere(tmp_path: Path) -> None:
    touch(tmp_path, "cam1/a.jpg", "cam2/a.jpg")
    finder = PictureFinder(tmp_path)
    folders = [tmp_path / "cam1", tmp_path / "cam2"]
    places = finder.locate(["C:\\x\\a.jpg"] * 2, [[folder] for folder in folders], folders)
    assert places == [str(folder / "a.jpg") for folder in folders] and finder.ambiguous == []


def test_many_are_told_in_few_words(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/{number}.jpg" for number in range(30)))
    _, finder = find(tmp_path, *(f"old/{number}.jpg" for number in range(30)))
    assert finder.notes("x.json") == [
        "x.json: 30 pictures were found by the bare name, which is unique: 'old/0.jpg' is images/0.jpg"
    ]
