"""`pagoda data` on a full disk, killed midway and over broken files: OUT is there whole or not at all, DIR stays as it
is, and the command given again does what it should have done."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.tracks.folders import write_video_folder
from pagoda.data.writing.contents import open_contents
from pagoda.data.writing.folder import plan, write_dataset

SIZE = (64, 80)
VERBS = {
    "convert": ("convert", "SOURCE", "OUT", "--to", "voc"),
    "merge": ("merge", "SOURCE", "OTHER", "OUT"),
    "split": ("split", "SOURCE", "OUT", "--val", "0.5"),
    "subset": ("subset", "SOURCE", "OUT", "--first", "3"),
    "tile": ("tile", "SOURCE", "OUT", "--size", "48"),
    "videos": ("convert", "WALKS", "OUT", "--to", "mot"),
}
DEADLY = """
import os, shutil, signal, sys
from pagoda.cli.main import main
owner, name, count, number = sys.argv[1:5]
calls, module = 0, {"shutil": shutil, "os": os}.get(owner)
if module is None:
    from PIL import Image as module_of_pictures
    module = module_of_pictures.Image
before = getattr(module, name)
def deadly(*words, **more):
    global calls
    calls += 1
    if calls == int(count):
        os.kill(os.getpid(), int(number))
    return before(*words, **more)
setattr(module, name, deadly)
main(sys.argv[5:])
"""
"""a command that gets a signal at its COUNT-th call of a function"""


def noise(place: Path, seed: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(place)


def coco(folder: Path, seed: int) -> Path:
    """A folder of four pictures of noise, each larger than a full disk holds here."""
    images, annotations = [], []
    for number in range(1, 5):
        noise(folder / "images" / "train" / f"{number}.png", seed + number)
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]})
        entry = {"id": number, "image_id": number, "category_id": 1, "bbox": [3, 4, 40, 30], "iscrowd": 0}
        annotations.append(entry)
    (folder / "annotations").mkdir()
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (folder / "annotations" / "train.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    coco(tmp_path / "source", 1)
    coco(tmp_path / "other", 50)
    walk = WalkingFigures(num_videos=2, num_frames=2, image_size=SIZE, seed=1)
    write_video_folder(walk, tmp_path / "walks", "train", kind="png")
    return tmp_path


def words_of(verb: str, place: Path, out: str = "out") -> list[str]:
    places = {"SOURCE": "source", "OTHER": "other", "WALKS": "walks", "OUT": out}
    return ["data", *(str(place / places[word]) if word in places else word for word in VERBS[verb])]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; without the report, which names where it was read from."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "losses.json"
    }


@contextmanager
def nothing_is_left(place: Path) -> Iterator[None]:
    before = contents(place)
    yield
    assert contents(place) == before and sorted(path.name for path in place.iterdir()) == [
        "other",
        "source",
        "walks",
    ]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """In the block no file grows over so many bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 2_000], ids=["in the annotations", "in a picture"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_that_is_full_leaves_nothing(
    place: Path, verb: str, size: int, capsys: pytest.CaptureFixture
) -> None:
    with nothing_is_left(place), full_disk(size):
        code = run(*words_of(verb, place))
    said = capsys.readouterr().err
    assert code == 1 and "could not write" in said and "File too large" in said and "free some space" in said
    assert run(*words_of(verb, place)) == 0 and contents(place / "out")


@pytest.mark.parametrize("verb", ["convert", "merge", "split", "subset", "videos"])
def test_no_space_left_for_a_picture_is_told(
    place: Path, verb: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    with nothing_is_left(place):
        assert run(*words_of(verb, place)) == 1
    said = capsys.readouterr().err
    assert f"could not write {place / 'out'}" in said and "No space left on device" in said


MOMENTS = [("copyfile", "shutil", 1), ("copyfile", "shutil", 3), ("rename", "os", 1)]


def deadly(place: Path, verb: str, name: str, owner: str, count: int, number: int) -> int:
    program = [sys.executable, "-c", DEADLY, owner, name, str(count), str(number)]
    done = subprocess.run([*program, *words_of(verb, place)], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("name", "owner", "count"), MOMENTS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_killed_command_can_be_given_again(
    place: Path, verb: str, name: str, owner: str, count: int
) -> None:
    if verb == "tile" and owner == "shutil":
        name, owner = "save", "PIL"
    assert deadly(place, verb, name, owner, count, signal.SIGKILL) == -signal.SIGKILL
    assert not (place / "out").exists()
    assert any(path.name.startswith(".draft-") for path in place.iterdir())
    assert run(*words_of(verb, place)) == 0
    assert not any(path.name.startswith(".draft-") for path in place.iterdir())
    assert run(*words_of(verb, place, "undisturbed")) == 0
    assert contents(place / "out") == contents(place / "undisturbed")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", ["convert", "tile"])
def test_a_stopped_command_leaves_nothing(place: Path, verb: str, number: int, code: int) -> None:
    name, owner = ("save", "PIL") if verb == "tile" else ("copyfile", "shutil")
    with nothing_is_left(place):
        assert deadly(place, verb, name, owner, 2, number) in (code, -number)


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "labelme", "mot", "posetrack"])
def test_annotations_that_cannot_be_read_are_named(
    place: Path, kind: str, capsys: pytest.CaptureFixture
) -> None:
    patterns = {"coco": "annotations/*.json", "voc": "Annotations/2.xml", "yolo": "labels/train/2.txt"}
    patterns |= {
        "labelme": "train/2.json",
        "mot": "train/walk_0001/gt/gt.txt",
        "posetrack": "annotations/*/*1.json",
    }
    source = place / kind
    assert (
        run(
            "data",
            "convert",
            str(place / ("walks" if kind in ("mot", "posetrack") else "source")),
            str(source),
            "--to",
            kind,
        )
        == 0
    )
    (file,) = source.glob(patterns[kind])
    file.write_text("{ no such thing <")
    before = contents(source)
    for verb in (
        ["convert", str(source), str(place / "out"), "--to", "coco"],
        ["subset", str(source), str(place / "out"), "--first", "1"],
    ):
        capsys.readouterr()
        assert run("data", *verb) == 1
        assert file.name in capsys.readouterr().err
        assert not (place / "out").exists() and contents(source) == before


def test_pictures_that_are_gone_are_named_or_left_out_and_told(
    place: Path, capsys: pytest.CaptureFixture
) -> None:
    (place / "source" / "images" / "train" / "2.png").unlink()
    assert run(*words_of("convert", place)) == 1
    assert "2.png" in capsys.readouterr().err and not (place / "out").exists()
    assert run(*words_of("convert", place), "--skip-missing") == 0
    assert "2.png" in capsys.readouterr().err
    notes = json.loads((place / "out" / "losses.json").read_text())["notes"]
    assert any("2.png" in note for note in notes)
    assert open_contents(place / "out").num_pictures == 3


def test_pictures_that_are_broken_come_as_they_are_or_are_named(
    place: Path, capsys: pytest.CaptureFixture
) -> None:
    """Where the annotations say the size, a picture need not be opened: it is copied byte for byte."""
    broken = place / "source" / "images" / "train" / "2.png"
    broken.write_bytes(broken.read_bytes()[:20])
    out = write_dataset(plan(open_contents(place / "source"), "coco"), place / "coco")
    assert (out / "images" / "train" / "2.png").read_bytes() == broken.read_bytes()
    assert run("data", "convert", str(place / "source"), str(place / "out"), "--to", "yolo") == 1
    assert "2.png" in capsys.readouterr().err and not (place / "out").exists()
    assert run(*words_of("tile", place)) == 1
    assert "1 picture could not be read, and their tiles are not there" in capsys.readouterr().out
    unread = json.loads((place / "out" / "losses.json").read_text())["losses"]
    assert {each["what"]: each["count"] for each in unread}["unread_pictures"] == 1
