"""Detect-and-Track's schedule against the rates its authors' program printed."""

import pytest
from torch import nn

from pagoda.recipes.by_name import recipe_settings
from pagoda.recipes.detect_and_track import STEPS
from pagoda.training.optim import build_optimizer, parameter_groups, rate_factor

OPTIM = recipe_settings("detect_and_track", "DIR").optim


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 3.3333e-4), (100, 4.6667e-4), (250, 6.6667e-4), (500, 1e-3), (10_000, 1e-4), (12_000, 1e-5)],
)
def test_learning_rates(step: int, rate: float) -> None:
    assert OPTIM.learning_rate * rate_factor(step, STEPS, OPTIM) == pytest.approx(rate, rel=1e-4)


def test_biases_learn_twice_as_fast_and_do_not_decay() -> None:
    network = nn.Sequential(nn.Conv3d(3, 4, 3), nn.Conv2d(4, 2, 1, bias=False))
    groups = {group["weight_decay"]: group for group in parameter_groups(network, OPTIM)}
    assert groups[0.0]["peak"] == 0.002 and [p.ndim for p in groups[0.0]["params"]] == [1]
    assert groups[1e-4]["peak"] == 0.001 and len(groups[1e-4]["params"]) == 2
    assert build_optimizer(network, OPTIM).defaults["momentum"] == 0.9
