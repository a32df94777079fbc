"""`pagoda track`: a video followed by a detector, detections linked, tracks scored, mistakes explained."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, features
from standing_in import StandsIn

from pagoda.cli import track
from pagoda.cli.main import main
from pagoda.data.tracks.mot import read_mot
from pagoda.data.tracks.posetrack import read_posetrack
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.video.frames import VideoSource, VideoWriter

pytestmark = pytest.mark.medium

NAMES = LabelMap.from_names(["ball", "bat"])


class SeesWhite(StandsIn):
    """Stands in for a trained detector: the white square is a ball."""

    label_map = NAMES

    def look(self, picture):
        rows, columns = np.nonzero(picture.min(2) > 150)
        corners = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]] if len(rows) else []
        boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
        n = len(boxes)
        return Detections(
            boxes, torch.full((n,), 0.97), torch.zeros(n, dtype=torch.long), picture.shape[:2], NAMES
        )


def run(*words) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main(["track", *map(str, words)])
    return exit_code.value.code


def picture(number, is_there=True):
    ground = np.full((48, 96, 3), 60, np.uint8)
    if is_there:
        ground[10:30, 2 * number : 2 * number + 20] = 255
    return ground


@pytest.fixture
def video(tmp_path, monkeypatch):
    monkeypatch.setattr(track, "open_ready", lambda path, model, take, **where: SeesWhite())
    with VideoWriter(tmp_path / "ball.mp4", frames_per_second=25) as writer:
        for number in range(30):
            writer.add(picture(number, is_there=number not in (12, 13)), number / 25)
    return tmp_path / "ball.mp4"


@pytest.mark.parametrize("linker", ["reference", "byte", "ocsort", "tubes"])
def test_a_video_is_followed_and_all_is_written(video, tmp_path, capsys, linker):
    out = tmp_path / "out"
    assert run("model.safetensors", video, "--linker", linker, "--out", out) == 0
    assert {file.name for file in out.glob("[!.]*")} == {
        "tracks.csv",
        "tracks-ball.txt",
        "posetrack18.json",
        "video.mp4",
    }
    followed = read_mot(out / "tracks-ball.txt")
    assert len(followed) == 28 and len(np.unique(followed.track_ids)) == (2 if linker == "reference" else 1)
    content = json.loads((out / "posetrack18.json").read_text())
    assert len(content["images"]) == 30 and len(content["annotations"]) == 28
    drawn = list(VideoSource(out / "video.mp4"))
    assert len(drawn) == 30 and drawn[29].seconds == pytest.approx(29 / 25)
    assert np.abs(drawn[5].picture.astype(int) - picture(5)).max() > 60, "a coloured outline"
    said = capsys.readouterr().err
    assert "30 frames in" in said and "per second" in said and "#1     ball" in said
    assert (out / "tracks.csv").read_text().splitlines()[0].startswith("track,name,first_frame,last_frame")


def test_a_stream_prints_every_frame_as_a_line(video, tmp_path, capsys):
    assert (
        run(
            "m",
            video,
            "--out",
            tmp_path / "out",
            "--stream",
            "--no-video",
            "--first-frame",
            4,
            "--max-frames",
            6,
        )
        == 0
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == [f"ball.mp4#{number}" for number in range(4, 10)]
    assert all(line["objects"][0]["track_id"] == 1 for line in lines)
    assert not (tmp_path / "out" / "video.mp4").exists()
    rows = (tmp_path / "out" / "tracks-ball.txt").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == [str(number) for number in range(5, 11)]


def test_a_folder_of_pictures_and_only_some_classes(video, tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(picture(number)).save(folder / f"{number:03}.png")
    assert run("m", folder, "--out", tmp_path / "out", "--classes", "bat") == 0
    assert "0 tracks" in capsys.readouterr().err and not list((tmp_path / "out").glob("tracks-*.txt"))
    assert run("m", folder, "--out", tmp_path / "out", "--classes", "ball") == 0
    assert (tmp_path / "out" / "video-2.mp4").is_file(), "nothing that exists is overwritten"


def test_a_broken_frame_ends_it_but_what_came_before_is_there(video, tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(picture(number)).save(folder / f"{number:03}.png")
    (folder / "003.png").write_bytes(b"broken")
    assert run("m", folder, "--out", tmp_path / "out") == 1
    assert "stopped early" in (said := capsys.readouterr().err) and "003.png" in said
    assert len(read_mot(tmp_path / "out" / "tracks-ball.txt")) == 3
    assert len(list(VideoSource(tmp_path / "out" / "video.mp4"))) == 3


def test_detections_are_linked_and_scored_without_any_model(tmp_path, capsys):
    for name, number in (("truth", 1), ("det", -1)):
        lines = [f"{f + 1},{number},{10 + f},20,30,60,1,-1,-1,-1\n" for f in range(20)]
        (tmp_path / name).mkdir()
        (tmp_path / name / "walk.txt").write_text("".join(lines))
    out = tmp_path / "out"
    assert run("link", tmp_path / "det" / "walk.txt", "--image-size", 100, 200, "--out", out) == 0
    assert "20 of 20 detections in 1 track" in capsys.readouterr().err
    (again,) = read_posetrack(out / "posetrack18" / "walk.json")
    assert len(again) == 20
    assert run("eval", "--gt", tmp_path / "truth", "--pred", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["IDF1"] == 1
    assert run("eval", "--gt", tmp_path / "truth", "--pred", out) == 0
    assert "HOTA" in capsys.readouterr().out


def test_linked_detections_are_joined_once_more(tmp_path, capsys):
    """Somebody is unseen for three frames, after which the linker that compares neighbouring frames knows nobody."""
    rows = [f"{n},-1,{3 * n},10,20,50,0.97,-1,-1,-1" for n in range(1, 20) if n not in (8, 9, 10)]
    (tmp_path / "det.txt").write_text("\n".join(rows))
    words = ("link", tmp_path / "det.txt", "--linker", "reference", "--image-size", 100, 200)
    assert run(*words, "--out", tmp_path / "plain") == 0
    assert "in 2 tracks" in capsys.readouterr().err
    assert run(*words, "--out", tmp_path / "joined", "--relink") == 0
    assert "16 of 16 detections in 1 track" in capsys.readouterr().err
    (written,) = (tmp_path / "joined").glob("*.txt")
    assert set(read_mot(written).track_ids.tolist()) == {1}
    assert run("link", written, "--image-size", 100, 200, "--relink", "--out", tmp_path / "again") == 0


def test_detections_that_belong_to_no_track_are_told(tmp_path, capsys):
    line = "1,{},10,20,30,60,1,-1,-1,-1\n"
    (tmp_path / "a.txt").write_text(line.format(1))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.txt").write_text(line.format(1) + line.format(-1))
    assert run("eval", "--gt", tmp_path / "a.txt", "--pred", tmp_path / "b") == 0
    assert "1 predicted object belongs to no track" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("truth", "found", "said"),
    [
        ({"walk": -1}, {"walk": 1}, "1 of 1 objects in the ground truth have no track id"),
        (
            {"walk": 1},
            {"wlak": 1},
            "2 have no partner; without predictions: walk; without ground truth: wlak",
        ),
    ],
)
def test_what_cannot_be_scored_is_explained(truth, found, said, tmp_path, capsys):
    for folder, ids in (("gt", truth), ("pred", found)):
        (tmp_path / folder).mkdir()
        for name, number in ids.items():
            (tmp_path / folder / f"{name}.txt").write_text(f"1,{number},10,20,30,60,1,-1,-1,-1\n")
    assert run("eval", "--gt", tmp_path / "gt", "--pred", tmp_path / "pred") == 1
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parity
def test_poses_are_scored_by_posetracks_rules(shared_data, capsys):
    folder = shared_data / "eval_cases" / "poseval_bonn"
    words = [
        "eval",
        "--gt",
        folder / "gt",
        "--pred",
        folder / "pred",
        "--protocol",
        "poseval-current",
        "--json",
    ]
    assert run(*words) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["MOTA"] == pytest.approx(71.651786, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["link", "nowhere.json"], "there is no nowhere.json"),
        (["eval", "--gt", "nowhere", "--pred", "nowhere"], "there is no nowhere"),
        (["model.safetensors", "nowhere.mp4"], "expected a video, a folder of pictures"),
    ],
)
def test_mistakes_are_explained(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_frames_of_a_folder_are_followed_in_the_order_of_their_numbers(video, tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(picture(number)).save(folder / f"frame_{number + 1}.png")
    (folder / "notes.txt").touch()
    assert run("m", folder, "--out", tmp_path / "out", "--no-video") == 0
    said = capsys.readouterr().err
    assert "1 track" in said and "1 file is no picture by the ending (1 .txt)" in said
    found = read_mot(tmp_path / "out" / "tracks-ball.txt")
    assert found.boxes[:, 0].tolist() == [2 * number for number in range(12)]


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_an_animated_picture_is_followed_through_all_its_frames(video, tmp_path, capsys, kind):
    if kind == "webp" and not features.check("webp"):
        pytest.skip("this Pillow has no webp")
    first, *more = [Image.fromarray(picture(number)) for number in range(8)]
    options = {"lossless": True} if kind == "webp" else {}
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=more, duration=100, **options)
    assert run("m", tmp_path / f"a.{kind}", "--out", tmp_path / "out") == 0
    assert "8 frames in" in capsys.readouterr().err
    assert [frame.seconds for frame in VideoSource(tmp_path / "out" / "video.mp4")] == pytest.approx(
        [number / 10 for number in range(8)], abs=1e-3
    )


def test_what_is_no_video_is_said_before_work_begins_and_not_to_be_resumed(video, tmp_path, capsys):
    (tmp_path / "notes.mp4").write_text("this is no video\n" * 30)
    assert run("m", tmp_path / "notes.mp4", "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "cannot be read as a video" in said and "resume" not in said and not (tmp_path / "out").exists()


def test_a_first_frame_that_cannot_be_read_leaves_nothing_to_go_on_with(video, tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"broken")
    for _ in range(2):  # a second run is not refused for the first
        assert run("m", folder, "--out", tmp_path / "out") == 1
        said = capsys.readouterr().err
        assert "stopped early" in said and "1.png" in said and "resume" not in said


def test_frames_whose_size_no_file_tells_get_one_or_a_sentence(tmp_path, capsys):
    image = {"id": 1, "vid_id": "walk", "file_name": "a.png", "frame_id": 1}
    content = {"images": [image], "annotations": [], "categories": [{"name": "person"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert run("link", tmp_path / "a.json", "--out", tmp_path / "out") == 1
    said = "".join(capsys.readouterr().err.split())
    assert f"{tmp_path / 'a.json'}doesnottell" in said and "--image-sizeHEIGHTWIDTH" in said
    assert not (tmp_path / "out").exists()
    assert run("link", tmp_path / "a.json", "--image-size", 100, 200, "--out", tmp_path / "out") == 0
    (tmp_path / "b.json").write_text('{"predictions": [], "failed": []}')
    assert run("link", tmp_path / "b.json", "--out", tmp_path / "none") == 1
    assert "holdsnoframestolink" in "".join(capsys.readouterr().err.split())


def test_what_may_not_be_written_leaves_no_other_file(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("1,-1,10,20,30,60,1,-1,-1,-1\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions").symlink_to(tmp_path / "elsewhere")
    assert run("link", tmp_path / "a.txt", "--image-size", 100, 200, "--out", tmp_path / "out") == 1
    assert "is not inside" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions"]
    assert not list((tmp_path / "elsewhere").iterdir())
