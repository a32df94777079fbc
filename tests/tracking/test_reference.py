"""The original's linker: what it keeps, what it costs, that it has neither gate nor memory, and ids that come round."""

import numpy as np
import pytest

from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton
from pagoda.structures.tracks import UNLINKED
from pagoda.tracking.reference import CostWeights, ReferenceTracker

HEADED = LabelMap(("person",), (1,), Skeleton(("head_top", "head_bottom", "hand"), flip_pairs=()))


def ids(tracker, *frames):
    return [tracker.update(frame).track_ids.tolist() for frame in frames]


def test_a_far_box_inherits_the_free_track(walkers):
    first = walkers.detections([[0, 0, 9, 9], [100, 100, 109, 109]], [1, 1])
    second = walkers.detections([[180, 180, 189, 189], [2, 0, 11, 9], [50, 0, 59, 9]], [1, 1, 1])
    assert ids(ReferenceTracker(), first, second) == [[0, 1], [1, 0, 2]]
    assert ids(ReferenceTracker(max_cost=0.9), first, second) == [[0, 1], [2, 0, 3]]


def test_weak_and_small_ones_get_no_track_and_boxes_are_cut_at_the_picture(walkers):
    boxes = [[10, 10, 60, 60], [10, 10, 60, 60], [10, 10, 17, 17], [295, 0, 330, 12]]
    found = ReferenceTracker().update(walkers.detections(boxes, [0.95, 0.94, 0.99, 0.99]))
    assert found.track_ids.tolist() == [0, UNLINKED, UNLINKED, 1], (
        "49 pixels² are too few, 5 × 12 inside are not"
    )
    assert found.boxes.tolist() == boxes, "what is reported is not cut"


def test_missed_once_is_somebody_new(walkers):
    one, nobody = walkers.detections([[10, 10, 60, 60]], [1]), walkers.detections([], [])
    assert ids(ReferenceTracker(), one, one, nobody, one) == [[0], [0], [], [1]]


def test_ids_come_round_with_a_warning(walkers):
    tracker = ReferenceTracker(wrap_ids_at=2)
    two = walkers.detections([[10, 10, 60, 60], [100, 100, 150, 150]], [1, 1])
    with pytest.warns(UserWarning, match="2 track ids are used up; they start again at 0"):
        assert ids(tracker, two) == [[0, 1]]
    tracker.update(walkers.detections([], []))
    assert ids(tracker, walkers.detections([[10, 10, 60, 60]], [1])) == [[0]]


def test_more_than_999_tracks_have_999_and_more_ids(walkers):
    tracker, seen = ReferenceTracker(), []
    for frame in range(2100):
        there = [[10, 10, 60, 60]] if frame % 2 == 0 else []
        seen += tracker.update(walkers.detections(there, [1] * len(there))).track_ids.tolist()
    assert seen == list(range(1050))


def test_weights_choose_what_is_compared(walkers):
    """Boxes say straight on, heads and looks say they changed places."""
    boxes = [[10, 10, 60, 60], [70, 10, 120, 60]]
    poses = np.array([[[30, 10], [30, 20], [30, 40]], [[90, 10], [90, 20], [90, 40]]], dtype=float)
    looks = np.eye(2)
    frames = [
        walkers.detections(boxes, [1, 1], label_map=HEADED, keypoints=points)
        for points in (poses, poses[::-1].copy())
    ]

    def second(weights):
        tracker = ReferenceTracker(weights=weights)
        tracker.update(frames[0], appearance=looks)
        return tracker.update(frames[1], appearance=looks[::-1]).track_ids.tolist()

    assert second(CostWeights()) == [0, 1]
    assert second(CostWeights(box=0, pck=1)) == [1, 0]
    assert second(CostWeights(box=0, oks=1)) == [1, 0]
    assert second(CostWeights(box=0, appearance=1)) == [1, 0]
    assert second(CostWeights(box=1, pck=0.1)) == [0, 1]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (CostWeights(appearance=1), r"needs update\(detections, appearance=\(n, d\) vectors\)"),
        (CostWeights(oks=1), "need detections with keypoints and a named skeleton"),
    ],
)
def test_what_a_weight_needs_is_said(weights, said, walkers):
    one = walkers.detections([[10, 10, 60, 60]], [1])
    tracker = ReferenceTracker(weights=weights)
    tracker.update(one)
    with pytest.raises(ValueError, match=said):
        tracker.update(one)


def test_pck_needs_heads(walkers):
    hands = LabelMap(("person",), (1,), Skeleton(("hand", "head_top"), flip_pairs=()))
    one = walkers.detections([[10, 10, 60, 60]], [1], label_map=hands, keypoints=np.zeros((1, 2, 2)))
    tracker = ReferenceTracker(weights=CostWeights(pck=1))
    tracker.update(one)
    with pytest.raises(ValueError, match="needs the keypoints head_bottom"):
        tracker.update(one)
