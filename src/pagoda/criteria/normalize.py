"""Counts that losses are divided by, alike on every process."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed, nn

from pagoda.plain import checked


def mean_over_processes(value: Shaped[Tensor, ""]) -> Float[Tensor, ""]:
    """The mean of a scalar over all processes (a float); the value itself when there is one process.

    Every process must call it, also one whose pictures hold no object: collectives wait for all.

    >>> mean_over_processes(torch.tensor(3))
    tensor(3.)
    """
    value = value.detach().to(torch.float32)
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total, op=distributed.ReduceOp.SUM)
    return total / distributed.get_world_size()


@checked
class MovingMean(nn.Module):
    """detectron2's divisor: a mean of the counts of positives so far, that forgets a tenth with every step.

    `start` is the mean before the first step, `momentum` the old mean's share in the new one.

    >>> MovingMean(100.0)(torch.tensor(50.0))  # 0.9 · 100 + 0.1 · 50
    tensor(95.)
    """

    mean: Tensor

    def __init__(self, start: float, *, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.tensor(start))

    def forward(self, count: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean with this step's count (at least 1) in it; evaluating a loss does not move it."""
        mean = self.momentum * self.mean + (1 - self.momentum) * count.clamp(min=1)
        if self.training:
            self.mean.copy_(mean)
        return mean
