"""Networks before their weights: built as they are, but with tensors that take no memory and no time."""

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FILLED = (torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)
STARTS = {
    "normal_", "uniform_", "fill_", "zero_", "erfinv_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_",
    "xavier_uniform_", "constant_", "trunc_normal_", "zeros_", "ones_",
}  # fmt: skip
"""how weights get their first numbers, of which tensors without memory keep none"""
LARGEST = 2**16
"""numbers in a tensor of `FILLED` that is made all the same: statistics of norms, tables that networks compute"""


class WithoutMemory(TorchFunctionMode):
    """A context in which new weights have shapes but no numbers (device "meta") until they are assigned.

    Small tensors that are made of given numbers, anchors say, are real: they are not among the weights of a file.

    >>> with WithoutMemory():
    ...     layer = nn.Linear(10**6, 10**6)
    >>> layer.weight.is_meta, layer.in_features
    (True, 1000000)
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        if getattr(function, "__name__", "") in STARTS and isinstance(target, Tensor) and target.is_meta:
            return target
        if kwargs.get("device") is not None or (function is not torch.empty and function not in FILLED):
            return function(*args, **kwargs)
        shaped = function(*args, **{**kwargs, "device": "meta"})
        is_real = function is not torch.empty and math.prod(shaped.shape) <= LARGEST
        return function(*args, **kwargs) if is_real else shaped


def unfilled(model: nn.Module) -> list[str]:
    """Names of the parameters and buffers that have no numbers yet.

    >>> unfilled(nn.Linear(2, 1, device="meta")), unfilled(nn.Linear(2, 1))
    (['weight', 'bias'], [])
    """
    tensors = (*model.named_parameters(), *model.named_buffers())
    return [name for name, tensor in tensors if tensor.is_meta]
