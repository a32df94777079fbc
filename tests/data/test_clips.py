"""Clips: which frames, which objects in each, the same transform for all; one frame is a picture like any other."""

import pickle
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from pagoda.data.augment.clips import transform_clip
from pagoda.data.augment.mixing import CopyPaste, Mixup, PasteSources
from pagoda.data.augment.transforms import (
    Carry,
    Compose,
    HorizontalFlip,
    JitteredResize,
    Mosaic,
    PhotometricDistort,
    RandomIoUCrop,
)
from pagoda.data.clips import ClipDataset
from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.loading import BatchPlan, Draw, TrainingView, make_loader
from pagoda.data.videos import Video
from pagoda.evaluation.runner import evaluate
from pagoda.pictures.read import PictureError
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.tracks import UNLINKED, Tracks
from pagoda.structures.tubes import TubeTargets, clip_frames

PERSON = LabelMap.from_names(["person"])
PAIRS = PERSON_17.skeleton.flip_pairs


@pytest.fixture(scope="module")
def walks() -> WalkingFigures:
    return WalkingFigures(num_videos=2, num_frames=6, seed=5, image_size=(64, 80))


def augment() -> Compose:
    return Compose(
        [Carry(keypoints=True), JitteredResize(64, 80), HorizontalFlip(0.5, PAIRS), PhotometricDistort(0.5)]
    )


def boxes_only(rows, num_frames, *, labelled=None, ignored=None, size=(20, 30), name="film") -> Video:
    """(frame, id, x) rows: a box 6 × 10 at x; each frame is one grey, its number."""
    frames, ids, xs = (np.array(column) for column in zip(*rows, strict=True))
    boxes = np.stack([xs, xs * 0 + 5, xs + 6, xs * 0 + 15], 1).astype(float)
    tracks = Tracks(
        frames,
        ids,
        boxes,
        np.ones(len(rows)),
        np.zeros(len(rows), dtype=np.int64),
        PERSON,
        num_frames,
        size,
        name,
        ignored=None if ignored is None else np.array(ignored),
        labelled_frames=None if labelled is None else np.array(labelled),
    )
    return Video(tracks, lambda frame: torch.full((3, *size), frame, dtype=torch.uint8))


def assert_same(one: Targets, other: Targets, *, order=slice(None)) -> None:
    for name in (f.name for f in fields(Targets) if f.name != "track_ids"):
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(b, Tensor):
            assert torch.equal(a, b[order]), name
        else:
            assert a == b, name


@pytest.mark.parametrize(
    ("clip_length", "interval", "expected"),
    [
        (3, 1, "001 012 123 234 345 455"),
        (3, 2, "002 113 024 135 244 355"),
        (4, 1, "0001 0012 0123 1234 2345 3455"),  # even lengths look further back
        (2, 1, "00 01 12 23 34 45"),
        (1, 7, "0 1 2 3 4 5"),
        (5, 2, "00024 11135 00244 11355 02444 13555"),
        (3, 9, "000 111 222 333 444 555"),
    ],
)
def test_borders_repeat_the_nearest_frame_towards_the_key(clip_length, interval, expected):
    found = [clip_frames(index, 6, clip_length=clip_length, interval=interval) for index in range(6)]
    assert found == [tuple(map(int, word)) for word in expected.split()]


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 4), st.data())
def test_clip_frames_step_outwards_until_there_is_nothing(num_frames, clip_length, interval, data):
    index = data.draw(st.integers(0, num_frames - 1))
    found = clip_frames(index, num_frames, clip_length=clip_length, interval=interval)
    key = clip_length // 2
    expected = {key: index}
    for step, positions in ((-interval, range(key - 1, -1, -1)), (interval, range(key + 1, clip_length))):
        at = index
        for position in positions:
            at = at + step if 0 <= at + step < num_frames else at
            expected[position] = at
    assert dict(enumerate(found)) == expected


def test_frames_that_are_not_there_are_refused():
    with pytest.raises(IndexError, match="frame 6 of a video of 6"):
        clip_frames(6, 6, clip_length=3)
    with pytest.raises(ValueError, match="interval ≥ 1, got 3 and 0"):
        clip_frames(0, 6, clip_length=3, interval=0)


def test_a_clip_of_one_frame_is_the_picture(walks):
    clips = ClipDataset(walks, clip_length=1)
    pictures = clips.all_frames
    assert len(clips) == 12 and clips.annotations.sizes.tolist() == [[64, 80]] * 12
    for index in range(len(clips)):
        frames, targets = clips[index]
        assert torch.equal(frames, walks.frame(index // 6, index % 6)[None])
        expected = pictures.targets(index)
        order = targets.track_ids.argsort()  # rows of a drawn frame stand in the order of their ids
        assert torch.equal(order, torch.arange(len(targets)))
        assert_same(targets.at(0), replace(expected, areas=None))
        assert (targets.image_id, targets.file) == (expected.image_id, expected.file)


def test_a_clip_of_one_frame_goes_through_transforms_as_the_picture_does(walks):
    clips = TrainingView(ClipDataset(walks, clip_length=1), augment())
    for seed in range(6):
        sample = clips[Draw(seed, seed)]
        picture, targets = clips.dataset.clip(seed)[0], clips.dataset.targets(seed).at(0)
        torch.manual_seed(seed)
        picture, expected = augment()(picture, targets)
        assert torch.equal(sample.picture, picture[None])
        assert_same(sample.targets.at(0), expected)
        assert torch.equal(sample.targets.at(0).track_ids, expected.track_ids)


def test_all_frames_of_a_clip_are_changed_alike(walks):
    clips = ClipDataset(walks, clip_length=3)
    frames, targets = clips[0]  # the border repeats frame 0
    assert clips.place(0) == (0, (0, 0, 1)) and clips.place(11) == (1, (4, 5, 5))
    moved = set()
    for seed in range(8):
        torch.manual_seed(seed)
        changed, after = transform_clip(augment(), frames, targets)
        rest = torch.rand(())
        assert torch.equal(changed[0], changed[1]) and not torch.equal(changed[1], changed[2])
        assert torch.equal(after.boxes[:, 0], after.boxes[:, 1])
        torch.manual_seed(seed)
        alone, expected = augment()(frames[2], targets.at(2))
        assert torch.equal(torch.rand(()), rest)  # the clip drew as much as one picture
        assert torch.equal(changed[2], alone)
        here = after.visible[:, 2]
        assert torch.equal(after.track_ids[here], expected.track_ids)
        assert torch.equal(after.boxes[here, 2], expected.boxes)
        assert torch.equal(after.keypoints[here, 2], expected.keypoints)
        moved.add(tuple(changed.shape))
    assert len(moved) > 1


def test_an_object_cropped_away_in_one_frame_is_absent_there():
    video = boxes_only([(0, 7, 0), (1, 7, 12), (2, 7, 24)], 3)
    clip, targets = ClipDataset([video], clip_length=3)[1]

    def left_half(picture, targets):
        from pagoda.data.augment.geometry import Window, cut

        return cut(picture, targets, Window(0, 0, 20, 15), 0)

    frames, after = transform_clip(left_half, clip, targets)
    assert frames.shape == (3, 3, 20, 15) and after.image_size == (20, 15)
    assert after.visible.tolist() == [[True, True, False]] and after.track_ids.tolist() == [7]
    assert after.boxes.tolist() == [[[0, 5, 6, 15], [12, 5, 15, 15], [0, 0, 0, 0]]]
    assert (after.key, after.image_id, after.file) == (1, 2, "film/000001.png")


def test_transforms_that_would_tear_a_clip_apart_are_refused(walks):
    clips = ClipDataset(walks, clip_length=3)
    sources = PasteSources.of(clips.annotations)
    for step in (Mosaic(clips, (64, 64)), RandomIoUCrop(), Mixup(clips), CopyPaste(clips, sources)):
        with pytest.raises(ValueError, match=r"augment\.mosaic=0, copy_paste=0, mixup=0 and iou_crop=0"):
            TrainingView(clips, Compose([step]))[Draw(0, 0)]

    def by_objects(picture, targets):
        torch.rand(int(targets.boxes.sum()))
        return picture, targets

    with pytest.raises(ValueError, match="frame 2 took others than the one before"):
        transform_clip(by_objects, *clips[0])
    with pytest.raises(ValueError, match="track ids of a clip were lost"):
        transform_clip(lambda picture, t: (picture, replace(t, track_ids=None)), *clips[0])


def test_training_takes_clips_annotated_as_a_whole_and_testing_every_annotated_key():
    labelled = [False, True, True, True, False, True]
    video = boxes_only([(1, 3, 1), (2, 3, 2), (3, 3, 3), (5, 3, 5)], 6, labelled=labelled)
    every = ClipDataset([video], clip_length=3)
    assert [every.place(i)[1] for i in range(len(every))] == [(0, 1, 2), (1, 2, 3), (2, 3, 4), (4, 5, 5)]
    assert every[0][1].visible.tolist() == [[False, True, True]]  # nobody said what is in frame 0
    assert every.annotations.image_ids.tolist() == [2, 3, 4, 6] and not every.annotations.notes
    whole = ClipDataset([video], clip_length=3, complete=True)
    assert [whole.place(i)[1] for i in range(len(whole))] == [(1, 2, 3)]
    assert "3 of 4 annotated frames have neighbours nobody annotated" in whole.annotations.notes[0]
    assert whole[0][0][:, 0, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(
        ValueError, match="4 are annotated, none in a clip that is so as a whole; take shorter"
    ):
        ClipDataset([video], clip_length=5, complete=True)


def test_objects_come_and_go_and_those_without_a_track_stay_apart():
    rows = [(0, 4, 0), (0, UNLINKED, 10), (0, UNLINKED, 20), (1, 4, 1), (2, 2, 8), (1, 4, 15)]
    ignored = [False, False, True, False, False, True]
    _, targets = ClipDataset([boxes_only(rows, 3, ignored=ignored)], clip_length=3)[1]
    assert (targets.track_ids < 0).sum() == 3 and targets.track_ids[-2:].tolist() == [2, 4]
    by_id = dict(zip(targets.track_ids.tolist(), targets.visible.tolist(), strict=True))
    assert by_id[2] == [False, False, True] and by_id[4] == [True, True, False]
    assert targets.ignored.sum() == 2 and len(targets.learnable()) == 3
    assert targets.boxes[-1].tolist() == [[0, 5, 6, 15], [1, 5, 7, 15], [0, 0, 0, 0]]


def test_boxes_beyond_the_picture_are_cut_and_noted_and_poses_lose_nothing():
    points = np.full((2, 17, 2), np.nan)
    points[0, 0] = 3, 4
    video = boxes_only([(0, 1, -3), (0, 2, 40)], 1)
    tracks = replace(video.tracks, keypoints=points, label_map=PERSON_17)
    data = ClipDataset([Video(tracks, video.frames)], clip_length=1)
    _, targets = data[0]
    assert targets.boxes.tolist() == [[[0, 5, 3, 15]]] and targets.track_ids.tolist() == [1]
    assert targets.visibility.sum().item() == 2 and targets.keypoints[0, 0, 0].tolist() == [3, 4]
    assert "has no area inside the picture" in data.annotations.notes[0]


def test_what_does_not_fit_together_is_refused(tmp_path):
    video = boxes_only([(0, 1, 0)], 2)
    with pytest.raises(ValueError, match="at least one video"):
        ClipDataset([])
    with pytest.raises(ValueError, match="'film' has 1 picture, but annotations for 2 frames"):
        Video(video.tracks, [tmp_path / "0.png"])
    with pytest.raises(ValueError, match="'film' and 'other' differ"):
        ClipDataset([video, Video(replace(video.tracks, label_map=PERSON_17, name="other"), video.frames)])
    wrong = Video(video.tracks, lambda frame: torch.zeros(3, 9, 9, dtype=torch.uint8))
    with pytest.raises(PictureError, match=r"film/000000.png must be uint8 \(3, 20, 30\), got .*\(3, 9, 9\)"):
        ClipDataset([wrong])[0]


def test_files_are_read_and_a_broken_neighbour_spoils_the_clip(tmp_path):
    video = boxes_only([(0, 1, 0), (2, 1, 4)], 3)
    files = [tmp_path / "film" / f"{number}.png" for number in range(3)]
    files[0].parent.mkdir()
    for number, file in enumerate(files):
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(file)
    data = ClipDataset([Video(replace(video.tracks, image_size=None), files)], clip_length=3)
    assert data[1][0][:, 0, 0, 0].tolist() == [0, 1, 2] and data[1][1].image_size == (20, 30)
    assert data.annotations.path(2) == files[2]
    assert torch.equal(DetectionDataset(data.annotations)[1][0], data[1][0][1])
    files[2].write_bytes(b"")
    skipped = TrainingView(data)[Draw(1, 0)]
    assert "2.png" in skipped.reason and len(TrainingView(data)[Draw(0, 0)]) == 3


def test_clips_travel_between_processes(walks):
    view = TrainingView(ClipDataset(walks, clip_length=3), augment())
    plan = BatchPlan(images=view.dataset.annotations.sizes, batch_size=4, seed=0).epoch(0)
    alone, helped = list(make_loader(view, plan)), list(make_loader(view, plan, num_workers=1))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.pictures, other.pictures, strict=True))
        for a, b in zip(one.targets, other.targets, strict=True):
            assert isinstance(b, TubeTargets)
            for name in (f.name for f in fields(TubeTargets)):
                x, y = getattr(a, name), getattr(b, name)
                assert torch.equal(x, y) if isinstance(x, Tensor) else x == y, name
    assert pickle.loads(pickle.dumps(alone[0])).targets[0].num_frames == 3


class Oracle(nn.Module):
    """Finds in clip after clip what is annotated in its key frame."""

    def __init__(self, data: ClipDataset) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.label_map = data.label_map
        self.input_spec = InputSpec(short_side=128, long_side=160)
        self.postprocess = SimpleNamespace(with_limits=lambda **limits: None)
        self.restore = self.input_spec.restore
        self.truth = (data.targets(index).at(1) for index in range(len(data)))
        self.seen: list[tuple[int, ...]] = []

    def detect(self, images, *, postprocess, sizes):
        self.seen.append(tuple(images.pixels.shape))
        return self.restore([self._found(next(self.truth)) for _ in images.sizes], sizes)

    def _found(self, truth: Targets) -> Detections:
        return Detections(
            truth.boxes * 2,
            torch.ones(len(truth)),
            truth.labels,
            (128, 160),
            self.label_map,
            keypoints=truth.keypoints * 2,
            keypoint_scores=torch.ones(truth.visibility.shape),
        )


def test_key_frames_are_what_is_scored(walks):
    data = ClipDataset(walks, clip_length=3)
    oracle = Oracle(data)
    result = evaluate(oracle, data, batch_size=5)
    assert result.metrics["AP"] == pytest.approx(1) and result.others["keypoints"].metrics[
        "AP"
    ] == pytest.approx(1)
    assert oracle.seen == [(5, 3, 3, 128, 160)] * 2 + [(2, 3, 3, 128, 160)]
