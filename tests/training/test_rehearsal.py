"""The largest batches of a run, tried before they come: that they are the largest, are felt, and leave no trace."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.loading import BatchPlan
from pagoda.memory import peak_memory
from pagoda.models import create_model
from pagoda.preprocess import InputSpec
from pagoda.recipes import planning, training_run
from pagoda.recipes.planning import heaviest_of, trial_of
from pagoda.training import trial
from pagoda.training.last import random_state
from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings
from pagoda.training.trial import heaviest_batches, rehearse

sys.path.insert(0, str(Path(__file__).parent))
from drawn import small_trainer

SHAPES, SCORED = DrawnShapes(12, image_size=(64, 64), seed=1), DrawnShapes(8, image_size=(64, 64), seed=2)
TINY = {"width": 16, "base_channels": 8, "norm_groups": 4, "short_side": 64, "long_side": 64}


def model_of(name: str):
    torch.manual_seed(0)
    return create_model(name, label_map=SHAPES.label_map, **TINY)


def settings_of(tmp_path: Path, **changes) -> TrainSettings:
    words = {"epochs": 10, "batch_size": 12, "val_every": 10, "precision": "fp32", **changes}
    return TrainSettings(data="drawn", device="cpu", out=str(tmp_path), **words)


def indices(batches) -> list[list[int]]:
    return [sorted(draw.index for draw in batch) for batch in batches]


def test_the_largest_and_the_fullest_batch_of_all_epochs():
    sizes = np.array([[50, 50]] * 8 + [[50, 90], [90, 50]])
    objects = np.array([3, 1, 1, 1, 1, 1, 1, 3, 0, 0])
    plan = BatchPlan(images=sizes, batch_size=2, seed=3)
    spec = InputSpec(short_side=50, long_side=100)
    largest, fullest = heaviest_batches(plan, spec, objects, epochs=200, most=2)
    assert indices([largest, fullest]) == [[8, 9], [0, 7]]  # padded to 90×90; three and three objects
    of_one = [batch for batch in indices(plan.epoch(0)) if 8 in batch or 9 in batch]
    assert indices(heaviest_batches(plan, spec, objects, epochs=1))[0] in of_one


def test_a_batch_that_is_both_comes_once():
    plan = BatchPlan(images=np.array([[50, 50]] * 4), batch_size=2, seed=3, shuffle=False)
    spec = InputSpec(canvas=(32, 32), fit="letterbox")
    assert indices(heaviest_batches(plan, spec, np.array([1, 1, 5, 5]), epochs=1)) == [[2, 3], [0, 1]]


def test_random_changes_at_their_heaviest():
    settings = AugmentSettings(mosaic=0.3, iou_crop=0.5, scale_range=(0.5, 2.0), horizontal_flip=0.2)
    heavy = planning.heaviest_changes(settings)
    assert (heavy.mosaic, heavy.copy_paste, heavy.iou_crop) == (1.0, 0.0, 0.0)
    assert (heavy.scale_range, heavy.horizontal_flip) == ((1.0, 1.0), 0.2)
    assert planning.heaviest_changes(replace(settings, scale_range=(1.5, 2.0))).scale_range == (1.5, 1.5)


def count_regions(model, monkeypatch) -> list[int]:
    """How many regions the mask head is given each time."""
    seen, look = [], model.mask_logits
    monkeypatch.setattr(
        model, "mask_logits", lambda *words: (seen.append(len(words[1])), look(*words))[1], raising=False
    )
    return seen


@pytest.mark.medium
def test_a_fresh_model_is_given_as_many_regions_as_one_that_has_learnt(monkeypatch):
    model = model_of("mask_rcnn_resnet18_fpn").train()
    seen, criterion = count_regions(model, monkeypatch), model.criterion
    pictures, targets = zip(*(SHAPES[index] for index in range(4)), strict=True)
    images, few = model.input_spec.batch(list(pictures)), sum(map(len, targets))
    model.losses(images, list(targets))
    with model.as_learnt():
        model.losses(images, list(targets))
    assert few <= seen[0] and 2 * seen[0] <= seen[1] <= 4 * 128
    assert model.criterion is criterion
    with pytest.raises(KeyError), model.as_learnt():
        raise KeyError
    assert model.criterion is criterion
    sides = {"width": 16, "short_side": 64, "long_side": 64}
    video = create_model("detect_and_track_resnet18_3d", num_classes=1, **sides)
    with video.as_learnt():
        assert video.criterion.tubes.min_iou < 0.5
    assert video.criterion.tubes.min_iou == 0.5


def everything(trainer) -> dict[str, torch.Tensor]:
    """All that a trainer's later steps depend on."""
    state = {name: value.clone() for name, value in trainer.model.state_dict(keep_vars=False).items()}
    state |= {f"buffer/{name}": value.clone() for name, value in trainer.model.named_buffers()}
    for index, means in trainer.optimizer.state_dict()["state"].items():
        state |= {f"{index}/{name}": torch.as_tensor(value).clone() for name, value in means.items()}
    drawn = random_state()
    return state | {
        "torch": drawn["torch"],
        "numpy": drawn["numpy"][1],
        "at": torch.tensor(drawn["numpy"][2]),
    }


@pytest.mark.medium
def test_a_rehearsal_leaves_no_trace(tmp_path):
    trainer = small_trainer(tmp_path)  # with batch norms, which learn statistics
    trainer.model.train()
    heaviest = heaviest_of(trainer.model, trainer.view.dataset, SCORED, trainer.settings)
    before, spent, position = everything(trainer), trainer.at.seconds, replace(trainer.at)
    ticks = iter([0.0, 3.0, 10.0])
    assert rehearse(trainer, heaviest, clock=lambda: next(ticks)) == pytest.approx(
        7 / 4
    )  # the second batch of two
    after = everything(trainer)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert trainer.at.seconds < spent and replace(trainer.at, seconds=0) == replace(position, seconds=0)
    assert trainer.model.training
    trainer.log.close()


@pytest.mark.medium
@pytest.mark.parametrize(
    "name", ["fcos_resnet18_fpn", pytest.param("mask_rcnn_resnet18_fpn", marks=pytest.mark.slow)]
)
def test_a_run_is_the_same_with_and_without(tmp_path, monkeypatch, capsys, name):
    tried, tries = [], trial.rehearse
    monkeypatch.setattr(trial, "rehearse", lambda *words, **more: tried.append(tries(*words, **more)))
    weights = []
    for room in (2**50, 0):  # where little is free nothing is tried
        monkeypatch.setattr(planning, "available_memory", lambda room=room: room)
        result = training_run.train_on(model_of(name), SHAPES, SCORED, settings_of(tmp_path))
        weights.append(result.model.state_dict())
    assert len(tried) == 1
    assert [key for key in weights[0] if not torch.equal(weights[0][key], weights[1][key])] == []
    lines = re.findall(r"^10 epochs, 10 steps: .*$", capsys.readouterr().err, re.M)
    assert [" so far on this machine" in line for line in lines] == [False, True]


@pytest.mark.slow
def test_a_largest_batch_that_does_not_fit_is_said_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(trial, "rehearse", fail)
    training_run.train_on(model_of("fcos_resnet18_fpn"), SHAPES, SCORED, settings_of(tmp_path))
    said = capsys.readouterr().err
    assert (
        "warning: the largest batch of this run did not fit into memory when it was tried (CUDA out" in said
    )
    assert "so far on this machine" in said and "took " in said
    assert trial_of(model_of("fcos_resnet18_fpn"), SHAPES, SCORED, settings_of(tmp_path))._takes(2) is None


@pytest.mark.medium
def test_auto_counts_the_largest_batch(tmp_path, monkeypatch):
    """What fits by the first steps alone, and not by the batch that comes later, is not taken."""
    later = {"is_tried": False}

    def peak(device: torch.device) -> int:
        return 10 * 2**30 if later["is_tried"] else 2**30

    monkeypatch.setattr(trial, "rehearse", lambda *_, **__: later.update(is_tried=True))
    monkeypatch.setattr(trial, "peak_memory", peak)
    monkeypatch.setattr(trial, "available_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(trial, "held_memory", lambda: 2**30)
    tried = trial_of(model_of("fcos_resnet18_fpn"), SHAPES, SCORED, settings_of(tmp_path, batch_size="auto"))
    assert tried.fitting(8)[0] == 1
    later["is_tried"] = False
    assert replace(tried, heaviest=None).fitting(8)[0] == 8


@pytest.mark.medium
@pytest.mark.skipif(peak_memory() is None, reason="this system does not say what a process has taken")
def test_a_plan_says_more_than_the_first_steps_take(tmp_path):
    """Twelve pictures with the most objects of all come later in the run, and the model learns to look at more."""
    settings = settings_of(tmp_path, optim=OptimSettings(warmup_steps=1))
    tried = trial_of(model_of("mask_rcnn_resnet18_fpn"), SHAPES, SCORED, settings)
    plan = tried.plan(len(SCORED))
    assert plan.is_memory_whole and plan.scored_seconds > 0
    assert not replace(tried, heaviest=None).plan(len(SCORED)).is_memory_whole
