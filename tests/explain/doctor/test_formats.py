"""Defects in VOC and YOLO folders: the doctor finds the planted one, and nothing else."""

import re
from pathlib import Path

import pytest
from PIL import Image

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.examine import examine

pytestmark = pytest.mark.medium


def kinds(report) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def only_problem(report):
    assert [finding.kind for finding in report.problems] == [report.problems[0].kind], report.text()
    return report.problems[0]


# ---- VOC


BOX = r"<bndbox>.*?</bndbox>"


def voc_box(*corners: int) -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, corners, strict=True))
    return f"<bndbox>{inner}</bndbox>"


@pytest.fixture
def voc(tmp_path) -> Path:
    shapes = DrawnShapes(5, (96, 128), 1, empty_share=0)
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for index in range(5):
        pixels = shapes.picture(index).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / "JPEGImages" / f"p{index}.png")
        targets = shapes.targets(index)
        objects = "".join(
            f"<object><name>shape</name>{voc_box(x1 + 1, y1 + 1, x2, y2)}</object>"
            for x1, y1, x2, y2 in targets.boxes.int().tolist()
        )
        size = "<size><width>128</width><height>96</height></size>"
        text = f"<annotation><filename>p{index}.png</filename>{size}{objects}</annotation>"
        (tmp_path / "Annotations" / f"p{index}.xml").write_text(text)
    for split, numbers in (("train", "012"), ("val", "34"), ("trainval", "01234")):
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"p{n}\n" for n in numbers))
    return tmp_path


def edit(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


def test_voc_trainval_is_no_leak(voc):
    report = examine(voc)
    assert kinds(report) == {"overlapping_splits": 1}, report.text()
    assert report.findings[0].examples == ("trainval holds train, val",)


def test_voc_picture_in_two_splits_is_a_leak(voc):
    (voc / "ImageSets" / "Main" / "val.txt").write_text("p2\np3\np4\n")
    assert only_problem(examine(voc)).examples == ("train: p2.png = val: p2.png",)


VOC_PLANTED = [
    ("unreadable_annotations", r"</annotation>", "", "p1.xml"),
    ("malformed_boxes", r"<xmin>[^<]*</xmin>", "", "needs four numbers"),
    ("size_mismatch", r"<width>128", "<width>129", "annotated 96×129"),
    ("tiny_boxes", BOX, voc_box(9, 9, 9, 9), "8, 8, 9, 9"),
    ("turned_corners", BOX, voc_box(40, 9, 20, 30), "xmin, ymin, xmax, ymax = 40, 9, 20, 30"),
    (
        "bad_flags",
        "<object>",
        "<object><difficult>Unspecified</difficult>",
        "object 1 ('shape'): difficult must be",
    ),
    ("unknown_categories", r"<name>shape</name>", "", "p1.xml: object 1 has no name"),
]


@pytest.mark.parametrize(
    ("kind", "pattern", "replacement", "words"), VOC_PLANTED, ids=[row[0] for row in VOC_PLANTED]
)
def test_voc_defects(voc, kind, pattern, replacement, words):
    edit(voc / "Annotations" / "p1.xml", pattern, replacement)
    finding = only_problem(examine(voc))
    assert (finding.kind, finding.count) == (kind, 1) and words in finding.examples[0]


def test_voc_picture_without_labels(voc):
    (voc / "Annotations" / "p4.xml").unlink()
    finding = only_problem(examine(voc))
    assert (finding.kind, finding.count) == ("missing_labels", 1)


# ---- YOLO


@pytest.fixture
def yolo(tmp_path) -> Path:
    for split, count, seed in (("train", 3, 1), ("val", 2, 2)):
        shapes = DrawnShapes(count, (96, 128), seed, empty_share=0)
        pictures, labels = tmp_path / "images" / split, tmp_path / "labels" / split
        pictures.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(shapes.picture(index).permute(1, 2, 0).numpy()).save(pictures / f"{index}.png")
            lines = [
                f"{label} {(x1 + x2) / 256} {(y1 + y2) / 192} {(x2 - x1) / 128} {(y2 - y1) / 96}"
                for label, (x1, y1, x2, y2) in enumerate(shapes.targets(index).boxes.tolist()[:2])
            ]
            (labels / f"{index}.txt").write_text(
                "\n".join([*lines, "1 0.5 0.5 0.2 0.3", "0 0.4 0.5 0.3 0.2"])
            )
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [round, square]\n")
    return tmp_path


def test_healthy_yolo_stays_healthy(yolo):
    assert examine(yolo).findings == ()


YOLO_PLANTED = [
    ("malformed_boxes", "0 0.5 0.5 0.1", "expected class cx cy width height"),
    ("malformed_boxes", "0 64 48 20 20", "got 64 (pixels?)"),
    ("unreadable_annotations", "circle 0.5 0.5 0.1 0.1", "expected numbers, got 'circle"),
    ("unknown_categories", "7 0.5 0.5 0.1 0.1", "category 7 of 1 annotation"),
    ("unknown_categories", "0.5 0.5 0.5 0.1 0.1", "category 0.5 of 1 annotation"),
    ("boxes_leaving_picture", "0 0.95 0.5 0.3 0.1", "in 96×128"),
    ("non_finite_boxes", "0 nan 0.5 0.1 0.1", "line 5"),
]


@pytest.mark.parametrize(("kind", "line", "words"), YOLO_PLANTED, ids=[row[1] for row in YOLO_PLANTED])
def test_yolo_defects(yolo, kind, line, words):
    path = yolo / "labels" / "train" / "1.txt"
    path.write_text(path.read_text() + "\n" + line)
    finding = only_problem(examine(yolo))
    assert (finding.kind, finding.count) == (kind, 1) and words in finding.examples[0]


def test_yolo_classes_counted_from_one(yolo):
    for path in (yolo / "labels").rglob("*.txt"):
        lines = [line.split(maxsplit=1) for line in path.read_text().splitlines()]
        path.write_text("\n".join(f"{int(label) + 1} {rest}" for label, rest in lines))
    finding = only_problem(examine(yolo))
    assert finding.kind == "shifted_categories" and "shifted by one, too high" in finding.examples[0]


def test_yolo_labels_without_a_picture(yolo):
    (yolo / "labels" / "train" / "9.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert only_problem(examine(yolo)).kind == "lone_labels"


def test_yolo_broken_picture(yolo):
    (yolo / "images" / "train" / "1.png").write_bytes(b"")
    finding = only_problem(examine(yolo))
    assert finding.kind == "unknown_sizes" and finding.stops and "1.png: cannot read" in finding.examples[0]


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_healthy_data_is_read_as_the_readers_read_it(kind, request):
    folder = request.getfixturevalue(kind)
    for name, split in examine(folder).statistics["splits"].items():
        strict = open_annotations(folder, name)
        assert (split["pictures"], split["classes"]) == (len(strict), strict.counts())
