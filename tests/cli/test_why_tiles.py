"""pagoda why --tiles: reasons tile by tile; pagoda doctor names the tiles that a model needs."""

import json

import pytest

import pagoda
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.data.saving import write_coco_folder, write_tiles
from pagoda.data.tiles import Tiling
from pagoda.tiling.tiles import Tiles
from pagoda.weights.files import save_weights

SMALL = {"base_channels": 8, "width": 16, "norm_groups": 4, "short_side": 64, "long_side": 96}


def run(*words):
    with pytest.raises(SystemExit) as exit_code:
        main([str(word) for word in words])
    return exit_code.value.code


@pytest.fixture
def folder(tmp_path):
    write_coco_folder(DrawnShapes(2, (96, 160), seed=3), tmp_path / "whole", split="val")
    return tmp_path / "whole"


@pytest.fixture
def model(folder):
    return pagoda.create_model(
        "fcos_resnet18_fpn", label_map=open_annotations(folder, "val").label_map, **SMALL
    )


def test_a_tile_is_explained_as_the_picture_it_would_be(folder, model, tmp_path):
    """The same reasons as of the data set that is written in tiles."""
    here = pagoda.why(model, folder, tiles=Tiles(side=64, overlap=0.25))
    write_tiles(
        open_annotations(folder, "val"),
        tmp_path / "tiles",
        Tiling(size=64, overlap=0.25),
        split="val",
        ending="png",
    )
    there = pagoda.why(model, tmp_path / "tiles")
    assert len(here.pictures) == len(there.pictures) > 2
    assert here.misses and [(miss.object, miss.reason) for miss in here.misses] == [
        (miss.object, miss.reason) for miss in there.misses
    ]
    assert [picture.file for picture in here.pictures][:2] == ["000001.png at 0, 0", "000001.png at 48, 0"]


def test_the_command_tells_of_one_picture_all_its_tiles(folder, model, tmp_path, capsys):
    save_weights(tmp_path / "model.safetensors", model.state_dict(), model.card())
    words = ["--data", folder, "--picture", "000002.png", "--tiles", "auto", "--out", tmp_path / "out"]
    assert run("why", tmp_path / "model.safetensors", *words) == 0
    captured = capsys.readouterr()
    assert "each tile is looked at as a picture: 2 pictures in" in captured.err
    files = {picture["file"] for picture in json.loads((tmp_path / "out/why.json").read_text())["pictures"]}
    assert len(files) > 1 and all(file.startswith("000002.png at ") for file in files)


def test_an_overlap_without_tiles_is_refused(folder, model, tmp_path, capsys):
    save_weights(tmp_path / "model.safetensors", model.state_dict(), model.card())
    assert run("why", tmp_path / "model.safetensors", "--data", folder, "--overlap", 0.3) == 1
    assert "add --tiles auto" in capsys.readouterr().err


def test_the_doctor_names_tiles_that_show_small_objects(tmp_path, capsys):
    """Of pictures five times as large as the model sees, whose objects keep too little; not of smaller ones."""
    for name, size in (("large", (320, 480)), ("small", (40, 60))):
        write_coco_folder(DrawnShapes(4, size, seed=1), tmp_path / name)
        words = ["--model", "fcos_resnet18_fpn", "--options.short-side", 48, "--options.long-side", 72]
        assert run("doctor", tmp_path / name, *words, "--json") == 0
        tiles = json.loads(capsys.readouterr().out)["tiles"]
        if name == "small":
            assert tiles is None
        else:
            assert (
                tiles["size"] < 320
                and f"--tiles {tiles['size']} --overlap {tiles['overlap']:g}" in tiles["why"]
            )
