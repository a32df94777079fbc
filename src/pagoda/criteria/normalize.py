"""Counts that losses are divided by: those of the whole batch, on every process alike.

Who trains with W processes takes the mean of their gradients. So each process divides its sums by a W-th of what one
process with the whole batch would divide by, and the mean of the W losses is that process's loss.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed, nn

from pagoda.plain import checked

_is_alone = ContextVar("is_alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """In the block the counts are those of this process: for losses that the others do not compute at the same time.

    >>> with alone():
    ...     num_sharing()
    1
    """
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def num_sharing() -> int:
    """How many processes share a batch, by which the divisor of the whole batch is divided."""
    is_one = _is_alone.get() or not (distributed.is_available() and distributed.is_initialized())
    return 1 if is_one else distributed.get_world_size()


def sum_over_processes(value: Shaped[Tensor, ""]) -> Float[Tensor, ""]:
    """The sum of a scalar over all processes (a float); the value itself when there is one process.

    Every process must call it, also one whose pictures hold no object: collectives wait for all.

    >>> sum_over_processes(torch.tensor(3))
    tensor(3.)
    """
    value = value.detach().to(torch.float32)
    if num_sharing() == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total, op=distributed.ReduceOp.SUM)
    return total


def number_over_processes(mine: int, like: Shaped[Tensor, "..."]) -> Float[Tensor, ""]:
    """How many pictures or regions the batch has over all processes, `mine` of this one; on the device of `like`.

    >>> number_over_processes(2, torch.zeros(5))
    tensor(2.)
    """
    return sum_over_processes(torch.tensor(mine, device=like.device))


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
