"""Videos followed and scored: nothing is lost between the detector, the linker and the scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.videos import Video
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.follow import score
from pagoda.follow.clips import FOLLOWING_LIMITS, detect_frames
from pagoda.follow.score import (
    detect_video,
    follow,
    has_poses,
    score_followed,
    summary_table,
)
from pagoda.models import create_model
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.tracks import UNLINKED, Tracks
from pagoda.structures.tubes import Tubes, clip_frames
from pagoda.tracking.linking import LINKERS, create_tracker, link

pytestmark = pytest.mark.medium

SMALL = {"width": 16, "head_depth": 1, "short_side": 64, "long_side": 80}


@pytest.fixture(scope="module")
def walks():
    """Nobody is hidden."""
    calm = {"crossing": False, "num_pillars": 0, "hidden_share": 0.0}
    return list(WalkingFigures(num_videos=2, num_frames=8, seed=3, image_size=(64, 80), **calm))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, **SMALL).eval()


def true_tubes(truth: Tracks, *, score: float = 1.0) -> list[Tubes]:
    """What a perfect model says: a tube for everybody in the key frame, standing still where he is not there."""
    clips = []
    for key in range(truth.num_frames):
        frames = clip_frames(key, truth.num_frames, clip_length=3)
        now = truth.at(key)
        boxes, points = now.boxes[:, None].repeat(1, 3, 1), now.keypoints[:, None].repeat(1, 3, 1, 1)
        for position, frame in enumerate(frames):
            there = truth.at(frame)
            for row, track in enumerate(now.track_ids.tolist()):
                for other in (there.track_ids == track).nonzero().flatten().tolist():
                    boxes[row, position] = there.boxes[other]
                    points[row, position] = there.keypoints[other]
        count = len(now)
        clips.append(
            Tubes(
                boxes,
                torch.full((count,), score),
                now.labels,
                frames,
                1,
                now.image_size,
                truth.label_map,
                keypoints=points,
                keypoint_scores=torch.ones(points.shape[:3]),
            )
        )
    return clips


@pytest.mark.parametrize("linker", LINKERS)
def test_a_perfect_model_has_perfect_scores_where_nothing_crosses(walks, linker):
    truths = [video.tracks for video in walks]
    linked = [link(true_tubes(truth), create_tracker(linker), truth.name) for truth in truths]
    result = score_followed(linker, truths, linked, poses=True, boxes=True)
    row = result.summary()
    assert row.pop("switches") == 0 and result.untracked == 0
    assert row == pytest.approx(dict.fromkeys(row, 100.0))
    assert list(row) == ["pose mAP", "pose MOTA", "HOTA", "MOTA", "IDF1"]
    text = summary_table([result])
    assert text.splitlines()[1].split() == [linker, *["100.0"] * 5, "0"]


def test_what_no_track_took_is_counted(walks):
    truth = walks[0].tracks
    weak = [*true_tubes(truth)[:4], *true_tubes(truth, score=0.2)[4:]]
    linked = link(weak, create_tracker("tubes"), truth.name)
    result = score_followed("tubes", [truth], [linked], poses=False, boxes=True)
    late = int((truth.frames >= 4).sum())
    assert result.untracked == late and result.poses is None
    assert result.boxes.metrics["FN"] == late and result.boxes.metrics["FP"] == 0
    assert f"{late} detections belong to no track" in result.table()
    content = json.loads(json.dumps(result.to_dict()))
    assert content["poses"] is None and content["summary"]["switches"] == 0


def test_boxes_in_frames_nobody_annotated_are_no_mistakes(walks):
    truth = walks[0].tracks
    linked = link(true_tubes(truth), create_tracker("tubes"), truth.name)
    first_half = np.arange(8) < 4
    half = replace(truth.rows(truth.frames < 4), labelled_frames=first_half)
    result = score_followed("tubes", [half], [linked], poses=False, boxes=True)
    assert result.boxes.metrics["FP"] == 0 and result.boxes.metrics["MOTA"] == 1


@pytest.mark.slow
def test_tubes_linked_later_are_what_a_video_is_linked_to(model):
    """Scores of a random model say nothing, but its many tubes are good enough to be confused."""
    video = WalkingFigures(num_videos=1, num_frames=4, seed=3, image_size=(64, 80))[0]
    done = []
    found = detect_video(model, video, progress=done.append)
    assert done == list(range(1, 5)) and sum(map(len, found))
    pictures = [video.picture(frame) for frame in range(4)]
    for linker in ("byte", "tubes"):
        tracker = create_tracker(linker)
        at_once = map(tracker.update, detect_frames(model, pictures, limits=FOLLOWING_LIMITS))
        expected = Tracks.from_detections(at_once, "walk")
        later = link(found, create_tracker(linker), "walk")
        for name in ("frames", "boxes", "track_ids", "keypoints"):
            np.testing.assert_array_equal(getattr(later, name), getattr(expected, name))


def test_poses_are_scored_where_model_and_data_have_them(walks, model, monkeypatch):
    perfect = {video.tracks.name: true_tubes(video.tracks) for video in walks}

    def find(model, video, *, progress=None):
        progress(video.tracks.num_frames)
        return perfect[video.tracks.name]

    monkeypatch.setattr(score, "detect_video", find)
    done = []
    result = follow(model, walks, "tubes", progress=done.append)
    assert done == [8, 16] and result.boxes is None and result.poses.metrics["mAP"] == pytest.approx(100)
    headless = [Video(replace(video.tracks, head_boxes=None), video.frames) for video in walks]
    assert has_poses(model, walks) and not has_poses(model, headless)
    result = follow(model, headless, "tubes", progress=done.append)
    assert result.poses is None and result.boxes.metrics["IDF1"] == 1
    slow = TrackEvaluator()
    for video in walks:
        slow.update(
            video.tracks, link(perfect[video.tracks.name], create_tracker("tubes"), video.tracks.name)
        )
    assert result.boxes.metrics == slow.result().metrics


def test_objects_without_ids_are_refused_before_any_work(walks, model):
    tracks = walks[0].tracks
    ids = tracks.track_ids.copy()
    ids[:3] = UNLINKED
    video = Video(replace(tracks, track_ids=ids), walks[0].frames)
    with pytest.raises(
        ValueError, match=rf"'walk_0000' has no track id for 3 of its {len(tracks)} annotated"
    ):
        follow(model, [video], "tubes")
    other = replace(tracks, label_map=replace(PERSON_17, names=("dog",)))
    with pytest.raises(ValueError, match="unknown to the model: dog"):
        follow(model, [Video(other, walks[0].frames)], "tubes")
