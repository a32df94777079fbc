"""Networks before their weights: built as they are, but with tensors that take no memory and no time."""

import math
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

FILLED = (torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)
LARGEST = 2**16
"""numbers in a tensor of `FILLED` that is made all the same: statistics of norms, tables that networks compute"""


class WithoutMemory(TorchFunctionMode):
    """Within it, weights have shapes but no numbers (device "meta") until they are assigned.

    Small tensors that are made of given numbers, anchors say, are real: they are not among the weights of a file.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("device") is not None or (function is not torch.empty and function not in FILLED):
            return function(*args, **kwargs)
        shaped = function(*args, **{**kwargs, "device": "meta"})
        is_real = function is not torch.empty and math.prod(shaped.shape) <= LARGEST
        return function(*args, **kwargs) if is_real else shaped


def unfilled(model: nn.Module) -> list[str]:
    """Names of the parameters and buffers that have no numbers yet."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    return [name for name, tensor in tensors if tensor.is_meta]
