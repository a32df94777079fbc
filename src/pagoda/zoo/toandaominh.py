"""What toandaominh1997/EfficientDet.Pytorch computes under the name of EfficientDet (spec section 1.11).

It is kept so that its checkpoints give what they gave there; nothing new should be trained in it. Where it departs
from the paper:

* Every stage of the EfficientNet but the first strides, so that P4 and P5 of the paper come at half their
  resolution, ImageNet weights no longer fit, and no P6 and P7 are built: the last five stages are P3 … P7.
* The pyramid's convolutions are full ones, without norm or activation, and its first 1×1 are shared by all edges.
* Fusion weights are normalised twice; the coarsest node takes the last column of the first set.
* The heads are RetinaNet's: four convolutions of 256 channels with ReLU, without norm, whatever the variant.

The losses, the anchors' order and suppression across classes are the flavour's. Two more faults do not show in what a
checkpoint computes: its constructor draws the pretrained backbone anew, and its in-place division keeps today's
PyTorch from training it (here it is done with copies).
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from pagoda.backbones.timm import SameConv2d
from pagoda.heads.dense import DenseHead
from pagoda.layers.conv import NORM_MOMENTUM
from pagoda.plain import checked
from pagoda.zoo.option_groups import RestridedOptions

HEAD_WIDTH, HEAD_DEPTH = 256, 4
FUSION_EPS = 1e-4
LEVELS = (3, 4, 5, 6, 7)


def restrided_parts(
    backbone: str, options: RestridedOptions, *, width: int, cells: int, num_classes: int
) -> tuple[nn.Module, nn.Module, DenseHead, DenseHead]:
    """Backbone, neck, class head and box head. Its pyramids have one cell less than the paper's."""
    body = RestridedEfficientNet(f"tf_efficientnet_{backbone}")
    neck = PlainWeightedPyramid(
        body.channels,
        width if options.width is None else options.width,
        cells=cells - 1 if options.cells is None else options.cells,
    )
    class_head, box_head = (
        DenseHead(neck.channels, outputs, depth=HEAD_DEPTH, norm="none", tower_width=HEAD_WIDTH)
        for outputs in (9 * num_classes, 9 * 4)
    )
    return body, neck, class_head, box_head


class RestridedEfficientNet(nn.Module):
    """An EfficientNet of timm whose fifth and seventh stage stride too; levels 3 … 7 are its last five stages."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        self.body: Any = timm.create_model(name, features_only=True, out_indices=(4,))
        for stage in (4, 6):
            first = self.body.blocks[stage][0]
            first.conv_dw = _strided(first.conv_dw)
        for module in self.body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = NORM_MOMENTUM
        ends = [stage[-1] for stage in self.body.blocks][-len(LEVELS) :]
        self.channels = {level: end.conv_pwl.out_channels for level, end in zip(LEVELS, ends, strict=True)}

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        x = self.body.bn1(self.body.conv_stem(pictures))
        maps = []
        for stage in self.body.blocks:
            x = stage(x)
            maps.append(x)
        return dict(zip(LEVELS, maps[-len(LEVELS) :], strict=True))


def _strided(conv: nn.Conv2d) -> SameConv2d:
    """The same depthwise convolution with stride 2."""
    return SameConv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, (2, 2), groups=conv.groups, bias=False
    )


@checked
class PlainWeightedPyramid(nn.Module):
    """1×1 convolutions to one width, then cells of `PlainCell`."""

    def __init__(self, channels: dict[int, int], width: int, *, cells: int) -> None:
        super().__init__()
        self.channels = dict.fromkeys(channels, width)
        self.lateral = nn.ModuleDict({str(level): nn.Conv2d(c, width, 1) for level, c in channels.items()})
        self.cells = nn.ModuleList(PlainCell(len(channels), width) for _ in range(cells))

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        _check_halves(features)
        maps = [self.lateral[str(level)](features[level]) for level in self.channels]
        for cell in self.cells:
            maps = cell(maps)
        return dict(zip(self.channels, maps, strict=True))


def _check_halves(features: dict[int, Tensor]) -> None:
    """Raises ValueError unless every level has exactly half the rows and columns of the one below."""
    sizes = [tuple(x.shape[-2:]) for _, x in sorted(features.items())]
    for (height, width), above in pairwise(sizes):
        if (height, width) != (2 * above[0], 2 * above[1]):
            raise ValueError(
                f"toandaominh1997's pyramid needs sides that are multiples of {2 ** max(features)} pixels, got levels"
                f" of {', '.join(f'{h}×{w}' for h, w in sizes)}; use the flavours of other programs for other sizes"
            )


@checked
class PlainCell(nn.Module):
    """Down and up once. `convs` are in the order of their use: down from the second coarsest level, then up."""

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.full((2, levels), 0.5))
        self.w2 = nn.Parameter(torch.full((3, levels - 2), 0.5))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2 * levels - 2))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        first, second = ((w := each.relu()) / (w.sum(0) + FUSION_EPS) for each in (self.w1, self.w2))
        top, convs = len(maps) - 1, iter(self.convs)
        made = list(maps)
        for level in range(top - 1, -1, -1):
            above = interpolate(made[level + 1], scale_factor=2, mode="nearest")
            made[level] = next(convs)(averaged([made[level], above], first[:, level]))
        for level in range(1, top):
            below = max_pool2d(made[level - 1], 2)
            made[level] = next(convs)(averaged([made[level], below, maps[level]], second[:, level - 1]))
        below = max_pool2d(made[top - 1], 2)
        made[top] = next(convs)(averaged([made[top], below], first[:, top]))
        return made


def averaged(maps: list[Tensor], weights: Tensor) -> Tensor:
    """Σ w · map / (Σ w + ε), though the weights add up to nearly 1 already."""
    return sum(w * x for w, x in zip(weights, maps, strict=True)) / (weights.sum() + FUSION_EPS)
