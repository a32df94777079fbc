"""ResNet (He 2015) and ResNeXt (Xie 2016): pictures (B, 3, H, W) to {level: (B, C, H/2ˡ, W/2ˡ)}.

State-dict names are torchvision's (`conv1`, `bn1`, `layer1.0.conv1` …), so its ImageNet weights and timm's
load by name.
"""

from collections.abc import Sequence
from typing import Literal, Self

from torch import Tensor, nn

from pagoda.layers.norm import Norm, build_norm, freeze

Style = Literal["pytorch", "caffe"]

# depth → (blocks per stage, bottleneck?)
DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


def conv3x3(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Without bias: a norm follows."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Without bias: a norm follows."""
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, outputs: int, *, stride: int, norm: Norm, eps: float) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn1 = build_norm(norm, width, eps=eps)
        self.conv2 = conv3x3(width, outputs)
        self.bn2 = build_norm(norm, outputs, eps=eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, outputs, stride, norm, eps)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1 down, 3×3, 1×1 up and a shortcut; style "caffe" strides in the first 1×1, "pytorch" in the 3×3."""

    expansion = 4

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        *,
        stride: int,
        norm: Norm,
        eps: float,
        groups: int = 1,
        style: Style = "pytorch",
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if style == "caffe" else (1, stride)
        self.conv1 = conv1x1(inputs, width, first)
        self.bn1 = build_norm(norm, width, eps=eps)
        self.conv2 = conv3x3(width, width, second, groups)
        self.bn2 = build_norm(norm, width, eps=eps)
        self.conv3 = conv1x1(width, outputs)
        self.bn3 = build_norm(norm, outputs, eps=eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, outputs, stride, norm, eps)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def shortcut(inputs: int, outputs: int, stride: int, norm: Norm, eps: float) -> nn.Sequential | None:
    """A projection where the shape changes, else None: the identity."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(conv1x1(inputs, outputs, stride), build_norm(norm, outputs, eps=eps))


class ResNet(nn.Module):
    """Residual network over the levels a detector wants.

    Args:
        depth: 18, 34, 50, 101 or 152.
        levels: which of C2 … C5 to return; stages beyond the last are not built.
        norm, eps: "batch" learns statistics; "frozen" applies stored ones, with `eps` (0 for Caffe2's).
        style: where bottlenecks stride: "caffe" in the 1×1, "pytorch" in the 3×3.
        groups, width_per_group: ResNeXt-101-32x8d has 32 and 8; bottlenecks only.
        frozen_stages: 0 nothing, 1 the stem, 2 stem and layer1, …: no gradients, statistics fixed, also after
            `.train()`.
        zero_init_residual: start every block as the identity (last norm's weight 0).
    """

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
    ) -> None:
        super().__init__()
        _check_options(depth, levels, style, groups, frozen_stages)
        counts, is_bottleneck = DEPTHS[depth]
        self.levels = tuple(sorted(levels))
        self.frozen_stages = frozen_stages
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = build_norm(norm, 64, eps=eps)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        expansion = Bottleneck.expansion if is_bottleneck else BasicBlock.expansion
        self.channels = {level: 64 * 2 ** (level - 2) * expansion for level in self.levels}
        inputs = 64
        for level in range(2, self.levels[-1] + 1):
            planes = 64 * 2 ** (level - 2)
            width, outputs = planes * width_per_group // 64 * groups, planes * expansion
            blocks = []
            for index in range(counts[level - 2]):
                stride = 2 if level > 2 and index == 0 else 1
                if is_bottleneck:
                    block = Bottleneck(
                        inputs, width, outputs, stride=stride, norm=norm, eps=eps, groups=groups, style=style
                    )
                else:
                    block = BasicBlock(inputs, planes, outputs, stride=stride, norm=norm, eps=eps)
                blocks.append(block)
                inputs = outputs
            self.add_module(f"layer{level - 1}", nn.Sequential(*blocks))
        self._initialise(zero_init_residual)
        self._freeze()

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                nn.init.zeros_(last.weight)

    def stages(self) -> dict[int, nn.Sequential]:
        """{2: layer1, …} as far as built."""
        return {level: getattr(self, f"layer{level - 1}") for level in range(2, self.levels[-1] + 1)}

    def _freeze(self) -> None:
        if self.frozen_stages > 0:
            freeze(self.conv1)
            freeze(self.bn1)
        for level, stage in self.stages().items():
            if self.frozen_stages >= level:
                freeze(stage)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._freeze()
        return self

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        pyramid = {}
        for level, stage in self.stages().items():
            x = stage(x)
            if level in self.channels:
                pyramid[level] = x
        return pyramid


def _check_options(depth: int, levels: Sequence[int], style: str, groups: int, frozen_stages: int) -> None:
    if depth not in DEPTHS:
        raise ValueError(f"ResNet depth must be one of {', '.join(map(str, DEPTHS))}, got {depth}")
    if not levels or not set(levels) <= {2, 3, 4, 5}:
        raise ValueError(f"ResNet levels must be some of 2, 3, 4, 5 (strides 4 … 32), got {tuple(levels)}")
    if style not in Style.__args__:
        raise ValueError(f"unknown style {style!r}; one of {', '.join(Style.__args__)}")
    if groups > 1 and not DEPTHS[depth][1]:
        raise ValueError(f"ResNeXt groups need bottlenecks (depth 50, 101, 152), got depth {depth}")
    if not 0 <= frozen_stages <= max(levels):
        raise ValueError(
            f"frozen_stages counts the stem and stages built: 0 … {max(levels)}, got {frozen_stages}"
        )
