"""Data sets whose names lead out of their folder: told once, with `inside_only` refused before anything is opened."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.formats.reader import open_annotations
from pagoda.data.tracks.folders import open_videos
from pagoda.explain.doctor.examine import examine
from pagoda.recipes.remarks import data_remarks

SIZE = 32
OPENED: list[str] = []
"""by this process, until a test clears it"""
sys.addaudithook(
    lambda event, arguments: (
        OPENED.append(os.fsdecode(arguments[0]))
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike)
        else None
    )
)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def coco(root: Path, name: str, **size: int) -> None:
    (root / "annotations").mkdir(parents=True)
    picture(root / "images" / "own.png")
    images = [{"id": 1, "file_name": "own.png"}, {"id": 2, "file_name": name, **size}]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}
    document = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "cat"}]}
    (root / "annotations" / "train.json").write_text(json.dumps(document))


def yolo(root: Path, train: str, lines: str = "", **more: str) -> None:
    own = picture(root / "images" / "own.png")
    (own.with_suffix(".txt")).write_text("0 .5 .5 .2 .2\n")
    (root / "list.txt").write_text(f"images/own.png\n{lines}\n")
    described = {"names": ["cat"], "train": train, **more}
    (root / "data.yaml").write_text(json.dumps(described))  # JSON is YAML


def darknet(root: Path) -> None:
    yolo(root, "list.txt")
    (root / "data.yaml").unlink()
    (root / "obj.data").write_text("classes = 1\ntrain = list.txt\nnames = ../out/names.txt\n")


def voc(root: Path) -> None:
    for key in ("own", "far"):
        (root / "Annotations").mkdir(parents=True, exist_ok=True)
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        text = (
            f"<annotation><filename>{key}.png</filename><object><name>cat</name>{box}</object></annotation>"
        )
        (root / "Annotations" / f"{key}.xml").write_text(text)


def labelme(root: Path, name: str) -> None:
    picture(root / "own.png")
    for key, written in (("own", "own.png"), ("far", name)):
        shape = {"label": "cat", "shape_type": "rectangle", "points": [[1, 1], [9, 9]]}
        (root / f"{key}.json").write_text(
            json.dumps({"imagePath": written, "imageData": None, "shapes": [shape]})
        )


def createml(root: Path, name: str) -> None:
    picture(root / "own.png")
    place = {"label": "cat", "coordinates": {"x": 8, "y": 8, "width": 6, "height": 6}}
    rows = [{"image": each, "annotations": [place]} for each in ("own.png", name)]
    (root / "_annotations.createml.json").write_text(json.dumps(rows))


def mot(root: Path, folder: str) -> None:
    sequence = root / "train" / "walk"
    (sequence / "gt").mkdir(parents=True)
    (sequence / "gt" / "gt.txt").write_text("1,1,2,2,9,9,1,1,1\n")
    (sequence / "seqinfo.ini").write_text(
        f"[Sequence]\nname=walk\nimDir={folder}\nseqLength=1\nimWidth={SIZE}\nimHeight={SIZE}\n"
    )


def linked(make: Callable[[Path], None], place: str, target: str) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        make(root)
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).symlink_to(target)

    return build


# OUT is the folder with the far picture, beside the data set's.
SETS: dict[str, Callable[[Path], None]] = {
    "COCO, up": lambda root: coco(root, "../../out/far.png"),
    "COCO, up, with a size": lambda root: coco(root, "../../out/far.png", height=SIZE, width=SIZE),
    "COCO, absolute": lambda root: coco(root, f"{root.parent}/out/far.png"),
    "COCO, a linked folder": linked(lambda root: coco(root, "more/far.png"), "images/more", "../../out"),
    "YOLO, a list": lambda root: yolo(root, "list.txt", f"{root.parent}/out/far.png"),
    "YOLO, a list, up": lambda root: yolo(root, "list.txt", "../out/far.png"),
    "YOLO, a folder": lambda root: yolo(root, f"{root.parent}/out"),
    "YOLO, path": lambda root: yolo(root, "out", path=str(root.parent)),
    "VOC, a linked folder": linked(voc, "JPEGImages", "../out"),
    "LabelMe, up": lambda root: labelme(root, "../out/far.png"),
    "LabelMe, absolute": lambda root: labelme(root, f"{root.parent}/out/far.png"),
    "CreateML, up": lambda root: createml(root, "../out/far.png"),
}


@pytest.fixture
def out(tmp_path):
    far = picture(tmp_path / "out" / "far.png")
    far.with_suffix(".txt").write_text("0 .5 .5 .2 .2\n")
    picture(tmp_path / "out" / "own.png")
    return tmp_path / "out"


@pytest.mark.parametrize("kind", SETS)
def test_what_lies_outside_is_told_once(kind, tmp_path, out):
    SETS[kind](tmp_path / "set")
    annotations = open_annotations(tmp_path / "set", "train")
    told = [note for note in annotations.notes if "lie outside" in note]
    assert len(told) == 1 and "far.png" in told[0]
    assert told[0] in data_remarks(annotations, tmp_path / "set")
    found = {finding.kind: finding for finding in examine(tmp_path / "set").findings}
    assert found["pictures_outside"].count in (1, 2) and "--inside-only" in found["pictures_outside"].message


@pytest.mark.parametrize("kind", SETS)
def test_inside_only_refuses_before_anything_is_opened(kind, tmp_path, out):
    SETS[kind](tmp_path / "set")
    OPENED.clear()
    with pytest.raises(ValueError, match=r"outside .*far\.png|outside .*out"):
        open_annotations(tmp_path / "set", "train", inside_only=True)
    report = examine(tmp_path / "set", inside_only=True)
    assert not report.is_readable and "pictures_refused" in {finding.kind for finding in report.findings}
    there = str(out.resolve())
    assert [path for path in OPENED if os.path.realpath(path).startswith(there)] == []


def test_a_list_of_names_may_not_lie_outside_either(tmp_path, out):
    (out / "names.txt").write_text("cat\n")
    darknet(tmp_path / "set")
    assert open_annotations(tmp_path / "set", "train").label_map.names == ("cat",)
    with pytest.raises(ValueError, match=r"outside .*names\.txt"):
        open_annotations(tmp_path / "set", "train", inside_only=True)


def test_a_picture_that_is_itself_a_link_is_refused(tmp_path, out):
    linked(lambda root: coco(root, "link.png"), "images/link.png", "../../out/far.png")(tmp_path / "set")
    assert len(open_annotations(tmp_path / "set", "train")) == 2
    with pytest.raises(ValueError, match="outside"):
        open_annotations(tmp_path / "set", "train", inside_only=True)


def test_a_folder_reached_by_a_link_is_inside_itself(tmp_path, out):
    coco(tmp_path / "set", "own2.png")
    picture(tmp_path / "set" / "images" / "own2.png")
    (tmp_path / "alias").symlink_to("set")
    for name in ("set", "alias"):
        annotations = open_annotations(tmp_path / name, "train", inside_only=True)
        assert len(annotations) == 2 and not any("outside" in note for note in annotations.notes)


def test_a_set_inside_the_folder_that_was_asked_for_may_use_all_of_it(tmp_path):
    voc(tmp_path / "all" / "voc")
    for name in ("own", "far"):
        picture(tmp_path / "all" / "images" / f"{name}.png")
    assert len(open_annotations(tmp_path / "all", "train", inside_only=True)) == 2
    with pytest.raises(ValueError, match="outside"):
        open_annotations(tmp_path / "all" / "voc", "train", inside_only=True)


@pytest.mark.parametrize("way", ["{out}", "../../../out"])
def test_frames_of_videos_are_looked_at_in_the_same_way(way, tmp_path, out):
    picture(out / "img" / "000001.png")
    mot(tmp_path / "set", way.format(out=out) + "/img")
    videos = open_videos(tmp_path / "set", "train")
    assert sum("lies outside" in line for line in data_remarks(videos, tmp_path / "set")) == 1
    with pytest.raises(ValueError, match="outside"):
        open_videos(tmp_path / "set", "train", inside_only=True)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "fcos_mobilenet_v2_fpn", "--data", "set", "--val-split", "train"],
        ["val", "--results", "results.json", "--data", "set", "--split", "train"],
        ["doctor", "set"],
    ],
    ids=lambda words: words[0],
)
def test_every_verb_that_opens_data_takes_the_flag(words, tmp_path, out, monkeypatch, capsys):
    coco(tmp_path / "set", "../../out/far.png")
    monkeypatch.chdir(tmp_path)
    Path("results.json").write_text("[]")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--inside-only"])
    said = " ".join("".join(capsys.readouterr()).split())
    assert ended.value.code == 1 and "outside" in said and "far.png" in said and not Path("runs").exists()
