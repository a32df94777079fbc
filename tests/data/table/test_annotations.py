"""Flat arrays say the same as plain lists of objects would."""

import json
import pickle
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import ImageColumns, ObjectColumns, assemble, concatenate
from pagoda.data.table.strings import PackedStrings
from pagoda.structures.labels import LabelMap

pytestmark = pytest.mark.medium

PETS = LabelMap(("cat", "dog"), (17, 18))


def build(
    objects: list[tuple[int, tuple[float, float, float, float], int, bool]],
    num_images: int = 3,
    label_map: LabelMap = PETS,
    **images: list,
) -> Annotations:
    columns = ObjectColumns()
    for entry in objects:
        columns.add(*entry)
    files = images.get("files", [f"{index}.jpg" for index in range(num_images)])
    ids = images.get("ids", list(range(10, 10 + num_images)))
    images_columns = ImageColumns(files, ids, [(100, 200)] * num_images)
    root = images.get("root", Path("/pictures"))
    return assemble(
        images_columns, columns, label_map=label_map, root=root, source=images.get("source", "here")
    )


@given(st.lists(st.text()))
def test_packed_strings_are_a_list_of_strings(strings: list[str]) -> None:
    packed = PackedStrings.pack(strings)
    assert list(packed) == strings and len(packed) == len(strings)
    assert [packed[index - len(strings)] for index in range(len(strings))] == strings
    backwards = np.arange(len(strings))[::-1]
    assert list(packed.take(backwards)) == strings[::-1]


def test_packed_strings_end() -> None:
    packed = PackedStrings.pack(["a", "b"])
    for index in (2, -3):
        with pytest.raises(IndexError):
            packed[index]


def test_targets_are_the_objects_of_their_image() -> None:
    annotations = build(
        [(2, (1, 2, 3, 4), 1, False), (0, (5, 5, 10, 20), 0, True), (2, (0, 0, 9, 9), 0, False)]
    )
    targets = annotations.targets(2)
    assert targets.boxes.tolist() == [[1, 2, 4, 6], [0, 0, 9, 9]]
    assert (targets.boxes.dtype, targets.labels.dtype) == (torch.float32, torch.int64)
    assert (
        targets.labels.tolist() == [1, 0] and targets.areas is not None and targets.areas.tolist() == [12, 81]
    )
    assert (targets.image_size, targets.image_id, targets.file) == ((100, 200), 12, "2.jpg")
    assert annotations.targets(0).ignored.tolist() == [True]
    assert len(annotations.targets(1)) == 0 and annotations.targets(1).boxes.shape == (0, 4)
    assert annotations.targets(-1).image_id == 12
    assert annotations.path(2) == Path("/pictures/2.jpg")
    assert annotations.counts() == {"cat": 2, "dog": 1}
    with pytest.raises(IndexError, match="image 3 of 3 in here"):
        annotations.targets(3)


def test_the_caller_may_change_targets() -> None:
    annotations = build([(0, (1, 2, 3, 4), 1, False)])
    annotations.targets(0).boxes.zero_()
    annotations.targets(0).labels.zero_()
    assert annotations.targets(0).boxes.tolist() == [[1, 2, 4, 6]] and annotations.targets(
        0
    ).labels.tolist() == [1]


@pytest.mark.parametrize(
    ("box", "learnt", "note"),
    [
        ((10, 10, 5, 5), [[10, 10, 15, 15]], None),
        ((-5, 90, 10, 20), [[0, 90, 5, 100]], None),  # partly outside: cut
        ((0, 0, 200, 100), [[0, 0, 200, 100]], None),
        ((10, 10, 0, 5), [], "has no area; it is not learnt"),
        ((10, 10, -3, 5), [], "has no area; it is not learnt"),
        ((200, 10, 5, 5), [], r"no area inside the picture of \(height, width\) \(100, 200\)"),
        ((-9, 10, 5, 5), [], "no area inside the picture"),
        ((10, 10, 1e-9, 5), [], "no area inside the picture"),  # vanishes in float32
        ((10, 10, float("nan"), 5), [], "not made of finite numbers; it is left out"),
        ((float("inf"), 10, 5, 5), [], "not made of finite numbers; it is left out"),
    ],
)
def test_what_cannot_be_learnt_is_noted(box: tuple, learnt: list, note: str | None) -> None:
    annotations = build([(1, (1, 1, 2, 2), 0, False), (1, box, 1, False)])
    assert annotations.targets(1).boxes.tolist() == [[1, 1, 3, 3], *learnt]
    if note is None:
        assert annotations.notes == ()
    else:
        (only,) = annotations.notes
        assert only.startswith("1.jpg: box 2 (annotation 2), x, y, width, height = ")
        assert re.search(note, only)
    kept = [list(box)] if np.isfinite(box).all() else []
    assert [entry["bbox"] for entry in annotations.to_coco()["annotations"]] == [[1, 1, 2, 2], *kept]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.tuples(*[st.floats(-50, 250)] * 2, *[st.floats(0.5, 90)] * 2),
            st.integers(0, 1),
            st.booleans(),
        )
    ),
    st.lists(st.integers(-5, 4)),
)
def test_subsets_and_joins_against_plain_loops(objects: list, indices: list[int]) -> None:
    whole = build(objects, 5)
    part = whole.subset(indices)
    assert len(part) == len(indices)
    for position, index in enumerate(indices):
        for field in ("boxes", "labels", "ignored", "areas"):
            assert torch.equal(getattr(part.targets(position), field), getattr(whole.targets(index), field))
        assert part.image_id(position) == whole.image_id(index) and part.path(position) == whole.path(index)
    chosen = np.isin(np.arange(5), indices)
    left, right = whole.subset(chosen), whole.subset(~chosen)
    joined = concatenate([left, right])
    assert joined.to_coco()["annotations"] == left.to_coco()["annotations"] + right.to_coco()["annotations"]
    assert joined.to_coco()["images"] == left.to_coco()["images"] + right.to_coco()["images"]


def test_to_coco_is_the_plain_document() -> None:
    annotations = build([(1, (0.1, 0.2, 0.3, 0.7), 1, True)], 2, ids=["a", "b"])
    document = json.loads(json.dumps(annotations.to_coco()))
    assert document["images"][1] == {"id": "b", "file_name": "1.jpg", "height": 100, "width": 200}
    assert document["categories"] == [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    (entry,) = document["annotations"]
    assert entry == {
        "id": 1,
        "image_id": "b",
        "category_id": 18,
        "bbox": [0.1, 0.2, 0.3, 0.7],
        "area": 0.3 * 0.7,
        "iscrowd": 1,
    }
    assert annotations.boxes.tolist() == [[0.1, 0.2, 0.1 + 0.3, 0.2 + 0.7]]


def test_wrong_indices_are_refused() -> None:
    annotations = build([])
    with pytest.raises(IndexError, match="below the 3 images, got 0 … 3"):
        annotations.subset([0, 3])
    with pytest.raises(ValueError, match=r"one bool per image \(3\), got \(2,\)"):
        annotations.subset(np.array([True, False]))
    assert len(annotations.subset([])) == 0 and annotations.subset([]).to_coco()["images"] == []


def test_joins_keep_ids_apart_and_find_the_pictures() -> None:
    first = build([(0, (1, 1, 2, 2), 0, False)], 2, root=Path("/data/train"), source="train.json")
    second = build([(1, (3, 3, 4, 4), 1, False)], 2, root=Path("/data/val"), source="val.json")
    joined = concatenate([first, second])
    assert joined.root == Path("/data") and joined.path(3) == Path("/data/val/1.jpg")
    assert [joined.image_id(index) for index in range(4)] == [1, 2, 3, 4]
    assert joined.annotation_ids.tolist() == [1, 2] and joined.source == "train.json + val.json"
    assert [note.split(":")[0] for note in joined.notes] == [
        "image ids of train.json + val.json meet twice",
        "annotation ids of train.json + val.json meet twice",
    ]
    assert "2 pictures stand in more than one of" in concatenate([first, first]).notes[-1]


def test_joins_need_equal_classes() -> None:
    first, other = build([]), build([], label_map=LabelMap(("cat", "horse"), (17, 19)), source="there")
    with pytest.raises(
        ValueError, match=r"'dog' .category id 18. stands only in here; 'horse' .* only in there"
    ):
        concatenate([first, other])
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])


def million_boxes() -> Annotations:
    count, num_images = 1_000_000, 100_000
    images = ImageColumns(
        [f"{i:012d}.jpg" for i in range(num_images)], range(num_images), [(480, 640)] * num_images
    )
    objects = ObjectColumns(
        owners=np.arange(count) % num_images,
        boxes_xywh=np.tile([10.0, 20.0, 30.0, 40.0], (count, 1)),
        labels=np.zeros(count, int),
        ignored=np.zeros(count, bool),
    )
    return assemble(images, objects, label_map=PETS, root=Path("/pictures"), source="a million")


def test_a_million_boxes_are_their_arrays_and_nothing_else() -> None:
    tracemalloc.start()
    try:
        annotations = million_boxes()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Bytes. Object: box 32, label 4, ignored 1, area 8, id 8. Image: name 16 + 8, id 8, size 8, offset 8.
    assert annotations.nbytes == 1_000_000 * 53 + 100_000 * 48 + 16
    assert held < annotations.nbytes * 1.01 + 100_000
    assert len(pickle.dumps(annotations)) < annotations.nbytes * 1.01 + 10_000
