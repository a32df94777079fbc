"""pagoda train MODEL --data DIR"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
import yaml

from pagoda.cli.parsing import find_build, parse
from pagoda.recipes import detection
from pagoda.recipes.detection import RunResult
from pagoda.recipes.named import recipe_settings
from pagoda.training.processes import processes
from pagoda.training.settings import TrainSettings, from_plain, to_plain
from pagoda.zoo.options import ModelOptions, options_from


@dataclass(frozen=True, kw_only=True)
class TrainCommand(TrainSettings):
    """Train a detector on a folder in COCO, VOC, YOLO, LabelMe or another layout of docs/formats.md.

    pagoda train fcos_resnet18_fpn --data DIR --epochs 12 --optim.learning-rate 0.002
    pagoda train FCOS_imprv_R_50_FPN_1x.pth --data DIR --optim.learning-rate 0.0002   (fine-tunes it)
    pagoda train efficientdet_d0 --recipe efficientdet_small --data DIR --model.canvas 256 256
    pagoda train --config runs/NAME-1/config.yaml --epochs 24
    pagoda train --resume runs/NAME-1
    """

    architecture: Annotated[str, tyro.conf.Positional]
    """a name of `pagoda models`, a checkpoint to fine-tune (file or address), or FILE.py:FUNCTION that composes a
    detector from num_classes"""
    model: ModelOptions = field(default_factory=ModelOptions)
    recipe: str = ""
    """settings that hold unless a flag says otherwise: efficientdet, efficientdet_small, rcnn_small,
    detect_and_track"""
    config: str = ""
    """a config.yaml whose settings hold unless a flag says otherwise"""
    resume: str = ""
    """folder of an interrupted run to finish (no other setting is needed)"""
    print_config: bool = False
    """print the settings as YAML and stop"""
    json: bool = False
    """print the final metrics as JSON on standard output"""


def main(arguments: Sequence[str]) -> int:
    folder = flag_value(arguments, "--resume")
    if folder:
        config = Path(folder) / "config.yaml"
        name = yaml.safe_load(config.read_text(encoding="utf-8"))["model"] if config.is_file() else ""
        return finish(detection.resume(folder, build=find_build(name or "")), "--json" in arguments)
    recipe, config = flag_value(arguments, "--recipe"), flag_value(arguments, "--config")
    if recipe and config:
        raise ValueError("--recipe and --config both say all settings; give one of them")
    default = default_of(recipe) if recipe else default_from(config)
    command = parse(TrainCommand, "train", arguments, default)
    settings = TrainSettings(**{name: getattr(command, name) for name in TrainSettings.__dataclass_fields__})
    if command.print_config:
        plain = {
            "model": command.architecture,
            "options": to_plain(command.model),
            "train": to_plain(settings),
        }
        print(yaml.safe_dump(plain, sort_keys=False), end="")
        return 0
    build = find_build(command.architecture)
    options = None if build else to_plain(command.model)
    result = detection.train(command.architecture, settings, options=options, build=build)
    return finish(result, command.json)


def flag_value(arguments: Sequence[str], flag: str) -> str | None:
    """The word after `flag`, or behind its `=`."""
    for index, word in enumerate(arguments):
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
        if word == flag and index + 1 < len(arguments):
            return arguments[index + 1]
    return None


def default_of(recipe: str) -> TrainCommand:
    """The command that a recipe stands for: what flags then change."""
    settings = recipe_settings(recipe, data=tyro.MISSING)
    values = {name: getattr(settings, name) for name in TrainSettings.__dataclass_fields__}
    return TrainCommand(architecture=tyro.MISSING, recipe=recipe, **values)


def default_from(config: str | None) -> TrainCommand | None:
    """The command a config file describes: what flags then change."""
    if config is None:
        return None
    if not Path(config).is_file():
        raise FileNotFoundError(f"no config file at {config}")
    content = yaml.safe_load(Path(config).read_text(encoding="utf-8")) or {}
    train = dict(content.get("train", {}))
    settings = from_plain(TrainSettings, {"data": tyro.MISSING, **train})
    values = {name: getattr(settings, name) for name in TrainSettings.__dataclass_fields__}
    return TrainCommand(
        architecture=content.get("model") or tyro.MISSING,
        model=options_from(content.get("options", {})),
        config=config,
        **values,
    )


def finish(result: RunResult, as_json: bool) -> int:
    """Print the result, on the main process only."""
    if not processes().is_main_process:
        return 0
    if as_json:
        print(json.dumps({"run": str(result.folder), **result.result.to_dict()}))
    else:
        print(result.result.table())
        print(f"weights, curves and pictures: {result.folder}/best.safetensors, {result.folder}/report.html")
    return 0
