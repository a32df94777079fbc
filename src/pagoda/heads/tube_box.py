"""From the pooled features of a tube to its class and its box in every frame. R tubes, T frames, C channels."""

from jaxtyping import Float
from torch import Tensor, nn

from pagoda.heads.roi_box import BoxHead


class TubeBoxHead(nn.Module):
    """A box head that looks at each frame alone; the frames' logits are averaged, their deltas kept apart.

    Attributes: `pooling`, `num_classes` and `coder` are the head's.

    >>> import torch
    >>> from pagoda.heads.roi_box import BoxTrunk
    >>> from pagoda.ops.roi import RoIPooling
    >>> head = TubeBoxHead(BoxHead(BoxTrunk(8, 2, width=4), 1, pooling=RoIPooling(resolution=2)))
    >>> [tuple(x.shape) for x in head(torch.zeros(5, 3, 8, 2, 2))]  # five tubes of three frames
    [(5, 2), (5, 1, 3, 4)]
    """

    def __init__(self, head: BoxHead) -> None:
        super().__init__()
        self.head = head
        self.pooling, self.num_classes, self.coder = head.pooling, head.num_classes, head.coder

    def forward(
        self, pooled: Float[Tensor, "r t c h w"]
    ) -> tuple[Float[Tensor, "r {self.num_classes+1}"], Float[Tensor, "r boxes t 4"]]:
        """(R, T, C, h, w) to (R, classes + 1) logits, background last, and (R, classes or 1, T, 4) deltas."""
        sizes = pooled.shape[:2]
        logits, deltas = self.head(pooled.flatten(0, 1))
        return logits.unflatten(0, sizes).mean(1), deltas.unflatten(0, sizes).transpose(1, 2)
