"""The folder of a run: one process makes it and tells the others, says in config.yaml what the run is, and finds it
again."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from accelerate.utils import broadcast_object_list

from pagoda.detectors.contract import Detector
from pagoda.files.atomic import claim_folder, safe_name, write_atomically
from pagoda.plain import JsonObject
from pagoda.recipes.initial_model import Start, begin_anew
from pagoda.recipes.resuming import check_same_run, config_of_run, found_out, settings_in, shared_anew
from pagoda.training.distributed import num_started, processes
from pagoda.training.last import has_state
from pagoda.training.settings import TrainSettings, to_plain
from pagoda.visualization.report import machine_facts


def run_name(model: Detector, settings: TrainSettings) -> str:
    """What the run's folder is called, without its number.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> run_name(model, TrainSettings(data="DIR")), run_name(model, TrainSettings(data="DIR", name="cells"))
    ('fcos_resnet18_fpn', 'cells')
    """
    own = (model.origin or {}).get("model") or type(model).__name__
    return settings.name or str(own).split(":")[-1]


def shared_run_folder(settings: TrainSettings, name: str) -> Path:
    """A fresh run folder, the same on every process: the main one makes it and tells the others."""
    folder = [str(claim_folder(settings.out, name)) if processes(settings.device).is_main_process else ""]
    return Path(broadcast_object_list(folder)[0])


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
    asked = yaml.safe_load(_as_text(config_content(start.model, now, start.config)))
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


def last_begun(out: str | Path, name: str) -> Path | None:
    """The run of that name in `out` with the highest number; None where there is none, or nothing to go on from.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out:
    ...     for number in (2, 9, 10):
    ...         Path(out, f"cells-{number}", "last").mkdir(parents=True)
    ...     nothing_is_saved = last_begun(out, "cells")
    ...     Path(out, "cells-10", "last", "state.pt").touch()
    ...     nothing_is_saved, last_begun(out, "cells").name
    (None, 'cells-10')
    """
    pattern = re.compile(re.escape(safe_name(name)) + r"-(\d+)")
    numbers = {
        int(match[1]): folder for folder in Path(out).glob("*") if (match := pattern.fullmatch(folder.name))
    }
    last = numbers[max(numbers)] if numbers else None
    return last if last is not None and has_state(last) else None


def config_content(model: Detector, settings: TrainSettings, instead: Mapping[str, object]) -> JsonObject:
    """What config.yaml says of a run: the settings, the model's card, how many processes learn, and the versions.

    `instead` are entries that the model's own would not be right for.
    """
    return {
        "model": (model.origin or {}).get("model"),
        "options": (model.origin or {}).get("options", {}),
        "train": to_plain(settings),
        "processes": num_started(),
        "card": json.loads(json.dumps(model.card())),
        "versions": machine_facts(),
        **instead,
    }


def write_config(folder: Path, content: Mapping[str, object]) -> None:
    """config.yaml of a run, which `pagoda train --config` and `--resume` read."""
    text = _as_text(content)
    write_atomically(folder / "config.yaml", lambda path: path.write_text(text, encoding="utf-8"))


def rewrite_settings(folder: Path, settings: TrainSettings) -> None:
    """Write these settings into the run's config.yaml, so that the next time it goes on with them.

    The batch size stays that of the processes with which it began.
    """
    content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    size = content["train"]["batch_size"]
    write_config(folder, {**content, "train": {**to_plain(settings), "batch_size": size}})


def _as_text(content: Mapping[str, object]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
