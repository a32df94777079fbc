"""What the convolutions of heads have in common: their width, and what they start from."""

import math
from collections.abc import Mapping

from torch import nn

CONVOLUTIONS = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d


def shared_width(channels: Mapping[int, int]) -> int:
    """The channels that every level of {level: C} has. Raises ValueError where they differ.

    >>> shared_width({3: 64, 4: 64})
    64
    """
    if len(set(channels.values())) != 1:
        raise ValueError(f"a shared head needs the same channels on every level, got {channels}")
    return next(iter(channels.values()))


def start_small(head: nn.Module) -> None:
    """Fresh convolutions of heads over a pyramid: normal of deviation 0.01, biases 0 (Ren 2015, Lin 2017).

    >>> conv = nn.Conv2d(64, 64, 3)
    >>> start_small(conv)
    >>> round(conv.weight.std().item(), 3), conv.bias.abs().max().item()
    (0.01, 0.0)
    """
    for module in head.modules():
        if isinstance(module, CONVOLUTIONS):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def start_relu(head: nn.Module) -> None:
    """Fresh convolutions of heads over regions: Caffe2's "MSRAFill", normal by the outputs of a ReLU, biases 0.

    >>> conv = nn.Conv2d(64, 128, 3)
    >>> start_relu(conv)
    >>> round(conv.weight.std().item(), 2), conv.bias.abs().max().item()  # √(2 / 128 · 9)
    (0.04, 0.0)
    """
    for module in head.modules():
        if isinstance(module, CONVOLUTIONS):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def prior_logit(probability: float) -> float:
    """The bias from which a sigmoid starts at `probability` (Lin 2017, section 4.1).

    >>> round(prior_logit(0.01), 3)
    -4.595
    """
    return -math.log((1 - probability) / probability)
