"""The convolutional trunk of darknet's first networks: pictures to one map (Redmon 2016, arXiv 1506.02640)."""

from collections.abc import Sequence
from math import log2

from torch import Tensor, nn

from pagoda.layers.darknet import CellNorm, build_layers
from pagoda.layers.darknet_layer import DarknetLayer, shapes_of
from pagoda.plain import checked


@checked
class DarknetTrunk(nn.Module):
    """Convolutions and max-pooling in a row; gives {level: map}, of the level that is nearest to its stride.

    Args:
        size: (height, width) of the pictures that its head is made for; it reads others as well.

    Raises ValueError for other layers, and for pictures that its windows do not fit into.

    >>> conv = DarknetLayer(kind="convolutional", outputs=8, size=3, padding=1, batch_norm=True, activation="leaky")
    >>> trunk = DarknetTrunk([conv, DarknetLayer(kind="maxpool", size=2, stride=2, padding=1)], size=(32, 32))
    >>> trunk.channels, trunk.strides, trunk.shape
    ({1: 8}, {1: 2}, (8, 16, 16))
    """

    def __init__(
        self,
        layers: Sequence[DarknetLayer],
        *,
        size: tuple[int, int],
        norm: CellNorm = "batch",
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        others = [layer.kind for layer in layers if layer.kind not in ("convolutional", "maxpool")]
        if others:
            raise ValueError(f"a trunk has convolutional and maxpool layers, got {', '.join(others)}")
        before = (in_channels, *size)
        self.shape = shapes_of(layers, before)[-1] if layers else before
        stride = 1
        for layer in layers:
            stride *= layer.stride
        level = max(1, round(log2(stride)))
        self.channels, self.strides = {level: self.shape[0]}, {level: stride}
        self.input_shape, self.described = before, tuple(layers)
        self.layers = build_layers(layers, before, norm)

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        (level,) = self.channels
        return {level: self.layers(pictures)}
