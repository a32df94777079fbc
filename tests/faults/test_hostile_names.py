"""Names of data through everything that writes: no file outside, none overwritten, none shared."""

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.saving import write_coco_folder
from pagoda.data.tracks.files import read_tracks
from pagoda.data.tracks.folders import open_videos, write_video_folder
from pagoda.data.tracks.mot import MotWriter, class_words, known_words
from pagoda.files.atomic import (
    MAX_NAME_BYTES,
    claim_file,
    claim_folder,
    inside,
    safe_name,
    safe_names,
    write_free,
)
from pagoda.files.text import one_line
from pagoda.models import create_model
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import Tracks
from pagoda.weights.files import save_weights

pytestmark = pytest.mark.medium

_spec = spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
_hostile = module_from_spec(_spec)
_spec.loader.exec_module(_hostile)
HOSTILE: tuple[str, ...] = _hostile.HOSTILE
FORBIDDEN = set('/\\:*?"<>|')
DEVICES = {"con", "prn", "aux", "nul", "clock$", "conin$", "conout$"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"
}


UNFIT = {"null byte": "a\0b", "line break": "a\nb", "300 bytes": "y" * 300, "256 bytes": "é" * 128 + "/x"}
WORDS = [
    ["create", "fcos_resnet18_fpn", "--classes", "2", "--out", "X"],
    ["create", "fcos_resnet18_fpn", "--classes", "2", "--out=X"],
    ["create", "fcos_resnet18_fpn", "--labels", "X"],
    ["convert", "X", "b.safetensors"],
    ["convert", "a.pth", "X"],
    ["train", "fcos_resnet18_fpn", "--data", "X"],
    ["train", "fcos_resnet18_fpn", "--data", ".", "out=X"],
    ["train", "--resume", "X"],
    ["val", "X", "--data", "."],
    ["val", "a.safetensors", "--data", "X"],
    ["val", "a.safetensors", "--data", ".", "--save-results", "X"],
    ["predict", "X", "a.png"],
    ["predict", "a.safetensors", "a.png", "X"],
    ["predict", "a.safetensors", "a.png", "--out", "X"],
    ["track", "a.safetensors", "X"],
    ["track", "a.safetensors", "a.mp4", "--out", "X"],
    ["track", "link", "X"],
    ["track", "link", "a.json", "--out", "X"],
    ["track", "eval", "--gt", "X", "--pred", "a.txt"],
    ["export", "a.safetensors", "X"],
    ["bench", "X"],
    ["info", "fcos_resnet18_fpn", "--html", "X"],
    ["doctor", "X"],
    ["demo", "--out", "X"],
    ["replay", "X"],
]


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_what_can_name_no_file_is_wrong_usage_of_every_verb(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    kind: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([word.replace("X", UNFIT[kind]) for word in words])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and told.startswith("error: ") and told.count("\n") == 1
    assert kind in told and "Errno" not in told and len(told) < 250
    assert not list(tmp_path.iterdir())


def test_a_name_with_a_line_break_that_exists_is_read(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a\nb.txt").write_text("1,1,1,1,5,5,1,-1,-1,-1\n")
    with pytest.raises(SystemExit) as stop:
        main(["track", "link", "a\nb.txt", "--image-size", "9", "9", "--out", "linked"])
    assert stop.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "write", [claim_file, lambda path: claim_folder(path, "x"), lambda path: write_free(path, print)]
)
def test_a_null_byte_where_something_is_written_is_told(write) -> None:
    with pytest.raises(ValueError, match=r"could not write 'a\\x00b': it holds a null byte"):
        write("a\0b/c" if write is claim_file else "a\0b")


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def only_in(out: Path) -> Iterator[None]:
    """Fails where a file appears, changes or goes outside `out`, or one in it that was there is not as it was."""
    top = out.parents[1]
    before = files_below(top)
    yield
    after = files_below(top)
    assert {path: after.get(path) for path in before} == before, "what stood there was touched"
    strays = [path for path in after.keys() - before.keys() if not path.startswith(f"{out}{os.sep}")]
    assert strays == []


@pytest.fixture
def out(tmp_path, monkeypatch):
    """The folder to write to, two below one with files where `..` leads."""
    folder = tmp_path / "box" / "out"
    folder.mkdir(parents=True)
    for place in (tmp_path, tmp_path / "box", folder):
        for name in ("x", "x.txt", "x.json", "x.jpg", "tracks.txt"):
            (place / name).write_text("precious")
    monkeypatch.chdir(tmp_path / "box")
    return folder


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = create_model(
        "fcos_mobilenet_v2_fpn", num_classes=2, width=32, head_depth=1, short_side=32, long_side=32
    )
    return save_weights(
        tmp_path_factory.mktemp("model") / "model.safetensors", model.state_dict(), model.card()
    )


def test_there_are_at_least_a_hundred():
    assert len(HOSTILE) >= 100


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_safe_name_is_one(name):
    safe = safe_name(name)
    assert safe and len(safe.encode()) <= MAX_NAME_BYTES and not FORBIDDEN.intersection(safe)
    assert not safe.startswith((".", " ")) and not safe.endswith((".", " "))
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in safe)
    assert safe.partition(".")[0].strip().lower() not in DEVICES
    assert unicodedata.is_normalized("NFC", safe) and safe_name(safe) == safe
    assert Path("folder", safe).parent == Path("folder")


@pytest.mark.parametrize(
    "name", ["cat", "人", "车", "كلب", "हिन्दी", "Ελλάδα", "my photo (2)", "a.b-c_d", "👩‍🚒"]
)
def test_a_name_that_is_safe_stays(name):
    assert safe_name(name) == name


def test_names_that_differ_get_files_of_their_own_in_whatever_order():
    safe = safe_names(HOSTILE)
    folded = [unicodedata.normalize("NFC", name.casefold()) for name in safe]
    assert len(set(folded)) == len(HOSTILE)
    again = dict(zip(HOSTILE[::-1], safe_names(HOSTILE[::-1]), strict=True))
    assert [again[name] for name in HOSTILE] == safe
    assert all(name == safe_name(name) for name in safe)


@pytest.mark.parametrize("part", ["../x", "/tmp/x", "..", "", "link/x", "deep/../../x"])
def test_what_lies_elsewhere_is_refused(part, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="is not inside"):
        inside(tmp_path / "out", part)
    assert inside(tmp_path / "out", "a", "b.txt") == tmp_path / "out" / "a" / "b.txt"


def test_a_folder_that_is_itself_a_link_is_inside(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    assert inside(tmp_path / "out", "a.txt") == tmp_path / "out" / "a.txt"


def test_predict_writes_each_picture_once_and_into_its_folder(out, checkpoint, tmp_path):
    pictures = tmp_path / "pictures"
    names = [name for name in HOSTILE if name not in ("", ".", "..") and not {"/", "\0"} & set(name)]
    for number, name in enumerate(names):
        place = pictures / str(number) / (name + ".bmp")  # each in its own folder: other disks tell a from A
        place.parent.mkdir(parents=True)
        try:
            Image.new("RGB", (16, 16)).save(place, format="BMP")
        except (OSError, UnicodeEncodeError):  # longer than the disk takes, or no name at all
            place.parent.rmdir()
    sources = sorted(path for path in pictures.rglob("*.bmp") if path.suffix)
    assert len(sources) > 80
    with only_in(out):
        assert run("predict", checkpoint, *map(str, sources), "--out", out) == 0
    written = list(out.glob("*.jpg"))
    assert len(written) == len(sources) + 1  # and x.jpg, which was there


def posetrack(names: list[str]) -> dict:
    images = [
        {"id": number, "vid_id": name, "file_name": f"{number}.jpg", "height": 32, "width": 32}
        for number, name in enumerate(names)
    ]
    box = {"bbox": [1, 1, 9, 9], "score": 0.9, "category_id": 1, "keypoints": []}
    annotations = [{"id": number, "image_id": number, **box} for number in range(len(names))]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def test_track_link_writes_every_video_into_its_folder(out, tmp_path):
    names = {one_line(name): name for name in HOSTILE if one_line(name)}
    (tmp_path / "found.json").write_text(json.dumps(posetrack(list(names.values()))))
    with only_in(out):
        assert run("track", "link", tmp_path / "found.json", "--out", out) == 0
    for pattern in ("posetrack18/*.json", "predictions/*.json"):
        written = list(out.glob(pattern))
        assert len(written) == len(names) > 90


def test_videos_that_would_have_one_name_are_refused(tmp_path):
    (tmp_path / "found.json").write_text(json.dumps(posetrack(["a\nb", "a b"])))
    with pytest.raises(ValueError, match=r"found.json.*would both be called 'a b'"):
        read_tracks(tmp_path / "found.json")


def test_track_link_does_not_follow_a_link_out_of_its_folder(out, tmp_path, capsys):
    (tmp_path / "found.json").write_text(json.dumps(posetrack(["a", "b"])))
    (tmp_path / "elsewhere").mkdir()
    (out / "predictions").symlink_to(tmp_path / "elsewhere")
    with only_in(out):
        assert run("track", "link", tmp_path / "found.json", "--out", out) == 1
    assert "is not inside" in " ".join(capsys.readouterr().err.split())


def test_a_folder_of_videos_has_one_place_for_each(out):
    walk = WalkingFigures(num_videos=1, num_frames=1, image_size=(64, 64))[0]
    named = [replace(walk, tracks=replace(walk.tracks, name=name)) for name in HOSTILE if name]
    with only_in(out):
        write_video_folder(named, out / "walks", "train", kind="png")
        with pytest.raises(FileExistsError, match="is there already"):
            write_video_folder(named[:1], out / "walks", "train", kind="png")
        with pytest.raises(ValueError, match="is not inside"):
            write_video_folder(named[:1], out / "walks", "../../../x", kind="png")
    assert len(open_videos(out / "walks", "train")) == len(named)


def found(names: tuple[str, ...]) -> Detections:
    count = len(names)
    return Detections(
        boxes=torch.tensor([[1.0, 1, 9, 9]]).repeat(count, 1),
        scores=torch.ones(count),
        labels=torch.arange(count),
        image_size=(32, 32),
        label_map=LabelMap.from_names(names),
        track_ids=torch.arange(count),
    )


def test_no_two_classes_share_a_file(out):
    with only_in(out), MotWriter(out / "tracks.txt", write=write_free) as writer:
        writer.add(found(HOSTILE), 0)
    files = [path for path in out.iterdir() if path.name.startswith("tracks-")]
    assert len({path.name.casefold() for path in files}) == len(HOSTILE)
    assert all(len(path.read_text().splitlines()) == 1 for path in files)


@pytest.mark.parametrize(
    "names", [("人", "车"), ("traffic light", "traffic_light"), ("Car", "car"), ("a/b", "a:b")]
)
def test_classes_come_back_from_their_files(names, tmp_path):
    rows = found(names)
    truth = replace(Tracks.from_detections([rows]), name="street")
    with MotWriter(tmp_path / "street.txt") as writer:
        writer.add(rows, 0)
    assert len(list(tmp_path.iterdir())) == 2
    (read,) = read_tracks(tmp_path, truths=[truth])
    back = dict(zip(read.labels.tolist(), read.track_ids.tolist(), strict=True))
    assert read.name == "street" and read.label_map.names == names and back.keys() == {0, 1}
    assert known_words(names) | dict(zip(class_words(names), (0, 1), strict=True)) == known_words(names)


@pytest.mark.parametrize("name", HOSTILE[:40], ids=ascii)
def test_a_run_lies_in_the_folder_of_runs(name, out):
    with only_in(out):
        folders = [claim_folder(out, name) for _ in range(2)]
    assert folders[0] != folders[1] and all(folder.parent == out and folder.is_dir() for folder in folders)


@pytest.mark.parametrize("split", ["../../x", "/tmp/x", ".."])
def test_a_split_that_leads_out_is_refused(split, out):
    with only_in(out), pytest.raises(ValueError, match="is not inside"):
        write_coco_folder(DrawnShapes(1, (32, 32)), out / "set", split=split)


def test_pictures_that_are_there_are_not_replaced(out):
    (out / "set" / "images" / "train").mkdir(parents=True)
    (out / "set" / "images" / "train" / "000001.png").write_text("precious")
    with only_in(out), pytest.raises(FileExistsError, match="another split"):
        write_coco_folder(DrawnShapes(1, (32, 32)), out / "set")


def test_eight_that_ask_at_once_get_names_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda _: claim_file(tmp_path / "same.png"), range(80)))
        folders = list(pool.map(lambda _: claim_folder(tmp_path, "run"), range(80)))
    assert len(set(files)) == len(set(folders)) == 80


def test_a_dangling_link_is_not_free(tmp_path):
    (tmp_path / "a.txt").symlink_to(tmp_path / "elsewhere")
    assert write_free(tmp_path / "a.txt", lambda path: path.write_text("mine")) == tmp_path / "a-2.txt"
    assert not (tmp_path / "elsewhere").exists()


def test_what_could_not_be_written_leaves_no_claim(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_free(tmp_path / "a.txt", lambda path: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def test_two_predictions_into_one_folder_at_once_lose_nothing(out, checkpoint, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for number in range(24):
            pixels = np.full((16, 16, 3), 0 if folder == "one" else 255, np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.bmp")
    code = "import sys; from pagoda.cli.main import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with only_in(out):
        started = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    code,
                    "predict",
                    str(checkpoint),
                    str(tmp_path / folder),
                    "--out",
                    str(out),
                ],
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            for folder in ("one", "two")
        ]
        assert [process.wait() for process in started] == [0, 0]
    pictures = [
        np.asarray(Image.open(path)).mean() > 128 for path in out.glob("*.jpg") if path.name != "x.jpg"
    ]
    assert len(pictures) == 48 and sum(pictures) == 24
    files = [json.loads(path.read_text()) for path in out.glob("predictions*.json")]
    assert [len(each["predictions"]) for each in files] == [24, 24]
