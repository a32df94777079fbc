"""The heads of YOLOv1: every cell of one grid says classes, confidences and boxes. C classes, K boxes a cell."""

from collections.abc import Sequence
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagoda.layers.darknet import CellNorm, build_layers
from pagoda.layers.darknet_layer import DarknetLayer, Shape, shapes_of
from pagoda.layers.norm import Norm, build_norm
from pagoda.ops.cells import CellOutputs, split_cells
from pagoda.plain import check_counts, checked

START = torch.tensor([0.5, 0.5, 0.3, 0.3])
"""of a box before training: in the middle of its cell, the root of .09 of the picture wide and high"""


@checked
class ConnectedCellHead(nn.Module):
    """As published: locally and fully connected layers, the last of which says everything of all S·S cells at once.

    Args:
        shape: (channels, height, width) of the maps it reads, which it is made for.
        layers: from the first behind the convolutions to the last.

    Raises ValueError where the last layer is not connected, or has not S · S · (C + 5 K) outputs.

    >>> layers = [DarknetLayer(kind="connected", outputs=2 * 2 * (3 + 5))]
    >>> head = ConnectedCellHead((8, 4, 4), layers, side=2, num_classes=3, num_boxes=1)
    >>> head({6: torch.zeros(1, 8, 4, 4)}).classes.shape
    torch.Size([1, 4, 3])
    """

    def __init__(
        self,
        shape: Shape,
        layers: Sequence[DarknetLayer],
        *,
        side: int,
        num_classes: int,
        num_boxes: int,
        norm: CellNorm = "batch",
    ) -> None:
        super().__init__()
        check_counts(side=side, num_classes=num_classes, num_boxes=num_boxes)
        outputs = side * side * (num_classes + 5 * num_boxes)
        given = prod(shapes_of(layers, shape)[-1]) if layers else 0
        if not layers or layers[-1].kind != "connected" or given != outputs:
            raise ValueError(
                f"the last layer must be connected with {outputs} outputs for {side}×{side} cells of {num_classes}"
                f" classes and {num_boxes} boxes, got {layers[-1].kind if layers else 'none'} with {given}"
            )
        self.grid: tuple[int, int] | None = (side, side)
        self.num_classes, self.num_boxes, self.shape = num_classes, num_boxes, shape
        built = build_layers(layers, shape, norm)
        self.layers, self.predict = built[:-1], built[-1]
        nn.init.normal_(self.last.weight, std=0.05 / self.last.in_features**0.5)
        if self.last.bias is not None:
            cells = side * side
            with torch.no_grad():
                self.last.bias[cells * (num_classes + num_boxes) :] = START.repeat(cells * num_boxes)

    @property
    def last(self) -> nn.Linear:
        """The layer whose rows are classes of cells, then confidences, then boxes."""
        return self.predict.get_submodule("core")  # type: ignore[return-value]

    def forward(self, pyramid: dict[int, Float[Tensor, "b c h w"]]) -> CellOutputs:
        (x,) = pyramid.values()
        return split_cells(self.predict(self.layers(x)), self.num_classes, self.num_boxes)


@checked
class ConvCellHead(nn.Module):
    """A tower of 3×3 convolutions, then one 1×1, so that every cell of the backbone's map speaks for itself.

    The grid is that of the map, whatever its size. Rows of the last layer are classes, confidences, boxes.

    Args:
        channels: the backbone's, {level: C}, of one level.
        width: channels of the tower.
        depth: convolutions in the tower.
        prior: what confidences start at, before a sigmoid where one follows.

    Raises ValueError for several levels.

    >>> head = ConvCellHead({5: 8}, num_classes=3, num_boxes=2, width=16, depth=1)
    >>> head({5: torch.zeros(1, 8, 4, 6)}).boxes.shape
    torch.Size([1, 24, 2, 4])
    """

    def __init__(
        self,
        channels: dict[int, int],
        *,
        num_classes: int,
        num_boxes: int,
        width: int = 256,
        depth: int = 2,
        norm: Norm = "batch",
        groups: int = 32,
        prior: float = 0.0,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, num_boxes=num_boxes, width=width)
        if len(channels) != 1:
            raise ValueError(f"a head of cells reads one level, got {', '.join(map(str, sorted(channels)))}")
        (inputs,) = channels.values()
        self.grid: tuple[int, int] | None = None
        self.num_classes, self.num_boxes = num_classes, num_boxes
        layers: list[nn.Module] = []
        for _ in range(depth):
            conv = nn.Conv2d(inputs, width, 3, padding=1, bias=norm == "none")
            nn.init.kaiming_normal_(conv.weight, a=0.1)
            layers += [conv, build_norm(norm, width, groups=groups), nn.LeakyReLU(0.1)]
            inputs = width
        self.tower = nn.Sequential(*layers)
        self.predict = nn.Conv2d(inputs, num_classes + 5 * num_boxes, 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        with torch.no_grad():
            self.predict.bias.zero_()
            self.predict.bias[num_classes : num_classes + num_boxes] = prior
            self.predict.bias[num_classes + num_boxes :] = torch.tensor([0.5, 0.5, 0.3, 0.3]).repeat(
                num_boxes
            )

    @property
    def last(self) -> nn.Conv2d:
        """The layer whose rows are classes, then confidences, then boxes."""
        return self.predict

    def forward(self, pyramid: dict[int, Float[Tensor, "b c _ _"]]) -> CellOutputs:
        (x,) = pyramid.values()
        flat = self.predict(self.tower(x)).flatten(2).transpose(1, 2)  # (B, N, C + 5 K)
        classes, confidences, boxes = flat.split(
            (self.num_classes, self.num_boxes, 4 * self.num_boxes), dim=2
        )
        return CellOutputs(classes, confidences, boxes.unflatten(2, (self.num_boxes, 4)))
