"""What pairs cost beyond boxes: poses, masks, looks; each against a loop so plain that it is right."""

import numpy as np
import pytest
import torch

from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.tracks import UNLINKED
from pagoda.tracking.association import iou_costs
from pagoda.tracking.byte import ByteTracker
from pagoda.tracking.motion import AreaMotion
from pagoda.tracking.objects import Objects, inside_boxes
from pagoda.tracking.ocsort import OCSortTracker
from pagoda.tracking.pairs import Pairs
from pagoda.tracking.table import begin_tracks

BOTH = pytest.mark.parametrize("kind", [ByteTracker, OCSortTracker])
CATS = LabelMap.from_names(["cat"])


def pairs_of(before: Objects, now: Objects, **more) -> Pairs:
    model = AreaMotion()
    tracks = begin_tracks(before, model.start(before.boxes), np.arange(len(before)), 0, 1)
    return Pairs(model, tracks, now, 1, **more)


def objects(boxes, **parts) -> Objects:
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return Objects(boxes, np.full(len(boxes), 0.9), np.zeros(len(boxes), dtype=int), **parts)


def test_masks_that_move_with_their_boxes_overlap_as_pasted_ones_do():
    """Against masks painted at 20 pixels a unit."""
    rng = np.random.default_rng(0)
    a, b = [[2, 3, 9, 10], [0, 0, 6, 12]], [[3, 3, 10, 10], [1, 1, 7, 13], [40, 40, 44, 44]]
    grids = [rng.random((len(boxes), 14, 14)) < 0.6 for boxes in (a, b)]
    found = pairs_of(objects(a, masks=grids[0]), objects(b, masks=grids[1])).apart
    fine = 20

    def painted(box, grid):
        canvas = np.zeros((50 * fine, 50 * fine), bool)
        left, top, right, bottom = (np.array(box) * fine).astype(int)
        rows = np.arange(bottom - top) * 14 // (bottom - top)
        columns = np.arange(right - left) * 14 // (right - left)
        canvas[top:bottom, left:right] = grid[rows[:, None], columns]
        return canvas

    for i, (box, grid) in enumerate(zip(a, grids[0], strict=True)):
        for j, (other, theirs) in enumerate(zip(b, grids[1], strict=True)):
            one, two = painted(box, grid), painted(other, theirs)
            iou = (one & two).sum() / (one | two).sum()
            box_cost = iou_costs(np.array([box], float), np.array([other], float))[0, 0]
            assert abs(found[i, j] - (box_cost + 1 - iou) / 2) < 0.06


def test_poses_move_with_the_box_that_is_expected():
    """A pose that has kept its place in a box that moved and grew costs nothing."""
    rng = np.random.default_rng(1)
    box, later = np.array([[10.0, 10, 30, 60]]), np.array([[20.0, 5, 60, 105]])
    pose = rng.uniform(0, 1, (1, 5, 2))
    before = objects(box, keypoints=pose * [20, 50] + box[:, None, :2], sigmas=np.full(5, 0.05))
    now = objects(later, keypoints=pose * [40, 100] + later[:, None, :2], sigmas=np.full(5, 0.05))
    pairs = pairs_of(before, now)
    np.testing.assert_allclose(pairs._poses_apart(later), 0, atol=1e-9)
    other = objects(later, keypoints=now.keypoints[:, ::-1], sigmas=now.sigmas)
    assert pairs_of(before, other)._poses_apart(later) > 0.2


def test_looks_are_compared_by_how_far_they_are_off_the_usual():
    usual = np.array([10.0, 0.0, 0.0])
    red, blue = np.array([0.0, 1, 0]), np.array([0.0, 0, 1])
    before, now = (
        objects([[0, 0, 9, 9]] * 2, appearance=np.stack([usual + red, usual + blue])) for _ in range(2)
    )
    np.testing.assert_allclose(
        pairs_of(before, now, usual_look=usual).looks_apart, [[0, 1], [1, 0]], atol=1e-9
    )
    assert pairs_of(before, now).looks_apart.max() < 0.02, "without the usual all are alike"
    assert pairs_of(objects([[0, 0, 9, 9]]), now).looks_apart is None


def test_reach_grows_with_the_time_unseen():
    model = AreaMotion()
    tracks = begin_tracks(
        objects([[0, 0, 20, 50]]), model.start(np.array([[0.0, 0, 20, 50]])), np.array([1]), 0, 1
    )
    near, far, large = [25, 0, 45, 50], [55, 0, 75, 50], [0, 0, 40, 100]
    now = objects([near, far, large])
    assert (Pairs(model, tracks, now, 1).off_expected() <= 0.6).tolist() == [[True, False, False]]
    assert (Pairs(model, tracks, now, 9).off_expected() <= 0.6).tolist() == [[True, True, False]]


def test_masks_inside_boxes_are_read_cell_by_cell():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 5:33] = True
    found = inside_boxes(mask[None], np.array([[5.0, 10, 33, 38]]))[0]
    assert found[:5].all() and not found[6:].any()
    assert inside_boxes(np.zeros((0, 9, 9), bool), np.zeros((0, 4))).shape == (0, 14, 14)


def cats(boxes, looks=None, **more) -> Detections:
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    appearance = None if looks is None else torch.tensor(looks, dtype=torch.float32)
    n = len(boxes)
    return Detections(
        boxes, torch.full((n,), 0.9), torch.zeros(n).long(), (99, 199), CATS, appearance=appearance, **more
    )


@BOTH
def test_who_meets_goes_on_as_who_they_look_like(kind):
    """Two meet and turn back; by places alone they seem to walk through each other."""
    ids = {}
    for weight in (0.0, 0.6):
        tracker, rows = kind(appearance_weight=weight, max_look_cost=0.0), []
        for step in range(30):
            x = 4 * min(step, 29 - step)
            looks = [[1.0, 0, 0.2], [0, 1.0, 0.2]]
            rows.append(
                tracker.update(
                    cats([[x, 10, x + 20, 60], [120 - x, 10, 140 - x, 60]], looks)
                ).track_ids.tolist()
            )
        ids[weight] = rows
    assert ids[0.6][0] == ids[0.6][-1]


@BOTH
def test_who_was_hidden_is_found_again_by_looks_alone(kind):
    """Somebody stands, is hidden, and comes out a little further than any box would overlap."""
    looks = [[1.0, 0, 0.2], [0, 1.0, 0.2]]
    for again, expected in ((0.0, False), (1.0, True)):
        tracker = kind(max_look_cost=again)
        here = [[10, 10, 30, 60], [120, 10, 140, 60]]
        first = [tracker.update(cats(here, looks)).track_ids.tolist() for _ in range(4)][-1]
        for _ in range(3):
            tracker.update(cats(here[1:], looks[1:]))
        back = [[50, 10, 70, 60], here[1]]
        last = [tracker.update(cats(back, looks)).track_ids.tolist() for _ in range(4)][-1]
        assert (first == last) is expected and first[1] == last[1]


@BOTH
def test_without_an_appearance_nothing_changes(kind, walkers):
    truth = walkers.true_tracks([[10, 40], [200, 44]], [[3, 0], [-3, 0]], num_frames=50)
    frames = walkers.seen(truth, missed=[(f, 0) for f in range(20, 25)], noise=1)
    plain, none = kind(), kind(appearance_weight=0.0, max_look_cost=0.0)
    for frame in frames:
        assert plain.update(frame).track_ids.tolist() == none.update(frame).track_ids.tolist()


@BOTH
def test_vectors_of_another_length_are_refused(kind):
    tracker = kind()
    tracker.update(cats([[0, 0, 9, 9]], [[1.0, 0]]))
    with pytest.raises(ValueError, match="vectors of one length, got 3 numbers each after 2"):
        tracker.update(cats([[0, 0, 9, 9]], [[1.0, 0, 0]]))
    tracker.reset()
    assert tracker.update(cats([[0, 0, 9, 9]], [[1.0, 0, 0]])).track_ids.tolist() == [1]


@BOTH
def test_frames_without_an_appearance_among_those_that_have_one(kind):
    tracker = kind()
    box, ids = [[0, 0, 20, 20]], []
    for looks in ([[1.0, 0]], None, [[1.0, 0]]):
        ids += tracker.update(cats(box, looks)).track_ids.tolist()
    assert ids == [1, 1, 1] and tracker.update(cats([])).track_ids.tolist() == []


@BOTH
def test_a_moved_camera_moves_what_is_expected(kind, walkers):
    """Somebody stands, and the camera jumps by more than a width."""
    stands = [walkers.detections([[100, 50, 120, 100]], [0.9])] * 4
    jumped = walkers.detections([[40, 50, 60, 100]], [0.9])
    jump = np.array([[1.0, 0, -60], [0, 1, 0]])
    for camera, expected in ((None, {UNLINKED, 2}), (jump, {1})):
        tracker = kind()
        assert [tracker.update(frame).track_ids.item() for frame in stands] == [1] * 4
        after = [tracker.update(jumped, camera=camera), *(tracker.update(jumped) for _ in range(3))]
        assert {found.track_ids.item() for found in after} == expected


@BOTH
def test_a_camera_of_another_shape_is_refused(kind, walkers):
    with pytest.raises(ValueError, match=r"camera must be \(2, 3\), .* got \(3, 3\)"):
        kind().update(walkers.detections([], []), camera=np.eye(3))


@BOTH
def test_poses_tell_apart_whom_boxes_do_not(kind):
    """Two in one box, whose poses are mirrored: who stands how decides."""
    rng = np.random.default_rng(3)
    pose = torch.tensor(rng.uniform(0, 1, (17, 2)) * [40, 80] + [20, 10])
    mirrored = torch.stack([80 - pose[:, 0], pose[:, 1]], 1)
    boxes = torch.tensor([[20.0, 10, 60, 90], [21.0, 10, 61, 90]])

    def seen(poses):
        return Detections(
            boxes,
            torch.tensor([0.9, 0.9]),
            torch.zeros(2).long(),
            (99, 99),
            PERSON_17,
            keypoints=torch.stack(poses),
        )

    tracker = kind()
    for _ in range(4):
        before = tracker.update(seen([pose, mirrored])).track_ids.tolist()
    after = tracker.update(seen([mirrored, pose])).track_ids.tolist()
    assert after == before[::-1]
