"""Tiles: nothing is left out, neighbours share what was asked, and there are no more than that takes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagoda.ops.boxes import tile_windows

SIDES = st.integers(1, 400)


@given(SIDES, SIDES, st.integers(1, 130), st.floats(0, 0.9))
def test_every_pixel_is_covered_and_every_window_is_a_tile(height, width, tile, overlap):
    windows = tile_windows((height, width), tile, overlap=overlap)
    covered = np.zeros((height, width), bool)
    for left, top, right, bottom in windows.tolist():
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert (right - left, bottom - top) == (min(tile, width), min(tile, height))
        covered[top:bottom, left:right] = True
    assert covered.all()
    assert len(np.unique(windows, axis=0)) == len(windows)


@given(st.integers(1, 4000), st.integers(2, 700), st.floats(0, 0.9))
def test_neighbours_share_at_least_the_overlap_and_one_window_fewer_would_not(side, tile, overlap):
    windows = tile_windows((1, side), tile, overlap=overlap)
    shared = windows[:-1, 2] - windows[1:, 0]
    assert (shared >= np.floor(overlap * tile + 1e-9)).all()
    if len(windows) > 1:
        step = max(int(tile * (1 - overlap)), 1)
        assert (len(windows) - 2) * step < side - tile, "one fewer could not reach the border"


def test_a_small_picture_is_one_window():
    assert tile_windows((60, 80), 100).tolist() == [[0, 0, 80, 60]]


@pytest.mark.parametrize(
    ("tile", "overlap", "words"), [(0, 0.2, "tile"), (9, 0.95, "overlap"), (9, -0.1, "overlap")]
)
def test_what_cannot_be_cut_is_refused(tile, overlap, words):
    with pytest.raises(ValueError, match=words):
        tile_windows((100, 100), tile, overlap=overlap)
