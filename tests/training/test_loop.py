"""Runs end to end on drawn shapes: resuming, killing, averaging, skipping, stopping on NaN."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pagoda.data.loading import TrainingView
from pagoda.models import load
from pagoda.training.failed_batch import NotFiniteError, diagnose, load_capsule
from pagoda.training.last import load_last
from pagoda.training.run_log import read_records
from pagoda.training.settings import OptimSettings
from pagoda.zoo.cards import model_from_card

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from drawn import small_trainer  # noqa: E402

pytestmark = pytest.mark.medium


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    state = load_last(folder)
    return {**state["model"], **{f"average.{name}": value for name, value in state["average"].items()}}


def assert_same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def run_script(folder: Path, *words: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, str(HERE / "drawn.py"), str(folder), *words], env=environment)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run_script(folder).wait() == 0
    return folder


def test_killed_in_mid_epoch_and_resumed_gives_the_same_bits(uninterrupted, tmp_path):
    process = run_script(tmp_path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:  # until the second step is saved, which is within the first epoch
        steps = [row for row in read_records(tmp_path / "metrics.jsonl") if row["kind"] == "step"]
        if len(steps) >= 2 and (tmp_path / "last").exists():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < load_last(tmp_path)["at"]["step"] < 12
    assert run_script(tmp_path, "resume").wait() == 0
    assert_same_bits(final_state(tmp_path), final_state(uninterrupted))
    assert_same_bits(load_file(tmp_path / "best.safetensors"), load_file(uninterrupted / "best.safetensors"))
    steps = [row["step"] for row in read_records(tmp_path / "metrics.jsonl") if row["kind"] == "step"]
    assert steps == list(range(1, 13))  # every step once, in order


def test_a_run_leaves_what_it_promises(uninterrupted):
    rows = read_records(uninterrupted / "metrics.jsonl")
    assert {"lr", "loss", "loss_class", "loss_box", "loss_centerness", "epoch"} <= rows[0].keys()
    assert [row["epoch"] for row in rows if row["kind"] == "val"] == [1, 2]
    model = load(uninterrupted / "best.safetensors")
    assert model.label_map.names == ("circle", "square", "triangle")
    assert not model.training


@pytest.mark.parametrize(("norm", "is_mixed"), [("batch", True), ("frozen", False), ("group", False)])
def test_batch_norm_sees_batches_of_all_shapes(tmp_path, norm, is_mixed):
    """Pictures of one kind often have one shape; statistics of one kind alone do not fit the running ones."""
    sizes = np.array([[64, 80], [80, 64]]).repeat(12, 0)
    batches = small_trainer(tmp_path, sizes=sizes, norm=norm).plan.epoch(0)
    assert len(batches) == 6
    shapes = [{draw.index < 12 for draw in batch} for batch in batches]
    assert any(len(each) == 2 for each in shapes) is is_mixed


def test_resuming_other_data_is_refused(tmp_path):
    small_trainer(tmp_path).run()
    with pytest.raises(ValueError, match="an epoch had 6 batches and has 4 now"):
        small_trainer(tmp_path, resume=True, images=16)


def test_accumulating_two_batches_makes_half_the_steps(tmp_path):
    trainer = small_trainer(tmp_path, optim=OptimSettings(accumulate=2))
    trainer.run()
    assert trainer.at.step == trainer.total_steps == 6


def test_without_average_the_model_itself_is_kept(tmp_path):
    # 96 pixels: torch 2.15's bf16 gradient of a strided convolution over a single pixel (P7 of a 64-pixel
    # picture) is uninitialised memory on some processors.
    trainer = small_trainer(tmp_path, optim=OptimSettings(ema_decay=0.0), precision="bf16", side=96)
    trainer.run()
    assert trainer.model_to_keep() is trainer.model


def test_early_stop(tmp_path):
    trainer = small_trainer(tmp_path, patience=1)
    trainer.at.best_ap = 2.0  # no validation can be better
    trainer.run()
    assert trainer.at.epoch == 1


def test_an_epoch_is_kept_whatever_its_validation_does(tmp_path):
    """Scoring breaks down after the first epoch: the run goes on with it, and ends as if nothing had happened."""
    torch.use_deterministic_algorithms(True)
    try:
        whole = tmp_path / "whole"
        whole.mkdir()
        small_trainer(whole).run()
        broken = small_trainer(tmp_path)
        validate = broken.validate

        def stop(*_):
            raise RuntimeError("the disk with the pictures went away")

        broken.validate = stop
        with pytest.raises(RuntimeError, match="went away"):
            broken.run()
        at = load_last(tmp_path)["at"]
        assert (at["epoch"], at["step"], at["is_scored"]) == (1, 6, False)
        again = small_trainer(tmp_path, resume=True)
        again.validate = validate
        again.run()
    finally:
        torch.use_deterministic_algorithms(False)
    rows = read_records(tmp_path / "metrics.jsonl")
    assert [row["epoch"] for row in rows if row["kind"] == "val"] == [1, 2]
    assert_same_bits(final_state(tmp_path), final_state(whole))


def test_without_objects_to_find_the_last_weights_are_kept(tmp_path):
    trainer = small_trainer(tmp_path)
    validate = trainer.validate
    trainer.validate = lambda *rest: replace(
        (result := validate(*rest)), metrics=dict.fromkeys(result.metrics, float("nan"))
    )
    trainer.run()
    best = load_file(tmp_path / "best.safetensors")
    average = {n: value for n, value in load_last(tmp_path)["average"].items() if n in best}
    assert_same_bits(best, average)


def test_a_corrupt_picture_is_skipped_counted_and_listed(tmp_path, corrupt_pictures):
    trainer = small_trainer(tmp_path)
    trainer.view = TrainingView(corrupt_pictures(trainer.view.dataset, {3}), trainer.view.transform)
    trainer.run()
    notes = [row for row in read_records(tmp_path / "metrics.jsonl") if row["kind"] == "note"]
    assert trainer.at.skipped == len(notes) == 2  # once per epoch
    assert "3.png: truncated" in notes[0]["skipped"]


def test_batches_of_nothing_but_corrupt_pictures_do_not_crash(tmp_path, corrupt_pictures):
    trainer = small_trainer(tmp_path)
    data = trainer.view.dataset
    trainer.view = TrainingView(corrupt_pictures(data, range(len(data))), None)
    trainer.run()
    assert trainer.at.skipped == 48


def test_a_loss_that_is_not_finite_stops_and_leaves_a_capsule(tmp_path):
    trainer = small_trainer(tmp_path)
    with torch.no_grad():
        trainer.model.neck.output["4"].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(NotFiniteError) as error:
        trainer.run()
    text = str(error.value)
    assert "neck.output.4" in text and "loss_class nan" in text and "already not finite" in text
    capsule = next(tmp_path.glob("capsule-*.pt"))
    assert f"pagoda replay {capsule}" in text
    content, targets = load_capsule(capsule)
    model = model_from_card(content["card"]).train()
    model.load_state_dict(content["weights"])
    model.to(memory_format=torch.channels_last)
    again = diagnose(model, content["pictures"], targets, precision=content["precision"])
    assert json.dumps(again.terms) == json.dumps(content["losses"])
    assert again.layer == "neck.output.4"
    assert len(again.pictures) == 4 and all(name.startswith("shape") or name for name in again.pictures)


def test_a_degenerate_box_is_named(tmp_path):
    trainer = small_trainer(tmp_path)
    picture, targets = trainer.view.dataset[0]
    while len(targets) == 0:
        picture, targets = trainer.view.dataset[1]
    targets.boxes[0] = torch.tensor([5.0, 5.0, 5.0, torch.nan])
    found = diagnose(trainer.model, [picture], [targets], precision="fp32")
    assert "box 0" in found.cause and "pagoda doctor" in found.cause
