"""Deformable convolution (Dai 2017; modulated: Zhu 2018): every tap of the kernel reads where it chooses.

Runs wherever torchvision's operator runs: processor and GPU, training and export.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from pagoda.plain import checked

OffsetInit = Literal["zero", "uniform"]


@checked
class DeformConv2d(nn.Module):
    """A convolution whose taps are displaced, and if `modulated` weighted, by what `offset` sees at that place.

    `offset` is an ordinary convolution of the same geometry. Of its k·k·deform_groups·(3 if modulated else 2)
    outputs the first two thirds (all) are displacements in pixels, (dy, dx) per tap in row-major order; the
    last third are logits of the weights.

    Args:
        modulated: version 2. At zero offsets its weights are a half, so it computes half the plain convolution.
        deform_groups: parts of the input channels that have displacements of their own.
        offset_init: "zero" starts with the regular grid (Dai 2017); "uniform" gives `offset` random weights,
            as maskrcnn-benchmark and FCOS do.

    Raises ValueError for groups that do not divide the channels.

    >>> [DeformConv2d(4, 8, modulated=modulated).offset.out_channels for modulated in (False, True)]
    [18, 27]
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int = 1,
        dilation: int = 1,
        groups: int = 1,
        deform_groups: int = 1,
        modulated: bool = True,
        bias: bool = False,
        offset_init: OffsetInit = "zero",
    ) -> None:
        super().__init__()
        _check_groups(inputs, outputs, groups, deform_groups)
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        self.modulated, self.offset_init = modulated, offset_init
        self.num_displacements = 2 * kernel * kernel * deform_groups
        num_offsets = self.num_displacements // 2 * (3 if modulated else 2)
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.offset = nn.Conv2d(inputs, num_offsets, kernel, stride, padding=padding, dilation=dilation)
        self.inputs = inputs
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As the originals: the bound ignores `groups`, so grouped kernels start smaller than fan-in asks."""
        bound = 1 / math.sqrt(self.inputs * self.kernel**2)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.offset_init == "zero":
            nn.init.zeros_(self.offset.weight)
        else:
            nn.init.kaiming_uniform_(self.offset.weight, a=1)
        nn.init.zeros_(self.offset.bias)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        from torchvision.ops import deform_conv2d  # see ops.nms

        # The operator knows no bfloat16; positions are single precision at least, whatever surrounds it.
        exact = torch.promote_types(x.dtype, torch.float32)
        offset, mask = self.offset(x).to(exact), None
        if self.modulated:
            offset, logits = offset.tensor_split((self.num_displacements,), dim=1)
            mask = logits.sigmoid()
        bias = None if self.bias is None else self.bias.to(exact)
        with torch.autocast(x.device.type, enabled=False):
            y = deform_conv2d(
                x.to(exact),
                offset,
                self.weight.to(exact),
                bias,
                self.stride,
                self.padding,
                self.dilation,
                mask,
            )
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, dilation={self.dilation}, modulated={self.modulated}"


def _check_groups(inputs: int, outputs: int, groups: int, deform_groups: int) -> None:
    if inputs % groups or outputs % groups:
        raise ValueError(f"groups must divide {inputs} inputs and {outputs} outputs, got {groups}")
    if inputs % deform_groups:
        raise ValueError(f"deform_groups must divide {inputs} inputs, got {deform_groups}")
