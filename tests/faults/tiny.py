"""The smallest detector that learns: what trials train again and again."""

from itertools import pairwise

from torch import Tensor, nn

from pagoda.detectors.fcos import FCOS
from pagoda.heads.dense import DenseHead
from pagoda.necks.fpn import FPN
from pagoda.preprocess import InputSpec


class Strided(nn.Module):
    """A convolution per halving: a pyramid of levels 3 to 5 with eight channels each."""

    channels = dict.fromkeys((3, 4, 5), 8)

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 8, 8, 8, 8)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in pairwise(widths)
        )

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        levels, x = {}, images
        for level, stage in enumerate(self.stages, 1):
            x = stage(x)
            if level in self.channels:
                levels[level] = x
        return levels


def tiny(num_classes: int) -> FCOS:
    """FCOS on `Strided`, for pictures of 64 pixels."""
    backbone = Strided()
    neck = FPN(backbone.channels, out_channels=8, top_level=5)
    return FCOS(
        backbone,
        neck,
        class_head=DenseHead(neck.channels, outputs=num_classes, depth=1, groups=4),
        box_head=DenseHead(neck.channels, outputs=5, depth=1, groups=4),
        input_spec=InputSpec(short_side=64, long_side=64),
    )
