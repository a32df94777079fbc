"""What the EfficientDet family is made of: SAME padding, separable convolutions, their norms and activations."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

from pagoda.layers.norm import Norm, build_norm
from pagoda.plain import checked

Padding = Literal["same", "symmetric", "same_zero"]
"""of strided windows: TensorFlow's SAME, whose odd pixel lies at the bottom and right, or alike on all sides;
"same_zero": SAME with a border of zeros, which beats negative features (zylo117, mmdetection)"""
Activation = Literal["silu", "relu", "relu6", "leaky_relu"]
Side = int | torch.SymInt
"""pixels, symbolic while a model is exported"""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
}
# TensorFlow's decay of .99 is torch's momentum of .01.
NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01


def same_padding(side: Side, kernel: int, stride: int) -> tuple[Side, Side]:
    """(before, after) for which a window of `kernel` ≥ `stride` gives ⌈side / stride⌉ values.

    Raises ValueError for a kernel smaller than the stride.

    >>> same_padding(8, 3, 2), same_padding(7, 3, 2), same_padding(7, 3, 1)
    ((0, 1), (1, 1), (1, 1))
    """
    if kernel < stride:
        raise ValueError(
            f"SAME padding wants windows that leave no gap, got kernel {kernel}, stride {stride}"
        )
    outputs = (side + stride - 1) // stride
    total = outputs * stride - side + kernel - stride
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """(B, C, H, W) with the border TensorFlow's SAME gives a kernel×kernel window; its size decides, not a table.

    Pooling wants `value` −∞: a zero would win over negative features.

    >>> pad_same(torch.ones(1, 1, 2, 2), 3, 2)[0, 0]
    tensor([[1., 1., 0.],
            [1., 1., 0.],
            [0., 0., 0.]])
    """
    top, bottom = same_padding(x.shape[-2], kernel, stride)
    left, right = same_padding(x.shape[-1], kernel, stride)
    return pad(x, (left, right, top, bottom), value=value)


@checked
def shrink(x: Tensor, stride: int, padding: Padding) -> Tensor:
    """Max-pooling with windows of stride + 1 to ⌈side / stride⌉; a border never wins, but for "same_zero".

    >>> shrink(torch.arange(5.0).reshape(1, 1, 1, 5), 2, "same")
    tensor([[[[1., 3., 4.]]]])
    """
    if padding != "symmetric":
        border = 0.0 if padding == "same_zero" else -torch.inf
        return max_pool2d(pad_same(x, stride + 1, stride, border), stride + 1, stride)
    return max_pool2d(x, stride + 1, stride, padding=stride // 2)


@checked
def build_activation(kind: Activation) -> nn.Module:
    """A new activation layer that does not write over its input. Raises ValueError for an unknown `kind`.

    >>> build_activation("relu6")(torch.tensor([-1.0, 3.0, 9.0]))
    tensor([0., 3., 6.])
    """
    return ACTIVATIONS[kind]()


@checked
def build_slow_norm(kind: Norm, channels: int) -> nn.Module:
    """A norm with EfficientNet's eps 1e-3, and momentum .01 where it keeps running statistics.

    Group norm takes 32 groups, or as many of the powers of two below as divide the channels.

    >>> norm = build_slow_norm("batch", 8)
    >>> norm.eps, norm.momentum, build_slow_norm("group", 24).num_groups
    (0.001, 0.01, 8)
    """
    norm = build_norm(kind, channels, eps=NORM_EPS, groups=math.gcd(32, channels))
    if isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm):
        norm.momentum = NORM_MOMENTUM
    return norm


@checked
class SeparableConv2d(nn.Module):
    """A 3×3 convolution of each channel alone, then 1×1 across channels, then perhaps a norm.

    Args:
        bias: of the 1×1; in front of a batch norm it changes nothing but the number of parameters.
        fan: what the weights start from: "average" is Glorot's uniform (necks), "in" a truncated normal that
            keeps the variance (heads).

    >>> conv = SeparableConv2d(8, 16, bias=False)
    >>> sum(weight.numel() for weight in conv.parameters())  # 8 · 9 + 8 · 16, not 8 · 16 · 9
    200
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        norm: Norm = "none",
        fan: Literal["average", "in"] = "average",
    ) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=bias)
        self.bn = build_slow_norm(norm, outputs)
        for conv, fan_in, fan_out in ((self.conv_dw, 9, 9), (self.conv_pw, inputs, outputs)):
            start_weights(conv.weight, fan_in if fan == "in" else (fan_in + fan_out) / 2, fan)
        if bias:
            nn.init.zeros_(self.conv_pw.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv_pw(self.conv_dw(x)))


@checked
def start_weights(weight: Tensor, fan: float, kind: Literal["average", "in"]) -> None:
    """Draw a weight of variance 1 / fan: uniform ("average") or from a normal cut at two deviations ("in").

    >>> weight = torch.empty(8, 12)
    >>> start_weights(weight, 12, "average")
    >>> bool(weight.abs().max() <= (3 / 12) ** 0.5)
    True
    """
    if kind == "average":
        bound = math.sqrt(3 / fan)
        nn.init.uniform_(weight, -bound, bound)
        return
    deviation = math.sqrt(1 / fan) / 0.87962566103423978  # which the cut takes away again
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)
