"""Settings go to YAML and back, and unknown words name the nearest right one."""

from dataclasses import fields

import pytest
import yaml

from pagoda.files.atomic import claim_folder
from pagoda.plain import from_plain
from pagoda.training.settings import (
    RANGES,
    AugmentSettings,
    OptimSettings,
    TrainSettings,
    to_plain,
)


def test_settings_survive_yaml():
    settings = TrainSettings(
        data="d",
        epochs=3,
        optim=OptimSettings(learning_rate=0.5),
        augment=AugmentSettings(scale_range=(0.5, 2.0), copy_paste=0.5, copy_paste_classes=("cat", "dog")),
        balance="repeat-factor",
        balance_threshold=0.3,
    )
    assert from_plain(TrainSettings, yaml.safe_load(yaml.safe_dump(to_plain(settings)))) == settings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": "d", "epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'"),
        (
            {"data": "d", "optim": {"learnig_rate": 1}},
            "'optim.learnig_rate'; did you mean 'optim.learning_rate'",
        ),
        ({"data": "d", "epochs": 0}, "epochs must be at least 1, got 0"),
        ({"data": "d", "balance": "repeat"}, "did you mean 'repeat-factor'"),
        ({"data": "d", "balance": "class", "balance_threshold": 0.2}, "0.2 is for balance=repeat-factor"),
        (
            {"data": "d", "augment": {"copy_paste_classes": ["cat"]}},
            "for copy_paste is 0: give a probability",
        ),
        ({"data": "d", "augment": {"scale_range": [2, 1]}}, "scale_range must be 0 < low ≤ high"),
    ],
)
def test_mistakes_are_explained(values, words):
    with pytest.raises(ValueError, match=words):
        from_plain(TrainSettings, values)


def test_runs_are_never_overwritten(tmp_path):
    folders = [claim_folder(tmp_path, "a") for _ in range(3)]
    assert [folder.name for folder in folders] == ["a-1", "a-2", "a-3"]


@pytest.mark.parametrize(
    ("settings", "values", "words"),
    [
        (OptimSettings, {"accumulate": 0}, "accumulate must be at least 1"),
        (OptimSettings, {"learning_rate": float("inf")}, "learning_rate must be finite, got inf"),
        (OptimSettings, {"learning_rate": -1.0}, "learning_rate must be at least 0"),
        (OptimSettings, {"ema_decay": 2.0}, "ema_decay must be at most 1, got 2.0"),
        (OptimSettings, {"warmup_steps": -5}, "warmup_steps must be at least 0"),
        (OptimSettings, {"milestones": (8, 11)}, "milestones are shares of the run, 0 … 1, got 8, 11"),
        (AugmentSettings, {"mosaic": 50.0}, "mosaic must be at most 1, got 50.0"),
        (TrainSettings, {"data": "d", "workers": -1}, "workers must be at least 0"),
        (TrainSettings, {"data": "d", "val_every": 0}, "val_every must be at least 1"),
        (TrainSettings, {"data": "d", "epochs": 2**70}, "epochs must be a whole number"),
    ],
)
def test_numbers_out_of_range_are_refused_before_a_folder_is_made(settings, values, words):
    with pytest.raises(ValueError, match=words):
        settings(**values)


def test_every_number_has_a_range():
    numbers = {
        field.name
        for cls in (OptimSettings, AugmentSettings, TrainSettings)
        for field in fields(cls)
        if type(field.default) in (int, float)
    }
    assert numbers == RANGES.keys()
