"""Exponential moving average of a model: weights and buffers, with a ramp."""

import copy
import math
from typing import Literal

import torch
from torch import nn

from pagoda.plain import checked


@checked
class ModelAverage:
    """A copy that follows the model: average ← d·average + (1−d)·model, d growing to `decay` with the steps.

    A larger `decay` remembers longer: about 1 / (1 − decay) steps. `ramp` is as in `OptimSettings.ema_ramp`;
    `ramp_steps` belongs to the exponential one. Buffers (a batch norm's statistics) are averaged too; whole-number
    ones are copied.

    >>> average = ModelAverage(nn.Linear(1, 1), decay=0.998)
    >>> [round(average.decay_at(step), 3) for step in (0, 99, 999)]
    [0.01, 0.631, 0.998]
    """

    def __init__(
        self,
        model: nn.Module,
        decay: float,
        *,
        ramp_steps: int = 100,
        ramp: Literal["exponential", "counted"] = "exponential",
    ) -> None:
        self.model = copy.deepcopy(model).eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self.decay, self.ramp_steps, self.ramp = decay, ramp_steps, ramp

    def decay_at(self, step: int) -> float:
        """The share d that is kept at `step`, from 0: small at first, when the model has just left chance."""
        if self.ramp == "counted":
            return min(self.decay, (1 + step) / (10 + step))
        return self.decay * (1 - math.exp(-(step + 1) / self.ramp_steps))

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model as it is after optimiser step `step`, counted from 0."""
        decay = self.decay_at(step)
        average, current = self.model.state_dict(), model.state_dict()
        floats = [name for name, value in average.items() if value.is_floating_point()]
        torch._foreach_lerp_([average[n] for n in floats], [current[n] for n in floats], 1 - decay)
        for name in average.keys() - set(floats):
            average[name].copy_(current[name])
