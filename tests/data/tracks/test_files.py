"""Any file that holds objects per frame becomes tracks; predictions of `pagoda predict` go there and back."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pagoda.data.tracks.files import (
    match_videos,
    read_predictions,
    read_tracks,
    same_frames,
    tracks_to_predictions,
)
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import POSETRACK_15, POSETRACK_17
from pagoda.structures.skeleton import COCO_17, CROWDPOSE_14, Skeleton
from pagoda.structures.tracks import Tracks


def row(file, objects, size=(48, 64)):
    return {"file": file, "image_id": None, "image_size": list(size), "objects": objects}


def thing(label=0, name="cat", box=(1, 2, 3, 4), score=0.5, **more):
    return {"name": name, "label": label, "score": score, "box_xyxy": list(box), **more}


def saved(tmp_path, rows, failed: object = (), name="p.json"):
    file = tmp_path / name
    file.write_text(json.dumps({"predictions": rows, "failed": failed}))
    return file


def test_predictions_there_and_back(tmp_path):
    rows = [
        row("v/1.jpg", [thing(track_id=3), thing(2, "dog")]),
        row("v/2.jpg", []),
        row("v/3.jpg", [thing(track_id=3)]),
    ]
    (first,) = read_tracks(saved(tmp_path, rows))
    assert first.frames.tolist() == [0, 0, 2] and first.track_ids.tolist() == [3, -1, 3]
    assert first.label_map.names == ("cat", "class_1", "dog") and first.num_frames == 3
    again_file = tmp_path / "again.json"
    again_file.write_text(json.dumps(tracks_to_predictions(first)))
    (again,) = read_predictions(again_file)
    assert np.array_equal(again.boxes, first.boxes) and np.array_equal(again.track_ids, first.track_ids)
    assert again.frame_names == ("v/1.jpg", "v/2.jpg", "v/3.jpg")


def test_folders_of_pictures_are_videos(tmp_path):
    found = read_tracks(saved(tmp_path, [row("v/1.jpg", [thing()]), row("w/1.jpg", []), row("v/2.jpg", [])]))
    assert [(each.name, each.num_frames) for each in found] == [("v", 2), ("w", 1)]
    one = [row("a/street/1.jpg", [thing()])]
    names = {
        file: read_tracks(saved(tmp_path, one, name=file))[0].name
        for file in ("predictions.json", "predictions-2.json", "mine.json")
    }
    assert names == {"predictions.json": "street", "predictions-2.json": "street", "mine.json": "mine"}
    assert read_tracks(saved(tmp_path, [row("1.jpg", [])], name="predictions.json"))[0].name == "predictions"


def test_poses_without_names_are_cocos_and_that_is_said(tmp_path):
    points = np.arange(51.0).tolist()
    file = saved(tmp_path, [row("1.jpg", [thing(keypoints=points)])])
    (found,) = read_tracks(file)
    assert found.keypoints.shape == (1, 17, 2) and found.keypoint_scores[0, 1] == 5
    assert found.label_map.skeleton == COCO_17
    assert len(found.notes) == 1 and f"{file}: the file does not name its keypoints" in found.notes[0]
    (named,) = read_predictions(file, skeleton=POSETRACK_17)
    assert named.label_map.skeleton == POSETRACK_17 and not named.notes
    (few,) = read_tracks(saved(tmp_path, [row("1.jpg", [thing(keypoints=[1, 2, 1])])]))
    assert few.label_map.skeleton is None and not few.notes


@pytest.mark.parametrize(
    "skeleton",
    [POSETRACK_17, POSETRACK_15, CROWDPOSE_14, Skeleton(("tip", "tail"), ((0, 1),), (0.1, 0.2), ())],
)
def test_the_names_of_keypoints_go_there_and_back(tmp_path, skeleton):
    points = np.arange(4.0 * len(skeleton)).reshape(2, -1, 2)
    points[0, 1] = np.nan
    one, two = np.zeros(2, np.int64), np.arange(2)
    labels = LabelMap(("person",), (1,), skeleton)
    scores = np.full((2, len(skeleton)), 0.5)
    tracks = Tracks(two, one, np.ones((2, 4)), np.ones(2), one, labels, 3, (48, 64), keypoints=points,
                    keypoint_scores=scores)  # fmt: skip
    file = tmp_path / "walk.json"
    file.write_text(json.dumps(tracks_to_predictions(tracks), allow_nan=False))
    (again,) = read_tracks(file)
    assert again.label_map == labels and not again.notes
    assert np.array_equal(again.keypoints, points, equal_nan=True)
    assert np.array_equal(again.keypoint_scores, scores)


def test_keypoints_that_are_not_there_are_null_and_were_nan(tmp_path):
    for absent in (None, float("nan")):
        (found,) = read_tracks(
            saved(tmp_path, [row("1.jpg", [thing(keypoints=[absent, absent, 0.5, 1, 2, 0.5])])])
        )
        assert np.isnan(found.keypoints[0, 0]).all() and found.keypoint_scores[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("rows", "failed", "said"),
    [
        ([row("1.jpg", [])], ["2.jpg:\ntruncated"], r"1 frame is missing .* \(2.jpg: truncated\); predict"),
        ([row("1.jpg", [])], ["a", "b"], r"2 frames are missing .* \(a\)"),
        (
            [row("1.jpg", [])],
            {"a": {"b": 1}},
            "'failed' must be a list with a sentence .*, got {'a': {'b': 1}}",
        ),
        ([row("1.jpg", [])], [{"a": 1}], "'failed' must be a list with a sentence .*, got .{'a': 1}.$"),
        ([row("1.jpg", [])], "2.jpg", "'failed' must be a list with a sentence .*, got 2.jpg"),
        (
            [row("1.jpg", []), row("2.jpg", [], (9, 9))],
            [],
            r"one \(height, width\), got \(9, 9\), \(48, 64\)",
        ),
        ([row("1.jpg", [thing(), thing(keypoints=[1, 2, 3])])], [], "1 of 2 objects have keypoints"),
        (
            [row("1.jpg", [thing(keypoints=[1, 2, 3]), thing(keypoints=[1, 2, 3] * 2)])],
            [],
            r"the same number of keypoints, got \[1, 2\]",
        ),
        ([{"file": "1.jpg", "objects": []}], [], "p.json: prediction 1: 'image_size' is missing"),
        (
            [{**row("1.jpg", [thing(keypoints=[1, 2, 3])]), "skeleton": {"names": ["a", "b"]}}],
            [],
            "poses have 1 keypoint, but their skeleton names 2",
        ),
        (
            [{**row(f"{name}.jpg", []), "skeleton": {"names": [name]}} for name in "ab"],
            [],
            "prediction 2 has another skeleton than those before",
        ),
        ([{**row("1.jpg", []), "skeleton": {"names": 7}}], [], "p.json: skeleton: "),
        ([{**row("1.jpg", []), "skeleton": 7}], [], "p.json: skeleton: "),
    ],
)
def test_what_is_wrong_is_said(tmp_path, rows, failed, said):
    with pytest.raises(ValueError, match=said):
        read_tracks(saved(tmp_path, rows, failed))


def test_text_files_and_folders_are_told_apart(tmp_path):
    (tmp_path / "a.txt").write_text("1,1,1,1,5,5,1,-1,-1,-1\n")
    assert [each.name for each in read_tracks(tmp_path)] == ["a"]
    saved(tmp_path, [row("1.jpg", [])])
    assert [each.name for each in read_tracks(tmp_path)] == ["p"], "JSON comes first"
    with pytest.raises(FileNotFoundError, match="there is no"):
        read_tracks(tmp_path / "nowhere")


def test_frames_listed_by_name_are_put_in_the_order_of_their_numbers(tmp_path):
    names = sorted(f"v/frame_{number}.jpg" for number in range(1, 13))
    (found,) = read_tracks(saved(tmp_path, [row(name, [thing(track_id=3)]) for name in names]))
    assert found.frame_names == tuple(f"v/frame_{number}.jpg" for number in range(1, 13))
    own = ["v/b.jpg", "v/a.jpg", "v/c.jpg"]
    (found,) = read_tracks(saved(tmp_path, [row(name, []) for name in own]))
    assert found.frame_names == tuple(own), "an order of somebody's own is kept"


def test_two_classes_may_use_the_same_ids(tmp_path):
    rows = [
        row("v/1.jpg", [thing(track_id=3), thing(1, "dog", track_id=3)]),
        row("v/2.jpg", [thing(track_id=3)]),
    ]
    (found,) = read_tracks(saved(tmp_path, rows))
    assert found.track_ids.tolist() == [3, 4, 3]


def test_frames_meet_by_the_names_of_their_pictures(tmp_path):
    names = ["v/b.jpg", "v/a.jpg", "v/c.jpg"]
    (truth,) = read_tracks(saved(tmp_path, [row(name, []) for name in names]))
    (found,) = read_tracks(saved(tmp_path, [row("v/c.jpg", [thing()]), row("v/b.jpg", [])], name="q.json"))
    found, said = same_frames(replace(truth, name="v"), found)
    assert found.frames.tolist() == [2] and found.num_frames == 3
    assert (
        said
        == "1 of 3 frames of 'v' are not in the predictions, the first is v/a.jpg: nobody was found there"
    )


def test_videos_are_matched_by_name(tmp_path):
    videos = read_tracks(saved(tmp_path, [row("v/1.jpg", []), row("w/1.jpg", [])]))
    assert [(a.name, b.name) for a, b in match_videos(videos, videos[::-1])] == [("v", "v"), ("w", "w")]
    with pytest.raises(ValueError, match="1 have no partner; without predictions: w"):
        match_videos(videos, videos[:1])


def test_videos_of_one_name_are_not_mixed_up(tmp_path):
    (tracks,) = read_tracks(saved(tmp_path, [row("v/1.jpg", [thing()])]))
    for sides, what in (
        (([tracks], [tracks, tracks]), "predictions"),
        (([tracks, tracks], [tracks]), "ground truth"),
    ):
        with pytest.raises(ValueError, match=f"in the {what} several are called p"):
            match_videos(*sides)
