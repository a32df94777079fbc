"""What the README shows runs: the composed detector, the lines of Python, and every command it names."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.cli.main import VERBS
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.structures.images import ImageBatch

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


def test_the_composed_detector_works():
    import torch

    scope: dict = {}
    exec(next(block for block in BLOCKS if "def small_fcos" in block), scope)
    model = scope["small_fcos"](3).eval()
    outputs = model(ImageBatch(torch.zeros(1, 3, 64, 64), torch.tensor([[64, 64]])))
    assert outputs.class_logits.shape == (1, 8 * 8 + 4 * 4 + 2 * 2 + 1, 3)


@pytest.mark.medium
def test_the_lines_of_python_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 8), ("val", 4)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 64), seed=1), tmp_path / "DIR", split=split)
    for name in ("photo.jpg", "map.tif"):
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(name)
    code = next(block for block in BLOCKS if "pagoda.train" in block)
    code = code.replace("epochs=12", "epochs=1").replace("240", "64").replace("320", "64")
    small = '"width": 16, "head_depth": 1, "base_channels": 16, "num_stages": 2, "top_level": 3'
    code = code.replace('"width": 64', small)  # the same lines, and a graph that is exported in seconds
    exec(code, {})
    assert Path("model.onnx").is_file()


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"^    pagoda (\w+)", README, flags=re.M))))
def test_commands_exist(verb):
    assert verb in VERBS


def test_files_the_readme_points_to_exist():
    root = Path(__file__).resolve().parents[2]
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert [
        target for target in targets if not target.startswith("http") and not (root / target).exists()
    ] == []
