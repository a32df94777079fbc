"""VIA: what its shapes enclose, which attribute is the class, what is left out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.examine import examine

RECT = {"name": "rect", "x": 1, "y": 2, "width": 10, "height": 5}
POLYGON = {"name": "polygon", "all_points_x": [1, 11, 11, 1], "all_points_y": [20, 20, 28, 28]}
CIRCLE = {"name": "circle", "cx": 20, "cy": 15, "r": 5}
ELLIPSE = {"name": "ellipse", "cx": 20, "cy": 15, "rx": 10, "ry": 4}


def region(shape: dict, **attributes: object) -> dict:
    return {"shape_attributes": shape, "region_attributes": attributes}


def save(root: Path, *regions: dict, name: str = "via.json") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(root / "a.png")
    entry = {"filename": "a.png", "size": 9, "regions": list(regions), "file_attributes": {}}
    (root / name).write_text(json.dumps({"a.png9": entry}))
    return root


def test_shapes_become_what_they_enclose(tmp_path: Path) -> None:
    tilted = {**ELLIPSE, "theta": np.pi / 2}
    shapes = (RECT, POLYGON, CIRCLE, ELLIPSE, tilted)
    annotations = open_annotations(save(tmp_path, *(region(shape, kind="dog") for shape in shapes)))
    boxes = annotations.targets(0).boxes.numpy()
    expected = [[1, 2, 11, 7], [1, 20, 11, 28], [15, 10, 25, 20], [10, 11, 30, 19], [16, 5, 24, 25]]
    assert np.allclose(boxes, expected, atol=1e-4)
    areas = annotations.targets(0).masks.flatten(1).sum(1).tolist()
    assert areas[:2] == [0, 80] and abs(areas[2] - np.pi * 25) < 6
    assert abs(areas[3] - np.pi * 40) < 8 and abs(areas[4] - areas[3]) < 4
    assert annotations.notes == () and annotations.sizes.tolist() == [[30, 40]]


def test_points_lines_and_nameless_regions_are_counted(tmp_path: Path) -> None:
    point, line = (
        {"name": "point", "cx": 1, "cy": 1},
        {"name": "polyline", "all_points_x": [1], "all_points_y": [1]},
    )
    save(tmp_path, region(RECT, kind="dog"), region(point, kind="dog"), region(line, kind="dog"))
    save(tmp_path, region(RECT, kind="dog"), region(RECT, kind=""), region(point, kind="dog"))
    notes = [note.split("via.json: ")[1] for note in open_annotations(tmp_path).notes]
    assert notes == [
        "regions without a class are no objects and are left out: 1",
        "regions of the shape point are no objects and are left out: 1",
    ]
    (finding,) = (each for each in examine(tmp_path).findings if each.kind == "shapes_left_out")
    assert finding.count == 2


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        ([{"kind": "dog"}, {"kind": "cat"}], ("cat", "dog")),
        ([{"kind": {"dog": True, "cat": False}}], ("dog",)),  # check boxes
        ([{"class": "dog", "colour": "red"}, {"class": 7}], ("7", "dog")),
        ([{}, {}], ("object",)),
        ([{"kind": " two\n words "}], ("two words",)),
    ],
)
def test_the_class_attribute(tmp_path: Path, attributes: list[dict], names: tuple[str, ...]) -> None:
    regions = (region({**RECT, "x": x}, **each) for x, each in enumerate(attributes))
    annotations = open_annotations(save(tmp_path, *regions))
    assert annotations.label_map.names == names and len(annotations.labels) == len(attributes)


def test_which_attribute_is_the_class_is_asked_and_the_remedy_works(tmp_path: Path) -> None:
    save(tmp_path, region(RECT, kind="dog", colour="red"))
    with pytest.raises(ValueError, match=r"several attributes \(colour, kind\) .* is the class 'class'"):
        open_annotations(tmp_path)
    save(tmp_path, region(RECT, **{"class": "dog", "colour": "red"}))
    annotations = open_annotations(tmp_path)
    assert annotations.label_map.names == ("dog",)
    assert annotations.notes[0].endswith("the class is the attribute 'class'; not read: colour")


def test_splits_share_their_classes(tmp_path: Path) -> None:
    save(tmp_path / "train", region(RECT, kind="dog"))
    save(tmp_path / "val", region(RECT, kind="cat"))
    assert open_annotations(tmp_path, "train").label_map == open_annotations(tmp_path, "val").label_map


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([region({"name": "rect", "x": 1}, kind="dog")], r"via\.json: a\.png: this rect is incomplete"),
        ([region(RECT, kind={"dog": True, "cat": True})], r"several values of 'kind' \(dog, cat\)"),
        ([{"region_attributes": {}}], r"a\.png: a region needs shape_attributes"),
        ([region(RECT, kind="")], "no region has a class; there is nothing to detect"),
    ],
)
def test_bad_regions_are_named(tmp_path: Path, regions: list[dict], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_annotations(save(tmp_path, *regions))
    assert [each.kind for each in examine(tmp_path).problems] == ["unreadable_annotations"]


def test_regions_of_via_1_are_numbered(tmp_path: Path) -> None:
    save(tmp_path, region(RECT, kind="dog"))
    content = json.loads((tmp_path / "via.json").read_text())
    content["a.png9"]["regions"] = {"0": content["a.png9"]["regions"][0]}
    (tmp_path / "via.json").write_text(json.dumps(content))
    assert len(open_annotations(tmp_path).labels) == 1


def test_a_missing_picture_of_unknown_size_stops_or_is_left_out(tmp_path: Path) -> None:
    save(tmp_path, region(RECT, kind="dog"))
    content = json.loads((tmp_path / "via.json").read_text())
    content["b.png9"] = {**content["a.png9"], "filename": "b.png"}
    (tmp_path / "via.json").write_text(json.dumps(content))
    with pytest.raises(FileNotFoundError, match=r"1 of 2 pictures are not in .*, the first is b\.png"):
        open_annotations(tmp_path)
    annotations = open_annotations(tmp_path, skip_missing=True)
    assert list(annotations.files) == ["a.png"] and annotations.notes[0].endswith(
        "no picture b.png; it is left out"
    )
    assert [each.kind for each in examine(tmp_path).problems] == ["missing_pictures"]
