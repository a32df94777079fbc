"""Pasting masks against one object at a time by torch's own resizing; cutting masks out."""

import pytest
import torch
from torch.nn.functional import grid_sample, interpolate, pad

from pagoda.ops import masks as module
from pagoda.ops.masks import PasteRule, crop_masks, paste_in_parts, paste_masks, paste_one_by_one

SIZE = (60, 90)
BOXES = torch.tensor(
    [
        [10.3, 5.7, 60.2, 40.9],
        [-7.5, -3.0, 30.0, 20.0],  # beyond the left and upper border
        [70.0, 40.0, 99.0, 75.0],  # and the right and lower one
        [20.25, 20.5, 22.0, 21.0],  # smaller than a cell
        [0.0, 0.0, 90.0, 60.0],
    ]
)


def slow_continuous(mask: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Pixel centres looked up in the mask, zeros beyond it."""
    height, width = SIZE
    y = (torch.arange(height) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
    x = (torch.arange(width) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
    grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
    return grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0] >= 0.5


def slow_whole_pixels(mask: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Mask and box grown by a cell, the box cut to whole pixels, the mask resized to it."""
    cells = mask.shape[0]
    half = (box[2:] - box[:2]) / 2 * (cells + 2) / cells
    center = (box[:2] + box[2:]) / 2
    (x1, y1), (x2, y2) = (center - half).int().tolist(), (center + half).int().tolist()
    grown = pad(mask, (1, 1, 1, 1))[None, None]
    resized = interpolate(grown, (y2 - y1 + 1, x2 - x1 + 1), mode="bilinear")[0, 0]
    picture = torch.zeros(SIZE)
    for row in range(max(y1, 0), min(y2 + 1, SIZE[0])):
        for column in range(max(x1, 0), min(x2 + 1, SIZE[1])):
            picture[row, column] = resized[row - y1, column - x1]
    return picture > 0.5


@pytest.mark.parametrize(
    ("rule", "slow"), [("continuous", slow_continuous), ("whole_pixels", slow_whole_pixels)]
)
@pytest.mark.parametrize("paste", [paste_in_parts, paste_one_by_one])
def test_pasting_equals_torchs_own_resizing(rule, slow, paste, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2 * SIZE[0] * SIZE[1])  # two objects at once, one is left
    inside = torch.rand(len(BOXES), 28, 28)
    found = paste(inside, BOXES, SIZE, rule=rule, min_probability=0.5)
    expected = torch.stack([slow(mask, box) for mask, box in zip(inside, BOXES, strict=True)])
    assert found.dtype == torch.bool and found.shape == expected.shape
    assert (found != expected).sum() <= 2, "rounding may turn a pixel"
    assert expected.any((1, 2))[[0, 1, 2, 4]].all()


@pytest.mark.parametrize("rule", ["continuous", "whole_pixels"])
@pytest.mark.parametrize("cells", [1, 7, 28])
def test_both_ways_of_pasting_agree_wherever_the_box_lies(rule: PasteRule, cells: int) -> None:
    center = torch.rand(60, 2) * torch.tensor([150.0, 120.0]) - 30
    half = torch.rand(60, 2) * torch.tensor([1.0, 10.0, 80.0])[torch.arange(60) % 3, None]
    boxes = torch.cat([center - half, center + half], 1)
    boxes[-3:] = torch.tensor([[-900.0, -900, 900, 900], [200, 200, 300, 300], [-50, 10, -20, 30]])
    inside = torch.rand(60, cells, cells)
    inside[-3] = 1.0
    together = paste_in_parts(inside, boxes, SIZE, rule=rule, min_probability=0.5)
    alone = paste_one_by_one(inside, boxes, SIZE, rule=rule, min_probability=0.5)
    assert (together != alone).sum() <= 2, "rounding may turn a pixel"
    assert together[-3].any() and not together[-2:].any()


def test_a_full_mask_fills_its_box_and_nothing_else() -> None:
    box = torch.tensor([[10.0, 20.0, 40.0, 50.0]])
    found = paste_masks(torch.ones(1, 14, 14), box, SIZE)[0]
    assert found[20:50, 10:40].all() and found.sum() == 30 * 30


def test_a_mask_without_extent_and_no_masks_at_all() -> None:
    point = torch.tensor([[10.0, 20.0, 10.0, 20.0]])
    for rule in ("continuous", "whole_pixels"):
        assert paste_masks(torch.ones(1, 7, 7), point, SIZE, rule=rule).sum() <= 1
        assert paste_masks(torch.zeros(0, 7, 7), torch.zeros(0, 4), SIZE, rule=rule).shape == (0, *SIZE)


def test_cutting_out_and_pasting_back_is_the_identity_on_whole_cells() -> None:
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[0, 12:40:4] = True  # stripes four pixels apart
    mask[0, 13:40:4] = True
    box = torch.tensor([[8.0, 8.0, 64.0, 40.0]])
    cells = crop_masks(mask, box, torch.tensor([0]), size=32)
    back = paste_masks(cells, box, SIZE)[0]
    assert torch.equal(back[8:40, 8:64], mask[0, 8:40, 8:64]) and not back[:, :8].any()


def test_each_region_is_cut_from_its_own_object() -> None:
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[1, :, :45] = True
    boxes = torch.tensor([[0.0, 0, 90, 60], [0, 0, 90, 60], [0, 0, 30, 30]])
    cells = crop_masks(masks, boxes, torch.tensor([0, 1, 1]), size=4)
    assert cells[0].sum() == 0 and cells[1].tolist() == [[1.0, 1, 0, 0]] * 4 and cells[2].all()


def test_shares_may_be_kept() -> None:
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[:, :, ::2] = True
    box = torch.tensor([[10.0, 10.0, 50.0, 50.0]])
    shares = crop_masks(mask, box, torch.tensor([0]), size=10, binary=False)
    torch.testing.assert_close(shares, torch.full((1, 10, 10), 0.5))
