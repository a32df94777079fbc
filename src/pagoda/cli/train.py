"""pagoda train MODEL --data DIR"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, TypedDict

import tyro
import yaml

from pagoda.cli.arguments.model_options import flag_value, model_word, options_for, refuse_flags
from pagoda.cli.arguments.parsing import find_build, names_code, parse
from pagoda.files.text import json_text
from pagoda.models import is_checkpoint
from pagoda.plain import JsonObject, checked
from pagoda.recipes import training_run
from pagoda.recipes.by_name import recipe_settings
from pagoda.recipes.initial_model import Build, CheckpointOptions
from pagoda.recipes.resuming import check_same_run, config_of_run, read_config, settings_in, shared_anew
from pagoda.recipes.training_run import RunResult
from pagoda.training.distributed import num_started, processes
from pagoda.training.plan import RunPlan
from pagoda.training.settings import TrainSettings, to_plain
from pagoda.weights.file_types import is_remote
from pagoda.zoo.composed_options import changed, read_options
from pagoda.zoo.families import is_known
from pagoda.zoo.options import ModelOptions, Options

AUTO = "auto"
"""in the place of a run's folder: the last one of its name"""


class _Asked(TypedDict):
    options: JsonObject | None
    build: Build | None
    most_pictures: int


@checked
@dataclass(frozen=True, kw_only=True)
class TrainCommand(TrainSettings):
    """Train a detector on a folder in COCO, VOC, YOLO, LabelMe or another layout of docs/formats.md.

    pagoda train fcos_resnet18_fpn --data DIR --epochs 12 --optim.learning-rate 0.002
    pagoda train FCOS_imprv_R_50_FPN_1x.pth --data DIR --optim.learning-rate 0.0002
    pagoda train fcos_resnet50_fpn --data DIR --tiles 640 --tile-empty 0.2
    pagoda train efficientdet_d0 --recipe efficientdet_small --data DIR --model.canvas 256 256
    pagoda train fcos_resnet18_fpn --data DIR --batch-size auto --plan
    pagoda train --config runs/NAME-1/config.yaml --epochs 24
    pagoda train --resume runs/NAME-1 --epochs 40
    pagoda train fcos_resnet18_fpn --data DIR --name NAME --resume auto
    pagoda train FILE.py:FUNCTION --resume runs/NAME-1
    """

    common = (
        "epochs", "batch_size", "plan", "device", "workers", "out", "name", "recipe", "config", "resume",
        "optim.learning_rate", "model.backbone_weights", "model.short_side", "model.long_side", "model.canvas",
    )  # fmt: skip

    architecture: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """a name of `pagoda models`, a checkpoint to fine-tune (file or address), or FILE.py:FUNCTION that composes a
    detector from num_classes"""
    model: Options = field(default_factory=ModelOptions)
    """what can be chosen of this model, as it is before anything is"""
    take: str = ""
    """which weights of another program's checkpoint (or of --model.backbone-weights), where it holds several: their
    key, or ema for the averaged ones"""
    recipe: str = ""
    """settings that hold unless a flag says otherwise: fine_tune, efficientdet, efficientdet_small, ssd, rcnn_small,
    detect_and_track, yolov1"""
    config: str = ""
    """a config.yaml whose settings hold unless a flag says otherwise"""
    resume: str = ""
    """folder of a run to go on with, interrupted or at its end; of the settings --epochs, --workers, --device, --shard,
    --val-every, --patience, --save-seconds and --inside-only may then be given anew, and --data where the same data
    lie elsewhere; auto: the last run of its --name in --out, if there is one, else a new run"""
    plan: bool = False
    """print how long the run would take and how much memory, found out by its first steps, and stop"""
    print_config: bool = False
    """print the settings as YAML and stop"""
    json: bool = False
    """print the final metrics as JSON on standard output"""


def main(arguments: Sequence[str]) -> int:
    folder = flag_value(arguments, "--resume")
    if folder and folder != AUTO:
        return _go_on(folder, arguments)
    recipe, config = flag_value(arguments, "--recipe"), flag_value(arguments, "--config")
    if recipe and config:
        raise ValueError("--recipe and --config both say all settings; give one of them")
    named = model_word(TrainCommand, arguments)
    if config is None:
        default, content = _default_of(recipe, named), {}
    else:
        content = _content_of(config)
        default = default_from(content, config, named)
    refuse_flags(arguments, "model", default.model, named or content.get("model"))
    command = parse(TrainCommand, "train", arguments, default)
    if config:
        command = _with_model_of(content, config, command)
    settings = _settings_of(command)
    if command.print_config:
        return _print_config(command)
    build = find_build(command.architecture)
    options = None if build else to_plain(command.model)
    if options is not None and command.take:
        options["take"] = command.take
    most = recipe_settings(recipe, data="").batch_size if recipe else TrainSettings.batch_size
    assert isinstance(most, int)
    run: _Asked = {"options": options, "build": build, "most_pictures": most}
    if command.plan:
        return _print_plan(training_run.plan(command.architecture, settings, **run), command.json)
    resume_begun = command.resume == AUTO
    result = training_run.train(command.architecture, settings, resume_begun=resume_begun, **run)
    return _finish(result, command.json)


def _go_on(folder: str, arguments: Sequence[str]) -> int:
    """A run that was interrupted or has come to its end, with the flags that may change; others are refused."""
    config = config_of_run(folder)
    saved = _command_of(config, Path(folder) / "config.yaml", architecture="")
    saved = shared_anew(saved, config, folder, num_processes=num_started())
    named = config.get("model") or ""
    refuse_flags(arguments, "model", saved.model, named)
    typed = parse(TrainCommand, "train", arguments, replace(saved, resume=folder))
    build = find_build(typed.architecture)
    command = replace(typed, architecture=named) if build or not typed.architecture else typed
    check_same_run(folder, _words_of(replace(saved, architecture=named)), _words_of(command))
    if command.plan:
        raise ValueError("--plan is for a run that is not begun yet; one that goes on says it by itself")
    if command.print_config:
        return _print_config(command)
    result = training_run.resume(folder, changes=to_plain(_settings_of(command)), build=build)
    return _finish(result, command.json)


def _settings_of(command: TrainCommand) -> TrainSettings:
    return TrainSettings(**{name: getattr(command, name) for name in TrainSettings.__dataclass_fields__})


def _words_of(command: TrainCommand) -> JsonObject:
    """Everything a command says about the run itself, as its flags are called."""
    others = {"resume", "plan", "print_config", "json"}
    return {name: value for name, value in to_plain(command).items() if name not in others}


def _print_plan(plan: RunPlan, as_json: bool) -> int:
    numbers = {"seconds": plan.seconds, "bytes": plan.memory, "epochs": plan.epochs, "steps": plan.steps}
    print(json_text(numbers) if as_json else plan.text())
    return 0


def _print_config(command: TrainCommand) -> int:
    plain = {
        "model": command.architecture,
        "options": to_plain(command.model),
        "train": to_plain(_settings_of(command)),
    }
    print(yaml.safe_dump(plain, sort_keys=False), end="")
    return 0


def _default_of(recipe: str | None, model: str | None) -> TrainCommand:
    """The command that a recipe, or none, stands for where this model is named: what flags then change."""
    options = options_for(model, checkpoint=CheckpointOptions)
    if not recipe:
        return TrainCommand(architecture=tyro.MISSING, data=tyro.MISSING, model=options)
    settings = recipe_settings(recipe, data=tyro.MISSING)
    values = {name: getattr(settings, name) for name in TrainSettings.__dataclass_fields__}
    return TrainCommand(architecture=tyro.MISSING, recipe=recipe, model=options, **values)


def _content_of(config: str) -> JsonObject:
    """The entries of a config file."""
    if not Path(config).is_file():
        raise FileNotFoundError(f"no config file at {config}")
    return read_config(config)


def default_from(content: JsonObject, config: str, model: str | None) -> TrainCommand:
    """The command that the content of a config file describes where `model`, or none, is typed: what flags then change.
    What it calls its model: see `_with_model_of`."""
    architecture = "" if content.get("model") else tyro.MISSING
    command = _command_of(content, config, architecture=architecture, model=model)
    options = command.model
    if isinstance(options, ModelOptions):
        options = replace(options, backbone_weights=None)
    return replace(command, model=options, config=config)


def _with_model_of(content: JsonObject, config: str, command: TrainCommand) -> TrainCommand:
    """The command with the model and the backbone's weights that its config names, where none were typed.

    Raises ValueError where the config names code, or weights that would be fetched: those must be typed.
    """
    weights = (content.get("options") or {}).get("backbone_weights")
    if not command.architecture:
        _refuse_unasked(config, content["model"], "{}")
        command = replace(command, architecture=content["model"])
    if weights and isinstance(command.model, ModelOptions) and not command.model.backbone_weights:
        _refuse_unasked(config, weights, "--model.backbone-weights {}")
        command = replace(command, model=replace(command.model, backbone_weights=weights))
    return command


def _refuse_unasked(config: str, name: object, flag: str) -> None:
    """Raises ValueError where a config's word stands for code or a download; `flag` is how to type it."""
    is_code, is_fetched = names_code(name), is_remote(name) or str(name).startswith("timm:")
    if is_code or is_fetched:
        raise ValueError(
            f"{config} names '{name}', which is {'code' if is_code else 'fetched from the network'}, and no config"
            f" chooses that; if you trust it, type it: pagoda train {flag.format(name)} --config {config}"
        )


def _command_of(
    content: JsonObject, file: str | Path, *, architecture: str, model: str | None = None
) -> TrainCommand:
    """The command that the entries of a config.yaml stand for, its options those of `model` where one is typed. Raises
    ValueError that names the file."""
    settings = settings_in(content, file, data="")
    values = {name: getattr(settings, name) for name in TrainSettings.__dataclass_fields__}
    values["data"] = settings.data or tyro.MISSING
    try:
        options = _options_in(content, model)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return TrainCommand(architecture=architecture, model=options, **values)


def _options_in(content: JsonObject, model: str | None) -> Options:
    """The options of a config, for the model that it names or for another one that is typed, which gets what was
    chosen. Raises ValueError for what that has no use for."""
    values, own = content.get("options") or {}, content.get("model")
    if own and (is_known(own) or is_checkpoint(own)):
        options = read_options(type(options_for(own, checkpoint=CheckpointOptions)), values, own)
        if model in (None, own):
            return options
        values = changed(options)
    elif own and not model:  # somebody's own function made it
        return Options()
    options = options_for(model, checkpoint=CheckpointOptions)
    return (
        read_options(type(options), values, str(model)) if model and type(options) is not Options else options
    )


def _finish(result: RunResult, as_json: bool) -> int:
    """Print the result, on the main process only."""
    if not processes().is_main_process:
        return 0
    if as_json:
        print(json_text({"run": str(result.folder), **result.result.to_dict()}))
    else:
        print(result.result.table())
        print(f"weights, curves and pictures: {result.folder}/best.safetensors, {result.folder}/report.html")
    return 0
