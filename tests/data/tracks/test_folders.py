"""Folders of videos: PoseTrack's two layouts and MOTChallenge's, there and back, and what is wrong with others."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.tracks.folders import boxes_of_poses, open_clips, open_videos, write_video_folder
from pagoda.data.tracks.posetrack import read_posetrack
from pagoda.data.tracks.posetrack_joints import to_posetrack_15
from pagoda.data.tracks.posetrack_writing import write_posetrack_17, write_posetrack_truth
from pagoda.recipes.remarks import data_remarks


@pytest.fixture(scope="module")
def walks():
    return WalkingFigures(num_videos=2, num_frames=4, seed=5, image_size=(64, 80))


@pytest.fixture(scope="module")
def folder(walks, tmp_path_factory):
    folder = write_video_folder(walks, tmp_path_factory.mktemp("walks"), "train", kind="png")
    return write_video_folder(WalkingFigures(num_videos=1, num_frames=3, seed=6), folder, "val")


def mot_sequence(folder, name, numbers, lines="1,7,11,21,10,20,1,1,1\n3,7,12,21,10,20,0,1,1\n", info=None):
    pictures = folder / name / "img1"
    pictures.mkdir(parents=True)
    for number in numbers:
        Image.fromarray(np.full((48, 64, 3), number, np.uint8)).save(pictures / f"{number:06d}.png")
    (folder / name / "gt").mkdir()
    (folder / name / "gt" / "gt.txt").write_text(lines)
    if info:
        (folder / name / "seqinfo.ini").write_text(f"[Sequence]\nname={name}\n{info}\n")


def test_drawn_videos_there_and_back(walks, folder):
    videos = open_videos(folder, "train")
    assert [video.tracks.name for video in videos] == ["walk_0000", "walk_0001"]
    for video, drawn in zip(videos, walks, strict=True):
        for name in ("frames", "track_ids", "boxes", "keypoints", "head_boxes"):
            np.testing.assert_allclose(getattr(video.tracks, name), getattr(drawn.tracks, name), atol=1e-9)
        assert video.tracks.image_size == (64, 80) and video.tracks.labelled_frames.all()
    clips = open_clips(folder, "train", clip_length=3, complete=True)
    frames, targets = clips[5]
    assert torch.equal(frames, torch.stack([walks.frame(1, frame) for frame in (0, 1, 2)]))
    assert targets.file == "walk_0001/000001.png" and clips.annotations.path(5).is_file()
    assert len(open_clips(folder, "train+val", clip_length=1)) == 4 + 4 + 3
    assert len(open_clips(folder, "validation", interval=2)) == 3


def test_a_split_that_is_not_there_is_named(folder):
    with pytest.raises(ValueError, match=r"has no split 'trian'; did you mean 'train'\? it has train, val"):
        open_clips(folder, "trian")


def test_2017_files_with_pictures_beside_them(walks, tmp_path):
    video = walks[0]
    names = tuple(f"images/bonn/walk/{frame + 1:08d}.jpg" for frame in range(4))
    (tmp_path / "images/bonn/walk").mkdir(parents=True)
    for frame, name in enumerate(names):
        Image.fromarray(video.frames(frame).permute(1, 2, 0).numpy()).save(tmp_path / name)
    poses = replace(to_posetrack_15(video.tracks), frame_names=names)
    (tmp_path / "annotations" / "val").mkdir(parents=True)
    write_posetrack_17(poses, tmp_path / "annotations" / "val" / "walk.json")
    clips = open_clips(tmp_path, "val", pose_box_scale=1.2)
    assert clips[0][0].shape == (3, 3, 64, 80) and clips.label_map.skeleton.names[12] == "neck"
    found, tight = clips.videos[0].tracks, open_videos(tmp_path, "val")[0].tracks
    np.testing.assert_allclose(
        found.boxes[:, 2:] - found.boxes[:, :2], 1.2 * (tight.boxes[:, 2:] - tight.boxes[:, :2])
    )
    np.testing.assert_allclose(
        found.boxes[:, 2:] + found.boxes[:, :2], tight.boxes[:, 2:] + tight.boxes[:, :2]
    )
    (tmp_path / names[2]).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 4 pictures are not there, the first is .*00000003.jpg"
    ):
        open_videos(tmp_path, "val")
    (tmp_path / names[0]).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"2 of 4 pictures .* first is images/bonn/walk/00000001.jpg; looked"
    ):
        open_videos(tmp_path, "val")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("images\\bonn\\walk\\{}", "with forward slashes"),
        ("D:/posetrack/bonn/walk/{}", "by the end of the path"),
    ],
)
def test_pictures_of_posetrack_are_found_by_the_rule_of_all_formats(walks, tmp_path, written, said):
    video, place = walks[0], tmp_path / "images/bonn/walk"
    place.mkdir(parents=True)
    numbers = [f"{frame + 1:08d}.png" for frame in range(4)]
    for frame, name in enumerate(numbers):
        Image.fromarray(video.frames(frame).permute(1, 2, 0).numpy()).save(place / name)
    poses = replace(to_posetrack_15(video.tracks), frame_names=tuple(map(written.format, numbers)))
    (tmp_path / "annotations" / "val").mkdir(parents=True)
    write_posetrack_17(poses, tmp_path / "annotations" / "val" / "walk.json")
    clips = open_clips(tmp_path, "val")
    assert list(clips.videos[0].frames) == [place / name for name in numbers]
    assert [note for note in clips.annotations.notes if f"4 pictures were found {said}" in note]


def test_boxes_of_poses_stay_in_the_picture_and_need_poses(walks):
    tracks = walks.tracks(0)
    large = boxes_of_poses(tracks, 9)
    assert large.boxes.min() >= 0 and (large.boxes[:, 2:] <= [80, 64]).all()
    without = replace(tracks, keypoints=np.full_like(tracks.keypoints, np.nan))
    np.testing.assert_array_equal(boxes_of_poses(without, 9).boxes, tracks.boxes)
    with pytest.raises(ValueError, match="video 'walk_0000' has none"):
        boxes_of_poses(replace(tracks, keypoints=None), 1.2)


def test_mot_sequences_are_splits_and_parts_of_splits(tmp_path):
    mot_sequence(tmp_path, "A", [1, 2, 3], info="seqLength=3\nimWidth=64\nimHeight=48")
    mot_sequence(tmp_path / "train", "B", [1, 2, 3])
    mot_sequence(tmp_path / "train", "C", [1, 2, 3, 4])
    assert len(open_clips(tmp_path, "A")) == 3
    assert [video.tracks.num_frames for video in open_videos(tmp_path, "train+A")] == [3, 4, 3]
    frames, targets = open_clips(tmp_path, "train")[1]
    assert frames[:, 0, 0, 0].tolist() == [1, 2, 3] and targets.visible.tolist() == [[True, False, True]]
    assert targets.boxes[0, 0].tolist() == [10, 20, 20, 40] and targets.ignored.tolist() == [True]


def test_pictures_are_in_the_order_of_their_numbers(tmp_path):
    lines = "".join(f"{frame},7,{frame},1,10,20,1,1,1\n" for frame in range(1, 13))
    mot_sequence(tmp_path, "A", range(1, 13), lines)
    for file in sorted((tmp_path / "A" / "img1").iterdir()):
        file.rename(file.with_name(f"{int(file.stem)}.png"))
    (video,) = open_videos(tmp_path, "A")
    assert [video.picture(frame)[0, 0, 0] for frame in range(12)] == list(range(1, 13))


def test_classes_of_labels_txt_are_what_is_learnt(tmp_path):
    mot_sequence(tmp_path, "A", [1, 2, 3], "1,7,11,21,10,20,1,2,1\n2,7,11,21,10,20,1,1,1\n")
    (tmp_path / "A" / "gt" / "labels.txt").write_text("car\nbus\n")
    clips = open_clips(tmp_path, "A")
    assert clips.label_map.names == ("car", "bus") and clips.annotations.labels.tolist() == [1, 0]
    assert not clips.annotations.ignored.any() and clips.annotations.notes == ()


def test_rows_that_are_not_learnt_are_noted(tmp_path):
    mot_sequence(
        tmp_path, "A", [1, 2, 3], "1,7,11,21,10,20,1,1,1\n1,8,11,21,10,20,1,3,1\n2,8,1,1,9,9,0,1,1\n"
    )
    (note,) = open_clips(tmp_path, "A").annotations.notes
    assert note.startswith("A: 1 row with flag 0, 1 row of class car are not to be found, but ignored (MOT17")


def test_where_no_row_counts_the_remedy_is_said_and_works(tmp_path):
    mot_sequence(tmp_path, "A", [1, 2, 3], "1,7,11,21,10,20,1,2,1\n")
    with pytest.raises(
        ValueError, match=r"counts as pedestrian: 1 row of class person_on_vehicle; .*labels\.txt"
    ):
        open_videos(tmp_path, "A")
    (tmp_path / "A" / "gt" / "labels.txt").write_text("car\nbus\n")
    assert open_videos(tmp_path, "A")[0].tracks.labels.tolist() == [1]


@pytest.mark.parametrize("numbers", [[1, 2], [1, 2, 4], [0, 1, 3], [0, 1, 2, 3], [2, 3, 4]])
def test_mot_pictures_that_do_not_fit_are_refused(tmp_path, numbers):
    mot_sequence(tmp_path, "A", numbers, info="seqLength=3\nimWidth=64\nimHeight=48")
    with pytest.raises(
        ValueError, match=r"expected the pictures 1 … 3, as 000001.jpg, .*; found [234], 00000"
    ):
        open_clips(tmp_path, "A")


@pytest.mark.parametrize(
    ("names", "notes"),
    [
        (["000001", "000002", "000003"], ()),
        (["frame_000001", "frame_000002", "frame_000003"], ()),
        (["000000", "000001", "000002"], ("A: the pictures are numbered from 0", "frame 1 is 000000.png")),
        (["cam2_8", "cam2_9", "cam2_10"], None),
        (["frame_0", "frame_1", "frame_2"], ("frame 1 is frame_0.png",)),
        (["a1", "b2", "b3"], None),
        (["one", "two", "three"], None),
    ],
)
def test_mot_pictures_numbered_from_0_are_paired_and_said(tmp_path, names, notes):
    mot_sequence(tmp_path, "A", [1, 2, 3])
    for number, name in enumerate(names, 1):
        place = tmp_path / "A" / "img1"
        (place / f"{number:06d}.png").rename(place / f"{name}.tmp")
    for name in names:
        (place / f"{name}.tmp").rename(place / f"{name}.png")
    if notes is None:
        with pytest.raises(ValueError, match=r"expected the pictures 1 … 3, as 000001\.jpg"):
            open_videos(tmp_path, "A")
        return
    videos = open_videos(tmp_path, "A")
    assert [videos[0].picture(frame)[0, 0, 0] for frame in range(3)] == [1, 2, 3]
    assert videos[0].tracks.frames.tolist() == [0, 2]
    said = data_remarks(videos, tmp_path)
    assert all(note in "\n".join(said) for note in notes) and bool(said) == bool(notes)


def test_other_folders_are_told_what_is_known(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        open_clips(tmp_path / "nowhere", "train")
    (tmp_path / "movies").mkdir()
    with pytest.raises(
        ValueError, match=r"expected PoseTrack \(annotations/<split>/\*.json .*; found movies/"
    ):
        open_clips(tmp_path, "train")


def test_ground_truth_is_written_with_all_it_has(walks, tmp_path):
    region = np.array([[0.0, 0], [9, 0], [9, 9]])
    tracks = walks.tracks(0)
    labelled = np.array([True, True, False, True])
    full = replace(tracks, labelled_frames=labelled, ignore_regions={1: (region, region + 1)})
    write_posetrack_truth(full, tmp_path / "walk_0000.json")
    (again,) = read_posetrack(tmp_path / "walk_0000.json")
    assert again.labelled_frames.tolist() == labelled.tolist() and list(again.ignore_regions) == [1]
    np.testing.assert_array_equal(again.ignore_regions[1][1], region + 1)
    assert json.loads((tmp_path / "walk_0000.json").read_text())["images"][0]["nframes"] == 4
    for wrong in ({"frame_names": ()}, {"image_size": None}, {"ignored": np.ones(len(tracks), bool)}):
        with pytest.raises(
            ValueError, match="needs image_size, frame_names, and objects that all have tracks"
        ):
            write_posetrack_truth(replace(full, **wrong), tmp_path / "no.json")
    with pytest.raises(ValueError, match="a video needs a name"):
        write_video_folder([replace(walks[0], tracks=replace(tracks, name=""))], tmp_path, "train")


def test_real_sequences_open(shared_data):
    clips = open_clips(shared_data / "mot_tud", "TUD-Campus+TUD-Stadtmitte", interval=2)
    assert len(clips) == 71 + 179 and len(clips.annotations.labels) == 359 + 1156
    frames, targets = clips[71]
    assert frames.shape == (3, 3, 480, 640) and clips.place(71) == (1, (0, 0, 2))
    assert (
        targets.boxes.amin() >= 0 and (targets.boxes.amax((0, 1)) <= torch.tensor([640, 480, 640, 480])).all()
    )
