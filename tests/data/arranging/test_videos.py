"""Annotated videos put together, divided and chosen from: each whole, with track ids of its own."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.saving import write_coco_folder
from pagoda.data.tracks.folders import open_videos, write_video_folder
from pagoda.data.videos import Video
from pagoda.data.writing.folder import plan, write_dataset
from pagoda.data.writing.videos import open_video_contents

SIZE = (32, 40)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


def walk(folder: Path, seed: int = 1, count: int = 4, split: str = "train") -> Path:
    figures = WalkingFigures(num_videos=count, num_frames=3, image_size=SIZE, seed=seed)
    return write_video_folder(figures, folder, split, kind="png")


def as_mot(folder: Path, out: Path) -> Path:
    return write_dataset(plan(open_video_contents(folder), "mot"), out)


@pytest.fixture(params=["posetrack", "mot"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    poses = walk(tmp_path / "poses")
    return poses if request.param == "posetrack" else as_mot(poses, tmp_path / "mot")


def fingerprint(video: Video) -> tuple[object, ...]:
    """All that is in a video: pictures, and who is where."""
    tracks = video.tracks
    pictures = tuple(Path(file).read_bytes() for file in video.frames)
    return pictures, tracks.frames.tobytes(), tracks.track_ids.tobytes(), tracks.boxes.round(6).tobytes()


def prints(folder: Path, split: str) -> list[tuple[object, ...]]:
    return [fingerprint(video) for video in open_videos(folder, split)]


def test_a_video_goes_to_one_side_whole(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    whole = prints(source, "train")
    assert run("data", "split", source, tmp_path / "out", "--val", 0.25) == 0
    said = capsys.readouterr().out
    assert "videos   3 (75.0 %)  1 (25.0 %)" in said
    sides = prints(tmp_path / "out", "train"), prints(tmp_path / "out", "val")
    assert [len(side) for side in sides] == [3, 1]
    assert sorted([*sides[0], *sides[1]], key=repr) == sorted(whole, key=repr)


def test_videos_that_share_a_frame_stay_together(tmp_path: Path) -> None:
    source = walk(tmp_path / "poses", count=3)
    frames = sorted((source / "images" / "train").glob("*/000001.png"))
    frames[1].write_bytes(frames[0].read_bytes())
    assert run("data", "split", source, tmp_path / "out", "--val", 0.4) == 0
    sides = [
        {video.tracks.name for video in open_videos(tmp_path / "out", side)} for side in ("train", "val")
    ]
    assert {"walk_0000", "walk_0001"} in sides


def test_merged_videos_keep_their_ids_apart(source: Path, tmp_path: Path) -> None:
    other = walk(tmp_path / "other", seed=2, count=2)
    if (source / "train").is_dir():
        other = as_mot(other, tmp_path / "other_mot")
    assert run("data", "merge", source, other, tmp_path / "out") == 0
    got = open_videos(tmp_path / "out", "train")
    assert sorted(map(fingerprint, got), key=repr) == sorted(
        prints(source, "train") + prints(other, "train"), key=repr
    )
    names = sorted(video.tracks.name for video in got)
    assert names == ["walk_0000", "walk_0000-2", "walk_0001", "walk_0001-2", "walk_0002", "walk_0003"]
    notes = json.loads((tmp_path / "out" / "losses.json").read_text())["notes"]
    assert "train: a second video 'walk_0000' is called 'walk_0000-2' from now on" in notes


def test_merged_to_pictures_every_frame_has_its_place(tmp_path: Path) -> None:
    poses, other = walk(tmp_path / "a", count=2), walk(tmp_path / "b", seed=2, count=1)
    mot = as_mot(other, tmp_path / "mot")
    (labels,) = mot.rglob("labels.txt")
    labels.write_text("pedestrian\n")
    assert run("data", "merge", poses, mot, tmp_path / "out") == 0  # of two kinds: COCO
    document = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    assert len(document["images"]) == 9 == len({image["file_name"] for image in document["images"]})
    assert [each["name"] for each in document["categories"]] == ["person", "pedestrian"]


@pytest.mark.parametrize("order", [list, reversed])
def test_videos_and_pictures_are_not_mixed(
    tmp_path: Path, order: Callable, capsys: pytest.CaptureFixture
) -> None:
    write_coco_folder(DrawnShapes(2, SIZE), tmp_path / "coco")
    videos = walk(tmp_path / "videos", count=1)
    assert run("data", "merge", *order([tmp_path / "coco", videos]), tmp_path / "out") == 1
    assert f"pagoda data convert {videos} FRAMES --to coco" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_some_of_the_videos(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    whole = prints(source, "train")
    for number, (words, chosen) in enumerate(
        [
            (["--first", 2], [0, 1]),
            (["--pictures", "walk_0002"], [2]),
            (["--fraction", 0.5, "--seed", 3], np.sort(np.random.default_rng(3).permutation(4)[:2]).tolist()),
        ]
    ):
        assert run("data", "subset", source, tmp_path / str(number), *words) == 0
        assert prints(tmp_path / str(number), "train") == [whole[k] for k in chosen]
    assert run("data", "subset", source, tmp_path / "none", "--pictures", "walk_0007") == 1
    assert "has no video 'walk_0007'; did you mean 'walk_000" in capsys.readouterr().err


def test_classes_of_videos_are_chosen(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    mot = as_mot(walk(tmp_path / "poses", count=2), tmp_path / "mot")
    (mot / "train" / "walk_0000" / "gt" / "labels.txt").write_text("person\ndog\n")
    (mot / "train" / "walk_0001" / "gt" / "labels.txt").write_text("person\ndog\n")
    truth = mot / "train" / "walk_0001" / "gt" / "gt.txt"
    rows = [line.split(",") for line in truth.read_text().splitlines()]
    truth.write_text("".join(f"{','.join([*row[:7], '2', '1'])}\n" for row in rows))
    assert run("data", "subset", mot, tmp_path / "dogs", "--classes", "dog") == 0
    assert "1 video has no objects any more" in capsys.readouterr().err
    first, second = open_videos(tmp_path / "dogs", "train")
    assert (
        len(first.tracks) == 0
        and len(second.tracks) == len(rows)
        and second.tracks.label_map.names == ("dog",)
    )
    assert run("data", "subset", mot, tmp_path / "one", "--classes", "dog", "--drop-empty") == 0
    assert [video.tracks.name for video in open_videos(tmp_path / "one", "train")] == ["walk_0001"]


def test_splits_without_videos_are_left_out_and_said(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("data", "split", source, tmp_path / "two", "--val", 0.25) == 0
    train = [video.tracks.name for video in open_videos(tmp_path / "two", "train")]
    for to in ("same", "coco"):
        words = ["--pictures", *train, "--to", to]
        assert run("data", "subset", tmp_path / "two", tmp_path / to, *words) == 0
        assert "note: val has no video any more, and is left out" in capsys.readouterr().err
    assert len(open_videos(tmp_path / "same", "train")) == 3
    (val,) = open_videos(tmp_path / "two", "val")
    words = ["--splits", "val", "--pictures", val.tracks.name, "--classes", val.tracks.label_map.names[0]]
    assert run("data", "subset", tmp_path / "two", tmp_path / "one", *words) == 0


def test_frames_are_not_skipped(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("data", "subset", source, tmp_path / "out", "--first", 1, "--skip-missing") == 1
    assert "of which every frame is needed" in capsys.readouterr().err


def test_too_few_videos_are_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = walk(tmp_path / "poses", count=1)
    assert run("data", "split", source, tmp_path / "out", "--val", 0.5) == 1
    assert "1 video in 1 group by video cannot be divided into 2 splits; more videos are needed" in (
        capsys.readouterr().err
    )
