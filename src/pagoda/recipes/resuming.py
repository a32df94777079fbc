"""What a run's config.yaml says, which run goes on, what may change then, and what becomes of its learning rate."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import yaml
from accelerate.utils import broadcast_object_list

from pagoda.detectors.contract import Detector
from pagoda.files.text import json_text, read_text, read_yaml
from pagoda.messages import counted
from pagoda.plain import JsonObject, flat, from_plain
from pagoda.recipes.initial_model import Start, begin_anew
from pagoda.training.distributed import num_started, processes
from pagoda.training.optim import rate_factor
from pagoda.training.run_folder import config_text, last_begun, run_name, write_config
from pagoda.training.settings import TrainSettings, to_plain
from pagoda.visualization.report import machine_facts

Run = TypeVar("Run", bound=TrainSettings)

MAY_CHANGE = (
    "data", "epochs", "workers", "device", "shard", "val_every", "patience", "save_seconds", "inside_only",
)  # fmt: skip
"""Settings that decide how long a run is and how it is carried out, not what it learns from or how; `data` where the
folder was moved, for what is in it is compared"""
CONFIG_KEYS = ("model", "options", "train", "processes", "card", "versions")


def read_config(file: str | Path) -> JsonObject:
    """The entries of a config.yaml by name: model, options, train, processes, card, versions, as far as it has them.

    Raises ValueError for others, which would change nothing, and for entries of the wrong kind.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "config.yaml")
    ...     _ = file.write_text("model: fcos_resnet18_fpn\\ntrain: {data: bccd, epochs: 3}")
    ...     read_config(file)
    {'model': 'fcos_resnet18_fpn', 'train': {'data': 'bccd', 'epochs': 3}}
    """
    content = read_yaml(file)
    if not content and (text := _without_remarks(file)):
        raise ValueError(
            f"{file} holds no settings by name but {text[:60]!r}; write them as `pagoda train --print-config` does"
        )
    strangers = [key for key in content if key not in CONFIG_KEYS]
    if strangers:
        settings = [key for key in strangers if key in TrainSettings.__dataclass_fields__]
        remedy = f"; settings stand under 'train:' ({', '.join(settings)})" if settings else ""
        raise ValueError(
            f"{file} has unknown entries: {', '.join(map(str, strangers))}; known: {', '.join(CONFIG_KEYS)}{remedy}"
        )
    if not isinstance(content.get("model"), str | None):
        raise ValueError(f"{file}: 'model' must be a name, got {content['model']!r}")
    for key in ("train", "options"):
        if not isinstance(content.get(key) or {}, dict):
            raise ValueError(f"{file}: '{key}' must hold settings by name, got {content[key]!r}")
    return content


def _without_remarks(file: str | Path) -> str:
    """What a YAML file holds beside remarks, braces and the lines that begin and end it."""
    lines = (line.partition("#")[0].strip() for line in read_text(file).splitlines())
    return " ".join(line for line in lines if line not in ("", "---", "...", "{}", "null", "~"))


def config_of_run(folder: str | Path) -> JsonObject:
    """The entries of config.yaml in a run's folder.

    Raises FileNotFoundError where there is none, ValueError where it lacks what a run needs to go on.

    >>> config_of_run("runs/gone")
    Traceback (most recent call last):
    FileNotFoundError: runs/gone holds no config.yaml, so it is not the folder of a run
    """
    file = Path(folder) / "config.yaml"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no config.yaml, so it is not the folder of a run")
    content = read_config(file)
    missing = [key for key in ("train", "card") if not content.get(key)]
    if missing:
        raise ValueError(f"{file} has no {' and no '.join(missing)}, so the run cannot go on")
    return content


def settings_in(content: JsonObject, file: str | Path, **usual: object) -> TrainSettings:
    """The settings of a config's entry "train", over `usual` ones; the defaults for the rest.

    Raises ValueError that names the file, for unknown settings with the nearest name.

    >>> settings_in({"train": {"epochs": 3, "optim": {"clip_norm": 0}}}, "config.yaml", data="bccd").epochs
    3
    >>> settings_in({"train": {"epoch": 3}}, "config.yaml", data="bccd")
    Traceback (most recent call last):
    ValueError: config.yaml: unknown setting 'epoch'; did you mean 'epochs'?
    """
    try:
        return from_plain(TrainSettings, {**usual, **(content.get("train") or {})})
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def settings_with(saved: TrainSettings, changes: Mapping[str, object]) -> TrainSettings:
    """The settings with some given anew, nested ones as mappings. Raises ValueError for an unknown name.

    >>> settings_with(TrainSettings(data="bccd"), {"optim": {"clip_norm": 0}}).optim.clip_norm
    0
    """
    kept = {"precision"} if changes.get("precision") == "auto" else set()  # it was chosen when the run began
    changes = {name: value for name, value in changes.items() if name not in kept}
    return from_plain(TrainSettings, _merged(to_plain(saved), changes))


def shared_anew(settings: Run, content: JsonObject, folder: str | Path, *, num_processes: int) -> Run:
    """The settings of a run for so many processes as learn now: its batches keep their size over all of them, and so
    hold the same pictures in the same order.

    `settings` and `content` are those it began with, as config.yaml keeps them; where that does not say how many
    processes there were, it is as many. Raises ValueError where they cannot share a batch evenly.

    >>> settings = TrainSettings(data="bccd", batch_size=4)
    >>> shared_anew(settings, {"processes": 2}, "runs/a", num_processes=1).batch_size
    8
    >>> shared_anew(settings, {"processes": 2}, "runs/a", num_processes=3)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: the run in runs/a learns from 8 pictures at a time (2 processes × 4), which 3 ...
    """
    before = content.get("processes") or num_processes
    if before == num_processes or isinstance(settings.batch_size, str):
        return settings
    pictures = before * settings.batch_size
    if pictures % num_processes:
        *few, most = [str(count) for count in range(1, pictures + 1) if pictures % count == 0]
        raise ValueError(
            f"the run in {folder} learns from {pictures} pictures at a time ({before} processes ×"
            f" {settings.batch_size}), which {num_processes} cannot share evenly; take {', '.join(few)} or {most}"
            " processes"
        )
    return replace(settings, batch_size=pictures // num_processes)


def share_note(before: TrainSettings, now: TrainSettings) -> str:
    """A sentence on what another number of processes means for a run that goes on; "" where it has not changed.

    >>> share_note(*(TrainSettings(data="bccd", batch_size=size) for size in (4, 8)))  # doctest: +ELLIPSIS
    'batches keep their pictures: 8 for each process instead of 4; ...'
    """
    if before.batch_size == now.batch_size:
        return ""
    return (
        f"batches keep their pictures: {now.batch_size} for each process instead of {before.batch_size}; sums are in"
        " another order, so the weights will differ a little, and batch norms that learn see as many together"
    )


def found_out(settings: TrainSettings, saved: TrainSettings, shared: TrainSettings) -> TrainSettings:
    """The settings of a command that began a run, as the run goes on with them: what they leave "auto" as the run has
    found it out, and its batch size `shared` anew.

    >>> saved, shared = (TrainSettings(data="bccd", batch_size=size, precision="bf16") for size in (4, 8))
    >>> again = found_out(TrainSettings(data="bccd", batch_size=4), saved, shared)
    >>> again.precision, again.batch_size
    ('bf16', 8)
    """
    if settings.precision == "auto":
        settings = replace(settings, precision=saved.precision)
    if settings.batch_size == "auto":
        optim = replace(settings.optim, accumulate=saved.optim.accumulate)
        return replace(settings, batch_size=shared.batch_size, optim=optim)
    return (
        replace(settings, batch_size=shared.batch_size)
        if settings.batch_size == saved.batch_size
        else settings
    )


def check_same_run(folder: str | Path, saved: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Raises ValueError naming all that differs between two mappings of settings, except what `MAY_CHANGE`.

    >>> check_same_run("runs/a", {"epochs": 3, "seed": 1}, {"epochs": 9, "seed": 1})
    >>> check_same_run("runs/a", {"epochs": 3, "seed": 1}, {"epochs": 9, "seed": 2})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: a run that goes on keeps what it learns from and how: seed (the run has 1, not 2). ...
    """
    before = flat(saved)
    different = [
        f"{name} (the run has {before.get(name)!r}, not {value!r})"
        for name, value in flat(now).items()
        if value != before.get(name) and name not in MAY_CHANGE
    ]
    if different:
        raise ValueError(
            f"a run that goes on keeps what it learns from and how: {', '.join(different)}. Of the run in {folder} only"
            f" {', '.join(MAY_CHANGE)} can change; leave the others out, or start a new run from its weights:"
            f" pagoda train {Path(folder) / 'best.safetensors'} --data DIR"
        )


def how_to_go_on(folder: Path, model: Detector, *, is_built: bool) -> str:
    """The command that goes on with a run, for a person who stopped it; `is_built`: a function composed its model.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> how_to_go_on(Path("runs/a-1"), model, is_built=False)
    'pagoda train --resume runs/a-1'
    """
    name = str((model.origin or {}).get("model") or "")
    is_file = ".py:" in name  # no config chooses code: it must be typed again
    if is_file or (name and not is_built):
        return shlex.join(["pagoda", "train", *([name] if is_file else []), "--resume", str(folder)])
    return f"pagoda.train(resume={str(folder)!r}, build=the function that composes the model)"


def check_epochs(folder: str | Path, epochs: int, done: int) -> None:
    """Raises ValueError where a run is to end before the epoch it has reached.

    >>> check_epochs("runs/a", epochs=2, done=3)
    Traceback (most recent call last):
    ValueError: the run in runs/a has done 3 epochs, so it cannot end after 2: say epochs=3 or more
    """
    if epochs < done:
        raise ValueError(
            f"the run in {folder} has done {counted(done, 'epoch')}, so it cannot end after {epochs}: say"
            f" epochs={done} or more"
        )


def schedule_note(saved: TrainSettings, now: TrainSettings, *, step: int, totals: tuple[int, int]) -> str:
    """A sentence on what another number of epochs makes of the learning rate at `step`; "" for the same number.

    `totals` are the steps of the whole run, then and now.

    >>> short, long = (TrainSettings(data="bccd", epochs=epochs) for epochs in (2, 4))
    >>> schedule_note(short, long, step=100, totals=(200, 400))  # doctest: +ELLIPSIS
    'epochs 2 → 4: from step 100 on the learning rate follows the cosine schedule of 4 epochs (0.0019 here; ...)'
    """
    if saved.epochs == now.epochs:
        return ""
    was, becomes = (
        now.optim.learning_rate * rate_factor(min(step, total), total, now.optim) for total in totals
    )
    return (
        f"epochs {saved.epochs} → {now.epochs}: from step {step} on the learning rate follows the"
        f" {now.optim.schedule} schedule of {counted(now.epochs, 'epoch')} ({becomes:.3g} here; {was:.3g} on"
        " the old one)"
    )


@dataclass(frozen=True)
class BegunRun:
    """A run to go on with."""

    folder: Path
    """of the run"""
    saved: TrainSettings
    """its settings until now"""
    settings: TrainSettings
    """from now on"""


def begun_run(start: Start, settings: TrainSettings, *, is_asked: bool) -> BegunRun | None:
    """The last run of its name in `settings.out`, the same on every process, where it is one of this model with these
    settings and has something to go on from; the main process looks.

    Where `is_asked`, ValueError is raised for another run, with all that differs; else it is left alone.
    """
    name = run_name(start.model, settings)
    found: list[tuple[str, JsonObject] | None] = [None]
    if processes(settings.device).is_main_process and (last := last_begun(settings.out, name)):
        found = [(str(last), config_of_run(last))]
    told = broadcast_object_list(found)[0]
    if told is None:
        return None
    folder, config = Path(told[0]), told[1]
    saved = settings_in(config, folder / "config.yaml")
    shared = shared_anew(saved, config, folder, num_processes=num_started())
    now = found_out(settings, saved, shared)
    begin_anew(start.model)
    asked = yaml.safe_load(config_text(config_content(start.model, now, start.config)))
    try:
        _check_same(folder, {**config, "train": to_plain(shared)}, asked)
    except ValueError as error:
        if is_asked:
            raise ValueError(f"{error}; or give the new run another --name") from error
        return None
    return BegunRun(folder, saved, now)


def _check_same(folder: Path, saved: JsonObject, asked: JsonObject) -> None:
    """Raises ValueError that names what differs between two configs: settings, model and its options; else the card."""
    words = [
        {**content["train"], **{name: content.get(name) for name in ("model", "options")}}
        for content in (saved, asked)
    ]
    check_same_run(folder, *words)
    check_same_run(folder, {"card": saved["card"]}, {"card": asked["card"]})


def config_content(model: Detector, settings: TrainSettings, instead: Mapping[str, object]) -> JsonObject:
    """What config.yaml says of a run: the settings, the model's card, how many processes learn, and the versions.

    `instead` are entries that the model's own would not be right for.
    """
    return {
        "model": (model.origin or {}).get("model"),
        "options": (model.origin or {}).get("options", {}),
        "train": to_plain(settings),
        "processes": num_started(),
        "card": json.loads(json_text(model.card())),
        "versions": machine_facts(),
        **instead,
    }


def rewrite_settings(folder: Path, settings: TrainSettings) -> None:
    """Write these settings into the run's config.yaml, so that the next time it goes on with them.

    The batch size stays that of the processes with which it began.
    """
    content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    size = content["train"]["batch_size"]
    write_config(folder, {**content, "train": {**to_plain(settings), "batch_size": size}})


def _merged(old: Mapping[str, object], new: Mapping[str, object]) -> JsonObject:
    merged = dict(old)
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = _merged(before, value)
        merged[name] = value
    return merged
