"""The anchors of every level of a pyramid, wherever its cells lie."""

from collections.abc import Mapping

from torch import Tensor, nn

from pagoda.ops.anchors import AnchorShapes, Side, cell_steps, grid_anchors
from pagoda.plain import checked


@checked
class AnchorGrid(nn.Module):
    """The same shapes at every cell of every level; moves with its detector, but is not saved with the weights.

    Args:
        strides: {level: pixels from cell to cell}.
    """

    def __init__(self, shapes: AnchorShapes, strides: Mapping[int, int]) -> None:
        super().__init__()
        self.steps, self.strides = shapes.steps, dict(strides)
        for level, stride in self.strides.items():
            self.register_buffer(f"cell_{level}", shapes.of_cell(stride), persistent=False)
        self.per_cell = len(self.of_cell(min(self.strides)))

    def of_cell(self, level: int) -> Tensor:
        """(A, 4) of the cell at row 0, column 0."""
        return getattr(self, f"cell_{level}")

    def forward(self, pyramid: Mapping[int, Tensor], padded: tuple[Side, Side]) -> tuple[Tensor, ...]:
        """(P_l, 4) per level, in pixels of a batch padded to (height, width)."""
        anchors = []
        for level, x in sorted(pyramid.items()):
            size = (x.shape[-2], x.shape[-1])
            steps = cell_steps(self.steps, self.strides[level], padded, size)
            anchors.append(grid_anchors(self.of_cell(level), size, steps))
        return tuple(anchors)
