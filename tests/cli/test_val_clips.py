"""`pagoda val` of models that look at clips: frames, and tracks, of PoseTrack-like and MOT-like folders."""

import json

import pytest
import torch
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.tracks.folders import open_videos, write_video_folder
from pagoda.data.tracks.mot import MotWriter
from pagoda.models import create_model
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.weights.files import save_weights

pytestmark = pytest.mark.medium

NUM_FRAMES = 4


def run(*words) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main([str(word) for word in words])
    return exit_code.value.code


@pytest.fixture(scope="module")
def walks():
    return WalkingFigures(num_videos=2, num_frames=NUM_FRAMES, seed=5, image_size=(64, 80))


@pytest.fixture(scope="module")
def folder(walks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("walks")
    write_video_folder(walks, folder, "train")
    return write_video_folder(walks, folder, "val")


def checkpoint(folder, labels, name="detect_and_track_resnet18_3d"):
    torch.manual_seed(0)
    model = create_model(name, label_map=labels, width=16, head_depth=1, short_side=64, long_side=80)
    return save_weights(folder / f"{name}.safetensors", model.state_dict(), model.card())


@pytest.fixture(scope="module")
def poser(folder):
    return checkpoint(folder, PERSON_17)


def test_poses_are_followed_and_scored(folder, poser, capsys):
    assert run("val", poser, "--data", folder, "--json", "--min-score", 0.3) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"AP", "keypoints/AP"} <= set(scores["metrics"]) and scores["num_images"] == 2 * NUM_FRAMES
    followed = scores["following"]
    assert followed["linker"] == "tubes" and followed["boxes"] is None
    assert followed["poses"]["num_videos"] == 2 and {"mAP", "MOTA"} <= set(followed["poses"]["metrics"])


@pytest.mark.slow
def test_a_linker_is_chosen_or_none(folder, poser, capsys):
    assert run("val", poser, "--data", folder, "--linker", "byte", "--min-score", 0.3) == 0
    said = capsys.readouterr().out
    assert "Followed by the linker 'byte': poses" in said and "MOTA" in said and "Keypoints" in said
    assert run("val", poser, "--data", folder, "--linker", "none", "--min-score", 0.3, "--json") == 0
    assert "following" not in json.loads(capsys.readouterr().out)


def test_boxes_of_a_mot_folder(walks, tmp_path, capsys):
    for video in walks:
        sequence = tmp_path / "val" / video.tracks.name
        (sequence / "img1").mkdir(parents=True)
        for frame in range(NUM_FRAMES):
            Image.fromarray(video.picture(frame)).save(sequence / "img1" / f"{frame + 1:06d}.png")
        with MotWriter(sequence / "gt" / "gt.txt") as writer:
            for frame in range(NUM_FRAMES):
                writer.add(video.tracks.at(frame), frame)
    labels = open_videos(tmp_path, "val")[0].tracks.label_map
    model = checkpoint(tmp_path, labels)
    assert run("val", model, "--data", tmp_path, "--json", "--min-score", 0.3) == 0
    followed = json.loads(capsys.readouterr().out)["following"]
    assert followed["poses"] is None and set(followed["boxes"]["per_video"]) == {"walk_0000", "walk_0001"}
    annotated = sum(len(video.tracks) for video in walks)
    assert followed["boxes"]["metrics"]["objects"] == annotated
    assert {"HOTA", "MOTA", "IDF1", "IDSW"} <= set(followed["boxes"]["metrics"])


@pytest.mark.slow
def test_rows_of_a_mot_folder_count_by_the_rules_of_its_benchmark(walks, tmp_path, capsys):
    """Nobody but a non-MOT vehicle on the left; its sequence is called after no benchmark."""
    video = walks[0]
    sequence = tmp_path / "val" / "street"
    (sequence / "img1").mkdir(parents=True)
    (sequence / "gt").mkdir()
    for frame in range(NUM_FRAMES):
        Image.fromarray(video.picture(frame)).save(sequence / "img1" / f"{frame + 1}.png")
    rows = [f"{frame + 1},1,1,1,30,60,1,1,1\n{frame + 1},2,40,1,30,60,1,6,1\n" for frame in range(NUM_FRAMES)]
    (sequence / "gt" / "gt.txt").write_text("".join(rows))
    model = checkpoint(tmp_path, open_videos(tmp_path, "val")[0].tracks.label_map)
    words = "val", model, "--data", tmp_path, "--json", "--min-score", 0.3
    said = {}
    for benchmark in ("auto", "MOT20", "MOT15"):
        assert run(*words, "--benchmark", benchmark) == 0
        said[benchmark] = json.loads(capsys.readouterr().out)["following"]["boxes"]
    assert "MOT17 (TrackEval's MotChallenge2DBox, taken because" in said["auto"]["protocol"]
    assert (
        "non_mot_vehicle" in said["MOT20"]["protocol"] and "non_mot_vehicle" not in said["auto"]["protocol"]
    )
    objects = [said[each]["metrics"]["objects"] for each in ("auto", "MOT20", "MOT15")]
    assert objects == [NUM_FRAMES, NUM_FRAMES, 2 * NUM_FRAMES]
    assert (
        said["auto"]["notes"][0]
        == f"not counted of the ground truth: {NUM_FRAMES} rows of class non_mot_vehicle"
    )


def test_linkers_are_for_clips(folder, tmp_path, capsys):
    model = checkpoint(tmp_path, LabelMap.from_names(["person"]), "fcos_resnet18_fpn")
    assert run("val", model, "--data", folder, "--linker", "byte") == 1
    assert "--linker is for checkpoints of clips, not for FCOS" in " ".join(capsys.readouterr().err.split())
    assert run("val", model, "--data", folder, "--benchmark", "MOT20") == 1
    assert "--benchmark is for checkpoints of clips, not for FCOS" in " ".join(
        capsys.readouterr().err.split()
    )
    (tmp_path / "results.json").write_text("[]")
    assert run("val", "--results", tmp_path / "results.json", "--data", folder, "--linker", "tubes") == 1
    assert "not for --results" in " ".join(capsys.readouterr().err.split())


def test_training_refuses_what_tears_clips_apart(folder, tmp_path, capsys):
    small = ["--model.width", 16, "--model.head-depth", 1, "--model.short-side", 64, "--model.long-side", 80]
    words = [
        "detect_and_track_resnet18_3d",
        "--data",
        folder,
        "--out",
        tmp_path / "runs",
        "augment.mosaic=0.5",
    ]
    assert run("train", *words, *small) == 1
    assert "train with augment.mosaic=0" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()
