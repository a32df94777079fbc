"""The modules that darknet's networks of 2015 and 2016 are made of. Shapes are (channels, height, width)."""

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

from pagoda.layers.darknet_layer import DarknetLayer, LayerActivation, Shape, shapes_of
from pagoda.layers.local import LocallyConnected2d
from pagoda.layers.norm import FrozenBatchNorm2d, build_norm
from pagoda.plain import checked

CellNorm = Literal["batch", "darknet", "frozen"]
"""PyTorch's batch norm; darknet's, which adds its epsilon to the deviation; or one that no longer learns"""
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "logistic": nn.Sigmoid, "tanh": nn.Tanh}


@checked
class DarknetBatchNorm2d(nn.BatchNorm2d):
    """y = (x − mean) / (√variance + 1e-6) · weight + bias, with the unbiased variance in training as well.

    PyTorch has √(variance + ε) and the biased variance. Statistics keep 99 % of what they were at each step.

    >>> norm = DarknetBatchNorm2d(1).eval()
    >>> with torch.no_grad():
    ...     for name, value in {"running_mean": 0.1, "running_var": 1e-4, "weight": 2.0, "bias": 0.5}.items():
    ...         _ = getattr(norm, name).fill_(value)
    >>> round(norm(torch.ones(1, 1, 1, 1)).item(), 3)  # .9 / (.01 + .000001) · 2 + .5
    180.482
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        assert mean is not None and variance is not None
        if self.training:
            own_variance, own_mean = torch.var_mean(x.float(), (0, 2, 3), unbiased=True)
            with torch.no_grad():
                mean.lerp_(own_mean, self.momentum or 0.0)
                variance.lerp_(own_variance, self.momentum or 0.0)
            mean, variance = own_mean, own_variance
        scale = self.weight / (variance.sqrt() + self.eps)
        shift = self.bias - mean * scale
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def plain_variance(self) -> Tensor:
        """(C,): with it, and no epsilon, an ordinary norm computes the same."""
        assert self.running_var is not None
        return (self.running_var.sqrt() + self.eps) ** 2


@checked
class DarknetMaxPool2d(nn.Module):
    """Max-pooling with a border that never wins: `padding` on both sides together, the odd pixel at the end.

    >>> DarknetMaxPool2d(2, 2, 1)(torch.arange(5.0).view(1, 1, 1, 5))
    tensor([[[[1., 3., 4.]]]])
    """

    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size == self.stride == 2 and self.padding == 1:  # the same, without a copy
            return max_pool2d(x, 2, 2, ceil_mode=True)
        before, after = self.padding // 2, self.padding - self.padding // 2
        return max_pool2d(
            pad(x, (before, after, before, after), value=-torch.inf), self.kernel_size, self.stride
        )


class DarknetBlock(nn.Sequential):
    """A convolutional, local or connected layer with its norm and activation: `core`, `norm`, `activation`."""


@checked
def build_layers(layers: Sequence[DarknetLayer], shape: Shape, norm: CellNorm = "batch") -> nn.Sequential:
    """The modules of `layers` that read (channels, height, width) `shape`; connected ones flatten what they read.

    Raises ValueError, with the number of the layer, where one gives nothing, or reads maps behind a connected one.

    >>> tiny = [DarknetLayer(kind="maxpool", size=2, stride=2), DarknetLayer(kind="connected", outputs=3)]
    >>> build_layers(tiny, (4, 8, 8))(torch.zeros(2, 4, 8, 8)).shape
    torch.Size([2, 3])
    """
    shapes_of(layers, shape)
    built = []
    for layer in layers:
        built.append(_build(layer, shape, norm))
        shape = layer.shape(shape)
    return nn.Sequential(*built)


def _build(layer: DarknetLayer, shape: Shape, norm: CellNorm) -> nn.Module:
    if layer.kind == "maxpool":
        return DarknetMaxPool2d(layer.size, layer.stride, layer.padding)
    if layer.kind == "dropout":
        return nn.Dropout(layer.probability)
    block = DarknetBlock()
    if layer.kind == "connected":
        block.append(nn.Flatten())
    block.add_module("core", _core(layer, shape))
    if layer.batch_norm:
        block.add_module("norm", _flat_norm(layer, norm))
    if layer.activation != "linear":
        block.add_module("activation", _activation(layer.activation))
    return block


def _core(layer: DarknetLayer, shape: Shape) -> nn.Module:
    channels = shape[0]
    if layer.kind == "local":
        return LocallyConnected2d(
            channels, layer.outputs, shape[1:], layer.size, stride=layer.stride, padding=layer.padding
        )
    if layer.kind == "connected":
        core: nn.Linear | nn.Conv2d = nn.Linear(prod(shape), layer.outputs, bias=not layer.batch_norm)
    else:
        core = nn.Conv2d(
            channels, layer.outputs, layer.size, layer.stride, layer.padding, bias=not layer.batch_norm
        )
    nn.init.kaiming_normal_(core.weight, a=0.1)
    if core.bias is not None:
        nn.init.zeros_(core.bias)
    return core


class FlatNorm(nn.Module):
    """A norm of maps, for what a connected layer gives: each number is a channel of one cell.

    >>> FlatNorm(build_norm("frozen", 3, eps=0.0))(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.of_cells = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.of_cells(x[:, :, None, None])[:, :, 0, 0]


def _flat_norm(layer: DarknetLayer, kind: CellNorm) -> nn.Module:
    norm: nn.Module
    if kind == "darknet":
        norm = DarknetBatchNorm2d(layer.outputs)
    elif kind == "frozen":
        norm = FrozenBatchNorm2d(layer.outputs)
    else:
        norm = build_norm("batch", layer.outputs)
    return FlatNorm(norm) if layer.kind == "connected" else norm


def _activation(kind: LayerActivation) -> nn.Module:
    return nn.LeakyReLU(0.1) if kind == "leaky" else ACTIVATIONS[kind]()
