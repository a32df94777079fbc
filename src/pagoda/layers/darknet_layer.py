"""What the layers of darknet's networks of 2015 and 2016 are, one by one, without their modules (Redmon 2016).

Sizes are (height, width), shapes (channels, height, width).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pagoda.plain import check_numbers, checked

Kind = Literal["convolutional", "maxpool", "local", "dropout", "connected"]
LayerActivation = Literal["linear", "leaky", "relu", "logistic", "tanh"]
Shape = tuple[int, int, int]
WIDEST, MOST_LAYERS = 2**20, 1000
"""of numbers a layer gives, and of layers: more is no network of this kind but a mistake"""


@checked
@dataclass(frozen=True, kw_only=True)
class DarknetLayer:
    """One section of a network, in order.

    Raises ValueError for numbers out of range.

    >>> DarknetLayer(kind="convolutional", outputs=16, size=3, padding=1, batch_norm=True, activation="leaky").stride
    1
    """

    kind: Kind
    """convolutional, maxpool, local (locally connected), dropout or connected (fully)"""
    outputs: int = 1
    """channels of convolutional and local, numbers of connected"""
    size: int = 1
    """side of the window, pixels"""
    stride: int = 1
    """from window to window, pixels"""
    padding: int = 0
    """zeros on every side; of maxpool: on both sides together, which never win"""
    batch_norm: bool = False
    """of convolutional and connected: a batch norm instead of the bias"""
    activation: LayerActivation = "linear"
    """behind the norm; leaky: slope .1 below 0"""
    probability: float = 0.5
    """of dropout: that a number becomes 0 in training"""

    def __post_init__(self) -> None:
        check_numbers(self, 1, WIDEST, "outputs", "size", "stride")
        check_numbers(self, 0, WIDEST, "padding")
        check_numbers(self, 0, 1, "probability")

    def shape(self, before: Shape) -> Shape:
        """What it makes of (channels, height, width).

        >>> DarknetLayer(kind="maxpool", size=2, stride=2, padding=1).shape((16, 448, 448))
        (16, 224, 224)
        """
        channels, *sides = before
        if self.kind == "dropout":
            return before
        if self.kind == "connected":
            return self.outputs, 1, 1
        if self.kind == "maxpool":
            height, width = ((side + self.padding - self.size) // self.stride + 1 for side in sides)
            return channels, height, width
        height, width = (window_count(side, self.size, self.stride, self.padding) for side in sides)
        return self.outputs, height, width


def shapes_of(layers: Sequence[DarknetLayer], shape: Shape) -> list[Shape]:
    """(channels, height, width) behind every layer; raises as `build_layers` does.

    >>> shapes_of([DarknetLayer(kind="convolutional", outputs=8, size=3, padding=1)], (3, 6, 6))
    [(8, 6, 6)]
    """
    if len(layers) > MOST_LAYERS:
        raise ValueError(f"a network has at most {MOST_LAYERS} layers, got {len(layers)}")
    found, is_flat = [], False
    for number, layer in enumerate(layers):
        if is_flat and layer.kind in ("convolutional", "maxpool", "local"):
            raise ValueError(
                f"layer {number}, {layer.kind}, reads maps, but a connected layer before it gives none"
            )
        is_flat = is_flat or layer.kind == "connected"
        after = layer.shape(shape)
        if min(after) < 1:
            raise ValueError(
                f"layer {number}, {layer.kind}, has a window of {layer.size} pixels, into which maps of"
                f" {shape[1]}×{shape[2]} do not fit"
            )
        shape = after
        found.append(shape)
    return found


def window_count(side: int, kernel: int, stride: int, padding: int) -> int:
    """How many places a window has along a side.

    >>> window_count(448, 7, 2, 3), window_count(7, 3, 1, 0)
    (224, 5)
    """
    return (side + 2 * padding - kernel) // stride + 1
