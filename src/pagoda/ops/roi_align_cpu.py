"""RoIAlign on a processor: every bin is a weighted sum of cells, and summing rows of a table is what it does best.

torchvision's kernel looks up each sample of each channel by itself. Here the few cells a bin's samples lie
between get one weight each, and all channels of a cell are added at once. R regions, C channels, N cells of all maps
together, n bins per axis.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag


class CellTable(NamedTuple):
    """Maps of any sizes as one table, cell by cell, and which of them each region reads."""

    cells: Tensor
    """(N, C), row by row of each map"""
    first: Tensor
    """(R,) where the region's map begins in `cells`"""
    sides: Tensor
    """(R, 2) height and width of that map"""


def cell_table(maps: list[Tensor], chosen: Int[Tensor, " r"], images: Int[Tensor, " r"]) -> CellTable:
    """Maps (B, C, h, w) as one table; each region reads map number `chosen` of the picture `images`.

    >>> maps = [torch.zeros(2, 8, 4, 6), torch.zeros(2, 8, 2, 3)]
    >>> table = cell_table(maps, torch.tensor([0, 1]), torch.tensor([1, 1]))
    >>> table.first, table.sides  # the second picture's cells begin at 4 · 6, and at 2 · 4 · 6 + 2 · 3
    (tensor([24, 54]), tensor([[4, 6],
            [2, 3]]))
    """
    tables = [features.permute(0, 2, 3, 1).flatten(0, 2) for features in maps]
    sides = torch.tensor([features.shape[-2:] for features in maps])
    ends = torch.tensor([len(table) for table in tables]).cumsum(0)
    begins = torch.cat([ends.new_zeros(1), ends[:-1]])[chosen]
    cells = tables[0] if len(tables) == 1 else torch.cat(tables)
    return CellTable(cells, begins + images * sides.prod(1)[chosen], sides[chosen])


def pooled_sums(
    table: CellTable,
    boxes: Float[Tensor, "r 4"],
    *,
    resolution: int,
    sampling_ratio: int,
    aligned: bool,
) -> Float[Tensor, "r c n n"]:
    """RoIAlign of boxes in cells of their maps; see `ops.roi.roi_align`. The result lies channels last.

    >>> table = cell_table([torch.arange(16.0).view(1, 1, 4, 4)], torch.tensor([0]), torch.tensor([0]))
    >>> box = torch.tensor([[0., 0., 4., 4.]])
    >>> pooled_sums(table, box, resolution=2, sampling_ratio=0, aligned=True).flatten()
    tensor([ 2.5000,  4.5000, 10.5000, 12.5000])
    """
    if len(boxes) == 0:
        return table.cells.new_zeros(0, table.cells.shape[1], resolution, resolution)
    # A network that diverges says so in its losses, not here by naming a row that does not exist.
    boxes = boxes.nan_to_num(0.0, posinf=0.0, neginf=0.0)
    start, end = boxes.split(2, dim=1)
    start, end = (start - 0.5, end - 0.5) if aligned else (start, end)
    lengths = end - start if aligned else (end - start).clamp(min=1)
    across, down = (
        _axis_cells(start[:, axis], lengths[:, axis], table.sides[:, 1 - axis], resolution, sampling_ratio)
        for axis in (0, 1)
    )
    rows, weights, bags = _bags_of_cells(down, across, table)
    cells = table.cells
    if torch.is_grad_enabled() and cells.requires_grad:
        # The slope of a cell that hundreds of regions share is summed in its own precision.
        cells = cells.to(torch.promote_types(cells.dtype, torch.float32))
    pooled = embedding_bag(rows, cells, bags, mode="sum", per_sample_weights=weights.to(cells))
    return pooled.to(table.cells).unflatten(0, (-1, resolution, resolution)).permute(0, 3, 1, 2)


class _AxisCells(NamedTuple):
    """The cells that the bins of each region touch along one axis."""

    cells: Tensor
    """(R, n, L) long, neighbours; those beyond the map are its last, without weight"""
    weights: Tensor
    """(R, n, L)"""
    counts: Tensor
    """(R,) how many of the L a region needs"""


def _axis_cells(
    start: Float[Tensor, " r"],
    length: Float[Tensor, " r"],
    side: Int[Tensor, " r"],
    bins: int,
    sampling_ratio: int,
) -> _AxisCells:
    """Regions from `start` on, in cells, cut into bins of samples each of which lies between two cells."""
    step = (length / bins)[:, None, None]
    samples = (
        torch.full_like(start, sampling_ratio) if sampling_ratio else (length / bins).ceil().clamp(min=0)
    )
    counted, samples = samples > 0, samples.clamp(min=1)[:, None, None]
    number = torch.arange(int(samples.max()), dtype=start.dtype)
    number = torch.minimum(number, samples - 1)  # further ones repeat the last and have no weight
    place = start[:, None, None] + torch.arange(bins)[:, None] * step + (number + 0.5) * step / samples
    last = (side - 1).to(start.dtype)[:, None, None]
    share = ((place >= -1) & (place <= last + 1)) / samples
    share = share * (torch.arange(place.shape[2]) < samples)
    place = torch.minimum(place.clamp(min=0), last)
    first = place.amin(2).floor()
    # Neighbouring samples lie step / samples apart, and each reaches into the next cell.
    counts = ((samples - 1) * (step / samples).abs()).ceil()[:, 0, 0] + 2
    counts = torch.minimum(counts, last[:, 0, 0] + 1).clamp(min=1) * counted
    cells = first[..., None] + torch.arange(int(counts.max()), dtype=start.dtype)
    near = (1 - (place[..., None] - cells[:, :, None]).abs()).clamp(min=0)  # (R, n, samples, L)
    weights = (near * share[..., None]).sum(2)
    return _AxisCells(torch.minimum(cells, last).long(), weights, counts.long())


def _bags_of_cells(
    down: _AxisCells, across: _AxisCells, table: CellTable
) -> tuple[Int[Tensor, " entries"], Float[Tensor, " entries"], Int[Tensor, " bags"]]:
    """(rows of the table, their weights, where each bin's begin): R · n² bags, one after the other."""
    bins = down.cells.shape[1]
    per_bin = down.counts * across.counts
    begins = (per_bin * bins**2).cumsum(0)
    begins, total = begins - per_bin * bins**2, int(begins[-1])
    rows = torch.empty(total, dtype=torch.int32)
    weights = down.weights.new_empty(total)
    # Regions whose bins touch equally many cells are written together.
    kinds, kind = torch.stack([down.counts, across.counts], dim=1).unique(dim=0, return_inverse=True)
    for number, (high, wide) in enumerate(kinds.tolist()):
        here = torch.nonzero(kind == number)[:, 0]
        start = down.cells[here, :, :high] * table.sides[here, 1, None, None] + table.first[here, None, None]
        cells = start[:, :, None, :, None] + across.cells[here][:, None, :, None, :wide]
        values = down.weights[here][:, :, None, :high, None] * across.weights[here][:, None, :, None, :wide]
        places = begins[here, None] + torch.arange(high * wide * bins**2)
        rows[places], weights[places] = cells.flatten(1).int(), values.flatten(1)
    offsets = begins[:, None] + per_bin[:, None] * torch.arange(bins**2)
    return rows, weights, offsets.flatten().int()
