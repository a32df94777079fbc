"""Experiment trackers hear what metrics.jsonl says, from this machine alone, and never end a training."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

from pagoda.training.run_log import read_records
from pagoda.training.settings import TrainSettings

sys.path.insert(0, str(Path(__file__).parent))
from drawn import small_trainer

FAKE = '''
"""What wandb and trackio have in common, as accelerate calls it."""
import os

heard, asked, breaks = [], [], set()


class config:
    update = staticmethod(lambda values, **_: heard.append(("config", values)))


class Run:
    def log(self, values, step=None):
        if step in breaks:
            raise ConnectionError("the line is cut")
        heard.append((step, values))

    def finish(self):
        heard.append("finish")


def init(**options):
    seen = {name: os.environ.get(name) for name in ("TRACKIO_SPACE_ID", "WANDB_ERROR_REPORTING")}
    asked.append((options, seen))
    return Run()
'''


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """{name: a module in the place of the tracker}"""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    made = {}
    for name in ("wandb", "trackio"):
        (folder / f"{name}.py").write_text(FAKE)
        monkeypatch.delitem(sys.modules, name, raising=False)
        made[name] = importlib.import_module(name)
    yield made
    for name in made:
        sys.modules.pop(name, None)


def test_a_tracker_hears_every_number_of_the_log(fakes, tmp_path):
    run = tmp_path / "runs" / "cells-1"
    run.mkdir(parents=True)
    small_trainer(run, images=8, track=("wandb",), track_project="cells").run()
    (settings, *rows) = fakes["wandb"].heard
    assert settings[0] == "config" and settings[1]["optim.warmup_steps"] == 2
    records = [row for row in read_records(run / "metrics.jsonl") if row["kind"] in ("step", "val")]
    assert records and rows.pop() == "finish"
    assert rows == [
        (
            row["step"],
            {
                f"{'val' if row['kind'] == 'val' else 'train'}/{name}": value
                for name, value in row.items()
                if name not in ("kind", "step") and isinstance(value, int | float)
            },
        )
        for row in records
    ]


def test_nothing_is_sent_unless_it_is_asked_for(fakes, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/board")
    monkeypatch.delenv("WANDB_ERROR_REPORTING", raising=False)
    for is_online in (False, True):
        run = tmp_path / f"run-{is_online}"
        run.mkdir()
        small_trainer(run, images=4, track=("wandb", "trackio"), track_online=is_online).run()
        options, seen = fakes["wandb"].asked[-1]
        assert options.get("mode") == (None if is_online else "offline")
        assert seen["WANDB_ERROR_REPORTING"] == "false"
        assert fakes["trackio"].asked[-1][1]["TRACKIO_SPACE_ID"] == ("somebody/board" if is_online else None)
    assert os.environ["TRACKIO_SPACE_ID"] == "somebody/board"


def test_a_run_that_goes_on_is_the_same_run_there(fakes, tmp_path):
    small_trainer(tmp_path, images=8, track=("wandb",)).run()
    small_trainer(tmp_path, images=8, track=("wandb",), resume=True).run()
    ids = [options["id"] for options, _ in fakes["wandb"].asked]
    assert len(ids) == 2 and ids[0] == ids[1] == json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    assert sum(row[0] == "config" for row in fakes["wandb"].heard if isinstance(row, tuple)) == 1


def test_a_tracker_that_breaks_is_left_out_and_the_run_goes_on(fakes, tmp_path):
    fakes["wandb"].breaks.add(2)
    said = []
    trainer = small_trainer(tmp_path, images=12, track=("wandb", "trackio"))
    trainer.log.shown.say = said.append
    trainer.run()
    steps = [row["step"] for row in read_records(tmp_path / "metrics.jsonl") if row["kind"] == "step"]
    assert [step for step, _ in fakes["trackio"].heard[1:-1]][: len(steps)] and 2 in steps
    assert [row[0] for row in fakes["wandb"].heard if isinstance(row, tuple)] == ["config", 1]
    assert any("nothing goes to wandb any more" in line and "the line is cut" in line for line in said)


def test_what_cannot_be_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr("pagoda.training.settings.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install mlflow"):
        TrainSettings(data="drawn", track=("mlflow",))
    with pytest.raises(ValueError, match="track names none"):
        TrainSettings(data="drawn", track_online=True)
    with pytest.raises(ValueError, match="mlflow"):
        TrainSettings(data="drawn", track=("mlflo",))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "wandb", "trackio"])
def test_the_real_one_keeps_the_run(name, tmp_path, monkeypatch):
    """Two epochs, then a third of the same run: what the tracker has is what metrics.jsonl has."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    package = pytest.importorskip(name)
    run = tmp_path / "runs" / "cells-1"
    run.mkdir(parents=True)
    small_trainer(run, images=8, track=(name,), track_project="cells").run()
    small_trainer(run, images=8, track=(name,), track_project="cells", resume=True).run()
    losses = [row["loss"] for row in read_records(run / "metrics.jsonl") if row["kind"] == "step"]
    if name == "mlflow":
        client = package.MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
        (kept,) = client.search_runs([client.get_experiment_by_name("cells").experiment_id])
        rows = client.get_metric_history(kept.info.run_id, "train/loss")
        assert [row.value for row in rows] == pytest.approx(losses)
    elif name == "wandb":
        assert list((run / "wandb").glob("offline-run-*/*.wandb"))
    else:
        assert list(Path(importlib.import_module("trackio.utils").TRACKIO_DIR).glob("cells*"))
