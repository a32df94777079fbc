"""Label Studio's own JSON: percent of the picture, turned boxes as what they cover, the rest counted."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.data.formats.layouts import open_annotations

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
        "1 results of the type brushlabels are left out",
        "1 rectangles without a label are left out",
    ]


def test_cancelled_annotations_do_not_count(tmp_path: Path) -> None:
    save(tmp_path, RECT)
    tasks = json.loads((tmp_path / "project.json").read_text())
    tasks[0]["annotations"] = [{"result": [RECT, RECT], "was_cancelled": True}, *tasks[0]["annotations"] * 2]
    (tmp_path / "project.json").write_text(json.dumps(tasks))
    annotations = open_annotations(tmp_path)
    assert len(annotations.labels) == 1
    assert "1 annotations of tasks that have an earlier one are left out" in annotations.notes[0]


def test_bad_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"project\.json: task 7: a broken rectanglelabels"):
        open_annotations(save(tmp_path, RECT, result("rectanglelabels", x=1)))
