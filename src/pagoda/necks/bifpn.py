"""Weighted bidirectional pyramid (Tan 2020, arXiv 1911.09070), and any other pyramid written as a list of nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from pagoda.layers.conv import (
    Activation,
    Padding,
    SeparableConv2d,
    build_activation,
    build_slow_norm,
    pad_same,
    shrink,
    start_weights,
)
from pagoda.layers.norm import Norm
from pagoda.necks.topology import Node, Topology, bifpn_nodes, check_topology
from pagoda.ops.anchors import pyramid_strides
from pagoda.plain import checked

Fusion = Literal["fast", "softmax", "sum", "channel_fast", "channel_softmax"]
# Keeps "fast" fusion finite when every weight is cut to 0.
FAST_EPS = 1e-4


@checked
@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How maps get from one level's size to another's.

    >>> Resampling().grow(torch.tensor([[[[1.0, 2.0]]]]), (1, 4))
    tensor([[[[1., 1., 2., 2.]]]])
    >>> Resampling(down="average").shrink(torch.ones(1, 1, 4, 4), 2, "symmetric").shape
    torch.Size([1, 1, 2, 2])
    """

    down: Literal["max", "average", "bilinear"] = "max"
    """to a coarser level: the maximum or the average of windows of factor + 1, or values in between"""
    up: Literal["nearest", "bilinear"] = "nearest"
    """to a finer level: each value repeated, or values in between"""

    def __post_init__(self) -> None:
        for name, known in (("down", ("max", "average", "bilinear")), ("up", ("nearest", "bilinear"))):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; one of {', '.join(known)}")

    def shrink(self, x: Tensor, factor: int, padding: Padding) -> Tensor:
        """(B, C, H, W) at ⌈side / factor⌉ rows and columns."""
        if self.down == "max":
            return shrink(x, factor, padding)
        if self.down == "bilinear":
            size = [(side + factor - 1) // factor for side in x.shape[-2:]]
            return interpolate(x, size=size, mode="bilinear", align_corners=False)
        if padding == "symmetric":
            return avg_pool2d(x, factor + 1, factor, padding=factor // 2)
        return avg_pool2d(pad_same(x, factor + 1, factor), factor + 1, factor)

    def grow(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, C, height, width) of a smaller map."""
        if self.up == "nearest":
            return interpolate(x, size=size, mode="nearest")
        return interpolate(x, size=size, mode="bilinear", align_corners=False)


@checked
@dataclass(frozen=True, kw_only=True)
class NodeStyle:
    """What all nodes of a pyramid have in common; see `BiFPN`."""

    width: int
    """channels of every node's output"""
    fusion: Fusion
    """how inputs are weighed"""
    activation: Activation
    """in front of the convolution"""
    norm: Norm
    """behind the convolution and behind projections"""
    padding: Padding
    """of the pooling from level to level"""
    conv_bias: bool
    """of convolutions in front of norms"""
    resampling: Resampling
    """from level to level"""


@checked
class BiFPN(nn.Module):
    """Cells that pass features down and up the pyramid and fuse them with learnt weights.

    Sizes may be any, as long as each level has half the rows and columns of the one below, rounded up, or the same
    where `set_strides` says so (above a dilated stage).

    Attributes: `channels` {level: C} and `strides` {level: pixels from cell to cell}, 2ˡ until `set_strides` says
    otherwise; a detector says it of its backbone.

    Args:
        channels: the backbone's, {level: C}.
        out_channels: of every level.
        top_level: levels above the backbone's are added: the first by 1×1, norm and pooling, the next by pooling.
        fusion: how a node weighs its inputs: by relu(w) / (Σ relu(w) + 1e-4) ("fast"), by softmax, by one such
            weight per channel ("channel_…"), or not at all ("sum": D6 and above, the lite family).
        topology: (lowest, highest level) to the nodes of a cell; see `pagoda.necks.topology`.
        padding: of the pooling; "same" for weights that come from TensorFlow.
        conv_bias: of convolutions in front of norms; without effect, but part of TensorFlow's weights.
        resampling: from level to level (max pooling, nearest neighbours).

    Raises ValueError for a `top_level` below the backbone's highest, levels with gaps, less than two levels or
    one cell, and a topology that does not make every level.

    >>> neck = BiFPN({3: 8, 4: 16}, 16, cells=1, top_level=5)
    >>> pyramid = neck({3: torch.zeros(1, 8, 8, 8), 4: torch.zeros(1, 16, 4, 4)})
    >>> {level: tuple(x.shape) for level, x in pyramid.items()}
    {3: (1, 16, 8, 8), 4: (1, 16, 4, 4), 5: (1, 16, 2, 2)}
    """

    def __init__(
        self,
        channels: dict[int, int],
        out_channels: int = 64,
        *,
        cells: int = 3,
        top_level: int = 7,
        fusion: Fusion = "fast",
        topology: Topology = bifpn_nodes,
        activation: Activation = "silu",
        norm: Norm = "batch",
        padding: Padding = "symmetric",
        conv_bias: bool = False,
        resampling: Resampling | None = None,
    ) -> None:
        super().__init__()
        self.inputs = sorted(channels)
        _check_options(self.inputs, top_level, cells)
        low, highest = self.inputs[0], self.inputs[-1]
        self.padding: Padding = padding
        self.channels = dict.fromkeys(range(low, top_level + 1), out_channels)
        self.strides = pyramid_strides(self.channels)
        style = NodeStyle(
            width=out_channels,
            fusion=fusion,
            activation=activation,
            norm=norm,
            padding=padding,
            conv_bias=conv_bias,
            resampling=resampling or Resampling(),
        )
        self.resampling = style.resampling
        # Named by the feature's number in a cell, as the edges of a node are.
        self.extra = nn.ModuleDict()
        if top_level > highest and channels[highest] != out_channels:
            self.extra[str(highest + 1 - low)] = Projection(channels[highest], style)
        nodes = list(topology(low, top_level))
        check_topology(nodes, low, top_level)
        widths = [channels.get(level, out_channels) for level in self.channels]
        self.cells = nn.ModuleList()
        for _ in range(cells):
            self.cells.append(Cell(nodes, low, widths, style))
            widths = [out_channels] * len(widths)

    def set_strides(self, strides: Mapping[int, int]) -> None:
        """{level: pixels from cell to cell} of the backbone; levels above it double."""
        self.strides = pyramid_strides(self.channels, strides)
        for cell in self.cells:
            for node in cell.nodes:
                node.set_strides(self.strides)

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        maps = [features[level] for level in self.inputs]
        _check_sizes(self.inputs, maps, self.strides)
        for number in range(len(maps), len(self.channels)):
            last = maps[-1]
            if str(number) in self.extra:
                last = self.extra[str(number)](last)
            maps.append(self.resampling.shrink(last, 2, self.padding))
        for cell in self.cells:
            maps = cell(maps)
        return dict(zip(self.channels, maps, strict=True))


@checked
class Cell(nn.Module):
    """The nodes of a topology in their order: features of all levels in, features of all levels out.

    Args:
        low: the lowest level.
        widths: channels of each level's feature, lowest level first.
    """

    def __init__(self, nodes: Sequence[Node], low: int, widths: Sequence[int], style: NodeStyle) -> None:
        super().__init__()
        self.low = low
        levels = [*range(low, low + len(widths)), *(node.level for node in nodes)]
        widths = [*widths, *[style.width] * len(nodes)]
        self.nodes = nn.ModuleList()
        for node in nodes:
            sources = {number: (levels[number], widths[number]) for number in node.inputs}
            self.nodes.append(FusionNode(node.level, sources, style))
        last = {level: number for number, level in enumerate(levels)}
        self.outputs = [last[level] for level in sorted(last)]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        made = list(maps)
        for node in self.nodes:
            height, width = maps[node.level - self.low].shape[-2:]
            made.append(node(made, (height, width)))
        return [made[number] for number in self.outputs]


@checked
class FusionNode(nn.Module):
    """Bring the sources to one level, weigh and add them, activate, convolve, normalise.

    The activation stands before the convolution, as in the released code; the paper's text has it last.

    Args:
        sources: {number: (level, channels)} of the features it reads.
    """

    def __init__(self, level: int, sources: dict[int, tuple[int, int]], style: NodeStyle) -> None:
        super().__init__()
        self.level, self.fusion, self.padding = level, style.fusion, style.padding
        self.resampling = style.resampling
        self.levels = {number: source for number, (source, _) in sources.items()}
        self.set_strides(pyramid_strides([level, *self.levels.values()]))
        # A backbone level that two nodes read has two separate projections.
        self.edges = nn.ModuleDict(
            {
                str(number): Projection(channels, style)
                for number, (_, channels) in sources.items()
                if channels != style.width
            }
        )
        shape = (len(sources), style.width) if style.fusion.startswith("channel_") else (len(sources),)
        self.weights = None if style.fusion == "sum" else nn.Parameter(torch.ones(shape))
        self.activation = build_activation(style.activation)
        self.conv = SeparableConv2d(style.width, style.width, bias=style.conv_bias, norm=style.norm)

    def set_strides(self, strides: Mapping[int, int]) -> None:
        """{level: pixels from cell to cell}, from which follows how far each source shrinks; below 1: it grows."""
        self.shrinking = {
            number: strides[self.level] / strides[source] for number, source in self.levels.items()
        }

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """`maps` by number; `size` is (height, width) at this node's level."""
        arrived = [self._carry(number, maps[number], size) for number in self.levels]
        return self.conv(self.activation(fuse(arrived, self.weights, self.fusion)))

    def _carry(self, number: int, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Feature `number` at this node's width and level."""
        if str(number) in self.edges:
            x = self.edges[str(number)](x)
        factor = self.shrinking[number]
        if factor > 1:
            return self.resampling.shrink(x, int(factor), self.padding)
        return x if factor == 1 else self.resampling.grow(x, size)


@checked
def fuse(maps: Sequence[Tensor], weights: Tensor | None, fusion: Fusion) -> Tensor:
    """Weighted sum of maps (B, C, H, W); `weights` is (maps,) or (maps, C), None for a plain sum.

    >>> ones = torch.ones(2)
    >>> fuse([torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 3.0)], ones, "softmax").item()
    2.0
    """
    if weights is None:
        return sum(maps[1:], start=maps[0])
    if fusion.endswith("fast"):
        positive = weights.relu()
        shares = positive / (positive.sum(0) + FAST_EPS)
    else:
        shares = weights.softmax(0)
    shares = shares.to(maps[0].dtype).reshape(*shares.shape, *(1, 1) * (shares.ndim - 1))
    fused = maps[0] * shares[0]
    for share, x in zip(shares[1:], maps[1:], strict=True):
        fused = torch.addcmul(fused, x, share)
    return fused


def _check_sizes(levels: Sequence[int], maps: Sequence[Tensor], strides: Mapping[int, int]) -> None:
    """Raises ValueError unless each level has half the rows and columns of the one below, rounded up, or what
    their strides say."""
    for level, (lower, upper) in zip(levels[1:], pairwise(maps), strict=True):
        (height, width), (rows, columns) = lower.shape[-2:], upper.shape[-2:]
        step = strides[level] // strides[level - 1]
        if (rows, columns) != ((height + step - 1) // step, (width + step - 1) // step):
            raise ValueError(
                f"level {level} must measure {(height + step - 1) // step}×{(width + step - 1) // step} above a"
                f" level of {height}×{width}, got {rows}×{columns}; pad pictures to a multiple of"
                f" {strides[level]} pixels"
            )


@checked
class Projection(nn.Module):
    """1×1 convolution to the pyramid's width and a norm, without activation."""

    def __init__(self, channels: int, style: NodeStyle) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, style.width, 1, bias=style.conv_bias or style.norm == "none")
        start_weights(self.conv.weight, (channels + style.width) / 2, "average")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.bn = build_slow_norm(style.norm, style.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


def _check_options(inputs: Sequence[int], top_level: int, cells: int) -> None:
    low, highest = inputs[0], inputs[-1]
    if top_level < highest:
        raise ValueError(
            f"top_level must be at least the backbone's highest level {highest}, got {top_level}"
        )
    if list(inputs) != list(range(low, highest + 1)):
        raise ValueError(f"BiFPN needs neighbouring levels, got {', '.join(map(str, inputs))}")
    if top_level == low:
        raise ValueError(f"a pyramid to fuse has at least two levels, got level {low} alone")
    if cells < 1:
        raise ValueError(f"BiFPN needs at least one cell, got {cells}")
