"""From the pooled features of a region to a mask inside its box (He 2017). R regions, M × M cells."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagoda.heads.towers import start_relu
from pagoda.layers.norm import Norm, build_norm
from pagoda.ops.roi import RoIPooling
from pagoda.plain import checked


@checked
class MaskHead(nn.Module):
    """Convolutions, one transposed convolution to twice the resolution, 1×1 to one mask per class.

    Args:
        channels: of the pooled features.
        depth: of the 3×3 convolutions; 0 behind the shared last stage of C4 networks.
        norm: behind them; then they have no bias.
        class_agnostic: one mask for all classes.
        background_mask: the weights hold a mask for the background first, which nobody reads (Caffe2's
            descendants).

    >>> head = MaskHead(4, 3, pooling=RoIPooling(resolution=14), depth=1, width=4)
    >>> head(torch.zeros(2, 4, 14, 14), torch.tensor([0, 2])).shape
    torch.Size([2, 28, 28])
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        pooling: RoIPooling,
        depth: int = 4,
        width: int = 256,
        norm: Norm = "none",
        class_agnostic: bool = False,
        background_mask: bool = False,
    ) -> None:
        super().__init__()
        self.pooling, self.background_mask = pooling, background_mask
        self.class_agnostic = class_agnostic
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=norm == "none"))
            layers += [] if norm == "none" else [build_norm(norm, width)]
            layers.append(nn.ReLU(inplace=True))
            channels = width
        self.tower = nn.Sequential(*layers)
        self.enlarge = nn.ConvTranspose2d(channels, width, 2, stride=2)
        self.predict = nn.Conv2d(width, (1 if class_agnostic else num_classes) + background_mask, 1)
        start_relu(self)
        nn.init.normal_(self.predict.weight, std=0.001)

    def forward(
        self, pooled: Float[Tensor, "r c h w"], labels: Int[Tensor, " r"]
    ) -> Float[Tensor, "r 2*h 2*w"]:
        """(R, M, M) logits of the class each region has in `labels` (R,); those of class 0 where that is negative."""
        x = self.enlarge(self.tower(pooled)).relu_()
        rows = torch.zeros_like(labels) if self.class_agnostic else labels.clamp(min=0)
        rows = rows + int(self.background_mask)
        # What `predict` would say of the one class, without the others.
        weight, bias = self.predict.weight[rows, :, 0, 0], self.predict.bias[rows]
        return torch.einsum("rchw,rc->rhw", x, weight) + bias[:, None, None]
