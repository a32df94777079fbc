"""LabelMe folders: shapes become objects, groups hold together, the rest is named."""

import base64
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.examine import examine

SIZE = (30, 40)


def shape(label: object, kind: str | None, *points: tuple[float, float], group: int | None = None) -> dict:
    return {"label": label, "shape_type": kind, "points": [list(p) for p in points], "group_id": group}


def a_mask(label: str, pixels: np.ndarray, left: int, top: int) -> dict:
    buffer = BytesIO()
    Image.fromarray(pixels.astype(np.uint8) * 255).save(buffer, "png")
    height, width = pixels.shape
    entry = shape(label, "mask", (left, top), (left + width - 1, top + height - 1))
    return {**entry, "mask": base64.b64encode(buffer.getvalue()).decode()}


def write(folder: Path, name: str, *shapes: dict, **fields: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1]).save(folder / f"{name}.png")
    file = {"version": "5", "shapes": list(shapes), "imagePath": f"{name}.png"}
    file |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1], **fields}
    (folder / f"{name}.json").write_text(json.dumps(file))


def test_shapes_become_boxes_and_masks(tmp_path: Path) -> None:
    ring = np.ones((5, 6), bool)
    ring[2, 2:4] = False
    write(
        tmp_path,
        "a",
        shape("dog", "polygon", (1, 1), (11, 1), (11, 11), (1, 11)),
        shape("cat", "rectangle", (30, 20), (20, 10)),
        shape("cat", "circle", (20, 15), (20, 10)),
        a_mask("cat", ring, left=4, top=20),
    )
    write(tmp_path, "b", imageHeight=None, imageWidth=None)
    annotations = open_annotations(tmp_path)
    assert find_dataset(tmp_path).describe().startswith(f"LabelMe data set in {tmp_path}: train")
    assert annotations.label_map.names == ("cat", "dog") and annotations.notes == ()
    targets = annotations.targets(0)
    assert [annotations.label_map.names[label] for label in targets.labels] == ["dog", "cat", "cat", "cat"]
    assert targets.boxes.tolist() == [[1, 1, 11, 11], [20, 10, 30, 20], [15, 10, 25, 20], [4, 20, 10, 25]]
    areas = targets.masks.flatten(1).sum(1).tolist()
    assert areas[:2] == [100, 0] and abs(areas[2] - np.pi * 25) < 6 and areas[3] == 28
    assert np.array_equal(targets.masks[3, 20:25, 4:10].numpy(), ring), "the hole survives"
    picture, empty = DetectionDataset(annotations)[1]
    assert len(empty) == 0 and empty.masks.shape == (0, *SIZE) and picture.shape[1:] == SIZE


def test_groups_are_one_object_with_its_keypoints(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a",
        shape("dog", "polygon", (0, 0), (5, 0), (5, 5), (0, 5), group=1),
        shape("dog", "polygon", (10, 0), (15, 0), (15, 5), (10, 5), group=1),
        shape("right_ear", "point", (12, 2), group=1),
        shape("left_ear", "point", (2, 2), group=1),
        shape("dog", "rectangle", (20, 0), (25, 5), group=2),
        shape("nose", "point", (21, 3), group=2),
    )
    annotations = open_annotations(tmp_path)
    targets = annotations.targets(0)
    assert targets.boxes.tolist() == [[0, 0, 15, 5], [20, 0, 25, 5]]
    assert targets.masks.flatten(1).sum(1).tolist() == [50, 0]
    skeleton = annotations.label_map.skeleton
    assert skeleton.names == ("left_ear", "nose", "right_ear") and skeleton.flip_pairs == ((0, 2),)
    assert targets.visibility.tolist() == [[2, 0, 2], [0, 2, 0]]
    assert targets.keypoints[0, [0, 2]].tolist() == [[2, 2], [12, 2]]


QUADRILATERAL = ((5, 5), (15, 10), (10, 20), (0, 15))


def test_oriented_rectangles(tmp_path: Path) -> None:
    write(tmp_path, "a", shape("dog", "oriented_rectangle", *QUADRILATERAL))
    targets = open_annotations(tmp_path).targets(0)
    assert targets.boxes.tolist() == [[0, 5, 15, 20]] and abs(int(targets.masks.sum()) - 125) < 10


def test_shapes_of_x_anylabeling(tmp_path: Path) -> None:
    corners = [(20, 10), (30, 10), (30, 20), (20, 20)]
    write(
        tmp_path,
        "a",
        shape("dog", "rotation", *QUADRILATERAL) | {"direction": 0.4},
        shape("dog", "quadrilateral", *QUADRILATERAL),
        shape("dog", "rectangle", *corners) | {"difficult": True, "score": 0.5},
        shape(3, "rectangle", (1, 1), (4, 4)),
        shape("dog", None, *QUADRILATERAL),
        shape("dog", "line", (0, 0), (5, 5)),
        shape("dog", None, (0, 0), (5, 5)),
    )
    annotations = open_annotations(tmp_path)
    boxes = annotations.targets(0).boxes.tolist()
    assert boxes == [[0, 5, 15, 20], [0, 5, 15, 20], [20, 10, 30, 20], [1, 1, 4, 4], [0, 5, 15, 20]]
    areas = annotations.targets(0).masks.flatten(1).sum(1).tolist()
    assert areas[0] == areas[1] == areas[4] and abs(areas[0] - 125) < 10 and areas[2:4] == [0, 0]
    assert annotations.label_map.names == ("3", "dog")
    assert [note.split(": ", 1)[1] for note in annotations.notes] == [
        "shape 6 ('dog') is a line, which is no area; it is left out",
        "shape 7 ('dog') is a polygon of 2 points, which encloses nothing; it is left out",
        "1 shape is marked difficult and ignored, as in VOC",
    ]


def test_the_doctor_tells_what_was_left_out_from_what_is_ignored(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a",
        shape("dog", "rectangle", (20, 10), (30, 20)),
        shape("cat", "rectangle", (2, 1), (9, 8)) | {"difficult": True},
        shape("dog", "polygon", (0, 0), (5, 5)),
        shape("click", "point", (3, 3)),
    )
    findings = {finding.kind: finding for finding in examine(tmp_path).findings}
    assert list(findings["shapes_left_out"].examples) == [
        f"{tmp_path / 'a.json'}: shape 4 ('click') is a point of no group; it is left out"
    ]
    short = findings["short_polygons"]
    assert "shape 3 ('dog') is a polygon of 2 points" in short.examples[0] and "group" not in short.message
    assert findings["difficult_objects"].severity == "note"
    assert findings["ignored_classes"].examples == ("cat: 1 object",) and "empty_classes" not in findings


def test_pictures_inside_their_files(tmp_path: Path) -> None:
    buffer = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "png")
    data = base64.b64encode(buffer.getvalue()).decode()
    write(tmp_path, "a", shape("dog", "rectangle", (1, 1), (9, 9)), imageData=data, imageHeight=None)
    write(tmp_path, "b", shape("dog", "rectangle", (1, 1), (9, 9)), imageData=data, imagePath="..\\b.png")
    (tmp_path / "a.png").unlink()
    dataset = DetectionDataset(open_annotations(tmp_path))
    assert np.array_equal(dataset.picture(0).permute(1, 2, 0).numpy(), pixels)
    assert not dataset.picture(1).any(), "a picture on disk comes first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json", "b.png"], (
        "nothing is written"
    )
    assert any("1 picture is read from imageData" in note for note in dataset.annotations.notes)
    report = examine(tmp_path)
    assert report.problems == () and report.statistics["pictures_opened"] == 2, report.text()


def test_a_file_without_its_picture_is_a_missing_one(tmp_path: Path) -> None:
    write(tmp_path, "a", shape("dog", "rectangle", (1, 1), (9, 9)))
    write(tmp_path, "b", shape("dog", "rectangle", (1, 1), (9, 9)))
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 pictures are not in .*, the first is a\.png"):
        open_annotations(tmp_path)
    assert list(open_annotations(tmp_path, skip_missing=True).files) == ["b.png"]


def test_files_in_sub_folders_are_read(tmp_path: Path) -> None:
    box = shape("dog", "rectangle", (1, 1), (9, 9))
    for place in (".", "one", "one/deep", "two"):
        write(tmp_path / place, "a", box)
    annotations = open_annotations(tmp_path)
    assert list(find_dataset(tmp_path).splits) == ["train"] and len(annotations) == 4
    assert sorted(annotations.files) == ["a.png", "one/a.png", "one/deep/a.png", "two/a.png"]
    for place in ("labels/train", "labels/val"):
        write(tmp_path / "sets" / place, "a", box)
    write(tmp_path / "sets", "left", box)
    layout = find_dataset(tmp_path / "sets")
    assert (
        list(layout.splits) == ["train", "val"]
        and "1 annotation file belongs to no split" in layout.describe()
    )


def test_other_json_files_beside_are_no_labelme_files(tmp_path: Path) -> None:
    write(tmp_path, "a", shape("dog", "rectangle", (1, 1), (9, 9)))
    (tmp_path / "classes.json").write_text('["dog"]')
    annotations = open_annotations(tmp_path)
    assert len(annotations) == 1 and annotations.notes[0].endswith("is no LabelMe file; it is not read")
    (tmp_path / "b.json").write_text("")  # cut off
    with pytest.raises(ValueError, match=r"b\.json is not a JSON file"):
        open_annotations(tmp_path)


def test_a_missing_flip_order_is_asked_for_in_labelme(tmp_path: Path) -> None:
    dog = shape("dog", "rectangle", (1, 1), (9, 9), group=1)
    write(tmp_path, "a", dog, shape("nose", "point", (2, 2), group=1))
    skeleton = open_annotations(tmp_path).label_map.skeleton
    assert skeleton.flip_pairs is None and skeleton.flip_remedy.startswith(
        "call the points that change places left_"
    )


def test_splits_share_their_classes(tmp_path: Path) -> None:
    square = ((0, 0), (5, 0), (5, 5))
    write(tmp_path / "train", "a", shape("dog", "polygon", *square))
    write(tmp_path / "valid", "b", shape("cat", "polygon", *square))
    assert list(find_dataset(tmp_path).splits) == ["train", "val"]
    assert open_annotations(tmp_path, "train").label_map == open_annotations(tmp_path, "val").label_map


def test_what_is_no_object_is_noted(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a",
        shape("dog", "polygon", (0, 0), (5, 0), (5, 5)),
        shape("way", "linestrip", (0, 0), (5, 0)),
        shape("click", "point", (3, 3)),
        shape("ear", "point", (3, 3), group=9),
    )
    notes = open_annotations(tmp_path).notes
    assert [note.split("a.json: ")[1] for note in notes] == [
        "shape 2 ('way') is a linestrip, which is no area; it is left out",
        "shape 3 ('click') is a point of no group; it is left out",
        "1 point of group 9 belongs to no object; left out",
    ]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (shape("dog", "circle", (0, 0)), r"a\.json: a circle \('dog'\) needs at least 2 points, got 1"),
        (shape("dog", "line", (0, 0), (5, 5)), "no LabelMe file has a polygon, rectangle, circle, mask"),
        ({"points": [[1, 2]]}, r"a\.json: shape 1: a LabelMe file has shapes, each with label and"),
        (
            a_mask("dog", np.ones((9, 9), bool), 35, 0),
            r"mask of 'dog' is 9×9 .* not inside the picture of 30×40",
        ),
    ],
)
def test_bad_files_are_named(tmp_path: Path, bad: dict, message: str) -> None:
    write(tmp_path, "a", bad)
    with pytest.raises(ValueError, match=message):
        open_annotations(tmp_path)


def test_a_folder_of_other_json_files_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"is no data set we know: looked for .*LabelMe"):
        find_dataset(tmp_path)


@pytest.mark.parametrize(
    ("changes", "ignored"),
    [
        ({"flags": {"difficult": True}}, True),
        ({"flags": {"difficult": "0"}}, False),
        ({"difficult": "true"}, True),
        ({"difficult": False}, False),
        ({"flags": None}, False),
    ],
)
def test_values_of_shapes(tmp_path: Path, changes: dict, ignored: bool) -> None:
    box = {"label": 7, "shape_type": "rectangle", "points": [["1", "2.5"], [9, "9.0"]]}
    write(tmp_path, "a", box | changes, imageHeight="30", imageWidth=40.0)
    annotations = open_annotations(tmp_path)
    assert annotations.label_map.names == ("7",) and annotations.sizes.tolist() == [[30, 40]]
    assert annotations.boxes.tolist() == [[1, 2.5, 9, 9]] and annotations.ignored.tolist() == [ignored]


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    box = shape("dog", "rectangle", (1, 1), (9, 9))
    write(tmp_path, "a", box, {**box, "label": ""}, {**box, "difficult": "maybe"})
    write(tmp_path, "b", {**box, "points": [[1, "x"], [2, 3]]}, {**box, "shape_type": "mask", "mask": "?"})
    (tmp_path / "c.json").write_text('{"shapes": [')
    with pytest.raises(ValueError, match="cannot be read") as caught:
        open_annotations(tmp_path)
    told = str(caught.value)
    assert "(4)" in told and "a.json: shape 2" in told and "difficult must be 0 or 1" in told
    assert "b.json: shape 1" in told and "c.json is not a JSON file" in told
    report = examine(tmp_path)
    found = {finding.kind: finding.count for finding in report.findings if finding.stops}
    assert found == {"unreadable_annotations": 1, "malformed_shapes": 4}
