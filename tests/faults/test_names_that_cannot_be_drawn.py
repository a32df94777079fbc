"""Line breaks, control characters, foreign letters, formulas in names: one rule in the readers, and no crash after."""

import json
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.cli.arguments.parsing import read_labels
from pagoda.data.formats.reader import open_annotations
from pagoda.drawing.lettering import MAX_LETTERS, missing_letters
from pagoda.drawing.objects import draw_detections, draw_targets
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.explain.doctor.examine import examine
from pagoda.files.text import one_line
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.visualization.curves import pr_curves
from pagoda.visualization.report import write_report

pytestmark = pytest.mark.medium

NAMES = (
    "a\nb", "a\r\nb", "\ta", "a\x00b", "a\x1b[31mb", "\x07", "a\u2028b", "\ud800", "", " ", "\n" * 5000,
    "traffic\nlight", "_hidden", "$x$", "$\\frac{", "a_$b$^{", "100 %", "<b>&amp;</b>", "{x}", "%s", "\\", "a\\nb",
    "x" * 5000, "人" * 5000, "人", "车", "كلب", "हिन्दी", "👩‍🚒", "\u202eevil",
)  # fmt: skip
WRITTEN = {
    "traffic\nlight": "traffic light",
    "cat\x07": "cat",
    "\tdog\r\n": "dog",
    "人\u2028车": "人 车",
    "a\x00b": "a b",
}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32)).save(path)


def coco(root: Path, names: list[str], keypoints: list[str]) -> None:
    picture(root / "images" / "a.png")
    skeleton = {"keypoints": keypoints, "flip_pairs": []}
    categories = [{"id": number, "name": name, **skeleton} for number, name in enumerate(names, 1)]
    triples = [4, 4, 2] * len(keypoints)
    boxes = [
        {"id": number, "image_id": 1, "category_id": number, "bbox": [number, 1, 9, 9], "keypoints": triples}
        for number in range(1, len(names) + 1)
    ]
    images = [{"id": 1, "file_name": "a.png", "height": 32, "width": 32}]
    (root / "annotations").mkdir()
    document = {"images": images, "annotations": boxes, "categories": categories}
    (root / "annotations" / "train.json").write_text(json.dumps(document))


def yolo(root: Path, names: list[str], keypoints: list[str]) -> None:
    picture(root / "images" / "a.png")
    (root / "labels").mkdir()
    numbers = " 0.5 0.5 2" * len(keypoints)
    lines = [f"{number} .5 .5 .2 .2{numbers}\n" for number in range(len(names))]
    (root / "labels" / "a.txt").write_text("".join(lines))
    shape = {
        "kpt_shape": [len(keypoints), 3],
        "kpt_names": keypoints,
        "flip_idx": list(range(len(keypoints))),
    }
    (root / "data.yaml").write_text(json.dumps({"names": names, "train": "images", **shape}))


def labelme(root: Path, names: list[str], keypoints: list[str]) -> None:
    picture(root / "a.png")
    shapes = [
        {"label": name, "shape_type": "rectangle", "points": [[1, 1], [9, 9]], "group_id": k}
        for k, name in enumerate(names)
    ]
    shapes += [
        {"label": name, "shape_type": "point", "points": [[4, 4]], "group_id": 0} for name in keypoints
    ]
    (root / "a.json").write_text(json.dumps({"imagePath": "a.png", "imageData": None, "shapes": shapes}))


def voc(root: Path, names: list[str], keypoints: list[str]) -> None:
    picture(root / "JPEGImages" / "a.png")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{box}</object>" for name in names)
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>", encoding="utf-8")


def createml(root: Path, names: list[str], keypoints: list[str]) -> None:
    picture(root / "a.png")
    place = {"x": 8, "y": 8, "width": 6, "height": 6}
    rows = [{"image": "a.png", "annotations": [{"label": name, "coordinates": place} for name in names]}]
    (root / "_annotations.createml.json").write_text(json.dumps(rows))


@pytest.mark.parametrize("write", [coco, yolo, labelme, voc, createml])
def test_names_are_read_on_one_line_and_the_doctor_says_so(write, tmp_path):
    # XML takes neither zero nor bell, and its tabs and line breaks around a name are layout.
    names = {
        name: plain
        for name, plain in WRITTEN.items()
        if write is not voc or name.isprintable() or plain in ("traffic light", "人 车")
    }
    keypoints = ["left\nhand", "right\x07 hand"]
    write(tmp_path, list(names), keypoints)
    annotations = open_annotations(tmp_path, "train")
    assert sorted(annotations.label_map.names) == sorted(names.values())
    if annotations.label_map.skeleton is not None:
        assert sorted(annotations.label_map.skeleton.names) == ["left hand", "right hand"]
    told = " ".join(annotations.notes)
    assert all(repr(name) in told for name in names)
    if write in (coco, yolo):
        assert all(repr(name) in told for name in keypoints)
    findings = {finding.kind: finding for finding in examine(tmp_path).findings}
    assert findings["trimmed_names"].count >= len(names)
    letters = findings["letters_not_in_font"]
    assert letters.count == 1 and "人车" in letters.examples[0] and letters.severity == "note"


def test_a_list_of_labels_is_read_by_the_same_rule(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("cat\x07\ndog\n")
    assert read_labels(str(tmp_path / "names.txt")).names == ("cat", "dog")
    assert r"'cat\x07' becomes 'cat'" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:12]))
def test_any_name_is_drawn(name):
    picture = np.zeros((64, 200, 3), np.uint8)
    labels = LabelMap((name, "other"), (1, 2))
    boxes, classes = torch.tensor([[1.0, 20, 60, 60]]), torch.tensor([0])
    found = Detections(
        boxes=boxes, scores=torch.ones(1), labels=classes, image_size=(64, 200), label_map=labels
    )
    assert draw_detections(picture, found).any()
    ignored = torch.zeros(1, dtype=torch.bool)
    targets = Targets(boxes=boxes, labels=classes, image_size=(64, 200), ignored=ignored)
    assert draw_targets(picture, targets, labels).any()


def scored(names: tuple[str, ...]):
    box = {"image_id": 1, "bbox": [10, 10, 50, 50]}
    rows = [{**box, "category_id": number, "id": number} for number in range(1, len(names) + 1)]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    evaluator = DetectionEvaluator(
        {"images": [{"id": 1}], "annotations": rows, "categories": categories}, LabelMap.from_names(names)
    )
    evaluator.update_results([{**row, "score": 0.9} for row in rows])
    return evaluator.result()


@pytest.mark.parametrize("start", range(0, len(NAMES), 8))
def test_any_name_stands_in_curves_and_reports(start, tmp_path):
    result = scored(NAMES[start : start + 8])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ElementTree.fromstring(pr_curves(result))
        path = write_report(
            tmp_path / "report.html",
            title=NAMES[start],
            settings={"name": NAMES[start]},
            records=[],
            before=None,
            result=result,
            pictures=[(NAMES[start], np.zeros((8, 8, 3), np.uint8))],
        )
    page = path.read_text(encoding="utf-8")
    assert page.count("<img") == 2 and "<b>&amp;</b>" not in page


def test_a_name_that_begins_with_a_line_has_its_place_in_the_legend():
    assert pr_curves(scored(("_a", "b"))).count(b"<!--") == pr_curves(scored(("aa", "b"))).count(b"<!--")


def test_what_the_font_lacks():
    assert missing_letters("traffic light é Ω") == "" and missing_letters("人a车人") == "人车"
    assert missing_letters("a\nb") == "", "line breaks are no letters"
    assert one_line("a \n\r b") == "a b" and MAX_LETTERS > 20
