"""Settings go to YAML and back, and unknown words name the nearest right one."""

import pytest
import yaml

from pagoda.files import claim_folder
from pagoda.training.settings import (
    AugmentSettings,
    OptimSettings,
    TrainSettings,
    from_plain,
    to_plain,
)


def test_settings_survive_yaml():
    settings = TrainSettings(
        data="d",
        epochs=3,
        optim=OptimSettings(learning_rate=0.5),
        augment=AugmentSettings(scale_range=(0.5, 2.0)),
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
        ({"data": "d", "augment": {"scale_range": [2, 1]}}, "scale_range must be 0 < low ≤ high"),
    ],
)
def test_mistakes_are_explained(values, words):
    with pytest.raises(ValueError, match=words):
        from_plain(TrainSettings, values)


def test_runs_are_never_overwritten(tmp_path):
    folders = [claim_folder(tmp_path, "a") for _ in range(3)]
    assert [folder.name for folder in folders] == ["a-1", "a-2", "a-3"]
