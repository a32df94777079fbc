"""The proposal network over clips (Girdhar 2018): is there an object at this anchor, and where in each frame?"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagoda.heads.towers import shared_width, start_small
from pagoda.layers.conv3d import TimeConv3d
from pagoda.ops.box_coding import BoxCoder
from pagoda.plain import checked


@checked
class TubeRPNHead(nn.Module):
    """An RPN head of which only the 3×3 convolution sees neighbouring frames; one logit speaks for all frames.

    State-dict names are `rpn.RPNHead`'s; kernels have a time axis.

    Args:
        channels: the neck's, {level: C}; all levels must have the same C.
        anchors: per cell, the same in every frame; there are no more of them for more frames.
        time_kernel: frames that the 3×3 convolution sees.
        coder: how its deltas stand for boxes; a detector decodes them, and trains them with the same.

    >>> head = TubeRPNHead({4: 8}, 3)
    >>> [tuple(x.shape) for x in head({4: torch.zeros(1, 8, 5, 2, 2)})]  # one logit for all five frames
    [(1, 12), (1, 12, 5, 4)]
    """

    def __init__(
        self,
        channels: dict[int, int],
        anchors: int,
        *,
        time_kernel: int = 3,
        coder: BoxCoder | None = None,
    ) -> None:
        super().__init__()
        width = shared_width(channels)
        self.anchors, self.coder = anchors, coder or BoxCoder()
        self.tower = nn.Sequential(
            TimeConv3d(width, width, 3, time_kernel=time_kernel), nn.ReLU(inplace=True)
        )
        self.objectness = TimeConv3d(width, anchors, 1, time_kernel=1)
        self.deltas = TimeConv3d(width, 4 * anchors, 1, time_kernel=1)
        start_small(self)

    def forward(
        self, pyramid: dict[int, Float[Tensor, "b c t _ _"]]
    ) -> tuple[Float[Tensor, "b p"], Float[Tensor, "b p t 4"]]:
        """(B, P) logits and (B, P, T, 4) deltas, finest level first, row by row, anchors of a cell together."""
        logits, deltas = [], []
        for level in sorted(pyramid):
            x = self.tower(pyramid[level])
            batch, frames = x.shape[0], x.shape[2]
            # The mean over frames of a 1×1 convolution is that convolution of the mean.
            score = self.objectness(x.mean(2, keepdim=True))  # (B, A, 1, H, W)
            logits.append(score.permute(0, 3, 4, 1, 2).reshape(batch, -1))
            delta = self.deltas(x).unflatten(1, (self.anchors, 4))  # (B, A, 4, T, H, W)
            deltas.append(delta.permute(0, 4, 5, 1, 3, 2).reshape(batch, -1, frames, 4))
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)
