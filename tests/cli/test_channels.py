"""Pictures of one and of four channels from training to export, by the command line."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pagoda
from pagoda.cli.main import main

pytestmark = pytest.mark.medium
SMALL = {
    "width": 32,
    "head-depth": 1,
    "base-channels": 16,
    "top-level": 3,
    "num-stages": 2,
    "short-side": 64,
    "long-side": 96,
}


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main([str(word) for word in words])
    return exit_code.value.code


def draw(folder: Path, channels: int) -> None:
    """Blocks that stand out by their opacity alone, or by their grey."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        images, objects = [], []
        for index in range(4):
            pixels = np.full((64, 96, 4), 90, np.uint8)
            x, y = int(random.integers(5, 50)), int(random.integers(5, 20))
            pixels[y : y + 30, x : x + 30, 3 if channels == 4 else slice(0, 3)] = 220
            picture = Image.fromarray(pixels if channels == 4 else pixels[..., 0])
            picture.save(folder / split / f"{index}.png")
            images.append({"id": index, "file_name": f"{index}.png", "height": 64, "width": 96})
            objects.append(
                {"id": index, "image_id": index, "category_id": 1, "bbox": [x, y, 30, 30], "area": 900}
            )
            objects[-1]["iscrowd"] = 0
        content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "block"}]}
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))


@pytest.fixture
def somewhere(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.slow
def test_from_training_to_export(channels: int, somewhere: Path, capsys: pytest.CaptureFixture) -> None:
    draw(somewhere / "data", channels)
    flags = [word for name, value in SMALL.items() for word in (f"--model.{name}", value)]
    flags += ["--model.in-channels", channels, "--augment.mosaic", 1, "--augment.photometric", 1]
    assert run("train", "fcos_resnet18_fpn", "--data", "data", "--epochs", 1, "--batch-size", 2, *flags) == 0
    best = somewhere / "runs/fcos_resnet18_fpn-1/best.safetensors"
    model = pagoda.load(best)
    assert model.card()["options"]["in_channels"] == channels
    assert model.backbone.conv1.in_channels == model.input_spec.channels == channels
    assert run("val", best, "--data", "data") == 0
    assert "evaluated 4 images" in capsys.readouterr().out
    assert run("predict", best, "data/val/0.png", "--min-score", 0) == 0
    if channels == 4:  # an export takes the longest; with grey pictures only its first kernel is another
        assert run("export", best, "model.onnx", "--pictures", "data/val", "--min-score", 0) == 0
        assert "0 unmatched" in capsys.readouterr().out
    assert run("info", best) == 0
    seen = pagoda.load(best).predict(somewhere / "data/val/0.png", min_score=0.0)
    assert seen.picture.shape == (64, 96, 3) and len(seen) > 0


def test_what_lies_in_the_opacity_reaches_the_network(somewhere: Path) -> None:
    """Of two pictures that differ in it alone, the same is not found."""
    model = pagoda.create_model(
        "fcos_resnet18_fpn", num_classes=1, in_channels=4, width=32, short_side=64
    ).eval()
    pixels = np.full((64, 64, 4), 90, np.uint8)
    pixels[8:40, 8:40, 3] = 255
    Image.fromarray(pixels).save("clear.png")
    Image.fromarray(pixels[..., :3]).save("opaque.png")
    scores = [model.predict(name, min_score=0.0).scores for name in ("clear.png", "opaque.png")]
    assert not np.allclose(scores[0], scores[1])
    again = model.predict(pixels, min_score=0.0).scores
    np.testing.assert_array_equal(again, scores[0])
