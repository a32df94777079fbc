"""`pagoda why`: reasons in a terminal, as JSON and on a page; of checkpoints and exported files; bad input."""

import json

import pytest

import pagoda
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.weights.files import save_weights

OPTIONS = {"base_channels": 8, "width": 8, "norm_groups": 4, "short_side": 64, "long_side": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_coco_folder(DrawnShapes(6, (64, 64), 3, empty_share=0), folder, split="val")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    shapes = DrawnShapes(1, (64, 64))
    model = pagoda.create_model("fcos_resnet18_fpn", label_map=shapes.label_map, **OPTIONS)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_weights(path, model.state_dict(), model.card())
    return path


def run(*arguments):
    """The exit code."""
    with pytest.raises(SystemExit) as stop:
        main(["why", *map(str, arguments)])
    return stop.value.code


def test_a_terminal_tells_reasons_costs_and_the_first_misses(checkpoint, folder, capsys):
    assert run(checkpoint, "--data", folder) == 0
    text = capsys.readouterr().out
    assert "objects in 6 pictures are missed (IoU 0.5, min_score 0.2)" in text
    assert "no box fits it" in text and "points of AP regained where mended" in text
    assert "points are missing; mended one by one the kinds regain" in text


def test_one_picture_is_told_whole_with_remedies(checkpoint, folder, capsys):
    assert run(checkpoint, "--data", folder, "--picture", "000002.png", "--min-score", "0.9") == 0
    text = capsys.readouterr().out
    assert "objects in 1 picture are missed (IoU 0.5, min_score 0.9)" in text and "000003.png" not in text
    assert run(checkpoint, "--data", folder, "--picture", "000020.png") == 1
    assert "'000020.png' must name one picture" in capsys.readouterr().err


def test_the_page_and_its_numbers_overwrite_nothing(checkpoint, folder, tmp_path, capsys):
    for _ in range(2):
        assert run(checkpoint, "--data", folder, "--out", tmp_path / "told") == 0
    names = {path.name for path in (tmp_path / "told").iterdir()}
    assert names == {"why.html", "why.json", "why-2.html", "why-2.json"}
    told = json.loads((tmp_path / "told" / "why.json").read_text())
    assert len(told["misses"]) == told["num_objects"] and len(told["pictures"]) == 6
    assert "<html" in (tmp_path / "told" / "why.html").read_text()
    capsys.readouterr()
    assert run(checkpoint, "--data", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out) == told


def test_what_cannot_be_explained_is_said_before_the_model_looks(checkpoint, folder, tmp_path, capsys):
    assert run(checkpoint, "--data", folder, "--split", "test") == 1
    assert "--split" in capsys.readouterr().err
    cat = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, **OPTIONS)
    save_weights(tmp_path / "cat.safetensors", cat.state_dict(), cat.card())
    assert run(tmp_path / "cat.safetensors", "--data", folder) == 1
    assert "unknown to the model" in capsys.readouterr().err
    clips = pagoda.create_model("detect_and_track_resnet18_3d", num_classes=1, width=8)
    save_weights(tmp_path / "clips.safetensors", clips.state_dict(), clips.card())
    assert run(tmp_path / "clips.safetensors", "--data", folder) == 1
    assert "video" in capsys.readouterr().err
    write_coco_folder(DrawnShapes(2, (64, 64), 3, empty_share=1.0), tmp_path / "empty", split="val")
    assert run(checkpoint, "--data", tmp_path / "empty") == 1
    assert "nothing is annotated" in capsys.readouterr().err
