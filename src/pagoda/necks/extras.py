"""SSD's further levels: each is made of the one below by a few convolutions (Liu 2016, figure 2)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pagoda.layers.conv import Activation, build_activation
from pagoda.layers.norm import Norm, build_norm
from pagoda.plain import check_counts, check_numbers, checked

ExtraKind = Literal["plain", "separable", "inverted"]
"""of a level's convolutions: 1×1 and 3×3; 1×1, depthwise 3×3 and 1×1, each with norm and activation (SSDlite); or the
same with nothing behind the last one's norm (lufficc's SSDlite on MobileNetV2)"""


@checked
@dataclass(frozen=True)
class ExtraLevel:
    """The convolutions of one further level.

    >>> ExtraLevel(256, 128, stride=1, padding=0).cells(5)
    3
    """

    outputs: int
    """channels of the level"""
    middle: int
    """channels between its convolutions"""
    kernel: int = 3
    """of the convolution that looks around"""
    stride: int = 2
    """of that convolution"""
    padding: int = 1
    """of that convolution, on all sides"""

    def __post_init__(self) -> None:
        check_counts(outputs=self.outputs, middle=self.middle, kernel=self.kernel, stride=self.stride)
        check_numbers(self, 1, 2**14, "outputs", "middle")
        check_numbers(self, 0, 7, "padding")
        check_numbers(self, 1, 7, "kernel", "stride")

    def cells(self, below: int) -> int:
        """How many cells a side has where the level below has so many."""
        return (below + 2 * self.padding - self.kernel) // self.stride + 1


def norm_groups(channels: int) -> int:
    """Of group norm: 32, for few channels fewer, so that a group has four; on a map of one cell one has no deviation.

    >>> norm_groups(256), norm_groups(64), norm_groups(9)
    (32, 16, 1)
    """
    return math.gcd(32, max(1, channels // 4), channels)


@checked
class L2Norm(nn.Module):
    """Each cell's channels divided by their length and multiplied by a learnt factor each (Liu 2015, ParseNet).

    A cell of zeros stays one, and its gradient is 0. The length is computed in single precision.

    >>> L2Norm(2, scale=10.0)(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)).flatten().tolist()
    [6.0, 8.0]
    """

    def __init__(self, channels: int, *, scale: float = 20.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x.float(), dim=1, keepdim=True)
        # What lies below is a cell of zeros; dividing by it would give gradients of any size.
        inverse = torch.where(length > 1e-12, 1 / length.clamp(min=1e-12), 0.0)
        return x * inverse.to(x.dtype) * self.weight.to(x.dtype)[:, None, None]


@checked
class ExtraLevels(nn.Module):
    """The levels of a backbone as they are, but for those that are normalised, and further ones above the highest.

    Args:
        channels: the backbone's, {level: C}, whose highest level the first further one reads.
        rows: the further levels, from the lowest on.
        l2_levels: which of the backbone's levels are L2-normalised for the heads; the level above reads them as
            they are.
        norm, eps, momentum: of the batch norms behind every convolution; "none" gives convolutions a bias.

    Raises ValueError for levels to normalise that the backbone has not.

    >>> neck = ExtraLevels({3: 8, 4: 16}, [ExtraLevel(12, 4), ExtraLevel(6, 4)], l2_levels=(3,))
    >>> neck.channels
    {3: 8, 4: 16, 5: 12, 6: 6}
    >>> {level: x.shape[-1] for level, x in neck({3: torch.zeros(1, 8, 9, 9), 4: torch.zeros(1, 16, 5, 5)}).items()}
    {3: 9, 4: 5, 5: 3, 6: 2}
    """

    def __init__(
        self,
        channels: Mapping[int, int],
        rows: Sequence[ExtraLevel],
        *,
        kind: ExtraKind = "plain",
        l2_levels: Sequence[int] = (),
        norm: Norm = "none",
        activation: Activation = "relu",
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if not channels or not set(l2_levels) <= set(channels):
            raise ValueError(
                f"l2_levels must be levels of the backbone, {', '.join(map(str, sorted(channels)))},"
                f" got {tuple(l2_levels)}"
            )
        self.inputs = sorted(channels)
        highest = self.inputs[-1]
        extra = {highest + 1 + index: row for index, row in enumerate(rows)}
        self.rows = extra
        self.channels = {level: channels[level] for level in self.inputs}
        self.channels |= {level: row.outputs for level, row in extra.items()}
        self.l2_norms = nn.ModuleDict({str(level): L2Norm(channels[level]) for level in sorted(l2_levels)})
        self.extra = nn.ModuleDict()
        for level, row in extra.items():
            layers = _Layers(norm, activation, eps, momentum)
            self.extra[str(level)] = layers.of_level(self.channels[level - 1], row, kind)
        for module in self.extra.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        pyramid = {level: features[level] for level in self.inputs}
        x = pyramid[self.inputs[-1]]
        for level, layer in self.extra.items():
            x = layer(x)
            pyramid[int(level)] = x
        for level, l2_norm in self.l2_norms.items():
            pyramid[int(level)] = l2_norm(pyramid[int(level)])
        return pyramid


@dataclass(frozen=True)
class _Layers:
    """Makes convolutions with what stands behind each."""

    norm: Norm
    """as `ExtraLevels` has it, and so are all others"""
    activation: Activation
    """behind every norm"""
    eps: float
    """of the norms"""
    momentum: float
    """of the norms"""

    def of_level(self, inputs: int, row: ExtraLevel, kind: ExtraKind) -> nn.Sequential:
        """One level's convolutions; `kind` as `ExtraLevels` has it."""
        around = {"kernel_size": row.kernel, "stride": row.stride, "padding": row.padding}
        first = self._conv(inputs, row.middle, {"kernel_size": 1})
        if kind == "plain":
            return nn.Sequential(first, self._conv(row.middle, row.outputs, around))
        depthwise = self._conv(row.middle, row.middle, around, groups=row.middle)
        last = self._conv(row.middle, row.outputs, {"kernel_size": 1})
        return nn.Sequential(first, depthwise, last[:-1] if kind == "inverted" else last)

    def _conv(
        self, inputs: int, outputs: int, window: Mapping[str, int], *, groups: int = 1
    ) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, **window, groups=groups, bias=self.norm == "none")  # type: ignore[arg-type]
        layers: list[nn.Module] = [conv]
        if self.norm != "none":
            built = build_norm(self.norm, outputs, eps=self.eps, groups=norm_groups(outputs))
            if isinstance(built, nn.BatchNorm2d | nn.SyncBatchNorm):
                built.momentum = self.momentum
            layers.append(built)
        return nn.Sequential(*layers, build_activation(self.activation))
