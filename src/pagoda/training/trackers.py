"""Experiment trackers: the rows of metrics.jsonl told to mlflow, wandb or trackio as well, on this machine alone.

They are driven by accelerate's classes, of which each takes its own way of staying offline; those are here.
"""

import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from uuid import uuid4

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from pagoda.files.atomic import write_atomically
from pagoda.files.text import json_text, read_json
from pagoda.plain import JsonObject, checked, flat
from pagoda.training.settings import TrackerName, TrainSettings, to_plain

SENDERS: Mapping[TrackerName, tuple[str, ...]] = {
    "mlflow": ("MLFLOW_TRACKING_URI",),
    "wandb": (),
    "trackio": ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"),
}
"""variables of the environment by which a tracker would send elsewhere; heeded where that is asked for"""
TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
"""what keeps a tracker from telling its makers of its use, which wandb 0.31 does offline, too"""
IDS = "trackers.json"


@checked
class Trackers:
    """All trackers of one run; one that breaks is told once and left out, for metrics.jsonl has everything.

    Offline, mlflow writes to mlflow.db beside the runs, wandb into the run's folder, trackio to its own local store. A
    run that is resumed goes on in the same run of each tracker.
    """

    def __init__(
        self,
        names: Sequence[TrackerName],
        run: Path,
        *,
        project: str,
        is_online: bool,
        config: Mapping[str, object],
        say: Callable[[str], object],
    ) -> None:
        """
        Args:
            run: the run's folder; its name is the name of the run there.
            project: under which runs are listed together; mlflow's experiment.
            is_online: send to where a tracker's own settings say.
            config: the run's settings, nested; those of a run that is resumed stay as they were.
            say: tells people a line.

        Raises whatever a tracker raises when it is opened.
        """
        self._say = say
        self._open: dict[TrackerName, GeneralTracker] = {}
        path = run / IDS
        ids: JsonObject = read_json(path) if path.exists() else {}
        for name in names:
            with _undisturbed(name, is_online=is_online) as aside:
                tracker, known = _start(name, run, project, is_online=is_online, known=ids.get(name))
                self._open[name] = tracker
                if name not in ids:
                    tracker.store_init_configuration(_parameters(config))
            ids[name] = known
            say(_place(name, run, project, aside, is_online=is_online))
        if names:
            write_atomically(path, lambda draft: draft.write_text(json_text(ids), encoding="utf-8"))

    @classmethod
    def of(cls, settings: TrainSettings, run: Path, say: Callable[[str], object]) -> "Trackers":
        """Those that a run's settings name."""
        return cls(
            settings.track,
            run,
            project=settings.track_project,
            is_online=settings.track_online,
            config=to_plain(settings),
            say=say,
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """The numbers of a step; those that are undefined are left out."""
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        for name, tracker in list(self._open.items()):
            try:
                tracker.log(known, step=step)
            except Exception as error:
                del self._open[name]
                self._say(f"warning: nothing goes to {name} any more ({error!r}); metrics.jsonl has it all")

    def close(self) -> None:
        """End the run in every tracker."""
        for tracker in self._open.values():
            with suppress(Exception):
                tracker.finish()
        self._open.clear()


def _parameters(config: Mapping[str, object]) -> dict[str, str | float | int | bool]:
    """Nested settings as trackers list them; what is no number becomes a text.

    >>> _parameters({"epochs": 2, "optim": {"clip": None}, "splits": ["a", "b"]})
    {'epochs': 2, 'optim.clip': 'None', 'splits': 'a, b'}
    """
    return {
        name: value
        if isinstance(value, str | int | float)
        else ", ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
        for name, value in flat(config).items()
    }


@contextmanager
def _undisturbed(name: TrackerName, *, is_online: bool) -> Iterator[tuple[str, ...]]:
    """Without its makers' telemetry, and without the variables that would send elsewhere, which are told."""
    os.environ.update(TELEMETRY)
    sending = () if is_online else SENDERS[name]
    aside = {key: os.environ.pop(key) for key in sending if key in os.environ}
    try:
        yield tuple(aside)
    finally:
        os.environ.update(aside)


def _start(
    name: TrackerName, run: Path, project: str, *, is_online: bool, known: object
) -> tuple[GeneralTracker, str]:
    """(a tracker that is open, by what the run is found there again)."""
    made = str(known or uuid4().hex[:8])
    options: dict[str, object]
    if name == "wandb":
        options = {"id": made, "resume": "allow", "name": run.name, "dir": str(run)}
        if not is_online:
            options["mode"] = "offline"
        options["settings"] = {"console": "off", "silent": True}
    elif name == "trackio":
        options = {"name": run.name, "resume": "allow"}
    else:
        options = {"run_name": run.name, "run_id": known}
        for talkative in ("mlflow", "alembic"):
            logging.getLogger(talkative).setLevel(logging.WARNING)
        if not is_online:
            store = run.resolve().parent
            import_module("mlflow").set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
            options["logging_dir"] = (store / "mlflow").as_uri()
    tracker = LOGGER_TYPE_TO_CLASS[name](project, **options)
    tracker.start()
    return tracker, str(tracker.tracker.info.run_id) if name == "mlflow" else made


def _place(name: TrackerName, run: Path, project: str, aside: Sequence[str], *, is_online: bool) -> str:
    """Where it is written and how it is looked at, in a line."""
    if is_online:
        return f"{name}: sent to where its own settings say, project {project}"
    told = f"; {' and '.join(aside)} left aside, --track-online heeds it" if aside else ""
    how = {
        "mlflow": f"{run.parent / 'mlflow.db'}, looked at by: mlflow ui --backend-store-uri"
        f" sqlite:///{run.parent / 'mlflow.db'}",
        "wandb": f"{run / 'wandb'}, sent by: wandb sync {run / 'wandb'}/offline-run-*",
        "trackio": f"its own local store, looked at by: trackio show --project {re.sub(r'[^ -~]', '?', project)}",
    }
    return f"{name}: nothing is sent, it is written to {how[name]}{told}"
