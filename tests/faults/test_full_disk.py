"""A disk that is full: a sentence with the file's name, the old file whole, no drafts left.

The limit on the size of a file makes every write fail as a full disk does, in C and Rust code too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.convert.write_checkpoint import write_for
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.data.tracks.spool import Spool
from pagoda.files.atomic import write_atomically, write_free
from pagoda.follow.frame_log import FoundWriter
from pagoda.models import create_model
from pagoda.recipes.predictions_file import PredictionsFile
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.training.failed_batch import save_capsule
from pagoda.training.last import load_last, save_last
from pagoda.training.run_log import RunLog
from pagoda.video.frames import VideoWriter
from pagoda.visualization.report import write_report
from pagoda.weights.files import load_weights, save_weights

resource = pytest.importorskip("resource")
NOISE = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
BYTES = 6_000


@contextmanager
def full_disk() -> Iterator[None]:
    """In the block no file grows over `BYTES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def model():
    return create_model(
        "fcos_resnet18_fpn", num_classes=1, width=32, head_depth=1, short_side=32, long_side=32
    )


def noise_png(draft: Path) -> None:
    Image.fromarray(NOISE).save(draft, format="PNG")


def video(path: Path, model) -> None:
    with VideoWriter(path, frames_per_second=5) as writer:
        for number in range(9):
            writer.add(np.roll(NOISE, number), number / 5)


WRITERS: dict[str, tuple[str, Callable]] = {
    "weights": ("a.safetensors", lambda path, model: save_weights(path, model.state_dict(), model.card())),
    "another program's": ("a.pth", lambda path, model: write_for(model, "torchvision", path)),
    "capsule": ("a.pt", lambda path, model: save_capsule(path, model, [], [])),
    "text": ("a.json", lambda path, model: write_atomically(path, lambda draft: draft.write_text("x" * 9_000))),
    "picture": ("a.png", lambda path, model: write_atomically(path, noise_png)),
    "report": (
        "a.html",
        lambda path, model: write_report(
            path, title="a", settings={}, records=[], before=None, result=None, pictures=[("noise", NOISE)]
        ),
    ),
    "video": ("a.mp4", video),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_the_old_file_stays_whole_and_the_reason_is_told(tmp_path, model, kind):
    name, write = WRITERS[kind]
    path = tmp_path / name
    path.write_text("what was there before")
    with full_disk(), pytest.raises(OSError, match="could not write") as error:
        write(path, model)
    text = str(error.value)
    assert str(path) in text and "File too large" in text and "free some space" in text
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert path.read_text() == "what was there before"


def test_a_name_that_is_free_stays_so(tmp_path):
    with full_disk(), pytest.raises(OSError, match=r"could not write .*a.png: .*File too large"):
        write_free(tmp_path / "a.png", noise_png)
    assert list(tmp_path.iterdir()) == []


def test_the_state_before_is_kept(tmp_path):
    save_last(tmp_path, {"step": 1})
    with (
        full_disk(),
        pytest.raises(OSError, match=r"state.pt: .*File too large.*free some space and use --resume"),
    ):
        save_last(tmp_path, {"step": 2, "values": torch.rand(9_000)})
    assert load_last(tmp_path)["step"] == 1
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["state.pt"]


def fill_predictions(folder: Path) -> None:
    with PredictionsFile(folder) as rows:
        for number in range(1_000):
            rows.add({"objects": [], "number": number})


def fill_found(folder: Path) -> None:
    none = torch.zeros(0)
    found = Detections(torch.zeros(0, 4), none, none.long(), (8, 8), LabelMap.from_names(["a"]), picture=None)
    with FoundWriter(folder / "found.jsonl", {}) as writer:
        for _ in range(1_000):
            writer.add(found)


def fill_log(folder: Path) -> None:
    log = RunLog(folder, total_steps=9, quiet=True)
    log.board = None
    try:
        for number in range(1_000):
            log.write("step", number)
    finally:
        log.close()


def fill_pictures(folder: Path) -> None:
    write_coco_folder(DrawnShapes(2, image_size=(128, 128)), folder)


def fill_spool(folder: Path) -> None:
    spool = Spool()
    for _ in range(1_000):
        spool.write("a line of tracks\n")


@pytest.mark.parametrize(
    ("fill", "told"),
    [
        (fill_spool, "could not keep results in .*set TMPDIR to another folder"),
        (fill_predictions, "what was found so far is in .*predictions.jsonl"),
        (fill_found, "could not write .*found.jsonl"),
        (fill_log, "could not write .*metrics.jsonl"),
        (fill_pictures, "could not write .*000001.png"),
    ],
)
def test_what_grows_line_by_line_names_its_file(tmp_path, fill, told):
    with full_disk(), pytest.raises(OSError, match=told):
        fill(tmp_path)


def test_once_there_is_space_again_all_is_written(tmp_path, model):
    path = tmp_path / "a.safetensors"
    with full_disk(), pytest.raises(OSError):
        save_weights(path, model.state_dict(), model.card())
    save_weights(path, model.state_dict(), model.card())
    assert load_weights(path)[0].keys() == model.state_dict().keys()
