"""`--tiles` of predict, val and track: what Python finds is what the commands write, and what does not go together."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import pagoda
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.tiling.tiles import Tiles
from pagoda.weights.files import save_weights

pytestmark = pytest.mark.medium
OPTIONS = {"base_channels": 8, "width": 8, "norm_groups": 4, "short_side": 64, "long_side": 64}


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint that finds something everywhere, and six drawn pictures larger than it sees."""
    folder = tmp_path_factory.mktemp("tiled")
    shapes = DrawnShapes(6, image_size=(128, 192), seed=1)
    write_coco_folder(shapes, folder / "data", split="val")
    torch.manual_seed(0)
    model = pagoda.create_model("fcos_resnet18_fpn", label_map=shapes.label_map, **OPTIONS).eval()
    save_weights(folder / "m.safetensors", model.state_dict(), model.card())
    return folder


def pictures(place):
    return sorted((place / "data").rglob("*.png")) or sorted((place / "data").rglob("*.jpg"))


@pytest.mark.slow
def test_predict_writes_what_python_finds(place, tmp_path, capsys):
    files = pictures(place)
    how = ("--tiles", 64, "--overlap", 0.25, "--no-whole", "--min-score", 0.02)
    assert run("predict", place / "m.safetensors", *files, *how, "--out", tmp_path, "--no-pictures") == 0
    assert "tiles of 64×64 pixels, 16 shared with the next" in capsys.readouterr().err
    model = pagoda.load(place / "m.safetensors")
    found = model.predict(files, tiles=Tiles(side=64, overlap=0.25, whole=False), min_score=0.02)
    written = json.loads((tmp_path / "predictions.json").read_text())
    assert sum(map(len, found)) > 0
    for mine, theirs in zip(written["predictions"], found, strict=True):
        boxes = np.array([each["box_xyxy"] for each in mine["objects"]]).reshape(-1, 4)
        # Close calls of scores and overlaps may turn by rounding: the command folds norms, and batches otherwise.
        apart = np.abs(boxes[:, None] - theirs.boxes.numpy()).max(-1)
        assert abs(len(boxes) - len(theirs)) <= 0.05 * len(theirs)
        assert (apart.min(1) < 0.05).mean() > 0.95 and (apart.min(0) < 0.05).mean() > 0.95


def test_val_scores_what_tiles_find(place, capsys):
    model = pagoda.load(place / "m.safetensors")
    wanted = pagoda.evaluate(model, place / "data", tiles=64, rounds=10).metrics
    assert (
        run("val", place / "m.safetensors", "--data", place / "data", "--tiles", 64, "--rounds", 10, "--json")
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert "tiles of 64×64 pixels" in said["protocol"]
    assert said["metrics"]["AR100"] == pytest.approx(wanted["AR100"], abs=1e-3)


def test_track_follows_in_tiles(place, tmp_path, capsys):
    for number in range(3):
        Image.new("RGB", (96, 80), (number, 0, 0)).save(tmp_path / f"{number}.png")
    words = ("track", place / "m.safetensors", tmp_path, "--out", tmp_path / "out")
    assert run(*words, "--tiles", 64) == 0
    assert "tiles of 64×64 pixels" in capsys.readouterr().err
    assert run(*words, "--tiles", 32, "--resume") == 1
    assert "tiles" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--overlap", "0.3"], "add --tiles auto"),
        (["--tiles", "16"], "at least 32 pixels"),
        (["--tiles", "64", "--views", "flip"], "leave one of the two out"),
    ],
)
def test_what_does_not_go_together(place, tmp_path, capsys, words, told):
    assert run("predict", place / "m.safetensors", *pictures(place), *words, "--out", tmp_path / "no") != 0
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "no").exists()
