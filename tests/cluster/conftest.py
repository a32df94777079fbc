"""A checkpoint, pictures, and commands as processes of their own, whose workers find this package."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny

from pagoda.weights.files import save_weights

ROOT = Path(__file__).resolve().parents[2]
MODEL = f"{ROOT / 'tests' / 'faults' / 'tiny.py'}:tiny"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small detector that finds a few objects in noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tiny(3)
        torch.nn.init.zeros_(model.class_head.predict.bias)
        torch.nn.init.normal_(model.class_head.predict.weight, std=0.5)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    return save_weights(path, model.state_dict(), model.card())


@pytest.fixture(scope="session")
def draw() -> Callable[[Path, int], Path]:
    """(folder, count) to that folder, with so many small pictures of noise."""

    def draw(folder: Path, count: int) -> Path:
        folder.mkdir(parents=True)
        for number in range(count):
            noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(noise.repeat(8, 0).repeat(8, 1)).save(folder / f"{number}.png")
        return folder

    return draw


@pytest.fixture(scope="session")
def words(checkpoint: Path) -> list[str]:
    """The beginning of every command line."""
    return [
        "predict",
        str(checkpoint),
        "--model",
        MODEL,
        "--device",
        "cpu",
        "--no-pictures",
        "--min-score=0.5",
    ]


@pytest.fixture(scope="session")
def begin() -> Callable[..., subprocess.Popen]:
    """Starts `pagoda WORDS` in a process of its own."""

    def begin(*words: object) -> subprocess.Popen:
        path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-m", "pagoda", *map(str, words)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.fixture(scope="session")
def run(begin: Callable[..., subprocess.Popen]) -> Callable[..., tuple[int, str, str]]:
    """(exit code, what was printed, what was told) of `pagoda WORDS`, to its end."""

    def run(*words: object) -> tuple[int, str, str]:
        process = begin(*words)
        printed, told = process.communicate(timeout=1800)
        return process.returncode, printed, told

    return run


@pytest.fixture(scope="session")
def check_equal() -> Callable[[Any, Any], None]:
    """Whether two files of predictions say the same of the same pictures, boxes and scores to 1e-5."""

    def check(found: Path, expected: Path) -> None:
        one, other = json.loads(found.read_text()), json.loads(expected.read_text())
        assert one["failed"] == other["failed"] and "unfinished" not in one
        assert [row["file"] for row in one["predictions"]] == [row["file"] for row in other["predictions"]]
        for row, wanted in zip(one["predictions"], other["predictions"], strict=True):
            objects = zip(row["objects"], wanted["objects"], strict=True)
            assert row["image_size"] == wanted["image_size"]
            for each, other_one in objects:
                assert each["label"] == other_one["label"]
                np.testing.assert_allclose(each["score"], other_one["score"], rtol=1e-5, atol=1e-5)
                np.testing.assert_allclose(each["box_xyxy"], other_one["box_xyxy"], rtol=1e-5, atol=1e-5)

    return check


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """Composes the model of `checkpoint`."""
    return tiny
