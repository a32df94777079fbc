"""RoIAlign as sums of cells against torchvision's operator: values, slopes, boxes of all kinds, half precision."""

import pytest
import torch
from torch import Tensor

from pagoda.ops import roi
from pagoda.ops.roi import RoIPooling, roi_align
from pagoda.ops.roi_align_cpu import cell_table, pooled_sums

SIDES = {2: (30, 40), 3: (15, 20), 4: (8, 10)}


def awkward_boxes(count: int) -> Tensor:
    """Inside, across and beyond the border of 120×160 pixels, thin, tiny, empty and inside out."""
    center = torch.rand(count, 2) * torch.tensor([200.0, 160.0]) - 20
    half = torch.rand(count, 2) * torch.tensor([0.5, 10.0, 60.0])[torch.arange(count) % 3, None]
    boxes = torch.cat([center - half, center + half], 1)
    boxes[0, 2:] = boxes[0, :2]
    boxes[1] = boxes[1, [2, 3, 0, 1]]
    boxes[2] = torch.tensor([0.0, 0.0, 160.0, 120.0])
    boxes[3] = torch.tensor([0.0, 50.0, 160.0, 50.5])
    boxes[4] = torch.tensor([300.0, 300.0, 400.0, 420.0])
    return boxes


def pyramid_of(channels: int, dtype: torch.dtype = torch.float32) -> dict[int, Tensor]:
    return {level: torch.randn(2, channels, *sides).to(dtype) for level, sides in SIDES.items()}


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("resolution", [2, 7])
def test_values_and_slopes_are_those_of_the_operator(
    aligned: bool, sampling_ratio: int, resolution: int
) -> None:
    options = {"resolution": resolution, "sampling_ratio": sampling_ratio, "aligned": aligned}
    features = torch.randn(2, 3, *SIDES[2], dtype=torch.float64, requires_grad=True)
    boxes, images = awkward_boxes(60).double(), torch.arange(60) % 2
    table = cell_table([features], torch.zeros(60, dtype=torch.long), images)
    found = pooled_sums(table, boxes / 4, **options)
    expected = roi_align(features, boxes, images, stride=4.0, **options)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    weights = torch.randn_like(expected)
    slopes = [torch.autograd.grad((each * weights).sum(), features)[0] for each in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_a_pyramid_is_read_as_level_by_level(sampling_ratio: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pooling = RoIPooling(sampling_ratio=sampling_ratio, canonical_side=40.0, canonical_level=3)
    pyramid, strides = pyramid_of(4), {level: 2.0**level for level in SIDES}
    boxes, images = awkward_boxes(90), torch.arange(90) % 2
    assert pooling.levels(boxes, 2, 4).unique().tolist() == [2, 3, 4]
    found = pooling(pyramid, strides, boxes, images)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # then the operator does it
    monkeypatch.setattr(roi, "pooled_sums", None)
    torch.testing.assert_close(found, pooling(pyramid, strides, boxes, images), rtol=1e-4, atol=1e-5)


def test_half_precision_places_boxes_in_single_precision() -> None:
    """Rounding a box of bfloat16 to 2 pixels would move it by half of its side."""
    wide = torch.arange(160.0).expand(1, 8, 120, 160).contiguous()
    boxes = torch.tensor([[150.3, 60.0, 153.3, 63.0]])
    pyramid, none = {0: wide.bfloat16()}, torch.zeros(1, dtype=torch.long)
    found = RoIPooling(resolution=1)(pyramid, {0: 1.0}, boxes, none)
    assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.float(), torch.full((1, 8, 1, 1), 151.3), rtol=0, atol=1.0)
    by_operator = roi_align(pyramid[0], boxes, none, resolution=1, stride=1.0)
    assert by_operator.dtype == torch.bfloat16
    torch.testing.assert_close(by_operator.float(), found.float(), rtol=0, atol=1.0)


def test_slopes_of_half_precision_are_summed_in_single_precision() -> None:
    features = torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    boxes = torch.tensor([[1.0, 1.0, 2.0, 2.0]]).expand(2000, 4)  # all on the centre of one cell
    pooled = RoIPooling(resolution=1)({0: features}, {0: 1.0}, boxes, torch.zeros(2000, dtype=torch.long))
    pooled.sum().backward()
    assert features.grad.sum() == features.grad[0, 0, 1, 1] == 2000, "bfloat16 counts to 256"


def test_boxes_that_are_no_numbers_do_not_stop_the_run() -> None:
    boxes = torch.tensor([[torch.nan] * 4, [0.0, 0.0, torch.inf, 8.0], [0.0, 0.0, 16.0, 16.0]])
    features = torch.ones(1, 2, 8, 8)
    found = RoIPooling()({2: features}, {2: 4.0}, boxes, torch.zeros(3, dtype=torch.long))
    assert found.shape == (3, 2, 7, 7) and torch.allclose(found[2], torch.ones(2, 7, 7))
