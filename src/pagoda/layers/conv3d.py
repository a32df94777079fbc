"""Convolution over clips (B, C, T, H, W): in the picture, and over neighbouring frames where asked for."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from pagoda.plain import checked


@checked
class TimeConv3d(nn.Conv3d):
    """A square convolution on every frame, joined with `time_kernel` - 1 neighbours; zeros beyond either end.

    Args:
        kernel, stride, dilation: of both sides of the picture; padded to keep the size but for the stride.
        time_kernel: odd; 1 looks at each frame alone.
        time_stride: returns every `time_stride`-th frame, the first one included.

    Raises ValueError for an even `time_kernel`.

    >>> conv = TimeConv3d(1, 2, 3, time_kernel=3, stride=2)  # five frames of 8 × 8 cells to five of 4 × 4
    >>> conv(torch.zeros(1, 1, 5, 8, 8)).shape
    torch.Size([1, 2, 5, 4, 4])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        time_kernel: int,
        stride: int = 1,
        time_stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        if time_kernel < 1 or time_kernel % 2 == 0:
            raise ValueError(f"time_kernel must be odd, so that frames keep their places; got {time_kernel}")
        padding = kernel // 2 * dilation
        super().__init__(
            inputs,
            outputs,
            (time_kernel, kernel, kernel),
            (time_stride, stride, stride),
            (time_kernel // 2, padding, padding),
            (1, dilation, dilation),
            groups,
            bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers three ways, to rounding, whichever is quickest."""
        if torch.compiler.is_exporting():  # folding frames would tie the graph to maps of more than one row
            return super().forward(x)
        if self.kernel_size[0] == 1:
            return self.convolve_frames(x[:, :, :: self.stride[0]], 0)
        if self.stride[0] == 1 and _is_one_float_clip_on_cpu(x):
            return self.sum_of_taps(x)
        return super().forward(x)

    def sum_of_taps(self, x: Tensor) -> Tensor:
        """Two-dimensional convolutions, one for each tap and only on frames that there are."""
        middle = self.kernel_size[0] // 2
        total = self.convolve_frames(x, middle)
        for shift in range(1, min(middle, x.shape[2] - 1) + 1):
            total[:, :, shift:] += self.convolve_frames(x[:, :, :-shift], middle - shift)
            total[:, :, :-shift] += self.convolve_frames(x[:, :, shift:], middle + shift)
        return total

    def convolve_frames(self, x: Tensor, tap: int) -> Tensor:
        """Every frame with the weights of one tap; the bias belongs to the middle one."""
        if x.shape[2] == 1:  # folding such an axis makes strides in which torch knows no channels-last layout
            return self._convolve(x[:, :, 0], tap).unsqueeze(2)
        frames = x.transpose(1, 2)
        found = self._convolve(frames.flatten(0, 1), tap)
        return found.unflatten(0, frames.shape[:2]).transpose(1, 2)

    def _convolve(self, pictures: Tensor, tap: int) -> Tensor:
        bias = self.bias if tap == self.kernel_size[0] // 2 else None
        weight, (_, padding, _) = self.weight[:, :, tap], self.padding
        return conv2d(pictures, weight, bias, self.stride[1:], padding, self.dilation[1:], self.groups)


def _is_one_float_clip_on_cpu(x: Tensor) -> bool:
    """What torch gives to a kernel of its own, up to five times slower than the one behind all its other conv3d.

    Everywhere else conv3d is quicker than sums of two-dimensional convolutions, by 5 to 40 %.
    """
    return x.shape[0] == 1 and x.dtype == torch.float32 and x.device.type == "cpu"
