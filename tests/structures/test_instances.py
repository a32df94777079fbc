"""Targets and Detections: rows stay together, frames are not mixed, nothing is lost on the way out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import tensor

from pagoda.ops.rle import decode_masks
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton
from pagoda.structures.tracks import Tracks

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


def posed() -> Detections:
    masks = torch.zeros(3, 40, 30, dtype=torch.bool)
    masks[0, :20, :10] = True
    masks[0, 5:9, 2:4] = False  # a hole
    masks[1, 5:9, 5:15] = True
    points = torch.arange(12.0).view(3, 2, 2)
    labels = LabelMap(PETS.names, PETS.category_ids, Skeleton(("nose", "tail")))
    found = three(masks=masks, keypoints=points, keypoint_scores=torch.full((3, 2), 0.5))
    return replace(found, label_map=labels)


def test_masks_and_keypoints_go_out_as_coco_writes_them():
    rows = json.loads(json.dumps(posed().to_coco(image_id=1)))
    assert rows[1]["keypoints"] == [4, 5, 0.5, 6, 7, 0.5]
    texts = [row["segmentation"]["counts"] for row in rows]
    assert rows[0]["segmentation"]["size"] == [40, 30]
    assert np.array_equal(decode_masks(texts, (40, 30)), posed().masks.numpy())
    (entry, *_) = posed().to_dict()["objects"]
    assert entry["segmentation"] == rows[0]["segmentation"] and entry["keypoints"] == rows[0]["keypoints"]
    without_scores = replace(posed(), keypoint_scores=None).to_coco(image_id=1)
    assert without_scores[0]["keypoints"] == [0, 1, 1, 2, 3, 1]
    empty = posed().above(2.0)
    assert empty.to_coco(image_id=1) == [] and empty.to_dict()["objects"] == []


def test_keypoints_go_out_with_their_names_and_without_nan():
    found = posed()
    found.keypoints[0, 1] = float("nan")
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["objects"][0]["keypoints"] == [0, 1, 0.5, None, None, 0.5]
    assert Skeleton.from_dict(plain["skeleton"]) == found.label_map.skeleton
    rows = json.loads(json.dumps(found.to_coco(image_id=1), allow_nan=False))
    assert rows[0]["keypoints"] == [0, 1, 0.5, 0, 0, 0] and rows[1]["keypoints"] == [4, 5, 0.5, 6, 7, 0.5]
    for nameless in (found.above(2.0), three(), replace(found, label_map=PETS)):
        assert "skeleton" not in nameless.to_dict()


def test_masks_and_keypoints_in_supervision():
    pytest.importorskip("supervision")
    theirs = posed().to_supervision()
    assert np.array_equal(theirs.mask, posed().masks.numpy())
    assert np.array_equal(theirs.data["keypoints"], posed().keypoints.numpy())
    points = posed().keypoints_to_supervision()
    assert np.array_equal(points.xy, posed().keypoints.numpy()) and (points.keypoint_confidence == 0.5).all()
    with pytest.raises(ValueError, match="these detections have no keypoints"):
        three().keypoints_to_supervision()


def test_masks_and_keypoints_in_a_table():
    pytest.importorskip("pandas")
    table = posed().to_pandas()
    assert table["mask_area"].tolist() == [200 - 8, 40, 0]
    assert list(table.columns[-6:]) == ["nose_x", "nose_y", "nose_score", "tail_x", "tail_y", "tail_score"]
    assert table["tail_y"].tolist() == [3, 7, 11]
    unnamed = replace(posed(), label_map=PETS).to_pandas()
    assert "point_1_x" in unnamed.columns


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"masks": torch.zeros(3, 30, 40).bool()}, r"masks must be .* \(40, 30\), got \(3, 30, 40\)"),
        ({"masks": torch.zeros(2, 40, 30).bool()}, "masks must have 3 rows like boxes, got 2"),
        ({"keypoints": torch.zeros(3, 5, 3)}, r"keypoints must be \(n, k, 2\) xy pixels, got \(3, 5, 3\)"),
        ({"keypoint_scores": torch.zeros(3, 5)}, r"must be \(n, k\) like the keypoints, .* for no keypoints"),
        (
            {"keypoints": torch.zeros(3, 5, 2), "keypoint_scores": torch.zeros(3, 4)},
            r"got \(3, 4\) for keypoints \(3, 5, 2\)",
        ),
    ],
)
def test_masks_and_keypoints_of_wrong_shapes_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        three(**fields)


def test_boxes_that_end_in_the_last_pixel_are_one_wider_in_files_and_tracks():
    found = three()
    legacy = replace(found, inclusive=True, image_id=1)
    plain = [row["bbox"] for row in replace(found, image_id=1).to_coco()]
    assert [row["bbox"] for row in legacy.to_coco()] == [[x, y, w + 1, h + 1] for x, y, w, h in plain]
    assert legacy[[0]].inclusive and legacy.to("cpu").inclusive and torch.equal(legacy.boxes, found.boxes)
    linked = replace(legacy, track_ids=torch.arange(3))
    assert torch.equal(
        torch.from_numpy(Tracks.from_detections([linked]).boxes[:, 2:]), found.boxes[:, 2:].double() + 1
    )
