"""Where a picture is cut into tiles: windows of one size that overlap and leave nothing out."""

import numpy as np

from pagoda.plain import check_counts


def tile_windows(size: tuple[int, int], tile: int, *, overlap: float = 0.2) -> np.ndarray:
    """(N, 4) int64 xyxy windows that cover a picture of `size` (height, width), row by row.

    Every window is `tile` × `tile` pixels, or as long as the picture where that is shorter. As few as reach from border
    to border stand at even distances, so that neighbours share at least `overlap` of a side; a larger one lets larger
    objects lie whole in some window, and takes more windows.
    Raises ValueError for a tile below 1 pixel and an overlap outside 0 … 0.9.

    >>> tile_windows((100, 250), 100, overlap=0.2).tolist()
    [[0, 0, 100, 100], [75, 0, 175, 100], [150, 0, 250, 100]]
    """
    check_counts(tile=tile)
    if not 0 <= overlap <= 0.9:
        raise ValueError(f"overlap must lie in 0 … 0.9 of a tile's side, got {overlap}")
    tops, lefts = (_starts(side, tile, overlap) for side in size)
    top, left = (each.ravel() for each in np.meshgrid(tops, lefts, indexing="ij"))
    height, width = (min(side, tile) for side in size)
    return np.stack([left, top, left + width, top + height], axis=1)


def _starts(side: int, tile: int, overlap: float) -> np.ndarray:
    """Where the windows along one side begin."""
    if side <= tile:
        return np.zeros(1, np.int64)
    step = max(int(tile * (1 - overlap)), 1)
    count = -(-(side - tile) // step) + 1
    return np.arange(count) * (side - tile) // (count - 1)
