"""GhostNet (Han 2020) and GhostNetV2 (Tang 2022): pictures (B, 3, H, W) to {level: (B, C, H/2ˡ, W/2ˡ)}.

State-dict names are the authors' and timm's (`conv_stem`, `bn1`, `blocks.3.0.ghost1.primary_conv.0` …), so
the ImageNet weights of both load by name.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Self

from torch import Tensor, nn
from torch.nn import functional as F

from pagoda.layers.ghost import GhostModule, GhostModuleV2
from pagoda.layers.norm import freeze
from pagoda.plain import checked


class Row(NamedTuple):
    """A bottleneck of the papers' table at width 1: kernel, channels inside and behind, gate, stride."""

    kernel: int
    middle: int
    outputs: int
    squeeze: bool
    stride: int


# One line per entry of `blocks`. Stride 2 stands at indices 1, 3, 5 and 7: level l ends with index 2·l - 2.
BLOCKS = (
    (Row(3, 16, 16, False, 1),),
    (Row(3, 48, 24, False, 2),),
    (Row(3, 72, 24, False, 1),),
    (Row(5, 72, 40, True, 2),),
    (Row(5, 120, 40, True, 1),),
    (Row(3, 240, 80, False, 2),),
    (
        *(Row(3, 200, 80, False, 1), Row(3, 184, 80, False, 1), Row(3, 184, 80, False, 1)),
        *(Row(3, 480, 112, True, 1), Row(3, 672, 112, True, 1)),
    ),
    (Row(5, 672, 160, True, 2),),
    tuple(Row(5, 960, 160, squeeze, 1) for squeeze in (False, True, False, True)),
)
TAIL_CHANNELS = 1280  # of the classifier's last convolution, whatever the width
DROPOUT = 0.2


def scaled(channels: int, width: float) -> int:
    """`channels · width` as a multiple of 4, at least 4 and never below nine tenths of the product.

    >>> [scaled(channels, 0.5) for channels in (16, 40, 72)]
    [8, 20, 36]
    """
    product = channels * width
    multiple = max(4, int(product + 2) // 4 * 4)
    return multiple if multiple >= 0.9 * product else multiple + 4


@checked
class SqueezeExcite(nn.Module):
    """Every channel times a gate in 0 … 1 made from the means of all channels (Hu 2018, hard sigmoid).

    >>> import torch
    >>> x = torch.ones(1, 16, 2, 2)
    >>> bool((SqueezeExcite(16)(x) <= x).all())
    True
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = scaled(channels, 0.25)
        self.conv_reduce = nn.Conv2d(channels, hidden, 1)
        self.conv_expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        gate = self.conv_expand(F.relu(self.conv_reduce(means)))
        return x * (F.relu6(gate + 3) / 6)


@checked
class GhostBottleneck(nn.Module):
    """A ghost module widens, an optional depthwise convolution strides, a linear one narrows; plus shortcut.

    `kernel` belongs to the striding convolution and the shortcut alone: the table's rows with kernel 5 and
    stride 1 hold no 5×5 convolution. Nothing follows the sum.
    """

    def __init__(
        self, inputs: int, middle: int, outputs: int, *, kernel: int, stride: int, squeeze: bool, gated: bool
    ) -> None:
        super().__init__()
        self.ghost1 = (GhostModuleV2 if gated else GhostModule)(inputs, middle)
        self.conv_dw: nn.Module = nn.Identity()
        self.bn_dw: nn.Module = nn.Identity()
        if stride > 1:
            self.conv_dw = _depthwise(middle, kernel, stride)
            self.bn_dw = nn.BatchNorm2d(middle)
        self.se = SqueezeExcite(middle) if squeeze else nn.Identity()
        self.ghost2 = GhostModule(middle, outputs, relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                _depthwise(inputs, kernel, stride),
                nn.BatchNorm2d(inputs),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn_dw(self.conv_dw(self.ghost1(x)))
        return self.ghost2(self.se(y)) + self.shortcut(x)


@checked
class GhostNet(nn.Module):
    """GhostNet over the levels a detector wants; with `classes` also the whole classifier.

    A level is the last block of its stride, at width 1 with 24, 40, 112 and 160 channels for C2 … C5. (timm's
    `features_only` taps the first block of each stride and drops the rest, 62 % of the body.)

    Args:
        width: of every layer but the classifier's last; published are 0.5, 1, 1.1, 1.3, for version 2 also 1.6.
        version: 2 gates the first ghost module of the third block and later by attention.
        levels: which of C2 … C5 to return; without `classes`, blocks beyond the last are not built.
        frozen_stages: 0 nothing, 1 the stem, 2 stem and blocks up to C2, …: no gradients, statistics fixed,
            also after `.train()`.
        in_channels: of the pictures.
        classes: also build the classifier of so many classes, for `classify`.

    Raises ValueError for a width of 0 or less, another version, and levels or frozen stages there are not.

    >>> GhostNet(0.5, levels=(2, 3)).channels
    {2: 12, 3: 20}
    """

    def __init__(
        self,
        width: float = 1.0,
        *,
        version: int = 1,
        levels: Sequence[int] = (3, 4, 5),
        frozen_stages: int = 0,
        in_channels: int = 3,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        _check_options(width, version, levels, frozen_stages)
        self.levels = tuple(sorted(levels))
        self.frozen_stages = frozen_stages
        self.strides = {level: 2**level for level in self.levels}
        self.channels = {level: scaled(BLOCKS[_end(level)][-1].outputs, width) for level in self.levels}
        inputs = scaled(16, width)
        self.conv_stem = nn.Conv2d(in_channels, inputs, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.blocks = nn.Sequential()
        built = 0
        for rows in BLOCKS if classes is not None else BLOCKS[: _end(self.levels[-1]) + 1]:
            group = nn.Sequential()
            for row in rows:
                middle, outputs = scaled(row.middle, width), scaled(row.outputs, width)
                block = GhostBottleneck(
                    inputs,
                    middle,
                    outputs,
                    kernel=row.kernel,
                    stride=row.stride,
                    squeeze=row.squeeze,
                    gated=version == 2 and built >= 2,
                )
                group.append(block)
                inputs, built = outputs, built + 1
            self.blocks.append(group)
        if classes is not None:
            self._add_classifier(inputs, scaled(BLOCKS[-1][-1].middle, width), classes)
        self._freeze()

    def _add_classifier(self, inputs: int, middle: int, classes: int) -> None:
        conv = nn.Conv2d(inputs, middle, 1, bias=False)
        layers = OrderedDict(conv=conv, bn1=nn.BatchNorm2d(middle), relu=nn.ReLU(inplace=True))
        self.blocks.append(nn.Sequential(nn.Sequential(layers)))
        self.conv_head = nn.Conv2d(middle, TAIL_CHANNELS, 1)
        self.classifier = nn.Linear(TAIL_CHANNELS, classes)

    def _freeze(self) -> None:
        if self.frozen_stages > 0:
            freeze(self.conv_stem)
            freeze(self.bn1)
        if self.frozen_stages > 1:
            for group in self.blocks[: _end(self.frozen_stages) + 1]:
                freeze(group)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._freeze()
        return self

    def _stem(self, pictures: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv_stem(pictures)), inplace=True)

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        x = self._stem(pictures)
        pyramid = {}
        ends = {_end(level): level for level in self.levels}
        for index, group in enumerate(self.blocks[: _end(self.levels[-1]) + 1]):
            x = group(x)
            if index in ends:
                pyramid[ends[index]] = x
        return pyramid

    def classify(self, pictures: Tensor) -> Tensor:
        """Logits (B, classes). Raises RuntimeError where it was built without `classes`."""
        if not hasattr(self, "classifier"):
            raise RuntimeError("this GhostNet was built without a classifier; build it with classes=…")
        x = self.blocks(self._stem(pictures)).mean((2, 3), keepdim=True)
        x = F.relu(self.conv_head(x)).flatten(1)
        return self.classifier(F.dropout(x, DROPOUT, self.training))


def _depthwise(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)


def _end(level: int) -> int:
    """Index in `blocks` of the last block at stride 2ˡ."""
    return 2 * level - 2


def _check_options(width: float, version: int, levels: Sequence[int], frozen_stages: int) -> None:
    if width <= 0:
        raise ValueError(f"GhostNet width must be positive, got {width}")
    if version not in (1, 2):
        raise ValueError(f"GhostNet version must be 1 or 2, got {version}")
    if not levels or not set(levels) <= {2, 3, 4, 5}:
        raise ValueError(f"GhostNet levels must be some of 2, 3, 4, 5 (strides 4 … 32), got {tuple(levels)}")
    if not 0 <= frozen_stages <= max(levels):
        raise ValueError(
            f"frozen_stages counts the stem and stages built: 0 … {max(levels)}, got {frozen_stages}"
        )
