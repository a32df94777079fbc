"""Schedules against published values, parameter groups, the moving average."""

import math

import pytest
import torch
from torch import nn

import pagoda
from pagoda.detectors.contract import Detector
from pagoda.training.ema import ModelAverage
from pagoda.training.optim import clip_each_gradient, hold_parts, parameter_groups, rate_factor
from pagoda.training.settings import OptimSettings

ONE_X = {"schedule": "multistep", "milestones": (60000 / 90000, 80000 / 90000), "warmup_steps": 500}


@pytest.mark.parametrize(
    ("warmup", "step", "rate"),
    [
        ("constant", 0, 0.01 / 3),
        ("constant", 499, 0.01 / 3),
        ("constant", 500, 0.01),
        ("constant", 60000, 0.001),
        ("constant", 80000, 0.0001),
        ("linear", 0, 0.01 / 3),
        ("linear", 250, 0.02 / 3),
        ("linear", 499, 0.01 * (1 / 3 + 2 / 3 * 499 / 500)),
    ],
)
def test_one_x_schedule(warmup, step, rate):
    settings = OptimSettings(warmup=warmup, warmup_factor=1 / 3, **ONE_X)
    assert 0.01 * rate_factor(step, 90000, settings) == pytest.approx(rate, abs=1e-10)


def test_cosine_starts_at_the_peak_and_ends_at_the_final_factor():
    settings = OptimSettings(warmup_steps=10, warmup_factor=0.1, final_factor=0.02)
    factors = [rate_factor(step, 110, settings) for step in range(111)]
    assert factors[10] == 1
    assert factors[60] == pytest.approx(0.02 + 0.98 / 2)
    assert factors[110] == pytest.approx(0.02)
    assert factors[:11] == sorted(factors[:11]) and factors[10:] == sorted(factors[10:], reverse=True)


def test_only_kernels_decay_and_frozen_parameters_are_left_out():
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model.head = nn.Conv2d(4, 2, 1)
    model.backbone[0].bias.requires_grad_(False)
    groups = parameter_groups(model, OptimSettings(learning_rate=1.0, weight_decay=0.3, backbone_factor=0.1))
    found = {(g["weight_decay"], g["peak"]): sum(p.numel() for p in g["params"]) for g in groups}
    assert found == {(0.3, 0.1): 108, (0.0, 0.1): 8, (0.3, 1.0): 8, (0.0, 1.0): 2}


def test_nothing_to_train_is_said():
    model = nn.Conv2d(1, 1, 1).requires_grad_(False)
    with pytest.raises(ValueError, match="every parameter of the model is frozen"):
        parameter_groups(model, OptimSettings())


def learnable(model: Detector) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_stages_asked_for_stand_still_and_those_of_a_flavour_can_learn():
    small = {"base_channels": 8, "width": 16, "norm_groups": 4}
    model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, frozen_stages=3, **small)
    assert not any(name.startswith("backbone.layer2.") for name in learnable(model))
    hold_parts(model, frozen_stages=2, norm_eval=False)
    names = learnable(model.train())
    assert not any(name.startswith(("backbone.conv1", "backbone.layer1.")) for name in names)
    assert any(name.startswith("backbone.layer2.") for name in names)
    hold_parts(model, frozen_stages=0, norm_eval=False)
    assert learnable(model.train()) == {name for name, _ in model.named_parameters()}
    with pytest.raises(ValueError, match="0 … 5, got 6"):
        hold_parts(model, frozen_stages=6, norm_eval=False)


def test_statistics_that_are_held_stay_while_weights_learn():
    small = {"base_channels": 8, "width": 16, "norm_groups": 4}
    model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, **small)
    hold_parts(model, frozen_stages=None, norm_eval=True)
    model.train()
    before = model.backbone.bn1.running_mean.clone()
    images = model.input_spec.batch([torch.randint(256, (3, 64, 64), dtype=torch.uint8)] * 2)
    model(images).class_logits.sum().backward()
    assert torch.equal(model.backbone.bn1.running_mean, before)
    assert model.backbone.bn1.weight.grad is not None
    hold_parts(model, frozen_stages=None, norm_eval=False)
    model.train()(images)
    assert not torch.equal(model.backbone.bn1.running_mean, before)


def test_average_follows_weights_and_buffers_with_a_ramp():
    model = nn.BatchNorm1d(2)
    average = ModelAverage(model, 0.9, ramp_steps=5)
    weight, mean = model.weight.detach().clone(), model.running_mean.clone()
    for step in range(4):
        with torch.no_grad():
            model.weight += 1
            model.running_mean += 2
            model.num_batches_tracked += 1
        average.update(model, step)
        decay = 0.9 * (1 - math.exp(-(step + 1) / 5))
        weight = decay * weight + (1 - decay) * model.weight.detach()
        mean = decay * mean + (1 - decay) * model.running_mean
    torch.testing.assert_close(average.model.weight.detach(), weight)
    torch.testing.assert_close(average.model.running_mean, mean)
    assert average.model.num_batches_tracked == 4
    assert not average.model.weight.requires_grad


def test_each_gradient_is_cut_alone():
    first, second, frozen = (nn.Parameter(torch.zeros(4)) for _ in range(3))
    first.grad, second.grad = torch.full((4,), 3.0), torch.full((4,), 0.5)
    clip_each_gradient([first, second, frozen], 2.0)
    torch.testing.assert_close(first.grad, torch.full((4,), 1.0))  # of norm 6
    torch.testing.assert_close(second.grad, torch.full((4,), 0.5))
    assert frozen.grad is None
    clip_each_gradient([], 2.0)


def test_the_counted_ramp_is_tensorflows():
    average = ModelAverage(nn.Linear(1, 1), 0.9998, ramp="counted")
    assert [average.decay_at(step) for step in (0, 8, 90)] == [1 / 10, 9 / 18, 91 / 100]
    assert average.decay_at(10**6) == 0.9998
