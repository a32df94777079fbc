"""Commands that are asked to stop, that break off, or that meet something else than they began with."""

import json
import os
import shlex
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.cli import predict, track
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.files.lock import hold_folder
from pagoda.pictures.read import PictureError, to_picture
from pagoda.preprocess import InputSpec
from pagoda.recipes import run_report
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.training.last import load_last

pytestmark = pytest.mark.usefixtures("hears_signals")
TINY = f"{Path(__file__).with_name('tiny.py')}:tiny"
NAMES = LabelMap.from_names(["ball"])


class SeesOne:
    """Stands in for a trained detector; `disturb` is called with the number of each picture."""

    label_map = NAMES
    input_spec = InputSpec()  # so large that pictures are looked at one by one
    sees_clips = False

    def __init__(self, disturb=lambda number: None, weight=0.0):
        self.disturb, self.weight, self.count = disturb, weight, 0

    def modules(self):
        return ()

    def state_dict(self):
        return {"weight": torch.tensor(self.weight)}

    def parameters(self):
        return iter([torch.zeros(1)])

    def predict(self, source, **limits):
        if isinstance(source, list):
            return [self.predict(each) for each in source]
        self.count += 1
        self.disturb(self.count)
        picture, name = to_picture(source)
        return Detections(
            torch.tensor([[1.0, 1, 5, 5]]),
            torch.tensor([0.9]),
            torch.tensor([0]),
            picture.shape[:2],
            NAMES,
            file=name,
            picture=picture,
        )


def at(number, happens):
    return lambda now: happens() if now == number else None


def ask(signum):
    return lambda: os.kill(os.getpid(), signum)


def raises(error):
    def happens():
        raise error

    return happens


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(np.full((16, 24, 3), 30 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def use(monkeypatch):
    """Has the commands find this detector in every checkpoint."""

    def use(model):
        for command in (predict, track):
            monkeypatch.setattr(command, "open_ready", lambda *_, **where: model)

    return use


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    return end.value.code


def said(capsys):
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_predictions_are_closed_where_somebody_stops(frames, tmp_path, use, capsys, signum, code):
    use(SeesOne(at(3, ask(signum))))
    out = tmp_path / "out"
    assert run("predict", "m", frames, "--out", out) == code
    written = json.loads((out / "predictions.json").read_text())
    assert len(written["predictions"]) == 3 and written["unfinished"] is True
    assert f"stopped after 3 of 6 pictures; what was found in them: {out}/predictions.json" in said(capsys)
    assert sorted(path.name for path in out.iterdir()) == ["0.jpg", "1.jpg", "2.jpg", "predictions.json"]


def test_predictions_are_closed_where_the_model_breaks(frames, tmp_path, use):
    use(SeesOne(at(3, raises(RuntimeError("a bug")))))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["predict", "m", str(frames), "--out", str(tmp_path / "out")])
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(written["predictions"]) == 2 and written["failed"] == [] and written["unfinished"] is True


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word(
    frames, tmp_path, use, capsys, monkeypatch
):
    read, write = os.pipe()
    os.close(read)
    out = tmp_path / "out"
    use(SeesOne())
    with monkeypatch.context() as patch, suppress(OSError), os.fdopen(write, "w") as closed:
        patch.setattr(sys, "stdout", closed)
        assert run("predict", "m", frames, "--out", out, "--json") == 141
    assert json.loads((out / "predictions.json").read_text())["unfinished"] is True
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_what_cannot_be_printed_is_told(monkeypatch, capsys):
    with monkeypatch.context() as patch, suppress(OSError), open("/dev/full", "w") as full:
        patch.setattr(sys, "stdout", full)
        assert run("--help") == 1
    assert "error: could not print: [Errno 28]" in said(capsys)


def test_commands_run_without_standard_streams(frames, tmp_path, use, monkeypatch):
    use(SeesOne())
    with monkeypatch.context() as patch:
        for name in ("stdin", "stdout", "stderr"):  # as Python has them where the process began without
            patch.setattr(sys, name, None)
        assert run("predict", "m", frames, "--out", tmp_path / "out", "--json") == 0
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]) == 6


@pytest.mark.parametrize(
    ("place", "said_so"), [("file", "is a file where"), ("file/x", "a file is named where")]
)
@pytest.mark.parametrize("verb", ["predict", "track"])
def test_a_file_in_the_place_of_the_folder_is_told(frames, tmp_path, use, capsys, verb, place, said_so):
    use(SeesOne())
    (tmp_path / "file").write_text("mine")
    assert run(verb, "m", frames, "--out", tmp_path / place) == 1
    assert said_so in said(capsys) and (tmp_path / "file").read_text() == "mine"


def test_predictions_stand_on_the_disk_while_they_come(frames, tmp_path, use):
    lines = tmp_path / "out" / "predictions.jsonl"
    counts = []
    use(SeesOne(lambda number: counts.append(len(lines.read_text().splitlines()))))
    assert run("predict", "m", frames, "--out", tmp_path / "out", "--no-pictures") == 0
    assert counts == list(range(6)) and not lines.exists()


def test_pictures_that_fail_are_listed_between_others(frames, tmp_path, use, capsys):
    use(SeesOne(at(2, raises(PictureError("1.png is broken")))))
    assert run("predict", "m", frames, "--out", tmp_path / "out") == 1
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(written["predictions"]) == 5 and written["failed"] == ["1.png is broken"]
    assert "unfinished" not in written and "1 of 6 pictures could not be read" in said(capsys)


FILES = ("tracks.csv", "tracks.txt", "posetrack18.json", "video.mp4")


def test_the_command_that_a_stopped_track_tells_goes_on(frames, tmp_path, use, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    use(SeesOne())
    assert run("track", "m", frames, "--out", "whole") == 0
    use(SeesOne(at(3, ask(signal.SIGTERM))))
    assert run("track", "m", frames) == 143
    text = said(capsys)
    assert "stopped; 3 frames are done" in text
    assert len(json.loads(Path("runs/track-1/posetrack18.json").read_text())["images"]) == 3
    use(SeesOne())
    assert run(*shlex.split(text.partition("go on with: pagoda ")[2])) == 0
    assert "3 of them known from before" in said(capsys)
    for name in FILES:
        assert Path("runs/track-1", name).read_bytes() == Path("whole", name).read_bytes(), name


def test_a_track_that_goes_on_and_is_stopped_at_once_keeps_what_is_known(frames, tmp_path, use, capsys):
    out = tmp_path / "out"
    use(SeesOne(at(3, ask(signal.SIGINT))))
    assert run("track", "m", frames, "--out", out, "--no-video") == 130
    record = (out / "found.jsonl").read_bytes()
    use(SeesOne())
    frame = (frames / "0.png").read_bytes()
    (frames / "0.png").write_bytes(b"the disk is gone")
    assert run("track", "m", frames, "--out", out, "--no-video", "--resume") == 1
    (frames / "0.png").write_bytes(frame)
    assert (out / "found.jsonl").read_bytes() == record
    assert run("track", "m", frames, "--out", out, "--no-video", "--resume") == 0
    assert "3 of them known from before" in said(capsys)


def test_resuming_where_nothing_is_makes_no_folder(frames, tmp_path, use, capsys):
    use(SeesOne())
    assert run("track", "m", frames, "--out", tmp_path / "nowhere", "--resume") == 1
    assert "nothing to go on with" in said(capsys) and not (tmp_path / "nowhere").exists()


def test_a_track_that_saw_nothing_is_not_advised_to_go_on(frames, tmp_path, use, capsys):
    use(SeesOne(at(1, raises(KeyboardInterrupt()))))
    assert run("track", "m", frames, "--out", tmp_path / "out") == 130
    text = said(capsys)
    assert "stopped before the first frame was done" in text and "--resume" not in text


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("weights", "was made with other weights; --resume needs the same"),
        ("frame", "was made of another video: {frames} shows something else in frame 1"),
        ("fewer", "was made of another video: {frames} has no frame 2"),
        ("moved", ""),
        ("later", ""),
    ],
)
def test_a_track_goes_on_with_the_same_content_wherever_it_lies(
    frames, tmp_path, use, capsys, change, refused
):
    use(SeesOne(at(3, ask(signal.SIGINT))))
    assert run("track", "m", frames, "--out", tmp_path / "out", "--no-video") == 130
    use(SeesOne(weight=float(change == "weights")))
    if change == "frame":
        shutil.copy(frames / "5.png", frames / "1.png")
    elif change == "later":
        shutil.copy(frames / "0.png", frames / "5.png")  # not yet seen
    elif change == "fewer":
        for number in range(2, 6):
            (frames / f"{number}.png").unlink()
    elif change == "moved":
        frames = frames.rename(tmp_path / "elsewhere")
    before = (tmp_path / "out" / "posetrack18.json").read_bytes()
    capsys.readouterr()
    code = run("track", "other-name", frames, "--out", tmp_path / "out", "--no-video", "--resume")
    assert code == (1 if refused else 0)
    if refused:
        assert refused.format(frames=frames) in said(capsys)
        assert (tmp_path / "out" / "posetrack18.json").read_bytes() == before


def test_two_tracks_into_one_folder(frames, tmp_path, use, capsys):
    use(SeesOne())
    with hold_folder(tmp_path / "out", "follows objects"):
        assert run("track", "m", frames, "--out", tmp_path / "out") == 1
    assert f"process {os.getpid()} follows objects in this folder since" in said(capsys)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with data and a finished run on them."""
    folder = tmp_path_factory.mktemp("trained")
    for split, count in (("train", 8), ("val", 2)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 64), seed=1), folder / "data", split=split)
    fixed = ("--epochs=1", "--batch-size=4", "--device=cpu", "--name=run")
    assert run("train", TINY, f"--data={folder / 'data'}", f"--out={folder}", *fixed) == 0
    return folder


@pytest.fixture
def again(trained, tmp_path):
    """A copy, to go on with: (folder of the data, of the run)."""
    for name in ("data", "run-1"):
        shutil.copytree(trained / name, tmp_path / name)
    return tmp_path / "data", tmp_path / "run-1"


@pytest.mark.medium
def test_a_run_goes_on_with_data_that_were_moved(again, capsys):
    data, folder = again
    assert run("train", TINY, "--resume", folder, "--data", data, "--epochs", 2) == 0
    assert load_last(folder)["at"]["step"] == 4


@pytest.mark.medium
@pytest.mark.parametrize("change", ["box", "class", "picture"])
def test_a_run_does_not_go_on_with_other_annotations(again, capsys, change):
    data, folder = again
    file = data / "annotations" / "train.json"
    content = json.loads(file.read_text())
    if change == "box":
        content["annotations"][0]["bbox"][2] -= 1
    elif change == "class":
        first, ids = content["annotations"][0], {each["id"] for each in content["categories"]}
        first["category_id"] = min(ids - {first["category_id"]})
    else:
        content["images"].append({**content["images"][-1], "id": 99})
    file.write_text(json.dumps(content))
    assert run("train", TINY, "--resume", folder, "--data", data, "--epochs", 2) == 1
    text = said(capsys)
    assert "the data it learns from are not those it began with" in text
    assert "a new run can start from its weights: pagoda train" in text
    assert load_last(folder)["at"]["step"] == 2


@pytest.mark.medium
def test_a_folder_somebody_trains_in_is_left_alone(again, capsys):
    data, folder = again
    with hold_folder(folder, "trains"):
        assert run("train", TINY, "--resume", folder, "--data", data, "--epochs", 2) == 1
    assert f"process {os.getpid()} trains in this folder since" in said(capsys)


@pytest.mark.medium
def test_a_report_that_fails_is_no_training_that_failed(again, capsys, monkeypatch):
    data, folder = again
    (folder / "report.html").unlink()
    monkeypatch.setattr(run_report, "write_report", lambda *_, **__: raises(OSError("no space left"))())
    assert run("train", TINY, "--resume", folder, "--data", data, "--json") == 0
    captured = capsys.readouterr()
    text = " ".join(captured.err.split())
    assert "warning: there is no report (OSError: no space left); the training is complete" in text
    assert f"once that is mended: pagoda train {TINY} --resume {folder}" in text
    assert json.loads(captured.out)["run"] == str(folder)


@pytest.mark.medium
def test_a_run_without_a_state_says_that_there_is_nothing_to_go_on_with(again, capsys):
    data, folder = again
    shutil.rmtree(folder / "last")
    (folder / "best.safetensors").unlink()
    assert run("train", TINY, "--resume", folder, "--data", data) == 1
    assert "has no last/state.pt to resume from; start it again without --resume" in said(capsys)
