"""`pagoda track` with a model of clips, and runs that are stopped and go on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.cli import track
from pagoda.cli.main import main
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.tracks.mot import read_mot
from pagoda.data.tracks.posetrack import read_posetrack
from pagoda.follow.outputs import TrackOutputs
from pagoda.models import create_model
from pagoda.structures.instances import Detections
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.video.frames import VideoSource, VideoWriter

pytestmark = pytest.mark.medium

FILES = ("tracks.txt", "posetrack18.json", "tracks.csv")
NUM_FRAMES = 9


@pytest.fixture(scope="module")
def models():
    """Random weights: they find something everywhere, and the same in the same pictures."""
    options = {"label_map": PERSON_17, "width": 32, "head_depth": 1, "short_side": 48, "long_side": 64}
    torch.manual_seed(0)
    clips = create_model("detect_and_track_resnet18_3d", **options)
    frames = create_model(
        "fcos_resnet18_fpn", num_classes=1, width=32, head_depth=1, short_side=48, long_side=64
    )
    for model in (clips, frames):
        model.postprocess = model.postprocess.with_limits(max_detections=4)
    few = replace(clips.proposals.inference, max_proposals=20)
    clips.proposals = replace(clips.proposals, inference=few)
    torch.nn.init.zeros_(frames.class_head.predict.bias)  # scores of about a half
    return {"clips": clips.eval(), "frames": frames.eval()}


@pytest.fixture(autouse=True)
def known_checkpoints(models, monkeypatch):
    monkeypatch.setattr(track, "open_ready", lambda path, composed, take, **where: models[path])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of a walk."""
    figures = WalkingFigures(num_videos=1, num_frames=NUM_FRAMES, image_size=(48, 64), seed=3)
    path = tmp_path_factory.mktemp("data") / "walk"
    path.mkdir()
    for frame in range(NUM_FRAMES):
        Image.fromarray(figures.frame(0, frame).permute(1, 2, 0).numpy()).save(path / f"{frame:03}.png")
    return path


def said_in(capsys) -> str:
    """Standard error without its line breaks."""
    return " ".join(capsys.readouterr().err.split())


def run(*words) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main(["track", *map(str, words)])
    return exit_code.value.code


@pytest.mark.parametrize(("model", "linker"), [("clips", "tubes"), ("clips", "byte"), ("frames", "ocsort")])
@pytest.mark.slow
def test_a_run_that_was_stopped_ends_as_one_that_was_not(folder, tmp_path, capsys, model, linker):
    words = (model, folder, "--linker", linker, "--min-score", 0, "--first-frame", 1)
    assert run(*words, "--out", tmp_path / "whole") == 0
    assert len(read_mot(tmp_path / "whole" / "tracks.txt")) > NUM_FRAMES
    parts = tmp_path / "parts"
    assert run(*words, "--out", parts, "--max-frames", 4) == 0
    record = parts / "found.jsonl"
    record.write_bytes(record.read_bytes() + b'{"image_size": [4')  # killed while it wrote
    assert run(*words, "--out", parts, "--resume", "--max-frames", 6) == 0
    capsys.readouterr()
    assert run(*words, "--out", parts, "--resume", "--no-video") == 0
    # What followed the last frame of a clip was not there to see; frames that were looked at alone come in a group now.
    already = ", 5 of them known from before" if model == "clips" else ""
    assert f"8 frames{already} in" in capsys.readouterr().err
    for name in FILES:
        assert (parts / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert sorted(file.name for file in parts.glob("[!.]*")) == sorted((*FILES, "video.mp4"))


def test_tracks_of_clips_are_joined_and_the_objects_are_the_same(folder, tmp_path):
    words = ("clips", folder, "--min-score", 0, "--no-video")
    assert (
        run(*words, "--out", tmp_path / "plain") == run(*words, "--out", tmp_path / "joined", "--relink") == 0
    )
    plain, joined = (read_mot(tmp_path / name / "tracks.txt") for name in ("plain", "joined"))
    assert len(plain) > NUM_FRAMES and np.array_equal(plain.frames, joined.frames)
    assert sorted(map(tuple, plain.boxes)) == sorted(map(tuple, joined.boxes))


def test_a_run_goes_on_only_with_what_it_began_with(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("frames", folder, "--resume") == 1
    assert "--resume needs the folder of the run that was stopped: --out DIR" in said_in(capsys)
    assert run("frames", folder, "--out", out, "--resume") == 1
    assert "nothing to go on with" in said_in(capsys)
    assert run("frames", folder, "--out", out, "--max-frames", 2, "--no-video") == 0
    capsys.readouterr()
    assert run("frames", folder, "--out", out) == 1
    assert "holds a run that was stopped; go on with it (--resume)" in said_in(capsys)
    assert run("frames", folder, "--out", out, "--resume", "--first-frame", 1) == 1
    assert "was made with first_frame 0; --resume needs the same" in said_in(capsys)


def test_a_clip_sees_the_frames_before_the_first_one_followed(folder, tmp_path):
    out = (tmp_path / "whole", tmp_path / "part")
    words = ("clips", folder, "--min-score", 0, "--linker", "reference", "--no-video")
    assert (
        run(*words, "--out", out[0])
        == run(*words, "--out", out[1], "--first-frame", 4, "--max-frames", 3)
        == 0
    )
    whole, part = (read_mot(each / "tracks.txt") for each in out)
    here = (whole.frames >= 4) & (whole.frames < 7)
    assert here.any() and np.array_equal(whole.boxes[here], part.boxes)
    assert np.array_equal(whole.frames[here], part.frames)


@pytest.mark.parametrize("spoilt", ["broken", "larger"])
@pytest.mark.slow
def test_what_came_before_a_bad_frame_is_written(folder, tmp_path, capsys, spoilt):
    bad = tmp_path / "bad"
    bad.mkdir()
    for file in sorted(folder.iterdir())[:5]:
        (bad / file.name).write_bytes(file.read_bytes())
    if spoilt == "broken":
        (bad / "004.png").write_bytes(b"broken")
    else:
        Image.new("RGB", (80, 60)).save(bad / "004.png")
    out = tmp_path / "out"
    assert run("clips", bad, "--out", out, "--linker", "tubes") == 1
    said = said_in(capsys)
    assert "4 frames in" in said and "stopped early" in said and "--resume" in said
    assert ("004.png" if spoilt == "broken" else "frame 4 of") in said
    assert len(json.loads((out / "posetrack18.json").read_text())["images"]) == 4
    assert len(list(VideoSource(out / "video.mp4"))) == 4
    Image.open(folder / "004.png").save(bad / "004.png")  # mended
    assert run("clips", bad, "--out", out, "--linker", "tubes", "--resume") == 0
    assert run("clips", bad, "--out", tmp_path / "whole", "--linker", "tubes") == 0
    assert (out / "posetrack18.json").read_bytes() == (tmp_path / "whole" / "posetrack18.json").read_bytes()


def test_a_video_cut_off_is_followed_to_its_last_frame(tmp_path, capsys):
    rng = np.random.default_rng(0)
    with VideoWriter(tmp_path / "whole.mkv", frames_per_second=25) as video:
        for number in range(40):
            video.add(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8), number / 25)
    content = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 4])
    assert run("clips", tmp_path / "cut.mkv", "--out", tmp_path / "out") == 1
    said = said_in(capsys)
    assert "cut.mkv should last 1.6 seconds but ends after" in said
    followed = len(list(VideoSource(tmp_path / "out" / "video.mp4")))
    assert 0 < followed < 40 and f"ends after {followed} frames" in said


def test_frames_keep_their_times_when_those_are_uneven(tmp_path):
    seconds = [0.0, 0.04, 0.08, 0.5, 0.54, 1.2]
    with VideoWriter(tmp_path / "uneven.mp4", frames_per_second=25) as video:
        for number, at in enumerate(seconds):
            video.add(np.full((48, 64, 3), 20 * number, np.uint8), at)
    assert run("clips", tmp_path / "uneven.mp4", "--out", tmp_path / "out") == 0
    drawn = list(VideoSource(tmp_path / "out" / "video.mp4"))
    assert [frame.seconds for frame in drawn] == pytest.approx(seconds, abs=1e-3)


def test_more_than_999_tracks_are_written_and_read(tmp_path):
    with TrackOutputs(tmp_path, "crowd", None) as outputs:
        for frame in range(130):
            boxes = torch.rand(10, 4).cumsum(1)
            ids = torch.arange(10) + 10 * frame
            outputs.add(
                Detections(
                    boxes,
                    torch.ones(10),
                    torch.zeros(10, dtype=torch.long),
                    (48, 64),
                    PERSON_17,
                    track_ids=ids,
                )
            )
    assert outputs.table().endswith("1300 tracks")
    (poses,) = read_posetrack(tmp_path / "posetrack18.json")
    for tracks in (read_mot(tmp_path / "tracks.txt"), poses):
        assert np.array_equal(np.unique(tracks.track_ids), np.arange(1300))
