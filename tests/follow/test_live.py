"""Following what lives: lines of JSON that tell the delay, files that are whole however it ends, nothing to resume."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from standing_in import StandsIn
from streams import MULTIPART, PATIENCE, STREAM, Server, encoded, jpegs

import pagoda
from pagoda.cli import track as command
from pagoda.cli.main import main
from pagoda.data.tracks.mot import read_mot
from pagoda.follow.follower import TrackOptions, VideoFollower
from pagoda.follow.run import follow_video
from pagoda.pictures.read import PictureError
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.video.frames import VideoSource, VideoWriter
from pagoda.weights.files import save_weights

pytestmark = pytest.mark.medium

NAMES = LabelMap.from_names(["lamp"])
COUNT = 20


class SeesALamp(StandsIn):
    """Stands in for a trained detector: a lamp in the same place, in every frame."""

    label_map = NAMES

    def look(self, picture):
        box = torch.tensor([[10.0, 10, 30, 40]])
        return Detections(
            box, torch.tensor([0.97]), torch.zeros(1, dtype=torch.long), picture.shape[:2], NAMES
        )


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(command, "open_ready", lambda path, model, take, **where: SeesALamp())

    def run(*words) -> int:
        with pytest.raises(SystemExit) as exit_code:
            main(["track", "m", *map(str, words)])
        return exit_code.value.code

    return run


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_frame_is_a_line_with_its_number_time_delay_and_what_was_dropped(run, tmp_path, capsys):
    with Server(lambda n, request: [MULTIPART, *jpegs(range(COUNT))]) as server:
        address = server.address.replace("//", "//me:secret@")
        assert (
            run(address, "--reconnect", 0, "--max-delay", "None", "--stream", "--out", tmp_path / "out") == 0
        )
    out, said = capsys.readouterr()
    told = lines(out)
    assert [each["frame"] for each in told] == list(range(COUNT))
    assert all(each["dropped"] == 0 and each["delay"] >= 0 for each in told)
    assert [each["seconds"] for each in told] == pytest.approx([number / 25 for number in range(COUNT)])
    assert told[5]["file"] == f"{server.place.replace(':', '-')}-live#5"
    assert told[5]["objects"][0]["track_id"] == 1
    assert {file.name for file in (tmp_path / "out").glob("[!.]*")} == {
        "tracks.csv", "tracks.txt", "posetrack18.json", "video.mp4",
    }  # fmt: skip
    assert len(read_mot(tmp_path / "out" / "tracks.txt")) == COUNT
    assert len(list(VideoSource(tmp_path / "out" / "video.mp4"))) == COUNT
    assert f"{COUNT} frames in" in said
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert "secret" not in out + said and b"secret" not in written


def test_what_was_dropped_is_said_at_the_end(capsys):
    """The model is busy with the first frame until the stream is over."""
    source = {}

    class IsSlow(SeesALamp):
        def look(self, picture):
            assert over.wait(PATIENCE)
            while not source["live"].is_ended:
                pass
            return super().look(picture)

    over = threading.Event()

    def answer(number, request):
        yield from [MULTIPART, *jpegs(range(COUNT))]
        over.set()

    options = TrackOptions(max_delay=0.0, reconnect=0)
    with Server(answer) as server:
        source["live"] = options.open(server.address)
        seen = []
        run = follow_video(VideoFollower(IsSlow(), source["live"], options), on_frame=seen.append)
    assert seen[-1].frame.number == COUNT - 1 and run.num_frames == len(seen) < COUNT
    assert run.left_out == f"{COUNT - len(seen)} of {COUNT} frames dropped to stay within 0 s"
    assert run.left_out in capsys.readouterr().err


@pytest.mark.usefixtures("hears_signals")
@pytest.mark.parametrize("is_written", [True, False])
def test_ctrl_c_is_the_end_and_leaves_whole_files(tmp_path, is_written):
    def answer(number, request):
        yield MULTIPART
        while not server.over.is_set():
            yield from jpegs(range(10))

    seen = []

    def on_frame(linked):
        seen.append(linked)
        if len(seen) == 5:
            signal.raise_signal(signal.SIGINT)

    with Server(answer) as server:
        out = tmp_path / "out" if is_written else None
        result = pagoda.track(SeesALamp(), server.address, out=out, on_frame=on_frame, quiet=True)
    assert result.num_frames == len(seen) == 5 and not result.failure and not result.is_resumable
    assert result.tracks.num_frames == 5
    if is_written:
        assert len(list(VideoSource(out / "video.mp4"))) == len(read_mot(out / "tracks.txt")) == 5
        assert not (out / "found.jsonl").exists()


def test_a_stream_that_is_lost_leaves_what_came_before(run, tmp_path, capsys):
    def answer(number, request):
        return [MULTIPART, *jpegs(range(COUNT))] if not number else []

    with Server(answer) as server:
        assert run(server.address, "--max-delay", "None", "--reconnect", 1, "--out", tmp_path / "out") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "it ended; connecting anew in 1 s (attempt 1 of 1)" in said
    assert f"stopped early: {server.address} was lost after {COUNT} frames, and 1 attempt to connect" in said
    assert "resume" not in said
    assert len(list(VideoSource(tmp_path / "out" / "video.mp4"))) == COUNT


def test_a_change_of_size_ends_the_tracks_with_a_warning(tmp_path):
    said = "followed for 9 frames only: .* changed its size"
    answer = [MULTIPART, *jpegs(range(9)), *jpegs(range(9), (96, 64))]
    with Server(lambda n, request: answer) as server, pytest.warns(UserWarning, match=said):
        result = pagoda.track(SeesALamp(), server.address, max_delay=None, reconnect=0, quiet=True)
    assert result.num_frames == result.tracks.num_frames == 9


def test_one_that_never_was_is_told_before_anything_is_written(run, tmp_path, capsys):
    with Server(lambda n, request: [b"HTTP/1.0 404 Not Found\r\n\r\n"]) as server:
        assert run(server.address, "--out", tmp_path / "out") == 1
        with pytest.raises(PictureError, match="404"):
            pagoda.track(SeesALamp(), server.address)
    assert "404 Not Found" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_pipe_into_the_command(tmp_path):
    """As a shell does it."""
    model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, width=16, head_depth=1)
    save_weights(tmp_path / "m.safetensors", model.state_dict(), model.card())
    words = [
        sys.executable,
        "-m",
        "pagoda",
        "track",
        str(tmp_path / "m.safetensors"),
        "-",
        "--stream",
        "--no-video",
    ]
    more = ["--max-delay", "None", "--out", str(tmp_path / "out"), "--device", "cpu"]
    done = subprocess.run(
        [*words, *more], input=encoded(range(COUNT)), capture_output=True, timeout=300, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr.decode()
    assert [each["frame"] for each in lines(done.stdout.decode())] == list(range(COUNT))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"resume": True, "out": "out"},
            r"resume=True is for videos: the frames of http://127.* do not come again",
        ),
        ({"first_frame": 3}, "a live source begins when it is opened; it cannot start at frame 3"),
        ({"max_delay": -1.0}, "max_delay must be seconds from 0 on"),
        ({"reconnect": -1}, "reconnect must be 0 or more attempts"),
    ],
)
def test_what_a_live_source_cannot_do(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    answer = [STREAM, encoded(range(COUNT))]
    with Server(lambda n, request: answer) as server, pytest.raises(ValueError, match=said):
        pagoda.track(SeesALamp(), server.address, **options)
    assert not Path("out").exists()


@pytest.mark.parametrize("option", [{"max_delay": 1.0}, {"reconnect": 2}, {"stall_seconds": 3.0}])
def test_what_only_a_live_source_can_do(tmp_path, option):
    path = tmp_path / "film.mp4"
    with VideoWriter(path, frames_per_second=25) as writer:
        writer.add(torch.zeros(32, 32, 3, dtype=torch.uint8).numpy(), 0.0)
    with pytest.raises(ValueError, match=f"{next(iter(option))} is for live sources"):
        pagoda.track(SeesALamp(), path, **option)
