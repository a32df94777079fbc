"""Anchor tables of four published programs at all levels, and the grids they are laid on."""

from dataclasses import replace

import pytest
import torch
from torch import tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from pagoda.ops.anchors import AnchorShapes, cell_anchors, cell_points, grid_anchors

STRIDES = (8, 16, 32, 64, 128)


def square(low: float, high: float) -> tuple[float, float, float, float]:
    return (low, low, high, high)


MASKRCNN_BENCHMARK = {
    8: [
        (-18, -8, 25, 15),
        (-23.7183, -11.1191, 30.7183, 18.1191),
        (-30.9228, -15.0488, 37.9228, 22.0488),
        square(-12, 19),
        square(-16.1587, 23.1587),
        square(-21.3984, 28.3984),
        (-8, -20, 15, 27),
        (-11.1191, -26.2381, 18.1191, 33.2381),
        (-15.0488, -34.0976, 22.0488, 41.0976),
    ],
    16: [
        (-38, -16, 53, 31),
        (-49.9564, -22.2381, 64.9564, 37.2381),
        (-65.0204, -30.0976, 80.0204, 45.0976),
        square(-24, 39),
        square(-32.3175, 47.3175),
        square(-42.7968, 57.7968),
        (-14, -36, 29, 51),
        (-19.7183, -47.4365, 34.7183, 62.4365),
        (-26.9228, -61.8456, 41.9228, 76.8456),
    ],
    32: [
        (-74, -28, 105, 59),
        (-97.3929, -39.4365, 128.3929, 70.4365),
        (-126.8661, -53.8456, 157.8661, 84.8456),
        square(-48, 79),
        square(-64.6349, 95.6349),
        square(-85.5937, 116.5937),
        (-30, -76, 61, 107),
        (-41.9564, -99.9127, 72.9564, 130.9127),
        (-57.0204, -130.0409, 88.0204, 161.0409),
    ],
    64: [
        (-150, -60, 213, 123),
        (-197.3056, -83.9127, 260.3056, 146.9127),
        (-256.907, -114.0409, 319.907, 177.0409),
        square(-96, 159),
        square(-129.2699, 192.2699),
        square(-171.1873, 234.1873),
        (-58, -148, 121, 211),
        (-81.3929, -194.7858, 144.3929, 257.7858),
        (-110.8661, -253.7322, 173.8661, 316.7322),
    ],
    128: [
        (-298, -116, 425, 243),
        (-392.0914, -162.7858, 519.0914, 289.7858),
        (-510.6392, -221.7322, 637.6392, 348.7322),
        square(-192, 319),
        square(-258.5398, 385.5398),
        square(-342.3747, 469.3747),
        (-118, -300, 245, 427),
        (-165.3056, -394.6113, 292.3056, 521.6113),
        (-224.907, -513.814, 351.907, 640.814),
    ],
}
# Half extents (x, y); detectron2's double from level to level, torchvision's are rounded at each.
DETECTRON2_AT_8 = [
    (22.6274, 11.3137), (16, 16), (11.3137, 22.6274),
    (28.5088, 14.2544), (20.1587, 20.1587), (14.2544, 28.5088),
    (35.9188, 17.9594), (25.3984, 25.3984), (17.9594, 35.9188),
]  # fmt: skip
TORCHVISION = {
    8: [(23, 11), (28, 14), (35, 18), (16, 16), (20, 20), (25, 25), (11, 23), (14, 28), (18, 35)],
    16: [(45, 23), (57, 28), (71, 36), (32, 32), (40, 40), (50, 50), (23, 45), (28, 57), (36, 71)],
    32: [(91, 45), (114, 57), (144, 72), (64, 64), (80, 80), (102, 102), (45, 91), (57, 114), (72, 144)],
    64: [
        (181, 91), (228, 114), (287, 144), (128, 128), (161, 161), (203, 203), (91, 181), (114, 228), (144, 287),
    ],
    128: [
        (362, 181), (456, 228), (574, 287), (256, 256), (322, 322), (406, 406), (181, 362), (228, 456), (287, 574),
    ],
}  # fmt: skip
# Here x1, y1, x2, y2; the source writes y first. They double from level to level.
BUBBLIIIING_AT_8 = [
    square(-12, 20), (-18.4, -7.2, 26.4, 15.2), (-7.2, -18.4, 15.2, 26.4),
    square(-16.1587, 24.1587), (-24.2222, -10.1111, 32.2222, 18.1111), (-10.1111, -24.2222, 18.1111, 32.2222),
    square(-21.3984, 29.3984), (-31.5578, -13.7789, 39.5578, 21.7789), (-13.7789, -31.5578, 21.7789, 39.5578),
]  # fmt: skip


def centred(halves: list[tuple[float, float]]) -> torch.Tensor:
    return tensor([(-x, -y, x, y) for x, y in halves], dtype=torch.float32)


@pytest.mark.parametrize("stride", STRIDES)
def test_tables_of_the_four_styles(stride):
    expected = {
        "maskrcnn_benchmark": tensor(MASKRCNN_BENCHMARK[stride], dtype=torch.float32),
        "detectron2": centred(DETECTRON2_AT_8) * (stride / 8),
        "torchvision": centred(TORCHVISION[stride]),
        "bubbliiiing": tensor(BUBBLIIIING_AT_8) * (stride / 8),
    }
    for style, table in expected.items():
        # The tables have four decimals at stride 8, so their error doubles with them.
        tolerance = 1e-3 * max(1, stride / 16)
        anchors = cell_anchors(stride, style=style)
        torch.testing.assert_close(anchors, table, atol=tolerance, rtol=0, msg=lambda m, s=style: f"{s}: {m}")


def test_unknown_style_lists_the_known():
    with pytest.raises(Exception, match="maskrcnn_benchmark"):
        cell_anchors(8, style="caffe")


def test_grid_equals_torchvision_even_where_its_steps_are_uneven():
    # 800 × 1088 pixels over a 7 × 9 grid: steps of 114 and 120 pixels, not 128
    sizes = tuple(tuple(int(4 * stride * 2 ** (octave / 3)) for octave in range(3)) for stride in STRIDES)
    generator = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    grids = [(100, 136), (50, 68), (25, 34), (13, 17), (7, 9)]
    maps = [torch.zeros(1, 1, *grid) for grid in grids]
    (expected,) = generator(ImageList(torch.zeros(1, 3, 800, 1088), [(800, 1088)]), maps)
    ours = [
        grid_anchors(cell_anchors(stride, style="torchvision"), grid, (800 // grid[0], 1088 // grid[1]))
        for stride, grid in zip(STRIDES, grids, strict=True)
    ]
    assert sum(map(len, ours)) == 163_206
    torch.testing.assert_close(torch.cat(ours), expected)


def test_grid_equals_the_plain_loop():
    base = cell_anchors(16, octaves=1)
    rows = [
        [a + shift for a, shift in zip(anchor, (x * 16, y * 16) * 2, strict=True)]
        for y in range(2)
        for x in range(3)
        for anchor in base.tolist()
    ]
    torch.testing.assert_close(grid_anchors(base, (2, 3), 16), tensor(rows))


def test_points_run_row_by_row():
    assert cell_points((2, 2), 8).tolist() == [[4, 4], [12, 4], [4, 12], [12, 12]]
    assert cell_points((1, 2), 8, offset=0.0).tolist() == [[0, 0], [8, 0]]
    assert sum(len(cell_points(g, 1)) for g in [(100, 140), (50, 70), (25, 35), (13, 18), (7, 9)]) == 18_672


def test_an_empty_grid_has_no_places():
    assert cell_points((0, 3), 8).shape == (0, 2)
    assert grid_anchors(cell_anchors(8), (0, 3), 8).shape == (0, 4)


def test_one_level_has_several_sizes() -> None:
    """Caffe2's C4 networks (sizes 32 … 512 at stride 16, ratio outer), and detectron2's (size outer)."""
    shapes = AnchorShapes(scales=(2.0, 4.0, 8.0, 16.0, 32.0), style="maskrcnn_benchmark")
    base = shapes.of_cell(16)
    assert base.shape == (15, 4)
    assert base[0].tolist() == [-15, -4, 30, 19] and base[4].tolist() == [-360, -184, 375, 199]
    assert base[5].tolist() == [-8, -8, 23, 23] and base[14].tolist() == [-168, -344, 183, 359]
    plain = replace(shapes, style="detectron2").of_cell(16)
    assert plain[1].tolist() == [-16, -16, 16, 16] and plain[4].tolist() == [-32, -32, 32, 32]


def test_one_size_per_level_of_a_pyramid() -> None:
    shapes = AnchorShapes(base_scale=8.0, octaves=1, style="maskrcnn_benchmark")
    assert shapes.of_cell(4).tolist() == [[-22, -10, 25, 13], [-14, -14, 17, 17], [-10, -22, 13, 25]]
    assert shapes.of_cell(64)[0].tolist() == [-332, -152, 395, 215]
    rounded = replace(shapes, style="torchvision").of_cell(4)
    assert rounded.tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
