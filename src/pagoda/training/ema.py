"""Exponential moving average of a model: weights and buffers, with a ramp."""

import copy
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

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
        self.pieces: dict[str, Any] = {}  # by parameter, where each process holds one

    def cut(self, pieces: dict[str, Any]) -> None:
        """From now on hold this process's piece of each parameter (`sharding.cut_up`), not the whole."""
        self.pieces = pieces
        self._let_go()

    def whole(self) -> nn.Module:
        """The averaged model; where it is cut, put together until the next update, for which all processes must ask."""
        for name, parameter in self.model.named_parameters():
            if name in self.pieces and not parameter.numel():
                parameter.data = self.pieces[name].full_tensor()
        return self.model

    def _let_go(self) -> None:
        for name, parameter in self.model.named_parameters():
            if name in self.pieces:
                parameter.data = parameter.data.new_empty(0)

    def decay_at(self, step: int) -> float:
        """The share d that is kept at `step`, from 0: small at first, when the model has just left chance."""
        if self.ramp == "counted":
            return min(self.decay, (1 + step) / (10 + step))
        return self.decay * (1 - math.exp(-(step + 1) / self.ramp_steps))

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model as it is after optimiser step `step`, counted from 0."""
        decay = self.decay_at(step)
        self._let_go()
        average = {
            name: local_piece(self.pieces.get(name, value)) for name, value in self.model.state_dict().items()
        }
        current = {name: local_piece(value) for name, value in model.state_dict().items()}
        floats = [name for name, value in average.items() if value.is_floating_point()]
        torch._foreach_lerp_([average[n] for n in floats], [current[n] for n in floats], 1 - decay)
        for name in average.keys() - set(floats):
            average[name].copy_(current[name])


def local_piece(value: Any) -> Tensor:
    """This process's piece of a tensor that is cut among several, or the tensor itself.

    >>> local_piece(torch.ones(2))
    tensor([1., 1.])
    """
    return value.to_local() if hasattr(value, "to_local") else value
