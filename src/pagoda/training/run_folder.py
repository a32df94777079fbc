"""The folder of a run: one process makes it and tells the others, and it is found again by its name."""

import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from accelerate.utils import broadcast_object_list

from pagoda.detectors.contract import Detector
from pagoda.files.atomic import claim_folder, safe_name, write_atomically
from pagoda.training.distributed import processes
from pagoda.training.last import has_state
from pagoda.training.settings import TrainSettings


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


def write_config(folder: Path, content: Mapping[str, object]) -> None:
    """config.yaml of a run, which `pagoda train --config` and `--resume` read."""
    text = config_text(content)
    write_atomically(folder / "config.yaml", lambda path: path.write_text(text, encoding="utf-8"))


def config_text(content: Mapping[str, object]) -> str:
    """What `write_config` writes."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
