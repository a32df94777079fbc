"""Feature pyramid network (Lin 2016), with the extra levels of RetinaNet and FCOS."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from pagoda.layers.norm import Norm, build_norm
from pagoda.ops.anchors import pyramid_strides
from pagoda.plain import checked

Convolutions = Literal["lateral", "output", "extra"]
ExtraFrom = Literal["P5", "C5", "max_pool"]


@checked
class TopDownPyramid(nn.Module):
    """What the FPNs of pictures and of clips share: levels, the way down, every second cell for levels on top.

    Each kind makes its convolutions itself: `lateral` and `output`, by level.

    >>> neck = TopDownPyramid({3: 8, 4: 16}, 12, top_level=6)
    >>> neck.inputs, neck.extra_levels, neck.channels
    ([3, 4], [5, 6], {3: 12, 4: 12, 5: 12, 6: 12})
    """

    lateral: nn.ModuleDict
    output: nn.ModuleDict

    def __init__(self, channels: dict[int, int], out_channels: int, *, top_level: int) -> None:
        super().__init__()
        self.inputs = sorted(channels)
        highest = self.inputs[-1]
        if top_level < highest:
            raise ValueError(
                f"top_level must be at least the backbone's highest level {highest}, got {top_level}"
            )
        if self.inputs != list(range(self.inputs[0], highest + 1)):
            raise ValueError(f"FPN needs neighbouring levels, got {', '.join(map(str, self.inputs))}")
        self.channels = {level: out_channels for level in range(self.inputs[0], top_level + 1)}
        self.strides = pyramid_strides(self.channels)
        self.extra_levels = list(range(highest + 1, top_level + 1))

    def set_strides(self, strides: Mapping[int, int]) -> None:
        """{level: pixels from cell to cell} of the backbone; levels above it double."""
        self.strides = pyramid_strides(self.channels, strides)

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        return self.add_extras(features, self.merge(features))

    def merge(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        """The levels of the backbone, each with what came down to it."""
        pyramid: dict[int, Tensor] = {}
        above: Tensor | None = None
        for level in reversed(self.inputs):
            merged = self.lateral[str(level)](features[level])
            if above is not None:
                merged = merged + interpolate(above, size=merged.shape[2:], mode="nearest")
            above = merged
            pyramid[level] = self.output[str(level)](merged)
        return {level: pyramid[level] for level in self.inputs}

    def add_extras(self, features: dict[int, Tensor], pyramid: dict[int, Tensor]) -> dict[int, Tensor]:
        """`pyramid` with the levels above the backbone's."""
        pyramid = dict(pyramid)
        for level in self.extra_levels:
            pyramid[level] = pyramid[level - 1][..., ::2, ::2]
        return pyramid


@checked
class FPN(TopDownPyramid):
    """Lateral 1×1, top-down nearest upsampling to exactly the lateral's size, output 3×3.

    Attributes: `channels` {level: C} and `strides` {level: pixels from cell to cell}, 2ˡ until `set_strides` says
    otherwise; a detector says it of its backbone.

    Args:
        channels: the backbone's, {level: C}.
        top_level: levels above the backbone's are added up to this one.
        extra_from: what the first extra level reads: the top output ("P5": FCOS, torchvision's first
            RetinaNet), the backbone's top ("C5": the RetinaNet paper, detectron2), by a strided 3×3; the next
            ones read the level below. "max_pool": every second pixel of the top output (R-CNN's P6).
        relu_before_extra: of the level below they read the ReLU (mmdet's RetinaNet does not).
        norm, relu_after: a norm (then without conv bias) and a ReLU after each lateral and output convolution.
        norm_on: which convolutions have that norm; the strided ones of extra levels have a ReLU, too, only where
            they are among them. mmdetection's no_norm_on_lateral leaves "lateral" out.
        groups: of a group norm.

    Raises ValueError for a `top_level` below the backbone's highest, and for levels with gaps.

    >>> neck = FPN({3: 8, 4: 16}, 12, top_level=6)
    >>> neck.channels, list(neck.extra)
    ({3: 12, 4: 12, 5: 12, 6: 12}, ['5', '6'])
    """

    def __init__(
        self,
        channels: dict[int, int],
        out_channels: int = 256,
        *,
        top_level: int = 7,
        extra_from: ExtraFrom = "P5",
        relu_before_extra: bool = True,
        norm: Norm = "none",
        norm_on: Sequence[Convolutions] = ("lateral", "output"),
        relu_after: bool = False,
        groups: int = 32,
    ) -> None:
        super().__init__(channels, out_channels, top_level=top_level)
        self.extra_from, self.relu_before_extra = extra_from, relu_before_extra
        conv = {
            kind: partial(
                conv_norm,
                norm=norm if kind in norm_on else "none",
                relu_after=relu_after and (kind != "extra" or kind in norm_on),
                groups=groups,
            )
            for kind in get_args(Convolutions)
        }
        self.lateral = nn.ModuleDict(
            {str(level): conv["lateral"](channels[level], out_channels, 1) for level in self.inputs}
        )
        self.output = nn.ModuleDict(
            {str(level): conv["output"](out_channels, out_channels, 3) for level in self.inputs}
        )
        self.extra = nn.ModuleDict()
        if extra_from != "max_pool":
            first = channels[self.inputs[-1]] if extra_from == "C5" else out_channels
            for level in self.extra_levels:
                source = first if level == self.extra_levels[0] else out_channels
                self.extra[str(level)] = conv["extra"](source, out_channels, 3, stride=2)
        start_convolutions(self)

    def add_extras(self, features: dict[int, Tensor], pyramid: dict[int, Tensor]) -> dict[int, Tensor]:
        if self.extra_from == "max_pool":
            return super().add_extras(features, pyramid)
        pyramid, highest = dict(pyramid), self.inputs[-1]
        for level in self.extra_levels:
            if level > highest + 1:
                below = pyramid[level - 1]
                pyramid[level] = self.extra[str(level)](relu(below) if self.relu_before_extra else below)
            else:
                source = features[highest] if self.extra_from == "C5" else pyramid[highest]
                pyramid[level] = self.extra[str(level)](source)
        return pyramid


@checked
def conv_norm(
    inputs: int, outputs: int, kernel: int, norm: Norm, relu_after: bool, *, stride: int = 1, groups: int = 32
) -> nn.Module:
    """The convolution alone, or a Sequential of convolution, norm and ReLU as asked for.

    >>> [type(layer).__name__ for layer in conv_norm(3, 32, 3, "group", True)]
    ['Conv2d', 'GroupNorm', 'ReLU']
    """
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=norm == "none")
    extras: list[nn.Module] = [] if norm == "none" else [build_norm(norm, outputs, groups=groups)]
    extras += [nn.ReLU(inplace=True)] if relu_after else []
    return nn.Sequential(conv, *extras) if extras else conv


def start_convolutions(neck: nn.Module) -> None:
    """Fresh weights as Caffe2's "XavierFill", biases 0.

    >>> conv = nn.Conv2d(3, 1, 1)
    >>> start_convolutions(conv)
    >>> conv.bias.item(), bool(conv.weight.abs().max() <= 1)  # √(3 / inputs)
    (0.0, True)
    """
    for module in neck.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_uniform_(module.weight, a=1)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
