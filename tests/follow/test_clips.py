"""Videos frame by frame: which clip stands for which frame, and that nothing is lost or computed differently."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from standing_in import batches_of, small_fcos

from pagoda.data.clips import ClipDataset
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.follow.appearance import ModelAppearance
from pagoda.follow.clips import detect_frames, frames_together, neighbours, tracker_for
from pagoda.models import create_model
from pagoda.pictures.read import PictureError
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.tracking.linking import create_tracker

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1, "short_side": 64, "long_side": 96}
LIMITS = {"min_score": 0.0, "max_detections": 5}


@pytest.fixture(scope="module")
def video() -> list[np.ndarray]:
    figures = WalkingFigures(num_videos=1, num_frames=6, seed=3)
    return [figures.frame(0, frame).permute(1, 2, 0).numpy() for frame in range(6)]


def model_of(neck: str, **options):
    torch.manual_seed(0)
    is_c4 = neck.startswith("c4")  # every region goes through the last stage of the backbone
    if is_c4:
        options |= {"short_side": 48, "long_side": 64}
    options = {"label_map": PERSON_17, **SMALL, **options}
    model = create_model(f"detect_and_track_resnet18_{neck}", **options).eval()
    few = replace(model.proposals.inference, max_proposals=20 if is_c4 else 60)
    model.proposals = replace(model.proposals, inference=few)
    return model


@pytest.mark.parametrize(
    ("neck", "options", "clips"),
    [
        ("3d", {}, [(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 5)]),
        ("3d", {"frame_interval": 2}, [(0, 0, 2), (1, 1, 3), (0, 2, 4), (1, 3, 5), (2, 4, 4), (3, 5, 5)]),
        ("2d", {}, [(0,), (1,), (2,), (3,), (4,), (5,)]),
        ("c4_3d", {"link": "center"}, [(0,), (1,), (2,), (3,), (4,), (5,)]),
    ],
)
def test_every_frame_has_the_tubes_of_its_clip(video, neck, options, clips):
    found = list(detect_frames(model_of(neck, **options), video, limits=LIMITS))
    assert [tubes.frames for tubes in found] == clips
    assert all(tubes.image_size == video[0].shape[:2] for tubes in found)
    assert all(tubes.boxes.shape == (5, len(clips[0]), 4) for tubes in found)


@pytest.mark.parametrize(("neck", "tolerance"), [("3d", 0.0), ("c4_3d", 1e-3)])
def test_shared_work_changes_nothing(video, neck, tolerance):
    """To the bit, unless maps are so small that a convolution of three frames takes another way than one of one."""
    model = model_of(neck)
    for once, anew in zip(
        detect_frames(model, video[:3], limits=LIMITS),
        detect_frames(model, video[:3], limits=LIMITS, reuse=False),
        strict=True,
    ):
        for name in ("boxes", "scores", "keypoint_scores"):
            torch.testing.assert_close(getattr(once, name), getattr(anew, name), rtol=0, atol=tolerance)


def test_a_video_and_its_clips_are_seen_alike(video):
    model = model_of("3d")
    dataset = ClipDataset(WalkingFigures(num_videos=1, num_frames=6, seed=3))
    (expected,) = model.detect_tubes(
        model.input_spec.prepare([dataset[2][0]]), postprocess=model.postprocess.with_limits(**LIMITS)
    )
    (expected,) = model.input_spec.restore([expected], [video[0].shape[:2]])
    found = list(detect_frames(model, video, limits=LIMITS))[dataset.place(2)[1][1]]
    torch.testing.assert_close(found.boxes, expected.boxes, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_videos(video, length):
    found = list(detect_frames(model_of("3d"), video[:length], limits=LIMITS))
    assert [tubes.frames[tubes.key] for tubes in found] == list(range(length))


@pytest.mark.parametrize("linker", ["reference", "byte", "ocsort", "tubes"])
@pytest.mark.parametrize("neck", ["3d", "2d"])
def test_every_linker_follows_it(video, linker, neck):
    tracker = create_tracker(linker, min_score=0.0)
    frames = [tracker.update(f) for f in detect_frames(model_of(neck), video, limits=LIMITS, classes=[0])]
    assert len(frames) == len(video)
    assert all(len(found.track_ids) == len(found) for found in frames)


def test_clips_are_followed_from_higher_scores_on_than_single_frames(video):
    clips, frames = model_of("3d"), create_model("fcos_resnet18_fpn", num_classes=1)
    assert [tracker_for(clips, name).min_score for name in ("reference", "byte", "ocsort")] == [
        0.95,
        0.9,
        0.9,
    ]
    assert tracker_for(clips, "byte", min_score=0.3).min_score == 0.3
    assert tracker_for(frames, "byte").min_score == create_tracker("byte").min_score == 0.5


@pytest.mark.parametrize("linker", ["reference", "byte", "ocsort", "tubes"])
def test_frames_without_anybody_are_frames(video, linker):
    found = detect_frames(model_of("2d"), video * 3, limits={"min_score": 1.0})
    linked = map(create_tracker(linker).update, found)
    assert [(len(each), len(each.track_ids)) for each in linked] == [(0, 0)] * 18


@pytest.mark.parametrize(("neck", "interval"), [("3d", 1), ("3d", 2), ("2d", 1)])
def test_a_part_is_seen_as_it_is_in_the_whole(video, neck, interval):
    model = model_of(neck, frame_interval=interval)
    whole = list(detect_frames(model, video, limits=LIMITS))
    first = 3
    start = max(0, first - neighbours(model)[0])
    part = list(detect_frames(model, video[start:], limits=LIMITS, start=start, first=first))
    assert [each.frames for each in part] == [each.frames for each in whole[first:]]
    for one, other in zip(part, whole[first:], strict=True):
        assert torch.equal(one.boxes, other.boxes) and torch.equal(one.keypoints, other.keypoints)


@pytest.mark.parametrize(("first", "batches"), [(0, [8, 8, 2]), (5, [3, 8, 2]), (16, [2])])
def test_several_frames_at_a_time_are_seen_as_each_alone(video, first, batches):
    """Which of them go together depends on their place in the video, not on where it is begun."""
    model, frames = small_fcos(LabelMap.numbered(1)), video * 3
    assert frames_together(model, video[0].shape[:2]) == 8
    alone = list(detect_frames(model, frames, limits=LIMITS, first=first, live=True))
    seen = batches_of(model)
    looks = ModelAppearance(model)
    found = list(detect_frames(model, frames, limits=LIMITS, first=first, appearance=looks))
    assert seen == batches and len(found) == len(alone) == 18 - first
    again = list(detect_frames(model, frames, limits=LIMITS, first=first, appearance=looks, live=True))
    for one, other, looked in zip(found, alone, again, strict=True):
        torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=1e-3)
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.appearance, looked.appearance, rtol=0, atol=1e-4)


def test_large_frames_are_seen_one_by_one():
    model = small_fcos(LabelMap.numbered(1))
    assert frames_together(model, (2160, 3840)) == 1
    model.input_spec = replace(model.input_spec, short_side=800, long_side=1333)
    assert frames_together(model, (48, 64)) == 1 and frames_together(model_of("3d"), (48, 64)) == 1


def test_frames_before_one_that_cannot_be_read_come_first(video):
    def broken():
        yield from video[:3]
        raise PictureError("frame 3 is broken")

    seen = []
    with pytest.raises(PictureError, match="frame 3 is broken"):
        for found in detect_frames(small_fcos(LabelMap.numbered(1)), broken(), limits=LIMITS):
            seen.append(found)
    assert len(seen) == 3


def test_frames_before_one_of_another_size_come_first(video):
    odd = [*video[:4], np.zeros((50, 60, 3), np.uint8)]
    seen = []
    with pytest.raises(PictureError, match=r"frame 4 has \(height, width\) \(50, 60\), the ones before"):
        seen.extend(detect_frames(model_of("3d"), odd, limits=LIMITS))
    assert [tubes.frames for tubes in seen] == [(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 3)]
