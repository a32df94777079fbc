"""Tubes are linked by the frames they share: gaps, fast movers and poses; and frames made into tubes."""

import numpy as np
import pytest
import torch

from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton
from pagoda.structures.tracks import UNLINKED
from pagoda.structures.tubes import Tubes
from pagoda.tracking.linking import LINKERS, create_tracker, link
from pagoda.tracking.tubes import TubeTracker, pair_frames

PERSON = LabelMap.from_names(["person"])
POSED = LabelMap(("person",), (1,), Skeleton(("head", "foot"), flip_pairs=()))


def clip(center, paths, *, num_frames=3, score=0.9, visible=None, keypoints=None):
    """Tubes over the frames around `center`; each path gives x at a frame."""
    frames = tuple(range(center - num_frames // 2, center + num_frames - num_frames // 2))
    boxes = [[[path(f), 50, path(f) + 20, 100] for f in frames] for path in paths]
    n = len(paths)
    return Tubes(
        torch.tensor(boxes, dtype=torch.float32).reshape(n, len(frames), 4),
        torch.full((n,), score),
        torch.zeros(n, dtype=torch.long),
        frames,
        num_frames // 2,
        (200, 600),
        PERSON if keypoints is None else POSED,
        visible=None if visible is None else torch.tensor(visible),
        keypoints=None if keypoints is None else torch.tensor(keypoints, dtype=torch.float32),
    )


def test_somebody_faster_than_a_box_per_frame_is_followed():
    """Key frames do not overlap at all; the shared frames agree exactly."""
    tracker = TubeTracker()
    ids = [tracker.update(clip(f, [lambda t: 40 * t])).track_ids.tolist() for f in range(1, 8)]
    assert ids == [[1]] * 7


@pytest.mark.parametrize("name", LINKERS)
def test_every_linker_takes_tubes(name):
    """The one over tubes compares shared frames; for the others an object is where it is in the key frame."""
    clips = [clip(f, [lambda t: 4 * t, lambda t: 400 - 4 * t], score=0.97) for f in range(1, 8)]
    one, other = create_tracker(name), create_tracker(name)
    for tubes in clips:
        linked, expected = one.update(tubes), other.update(tubes.at(tubes.key))
        assert torch.equal(linked.boxes, tubes.boxes[:, 1])
        assert linked.track_ids.tolist() == expected.track_ids.tolist()
    assert link(clips, one).num_frames == 7 and set(linked.track_ids.tolist()) in ({0, 1}, {1, 2})


def test_a_missed_clip_is_bridged_by_the_frame_still_shared():
    tracker = TubeTracker()
    tracker.update(clip(1, [lambda t: 40 * t]))
    tracker.update(clip(2, []))
    assert tracker.update(clip(3, [lambda t: 40 * t])).track_ids.tolist() == [1]
    tracker.update(clip(4, []))
    tracker.update(clip(5, []))
    assert tracker.update(clip(6, [lambda t: 40 * t])).track_ids.tolist() == [2], (
        "nothing shared, too far to tell"
    )


def test_what_does_not_overlap_is_somebody_else_and_weak_tubes_are_nobody():
    tracker = TubeTracker()
    tracker.update(clip(1, [lambda t: 0.0]))
    assert tracker.update(clip(2, [lambda t: 300.0])).track_ids.tolist() == [2]
    assert tracker.update(clip(3, [lambda t: 300.0], score=0.4)).track_ids.tolist() == [UNLINKED]


def test_hidden_frames_are_not_compared():
    """The first tube guessed wrongly where it could not see."""
    for visible, expected in ((None, [2]), ([[True, True, False]], [1])):
        tracker = TubeTracker(min_overlap=0.6)
        tracker.update(clip(1, [lambda t: 0.0 if t < 2 else 200.0], visible=visible))
        assert tracker.update(clip(2, [lambda t: 0.0])).track_ids.tolist() == expected


def test_poses_settle_what_boxes_leave_open():
    """Two people in the same box, one upright and one head down; the order of the rows changes."""
    poses = np.array([[[[10, 55], [10, 95]]] * 3, [[[10, 95], [10, 55]]] * 3], dtype=float)
    here = [lambda t: 0.0, lambda t: 0.0]
    tracker = TubeTracker()
    assert tracker.update(clip(1, here, keypoints=poses)).track_ids.tolist() == [1, 2]
    assert tracker.update(clip(2, here, keypoints=poses[::-1].copy())).track_ids.tolist() == [2, 1]


def test_the_key_frame_is_what_comes_back():
    found = TubeTracker().update(clip(5, [lambda t: 10.0 * t]))
    assert found.boxes[0, 0] == 50 and found.image_id == 5


def test_a_pair_of_frames_knows_where_an_object_was(walkers):
    before = walkers.detections([[10, 10, 30, 60], [100, 10, 120, 60]], [0.9, 0.9])
    now = walkers.detections([[103, 10, 123, 60], [200, 10, 220, 60]], [0.9, 0.9])
    tubes = pair_frames(before, now, 7)
    assert tubes.frames == (6, 7) and tubes.key == 1
    assert tubes.boxes[0].tolist() == [[100, 10, 120, 60], [103, 10, 123, 60]]
    assert tubes.boxes[1, 0].tolist() == [200, 10, 220, 60], "nobody there: believed to have stood still"
    assert (
        len(pair_frames(None, now, 0)) == 2 and len(pair_frames(before, walkers.detections([], []), 3)) == 0
    )


@pytest.mark.parametrize("num_frames", [2, 3, 4, 5])
def test_clips_of_any_length(num_frames):
    tracker = TubeTracker()
    paths = [lambda t: 6.0 * t, lambda t: 300 - 6.0 * t]
    ids = {
        tuple(tracker.update(clip(f, paths, num_frames=num_frames)).track_ids.tolist()) for f in range(3, 40)
    }
    assert ids == {(1, 2)}
