"""Blocks that let every place of a map see all others: context (GCNet) and non-local blocks.

Put into a residual network at its start, both leave it as it is. Attribute names are mmcv's, so its weights
load by name.
"""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from pagoda.layers.norm import Norm, build_norm
from pagoda.plain import checked

Pooling = Literal["attention", "average"]
Fusion = Literal["add", "multiply", "multiply_add"]
Pairwise = Literal["gaussian", "embedded_gaussian", "dot_product", "concatenation"]


@checked
class ContextBlock(nn.Module):
    """One vector for the whole map, changed by two 1×1 convolutions and added to every place (Cao 2019).

    Args:
        ratio: channels between the two convolutions, as a share of `channels`, rounded down.
        pooling: "attention" weights the places by a softmax over them, "average" equally.
        fusion: "multiply" scales the channels by the vector's sigmoid, which halves them at the start;
            "multiply_add" does that first and then adds.

    Raises ValueError for a ratio that leaves no channels.

    >>> x = torch.rand(1, 16, 2, 2)
    >>> torch.equal(ContextBlock(16)(x), x)
    True
    """

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 1 / 16,
        pooling: Pooling = "attention",
        fusion: Fusion = "add",
    ) -> None:
        super().__init__()
        width = int(channels * ratio)
        if width < 1:
            raise ValueError(
                f"ratio {ratio} of {channels} channels leaves none; take at least {1 / channels}"
            )
        self.conv_mask = nn.Conv2d(channels, 1, 1) if pooling == "attention" else None
        self.channel_add_conv = _transform(channels, width) if fusion != "multiply" else None
        self.channel_mul_conv = _transform(channels, width) if fusion != "add" else None
        if self.conv_mask is not None:
            nn.init.kaiming_normal_(self.conv_mask.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(self.conv_mask.bias)

    def context(self, x: Tensor) -> Tensor:
        """(B, C, 1, 1): the mean over all places, weighted as `pooling` says."""
        if self.conv_mask is None:
            return x.mean(dim=(2, 3), keepdim=True)
        shares = self.conv_mask(x).flatten(2).softmax(dim=2)  # (B, 1, HW)
        return (x.flatten(2) @ shares.transpose(1, 2)).unsqueeze(3)

    def forward(self, x: Tensor) -> Tensor:
        context = self.context(x)
        if self.channel_mul_conv is not None:
            x = x * self.channel_mul_conv(context).sigmoid()
        if self.channel_add_conv is not None:
            x = x + self.channel_add_conv(context)
        return x


def _transform(channels: int, width: int) -> nn.Sequential:
    last = nn.Conv2d(width, channels, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Conv2d(channels, width, 1), nn.LayerNorm([width, 1, 1]), nn.ReLU(inplace=True), last
    )


@checked
class NonLocal2d(nn.Module):
    """Each place adds a sum over all places, weighted by how alike they are (Wang 2018).

    Args:
        reduction: divides the channels inside the block.
        mode: likeness of places i and j: softmax over j of xᵢ·xⱼ ("gaussian"), of θᵢ·φⱼ ("embedded_gaussian"),
            or not softmax but θᵢ·φⱼ ("dot_product") or ReLU(w·[θᵢ, φⱼ]) ("concatenation") over their number.
        use_scale: divide θᵢ·φⱼ by the root of the channels; "embedded_gaussian" only.
        sub_sample: let j run over the maxima of 2×2 places.
        norm: after the last convolution; its weight starts at 0 instead of the convolution's.

    >>> x = torch.rand(1, 8, 2, 2)
    >>> torch.equal(NonLocal2d(8, mode="dot_product")(x), x)
    True
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 2,
        mode: Pairwise = "embedded_gaussian",
        use_scale: bool = True,
        sub_sample: bool = False,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        width = channels // reduction
        self.mode = mode
        self.scale = width**-0.5 if use_scale and mode == "embedded_gaussian" else 1.0
        pool = [nn.MaxPool2d(2)] if sub_sample else []
        self.g = _pooled(_conv(channels, width), pool)
        if mode == "gaussian":
            self.theta: nn.Module = nn.Identity()
            self.phi: nn.Module = nn.Sequential(*pool)
        else:
            self.theta = _conv(channels, width)
            self.phi = _pooled(_conv(channels, width), pool)
        if mode == "concatenation":
            project = nn.Conv2d(2 * width, 1, 1, bias=False)
            nn.init.kaiming_normal_(project.weight, mode="fan_out", nonlinearity="relu")
            self.concat_project = nn.Sequential(OrderedDict(conv=project))
        self.conv_out = _last_conv(width, channels, norm)

    def likeness(self, theta: Tensor, phi: Tensor) -> Tensor:
        """(B, HW, C) and (B, C, places) to (B, HW, places)."""
        if self.mode == "concatenation":
            # w·[θ, φ] is the sum of two products, so the pairs need not be written down.
            of_theta, of_phi = self.concat_project.conv.weight.flatten().chunk(2)
            pairs = torch.relu((theta @ of_theta)[:, :, None] + (of_phi @ phi)[:, None, :])
            return pairs / phi.shape[2]
        pairs = theta @ phi
        return pairs / phi.shape[2] if self.mode == "dot_product" else (pairs * self.scale).softmax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(x).flatten(2).transpose(1, 2)  # (B, HW, C)
        values = self.g(x).flatten(2).transpose(1, 2)  # (B, places, C)
        seen = self.likeness(theta, self.phi(x).flatten(2)) @ values
        return x + self.conv_out(seen.transpose(1, 2).unflatten(2, x.shape[2:]))


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)
    return nn.Sequential(OrderedDict(conv=conv))


def _pooled(conv: nn.Sequential, pool: list[nn.MaxPool2d]) -> nn.Sequential:
    return nn.Sequential(conv, *pool) if pool else conv


def _last_conv(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 1, bias=norm == "none")
    if norm == "none":
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
        return nn.Sequential(OrderedDict(conv=conv))
    bn = build_norm(norm, outputs)
    nn.init.zeros_(bn.weight)
    return nn.Sequential(OrderedDict(conv=conv, bn=bn))
