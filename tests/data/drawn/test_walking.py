"""Drawn walkers: repeatable, annotated where they are, hidden and bridged as promised."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from pagoda.data.drawn.figures import PLACE, RADII
from pagoda.data.drawn.scenes import make_scene
from pagoda.data.drawn.walking import MIN_SEEN, WalkingFigures
from pagoda.data.tracks.posetrack_joints import to_posetrack_15
from pagoda.evaluation.tracks.posetrack import PoseTrackEvaluator

pytestmark = pytest.mark.medium

QUIET = {"num_pillars": 0, "hidden_share": 0.0, "noise": 0.0}


def columns(tracks, track):
    mine = tracks.track_ids == track
    return tracks.frames[mine], tracks.boxes[mine], tracks.keypoints[mine]


def test_a_video_follows_from_seed_and_number_alone():
    walks = WalkingFigures(num_videos=9, num_frames=10, seed=4)
    again = WalkingFigures(num_videos=3, num_frames=10, seed=4)
    video = walks[2]
    assert torch.equal(video.frames(7), again.frame(2, 7)) and len(walks) == 9
    assert torch.equal(walks[-7].frames(7), video.frames(7))
    for name in ("frames", "track_ids", "boxes", "keypoints", "head_boxes"):
        np.testing.assert_array_equal(getattr(video.tracks, name), getattr(again.tracks(2), name))
    assert not torch.equal(walks.frame(1, 7), video.frames(7))
    assert not torch.equal(replace(walks, seed=5).frame(2, 7), video.frames(7))
    picture = video.frames(0)
    assert picture.dtype == torch.uint8 and picture.shape == (3, 128, 160)
    with pytest.raises(IndexError, match="video 9 of 9"):
        walks[9]


def test_boxes_hold_the_joints_and_poses_fit_their_scale():
    for video in WalkingFigures(num_videos=6, num_frames=12, seed=1):
        tracks = video.tracks
        points, boxes = tracks.keypoints, tracks.boxes
        assert len(tracks) and np.isnan(points[:, [PLACE["left_ear"], PLACE["right_ear"]]]).all()
        low, high = np.nanmin(points, 1), np.nanmax(points, 1)
        assert (low >= boxes[:, :2] - 1e-9).all() and (high <= boxes[:, 2:] + 1e-9).all()
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [160, 128]).all()
        heads = tracks.head_boxes[:, 3] - tracks.head_boxes[:, 1]
        whole = np.isfinite(np.delete(points, [3, 4], 1)).all((1, 2))
        heights = (boxes[:, 3] - boxes[:, 1])[whole]
        assert (heads[whole] / heights > 0.1).all() and (heads[whole] / heights < 0.25).all()


@pytest.mark.parametrize("swing", [0.0, 12.0])
def test_paint_is_where_the_annotation_says(swing):
    still = {"num_frames": 8, "seed": 2, "min_figures": 1, "max_figures": 1, **QUIET}
    walks = WalkingFigures(num_videos=4, camera_swing=swing, **still)
    for number in range(4):
        scene, tracks = make_scene(walks, number), walks.tracks(number)
        figure = scene.figures[0]
        for frame, box in zip(tracks.frames.tolist(), tracks.boxes, strict=True):
            left = round(scene.drift * (frame if scene.drift >= 0 else frame - 8))
            left += max(map(abs, scene.camera)) + scene.camera[frame]
            behind = scene.backdrop[:, left : left + 160]
            drawn = walks.frame(number, frame).permute(1, 2, 0).numpy()
            ys, xs = np.nonzero((drawn != behind).any(2))
            found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            assert np.abs(found - box).max() <= RADII["leg"] * figure.height + 2


def test_feet_stand_still_or_go_forward_and_sides_change_places_in_a_mirror():
    walks = WalkingFigures(num_videos=4, num_frames=20, seed=3, **QUIET)
    figure = next(f for n in range(4) for f in make_scene(walks, n).figures if f.yaw > 0)
    joints = np.stack([figure.joints(frame) for frame in range(20)])
    middle = np.nanmean(joints[..., 0], 1)
    assert (np.diff(middle) > 0).all()
    ankles = joints[:, [PLACE["left_ankle"], PLACE["right_ankle"]]]
    assert (figure.ground - ankles[..., 1] < 0.35 * figure.height).all()
    crosses = np.sign(ankles[:, 0, 0] - ankles[:, 1, 0])
    assert set(crosses.tolist()) == {-1, 1}
    twin = replace(
        figure, yaw=-figure.yaw, speed=-figure.speed, start=160 - figure.start, phase=figure.phase + np.pi
    )
    mirrored = np.stack([twin.joints(frame) for frame in range(20)])
    order = np.arange(17)
    for a, b in ((5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)):
        order[[a, b]] = b, a
    expected = joints[:, order] * [-1, 1] + [160, 0]
    np.testing.assert_allclose(np.delete(mirrored, [3, 4], 1), np.delete(expected, [3, 4], 1), atol=1e-9)


def test_in_line_nobody_ever_overlaps():
    for video in WalkingFigures(num_videos=12, num_frames=16, seed=0, crossing=False, **QUIET):
        for frame in range(16):
            boxes = video.tracks.boxes[video.tracks.frame_slice(frame)]
            x1, x2 = np.sort(boxes[:, 0]), np.sort(boxes[:, 2])
            assert (x1[1:] >= x2[:-1]).all()


def test_crossing_figures_pass_each_other():
    passed = 0
    for video in WalkingFigures(num_videos=8, num_frames=24, seed=0, min_figures=2, max_figures=2):
        tracks = video.tracks
        order = []
        for frame in range(24):
            here = tracks.frame_slice(frame)
            if here.stop - here.start == 2:
                order.append(np.argsort(tracks.boxes[here, 0]).tolist())
        passed += order[0] != order[-1]
    assert passed >= 4


def test_short_disappearances_are_bridged_and_long_ones_are_not():
    walks = WalkingFigures(num_videos=10, num_frames=24, seed=6, num_pillars=2, hidden_share=0.1)
    never = replace(walks, bridged_frames=0)
    bridged = gaps = 0
    for number in range(10):
        scene, some, none = make_scene(walks, number), walks.tracks(number), never.tracks(number)
        joints = np.stack([[f.joints(t) for f in scene.figures] for t in range(24)])
        seen, _ = walks._what_is_seen(scene, joints)
        for track in np.unique(some.track_ids).tolist():
            with_bridges, without = columns(some, track)[0], columns(none, track)[0]
            assert (seen[without, track] >= MIN_SEEN).all()
            extra = np.setdiff1d(with_bridges, without)
            assert (seen[extra, track] < MIN_SEEN).all()
            # Nobody is invented at the ends, and no hole of one or two frames is left.
            assert len(extra) == 0 or (without.min() < extra.min() and extra.max() < without.max())
            holes = np.diff(with_bridges) - 1
            assert ((holes == 0) | (holes > 2) | _leaves(joints, with_bridges, track)).all()
            bridged += len(extra)
            gaps += (holes > 2).sum()
    assert bridged > 20 and gaps > 0


def _leaves(joints, frames, track):
    """Between two frames the figure was partly out of the picture."""
    middle = np.nanmean(joints[:, track, :, 0], 1)
    spans = (middle[a:b] for a, b in pairwise(frames.tolist()))
    return np.array([span.min() < 20 or span.max() > 140 for span in spans], dtype=bool)


def test_hidden_joints_can_be_left_out():
    walks = WalkingFigures(num_videos=3, num_frames=10, seed=8)
    shown = replace(walks, hidden_joints=False)
    missing = 0
    for number in range(3):
        every, some = walks.tracks(number), shown.tracks(number)
        np.testing.assert_array_equal(every.boxes, some.boxes)
        is_there = [np.isfinite(each.keypoints).all(2) for each in (every, some)]
        assert (is_there[0] | ~is_there[1]).all() and is_there[1].any(1).all()
        missing += (is_there[0] & ~is_there[1]).sum()
    assert missing > 50


def test_the_truth_scores_a_hundred_by_posetracks_rules():
    evaluator = PoseTrackEvaluator()
    for video in WalkingFigures(num_videos=2, num_frames=8, seed=1):
        truth = to_posetrack_15(video.tracks)
        evaluator.update(truth, replace(truth, keypoint_scores=np.ones((len(truth), 15))))
    mean = evaluator.result().metrics
    assert mean["mAP"] == pytest.approx(100) and mean["MOTA"] == pytest.approx(100)


@pytest.mark.parametrize("wrong", [{"num_videos": 0}, {"min_figures": 6}, {"image_size": (16, 64)}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="expected num_videos ≥ 1"):
        WalkingFigures(**{"num_videos": 2, **wrong})


def test_a_camera_that_swings_moves_everything_alike():
    walk = {"num_videos": 3, "num_frames": 12, "seed": 5}
    still, swung, moved = WalkingFigures(**walk), WalkingFigures(**walk, camera_swing=9.0), 0
    for number in range(3):
        camera = np.array(make_scene(swung, number).camera)
        assert np.abs(camera).max() <= 9
        before, after = still.tracks(number), swung.tracks(number)
        for frame in range(12):
            rows, them = before.at(frame), after.at(frame)
            for one in set(rows.track_ids.tolist()) & set(them.track_ids.tolist()):
                a, b = (t.keypoints[t.track_ids == one] for t in (rows, them))
                both = torch.isfinite(a) & torch.isfinite(b)
                expected = torch.tensor([camera[frame], 0], dtype=a.dtype).expand_as(a)
                torch.testing.assert_close((a - b)[both], expected[both])
                moved += int(camera[frame] != 0)
    assert moved > 20 and make_scene(still, 0).camera == (0,) * 12
    with pytest.raises(ValueError, match="camera_swing ≥ 0, got"):
        WalkingFigures(num_videos=1, camera_swing=-1.0)
