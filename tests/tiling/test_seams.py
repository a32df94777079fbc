"""Objects that tiles cut: put together they are there once, and whole. The detector here sees every part exactly."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagoda.ops.boxes import tile_windows
from pagoda.tiling.seams import _near, cut_sides, merge

SIZE = (1200, 1600)


def visible(objects, windows):
    """What a perfect detector finds: of each tile the parts of all objects that it shows, however thin."""
    low, high = np.tile(windows[:, None, :2], 2), np.tile(windows[:, None, 2:], 2)
    parts = np.clip(objects[None], low, high)
    tiles, owners = np.nonzero((parts[..., :2] < parts[..., 2:]).all(-1))
    return parts[tiles, owners], tiles, owners


def planted(rng, windows, count, low, high):
    """Objects that each lie over an inner border of some tile, or within a pixel of it, and overlap none other."""
    borders = [np.unique(windows[:, axis::2]) for axis in (0, 1)]
    borders = [each[(each > 0) & (each < side)] for each, side in zip(borders, SIZE[::-1], strict=True)]
    tried = 4 * count
    sides = np.exp(rng.uniform(np.log(low), np.log(high), (tried, 2)))
    starts = rng.uniform(0, 1, (tried, 2)) * (np.array(SIZE[::-1]) - sides)
    for axis in (0, 1):
        rows = np.arange(axis, tried, 2)
        lines = rng.choice(borders[axis], len(rows))
        starts[rows, axis] = lines - rng.uniform(-1, sides[rows, axis] + 1)
    boxes = np.concatenate([starts, starts + sides], axis=1)
    boxes = boxes[(boxes[:, :2] >= 0).all(1) & (boxes[:, 2] <= SIZE[1]) & (boxes[:, 3] <= SIZE[0])]
    kept = boxes[:1]
    for box in boxes[1:]:
        apart = (np.maximum(box[:2], kept[:, :2]) >= np.minimum(box[2:], kept[:, 2:])).any(1)
        kept = np.concatenate([kept, box[None]]) if apart.all() else kept
    return kept[:count]


def joined(objects, windows, **how):
    boxes, tiles, owners = visible(objects, windows)
    scores = np.random.default_rng(0).uniform(0.3, 1, len(boxes))
    how = {"max_iou": 0.5, "reach": 2.0, **how}
    return merge(boxes, scores, np.zeros(len(boxes)), tiles, windows, **how), boxes, scores, owners


def sorted_rows(boxes):
    return boxes[np.lexsort(boxes.T)]


@pytest.mark.parametrize(
    ("low", "high", "overlap_share"),
    [(3, 40, 0.2), (12, 40, 0.2), (40, 120, 0.2), (12, 60, 0.5), (100, 239, 0.2)],
)
def test_planted_on_seams_a_thousand_objects_are_there_once_and_whole(low, high, overlap_share):
    """Also those larger than what tiles share, which no tile may see whole."""
    windows, num_planted, seed = tile_windows(SIZE, 240, overlap=overlap_share), 0, 0
    while num_planted < 1000:
        seed += 1
        objects = planted(np.random.default_rng(seed), windows, 300, low, high)
        merged, *_ = joined(objects, windows)
        assert len(merged.boxes) == len(objects)
        np.testing.assert_allclose(sorted_rows(merged.boxes), sorted_rows(objects))
        num_planted += len(objects)


def test_tiles_that_share_nothing_are_joined_along_their_border():
    """Two objects that meet there, alike in height, cannot be told from one that is cut."""
    windows, wrong, num_planted = tile_windows(SIZE, 240, overlap=0.0), 0, 0
    for seed in range(4):
        objects = planted(np.random.default_rng(seed), windows, 300, 12, 100)
        merged, *_ = joined(objects, windows)
        differ = np.abs(merged.boxes[:, None] - objects[None]).max(-1).min(0) > 1e-9
        wrong, num_planted = wrong + int(differ.sum()), num_planted + len(objects)
    assert num_planted > 900 and wrong < 0.01 * num_planted


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(60, 300), st.floats(0.1, 0.6))
def test_whatever_the_tiles_objects_apart_come_out_as_they_are(seed, tile, share):
    windows = tile_windows(SIZE, tile, overlap=share)
    objects = planted(np.random.default_rng(seed), windows, 30, 4, 200)
    merged, _, scores, owners = joined(objects, windows, reach=1.0)
    np.testing.assert_allclose(sorted_rows(merged.boxes), sorted_rows(objects))
    for box, score, row in zip(merged.boxes, merged.scores, merged.rows, strict=True):
        assert score == scores[owners == owners[row]].max()
        np.testing.assert_allclose(box, objects[owners[row]])
    assert (np.diff(merged.scores) <= 0).all()
    for place, rows in merged.parts.items():
        assert len(set(owners[rows])) == 1 and len(rows) > 1 and merged.rows[place] in rows


def test_an_object_that_one_tile_sees_whole_is_that_tiles():
    windows = np.array([[0, 0, 100, 100], [80, 0, 180, 100]])
    boxes = np.array([[70.0, 10, 96, 40], [80, 10, 95, 40]])  # of the second tile better sure, but cut
    merged = merge(boxes, np.array([0.4, 0.9]), np.zeros(2), np.array([0, 1]), windows, max_iou=0.5, reach=2)
    assert merged.rows.tolist() == [0] and merged.scores.tolist() == [0.9] and not merged.parts
    np.testing.assert_array_equal(merged.boxes, boxes[:1])


def test_a_large_object_seen_in_the_whole_picture_takes_its_parts_in_all_tiles():
    windows = tile_windows(SIZE, 240, overlap=0.2)
    large = np.array([[130.0, 90, 1100, 760], [1200, 50, 1230, 90]])
    boxes, tiles, _ = visible(large, windows)
    every = np.concatenate([windows, [[0, 0, SIZE[1], SIZE[0]]]])
    boxes, tiles = np.concatenate([boxes, large[:1]]), np.append(tiles, len(windows))
    merged = merge(boxes, np.ones(len(boxes)), np.zeros(len(boxes)), tiles, every, max_iou=0.5, reach=2)
    np.testing.assert_allclose(sorted_rows(merged.boxes), sorted_rows(large))


def test_small_objects_on_a_large_one_stay():
    """What lies within another is no part of it."""
    windows = tile_windows(SIZE, 240, overlap=0.2)
    objects = np.array(
        [[30.0, 30, 600, 500]] + [[x, y, x + 20, y + 15] for x in (100, 190, 380) for y in (95, 180)]
    )
    boxes, tiles, _ = visible(objects, windows)
    every = np.concatenate([windows, [[0, 0, SIZE[1], SIZE[0]]]])
    boxes, tiles = np.concatenate([boxes, objects]), np.append(tiles, [len(windows)] * len(objects))
    merged = merge(boxes, np.ones(len(boxes)), np.zeros(len(boxes)), tiles, every, max_iou=0.5, reach=2)
    np.testing.assert_allclose(sorted_rows(merged.boxes), sorted_rows(objects))


def test_classes_are_apart():
    windows = np.array([[0, 0, 100, 100], [80, 0, 180, 100]])
    boxes = np.array([[40.0, 10, 100, 40], [80, 10, 130, 40]])
    tiles = np.array([0, 1])
    for groups, count in ((np.array([0, 1]), 2), (np.zeros(2), 1)):
        assert len(merge(boxes, np.ones(2), groups, tiles, windows, max_iou=0.5, reach=2).boxes) == count


def test_of_one_tile_nothing_is_touched():
    """There the model has judged itself."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 90, (40, 2))], axis=1)
    windows, scores = np.array([[0, 0, 300, 300]]), rng.uniform(0, 1, 40)
    merged = merge(boxes, scores, np.zeros(40), np.zeros(40, int), windows, max_iou=0.1, reach=2)
    order = np.argsort(-scores)
    np.testing.assert_array_equal(merged.boxes, boxes[order])
    assert merged.rows.tolist() == order.tolist()


def test_only_borders_between_tiles_cut():
    windows = tile_windows((100, 180), 100, overlap=0.2)
    whole = np.array([[0.0, 0, 100, 100]])
    assert cut_sides(whole, windows[:1], windows, 2.0).tolist() == [[False, False, True, False]]
    inside = np.array([[3.0, 3, 60, 60]])
    assert not cut_sides(inside, windows[:1], windows, 2.0).any()


def test_pairs_are_found_whatever_their_order_and_number():
    """Against comparing each with each, with more boxes than are compared at once."""
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 900, (1300, 2))
    boxes = np.concatenate([corners, corners + rng.exponential(20, (1300, 2))], axis=1)
    found = {tuple(sorted(pair)) for part in _near(boxes, 3.0) for pair in zip(*part, strict=True)}
    grown = boxes + np.array([-1.5, -1.5, 1.5, 1.5])
    touch = (grown[:, None, :2] <= grown[None, :, 2:]).all(-1)
    touch &= touch.T
    assert found == {(a, b) for a, b in combinations(range(1300), 2) if touch[a, b]}


def test_nothing_found_is_nothing():
    none = np.zeros(0)
    merged = merge(
        np.zeros((0, 4)), none, none, none.astype(int), np.array([[0, 0, 9, 9]]), max_iou=0.5, reach=2
    )
    assert merged.boxes.shape == (0, 4) and len(merged.rows) == 0 and merged.parts == {}
