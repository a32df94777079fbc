"""Options of models that are made of parts: by JSON on the command line, and in a config file."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import pagoda
from pagoda.cli.main import main
from pagoda.zoo.families import options_class, parse_name

SMALL = ("--classes", 3, "--model.width", 16, "--model.head-depth", 1, "--model.base-channels", 8)
CONTEXT = {"module": "context_block", "options": {"ratio": 0.25}}
BLOCKS = [[False] * 3, [True] * 4, [True, False] * 3, [False, False, True]]


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main([str(word) for word in words])
    return exit_code.value.code


@pytest.mark.parametrize("verb", ["create", "info", "train", "doctor"])
def test_the_help_teaches_every_option_of_a_model(verb: str, capsys: pytest.CaptureFixture) -> None:
    model = "keypoint_rcnn_resnet50_fpn"
    assert run(verb, *(["--model"] if verb == "doctor" else []), model, "--help-all") == 0
    said = capsys.readouterr().out
    prefix, own = "--options." if verb == "doctor" else "--model.", fields(options_class(parse_name(model)))
    hidden = [f.name for f in own if f"{prefix}{f.name.replace('_', '-')}" not in said]
    assert hidden == [] and '[{"module": "context_block"' in said


def test_a_model_is_made_of_what_the_command_line_says(tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    flags = ("--model.plugins", json.dumps([{**CONTEXT, "levels": [4]}]), "--model.deform", "v2")
    blocks = ("--model.deform-blocks", json.dumps(BLOCKS))
    assert run("create", "fcos_resnet50_fpn", *SMALL, *flags, *blocks, "--out", out) == 0
    body = pagoda.load(out).backbone
    found = [[hasattr(block.conv2, "offset") for block in stage] for stage in body.stages().values()]
    assert found == BLOCKS
    assert body.layer3[0].context_block.channel_add_conv[0].out_channels == 32
    assert not hasattr(body.layer2[0], "context_block")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        (
            "plugins",
            [{"module": "contextblock"}],
            "unknown plugin 'contextblock'; did you mean 'context_block'?",
        ),
        (
            "plugins",
            [{"module": "context_block", "options": {"ration": 1}}],
            "'ration'; did you mean 'ratio'?",
        ),
        ("plugins", [{"modul": "context_block"}], "word of a plugin 'modul'; did you mean 'module'?"),
        ("plugins", [{**CONTEXT, "position": "after_conv4"}], "did you mean 'after_conv3'?"),
        (
            "plugins",
            [{"options": {}}],
            "a plugin is {'module': …}, with options, levels, position, name; got",
        ),
        ("plugins", CONTEXT, "plugins are a list, each of it {'module': …}, got {'module'"),
        ("deform_blocks", [[True, 1]], "each of true and false, got [[true, 1]]"),
        ("deform_blocks", True, "expected a list for each stage"),
    ],
)
def test_mistakes_get_the_nearest_word(
    option: str, value: object, said: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """On the command line and, but for what only JSON can be, in a config file."""
    words = ("create", "fcos_resnet50_fpn", *SMALL, "--out", tmp_path / "x.safetensors")
    assert run(*words, f"--model.{option.replace('_', '-')}", json.dumps(value)) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", "").split())
    if option == "plugins":
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump({"train": {"data": "d"}, "options": {option: value}}))
        assert run("train", "fcos_resnet50_fpn", "--config", config, "--print-config") == 1
        assert said in " ".join(capsys.readouterr().err.split())


def test_what_is_no_json_gets_an_example(capsys: pytest.CaptureFixture) -> None:
    assert run("create", "fcos_resnet50_fpn", *SMALL, "--model.plugins", "context_block") == 2
    said = " ".join(capsys.readouterr().err.replace("│", "").split())
    assert "expected JSON as" in said and '"options": {"ratio": 0.5}' in said


def test_a_config_file_gives_them_back(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = ("--model.plugins", json.dumps([CONTEXT]), "--model.deform-blocks", json.dumps(BLOCKS))
    assert run("train", "fcos_resnet50_fpn", "--data", "d", *flags, "--print-config") == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["options"]["plugins"][0]["options"] == {"ratio": 0.25}
    config = tmp_path / "config.yaml"
    config.write_text(printed)
    assert run("train", "--config", config, "--print-config") == 0
    assert capsys.readouterr().out == printed


LAYERS = [{"kind": "maxpool", "size": 8, "stride": 8}, {"kind": "connected"}]
OF_LAYERS = ("--model.side", 2, "--model.canvas", 32, 64)


def test_a_network_of_darknets_layers(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out, words = tmp_path / "model.safetensors", ("create", "yolov1.darknet", "--classes", 3, *OF_LAYERS)
    assert run(*words, "--model.layers", json.dumps(LAYERS), "--out", out) == 0
    model = pagoda.load(out)
    assert model.head.last.out_features == 4 * (3 + 5 * 3) and model.strides == {3: 32}
    assert run("info", out) == 0
    assert " ".join(capsys.readouterr().out.split()).count("2×2 4 3 12") == 1
    for wrong, said in (([{"kid": "maxpool"}], "did you mean 'layers.0.kind'"), ({}, "a list of layers")):
        assert run(*words, "--model.layers", json.dumps(wrong), "--out", tmp_path / "x.safetensors") == 2
        assert said in " ".join(capsys.readouterr().err.replace("│", "").split())
