"""The command line knows which model is meant, shows the options of that model alone and refuses others' by name."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from pagoda.cli.arguments.model_options import model_word
from pagoda.cli.create import CreateCommand
from pagoda.cli.info import InfoCommand
from pagoda.cli.main import main
from pagoda.cli.train import TrainCommand
from pagoda.zoo.families import options_class, parse_name
from pagoda.zoo.options import ModelOptions

pytestmark = pytest.mark.medium

OF_FAMILIES = (
    "fcos_resnet18_fpn",
    "retinanet_resnet50_fpn.bubbliiiing",
    "efficientdet_d0",
    "faster_rcnn_resnet50_c4",
    "mask_rcnn_mobilenet_v2_fpn",
    "keypoint_rcnn_resnet50_fpn",
    "detect_and_track_resnet18_3d",
)
CODE = "def build(num_classes):\n    raise AssertionError\n"


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main([str(word) for word in words])
    return exit_code.value.code


def flags_in(said: str, prefix: str = "model") -> set[str]:
    """Those that a line of the help begins with."""
    found = re.findall(rf"^[│ ] --{prefix}\.([a-z-]+)", said, re.M)
    return {flag.replace("-", "_") for flag in found}


def names(options: type) -> set[str]:
    return {field.name for field in fields(options)}


@pytest.mark.parametrize("name", OF_FAMILIES)
def test_help_shows_the_options_of_the_model_alone(name: str, capsys: pytest.CaptureFixture) -> None:
    assert run("info", name, "--help-all") == 0
    said = capsys.readouterr().out
    assert flags_in(said) == names(options_class(parse_name(name)))
    assert f"What {name} lets you choose." in said


@pytest.mark.parametrize("verb", ["train", "info", "create", "doctor"])
def test_without_a_model_help_says_to_name_one(verb: str, capsys: pytest.CaptureFixture) -> None:
    assert run(verb, "--help-all") == 0
    said = capsys.readouterr().out
    assert flags_in(said, "options" if verb == "doctor" else "model") == names(ModelOptions)
    assert "Name a model to see" in said


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("train", "best.safetensors"), {"short_side", "long_side", "canvas", "take"}),
        (("info", "best.safetensors"), set()),
        (("train", "net.py:build"), set()),
    ],
)
def test_what_is_made_already_has_few_or_none(
    words: tuple, shown: set[str], capsys: pytest.CaptureFixture
) -> None:
    assert run(*words, "--help-all") == 0
    assert flags_in(capsys.readouterr().out) == shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("create", "fcos_resnet18_fpn", "--classes", 1, "--model.cells", 2),
            "fcos_resnet18_fpn has no use for --model.cells, which is for BiFPNs; leave it out",
        ),
        (
            ("info", "--model.no-time-stride", "efficientdet_d0"),
            "efficientdet_d0 has no use for --model.time-stride, which is for Detect-and-Track",
        ),
        (
            ("train", "detect_and_track_resnet18_3d", "--data", "d", "model.deform=v2"),
            "detect_and_track_resnet18_3d has no use for --model.deform, which is for ResNets of pictures",
        ),
        (
            ("doctor", "d", "--model", "faster_rcnn_resnet18_fpn", "--options.head-depth=2"),
            "faster_rcnn_resnet18_fpn has no use for --options.head-depth",
        ),
        (
            ("train", "best.safetensors", "--data", "d", "--model.width", 8),
            "best.safetensors is a trained model: of its options only short_side, long_side, canvas can be changed,"
            " got --model.width",
        ),
        (
            ("info", "best.safetensors", "--model.width", 8),
            "best.safetensors is no model by its zoo name and has no options: leave --model.width out",
        ),
        (("info", "fcos_resnet18_fpm"), "unknown model 'fcos_resnet18_fpm'; did you mean"),
    ],
)
def test_options_of_others_are_refused(words: tuple, said: str, capsys: pytest.CaptureFixture) -> None:
    assert run(*words) == 1
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_misspelt_flag_gets_the_nearest_of_the_model(capsys: pytest.CaptureFixture) -> None:
    assert run("info", "fcos_resnet18_fpn", "--model.head-dept", 2) == 2
    assert "--model.head-depth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words", "found"),
    [
        (InfoCommand, "NAME --size 8 9", "NAME"),
        (InfoCommand, "--size 8 9 NAME", "NAME"),
        (InfoCommand, "--model.canvas 8 9 NAME", "NAME"),
        (InfoCommand, "--model.canvas None NAME", "NAME"),
        (InfoCommand, "--json NAME", "NAME"),
        (InfoCommand, "--no-json --html page.html NAME", "NAME"),
        (InfoCommand, "--model.no-head-deform --model.avg-down True NAME", "NAME"),
        (InfoCommand, "--model.levels 3 4 5 --json", None),
        (InfoCommand, "--model.levels 3 4 5 --json NAME", "NAME"),
        (InfoCommand, "--model.plugins [] NAME", "NAME"),
        (InfoCommand, "--help", None),
        (InfoCommand, "--help-all NAME", "NAME"),
        (CreateCommand, "--classes=3 --out fcos_resnet18_fpn.safetensors NAME", "NAME"),
        (TrainCommand, "--data DIR --optim.milestones 0.5 0.75 --augment.scale-range 0.5 2.0 NAME", "NAME"),
        (TrainCommand, "data=DIR optim.learning_rate=0.1 NAME", "NAME"),
        (TrainCommand, "--data DIR --config fcos.yaml", None),
        (TrainCommand, "--batch_size 2 NAME", "NAME"),
    ],
)
def test_the_model_is_found_among_the_words(command: type, words: str, found: str | None) -> None:
    assert model_word(command, words.split()) == found


def print_config(*words: object, capsys: pytest.CaptureFixture) -> dict:
    assert run("train", *words, "--print-config") == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_a_config_gives_another_model_what_was_chosen(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The rest is as that model has it by itself; what it has no use for is named."""
    config = tmp_path / "config.yaml"
    flags = ("--data", "d", "--model.width", 64, "--model.norm", "frozen")
    printed = print_config("fcos_resnet18_fpn", *flags, capsys=capsys)
    config.write_text(yaml.safe_dump(printed))
    assert print_config("--config", config, capsys=capsys) == printed
    other = print_config("faster_rcnn_resnet50_dc5", "--config", config, capsys=capsys)
    assert {name: value for name, value in other["options"].items() if value not in (None, False)} == {
        "width": 64, "norm": "frozen", "deform": "none", "deform_levels": [3, 4, 5], "deform_groups": 1,
        "deform_fallback_on": "stride", "plugins": [],
    }  # fmt: skip
    assert run("train", "efficientdet_d0", "--config", config, "--print-config") == 1
    assert "efficientdet_d0 has no use for the option norm='frozen'" in capsys.readouterr().err
    assert run("train", "--config", config, "--model.cells", 3) == 1
    assert "fcos_resnet18_fpn has no use for --model.cells" in capsys.readouterr().err
    code = tmp_path / "net.py"
    code.write_text(CODE)
    composed = print_config(f"{code}:build", "--config", config, capsys=capsys)
    assert composed["options"] == {} and composed["train"] == printed["train"]


def test_a_config_of_a_checkpoint_has_the_size_of_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"model": "best.safetensors", "options": {"short_side": 64}}))
    printed = print_config("--config", config, "--data", "d", "--model.long-side", 96, capsys=capsys)
    assert printed["options"] == {"short_side": 64, "long_side": 96, "canvas": None, "take": None}
    config.write_text(yaml.safe_dump({"model": "best.safetensors", "options": {"width": 64}}))
    assert run("train", "--config", config, "--data", "d", "--print-config") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"{config}: best.safetensors is a trained model" in said and "got the option width=64" in said
