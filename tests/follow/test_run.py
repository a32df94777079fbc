"""`pagoda.track`: the tracks and files of the command, runs that are stopped and go on, nothing written unasked."""

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from standing_in import StandsIn, batches_of, small_fcos

import pagoda
from pagoda import api
from pagoda.cli import track as command
from pagoda.cli.main import main
from pagoda.data.tracks.mot import read_mot
from pagoda.files.lock import FolderInUseError, hold_folder
from pagoda.follow.run import TrackCollector
from pagoda.pictures.read import PictureError
from pagoda.stopping import Stopped
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.thresholds import ScoreThresholds
from pagoda.tracking.tracklets import Relinker
from pagoda.video.frames import VideoWriter

pytestmark = pytest.mark.medium

NAMES = LabelMap.from_names(["ball", "bat"])
FILES = ("posetrack18.json", "tracks-ball.txt", "tracks-bat.txt", "tracks.csv", "video.mp4")
NUM_FRAMES = 12


class SeesColours(StandsIn):
    """Stands in for a trained detector: what is red is a ball, what is blue a bat, each with its mask."""

    label_map = NAMES

    def __init__(self, weight: float = 0.0) -> None:
        self.weight, self.num_seen = torch.tensor(weight), 0

    def state_dict(self):
        return {"weight": self.weight}

    def look(self, picture):
        self.num_seen += 1
        found = []
        for label, channel in ((0, 0), (1, 2)):
            mask = (picture[..., channel] > 150) & (picture[..., 1] < 100)
            rows, columns = np.nonzero(mask)
            if len(rows):
                found.append((label, mask, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]))
        return Detections(
            torch.tensor([box for _, _, box in found], dtype=torch.float32).reshape(-1, 4),
            torch.full((len(found),), 0.97),
            torch.tensor([label for label, _, _ in found], dtype=torch.long),
            picture.shape[:2],
            NAMES,
            masks=torch.from_numpy(np.array([mask for _, mask, _ in found]).reshape(-1, *picture.shape[:2])),
        )


def picture(number: int) -> np.ndarray:
    """The ball goes right, the bat left; the ball is away for two frames."""
    ground = np.full((48, 96, 3), 60, np.uint8)
    ground[26:46, 70 - 2 * number : 90 - 2 * number] = (20, 20, 220)
    if number not in (5, 6):
        ground[2:22, 2 * number : 2 * number + 20] = (220, 20, 20)
    return ground


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "play.mp4"
    with VideoWriter(path, frames_per_second=25, quality=1) as writer:
        for number in range(NUM_FRAMES):
            writer.add(picture(number), number / 25)
    return path


@pytest.fixture
def frames(tmp_path) -> Path:
    """The same as a folder of pictures."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(NUM_FRAMES):
        Image.fromarray(picture(number)).save(folder / f"{number:03}.png")
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("[!.]*")}


def equal(one, other) -> bool:
    names = ("frames", "track_ids", "boxes", "scores", "labels")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def stop_after(count: int):
    """An `on_frame` that asks for the end at its call number `count`."""
    calls = []

    def stop(linked):
        calls.append(linked)
        if len(calls) == count:
            signal.raise_signal(signal.SIGINT)

    return stop


@pytest.mark.parametrize("linker", ["byte", "reference"])
def test_the_commands_tracks_and_files(video, tmp_path, monkeypatch, linker):
    monkeypatch.setattr(command, "open_ready", lambda path, model, take, **where: SeesColours())
    with pytest.raises(SystemExit) as exit_code:
        main(["track", "m", str(video), "--linker", linker, "--out", str(tmp_path / "command")])
    assert exit_code.value.code == 0
    result = pagoda.track(SeesColours(), video, out=tmp_path / "python", linker=linker, quiet=True)
    written = files_in(tmp_path / "command")
    assert sorted(written) == list(FILES) and files_in(tmp_path / "python") == written
    assert result.folder == tmp_path / "python" and result.num_frames == NUM_FRAMES and not result.failure
    assert not result.is_resumable and result.tracks.name == "play" and result.tracks.num_frames == NUM_FRAMES
    for label, name in enumerate(NAMES.names):
        mine = result.tracks.rows(result.tracks.labels == label)
        theirs = read_mot(tmp_path / "command" / f"tracks-{name}.txt")
        np.testing.assert_array_equal(mine.frames, theirs.frames)
        np.testing.assert_array_equal(mine.track_ids, theirs.track_ids)
        np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=1e-2)


def test_nothing_is_written_without_a_folder(video, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    result = pagoda.track(SeesColours(), video, quiet=True)
    assert list(tmp_path.iterdir()) == [] and result.folder is None and not result.is_resumable
    assert result.tracks.track_ids.min() >= 0 and result.tracks.frame_names[3] == "play.mp4#3"
    assert result.table().endswith("2 tracks") and capfd.readouterr() == ("", "")
    saved = pagoda.track(SeesColours(), video, out="out", write_video=False)
    assert equal(result.tracks, saved.tracks) and result.table() == saved.table()
    assert not Path("out/video.mp4").exists() and "12 frames in" in capfd.readouterr().err


@pytest.mark.usefixtures("hears_signals")
def test_a_run_that_was_stopped_ends_as_one_that_was_not(video, tmp_path):
    whole = pagoda.track(SeesColours(), video, out=tmp_path / "whole", quiet=True)
    parts, model = tmp_path / "parts", SeesColours()
    with pytest.raises(
        Stopped, match="stopped; 5 frames are done; go on with: the same call and resume=True"
    ):
        pagoda.track(model, video, out=parts, on_frame=stop_after(5), quiet=True)
    assert {"found.jsonl", *FILES} == set(files_in(parts)), "what was done is whole"
    with pytest.raises(ValueError, match=r"holds a run that was stopped; go on with it \(resume=True\) or"):
        pagoda.track(model, video, out=parts)
    part = pagoda.track(model, video, out=parts, resume=True, max_frames=8, quiet=True)
    assert part.num_frames == 8 and part.is_resumable and model.num_seen == 8
    seen = []
    again = pagoda.track(model, video, out=parts, resume=True, on_frame=seen.append, quiet=True)
    assert model.num_seen == NUM_FRAMES, "no frame is looked at twice"
    assert files_in(parts) == files_in(tmp_path / "whole")
    assert equal(again.tracks, whole.tracks) and len(seen) == again.num_frames == NUM_FRAMES


@pytest.mark.usefixtures("hears_signals")
@pytest.mark.parametrize(("stopped_after", "batches"), [(5, [8, 4]), (9, [4])])
def test_frames_that_are_looked_at_together_are_so_where_a_run_goes_on(
    video, tmp_path, stopped_after, batches
):
    model = small_fcos(NAMES)
    whole = pagoda.track(model, video, out=tmp_path / "whole", min_score=0.2, quiet=True)
    parts = {"out": tmp_path / "parts", "min_score": 0.2, "quiet": True}
    with pytest.raises(Stopped, match=f"stopped; {stopped_after} frames are done"):
        pagoda.track(model, video, on_frame=stop_after(stopped_after), **parts)
    seen = batches_of(model)
    again = pagoda.track(model, video, resume=True, **parts)
    assert seen == batches and len(whole.tracks) > 0 and equal(again.tracks, whole.tracks)
    assert files_in(tmp_path / "parts") == files_in(tmp_path / "whole")


@pytest.mark.usefixtures("hears_signals")
def test_without_a_folder_a_stop_is_at_once(video):
    seen = []
    with pytest.raises(KeyboardInterrupt) as stop:
        pagoda.track(SeesColours(), video, on_frame=lambda each: (seen.append(each), stop_after(1)(each)))
    assert len(seen) == 1 and not isinstance(stop.value, Stopped)


def test_a_run_goes_on_only_with_what_it_began_with(video, frames, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="nothing to go on with"):
        pagoda.track(SeesColours(), frames, out=out, resume=True)
    assert not out.exists()
    with pytest.raises(ValueError, match="resume=True needs the folder of the run that was stopped: out=DIR"):
        pagoda.track(SeesColours(), frames, resume=True)
    pagoda.track(SeesColours(), frames, out=out, max_frames=4, quiet=True)
    for model, options, said in (
        (SeesColours(weight=1.0), {}, "was made with other weights; resume=True needs the same"),
        (SeesColours(), {"classes": ["bat"]}, r"was made with classes \[\]"),
        (SeesColours(), {"first_frame": 1}, "was made with first_frame 0"),
    ):
        with pytest.raises(ValueError, match=said):
            pagoda.track(model, frames, out=out, resume=True, **options)
    Image.fromarray(picture(7)).save(frames / "002.png")
    with pytest.raises(
        ValueError, match="frames shows something else in frame 2; resume=True needs the same"
    ):
        pagoda.track(SeesColours(), frames, out=out, resume=True)
    Image.fromarray(picture(2)).save(frames / "002.png")
    moved = frames.rename(tmp_path / "moved")  # told by content
    assert pagoda.track(SeesColours(), moved, out=out, resume=True, quiet=True).num_frames == NUM_FRAMES


def test_a_run_that_kept_fewer_objects_does_not_go_on_with_more(video, tmp_path):
    model = small_fcos(NAMES)
    model.thresholds = ScoreThresholds(scores={"ball": 0.5, "bat": 0.6}, kind="best_f1", split="val")
    parts = {"out": tmp_path / "parts", "quiet": True}
    pagoda.track(model, video, max_frames=4, min_score="card", **parts)
    with pytest.raises(
        ValueError, match=r"was made with objects from score 0\.5; resume=True needs the same"
    ):
        pagoda.track(model, video, min_score=0.2, resume=True, **parts)
    again = pagoda.track(model, video, min_score="card", resume=True, **parts)
    assert again.num_frames == NUM_FRAMES


@pytest.mark.parametrize("is_written", [True, False])
def test_a_broken_frame_ends_it_with_what_came_before(frames, tmp_path, is_written):
    out = tmp_path / "out" if is_written else None
    whole = pagoda.track(SeesColours(), frames, quiet=True)
    (frames / "004.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"followed for 4 frames only: .*004\.png"):
        result = pagoda.track(SeesColours(), frames, out=out, quiet=True)
    assert "004.png" in result.failure and result.num_frames == result.tracks.num_frames == 4
    assert result.is_resumable == is_written
    if is_written:
        Image.fromarray(picture(4)).save(frames / "004.png")
        mended = pagoda.track(SeesColours(), frames, out=out, resume=True, quiet=True)
        assert equal(mended.tracks, whole.tracks)
    (frames / "000.png").write_bytes(b"broken")
    with pytest.raises(PictureError, match=r"000\.png"):
        pagoda.track(SeesColours(), frames, quiet=True)


def test_a_part_of_the_video_and_of_the_classes(frames, capsys):
    (frames / "notes.txt").touch()
    result = pagoda.track(SeesColours(), frames, first_frame=3, max_frames=7, classes=["ball"])
    assert result.num_frames == 7 and result.tracks.num_frames == 10
    assert result.tracks.frames.tolist() == [3, 4, 7, 8, 9] and set(result.tracks.labels) == {0}
    assert result.tracks.boxes[:, 0].tolist() == [6, 8, 14, 16, 18]
    assert Path(result.tracks.frame_names[9]).name == "009.png" and result.tracks.frame_names[0] == ""
    assert equal(
        result.tracks, pagoda.track(SeesColours(), frames, classes="ball", first_frame=3, max_frames=7).tracks
    )
    assert "1 file is no picture" in result.left_out
    assert result.left_out in (said := capsys.readouterr().err) and "7 frames in" in said


def test_every_frame_is_told_as_soon_as_it_is_known(video):
    told = []
    pagoda.track(SeesColours(), video, min_score=0.99, on_frame=told.append, quiet=True)
    assert [len(each) for each in told] == [1 if number in (5, 6) else 2 for number in range(NUM_FRAMES)]
    assert all((each.track_ids == -1).all() and each.masks is not None for each in told), "weak, and told"


def test_a_checkpoint_by_its_path(video, monkeypatch):
    monkeypatch.setattr(api, "load", lambda path: {"best.safetensors": SeesColours()}[str(path)])
    for path in ("best.safetensors", Path("best.safetensors")):
        assert pagoda.track(path, video, max_frames=2, quiet=True).num_frames == 2


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"linker": "bite"}, ValueError, "did you mean 'byte'"),
        ({"classes": ["bal"]}, KeyError, "did you mean 'ball'"),
        ({"max_frames": 0}, ValueError, "max_frames must be at least 1, got 0"),
        ({"first_frame": 400}, ValueError, "it cannot start at frame 400"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(video, tmp_path, options, error, said):
    with pytest.raises(error, match=said):
        pagoda.track(SeesColours(), video, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_one_folder_has_one_writer(video, tmp_path):
    with hold_folder(tmp_path, "draws"), pytest.raises(FolderInUseError, match="draws in this folder since"):
        pagoda.track(SeesColours(), video, out=tmp_path)


def test_frames_without_names_are_counted_from_the_first_one():
    found = Detections(torch.tensor([[1.0, 2, 5, 6]]), torch.tensor([0.9]), torch.tensor([0]), (8, 8), NAMES)
    collected = TrackCollector()
    for _ in range(2):
        collected.add(replace(found, track_ids=torch.tensor([4])))
    tracks = collected.tracks("somewhere", first_frame=3)
    assert tracks.frames.tolist() == [3, 4] and tracks.num_frames == 5 and tracks.frame_names == ()


def test_tracks_are_joined_once_the_video_is_known(video, tmp_path):
    """The linker that forgets whoever is away for a frame; the ball is, for two."""
    plain = pagoda.track(SeesColours(), video, linker="reference", quiet=True)
    model, told = SeesColours(), []
    result = pagoda.track(
        model, video, out=tmp_path / "out", linker="reference", relink=True, on_frame=told.append, quiet=True
    )
    assert len(set(plain.tracks.track_ids.tolist())) == 3 and set(result.tracks.track_ids.tolist()) == {1, 2}
    assert model.num_seen == NUM_FRAMES, "nothing is looked at twice"
    assert result.table().endswith("2 tracks") and "found.jsonl" not in files_in(tmp_path / "out")
    assert np.array_equal(result.tracks.boxes, plain.tracks.boxes) and len(told) == NUM_FRAMES
    written = [read_mot(tmp_path / "out" / f"tracks-{name}.txt") for name in NAMES.names]
    assert [len(set(each.track_ids.tolist())) for each in written] == [1, 1]
    assert {int(each) for linked in told for each in linked.track_ids} == {1, 2} and told[0].masks is not None
    unwritten = pagoda.track(SeesColours(), video, linker="reference", relink=True, quiet=True)
    assert equal(unwritten.tracks, result.tracks) and unwritten.table() == result.table()


def test_tracks_are_joined_where_the_camera_would_have_stood(video, monkeypatch):
    pytest.importorskip("cv2")
    new_ids, moves = Relinker.new_ids, []
    monkeypatch.setattr(
        Relinker,
        "new_ids",
        lambda self, tracks, camera=(): (moves.append(camera), new_ids(self, tracks, camera))[1],
    )
    for camera in ("still", "moving"):
        result = pagoda.track(SeesColours(), video, camera=camera, relink=True, quiet=True)
        assert set(result.tracks.track_ids.tolist()) == {1, 2}
    assert [len(each) for each in moves] == [0, NUM_FRAMES] and moves[1][3].shape == (2, 3)


class StopsAt(SeesColours):
    """Somebody asks for the end when it looks for the n-th time."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def look(self, picture):
        found = super().look(picture)
        if self.num_seen == self.count:
            signal.raise_signal(signal.SIGINT)
        return found


@pytest.mark.usefixtures("hears_signals")
def test_a_run_that_joins_tracks_goes_on_from_either_half(video, tmp_path):
    options = {"linker": "reference", "relink": True, "quiet": True}
    whole = pagoda.track(SeesColours(), video, out=tmp_path / "whole", **options)
    looking, writing = tmp_path / "looking", tmp_path / "writing"
    with pytest.raises(Stopped, match=r"stopped; \d+ frames are done; go on with"):
        pagoda.track(StopsAt(5), video, out=looking, **options)
    with pytest.raises(Stopped, match="stopped; 12 frames are done; go on with"):
        pagoda.track(SeesColours(), video, out=writing, on_frame=stop_after(4), **options)
    model = SeesColours()
    for parts in (looking, writing):
        result = pagoda.track(model, video, out=parts, resume=True, **options)
        assert equal(result.tracks, whole.tracks) and files_in(parts) == files_in(tmp_path / "whole")
    assert model.num_seen < 2 * NUM_FRAMES


def test_tracks_are_joined_up_to_a_frame_that_cannot_be_read(frames, tmp_path):
    (frames / "009.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"followed for 9 frames only: .*009\.png"):
        result = pagoda.track(
            SeesColours(), frames, out=tmp_path / "out", linker="reference", relink=True, quiet=True
        )
    assert result.is_resumable and set(result.tracks.track_ids.tolist()) == {1, 2}


def test_a_live_source_has_no_end_to_wait_for():
    with pytest.raises(ValueError, match=r"relink needs a video's end.*pagoda track link .* --relink"):
        pagoda.track(SeesColours(), "rtsp://127.0.0.1/street", relink=True)
