"""RoIAlign against a loop over samples, and the level each box is read from."""

import math

import pytest
import torch

from pagoda.ops.roi import RoIPooling, roi_align


def one_bin(features: torch.Tensor, y: float, x: float) -> torch.Tensor:
    """(C,) bilinear value at (row, column) of cell centres."""
    height, width = features.shape[-2:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(features.shape[0])
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    y, x = (y0 if y0 == height - 1 else y), (x0 if x0 == width - 1 else x)
    dy, dx = y - y0, x - x0
    top = features[:, y0, x0] * (1 - dx) + features[:, y0, x1] * dx
    return top * (1 - dy) + (features[:, y1, x0] * (1 - dx) + features[:, y1, x1] * dx) * dy


def slow_roi_align(features, box, *, resolution, stride, sampling_ratio, aligned):
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (float(side) / stride - shift for side in box)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    bin_w, bin_h = width / resolution, height / resolution
    rows = sampling_ratio or math.ceil(height / resolution)
    columns = sampling_ratio or math.ceil(width / resolution)
    pooled = torch.zeros(features.shape[0], resolution, resolution)
    for i in range(resolution):
        for j in range(resolution):
            samples = [
                one_bin(features, y1 + (i + (a + 0.5) / rows) * bin_h, x1 + (j + (b + 0.5) / columns) * bin_w)
                for a in range(rows)
                for b in range(columns)
            ]
            pooled[:, i, j] = torch.stack(samples).mean(0)
    return pooled


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_equals_a_loop_over_samples(aligned: bool, sampling_ratio: int) -> None:
    features = torch.randn(2, 3, 12, 16)
    boxes = torch.tensor([[3.0, 5, 40, 30], [10, 10, 13, 12], [-8, 20, 70, 60]])
    images = torch.tensor([0, 1, 1])
    options = {"resolution": 3, "stride": 4.0, "sampling_ratio": sampling_ratio, "aligned": aligned}
    found = roi_align(features, boxes, images, **options)
    for row, (box, image) in enumerate(zip(boxes, images, strict=True)):
        expected = slow_roi_align(features[image], box, **options)
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "level"),
    [
        (1.0, 2),  # never below the lowest
        (111.9, 2),
        (112.0, 3),  # a whole level, exactly
        (223.9, 3),
        (224.0, 4),
        (447.9, 4),
        (448.0, 5),
        (4000.0, 5),  # never above the highest
    ],
)
@pytest.mark.parametrize("eps_on", ["ratio", "level"])
def test_level_of_a_square(side: float, level: int, eps_on: str) -> None:
    box = torch.tensor([[10.0, 20.0, 10.0 + side, 20.0 + side]])
    assert RoIPooling(eps_on=eps_on, eps=1e-6).levels(box, 2, 5).tolist() == [level]


def test_legacy_areas_reach_the_next_level_a_pixel_sooner() -> None:
    box = torch.tensor([[0.0, 0.0, 111.0, 111.0]])
    assert RoIPooling(inclusive=True, eps=1e-6).levels(box, 2, 5).tolist() == [3]
    assert RoIPooling(eps=1e-6).levels(box, 2, 5).tolist() == [2]


def test_empty_boxes_have_the_lowest_level() -> None:
    nothing = torch.zeros(2, 4)
    for eps_on in ("ratio", "level"):
        assert RoIPooling(eps_on=eps_on).levels(nothing, 3, 5).tolist() == [3, 3]


def test_boxes_of_no_numbers_are_read_from_the_lowest_level() -> None:
    broken = torch.full((1, 4), torch.nan)
    assert RoIPooling().levels(broken, 3, 5).tolist() == [3]
    pyramid = {level: torch.randn(1, 4, 64 // 2**level, 64 // 2**level) for level in (2, 3)}
    found = RoIPooling()(pyramid, {2: 4.0, 3: 8.0}, broken, torch.tensor([0]))
    assert found.shape == (1, 4, 7, 7)


def test_pyramid_reads_each_box_from_its_own_level_in_the_given_order() -> None:
    pyramid = {level: torch.randn(2, 4, 256 // 2**level, 320 // 2**level) for level in (2, 3, 4, 5)}
    strides = {level: 2.0**level for level in pyramid}
    boxes = torch.tensor([[0.0, 0, 300, 250], [5, 5, 25, 30], [0, 0, 230, 230], [10, 20, 130, 150]])
    images = torch.tensor([1, 0, 0, 1])
    pooling = RoIPooling(resolution=5)
    found = pooling(pyramid, strides, boxes, images)
    for row, level in enumerate(pooling.levels(boxes, 2, 5).tolist()):
        alone = roi_align(
            pyramid[level], boxes[row : row + 1], images[row : row + 1], resolution=5, stride=strides[level]
        )
        torch.testing.assert_close(found[row], alone[0])
    assert len(set(pooling.levels(boxes, 2, 5).tolist())) == 3


def test_no_regions() -> None:
    pyramid = {2: torch.randn(1, 4, 8, 8), 3: torch.randn(1, 4, 4, 4)}
    none = torch.zeros(0, dtype=torch.long)
    found = RoIPooling()(pyramid, {2: 4.0, 3: 8.0}, torch.zeros(0, 4), none)
    assert found.shape == (0, 4, 7, 7)
