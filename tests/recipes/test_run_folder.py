"""Runs that go on: the one of that name, in the place of a new one; with other numbers of processes."""

from pathlib import Path

import pytest
import yaml

import pagoda
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.recipes import training_run
from pagoda.recipes.training_run import RunResult
from pagoda.training.last import load_last

SMALL = {
    "width": 16,
    "head_depth": 1,
    "base_channels": 8,
    "norm_groups": 4,
    "short_side": 32,
    "long_side": 32,
    "norm": "group",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "val"):
        write_coco_folder(DrawnShapes(4, image_size=(32, 32), seed=1), folder, split=split)
    return folder


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pages, and scores without intervals: neither is looked at here."""
    monkeypatch.setattr(training_run, "report_if_possible", lambda *_: None)
    monkeypatch.setattr(training_run, "REPORTED", None)


def train(data: Path, out: Path, **settings: object) -> RunResult:
    words = {"name": "cells", "epochs": 1, "batch_size": 2, "device": "cpu", "precision": "fp32", **settings}
    return pagoda.train("fcos_resnet18_fpn", data, options=SMALL, quiet=True, out=out, **words)


def has_begun_with(run: Path, processes: int) -> None:
    """Have the run's config say so, as if as many had begun it."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "processes": processes}))


def step(run: Path) -> int:
    return load_last(run)["at"]["step"]


@pytest.mark.medium
def test_auto_begins_a_run_and_then_goes_on_with_it(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path, resume="auto")
    assert (first.folder.name, step(first.folder)) == ("cells-1", 2)
    second = train(data, tmp_path, resume="auto", epochs=2)
    assert (second.folder, step(first.folder)) == (first.folder, 4)
    with pytest.raises(
        ValueError, match=r"seed \(the run has 0, not 3\).* or give the new run another --name"
    ):
        train(data, tmp_path, resume="auto", epochs=2, seed=3)
    with pytest.raises(ValueError, match=r"batch_size \(the run has 2, not 4\)"):
        train(data, tmp_path, resume="auto", epochs=2, batch_size=4)
    assert train(data, tmp_path, resume="auto", name="other").folder.name == "other-1"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["cells-1", "other-1"]


@pytest.mark.medium
def test_processes_that_are_started_again_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(data, tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert train(data, tmp_path).folder == first.folder
    assert train(data, tmp_path, seed=1).folder.name == "cells-2"  # another run, which had not saved anything


@pytest.mark.medium
def test_batches_keep_their_size_over_all_processes(data: Path, tmp_path: Path) -> None:
    run = train(data, tmp_path, batch_size=4).folder
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["processes"] == 1
    config["train"]["batch_size"] = 2
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "processes": 2}))  # as two begin it
    assert step(pagoda.train(resume=run, epochs=2, quiet=True).folder) == 2
    assert step(pagoda.train(resume=run, epochs=3, batch_size=4, quiet=True).folder) == 3
    assert (
        step(train(data, tmp_path, resume="auto", epochs=4, batch_size=2).folder) == 4
    )  # the same words again
    with pytest.raises(ValueError, match=r"batch_size \(the run has 4, not 2\)"):
        pagoda.train(resume=run, epochs=5, batch_size=2, quiet=True)
    kept = yaml.safe_load((run / "config.yaml").read_text())
    assert (kept["train"]["batch_size"], kept["processes"], kept["train"]["epochs"]) == (2, 2, 4)
    has_begun_with(run, 1)
    with pytest.raises(
        ValueError, match="its batches have 4 pictures over all processes, 1 × 2 are 2: give batch_size=4"
    ):
        pagoda.train(resume=run, quiet=True)


def test_what_cannot_be_shared_evenly_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(data, tmp_path).folder
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(
        ValueError, match=r"2 pictures at a time .* 3 cannot share evenly; take 1 or 2 processes"
    ):
        pagoda.train(resume=run, quiet=True)
