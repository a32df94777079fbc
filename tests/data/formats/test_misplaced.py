"""Folders given one too high or too low, endings in capitals, files that Macs leave, labels of two pictures."""

from collections.abc import Callable
from pathlib import Path

import pytest
from drawn_layouts import YOLO_LINE, coco, draw, labelme, voc, write

from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.examine import examine


def draw_coco(root: Path) -> None:
    draw(root / "images/a.png")
    write(root / "annotations/train.json", coco("a.png"))


def draw_voc(root: Path) -> None:
    draw(root / "JPEGImages/a.png")
    write(root / "Annotations/a.xml", voc("a.png"))


def draw_yolo(root: Path) -> None:
    draw(root / "train/images/a.png")
    write(root / "train/labels/a.txt", YOLO_LINE)
    write(root / "data.yaml", "train: ../train/images\nnames: [cat]\n")


def draw_labelme(root: Path) -> None:
    draw(root / "a.png")
    write(root / "a.json", labelme("a.png"))


SETS = {"COCO": draw_coco, "VOC": draw_voc, "YOLO": draw_yolo, "LabelMe": draw_labelme}
PARTS = [
    (draw_coco, "images", "COCO"),
    (draw_voc, "JPEGImages", "VOC"),
    (draw_yolo, "train", "YOLO"),
    (draw_yolo, "train/images", "YOLO"),
]


def test_the_folder_above_names_the_one_to_give(tmp_path: Path) -> None:
    """Archives often hold a folder of their own."""
    for kind, make in SETS.items():
        make(tmp_path / kind / "my export (3)")
        if kind != "YOLO":  # the others are found one folder lower
            assert len(open_annotations(tmp_path / kind)) == 1
    given = tmp_path / "YOLO"
    with pytest.raises(ValueError, match=r"no data set itself, but .*/my export \(3\) \(YOLO\) may be: give"):
        open_annotations(given)
    assert len(open_annotations(given / "my export (3)")) == 1
    draw_yolo(given / "second")
    with pytest.raises(ValueError, match=r"my export \(3\) \(YOLO\) and .*/second \(YOLO\) may be: give"):
        examine(given)


@pytest.mark.parametrize(("make", "part", "kind"), PARTS)
def test_a_part_of_a_set_names_the_folder_to_give(
    tmp_path: Path, make: Callable[[Path], None], part: str, kind: str
) -> None:
    make(tmp_path / "set")
    message = rf"{part} is no data set itself, but {tmp_path / 'set'} \({kind}\) may be: give that path"
    for look in (open_annotations, examine):
        with pytest.raises(ValueError, match=message):
            look(tmp_path / "set" / part)


@pytest.mark.parametrize(("make", "part"), [(draw_coco, "annotations"), (draw_voc, "Annotations")])
def test_the_folder_of_annotations_names_the_one_above(
    tmp_path: Path, make: Callable[[Path], None], part: str
) -> None:
    make(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=rf"or give the folder above, {tmp_path}, if the pictures are"
    ):
        open_annotations(tmp_path / part)
    assert len(open_annotations(tmp_path)) == 1


@pytest.mark.parametrize("kind", SETS)
def test_endings_in_capitals_count(tmp_path: Path, kind: str) -> None:
    SETS[kind](tmp_path)
    for path in [path for path in tmp_path.rglob("*") if path.suffix in (".json", ".xml", ".txt")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    assert open_annotations(tmp_path).counts() == {"cat": 1}
    assert examine(tmp_path).problems == ()


@pytest.mark.parametrize("kind", SETS)
def test_files_that_macs_leave_are_none(tmp_path: Path, kind: str) -> None:
    SETS[kind](tmp_path)
    for path in [path for path in tmp_path.rglob("*.*") if path.suffix in (".json", ".xml", ".txt", ".png")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\xff")
    annotations = open_annotations(tmp_path)
    assert (annotations.counts(), annotations.notes) == ({"cat": 1}, ())
    assert examine(tmp_path).findings == ()


@pytest.mark.parametrize(
    ("pictures", "labels"), [("Images", "Labels"), ("images", "Labels"), ("Images", "labels")]
)
def test_folders_of_yolo_in_capitals(tmp_path: Path, pictures: str, labels: str) -> None:
    draw(tmp_path / pictures / "a.png")
    write(tmp_path / labels / "a.txt", YOLO_LINE)
    write(tmp_path / "data.yaml", f"train: {pictures}\nnames: [cat]\n")
    assert open_annotations(tmp_path).counts() == {"cat": 1}


def test_one_label_file_of_two_pictures_is_said(tmp_path: Path) -> None:
    draw_yolo(tmp_path)
    draw(tmp_path / "train/images/a.jpg", tmp_path / "train/images/b.png")
    annotations = open_annotations(tmp_path)
    assert annotations.counts() == {"cat": 2}
    assert annotations.notes == (f"{tmp_path}/train/labels/a.txt belongs to a.jpg and a.png",)
    assert "shared_labels" in {finding.kind for finding in examine(tmp_path).problems}


def test_a_split_that_is_the_whole_folder_leaves_no_labels_out(tmp_path: Path) -> None:
    draw_yolo(tmp_path)
    write(tmp_path / "data.yaml", "train: .\nnames: [cat]\n")
    annotations = open_annotations(tmp_path)
    assert (annotations.counts(), annotations.notes) == ({"cat": 1}, ())


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("0,0.35,0.55,0.5,0.5", "write spaces instead of commas"),
        ("0 0,35 0,55 0,5 0,5", "write decimal points instead of commas"),
        (
            "cat 0.35 0.55 0.5 0.5",
            "write the number of the class, from 0 in the order of names, instead of 'cat'",
        ),
        ("0 0.35 0.55 0.5 0.5 0.93", "the sixth may be the score or the track of a prediction"),
        ("4 6 24 6 24 16 4 16 plane 0", "it is a line of a label file of DOTA"),
        ("Car 0.00 0 -1.57 5.00 6.00 24.00 16.00 1.5 1.6 3.9 1.0 1.5 10.0 -1.5", "of a label file of KITTI"),
    ],
)
def test_lines_of_another_kind_are_told_what_to_write(tmp_path: Path, line: str, remedy: str) -> None:
    draw_yolo(tmp_path)
    write(tmp_path / "train/labels/a.txt", f"{line}\n")
    with pytest.raises(ValueError, match=rf"line 1: .*{remedy}"):
        open_annotations(tmp_path)
    write(tmp_path / "train/labels/a.txt", YOLO_LINE)
    assert len(open_annotations(tmp_path)) == 1


@pytest.mark.parametrize("files", [("a.png",), ("a.png", "b.png")])
def test_pictures_of_another_ending_are_named(tmp_path: Path, files: tuple[str, ...]) -> None:
    draw(tmp_path / "images/a.jpg", *(tmp_path / "images" / name for name in files[1:]))
    write(tmp_path / "annotations/train.json", coco(*files))
    with pytest.raises(
        FileNotFoundError, match=r"there is .*images/a\.jpg: correct the ending in the annotations"
    ):
        open_annotations(tmp_path)
    write(tmp_path / "annotations/train.json", coco("a.jpg", *files[1:]))
    assert len(open_annotations(tmp_path)) == len(files)


@pytest.mark.parametrize("address", ["https://host.invalid/set.zip", "s3://bucket/set", "file:///data/set"])
def test_addresses_are_no_folders(address: str) -> None:
    for look in (open_annotations, examine):
        for place in (address, Path(address)):
            with pytest.raises(FileNotFoundError, match=r"is an address .* fetch it, unpack it"):
                look(place)
    with pytest.raises(FileNotFoundError, match="there is no folder C:/data/set"):
        open_annotations("C:/data/set")
