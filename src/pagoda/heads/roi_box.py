"""From the pooled features of a region to its class and its box. R regions, C channels.

Two trunks (`BoxTrunk`, `StageTrunk`) and one predictor make a head.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from pagoda.layers.norm import Norm, build_norm
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.roi import RoIPooling
from pagoda.plain import checked

# From so many regions on, laying out the weights anew pays.
MANY_REGIONS = 400
Background = Literal["first", "last"]
"""row of the class that means nothing: maskrcnn-benchmark, Caffe2 and torchvision count it first, detectron2 and
mmdet last"""


@checked
class BoxTrunk(nn.Sequential):
    """Convolutions, if any, then fully connected layers with ReLU on all bins at once: (R, C, h, w) to (R, width).

    >>> BoxTrunk(8, 7, width=16)(torch.zeros(3, 8, 7, 7)).shape
    torch.Size([3, 16])
    """

    def __init__(
        self,
        channels: int,
        resolution: int,
        *,
        conv_depth: int = 0,
        fc_depth: int = 2,
        width: int = 1024,
        norm: Norm = "none",
    ) -> None:
        layers: list[nn.Module] = []
        for _ in range(conv_depth):
            conv = nn.Conv2d(channels, channels, 3, padding=1, bias=norm == "none")
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers.append(conv)
            layers += [] if norm == "none" else [build_norm(norm, channels)]
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Flatten())
        inputs = channels * resolution**2
        for _ in range(fc_depth):
            linear = nn.Linear(inputs, width)
            nn.init.kaiming_uniform_(linear.weight, a=1)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(inplace=True)]
            inputs = width
        super().__init__(*layers)
        self.outputs = inputs
        self.conv_layers, self.fc_depth = len(layers) - 2 * fc_depth - 1, fc_depth

    def forward(self, pooled: Float[Tensor, "r c h w"]) -> Float[Tensor, "r {self.outputs}"]:
        layers, x = list(self), pooled
        for layer in layers[: self.conv_layers]:
            x = layer(x)
        layers = layers[self.conv_layers :]
        if self.fc_depth and _is_many_floats_on_cpu(x):
            # A fully connected layer is a convolution with one place to stand, and torch's are twice as quick as its
            # products on processors not made by Intel. Nor need channels-last features be flattened.
            _, linear, *layers = layers
            x = conv2d(x, linear.weight.unflatten(1, x.shape[1:]), linear.bias).flatten(1)
        for layer in layers:
            x = layer(x)
        return x


def _is_many_floats_on_cpu(x: Tensor) -> bool:
    """Half precision gains nothing, exported graphs must not become this, and few regions are not worth it."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    return x.dtype == torch.float32 and len(x) >= MANY_REGIONS


@checked
class StageTrunk(nn.Module):
    """A backbone's last stage on every region (C4 networks), averaged over its cells: (R, C, h, w) to (R, outputs).

    >>> StageTrunk(nn.Identity(), 8)(torch.ones(3, 8, 7, 7)).shape
    torch.Size([3, 8])
    """

    def __init__(self, stage: nn.Module, outputs: int) -> None:
        super().__init__()
        self.stage = stage
        self.outputs = outputs

    def forward(self, pooled: Float[Tensor, "r c h w"]) -> Float[Tensor, "r {self.outputs}"]:
        return self.stage(pooled).mean((2, 3))


@checked
class BoxHead(nn.Module):
    """Two linear layers behind a trunk: class logits and box deltas of every region.

    Args:
        trunk: (R, C, h, w) to (R, trunk.outputs).
        pooling: how its regions are read; a detector does it.
        class_agnostic: one box for all classes.
        background: where the rows of the background stand in the weights; what the head returns has it last.
        coder: how its deltas stand for boxes; a detector decodes them, and trains them with the same.
        background_box: the weights hold deltas for the background, which nobody reads (Caffe2's descendants).

    >>> head = BoxHead(BoxTrunk(8, 2, width=4), 3, pooling=RoIPooling(resolution=2))
    >>> [tuple(x.shape) for x in head(torch.zeros(5, 8, 2, 2))]
    [(5, 4), (5, 3, 4)]
    """

    def __init__(
        self,
        trunk: nn.Module,
        num_classes: int,
        *,
        pooling: RoIPooling,
        class_agnostic: bool = False,
        background: Background = "last",
        background_box: bool = False,
        coder: BoxCoder | None = None,
    ) -> None:
        super().__init__()
        self.trunk, self.pooling = trunk, pooling
        self.num_classes, self.background = num_classes, background
        self.background_box = background_box
        self.coder = coder or BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
        boxes = (1 if class_agnostic else num_classes) + background_box
        self.classes = nn.Linear(trunk.outputs, num_classes + 1)
        self.deltas = nn.Linear(trunk.outputs, 4 * boxes)
        for linear, std in ((self.classes, 0.01), (self.deltas, 0.001)):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(
        self, pooled: Float[Tensor, "r c h w"]
    ) -> tuple[Float[Tensor, "r {self.num_classes+1}"], Float[Tensor, "r boxes 4"]]:
        """(R, classes + 1) logits, background last, and (R, classes or 1, 4) deltas."""
        x = self.trunk(pooled)
        logits, deltas = self.classes(x), self.deltas(x).unflatten(1, (-1, 4))
        if self.background == "first":
            logits = torch.cat([logits[:, 1:], logits[:, :1]], dim=1)
        if self.background_box:
            deltas = deltas[:, 1:] if self.background == "first" else deltas[:, :-1]
        return logits, deltas
