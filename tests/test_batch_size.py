"""How many are computed together: as many as asked for, and half as many each time memory ends."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda import batch_size
from pagoda.batch_size import OF_ACCELERATORS, OF_PROCESSORS, BatchSize, is_out_of_memory
from pagoda.cli import predict
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.evaluation.runner import detect_dataset
from pagoda.models import create_model


class Memory:
    """Work that so many items at a time are too much for."""

    def __init__(self, most: int) -> None:
        self.most, self.asked = most, []

    def __call__(self, items):
        self.asked.append(len(items))
        if len(items) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return [item * 10 for item in items]


def test_fewer_until_they_fit(capsys):
    size, work = BatchSize(8), Memory(3)
    assert size.run(work, list(range(10))) == [10 * item for item in range(10)]
    assert work.asked == [8, 4, 2, 2, 2, 2, 2] and size.size == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        "8 pictures together do not fit into memory (CUDA out of memory. Tried to allocate 2.00 GiB.);"
        " going on with 4 at a time"
    )
    assert "going on with 2 at a time" in second
    assert size.run(work, [7]) == [70]


def test_one_that_does_not_fit_and_other_errors_are_raised():
    with pytest.raises(torch.OutOfMemoryError):
        BatchSize(4).run(Memory(0), [1, 2])
    with pytest.raises(RuntimeError, match="shapes differ"):
        BatchSize(4).run(lambda items: (_ for _ in ()).throw(RuntimeError("shapes differ")), [1, 2])
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        BatchSize(0)


def test_what_a_processor_says_counts():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)


def test_auto_suits_the_device():
    assert BatchSize("auto").size == BatchSize("auto", torch.device("cpu")).size == OF_PROCESSORS
    assert BatchSize("auto", torch.device("cuda")).size == OF_ACCELERATORS


@pytest.mark.parametrize(
    ("seen", "held", "count"),
    [
        ((120, 160), (120, 160), OF_PROCESSORS),
        ((480, 640), (480, 640), 2),
        ((800, 1333), (800, 1333), 1),
        ((120, 160), (1500, 2000), 1),  # of which several would take much memory while they wait
    ],
)
def test_of_large_pictures_a_processor_takes_fewer(seen, held, count):
    assert BatchSize("auto").of(seen, held) == count
    assert BatchSize(3).of(seen, held) == 3, "who says a number has it"
    assert BatchSize("auto", torch.device("cuda")).of(seen, held) == OF_ACCELERATORS


def test_no_more_than_is_asked_for():
    work = Memory(8)
    assert BatchSize(8).run(work, list(range(5)), most=2) == [0, 10, 20, 30, 40] and work.asked == [2, 2, 1]


@pytest.fixture
def model():
    torch.manual_seed(0)
    small = {"width": 32, "head_depth": 1, "base_channels": 16, "short_side": 64, "long_side": 64}
    model = create_model("fcos_resnet18_fpn", num_classes=3, **small).eval()
    torch.nn.init.normal_(model.class_head.predict.weight, std=0.5)
    return model


def short_of_memory(model, most: int) -> list[int]:
    """The model can look at `most` pictures together; returns how many it was asked to."""
    asked, detect = [], type(model).detect

    def look(images, **settings):
        asked.append(len(images.pixels))
        if len(images.pixels) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return detect(model, images, **settings)

    model.detect = look
    return asked


def test_a_data_set_is_looked_at_in_smaller_batches(model, capsys):
    data = DrawnShapes(6, image_size=(64, 64))
    expected = list(detect_dataset(model, data))
    asked = short_of_memory(model, 2)
    found = list(detect_dataset(model, data))
    assert asked == [6, 3, 1, 1, 1, 1, 1, 1] and "going on with 1 at a time" in capsys.readouterr().err
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.boxes[:5], theirs.boxes[:5], rtol=0, atol=1e-3)


def test_pagoda_predict_puts_pictures_of_one_size_together(model, tmp_path, monkeypatch, capsys):
    sides = [(64, 64), (64, 64), (64, 64), (48, 64), (64, 64), (64, 64)]
    for number, (height, width) in enumerate(sides):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    monkeypatch.setattr(predict, "open_ready", lambda *_, **__: model)
    rows = {}
    for words, wanted in (
        ([], [2, 1, 2]),
        (["--batch-size", "1"], [1] * 5),
        (["--batch-size", "auto"], [1] * 5),  # of one pixel together at most
    ):
        if len(rows) == 2:
            monkeypatch.setattr(batch_size, "PIXELS_TOGETHER", 1)
        asked = short_of_memory(model, 8)
        out = tmp_path / f"out{len(rows)}"
        with pytest.raises(SystemExit) as end:
            main(["predict", "m", str(tmp_path), f"--out={out}", "--no-pictures", "--min-score=0.2", *words])
        assert (end.value.code, asked) == (1, wanted)
        del model.detect
        said = json.loads((out / "predictions.json").read_text())["predictions"]
        rows[str(out)] = [row["file"] for row in said]
        assert "2.png" in capsys.readouterr().err
    files = [[Path(file).name for file in names] for names in rows.values()]
    assert files == [["0.png", "1.png", "3.png", "4.png", "5.png"]] * 3
