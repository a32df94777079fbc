"""Feature pyramid over clips: {level: (B, C, T, h, w)} to the same with one width (Lin 2016, Girdhar 2018)."""

from torch import Tensor, nn

from pagoda.layers.conv3d import TimeConv3d
from pagoda.necks.fpn import TopDownPyramid, start_convolutions
from pagoda.plain import checked


@checked
class FPN3D(TopDownPyramid):
    """An FPN in which frames meet in the output convolutions only; laterals and the way down keep them apart.

    State-dict names are `fpn.FPN`'s; kernels have a time axis. Levels above the backbone's are every second cell
    of the top output, on every frame.

    Args:
        channels: the backbone's, {level: C}; all levels must have the same number of frames.
        time_kernel: frames that an output convolution sees; 1 is the two-dimensional FPN on every frame.

    >>> neck = FPN3D({3: 8, 4: 16}, 8, top_level=5)
    >>> neck.lateral["3"].kernel_size, neck.output["3"].kernel_size, neck.strides
    ((1, 1, 1), (3, 3, 3), {3: 8, 4: 16, 5: 32})
    """

    def __init__(
        self, channels: dict[int, int], out_channels: int = 256, *, time_kernel: int = 3, top_level: int = 6
    ) -> None:
        super().__init__(channels, out_channels, top_level=top_level)
        self.lateral = nn.ModuleDict(
            {str(level): TimeConv3d(channels[level], out_channels, 1, time_kernel=1) for level in self.inputs}
        )
        self.output = nn.ModuleDict(
            {
                str(level): TimeConv3d(out_channels, out_channels, 3, time_kernel=time_kernel)
                for level in self.inputs
            }
        )
        start_convolutions(self)

    def merge(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        """As `FPN` does. Raises ValueError for levels of unlike many frames."""
        frames = {level: features[level].shape[2] for level in self.inputs}
        if len(set(frames.values())) != 1:
            raise ValueError(
                f"the pyramid needs the same frames on every level, got {frames}; leave time_stride off"
            )
        return super().merge(features)
