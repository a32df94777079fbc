"""Weight standardisation (Qiao 2019): filters of zero mean and unit deviation, whatever was learnt."""

import torch
from torch import Tensor, nn

from pagoda.plain import checked


@checked
class StandardizedConv2d(nn.Module):
    """A convolution without bias whose filters are standardised each time: (w - mean) / (std + 1e-5).

    Mean and (unbiased) deviation are those of one filter, over its inputs and taps. Made for group norm, which
    alone falls behind batch norm. It is no `nn.Conv2d`, because what holds for that (a norm behind it may be
    folded into `weight`) does not hold here.

    >>> weight = StandardizedConv2d(2, 3, 3).standardized_weight()
    >>> bool(weight.mean((1, 2, 3)).abs().max() < 1e-6), weight.std((1, 2, 3)).detach().round()
    (True, tensor([1., 1., 1.]))
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def standardized_weight(self) -> Tensor:
        """(outputs, inputs / groups, k, k): the filters that the picture meets."""
        std, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        return (self.weight - mean) / (std + 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.standardized_weight()
        return torch.conv2d(
            x,
            weight,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def extra_repr(self) -> str:
        shape = "×".join(map(str, self.weight.shape))
        return f"{shape}, stride={self.stride}, dilation={self.dilation}, groups={self.groups}"
