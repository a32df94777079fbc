"""PoseTrack's two layouts, read and written; poses of other models brought to its joints."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pagoda.data.tracks.posetrack import read_posetrack
from pagoda.data.tracks.posetrack_joints import (
    PERSON_15,
    PERSON_17,
    POSETRACK_15,
    POSETRACK_17,
    to_posetrack_15,
    to_posetrack_17,
)
from pagoda.data.tracks.posetrack_writing import write_posetrack, write_posetrack_17
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import COCO_17, Skeleton
from pagoda.structures.tracks import Tracks


def tracks(points, label_map, *, ids=None, scores=None, frames=None, num_frames=3):
    points = np.asarray(points, dtype=float)
    n = len(points)
    return Tracks(
        np.arange(n) if frames is None else np.array(frames),
        np.zeros(n, dtype=np.int64) if ids is None else np.array(ids),
        np.tile([1.0, 2, 30, 40], (n, 1)),
        np.full(n, 0.75),
        np.zeros(n, dtype=np.int64),
        label_map,
        num_frames,
        (48, 64),
        "walk",
        keypoints=points,
        keypoint_scores=None if scores is None else np.asarray(scores, dtype=float),
    )


def pose(k, seed=0):
    return np.random.default_rng(seed).uniform(1, 60, (k, 2)).round(2)


def image(number, **more):
    return {"id": number, "file_name": f"{number}.jpg", "frame_id": number, "vid_id": "7", **more}


def person(number, image_id, points, **more):
    triples = np.concatenate([points, np.ones((len(points), 1))], 1)
    return {
        "id": number,
        "image_id": image_id,
        "track_id": 4,
        "category_id": 1,
        "keypoints": triples.ravel().tolist(),
        **more,
    }


JOINT_19 = {"annopoints": [{"point": [{"id": [19], "x": [1], "y": [1]}]}]}


def saved(tmp_path, content, name="walk.json"):
    file = tmp_path / name
    file.write_text(json.dumps(content))
    return file


def test_2018_there_and_back(tmp_path):
    points = pose(17)
    points[3] = np.nan
    first = tracks([points, pose(17, 1)], PERSON_17, ids=[3, 3], scores=np.ones((2, 17)) * 0.5, frames=[0, 2])
    write_posetrack(first, tmp_path / "walk.json")
    (again,) = read_posetrack(tmp_path / "walk.json")
    for name in ("frames", "track_ids", "boxes", "scores", "keypoints", "keypoint_scores"):
        np.testing.assert_allclose(getattr(again, name), getattr(first, name))
    assert (again.num_frames, again.name, again.image_size) == (3, "walk", (48, 64))


def test_2017_there_and_back(tmp_path):
    points = pose(15)
    points[6] = np.nan
    first = tracks([points, pose(15, 1)], PERSON_15, ids=[3, 9], scores=np.full((2, 15), 0.5), frames=[0, 2])
    write_posetrack_17(first, tmp_path / "walk.json")
    (again,) = read_posetrack(tmp_path / "walk.json")
    np.testing.assert_allclose(again.keypoints, first.keypoints)
    assert again.frames.tolist() == [0, 2] and again.track_ids.tolist() == [3, 9] and again.num_frames == 3
    assert again.keypoint_scores[0, 0] == 0.5 and again.name == "walk"


def test_boxes_without_poses_are_written_too(tmp_path):
    animals = LabelMap(("cat", "dog"), (17, 18))
    boxes = Tracks(
        np.array([0]),
        np.array([3]),
        np.array([[1.0, 2, 30, 40]]),
        np.array([0.5]),
        np.array([1]),
        animals,
        1,
        (48, 64),
    )
    write_posetrack(boxes, tmp_path / "walk.json")
    content = json.loads((tmp_path / "walk.json").read_text())
    assert content["annotations"] == [
        {"track_id": 3, "category_id": 18, "score": 0.5, "bbox": [1, 2, 29, 38], "id": 1, "image_id": 1}
    ]
    assert [category["name"] for category in content["categories"]] == ["cat", "dog"]


def test_2018_ground_truth_with_all_it_has(tmp_path):
    polygon = ([0, 9, 9], [0, 0, 9])
    head = [10, 10, 30, 40]
    content = {
        "images": [
            image(12, is_labeled=False),
            image(11, is_labeled=True, ignore_regions_x=[polygon[0]], ignore_regions_y=[polygon[1]]),
            image(13, is_labeled=True, ignore_regions_x=polygon[0], ignore_regions_y=polygon[1]),
        ],
        "annotations": [person(1, 13, pose(17), bbox=[1, 2, 3, 4], bbox_head=head)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(POSETRACK_17.names)}],
    }
    (found,) = read_posetrack(saved(tmp_path, content))
    assert found.frame_names == ("11.jpg", "12.jpg", "13.jpg") and found.frames.tolist() == [2]
    assert found.labelled_frames.tolist() == [True, False, True]
    assert found.head_boxes.tolist() == [[10, 10, 40, 50]] and found.boxes.tolist() == [[1, 2, 4, 6]]
    assert (
        found.ignore_regions[0][0].tolist() == found.ignore_regions[2][0].tolist() == [[0, 0], [9, 0], [9, 9]]
    )
    assert found.keypoint_scores is None


def test_several_videos_in_one_file_are_named_by_their_id(tmp_path):
    images = [image(1), {**image(2), "vid_id": "8"}]
    found = read_posetrack(saved(tmp_path, {"images": images, "annotations": []}))
    assert [each.name for each in found] == ["7", "8"]


def test_a_joint_at_the_corner_is_there_when_it_is_visible(tmp_path):
    points = pose(17)
    points[2] = points[5] = 0
    row = person(1, 1, points)
    row["keypoints"][3 * 5 + 2] = 0
    (found,) = read_posetrack(saved(tmp_path, {"images": [image(1)], "annotations": [row]}))
    assert np.isfinite(found.keypoints[0, 2]).all() and np.isnan(found.keypoints[0, 5]).all()


@pytest.mark.parity
def test_a_real_2017_sequence(shared_data):
    (truth,) = read_posetrack(shared_data / "eval_cases" / "poseval_bonn" / "gt")
    assert (truth.num_frames, len(truth), truth.name) == (41, 164, "060470979")
    assert truth.keypoint_scores is None and len(np.unique(truth.track_ids)) == 4
    assert np.isnan(truth.keypoints[:, POSETRACK_15.names.index("nose")]).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"frames": []}, "is no PoseTrack file: expected 'annolist'"),
        ({"images": [image(1)], "annotations": [person(1, 5, pose(17))]}, "belongs to image 5, which is not in"),
        ({"images": [image(1)], "annotations": [person(1, 1, pose(15))]}, "51 numbers x, y, visibility, got 45"),
        (
            {"images": [], "annotations": [], "categories": [{"keypoints": ["hand"]}]},
            "keypoints must be PoseTrack's 17 or 15, in its order; got 1: hand",
        ),
        (
            {"images": [image(1)], "annotations": [person(n, 1, pose(17)) for n in (1, 2)]},
            "track id 4 stands twice in frame 0",
        ),
        ({"annolist": [{"image": [{"name": "a"}], "annorect": [JOINT_19]}]}, "one of 0 … 14"),
        ({"annolist": [{"annorect": []}]}, "walk.json: frame 1 of annolist: 'image' is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_files_name(tmp_path, content, said):
    with pytest.raises(ValueError, match=said) as error:
        read_posetrack(saved(tmp_path, content))
    assert "walk.json" in str(error.value)


def test_no_files_and_no_json(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected PoseTrack JSON files in the folder"):
        read_posetrack(tmp_path)
    (tmp_path / "walk.json").write_text("{")
    with pytest.raises(ValueError, match=r"walk\.json is not a JSON file"):
        read_posetrack(tmp_path)


def test_seventeen_to_fifteen_as_detect_and_track_published_it():
    """Shoulder logits 1 and 2 with the threshold 1.95: left shoulder and neck go, the right shoulder stays."""
    place = POSETRACK_17.names.index
    points, scores = pose(17)[None], np.full((1, 17), 5.0)
    scores[0, [place("left_shoulder"), place("right_shoulder")]] = 1, 2
    found = to_posetrack_15(
        tracks(points, PERSON_17, scores=scores),
        min_keypoint_score=1.95,
        joint_score="object",
        neck="mid_shoulders",
    )
    there = np.isfinite(found.keypoints[0]).all(-1)
    gone = [name for name, is_there in zip(POSETRACK_15.names, there, strict=True) if not is_there]
    assert gone == ["left_shoulder", "neck"]
    assert (found.keypoint_scores == 0.75).all(), "each joint has the score of the box"
    assert found.keypoints[0, 0].tolist() == points[0, place("right_ankle")].tolist()
    plain = to_posetrack_15(tracks(points, PERSON_17, scores=scores))
    assert plain.keypoints[0, 12].tolist() == points[0, place("head_bottom")].tolist()
    assert to_posetrack_15(tracks(points[:0], PERSON_17)).num_frames == 3, "nobody at all is fine"


def test_coco_poses_are_brought_to_posetracks():
    place = COCO_17.names.index
    points = pose(17)
    found = to_posetrack_17(
        tracks(points[None], LabelMap(("person",), (1,), COCO_17), scores=np.ones((1, 17)))
    )
    named = dict(zip(POSETRACK_17.names, found.keypoints[0], strict=True))
    shoulders = (points[place("left_shoulder")] + points[place("right_shoulder")]) / 2
    np.testing.assert_allclose(named["head_bottom"], shoulders)
    np.testing.assert_allclose(named["head_top"] + named["head_bottom"], 2 * points[place("nose")])
    for name in set(POSETRACK_17.names) & set(COCO_17.names):
        np.testing.assert_allclose(named[name], points[place(name)])


def test_other_poses_keep_their_names_but_cannot_be_brought_to_posetracks(tmp_path):
    hands = LabelMap(("person",), (1,), Skeleton(("left_hand", "right_hand")))
    write_posetrack(tracks(np.ones((1, 2, 2)), hands), tmp_path / "walk.json")
    content = json.loads((tmp_path / "walk.json").read_text())
    assert content["categories"][0]["keypoints"] == ["left_hand", "right_hand"]
    assert content["annotations"][0]["keypoints"] == [1, 1, 1, 1, 1, 1]
    with pytest.raises(
        ValueError, match=r"PoseTrack's 17 keypoints or COCO's .* got 2: left_hand, right_hand"
    ):
        to_posetrack_17(tracks(np.zeros((1, 2, 2)), hands))


def test_the_evaluator_of_2017_takes_no_thousandth_track(tmp_path):
    many = tracks(np.zeros((1, 15, 2)), PERSON_15, ids=[1000])
    with pytest.raises(ValueError, match="needs track ids below 1000, got 1000; write the layout of 2018"):
        write_posetrack_17(many, tmp_path / "walk.json")
    write_posetrack(tracks(np.zeros((1, 17, 2)), PERSON_17, ids=[123_456]), tmp_path / "walk.json")
    assert read_posetrack(tmp_path)[0].track_ids.tolist() == [123_456]


def test_empty_frames_are_written_and_may_have_a_dummy(tmp_path):
    one = tracks(pose(15)[None], PERSON_15, ids=[3], scores=np.ones((1, 15)), frames=[1])
    write_posetrack_17(one, tmp_path / "walk.json", with_dummies=True)
    frames = json.loads((tmp_path / "walk.json").read_text())["annolist"]
    assert [len(frame["annorect"]) for frame in frames] == [1, 1, 1]
    assert frames[0]["annorect"][0]["annopoints"][0]["point"] == [
        {"id": [0], "x": [0], "y": [0], "score": [-100]}
    ]
    write_posetrack_17(one, tmp_path / "walk.json")
    assert read_posetrack(tmp_path)[0].num_frames == 3


def test_skeletons_have_sides_and_bones():
    assert len(POSETRACK_17) == 17 and len(POSETRACK_15) == 15
    assert len(POSETRACK_17.flip_pairs) == 7 and len(POSETRACK_15.flip_pairs) == 6
    assert {name for k, name in enumerate(POSETRACK_17.names) if k in (1, 2)} == {"head_bottom", "head_top"}
    assert not {1, 2} & {k for pair in POSETRACK_17.flip_pairs for k in pair}, "the head is not mirrored"


CELLS = LabelMap(("RBC", "WBC"), (3, 9))


def cells(**more) -> dict:
    annotations = [
        {"id": n, "image_id": 1, "track_id": n, "bbox": [n, 2, 3, 4], "category_id": category}
        for n, category in enumerate((9, 3, 9), 1)
    ]
    categories = [{"id": i, "name": name} for i, name in zip(CELLS.category_ids, CELLS.names, strict=True)]
    return {"images": [image(1)], "annotations": annotations, "categories": categories, **more}


def test_boxes_of_several_classes_come_back_as_they_were_written(tmp_path):
    linked = replace(
        tracks(np.zeros((3, 0, 2)), CELLS, ids=[1, 2, 3]), labels=np.array([1, 0, 1]), keypoints=None
    )
    write_posetrack(linked, tmp_path / "walk.json")
    (back,) = read_posetrack(tmp_path / "walk.json")
    assert back.label_map == CELLS and back.labels.tolist() == [1, 0, 1]
    assert back.keypoints is None and back.keypoint_scores is None
    np.testing.assert_allclose(back.boxes, linked.boxes)


def test_a_single_class_without_poses_keeps_its_name(tmp_path):
    content = cells(categories=[{"id": 9, "name": "cell"}])
    (tmp_path / "a.json").write_text(json.dumps(content))
    (read,) = read_posetrack(tmp_path / "a.json")
    assert read.label_map.names == ("cell",) and read.labels.tolist() == [0, 0, 0] and read.keypoints is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"categories": [{"id": 3, "name": "RBC"}, {"id": 4, "name": "WBC"}]},
            "annotation 1 .*category_id 9 is none",
        ),
        (
            {"categories": [{"id": 3, "name": "RBC"}, {"id": "x", "name": "WBC"}]},
            "categories: .*whole number id",
        ),
        (
            {"annotations": [{"id": 1, "image_id": 1, "track_id": 1, "category_id": 3}]},
            "neither a bbox nor keypoints",
        ),
    ],
)
def test_classes_that_are_none_are_named(tmp_path, more, message):
    (tmp_path / "a.json").write_text(json.dumps(cells(**more)))
    with pytest.raises(ValueError, match=message):
        read_posetrack(tmp_path / "a.json")
