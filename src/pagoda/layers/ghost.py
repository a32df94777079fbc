"""Ghost modules (Han 2020): half the maps from a convolution, the other half cheaply from the first."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pagoda.plain import checked


@checked
class GhostModule(nn.Module):
    """Stands in for a convolution with its norm and ReLU: (B, inputs, H, W) to (B, outputs, H', W').

    A convolution makes `outputs / ratio` primary maps; a depthwise one derives `ratio - 1` ghosts from each.
    Where `ratio` does not divide `outputs`, the last ghosts are computed and cut off, as in the original.
    Padding keeps H and W but for the stride.

    Args:
        kernel, stride, dilation: of the primary convolution; the cheap one has neither stride nor dilation.
        ratio: s in the paper; 1 makes primary maps only, an ordinary convolution with norm.
        cheap_kernel: d in the paper, odd.
        relu: False for a linear projection; then neither half has a ReLU.

    Raises ValueError for a ratio below 1 and for even kernels.

    >>> ghost = GhostModule(8, 16)  # eight maps are convolved, eight made of these
    >>> ghost.primary_conv[0].out_channels, ghost.cheap_operation[0].groups
    (8, 8)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        ratio: int = 2,
        cheap_kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        if ratio < 1:
            raise ValueError(f"ratio (maps per primary map, itself included) must be at least 1, got {ratio}")
        if kernel % 2 == 0 or cheap_kernel % 2 == 0:
            raise ValueError(f"kernel and cheap_kernel must be odd, got {kernel} and {cheap_kernel}")
        self.outputs = outputs
        primary = math.ceil(outputs / ratio)
        ghosts = primary * (ratio - 1)
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(inputs, primary, kernel, stride, padding, dilation, bias=False)
        self.primary_conv = _norm_and_relu(conv, relu)
        self.cheap_operation: nn.Sequential | None = None
        if ghosts:
            cheap = nn.Conv2d(
                primary, ghosts, cheap_kernel, padding=cheap_kernel // 2, groups=primary, bias=False
            )
            self.cheap_operation = _norm_and_relu(cheap, relu)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.primary_conv(x)
        if self.cheap_operation is None:
            return maps
        return torch.cat([maps, self.cheap_operation(maps)], dim=1)[:, : self.outputs]


@checked
class GhostModuleV2(GhostModule):
    """A ghost module gated by what stands far away in the same row and column: DFC attention (Tang 2022).

    The gate looks at the input at half resolution through a 1×5 and a 5×1 depthwise convolution; its sigmoid,
    enlarged to the output by repeating values, multiplies every map. Odd sizes lose their last row or column
    in halving. A side of one pixel is not halved, so that small pictures pass, where the original fails.

    >>> GhostModuleV2(4, 6)(torch.rand(1, 4, 5, 7)).shape
    torch.Size([1, 6, 5, 7])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        ratio: int = 2,
        cheap_kernel: int = 3,
        stride: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__(
            inputs, outputs, kernel, ratio=ratio, cheap_kernel=cheap_kernel, stride=stride, relu=relu
        )
        self.short_conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.Conv2d(outputs, outputs, (1, 5), padding=(0, 2), groups=outputs, bias=False),
            nn.BatchNorm2d(outputs),
            nn.Conv2d(outputs, outputs, (5, 1), padding=(2, 0), groups=outputs, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = super().forward(x)
        gate = self.short_conv(_halved(x)).sigmoid()
        return maps * F.interpolate(gate, size=maps.shape[-2:], mode="nearest")


def _halved(x: Tensor) -> Tensor:
    """Means of 2×2 pixels; an odd last row or column is dropped unless it is the only one."""
    # No branch on the size: pooled with the odd rest, then cut, an exported graph holds for every size.
    height, width = (torch.sym_max(side // 2, 1) for side in x.shape[-2:])
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)[..., :height, :width]


def _norm_and_relu(conv: nn.Conv2d, relu: bool) -> nn.Sequential:
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(conv.out_channels)]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
