"""Label Studio's own JSON: percent of the picture, turned boxes as what they cover, the rest counted."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.data.formats.reader import open_annotations

SIZE_WH = (1000, 500)


def result(kind: str, **value: object) -> dict:
    sizes = {"original_width": SIZE_WH[0], "original_height": SIZE_WH[1]}
    return {"type": kind, "from_name": "label", "value": {kind: ["dog"], **value}, **sizes}


def save(root: Path, *results: dict, picture: str = "/data/upload/1/0f-a.png", **annotation: object) -> Path:
    Image.new("RGB", SIZE_WH).save(root / "0f-a.png")
    task = {"id": 7, "data": {"image": picture}, "annotations": [{"result": list(results), **annotation}]}
    (root / "project.json").write_text(json.dumps([task]))
    return root


RECT = result("rectanglelabels", x=50, y=50, width=20, height=10, rotation=0)


@pytest.mark.parametrize(
    ("degrees", "box"),
    [
        (0, [500, 250, 200, 50]),
        (90, [450, 250, 50, 200]),  # about its top left corner, clockwise
        (180, [300, 200, 200, 50]),
        (270, [500, 50, 50, 200]),
        (45, [500 - 50 * np.sqrt(0.5), 250, 250 * np.sqrt(0.5), 250 * np.sqrt(0.5)]),
    ],
)
def test_turned_boxes_are_recomputed(tmp_path: Path, degrees: float, box: list[float]) -> None:
    turned = result("rectanglelabels", x=50, y=50, width=20, height=10, rotation=degrees)
    annotations = open_annotations(save(tmp_path, turned))
    assert np.allclose(annotations.boxes_xywh, [box])
    assert (annotations.masks is None) == (degrees == 0)
    if degrees:
        assert abs(int(annotations.targets(0).masks.sum()) - 10_000) < 300, "the area stays"


def test_polygons_and_ellipses(tmp_path: Path) -> None:
    polygon = result("polygonlabels", points=[[10, 10], [20, 10], [20, 30]])
    ellipse = result("ellipselabels", x=50, y=50, radiusX=10, radiusY=10)
    boxes = open_annotations(save(tmp_path, polygon, ellipse)).boxes_xywh
    assert np.allclose(boxes, [[100, 50, 100, 100], [400, 200, 200, 100]], atol=1e-6)


def test_what_is_no_object_is_counted(tmp_path: Path) -> None:
    brush, nameless = result("brushlabels", rle=[1]), result("rectanglelabels", x=1, y=1, width=1, height=1)
    nameless["value"]["rectanglelabels"] = []
    notes = [
        note.split("project.json: ")[1]
        for note in open_annotations(save(tmp_path, RECT, brush, nameless)).notes
    ]
    assert notes[:2] == [
        "results of the type brushlabels are left out: 1",
        "rectangles without a label are left out: 1",
    ]


def test_cancelled_annotations_do_not_count(tmp_path: Path) -> None:
    save(tmp_path, RECT)
    tasks = json.loads((tmp_path / "project.json").read_text())
    tasks[0]["annotations"] = [{"result": [RECT, RECT], "was_cancelled": True}, *tasks[0]["annotations"] * 2]
    (tmp_path / "project.json").write_text(json.dumps(tasks))
    annotations = open_annotations(tmp_path)
    assert len(annotations.labels) == 1
    assert "annotations of tasks that have an earlier one are left out: 1" in annotations.notes[0]


def test_bad_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"project\.json: task 7: a broken rectanglelabels"):
        open_annotations(save(tmp_path, RECT, result("rectanglelabels", x=1)))


def test_tasks_that_nobody_has_looked_at_are_no_pictures_without_objects(tmp_path: Path) -> None:
    save(tmp_path, RECT)
    done = json.loads((tmp_path / "project.json").read_text())[0]
    open_task = {**done, "id": 8, "annotations": [], "predictions": [{"result": [RECT]}]}
    skipped = {**done, "id": 9, "annotations": [{"result": [RECT], "was_cancelled": True}]}
    empty = {**done, "id": 10, "annotations": [{"result": []}], "data": {"image": "b.png"}}
    Image.new("RGB", SIZE_WH).save(tmp_path / "b.png")
    # Long enough that nothing of a result stands in the first 64 kB.
    tasks = [{**open_task, "meta": {"text": "x" * 70_000}}, skipped, done, empty]
    (tmp_path / "project.json").write_text(json.dumps(tasks))
    annotations = open_annotations(tmp_path)
    assert (annotations.files.tolist(), annotations.counts()) == (["0f-a.png", "b.png"], {"dog": 1})
    assert any("tasks without an annotation are left out: 2" in note for note in annotations.notes)


def labels(kind: str, *names: object, **place: object) -> list[dict]:
    """As two tools make it: one result with the place, one with the place and the labels."""
    alone = {**result(kind, **place), "id": "r1"}
    alone["value"].pop(kind)
    value = {**alone["value"], "labels": list(names)}
    return [alone, {**alone, "type": "labels", "value": value}]


PLACE = {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 0}
MIN = {**result("rectanglelabels", **PLACE)["value"], "original_width": 1000, "original_height": 500}


@pytest.mark.parametrize(
    ("task", "counts", "note"),
    [
        ({"annotations": [{"result": labels("rectangle", "cat", **PLACE)}]}, {"cat": 1}, None),
        ({"completions": [{"result": [RECT]}]}, {"dog": 1}, None),
        ({"data": {"text": "a dog", "img": "/data/upload/1/0f-a.png"}}, {"dog": 1}, None),
        ({"data": {"img": "/data/upload/1/0123abcd-0f-a.png"}}, {"dog": 1}, "Label Studio puts before"),
        (
            {
                "annotations": [
                    {"result": [result("rectanglelabels", **PLACE, rectanglelabels=["cat", "small"])]}
                ]
            },
            {"cat": 1},
            "further labels of an object are left out: 1",
        ),
        (
            {"annotations": [{"result": [result("rectanglelabels", **PLACE, rectanglelabels=[" cat "])]}]},
            {"cat": 1},
            "' cat ' becomes 'cat'",
        ),
        ({"annotations": None, "data": None, "image": "x/0f-a.png", "label": [MIN]}, {"dog": 1}, None),
    ],
    ids=[
        "labels for any shape",
        "completions",
        "picture under another key",
        "upload",
        "two labels",
        "spaces",
        "JSON-MIN",
    ],
)
def test_what_versions_and_tools_write(tmp_path: Path, task: dict, counts: dict, note: str | None) -> None:
    save(tmp_path, RECT)
    whole = json.loads((tmp_path / "project.json").read_text())[0] | task
    (tmp_path / "project.json").write_text(json.dumps([{k: v for k, v in whole.items() if v is not None}]))
    annotations = open_annotations(tmp_path)
    assert (annotations.counts(), annotations.boxes_xywh.tolist()) == (counts, [[500, 250, 200, 50]])
    assert note is None or any(note in each for each in annotations.notes), annotations.notes


def test_predictions_alone_are_told_what_to_do(tmp_path: Path) -> None:
    save(tmp_path, RECT)
    (task,) = json.loads((tmp_path / "project.json").read_text())
    task |= {"annotations": [], "predictions": task["annotations"]}
    (tmp_path / "project.json").write_text(json.dumps([task]))
    with pytest.raises(ValueError, match=r"predictions are not read: .*Create Annotations From Predictions"):
        open_annotations(tmp_path)
