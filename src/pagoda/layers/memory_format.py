"""Channels last or contiguous: the memory order of kernels, those of pictures and those of clips together."""

from itertools import chain
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""by the number of axes"""


def order_weights(model: Module, *, channels_last: bool) -> Module:
    """Put the kernels of `model` into that order, in place. `Module.to` would refuse a model that has both kinds.

    >>> order_weights(nn.Conv2d(3, 4, 2), channels_last=True).weight.stride()  # of (4, 3, 2, 2)
    (12, 1, 6, 3)
    """
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.ndim in CHANNELS_LAST:
            order = CHANNELS_LAST[tensor.ndim] if channels_last else torch.contiguous_format
            tensor.data = tensor.data.to(memory_format=order)
    return model


def is_channels_last(model: nn.Module) -> bool:
    """Told from its first kernel that differs between the two orders.

    >>> conv = nn.Conv2d(3, 4, 2)
    >>> is_channels_last(conv), is_channels_last(order_weights(conv, channels_last=True))
    (False, True)
    """
    kernel = next(
        p for p in model.parameters() if p.ndim in CHANNELS_LAST and min(p.shape[1], p.shape[-1]) > 1
    )
    return kernel.is_contiguous(memory_format=CHANNELS_LAST[kernel.ndim])
