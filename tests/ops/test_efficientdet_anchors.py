"""EfficientDet's anchors: the published tables, and grids that do not divide the picture."""

import pytest
import torch
from torch import tensor

from pagoda.ops.anchors import SQRT2_SHAPES, StretchedAnchors, stretch_anchors


def all_levels(side: int, levels: range = range(3, 8), **options) -> torch.Tensor:
    of_cell = StretchedAnchors(**options).of_cell()
    grids = [-(-side // 2**level) for level in levels]
    return torch.cat([stretch_anchors(of_cell, (grid, grid), (side, side)) for grid in grids])


@pytest.mark.parametrize(
    ("side", "levels", "count"),
    [
        (512, range(3, 8), 49_104),  # D0
        (640, range(3, 8), 76_725),
        (768, range(3, 8), 110_484),
        (896, range(3, 8), 150_381),
        (1024, range(3, 8), 196_416),
        (1280, range(3, 8), 306_900),
        (1536, range(3, 8), 441_936),
        (1536, range(3, 9), 442_260),  # D7x
        (320, range(3, 8), 19_206),  # lite0
        (384, range(3, 8), 27_621),
        (448, range(3, 8), 37_629),
    ],
)
def test_numbers_of_anchors(side: int, levels: range, count: int) -> None:
    assert len(all_levels(side, levels)) == count


def test_first_anchors_of_d0() -> None:
    anchors = all_levels(512)
    # The originals list (y1, x1, y2, x2).
    expected = [[-12, -12, 20, 20], [-7.2, -18.4, 15.2, 26.4], [-18.4, -7.2, 26.4, 15.2]]
    torch.testing.assert_close(anchors[:3, [1, 0, 3, 2]], tensor(expected), rtol=0, atol=1e-5)
    widths = anchors[:9, 2] - anchors[:9, 0]
    sizes = [32 * 2 ** (octave / 3) for octave in range(3)]
    expected_widths = tensor([size * shape for size in sizes for shape in (1, 1.4, 0.7)])
    torch.testing.assert_close(widths, expected_widths)


def test_rounded_shapes_are_up_to_six_pixels_off_the_square_root() -> None:
    off = (all_levels(512) - all_levels(512, shapes=SQRT2_SHAPES)).abs().max().item()
    assert off == pytest.approx(5.8, abs=0.05)


def test_uneven_grids_follow_the_picture() -> None:
    of_cell = StretchedAnchors(octaves=1, shapes=((1.0, 0.5),)).of_cell()
    anchors = stretch_anchors(of_cell, (3, 2), (10, 7))
    step_y, step_x = 10 / 3, 3.5
    expected = [
        [
            (column + 0.5 - 2) * step_x,
            (row + 0.5 - 1) * step_y,
            (column + 0.5 + 2) * step_x,
            (row + 0.5 + 1) * step_y,
        ]
        for row in range(3)
        for column in range(2)
    ]
    torch.testing.assert_close(anchors, tensor(expected))


def test_shapes_may_be_outer() -> None:
    sizes_outer, shapes_outer = (StretchedAnchors(shapes_outer=outer).of_cell() for outer in (False, True))
    assert torch.equal(shapes_outer, sizes_outer.reshape(3, 3, 4).transpose(0, 1).reshape(9, 4))
