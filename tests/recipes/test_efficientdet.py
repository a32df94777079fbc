"""EfficientDet's recipes: what they say, how they are reached, and that the small one runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.loading import TrainingView
from pagoda.models import create_model, load
from pagoda.plain import from_plain
from pagoda.recipes.augmentation import training_transform
from pagoda.recipes.by_name import RECIPES, recipe_settings
from pagoda.recipes.training_run import train_on
from pagoda.training.optim import rate_factor
from pagoda.training.settings import AugmentSettings, to_plain

TINY = {"width": 16, "cells": 1, "head_depth": 1, "canvas": (64, 96)}


def test_the_published_recipe_is_googles() -> None:
    settings = recipe_settings("efficientdet", "DIR")
    optim, augment = settings.optim, settings.augment
    assert (optim.optimizer, optim.momentum, optim.weight_decay) == ("sgd", 0.9, 4e-5)
    # 0.08 per 64 pictures, 8 processes of 16; warm-up from a tenth over the 117,266 // 128 + 1 batches of COCO
    assert optim.learning_rate == pytest.approx(0.08 * 8 * settings.batch_size / 64)
    total = 300 * 917
    assert rate_factor(0, total, optim) == pytest.approx(0.1, rel=1e-3)
    assert rate_factor(917, total, optim) == 1
    assert rate_factor(total, total, optim) == 0
    assert (optim.clip_each, optim.clip_norm, optim.ema_decay, optim.ema_ramp) == (10, 10, 0.9998, "counted")
    assert (augment.scale_range, augment.horizontal_flip, settings.epochs) == ((0.1, 2.0), 0.5, 300)


def test_short_runs_jitter_mildly() -> None:
    low, high = recipe_settings("efficientdet_small", "DIR").augment.scale_range
    assert low >= 0.5 and high <= 1.5


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_yaml(name: str) -> None:
    settings = recipe_settings(name, "DIR")
    assert from_plain(type(settings), yaml.safe_load(yaml.safe_dump(to_plain(settings)))) == settings


def test_a_misspelt_recipe_names_the_right_one() -> None:
    with pytest.raises(
        ValueError, match="unknown recipe 'efficientdet_smal'; did you mean 'efficientdet_small'"
    ):
        recipe_settings("efficientdet_smal", "DIR")


def test_flags_change_a_recipe(capsys: pytest.CaptureFixture) -> None:
    words = ["train", "efficientdet_d0", "--recipe", "efficientdet", "--data", "DIR", "--print-config"]
    changes = ["--epochs", "3", "--optim.learning-rate", "0.5", "--model.canvas", "256", "320"]
    with pytest.raises(SystemExit) as end:
        main([*words, *changes])
    assert end.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"] == "efficientdet_d0" and config["options"]["canvas"] == [256, 320]
    assert config["train"]["epochs"] == 3 and config["train"]["optim"]["learning_rate"] == 0.5
    assert config["train"]["optim"]["optimizer"] == "sgd" and config["train"]["data"] == "DIR"


def test_training_pictures_fill_the_canvas() -> None:
    data = DrawnShapes(4, image_size=(48, 96), seed=1)
    model = create_model("efficientdet_resnet18_bifpn", label_map=data.label_map, **TINY)
    for scale in (0.3, 1.7):
        transform = training_transform(model, data, AugmentSettings(scale_range=(scale, scale)))
        view = TrainingView(data, transform)
        picture, targets = view.transform(*data[0])
        assert picture.shape == (3, 64, 96) and targets.image_size == (64, 96)


@pytest.mark.medium
@pytest.mark.slow
def test_the_small_recipe_trains_and_its_model_comes_back(tmp_path: Path) -> None:
    data, val = (DrawnShapes(n, image_size=(64, 96), seed=n, max_objects=3) for n in (16, 2))
    settings = replace(
        recipe_settings("efficientdet_small", "drawn"),
        epochs=3,
        val_every=3,
        out=str(tmp_path),
        device="cpu",
    )
    torch.manual_seed(0)
    model = create_model("efficientdet_resnet18_bifpn", label_map=data.label_map, **TINY)
    run = train_on(model, data, val, settings, quiet=True)
    losses = [float(line.split('"loss": ')[1].split(",")[0]) for line in steps(run.folder)]
    assert len(losses) == 6 and min(losses[-2:]) < losses[0]
    again = load(run.folder / "best.safetensors")
    assert type(again.neck).__name__ == "BiFPN" and again.input_spec.canvas == (64, 96)
    found = again.predict(torch.zeros(3, 30, 50, dtype=torch.uint8), min_score=0.0001)
    assert found.image_size == (30, 50)


def steps(folder: Path) -> list[str]:
    return [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"kind": "step"' in line]
