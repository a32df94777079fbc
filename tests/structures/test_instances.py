"""Targets and Detections: rows stay together, frames are not mixed, nothing is lost on the way out."""

import json

import numpy as np
import pytest
import torch
from torch import tensor

from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap

PETS = LabelMap(("cat", "dog"), (17, 18))


def three(**extra) -> Detections:
    return Detections(
        boxes=tensor([[0.0, 0, 10, 20], [5, 5, 15, 9], [1, 2, 3, 4]]),
        scores=tensor([0.9, 0.5, 0.1]),
        labels=tensor([1, 0, 1]),
        image_size=(40, 30),
        label_map=PETS,
        **extra,
    )


def two_targets() -> Targets:
    return Targets(
        boxes=tensor([[0.0, 0, 10, 20], [5, 5, 15, 9]]),
        labels=tensor([0, 1]),
        image_size=(40, 30),
        ignored=tensor([True, False]),
        areas=tensor([7.0, 8.0]),
        image_id=3,
    )


@pytest.mark.parametrize(
    "index",
    [tensor([True, False, True]), tensor([0, 2]), [0, 2], slice(0, 3, 2)],
    ids=["mask", "ids", "list", "slice"],
)
def test_indexing_takes_the_same_rows_of_every_field(index):
    chosen = three(track_ids=tensor([7, 8, 9]), keypoints=torch.arange(6.0).view(3, 1, 2), image_id=4)[index]
    assert len(chosen) == 2
    assert chosen.names == ["dog", "dog"]
    assert chosen.track_ids.tolist() == [7, 9]
    assert chosen.keypoints.flatten().tolist() == [0, 1, 4, 5]
    assert (chosen.image_size, chosen.label_map, chosen.image_id) == ((40, 30), PETS, 4)


def test_a_bare_integer_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match=r"\[i:i\+1\]"):
        three()[0]


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"boxes must be \(n, 4\) xyxy pixels, got \(3, 5\)"):
        Detections(torch.zeros(3, 5), torch.zeros(3), torch.zeros(3, dtype=torch.long), (4, 4), PETS)
    with pytest.raises(ValueError, match="scores must have 3 rows like boxes, got 2"):
        Detections(torch.zeros(3, 4), torch.zeros(2), torch.zeros(3, dtype=torch.long), (4, 4), PETS)
    with pytest.raises(ValueError, match="areas must have 1 rows"):
        none = torch.zeros(1, dtype=torch.long)
        Targets(torch.zeros(1, 4), none, (4, 4), none.bool(), areas=torch.zeros(2))


def test_learnable_leaves_out_the_ignored():
    learnable = two_targets().learnable()
    assert learnable.labels.tolist() == [1] and learnable.areas.tolist() == [8] and learnable.image_id == 3
    assert len(Targets.empty((4, 5)).learnable()) == 0


def test_moving_takes_all_tensors_along():
    moved = two_targets().to("meta")
    assert {t.device.type for t in (moved.boxes, moved.labels, moved.ignored, moved.areas)} == {"meta"}


def test_above_is_inclusive_and_keeps_order():
    assert three().above(0.5).names == ["dog", "cat"]
    assert len(three().above(0.95)) == 0


def test_repr_is_short_and_says_what_is_there():
    assert repr(three()) == "Detections(3 in 40×30: dog 0.90, cat 0.50, dog 0.10)"
    assert repr(three().above(2.0)) == "Detections(0 in 40×30: )"


def test_dictionary_is_json_and_complete():
    report = json.loads(json.dumps(three(track_ids=tensor([7, 8, 9]), file="a.jpg").to_dict()))
    assert report["file"] == "a.jpg" and report["image_size"] == [40, 30]
    assert [entry["track_id"] for entry in report["objects"]] == [7, 8, 9]
    assert report["objects"][1]["name"] == "cat" and report["objects"][1]["box_xyxy"] == [5, 5, 15, 9]


def test_coco_results_have_file_ids_and_xywh():
    rows = three().to_coco(image_id=42)
    assert [row["category_id"] for row in rows] == [18, 17, 18]
    assert rows[1] == {"image_id": 42, "category_id": 17, "bbox": [5, 5, 10, 4], "score": 0.5}
    assert three(image_id=5).to_coco()[0]["image_id"] == 5
    with pytest.raises(ValueError, match="image_id"):
        three().to_coco()


def test_supervision_sees_the_same_objects():
    pytest.importorskip("supervision")
    theirs = three(
        track_ids=tensor([7, 8, 9]), masks=torch.zeros(3, 40, 30, dtype=torch.bool)
    ).to_supervision()
    np.testing.assert_array_equal(theirs.xyxy[1], [5, 5, 15, 9])
    assert theirs.class_id.tolist() == [1, 0, 1] and theirs.tracker_id.tolist() == [7, 8, 9]
    assert theirs.data["class_name"].tolist() == ["dog", "cat", "dog"]
    assert len(three().above(2.0).to_supervision()) == 0


def test_table_has_one_row_per_object():
    pytest.importorskip("pandas")
    table = three(file="a.jpg").to_pandas()
    assert list(table.columns) == ["file", "name", "score", "x1", "y1", "x2", "y2"]
    assert table["name"].tolist() == ["dog", "cat", "dog"] and table["x2"].tolist() == [10, 15, 3]
    assert len(three().above(2.0).to_pandas()) == 0


def test_plotting_without_a_picture_or_on_another_one_is_refused():
    with pytest.raises(ValueError, match="carry no picture"):
        three().plot()
    with pytest.raises(ValueError, match=r"\(40, 30\), got \(8, 8\)"):
        three().plot(np.zeros((8, 8, 3), np.uint8))
