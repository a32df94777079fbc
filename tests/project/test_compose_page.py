"""The page on composing: each example is a whole file, learns and detects, and the commands on it take it."""

import importlib
import re

import numpy as np
import pytest
import torch
from PIL import Image

import pagoda
from pagoda.cli.arguments.parsing import find_build
from pagoda.cli.main import VERBS, main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder

FILES = ("my_backbone.py", "my_neck.py", "my_head.py", "my_criterion.py")


@pytest.fixture(scope="module")
def blocks(repository) -> list[str]:
    page = (repository / "docs" / "compose.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^    pagoda (\w+)", page, flags=re.M)) <= set(VERBS)
    return re.findall(r"```python\n(.*?)```", page, flags=re.S)


def test_every_example_learns_and_detects(blocks):
    scope: dict = {}
    for block in blocks:
        exec(compile(block, block.splitlines()[0], "exec"), scope)
    assert scope["losses"]["loss_logits"] > 0


@pytest.mark.parametrize("file", FILES)
def test_every_example_is_a_whole_file(blocks, file, tmp_path):
    (block,) = [block for block in blocks if block.startswith(f"# {file}\n")]
    (tmp_path / file).write_text(block, encoding="utf-8")
    assert len(find_build(f"{tmp_path / file}:detector")(5).label_map) == 5


def test_the_criterion_keeps_its_word(blocks):
    """At most the nearest, of the level of the object's size, and inside it."""
    scope: dict = {}
    exec(next(block for block in blocks if "class NearestCriterion" in block), scope)
    criterion = scope["NearestCriterion"](nearest=4)
    model = scope["detector"](1)
    points = model.points({3: torch.zeros(1, 1, 16, 16), 4: torch.zeros(1, 1, 8, 8)}, (128, 128))
    boxes = torch.tensor([[8.0, 8.0, 56.0, 56.0], [0.0, 0.0, 120.0, 120.0], [40.0, 40.0, 42.0, 42.0]])
    index = criterion.assign(points, [3, 4], boxes)
    assert [(index[:256] == 0).sum(), (index[256:] == 1).sum(), (index == 2).sum()] == [4, 4, 0]
    assert criterion.assign(points, [3, 4], boxes[:0]).unique().tolist() == [-1]


@pytest.mark.medium
def test_the_commands_take_it(blocks, repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 8), ("val", 4)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 96), seed=1), tmp_path / "DIR", split=split)
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save("photo.jpg")
    (tmp_path / "my_backbone.py").write_text(blocks[1], encoding="utf-8")
    page = (repository / "docs" / "compose.md").read_text(encoding="utf-8")
    for command in re.findall(
        r"^    pagoda ((?!export).+)$", page, flags=re.M
    ):  # an export takes half a minute
        with pytest.raises(SystemExit) as exit_code:
            main(command.replace("--epochs 12", "--epochs 1").split())
        assert not exit_code.value.code, command
    monkeypatch.syspath_prepend(str(tmp_path))
    detector = importlib.import_module("my_backbone").detector
    run = pagoda.train("plain", "DIR", build=detector, epochs=1, quiet=True)
    assert run.folder.name == "plain-1"
    assert len(pagoda.load(run.folder / "best.safetensors", build=detector).label_map) == 3
