"""The anchors of every level of a pyramid, wherever its cells lie."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from pagoda.ops.anchors import AnchorShapes, Side, cell_steps, grid_anchors
from pagoda.plain import checked


@checked
class AnchorGrid(nn.Module):
    """The same shapes at every cell of every level; moves with its detector, but is not saved with the weights.

    Args:
        strides: {level: pixels from cell to cell}.

    >>> import torch
    >>> grid = AnchorGrid(AnchorShapes(), {3: 8})
    >>> grid.per_cell, grid({3: torch.zeros(1, 4, 2, 3)}, (16, 24))[0].shape  # 9 · 2 · 3 anchors
    (9, torch.Size([54, 4]))
    """

    def __init__(self, shapes: AnchorShapes, strides: Mapping[int, int]) -> None:
        super().__init__()
        self.steps, self.strides = shapes.steps, dict(strides)
        for level, stride in self.strides.items():
            self.register_buffer(f"cell_{level}", shapes.of_cell(stride), persistent=False)
        self.per_cell = len(self.of_cell(min(self.strides)))

    def of_cell(self, level: int) -> Float[Tensor, "a 4"]:
        """(A, 4) anchors in pixels of the cell at row 0, column 0 of a level."""
        return getattr(self, f"cell_{level}")

    def forward(
        self, pyramid: Mapping[int, Float[Tensor, "b c *t _ _"]], padded: tuple[Side, Side]
    ) -> tuple[Float[Tensor, "_ 4"], ...]:
        """(P_l, 4) anchors per level, finest first, in pixels of a batch padded to (height, width)."""
        anchors = []
        for level, x in sorted(pyramid.items()):
            size = (x.shape[-2], x.shape[-1])
            steps = cell_steps(self.steps, self.strides[level], padded, size)
            anchors.append(grid_anchors(self.of_cell(level), size, steps))
        return tuple(anchors)
