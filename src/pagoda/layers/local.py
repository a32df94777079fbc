"""Locally connected layers: convolutions that share nothing, with a kernel of its own at every cell. L output cells."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from pagoda.layers.darknet_layer import window_count
from pagoda.plain import check_counts, checked


@checked
class LocallyConnected2d(nn.Module):
    """A window slid over maps of one size, whose weights differ from cell to cell (YOLOv1's last but one layer).

    `weight` is (L, outputs, inputs · kernel²) and `bias` (outputs, L), cells row by row: the order of darknet's files.
    Every cell's kernel starts from U(−1, 1) · √(2 / fan-in).

    Args:
        size: (height, width) of the maps it reads, which it is made for.

    Raises ValueError where the window does not fit into the maps.

    >>> layer = LocallyConnected2d(2, 3, (4, 5), 3, padding=1)
    >>> layer(torch.zeros(1, 2, 4, 5)).shape, layer.weight.shape
    (torch.Size([1, 3, 4, 5]), torch.Size([20, 3, 18]))
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: tuple[int, int],
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__()
        check_counts(inputs=inputs, outputs=outputs, kernel=kernel, stride=stride)
        self.inputs, self.outputs, self.kernel = inputs, outputs, kernel
        self.stride, self.padding = stride, padding
        self.size = (
            window_count(size[0], kernel, stride, padding),
            window_count(size[1], kernel, stride, padding),
        )
        if min(self.size) < 1:
            raise ValueError(
                f"a {kernel}×{kernel} window does not fit into maps of {size} with padding {padding}"
            )
        cells = self.size[0] * self.size[1]
        self.weight = nn.Parameter(torch.empty(cells, outputs, inputs * kernel**2))
        self.bias = nn.Parameter(torch.empty(outputs, cells))
        bound = (2 / (inputs * kernel**2)) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "b inputs h w"]) -> Float[Tensor, "b outputs _ _"]:
        x = pad(x, (self.padding,) * 4)
        height, width = ((count - 1) * self.stride + 1 for count in self.size)
        windows = [  # slices, since torch.export lets im2col ask whether a batch is of one
            x[..., down : down + height : self.stride, across : across + width : self.stride]
            for down in range(self.kernel)
            for across in range(self.kernel)
        ]
        patches = torch.stack(windows, dim=2).flatten(3).flatten(1, 2)  # (B, inputs · k², L)
        found = torch.matmul(patches.permute(2, 0, 1), self.weight.transpose(1, 2))  # (L, B, outputs)
        return (found.permute(1, 2, 0).contiguous() + self.bias).unflatten(2, self.size)

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.outputs}, kernel={self.kernel}, cells={self.size[0]}×{self.size[1]}"
