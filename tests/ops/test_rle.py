"""Run lengths against pycocotools and against pixels; everything that cannot be a mask is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as oracle

from pagoda.ops.rle import (
    check_polygons,
    check_run_lengths,
    column_runs,
    decode_masks,
    draw_polygons,
    encode_masks,
    look_at_runs,
    mask_areas,
    mask_boxes,
    place_mask,
    text_of_runs,
    to_text,
    unpack,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools


def runs_by_hand(mask):
    """The slow twin: pixel by pixel down the columns."""
    runs, inside = [0], False
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != inside:
            runs.append(0)
            inside = pixel
        runs[-1] += 1
    return runs


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 4),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    share=st.floats(0, 1),
)
def test_masks_survive_and_equal_pycocotools(seed, count, height, width, share):
    masks = np.random.default_rng(seed).random((count, height, width)) < share
    texts = encode_masks(masks)
    theirs = oracle.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    assert texts == [rle["counts"].decode() for rle in theirs]
    assert np.array_equal(decode_masks(texts, (height, width)), masks)
    assert mask_areas(texts, (height, width)).tolist() == masks.sum((1, 2)).tolist()
    assert np.array_equal(mask_boxes(texts, (height, width)), oracle.toBbox(theirs))
    for text, mask in zip(texts, masks, strict=True):
        runs = runs_by_hand(mask)
        assert unpack(text).tolist() == runs
        assert check_run_lengths({"size": [height, width], "counts": runs}, (height, width)) == text
        assert check_run_lengths({"size": [height, width], "counts": text.encode()}, (height, width)) == text


def test_no_masks_and_no_pixels():
    assert encode_masks(np.zeros((0, 3, 4), bool)) == [] and decode_masks([], (3, 4)).shape == (0, 3, 4)
    assert encode_masks(np.zeros((2, 0, 5), bool)) == ["0", "0"]
    assert mask_areas([], (3, 4)).shape == (0,) and mask_boxes([], (3, 4)).shape == (0, 4)


def test_views_are_encoded_as_they_look():
    masks = np.random.default_rng(0).random((4, 10, 20)) < 0.5
    assert encode_masks(masks[::2, ::-1]) == encode_masks(masks[::2, ::-1].copy())


def test_polygons_are_drawn_as_pycocotools_draws_them():
    random = np.random.default_rng(0)
    for _ in range(50):
        polygons = [(random.random(2 * random.integers(3, 9)) * 40).round(2).tolist() for _ in range(2)]
        theirs = oracle.merge(oracle.frPyObjects(polygons, 30, 35))["counts"].decode()
        assert draw_polygons(polygons, (30, 35)) == theirs == to_text(polygons, (30, 35))


def test_holes_survive():
    ring = np.zeros((1, 9, 9), bool)
    ring[0, 1:8, 1:8] = True
    ring[0, 3:6, 3:6] = False
    (text,) = encode_masks(ring)
    assert not decode_masks([text], (9, 9))[0, 4, 4] and np.array_equal(decode_masks([text], (9, 9)), ring)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 5, 1, 5]], "polygon 1 has 5 numbers: an x or a y is missing"),
        ([[0, 0, 4, 0, 4, 4], [1, 1, float("nan"), 3, 2, 2]], "polygon 2 holds NaN or infinity"),
        ([0, 0, 4, 0, 4, 4], r"must be a list of polygons \[x1, y1, x2, y2, …\], got \[0, 0"),
        ({"size": [4, 5]}, "must be polygons, or run lengths with size and counts"),
        ("abc", "must be polygons, or run lengths"),
        ({"size": [5, 4], "counts": [20]}, r"of \(height, width\) \(5, 4\), but the picture has \(4, 5\)"),
        ({"size": [4, 5], "counts": [3, 4]}, r"add up to 7 pixels, but the picture .* has 20"),
        ({"size": [4, 5], "counts": [3, 18]}, "add up to 21 pixels"),
        ({"size": [4, 5], "counts": "30"}, "add up to 3 pixels"),
        ({"size": [4, 5], "counts": [25, -5]}, "must be whole numbers, 0 or above"),
        ({"size": [4, 5], "counts": [19.5, 0.5]}, "must be whole numbers, 0 or above"),
        ({"size": [4, 5], "counts": "0R"}, "are no such text: '0R'"),
        ({"size": [4, 5], "counts": "!"}, "are no such text"),
        ({"size": [4, 5], "counts": ""}, "are no such text"),
    ],
)
def test_what_is_no_mask_is_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        to_text(segmentation, (4, 5))


def test_polygons_of_two_points_have_no_pixels():
    assert check_polygons([[1, 1, 3, 3], [0, 0, 4, 0, 4, 4]]) == [[0, 0, 4, 0, 4, 4]]
    assert mask_areas([to_text([[1, 1, 3, 3]], (4, 5))], (4, 5)).tolist() == [0]


def test_other_arrays_are_refused():
    with pytest.raises(ValueError, match=r"must be \(n, height, width\) bool, got \(2, 3\) float64"):
        encode_masks(np.zeros((2, 3)))


@given(seed=st.integers(0, 10_000))
def test_runs_by_columns_are_cut_as_pixels_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 12, 2).tolist()
    mask = rng.random((height, width)) < rng.choice([0.0, 0.2, 0.6, 1.0])
    (text,) = encode_masks(mask[None])
    runs = column_runs(text, height)
    assert text_of_runs(runs, (height, width)) == text
    top, left = int(rng.integers(height)), int(rng.integers(width))
    bottom, right = int(rng.integers(top, height)) + 1, int(rng.integers(left, width)) + 1
    crop = mask[top:bottom, left:right]
    seen = look_at_runs(runs, (left, top, right, bottom))
    assert text_of_runs(seen, crop.shape) == encode_masks(crop[None])[0]
    assert (seen[:, 2] - seen[:, 1]).sum() == crop.sum()


def test_a_placed_mask_is_that_of_the_whole_picture():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        size = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
        left, top = int(rng.integers(size[1])), int(rng.integers(size[0])) * (seed % 2)
        mask = rng.uniform(size=(size[0] - top, size[1] - left)) < rng.uniform(0, 1.1)
        whole = np.zeros((1, *size), bool)
        whole[0, top:, left:] = mask
        assert place_mask(mask, (left, top), size) == encode_masks(whole)[0]
