"""The head of a proposal network (Ren 2015): is there an object at this anchor, and where exactly?"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagoda.heads.towers import shared_width, start_small
from pagoda.ops.box_coding import BoxCoder
from pagoda.plain import checked


@checked
class RPNHead(nn.Module):
    """3×3 convolutions with ReLU shared by all levels, then 1×1 to one logit and four deltas per anchor.

    Args:
        channels: the neck's, {level: C}; all levels must have the same C.
        anchors: per cell.
        depth: of the 3×3 convolutions; torchvision's second version has two.
        coder: how its deltas stand for boxes; a detector decodes them, and trains them with the same.

    >>> head = RPNHead({4: 8, 5: 8}, 3)
    >>> pyramid = {4: torch.zeros(1, 8, 4, 4), 5: torch.zeros(1, 8, 2, 2)}
    >>> [tuple(x.shape) for x in head(pyramid)]  # 3 · (16 + 4) anchors
    [(1, 60), (1, 60, 4)]
    """

    def __init__(
        self, channels: dict[int, int], anchors: int, *, depth: int = 1, coder: BoxCoder | None = None
    ) -> None:
        super().__init__()
        width = shared_width(channels)
        self.anchors, self.coder = anchors, coder or BoxCoder()
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.tower = nn.Sequential(*layers)
        self.objectness = nn.Conv2d(width, anchors, 1)
        self.deltas = nn.Conv2d(width, 4 * anchors, 1)
        start_small(self)

    def forward(
        self, pyramid: dict[int, Float[Tensor, "b c _ _"]]
    ) -> tuple[Float[Tensor, "b p"], Float[Tensor, "b p 4"]]:
        """(B, P) logits and (B, P, 4) deltas, finest level first, row by row, anchors of a cell together."""
        logits, deltas = [], []
        for level in sorted(pyramid):
            x = self.tower(pyramid[level])
            batch = x.shape[0]  # len() would make it a constant of an exported graph
            logits.append(self.objectness(x).permute(0, 2, 3, 1).reshape(batch, -1))
            deltas.append(self.deltas(x).permute(0, 2, 3, 1).reshape(batch, -1, 4))
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)
