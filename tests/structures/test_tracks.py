"""Tracks and tubes: sorted rows, what is refused and in which words, Detections there and back."""

import re

import numpy as np
import pytest
import torch

from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import UNLINKED, Tracks
from pagoda.structures.tubes import Tubes

PERSON = LabelMap.from_names(["person"])


def tracks(frames, ids, num_frames=4, **more):
    n = len(frames)
    boxes = np.arange(4.0 * n).reshape(n, 4)
    labels = np.zeros(n, dtype=np.int64)
    return Tracks(
        np.array(frames), np.array(ids), boxes, np.ones(n), labels, PERSON, num_frames, (9, 9), **more
    )


def detections(boxes, ids=None, size=(48, 64)):
    n = len(boxes)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.full((n,), 0.9),
        torch.zeros(n, dtype=torch.long),
        size,
        PERSON,
        track_ids=None if ids is None else torch.tensor(ids),
    )


def test_rows_are_sorted_by_frame_and_keep_their_order_within():
    found = tracks([2, 0, 2, 0], [5, 6, 7, 8])
    assert found.frames.tolist() == [0, 0, 2, 2]
    assert found.track_ids.tolist() == [6, 8, 5, 7]
    assert found.boxes[:, 0].tolist() == [4, 12, 0, 8]


def test_frames_without_objects_are_there():
    found = tracks([0, 2], [1, 1])
    assert [len(found.at(frame)) for frame in range(4)] == [1, 0, 1, 0]


def test_detections_there_and_back():
    frames = [
        detections([[1, 2, 3, 4], [5, 6, 7, 8]], [3, -1]),
        detections([], []),
        detections([[0, 0, 1, 1]], [3]),
    ]
    found = Tracks.from_detections(frames, "walk")
    assert (found.num_frames, found.name, found.image_size) == (3, "walk", (48, 64))
    for frame, before in enumerate(frames):
        after = found.at(frame)
        assert torch.equal(after.boxes.float(), before.boxes)
        assert after.track_ids.tolist() == before.track_ids.tolist()


def test_unlinked_rows_are_kept_until_asked_for():
    found = Tracks.from_detections([detections([[1, 2, 3, 4], [5, 6, 7, 8]])])
    assert found.track_ids.tolist() == [UNLINKED, UNLINKED]
    assert len(found.linked()) == 0


def test_one_row_per_track():
    rows = tracks([0, 1, 3, 3], [7, 7, 7, 2]).per_track()
    assert rows[1] == {
        "track": 7, "name": "person", "first_frame": 0, "last_frame": 3, "seen_frames": 3, "mean_score": 1.0,
    }  # fmt: skip


def test_an_id_twice_in_a_frame_is_named():
    with pytest.raises(ValueError, match=r"walk: track id 4 stands twice in frame 1 \(counted from 0\)"):
        tracks([0, 1, 1], [4, 4, 4], name="walk")
    assert len(tracks([1, 1], [4, 4], ignored=np.array([True, True]))) == 2, "regions to ignore need no ids"


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: tracks([0, 4], [1, 1]), r"frames must lie within 0 … 3 of a video of 4 frames, got 0 … 4"),
        (lambda: tracks([0], [-7]), r"track ids must be 0 or more \(-1: no track\), got -7"),
        (lambda: tracks([0], [1], frame_names=("a", "b")), "frame_names must be one per frame, 4, got 2"),
        (lambda: Tracks.from_detections([]), "at least one frame, got none"),
        (
            lambda: Tracks.from_detections([detections([]), detections([], size=(48, 65))]),
            r"frame 1 has \(height, width\) \(48, 65\), the first one \(48, 64\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_without_a_size_there_are_no_detections():
    found = Tracks(
        *(getattr(tracks([0], [1]), n) for n in ("frames", "track_ids", "boxes", "scores", "labels")),
        PERSON,
        1,
    )
    with pytest.raises(ValueError, match=r"give image_size=\(height, width\)"):
        found.at(0)


def test_tubes_give_their_objects_in_any_frame():
    boxes = torch.arange(24.0).reshape(2, 3, 4)
    tubes = Tubes(boxes, torch.ones(2), torch.zeros(2, dtype=torch.long), (4, 5, 6), 1, (9, 9), PERSON)
    assert torch.equal(tubes.at(2).boxes, boxes[:, 2])
    with pytest.raises(ValueError, match="one box per frame and a key frame among them, got 3 boxes each"):
        Tubes(boxes, torch.ones(2), torch.zeros(2, dtype=torch.long), (4, 5), 1, (9, 9), PERSON)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": torch.ones(5)}, "scores must have 2 rows like boxes, got 5"),
        ({"labels": torch.zeros(1, dtype=torch.long)}, "labels must have 2 rows like boxes, got 1"),
        ({"scores": torch.ones(2, 3)}, r"scores must be (n,), one of each object, got (2, 3)"),
        ({"boxes": torch.zeros(2, 4)}, r"boxes must be (n, t, 4) xyxy pixels, got (2, 4)"),
        ({"visible": torch.ones(2, 2, dtype=torch.bool)}, "visible is (2, 2), but there are (2, 3)"),
        (
            {"keypoints": torch.zeros(2, 2, 5, 2)},
            "keypoints must be (n, t, k, 2) xy pixels, got (2, 2, 5, 2)",
        ),
        (
            {"keypoint_scores": torch.zeros(2, 3, 5)},
            "keypoint_scores is (2, 3, 5), but there are no keypoints",
        ),
        ({"key": 3}, "a key frame among them"),
    ],
)
def test_tubes_with_rows_that_do_not_meet_are_refused(changes, said):
    whole = {
        "boxes": torch.zeros(2, 3, 4),
        "scores": torch.ones(2),
        "labels": torch.zeros(2, dtype=torch.long),
    }
    rest = {"frames": (4, 5, 6), "key": 1, "image_size": (9, 9), "label_map": PERSON}
    with pytest.raises(ValueError, match=re.escape(said)):
        Tubes(**{**whole, **rest, **changes})
