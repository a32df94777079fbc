"""Counts that losses are divided by, alike on every process."""

import torch
from torch import Tensor, distributed


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a scalar over all processes (a float); the value itself when there is one process.

    Every process must call it, also one whose pictures hold no object: collectives wait for all.
    """
    value = value.detach().to(torch.float32)
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total, op=distributed.ReduceOp.SUM)
    return total / distributed.get_world_size()
