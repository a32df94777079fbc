"""The convolutional head that FCOS, RetinaNet and EfficientDet slide over every pyramid level."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagoda.heads.towers import prior_logit, shared_width, start_small
from pagoda.layers.deform import DeformConv2d
from pagoda.layers.norm import Norm, build_norm
from pagoda.plain import checked


@checked
class DenseHead(nn.Module):
    """A tower of 3×3 convolutions shared by all levels, then one 3×3 prediction per location.

    Args:
        channels: the neck's, {level: C}; all levels must have the same C.
        outputs: numbers per location.
        depth: convolutions in the tower.
        norm: after each tower convolution; group norm's statistics are per level, so sharing is safe.
        bias: of the tower's convolutions; mmdet's have none where a norm follows.
        deform_last: the tower's last convolution is deformable, with modulation (FCOS's dcnv2 variants).
        tower_width: channels inside the tower; None: the neck's.

    >>> head = DenseHead({3: 32, 4: 32}, 5, depth=1)
    >>> head({3: torch.zeros(1, 32, 4, 4), 4: torch.zeros(1, 32, 2, 2)}).shape  # 16 + 4 locations
    torch.Size([1, 20, 5])
    """

    def __init__(
        self,
        channels: dict[int, int],
        outputs: int,
        *,
        depth: int = 4,
        norm: Norm = "group",
        groups: int = 32,
        bias: bool = True,
        deform_last: bool = False,
        tower_width: int | None = None,
    ) -> None:
        super().__init__()
        inputs = shared_width(channels)
        width = inputs if tower_width is None or depth == 0 else tower_width
        self.outputs = outputs
        layers: list[nn.Module] = []
        for index in range(depth):
            if deform_last and index == depth - 1:
                layers.append(DeformConv2d(inputs, width, 3, padding=1, modulated=True, bias=bias))
            else:
                layers.append(nn.Conv2d(inputs, width, 3, padding=1, bias=bias))
            inputs = width
            if norm != "none":
                layers.append(build_norm(norm, width, groups=groups))
            layers.append(nn.ReLU(inplace=True))
        self.tower = nn.Sequential(*layers)
        self.predict = nn.Conv2d(width, outputs, 3, padding=1)
        start_small(self)

    def set_prior(self, probability: float, count: int | None = None) -> None:
        """Start the first `count` outputs (all) at `probability` after a sigmoid."""
        with torch.no_grad():
            self.predict.bias[:count].fill_(prior_logit(probability))

    def forward(self, pyramid: dict[int, Float[Tensor, "b c _ _"]]) -> Float[Tensor, "b p {self.outputs}"]:
        """(B, P, outputs), finest level first, row by row."""
        maps = [self.predict(self.tower(pyramid[level])) for level in sorted(pyramid)]
        return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
