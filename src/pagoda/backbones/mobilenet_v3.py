"""MobileNetV3-large (Howard 2019) as SSDlite reads it: pictures (B, 3, H, W) to {4: …, 5: …}."""

from collections.abc import Sequence
from typing import NamedTuple, Self

from torch import Tensor, nn

from pagoda.layers.norm import freeze
from pagoda.plain import checked

STEM = 16


class Row(NamedTuple):
    """One block: kernel, channels inside, channels out, squeeze-and-excitation, hard swish instead of ReLU, stride."""

    kernel: int
    middle: int
    outputs: int
    squeezes: bool
    hard: bool
    stride: int


ROWS = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)
"""table 1 of the paper: `features` 1 … 15"""
SPLIT = 13
"""in `features`: the block whose expansion is C4, the last of stride 16"""
LAST_FACTOR = 6
"""the last convolution has so many times the channels of the last block"""


def rounded(channels: float, divisor: int = 8) -> int:
    """To the next multiple, but never by more than a tenth down (MobileNets' rule for squeezed channels).

    >>> rounded(120 / 4), rounded(72 / 4)
    (32, 24)
    """
    near = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * channels else near


class _Squeeze(nn.Module):
    """Squeeze-and-excitation: every channel times a factor from 0 to 1 that the means of all channels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, rounded(channels / 4), 1)
        self.fc2 = nn.Conv2d(rounded(channels / 4), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.fc1(x.mean((2, 3), keepdim=True)).relu()
        return x * nn.functional.hardsigmoid(self.fc2(squeezed))


class _Block(nn.Module):
    """1×1 up, depthwise, perhaps squeezed, 1×1 down; added to the input where the shape stays."""

    def __init__(self, inputs: int, row: Row, *, eps: float, momentum: float) -> None:
        super().__init__()
        act = nn.Hardswish if row.hard else nn.ReLU
        layers: list[nn.Module] = []
        if row.middle != inputs:
            layers.append(_conv_norm(inputs, row.middle, 1, eps=eps, momentum=momentum, act=act))
        depthwise = _conv_norm(
            row.middle,
            row.middle,
            row.kernel,
            row.stride,
            groups=row.middle,
            eps=eps,
            momentum=momentum,
            act=act,
        )
        layers.append(depthwise)
        if row.squeezes:
            layers.append(_Squeeze(row.middle))
        layers.append(_conv_norm(row.middle, row.outputs, 1, eps=eps, momentum=momentum))
        self.block = nn.Sequential(*layers)
        self.adds = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.adds else self.block(x)


@checked
class MobileNetV3Large(nn.Module):
    """C4 is the expansion inside the first block of stride 32 (672 channels, 16 pixels apart), C5 the last
    convolution's 960 channels.

    State-dict names are torchvision's (`features.1.block.0.0.weight` …), so its ImageNet weights load by name.

    Args:
        levels: 4, 5 or both.
        reduced_tail: from the first block of stride 32 on half the channels: 480 for C5.
        eps, momentum: of the batch norms.
        frozen_stages: 1 the stem, 2 stem and the blocks up to stride 4, …: never trained, statistics fixed.
        in_channels: of the pictures.

    Raises ValueError for levels or frozen stages there are not.

    >>> MobileNetV3Large(reduced_tail=True).channels
    {4: 672, 5: 480}
    """

    def __init__(
        self,
        *,
        levels: Sequence[int] = (4, 5),
        reduced_tail: bool = False,
        eps: float = 1e-3,
        momentum: float = 0.01,
        frozen_stages: int = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if not levels or not set(levels) <= {4, 5}:
            raise ValueError(f"MobileNetV3-large has the levels 4 and 5 here, got {tuple(levels)}")
        if not 0 <= frozen_stages <= len(STAGE_ENDS):
            raise ValueError(f"frozen_stages counts stages: 0 … {len(STAGE_ENDS)}, got {frozen_stages}")
        self.levels, self.frozen_stages = tuple(sorted(levels)), frozen_stages
        norm = {"eps": eps, "momentum": momentum}
        self.features = nn.Sequential(_conv_norm(in_channels, STEM, 3, 2, act=nn.Hardswish, **norm))
        inputs = STEM
        for index, row in enumerate(ROWS, start=1):
            if reduced_tail and index >= SPLIT:
                inside = row.middle // 2 if index > SPLIT else row.middle
                row = row._replace(middle=inside, outputs=row.outputs // 2)
            self.features.append(_Block(inputs, row, **norm))
            inputs = row.outputs
        self.features.append(_conv_norm(inputs, LAST_FACTOR * inputs, 1, act=nn.Hardswish, **norm))
        every = {4: ROWS[SPLIT - 1].middle, 5: LAST_FACTOR * inputs}
        self.channels = {level: every[level] for level in self.levels}
        self.strides = {level: 2**level for level in self.levels}
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self._freeze()

    def _freeze(self) -> None:
        if self.frozen_stages > 0:
            freeze(self.features[: STAGE_ENDS[self.frozen_stages - 1]])

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._freeze()
        return self

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        x = self.features[:SPLIT](pictures)
        block = self.features[SPLIT].block
        x = expanded = block[0](x)  # type: ignore[index, operator]
        if max(self.levels) == 4:
            return {4: expanded}
        x = self.features[SPLIT + 1 :](block[1:](x))  # type: ignore[index, operator]
        return {level: {4: expanded, 5: x}[level] for level in self.levels}


STAGE_ENDS = (1, 4, 7, SPLIT, len(ROWS) + 2)
"""how many of `features` each frozen stage takes: the stem, then the blocks up to each stride"""


def _conv_norm(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    *,
    eps: float,
    momentum: float,
    groups: int = 1,
    act: type[nn.Module] | None = None,
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs, eps=eps, momentum=momentum)]
    return nn.Sequential(*layers, *([] if act is None else [act()]))
