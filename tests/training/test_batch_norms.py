"""A batch norm that would see one value is found out before training, and a batch of one joined to another."""

import numpy as np
import pytest
import torch

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.loading import TrainingView
from pagoda.detectors.contract import Detector
from pagoda.layers.norm import BATCH_NORMS
from pagoda.models import create_model
from pagoda.recipes.augmentation import training_transform
from pagoda.training.batches import fewest_pictures, needs_two_pictures
from pagoda.training.loop import Trainer
from pagoda.training.settings import AugmentSettings, TrainSettings

SIDE = 128
SQUARE = np.array([[SIDE, SIDE]])
DATA = DrawnShapes(5, image_size=(SIDE, SIDE), seed=1)
STILL = AugmentSettings(scale_range=(1.0, 1.0))


@pytest.fixture(scope="module")
def model() -> Detector:
    """P7 of its pictures is one cell, and the BiFPN has batch norms there."""
    torch.manual_seed(0)
    options = {"width": 16, "head_depth": 1, "short_side": SIDE, "long_side": SIDE, "cells": 1}
    return create_model("fcos_resnet18_bifpn", label_map=DATA.label_map, **options)


def test_maps_of_one_cell_need_two_pictures(model):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes, state = {name: m.training for name, m in model.named_modules()}, torch.get_rng_state()
    assert needs_two_pictures(model, SQUARE)
    assert not needs_two_pictures(model, np.array([[SIDE, 2 * SIDE]]), resized=True)  # P7 of two cells
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert modes == {name: m.training for name, m in model.named_modules()}
    assert torch.equal(state, torch.get_rng_state())
    assert not needs_two_pictures(model.eval(), SQUARE)  # held norms look at no batch


@pytest.mark.parametrize(
    ("count", "batch_size", "processes", "expected"),
    [
        (5, 4, 1, 2),
        (8, 4, 1, 1),  # no batch of one
        (6, 4, 1, 1),
        (11, 4, 2, 2),
        (5, 1, 1, "--batch-size 1 gives a process one picture per batch"),
        (1, 8, 1, "1 pictures give a process one picture per batch"),
        (3, 8, 2, "3 pictures give a process one picture per batch"),
    ],
)
def test_what_is_said_before_training(model, count, batch_size, processes, expected):
    sizes, options = (
        SQUARE.repeat(count, 0),
        {"batch_size": batch_size, "num_processes": processes, "low": 1.0},
    )
    model.train()
    if isinstance(expected, int):
        assert fewest_pictures(model, sizes, **options) == expected
    else:
        with pytest.raises(ValueError, match=f"{expected}.*would see a single value"):
            fewest_pictures(model, sizes, **options)


def trainer(model: Detector, folder, data, **changes) -> Trainer:
    settings = TrainSettings(
        data="drawn", epochs=1, batch_size=4, device="cpu", augment=STILL, val_every=9, **changes
    )
    view = TrainingView(data, training_transform(model, data, STILL))
    sizes = data.annotations.sizes
    return Trainer(model, view, lambda *_: None, settings, folder, sizes=sizes, quiet=True)


@pytest.mark.medium
def test_the_last_picture_is_learnt_with_the_batch_before(model, tmp_path, monkeypatch):
    run = trainer(model, tmp_path, DATA)
    monkeypatch.setattr(run, "_score", lambda epoch: None)
    run.run()
    assert len(run.plan) == run.at.step == run.total_steps == 1


@pytest.mark.medium
def test_a_batch_left_with_one_readable_picture_is_filled_up(model, tmp_path, monkeypatch, corrupt_pictures):
    data = corrupt_pictures(DATA, {0, 1, 2, 3})
    run = trainer(model, tmp_path, data)
    monkeypatch.setattr(run, "_score", lambda epoch: None)
    seen = []
    for norm in model.modules():
        if isinstance(norm, BATCH_NORMS):
            norm.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    run.run()
    assert run.at.skipped == 4 and set(seen) == {2}
