"""Heads of cells: numbers at their places, whatever the grid."""

import pytest
import torch

from pagoda.heads.cells import ConnectedCellHead, ConvCellHead
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.ops.cells import join_cells


def test_a_convolution_says_of_each_cell_what_a_loop_says() -> None:
    torch.manual_seed(0)
    head = ConvCellHead({5: 6}, num_classes=3, num_boxes=2, width=8, depth=0)
    x = torch.randn(2, 6, 3, 4)
    cells = head({5: x})
    for row in range(3):
        for column in range(4):
            said = head.predict.weight[:, :, 0, 0] @ x[1, :, row, column] + head.predict.bias
            index = row * 4 + column
            torch.testing.assert_close(cells.classes[1, index], said[:3])
            torch.testing.assert_close(cells.confidences[1, index], said[3:5])
            torch.testing.assert_close(cells.boxes[1, index], said[5:].view(2, 4))


def test_a_connected_head_has_darknets_order() -> None:
    head = ConnectedCellHead(
        (4, 2, 2), [DarknetLayer(kind="connected", outputs=4 * 13)], side=2, num_classes=3, num_boxes=2
    )
    x = torch.randn(3, 4, 2, 2)
    torch.testing.assert_close(join_cells(head({6: x})), head.last(x.flatten(1)))


@pytest.mark.parametrize(
    "layers",
    [
        (),
        (DarknetLayer(kind="dropout"),),
        (DarknetLayer(kind="connected", outputs=51),),
        (DarknetLayer(kind="connected", outputs=52), DarknetLayer(kind="dropout")),
    ],
)
def test_the_last_layer_must_say_all(layers: tuple[DarknetLayer, ...]) -> None:
    with pytest.raises(ValueError, match="connected with 52 outputs for 2×2 cells of 3 classes and 2 boxes"):
        ConnectedCellHead((4, 2, 2), layers, side=2, num_classes=3, num_boxes=2)
