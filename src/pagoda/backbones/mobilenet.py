"""MobileNetV2 (Sandler 2018): pictures (B, 3, H, W) to {level: (B, C, H/2ˡ, W/2ˡ)}.

State-dict names are torchvision's (`features.2.conv.0.0.weight` …), so its ImageNet weights load by name, but
for `features.18` (the classifier's 1280 channels) and `classifier`, which a detector has no use for.
"""

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from pagoda.layers.norm import Norm, build_norm, freeze
from pagoda.plain import checked

STEM, LAST = 32, 1280
# table 2 of the paper without its last rows: expansion, outputs, blocks, stride of the first
ROWS = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
# block by block, `features` 1 … 17: expansion, outputs, stride
BLOCKS = [
    (expansion, outputs, stride if index == 0 else 1)
    for expansion, outputs, count, stride in ROWS
    for index in range(count)
]
# level → index in `features` of the last layer at its stride
ENDS = {2: 3, 3: 6, 4: 13, 5: 17}


@checked
class InvertedResidual(nn.Module):
    """1×1 up, 3×3 depthwise, linear 1×1 down; added to the input where the shape stays."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int, norm: Norm) -> None:
        super().__init__()
        middle = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(_conv_norm_relu6(inputs, middle, norm=norm))
        layers.append(_conv_norm_relu6(middle, middle, kernel=3, stride=stride, groups=middle, norm=norm))
        layers += [nn.Conv2d(middle, outputs, 1, bias=False), build_norm(norm, outputs)]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


@checked
class MobileNetV2(nn.Module):
    """The body FCOS uses: width 1 with 24, 32, 96 and 320 channels for C2 … C5.

    A level is the last layer of its stride: `features` 3, 6, 13 and 17. Convolutions start from a normal
    distribution of variance 2 / (k² · outputs), norms as the identity.

    Args:
        levels: which of C2 … C5 to return; layers beyond the last are not built.
        norm: "batch" or "sync" learns statistics, "frozen" applies stored ones. These widths do not divide into
            32 groups, so "group" raises.
        frozen_stages: 0 nothing, 1 the stem, 2 stem and layers up to C2, …: no gradients, statistics fixed,
            also after `.train()`. (The original counts entries of `features` instead, and freezes none.)
        in_channels: of the pictures.
        last_conv: level 5 is the 1×1 convolution to 1280 channels behind the last block (`features` 18), which
            SSDlite reads, not the block's 320.

    Raises ValueError for levels or frozen stages there are not.

    >>> MobileNetV2(levels=(2, 3)).channels
    {2: 24, 3: 32}
    """

    def __init__(
        self,
        *,
        levels: Sequence[int] = (3, 4, 5),
        norm: Norm = "batch",
        frozen_stages: int = 0,
        in_channels: int = 3,
        last_conv: bool = False,
    ) -> None:
        super().__init__()
        _check_options(levels, norm, frozen_stages)
        self.levels = tuple(sorted(levels))
        self.frozen_stages = frozen_stages
        self.features = nn.Sequential(_conv_norm_relu6(in_channels, STEM, kernel=3, stride=2, norm=norm))
        inputs = STEM
        for expansion, outputs, stride in BLOCKS[: ENDS[self.levels[-1]]]:
            block = InvertedResidual(inputs, outputs, expansion=expansion, stride=stride, norm=norm)
            self.features.append(block)
            inputs = outputs
        self.ends = {ENDS[level]: level for level in self.levels}
        self.strides = {level: 2**level for level in self.levels}
        self.channels = {level: BLOCKS[ENDS[level] - 1][1] for level in self.levels}
        if last_conv and self.levels[-1] == 5:
            self.features.append(_conv_norm_relu6(inputs, LAST, norm=norm))
            self.channels[5] = LAST
            self.ends = {**{end: level for end, level in self.ends.items() if level < 5}, len(BLOCKS) + 1: 5}
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self._freeze()

    def _freeze(self) -> None:
        if self.frozen_stages > 0:
            last = ENDS.get(self.frozen_stages, 0)
            for layer in self.features[: last + 1]:
                freeze(layer)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._freeze()
        return self

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        ends = self.ends
        x, pyramid = pictures, {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in ends:
                pyramid[ends[index]] = x
        return pyramid


def _conv_norm_relu6(
    inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, norm: Norm
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, build_norm(norm, outputs), nn.ReLU6(inplace=True))


def _check_options(levels: Sequence[int], norm: str, frozen_stages: int) -> None:
    if not levels or not set(levels) <= {2, 3, 4, 5}:
        raise ValueError(
            f"MobileNetV2 levels must be some of 2, 3, 4, 5 (strides 4 … 32), got {tuple(levels)}"
        )
    if norm == "group":
        raise ValueError(
            "MobileNetV2's widths do not divide into 32 groups; norm must be another than 'group'"
        )
    if not 0 <= frozen_stages <= max(levels):
        raise ValueError(
            f"frozen_stages counts the stem and stages built: 0 … {max(levels)}, got {frozen_stages}"
        )
