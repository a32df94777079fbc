"""COCO files: what is read is what is written, and contradictions are named."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pagoda.data.formats.coco import from_coco_dict, read_coco, write_coco
from pagoda.ops.rle import unpack

DOCUMENT = {
    "images": [
        {"id": 7, "file_name": "b.jpg", "height": 400, "width": 300},
        {"id": 3, "file_name": "a.jpg", "height": 50, "width": 60},
    ],
    "categories": [{"id": 5, "name": "dog"}, {"id": 0, "name": "cat"}],
    "annotations": [
        {"id": 4, "image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4], "area": 10.5, "iscrowd": 0},
        {"id": 9, "image_id": 7, "category_id": 0, "bbox": [217.62, 240.54, 38.99, 57.75], "iscrowd": 1},
    ],
}


@pytest.fixture
def document() -> dict:
    return copy.deepcopy(DOCUMENT)


def read(document: dict, root: Path = Path("/pictures")):
    return from_coco_dict(document, root, "some.json")


def test_ids_of_any_kind_become_labels_and_back(document: dict) -> None:
    annotations = read(document)
    assert annotations.label_map.names == ("cat", "dog") and annotations.label_map.category_ids == (0, 5)
    assert annotations.targets(1).labels.tolist() == [1] and annotations.targets(1).image_id == 3
    assert annotations.targets(0).ignored.tolist() == [True]
    assert annotations.areas.tolist() == [38.99 * 57.75, 10.5]  # the file's area, else the box's
    by_id = {entry["id"]: entry for entry in annotations.to_coco()["annotations"]}
    for entry in document["annotations"]:
        assert by_id[entry["id"]] == entry | {"area": entry.get("area", 38.99 * 57.75)}


def test_text_ids_stay_text(document: dict) -> None:
    for entry in document["images"]:
        entry["id"] = f"image-{entry['id']}"
    for entry in document["annotations"]:
        entry["image_id"] = f"image-{entry['image_id']}"
    annotations = read(document)
    assert annotations.targets(0).image_id == "image-7"
    assert annotations.to_coco()["images"][1]["id"] == "image-3"


def change(path: list, value: object):
    def apply(document: dict) -> None:
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            change(["annotations", 0, "category_id"], 6),
            r"category 6 of 1 annotation, first annotation 4 of a.jpg; listed: 0, 5",
        ),
        (change(["annotations", 0, "category_id"], "dog"), "category 'dog' of 1 annotation"),
        (change(["annotations", 0, "category_id"], True), "category True of 1 annotation"),
        (change(["images", 0, "id"], 3), "one id stands for several images.*: id 3 of b.jpg and a.jpg"),
        (change(["images", 0, "id"], 3.5), "an image needs id and file_name, got {'id': 3.5"),
        (change(["images", 0, "file_name"], ""), "an image needs id and file_name, got {'id': 7"),
        (change(["images", 0], "b.jpg"), "an image needs id and file_name, got b.jpg"),
        (change(["categories", 0, "id"], 5.5), "category {'id': 5.5"),
        (change(["categories", 0, "id"], 2**63), "category {'id': 9223372036854775808"),
        (change(["categories"], []), "there are no categories"),
        (change(["categories", 0, "name"], " cat"), "id 0 or name 'cat' is given twice"),
        (change(["categories", 0, "name"], ["dog"]), "category {'id': 5, 'name': .'dog'"),
        (
            change(["annotations", 1, "bbox"], [1, 2, 3]),
            r"annotation 9 of b.jpg: bbox must be \[x, y, width, height\], got \[1, 2, 3\]",
        ),
        (change(["annotations", 1, "bbox"], None), "annotation 9 of b.jpg: no bbox .* and no segmentation"),
        (change(["annotations", 1, "bbox"], []), "annotation 9 of b.jpg: no bbox .* and no segmentation"),
        (change(["annotations", 1, "bbox"], [1, 2, "3 px", 4]), "got .1, 2, '3 px', 4"),
        (change(["annotations", 1, "bbox"], [1, 2, True, 4]), "got .1, 2, True, 4"),
        (change(["annotations", 1], "a box"), "an annotation must be an object, got a box"),
        (
            change(["annotations", 1, "iscrowd"], "maybe"),
            "annotation 9 of b.jpg: iscrowd must be 0 or 1 .*'maybe'",
        ),
    ],
)
def test_contradictions_are_named(document: dict, spoil, message: str) -> None:
    spoil(document)
    with pytest.raises(ValueError, match="^some.json cannot be read: .*" + message):
        read(document)


def test_all_contradictions_are_told_at_once(document: dict) -> None:
    document["annotations"] = [{**document["annotations"][0], "id": n, "bbox": "?"} for n in range(1, 10)]
    document["annotations"][0]["category_id"] = 7
    with pytest.raises(ValueError) as caught:
        read(document)
    boxes, categories = str(caught.value).splitlines()
    assert "a box is not four numbers (9): some.json: annotation 1 of a.jpg" in boxes
    assert boxes.endswith("; …. Write [x, y, width, height] in COCO, class cx cy width height in YOLO.")
    assert "category 7 of 1 annotation" in categories


@pytest.mark.parametrize(
    ("spoil", "field", "value", "note"),
    [
        (change(["annotations", 0, "category_id"], 5.0), "labels", [0, 1], None),
        (change(["annotations", 0, "category_id"], "5"), "labels", [0, 1], None),
        (change(["categories", 0, "id"], "5"), "labels", [0, 1], None),
        (change(["annotations", 1, "id"], 9.0), "annotation_ids", [9, 4], None),
        (change(["annotations", 0, "image_id"], 3.0), "annotation_ids", [9, 4], None),
        (change(["annotations", 0, "image_id"], "3"), "annotation_ids", [9, 4], "in another way"),
        (
            change(["annotations", 0, "bbox"], ["1", "2.5", 3, "4e0"]),
            "boxes_xywh", [[217.62, 240.54, 38.99, 57.75], [1, 2.5, 3, 4]], None,
        ),
        (change(["annotations", 1, "iscrowd"], "0"), "ignored", [False, False], None),
        (change(["annotations", 1, "iscrowd"], "True"), "ignored", [True, False], None),
        (change(["annotations", 1, "iscrowd"], ""), "ignored", [False, False], None),
        (change(["annotations", 0, "ignore"], 1), "ignored", [True, False], "ignore 1, iscrowd 0"),
        (change(["annotations", 0, "ignore"], "0"), "ignored", [True, False], None),
        (change(["annotations", 0, "area"], "10.5"), "areas", [38.99 * 57.75, 10.5], None),
        (change(["annotations", 0, "area"], "large"), "areas", [38.99 * 57.75, 12], "area large"),
        (change(["annotations", 0, "segmentation"], {}), "masks", None, None),
        (change(["annotations", 0, "segmentation"], []), "masks", None, None),
        (change(["annotations", 0, "segmentation"], ""), "masks", None, None),
        (change(["annotations", 0, "segmentation"], None), "masks", None, None),
        (change(["images", 1, "height"], "50"), "sizes", [[400, 300], [50, 60]], None),
        (change(["images", 1, "width"], 60.0), "sizes", [[400, 300], [50, 60]], None),
        (change(["images", 0, "id"], 2**63), "labels", [1], "no image has the id 7"),
    ],
)  # fmt: skip
def test_values_are_read_where_their_meaning_is_certain(
    document: dict, spoil, field: str, value: object, note: str | None
) -> None:
    spoil(document)
    annotations = read(document)
    column = getattr(annotations, field)
    assert (None if column is None else column.tolist()) == value
    assert [note in text for text in annotations.notes] == ([] if note is None else [True]), annotations.notes


@pytest.mark.parametrize(
    ("name", "read_as", "note"),
    [
        (0, "0", None), (1.5, "1.5", None), (False, "false", None), ("no", "no", None), ("a/b: c", "a/b: c", None),
        ("\ufeffcat dog ", "cat dog", "becomes 'cat dog'"), ("", "5", "category 5 has no name; it is called '5'"),
        (" ", "5", "has no name"), (None, "5", "has no name"),
    ],
)  # fmt: skip
def test_names_are_text(document: dict, name: object, read_as: str, note: str | None) -> None:
    document["categories"][0]["name"] = name
    annotations = read(document)
    assert annotations.label_map.names == ("cat", read_as)
    assert [note in text for text in annotations.notes] == ([] if note is None else [True])


def test_image_ids_of_any_length_and_of_two_kinds(document: dict) -> None:
    document["images"][0]["id"] = document["annotations"][1]["image_id"] = 2**70
    annotations = read(document)
    assert annotations.image_id(0) == 2**70 and annotations.targets(1).image_id == 3
    assert read(annotations.to_coco()).subset([1, 0]).image_id(1) == 2**70
    document["images"][0]["id"] = "seven"
    document["annotations"][1]["image_id"] = "seven"
    annotations = read(document)
    assert [annotations.image_id(index) for index in range(2)] == ["seven", "3"] and len(
        annotations.labels
    ) == 2
    assert "image ids are numbers and text; all are read as text" in annotations.notes[0]


def test_annotations_of_no_image_are_noted(document: dict) -> None:
    document["annotations"].append({"id": 1, "image_id": 99, "category_id": 5, "bbox": [0, 0, 1, 1]})
    annotations = read(document)
    assert len(annotations.labels) == 2
    assert annotations.notes == ("some.json: no image has the id 99; its 1 annotation is left out",)
    for entry in document["annotations"]:
        entry["image_id"] += 100
    with pytest.raises(ValueError, match=r"image_id 103, 107, 199 in annotations, id 7, 3 in images"):
        read(document)


@pytest.mark.parametrize(
    ("ids", "expected"), [((4, 4), [2, 1]), ((None, 4), [2, 1]), ((0, 4), [4, 5]), ((2**63, 4), [2, 1])]
)
def test_annotation_ids_that_mislead_scoring_are_replaced(
    document: dict, ids: tuple, expected: list[int]
) -> None:
    for entry, annotation_id in zip(document["annotations"], ids, strict=True):
        entry["id"] = annotation_id
    annotations = read(document)
    assert annotations.annotation_ids.tolist() == expected
    assert len(annotations.notes) == 1 and "annotation id" in annotations.notes[0]


def test_many_notes_of_one_kind_are_counted(document: dict) -> None:
    strays = [{**document["annotations"][0], "image_id": 100 + n} for n in range(25)]
    document["annotations"] += strays
    notes = read(document).notes
    assert len(notes) == 11 and notes[-1].startswith(
        "some.json: 25 in all: annotations name an image that is not"
    )


def test_missing_sizes_are_taken_from_the_pictures(document: dict, tmp_path: Path) -> None:
    del document["images"][0]["height"]
    Image.new("RGB", (30, 20)).save(tmp_path / "b.jpg")
    document["annotations"][1]["bbox"] = [1, 1, 2, 2]
    annotations = read(document, tmp_path)
    assert annotations.sizes.tolist() == [[20, 30], [50, 60]]
    assert annotations.notes == (
        "some.json: b.jpg has height None, width 300; its size is taken from the picture",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a JSON file"),
        ("[]", "annotations, categories, images missing, found a list"),
        ('{"images": [], "predictions": []}', "annotations, categories missing, found images, predictions"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"other\.json.*{message}"):
        read_coco(path, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "coco_tiny/annotations/instances_val.json",
        "nuclei/annotations/train.json",
        "mirror_mouse/annotations/train.json",
    ],
)
def test_real_files_survive_to_the_last_bit(shared_data: Path, tmp_path: Path, name: str) -> None:
    original = json.loads((shared_data / name).read_text())
    annotations = read_coco(shared_data / name, shared_data)
    write_coco(annotations, tmp_path / "copy.json")
    written = json.loads((tmp_path / "copy.json").read_text())
    found = {entry["id"]: entry for entry in written["annotations"]}
    assert len(found) == len(original["annotations"])
    for entry in original["annotations"]:
        mine, theirs = found[entry["id"]], {key: entry[key] for key in found[entry["id"]]}
        theirs_mask = theirs.get("segmentation")
        if isinstance(theirs_mask, dict) and isinstance(theirs_mask["counts"], list):
            # Runs that were written out come back packed: the same numbers.
            assert unpack(mine["segmentation"]["counts"]).tolist() == theirs_mask["counts"]
            mine["segmentation"] = theirs_mask
        assert mine == theirs
    assert [entry["id"] for entry in written["images"]] == [entry["id"] for entry in original["images"]]
    again = read_coco(tmp_path / "copy.json", shared_data)
    assert np.array_equal(again.boxes_xywh, annotations.boxes_xywh)


def test_coco_tiny_against_pycocotools(shared_data: Path) -> None:
    path = shared_data / "coco_tiny/annotations/instances_val.json"
    annotations, oracle = read_coco(path, shared_data), COCO(str(path))
    assert int(annotations.ignored.sum()) == 5 and len(annotations) == 50 and len(annotations.labels) == 382
    empty = 0
    for index in range(len(annotations)):
        targets = annotations.targets(index)
        entries = oracle.loadAnns(oracle.getAnnIds(imgIds=targets.image_id))
        empty += not entries
        names = [oracle.cats[entry["category_id"]]["name"] for entry in entries]
        assert [annotations.label_map.names[label] for label in targets.labels.tolist()] == names
        assert targets.ignored.tolist() == [bool(entry["iscrowd"]) for entry in entries]
        expected = np.array([entry["bbox"] for entry in entries]).reshape(-1, 4)
        expected[:, 2:] += expected[:, :2]
        assert np.allclose(targets.boxes.numpy(), expected, atol=0.01)  # two boxes end 0.01 beyond the border
    assert empty == 2


def many(boxes: list[list[float]]) -> dict:
    """Boxes in pictures of 40 × 20 pixels."""
    images = [{"id": n, "file_name": f"{n}.png", "height": 20, "width": 40} for n in range(len(boxes))]
    annotations = [{"id": n + 1, "image_id": n, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[0.1, 0.2, 0.5, 0.5], [0, 0, 1, 1]], "error"),
        ([[0, 0, 1, 1], [0, 0, 1, 1]], ""),  # clicks on the first pixel
        ([[0.1, 0.2, 0.5, 0.5], [3, 3, 4, 4]], ""),
        (
            [[20, 10, 38, 19], [5, 8, 39, 18], [1, 1, 5, 5]],
            "2 of 3 boxes leave their pictures, but all fit as corners",
        ),
        ([[20, 10, 38, 19], [5, 8, 20, 10], [5, 5, 30, 4]], ""),  # one is no corners
        ([[20, 10, 38, 19], [1, 1, 5, 5], [2, 2, 6, 6]], ""),
    ],
)
def test_shares_and_corners_are_told_from_boxes(boxes: list[list[float]], says: str) -> None:
    if says == "error":
        with pytest.raises(ValueError, match=r"shares of the picture, 0 … 1 \(2\): .*annotation 1 of 0\.png"):
            read(many(boxes))
        scaled = [[x * 40, y * 20, w * 40, h * 20] for x, y, w, h in boxes]
        assert read(many(scaled)).boxes_xywh[0].tolist() == [4, 4, 20, 10]
    else:
        notes = [note for note in read(many(boxes)).notes if "corners" in note]
        assert bool(notes) == bool(says) and says in " ".join(notes)


def test_images_named_by_their_files_are_found_and_said(document: dict) -> None:
    for entry, file in zip(document["annotations"], ("a.jpg", "b.jpg"), strict=True):
        entry["image_id"] = file
    annotations = read(document)
    assert [len(annotations.targets(index)) for index in range(2)] == [1, 1]
    assert annotations.targets(1).labels.tolist() == [1]
    assert annotations.notes == (
        "some.json: 2 annotations name their image by its file_name instead of its id",
    )
