"""ResNet (He 2015), ResNeXt (Xie 2016) and their later forms: pictures (B, C, H, W) to {level: features}.

State-dict names are torchvision's (`conv1`, `bn1`, `layer1.0.conv1` …), or timm's where torchvision has no such
network (deep stems, averaging shortcuts), so their ImageNet weights load by name.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from pagoda.backbones.resnet_blocks import BasicBlock, Bottleneck, Residual, Style, build_conv
from pagoda.backbones.resnet_options import PLAIN_BODY, PLAIN_MODE, PLAIN_STEM, Body, Stem, TrainMode
from pagoda.layers.deform import DeformConv2d
from pagoda.layers.norm import Norm, build_norm, freeze, hold_statistics
from pagoda.plain import checked

# depth → (blocks per stage, bottleneck?)
DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
CACHED_PIXELS = 240 * 320
"""of pictures that go through the largest maps together, where processors are spared"""


@checked
class ResNet(nn.Module):
    """Residual network over the levels a detector wants.

    Attributes: `channels` {level: C} and `strides` {level: pixels from cell to cell}. A level keeps its number
    when a stage is dilated instead of strided; `strides` then tells what 2ˡ does not.

    Args:
        depth: 18, 34, 50, 101 or 152.
        levels: which of C2 … C5 to return; stages beyond the last are not built.
        norm, eps: "batch" learns statistics, "sync" over all GPUs; "frozen" applies stored ones, with `eps`
            (0 for Caffe2's).
        style: where bottlenecks stride: "caffe" in the 1×1, "pytorch" in the 3×3.
        groups, width_per_group: ResNeXt-101-32x8d has 32 and 8; bottlenecks only. A group of layer1 has
            `width_per_group` channels; without groups, 64 is the plain network and 128 the wide one.
        frozen_stages: 0 nothing, 1 the stem, 2 stem and layer1, …: no gradients, statistics fixed, also after
            `.train()`.
        zero_init_residual: start every block as the identity (last norm's weight 0).
        stem, body, train_mode: the rest, from `resnet_options`.

    Raises ValueError for a depth, levels or frozen stages there are not, groups or a width per group without
    bottlenecks, and blocks that cannot be made as `body` says.

    >>> body = ResNet(18, levels=(2, 3), body=Body(num_stages=2, strides=(1, 1), dilations=(1, 2)))
    >>> body.channels, body.strides
    ({2: 64, 3: 128}, {2: 4, 3: 4})
    """

    spares_caches = False
    """whether a processor takes a batch through stem and first stage `CACHED_PIXELS` at a time, to the same features:
    its caches hold the maps of one picture, hardly those of eight. For inference: norms that learn need all of it, and
    hooks of these layers see parts"""

    def __init__(
        self,
        depth: int,
        *,
        levels: Sequence[int] = (3, 4, 5),
        norm: Norm = "batch",
        eps: float = 1e-5,
        style: Style = "pytorch",
        groups: int = 1,
        width_per_group: int = 64,
        frozen_stages: int = 0,
        zero_init_residual: bool = False,
        stem: Stem = PLAIN_STEM,
        body: Body = PLAIN_BODY,
        train_mode: TrainMode = PLAIN_MODE,
    ) -> None:
        super().__init__()
        _check_options(depth, levels, groups, width_per_group, frozen_stages)
        _check_body(body, norm, eps, groups, zero_init_residual)
        _check_stages(depth, levels, body)
        self.levels = tuple(sorted(levels))
        self.frozen_stages, self.train_mode = frozen_stages, train_mode
        inputs = stem.channels or body.base_channels
        self.conv1 = _build_stem(stem, inputs, norm=norm, eps=eps, body=body)
        self.bn1 = build_norm(norm, inputs, eps=eps, groups=body.norm_groups)
        self.relu = nn.ReLU(inplace=True)
        padded = stem.pooling == "padded"
        self.maxpool = nn.MaxPool2d(3, 2, padding=1 if padded else 0, ceil_mode=not padded)
        self.channels, self.strides = {}, {}
        for level in range(2, self.levels[-1] + 1):
            outputs = _stage_channels(depth, level, body)
            stage = _build_stage(
                depth,
                level,
                inputs,
                width=_stage_width(level, body, groups, width_per_group),
                groups=groups,
                style=style,
                norm=norm,
                eps=eps,
                body=body,
                checkpoint=train_mode.checkpoint,
            )
            self.add_module(f"layer{level - 1}", stage)
            if level in self.levels:
                self.channels[level] = outputs
                self.strides[level] = 4 * math.prod(body.strides[: level - 1])
            inputs = outputs
        self._initialise(zero_init_residual)
        self.train()

    def _initialise(self, zero_init_residual: bool) -> None:
        """Plugins and offsets keep the values they start with: zeros among them mean that nothing changes yet."""
        own = set(self.modules())
        for module in self.modules():
            if isinstance(module, DeformConv2d):
                own -= set(module.modules())
            elif isinstance(module, Residual):
                for plugin in module.plugin_modules():
                    own -= set(plugin.modules())
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module in own:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                nn.init.zeros_(last.weight)

    def stages(self) -> dict[int, nn.Sequential]:
        """{2: layer1, …} as far as built."""
        return {level: getattr(self, f"layer{level - 1}") for level in range(2, self.levels[-1] + 1)}

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.train_mode.norm_eval:
            hold_statistics(self)
        if self.frozen_stages > 0:
            freeze(self.conv1)
            freeze(self.bn1)
        for level, stage in self.stages().items():
            if self.frozen_stages >= level:
                freeze(stage)
        return self

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        parts = []
        for part in self._parts(images):  # through the largest maps
            parts.append(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(part))))))
        x = parts[0] if len(parts) == 1 else torch.cat(parts)
        pyramid = {}
        for level, stage in self.stages().items():
            x = stage(x) if level > 2 else x
            if level in self.channels:
                pyramid[level] = x
        return pyramid

    def _parts(self, images: Tensor) -> Sequence[Tensor]:
        is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if not self.spares_caches or images.device.type != "cpu" or is_traced:
            return (images,)
        return images.split(max(1, CACHED_PIXELS // (images.shape[-2] * images.shape[-1])))


@checked
def _build_stem(stem: Stem, channels: int, *, norm: Norm, eps: float, body: Body) -> nn.Module:
    """Everything in front of the first norm that the deep and the flat stem share."""
    body = replace(body, ghost=None)
    if not stem.deep:
        return build_conv(stem.in_channels, channels, 7, body=body, stride=2)
    half = channels // 2
    return nn.Sequential(
        build_conv(stem.in_channels, half, 3, body=body, stride=2),
        build_norm(norm, half, eps=eps, groups=body.norm_groups),
        nn.ReLU(inplace=True),
        build_conv(half, half, 3, body=body),
        build_norm(norm, half, eps=eps, groups=body.norm_groups),
        nn.ReLU(inplace=True),
        build_conv(half, channels, 3, body=body),
    )


@checked
def _build_stage(
    depth: int,
    level: int,
    inputs: int,
    *,
    width: int,
    groups: int,
    style: Style,
    norm: Norm,
    eps: float,
    body: Body,
    checkpoint: bool,
) -> nn.Sequential:
    """The blocks that make one level; the first strides and projects."""
    counts, is_bottleneck = DEPTHS[depth]
    block = partial(Bottleneck, groups=groups, style=style) if is_bottleneck else BasicBlock
    body = body.at(level)
    outputs = _stage_channels(depth, level, body)
    blocks = []
    for index in range(counts[level - 2]):
        is_first = index == 0
        is_plain = body.deform is not None and body.deform.is_plain(level, index, grouped=groups > 1)
        blocks.append(
            block(
                inputs,
                width,
                outputs,
                stride=body.strides[level - 2] if is_first else 1,
                dilation=body.first_block_dilation(level) if is_first else body.dilations[level - 2],
                norm=norm,
                eps=eps,
                body=replace(body, deform=None) if is_plain else body,
                checkpoint=checkpoint,
            )
        )
        inputs = outputs
    return nn.Sequential(*blocks)


def _stage_channels(depth: int, level: int, body: Body) -> int:
    """Channels of what a stage returns."""
    expansion = Bottleneck.expansion if DEPTHS[depth][1] else BasicBlock.expansion
    return body.base_channels * 2 ** (level - 2) * expansion


def _stage_width(level: int, body: Body, groups: int, width_per_group: int) -> int:
    """Channels of the 3×3 in a stage's bottlenecks."""
    planes = body.base_channels * 2 ** (level - 2)
    return planes * width_per_group // (body.base_channels if groups > 1 else 64) * groups


def _check_options(
    depth: int, levels: Sequence[int], groups: int, width_per_group: int, frozen_stages: int
) -> None:
    if depth not in DEPTHS:
        raise ValueError(f"ResNet depth must be one of {', '.join(map(str, DEPTHS))}, got {depth}")
    if not levels or not set(levels) <= {2, 3, 4, 5}:
        raise ValueError(f"ResNet levels must be some of 2, 3, 4, 5 (strides 4 … 32), got {tuple(levels)}")
    if groups > 1 and not DEPTHS[depth][1]:
        raise ValueError(f"ResNeXt groups need bottlenecks (depth 50, 101, 152), got depth {depth}")
    if width_per_group != 64 and not DEPTHS[depth][1]:
        raise ValueError(f"width_per_group needs bottlenecks (depth 50, 101, 152), got depth {depth}")
    if not 0 <= frozen_stages <= max(levels):
        raise ValueError(
            f"frozen_stages counts the stem and stages built: 0 … {max(levels)}, got {frozen_stages}"
        )


def _check_stages(depth: int, levels: Sequence[int], body: Body) -> None:
    if max(levels) > body.num_stages + 1:
        raise ValueError(
            f"a ResNet of num_stages={body.num_stages} has levels 2 … {body.num_stages + 1}, got {tuple(levels)}"
        )
    blocks = None if body.deform is None else body.deform.blocks
    if blocks is not None:
        counts = DEPTHS[depth][0][: body.num_stages]
        if tuple(map(len, blocks)) != counts:
            raise ValueError(
                f"ResNet-{depth} has {', '.join(map(str, counts))} blocks in its stages, but deformable ones"
                f" are told for {', '.join(str(len(stage)) for stage in blocks)}"
            )


def _check_body(body: Body, norm: Norm, eps: float, groups: int, zero_init_residual: bool) -> None:
    if body.ghost is not None and (norm != "batch" or eps != 1e-5 or groups != 1):
        raise ValueError(
            "ghost modules bring batch norms of eps 1e-5 and know no groups; "
            f"got norm={norm!r}, eps={eps}, groups={groups}"
        )
    if zero_init_residual and (body.ghost is not None or norm == "none"):
        raise ValueError("zero_init_residual needs a norm at the end of each block; there is none")
