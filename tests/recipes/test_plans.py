"""What is decided before a run where nobody else does, the size of pictures and of batches; and what it takes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import pagoda
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.models import load
from pagoda.recipes import training_run
from pagoda.recipes.initial_model import starting_model
from pagoda.training.settings import OptimSettings, TrainSettings
from pagoda.training.trial import Trial
from pagoda.weights.files import read_card

pytestmark = pytest.mark.medium

TINY = {"width": 16, "head_depth": 1, "base_channels": 8, "norm_groups": 4}
NAME = "fcos_resnet18_fpn"
FLAGS = [
    "--model.width",
    "16",
    "--model.head-depth",
    "1",
    "--model.base-channels",
    "8",
    "--model.norm-groups",
    "4",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Pictures of 64×80 with small objects of 10 pixels, which need twice that size."""
    folder = tmp_path_factory.mktemp("data")
    for split, count, seed in (("train", 8, 1), ("val", 2, 2)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 80), seed=seed), folder, split=split)
    return folder


@pytest.fixture(scope="module")
def table(data):
    return DrawnShapes(8, image_size=(64, 80), seed=1).annotations


def sides(model) -> tuple[int, int]:
    return model.input_spec.short_side, model.input_spec.long_side


def test_a_new_model_gets_the_size_of_the_data(table):
    start = starting_model(NAME, table.label_map, options=TINY, table=table)
    assert sides(start.model) == (128, 213)
    assert "--model.short-side" in start.text
    assert start.model.card()["options"]["short_side"] == 128
    assert start.model.card()["input_spec"]["long_side"] == 213


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (NAME, {"short_side": 96}, (96, 1333)),
        (NAME, {"long_side": 500}, (800, 500)),
        (f"{NAME}.original", {}, (800, 1333)),
        (f"{NAME}.torchvision", {}, (800, 1333)),
    ],
)
def test_what_somebody_has_chosen_is_kept(table, name, options, expected):
    start = starting_model(
        name, table.label_map, options={"width": 16, "head_depth": 1, **options}, table=table
    )
    assert sides(start.model) == expected and not start.text


def test_published_canvases_and_clips_keep_their_size(table):
    start = starting_model("efficientdet_d0", table.label_map, table=table)
    assert start.model.input_spec.canvas == (512, 512) and not start.text


def test_the_size_changes_nothing_else(table):
    """As if it had been asked for, to the bit."""
    models = []
    for options in (TINY, {**TINY, "short_side": 128, "long_side": 213}):
        torch.manual_seed(3)
        models.append(starting_model(NAME, table.label_map, options=options, table=table).model)
    assert models[0].card() == models[1].card()
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run whose size and batch size nobody chose, with memory for three pictures at a time."""
    out = tmp_path_factory.mktemp("runs")
    settings = TrainSettings(data=str(data), epochs=2, batch_size="auto", out=str(out), device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trial, "_takes", lambda self, size: 2**30 * (1 + size))
        patch.setattr("pagoda.training.trial.available_memory", lambda: 4 * 2**30)
        patch.setattr("pagoda.training.trial.held_memory", lambda: 2**30)
        result = training_run.train(NAME, settings, options=TINY, quiet=True)
    return result


def test_what_was_decided_stands_in_the_config(run):
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert (config["options"]["short_side"], config["options"]["long_side"]) == (128, 213)
    assert (config["train"]["batch_size"], config["train"]["optim"]["accumulate"]) == (2, 4)
    assert sides(load(run.folder / "best.safetensors")) == (128, 213)


def test_a_run_that_was_decided_for_is_the_run_somebody_decided_on(run, data, tmp_path):
    """Nothing that is tried before changes what is drawn: the same bits."""
    said = TrainSettings(
        data=str(data),
        epochs=2,
        batch_size=2,
        out=str(tmp_path),
        device="cpu",
        optim=OptimSettings(accumulate=4),
    )
    options = {**TINY, "short_side": 128, "long_side": 213}
    other = training_run.train(NAME, said, options=options, quiet=True)
    first, second = (load_file(each.folder / "best.safetensors") for each in (run, other))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.slow
def test_real_trials_change_no_bit(data, tmp_path):
    results = []
    for size in (8, "auto"):
        settings = TrainSettings(data=str(data), epochs=1, batch_size=size, out=str(tmp_path), device="cpu")
        results.append(training_run.train(NAME, settings, options=TINY, quiet=True).model.state_dict())
    assert [name for name in results[0] if not torch.equal(results[0][name], results[1][name])] == []


def test_a_run_that_goes_on_keeps_what_was_decided(run, tmp_path):
    again = pagoda.train(resume=run.folder, epochs=3, quiet=True)
    assert sides(again.model) == (128, 213)
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert config["train"]["batch_size"] == 2 and config["train"]["epochs"] == 3
    with pytest.raises(ValueError, match=r"batch_size \(the run has 2, not 'auto'\)"):
        pagoda.train(resume=run.folder, batch_size="auto", quiet=True)


def test_fine_tuning_keeps_the_size_of_the_checkpoint(run, tmp_path):
    larger = tmp_path / "larger"
    write_coco_folder(DrawnShapes(2, image_size=(200, 200), seed=5), larger)
    best = run.folder / "best.safetensors"
    start = starting_model(str(best), read_labels(best), table=DrawnShapes(2, (200, 200), seed=5).annotations)
    assert sides(start.model) == (128, 213)


def read_labels(path: Path):
    return load(path).label_map if read_card(path) else None


def command(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


def test_a_plan_is_told_and_nothing_is_left(data, tmp_path, capsys):
    said = ["train", NAME, *FLAGS, "--data", data, "--out", tmp_path / "runs", "--device", "cpu", "--plan"]
    assert not command(*said)
    out = capsys.readouterr().out
    assert re.fullmatch(
        r"12 epochs, 12 steps: about \S+ \S+ and \S+ [MG]B on this machine \(1 thread\)\n", out
    )
    assert not (tmp_path / "runs").exists()
    assert not command(*said, "--json", "--epochs", "3")
    numbers = json.loads(capsys.readouterr().out)
    assert (
        (numbers["epochs"], numbers["steps"]) == (3, 3)
        and numbers["seconds"] > 0
        and numbers["bytes"] > 2**20
    )


def test_a_plan_finds_what_would_stop_the_run(data, tmp_path, capsys):
    assert command("train", NAME, "--data", tmp_path / "gone", "--plan") == 1
    assert "there is no folder" in capsys.readouterr().err
    assert command("train", NAME, "--data", data, "--val-split", "gone", "--plan") == 1
    assert "no split 'gone'" in capsys.readouterr().err


def test_a_run_that_goes_on_takes_no_plan(run, capsys):
    assert command("train", "--resume", run.folder, "--plan") == 1
    assert "--plan is for a run that is not begun yet" in " ".join(capsys.readouterr().err.split())


def test_a_run_says_what_it_took(data, tmp_path, capsys):
    settings = TrainSettings(
        data=str(data), epochs=10, batch_size=8, out=str(tmp_path), device="cpu", val_every=10
    )
    training_run.train(NAME, settings, options=TINY)
    said = capsys.readouterr().err
    assert "training: 1 of 10, epoch 1 · loss" in said
    assert re.search(r"^10 epochs, 10 steps: about .* on this machine \(1 thread\)$", said, re.M)
    assert re.search(r"^took \d+ (s|min) and ", said, re.M)


def test_several_processes_do_not_try(monkeypatch, data):
    settings = TrainSettings(data=str(data), device="cpu", batch_size="auto")
    monkeypatch.setattr("pagoda.training.trial.processes", lambda device: type("", (), {"num_processes": 2}))
    with pytest.raises(ValueError, match="by a single process"):
        training_run.plan(NAME, settings, options=TINY, quiet=True)
    with pytest.raises(ValueError, match="by a single process"):
        training_run.plan(NAME, replace(settings, batch_size=2), options=TINY, quiet=True)


def test_the_doctor_looks_at_the_size_a_run_would_take(data, capsys):
    command("doctor", data, "--model", NAME)
    assert f"the points of {NAME} at 128/213 pixels" in capsys.readouterr().out
    command("doctor", data, "--model", NAME, "--options.short-side", "96")
    assert f"the points of {NAME} at 96/1333 pixels" in capsys.readouterr().out
