"""The residual blocks of a ResNet and the convolutions they are made of."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from pagoda.backbones.resnet_options import PLAIN_BODY, Body, Plugin, Position
from pagoda.layers.activation_checkpoint import recomputed
from pagoda.layers.deform import DeformConv2d
from pagoda.layers.ghost import GhostModule
from pagoda.layers.norm import Norm, build_norm
from pagoda.layers.weight_standardization import StandardizedConv2d
from pagoda.plain import checked

Style = Literal["pytorch", "caffe"]


@checked
class Residual(nn.Module):
    """What both blocks share: the ReLU behind the sum, plugins by name, recomputation."""

    def __init__(self, *, checkpoint: bool) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.plugins: dict[Position, list[str]] = {"after_conv1": [], "after_conv2": [], "after_conv3": []}
        self.relu = nn.ReLU(inplace=True)

    def add_plugin(self, plugin: Plugin, channels: int) -> None:
        """Make the module and give it its name. Raises ValueError where the block has that name already."""
        if hasattr(self, plugin.attribute):
            raise ValueError(f"a block has its own '{plugin.attribute}'; give the plugin another name='…'")
        self.add_module(plugin.attribute, plugin.build(channels))
        self.plugins[plugin.position].append(plugin.attribute)

    def plugin_modules(self) -> list[nn.Module]:
        """All plugins of the block."""
        return [getattr(self, name) for names in self.plugins.values() for name in names]

    def plug(self, position: Position, x: Tensor) -> Tensor:
        """Through the plugins of this position, one after the other."""
        for name in self.plugins[position]:
            x = getattr(self, name)(x)
        return x

    def total(self, x: Tensor) -> Tensor:
        """(B, C, H, W): branch and shortcut, added, before the last ReLU."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if self.checkpoint and self.training and torch.is_grad_enabled():
            return self.relu(recomputed(self, self.total, x))
        return self.relu(self.total(x))


@checked
class BasicBlock(Residual):
    """Two 3×3 convolutions and a shortcut; stride and dilation belong to the first.

    Raises ValueError for deformable convolutions and plugins, which need bottlenecks.

    >>> BasicBlock(8, 16, 16, stride=2)(torch.zeros(1, 8, 6, 6)).shape
    torch.Size([1, 16, 3, 3])
    """

    expansion = 1

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: Norm = "batch",
        eps: float = 1e-5,
        body: Body = PLAIN_BODY,
        checkpoint: bool = False,
    ) -> None:
        super().__init__(checkpoint=checkpoint)
        if body.deform is not None or body.plugins:
            raise ValueError("deformable convolutions and plugins need bottlenecks (depth 50, 101, 152)")
        self.conv1 = build_conv(inputs, width, 3, body=body, stride=stride, dilation=dilation)
        self.bn1 = _norm_behind(self.conv1, norm, width, eps, body)
        self.conv2 = build_conv(width, outputs, 3, body=body, relu=False)
        self.bn2 = _norm_behind(self.conv2, norm, outputs, eps, body)
        self.downsample = _shortcut(inputs, outputs, stride, norm=norm, eps=eps, body=body)

    def total(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


@checked
class Bottleneck(Residual):
    """1×1 down, 3×3, 1×1 up and a shortcut; style "caffe" strides in the first 1×1, "pytorch" in the 3×3.

    >>> block = Bottleneck(16, 4, 16, stride=2, style="caffe")
    >>> block.conv1.stride, block.conv2.stride
    ((2, 2), (1, 1))
    """

    expansion = 4

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        style: Style = "pytorch",
        norm: Norm = "batch",
        eps: float = 1e-5,
        body: Body = PLAIN_BODY,
        checkpoint: bool = False,
    ) -> None:
        super().__init__(checkpoint=checkpoint)
        first, second = (stride, 1) if style == "caffe" else (1, stride)
        self.conv1 = build_conv(inputs, width, 1, body=body, stride=first)
        self.bn1 = _norm_behind(self.conv1, norm, width, eps, body)
        self.conv2 = _build_middle(width, body=body, stride=second, dilation=dilation, groups=groups)
        self.bn2 = _norm_behind(self.conv2, norm, width, eps, body)
        self.conv3 = build_conv(width, outputs, 1, body=body, relu=False)
        self.bn3 = _norm_behind(self.conv3, norm, outputs, eps, body)
        self.downsample = _shortcut(inputs, outputs, stride, norm=norm, eps=eps, body=body)
        for plugin in body.plugins:
            self.add_plugin(plugin, outputs if plugin.position == "after_conv3" else width)

    def total(self, x: Tensor) -> Tensor:
        y = self.plug("after_conv1", self.relu(self.bn1(self.conv1(x))))
        y = self.plug("after_conv2", self.relu(self.bn2(self.conv2(y))))
        y = self.plug("after_conv3", self.bn3(self.conv3(y)))
        return y + (x if self.downsample is None else self.downsample(x))


def build_conv(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    body: Body,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    relu: bool = True,
) -> nn.Module:
    """A convolution as `body` says, padded to keep the size but for the stride; without bias, a norm follows.

    A ghost module has norms inside, and the ReLU if asked for; with it nothing should follow.

    >>> build_conv(3, 8, 7, body=PLAIN_BODY, stride=2)
    Conv2d(3, 8, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3), bias=False)
    """
    if body.ghost is not None:
        return GhostModule(
            inputs,
            outputs,
            kernel,
            ratio=body.ghost.ratio,
            cheap_kernel=body.ghost.cheap_kernel,
            stride=stride,
            dilation=dilation,
            relu=relu,
        )
    padding = kernel // 2 * dilation
    if body.standardized:
        return StandardizedConv2d(inputs, outputs, kernel, stride, padding, dilation, groups)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)


def _build_middle(width: int, *, body: Body, stride: int, dilation: int, groups: int) -> nn.Module:
    """The 3×3 of a bottleneck, deformable where `body` says so."""
    deform = body.deform
    falls_back = deform is not None and deform.blocks is None and deform.fallback_on_stride
    if deform is None or (falls_back and deform.fallback == "stride" and stride > 1):
        return build_conv(width, width, 3, body=body, stride=stride, dilation=dilation, groups=groups)
    return DeformConv2d(
        width,
        width,
        3,
        stride=stride,
        padding=dilation,
        dilation=dilation,
        groups=groups,
        deform_groups=deform.deform_groups,
        modulated=deform.modulated,
        offset_init=deform.offset_init,
    )


@checked
def _shortcut(
    inputs: int, outputs: int, stride: int, *, norm: Norm, eps: float, body: Body
) -> nn.Sequential | None:
    """A projection where the shape changes, else None: the identity."""
    if stride == 1 and inputs == outputs:
        return None
    if body.ghost is not None and not body.ghost.shortcut:
        body = replace(body, ghost=None)
    layers: list[nn.Module] = []
    if body.avg_down:
        # Windows cut by the border average what they have, so an odd side is halved as by the branch. Where
        # nothing strides, a placeholder keeps the names of the two layers behind it.
        layers.append(
            nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            if stride > 1
            else nn.Identity()
        )
        stride = 1
    conv = build_conv(inputs, outputs, 1, body=body, stride=stride, relu=False)
    return nn.Sequential(*layers, conv, _norm_behind(conv, norm, outputs, eps, body))


def _norm_behind(conv: nn.Module, norm: Norm, channels: int, eps: float, body: Body) -> nn.Module:
    if isinstance(conv, GhostModule):
        return nn.Identity()
    return build_norm(norm, channels, eps=eps, groups=body.norm_groups)
