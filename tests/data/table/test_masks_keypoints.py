"""Masks and keypoints of a whole data set: compact, complete, and only decoded when asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as oracle

from pagoda.data.table.keypoints import PackedKeypoints, outside
from pagoda.data.table.masks import NO_PIXELS, PackedMasks
from pagoda.ops.rle import encode_masks

SIZE = (20, 30)
polygon = st.lists(st.integers(0, 3000).map(lambda value: value / 100), min_size=6, max_size=12).map(
    lambda values: values[: len(values) // 2 * 2]
)
an_object = st.one_of(
    st.tuples(st.lists(polygon, min_size=1, max_size=3), st.just(NO_PIXELS)),
    st.tuples(
        st.just([]),
        st.integers(0, 99).map(lambda s: encode_masks(np.random.default_rng(s).random((1, *SIZE)) < 0.5)[0]),
    ),
    st.just(([], NO_PIXELS)),
)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools


def pixels_of(parts: list, text: str) -> np.ndarray:
    if parts:
        return oracle.decode(oracle.merge(oracle.frPyObjects(parts, *SIZE))).astype(bool)
    return oracle.decode({"size": SIZE, "counts": text}).astype(bool) if text else np.zeros(SIZE, bool)


@given(objects=st.lists(an_object, max_size=6), chosen=st.lists(st.integers(0, 5), max_size=8))
@pytest.mark.medium
def test_masks_against_a_list_of_masks(objects: list, chosen: list[int]) -> None:
    packed = PackedMasks.pack([parts for parts, _ in objects], [text for _, text in objects])
    assert len(packed) == len(objects)
    everything = packed.decode(np.arange(len(objects)), SIZE)
    assert everything.shape == (len(objects), *SIZE) and everything.dtype == bool
    for index, (parts, text) in enumerate(objects):
        assert np.array_equal(everything[index], pixels_of(parts, text))
        expected = parts or ({"size": list(SIZE), "counts": text} if text else None)
        assert packed.to_coco(index, SIZE) == expected
    indices = np.array([index for index in chosen if index < len(objects)], np.int64)
    some = packed.take(indices)
    assert [some.to_coco(i, SIZE) for i in range(len(some))] == [packed.to_coco(i, SIZE) for i in indices]
    both = PackedMasks.concatenate([packed, some, PackedMasks.none(2)])
    assert len(both) == len(packed) + len(some) + 2 and both.is_known.tolist()[-2:] == [False, False]
    assert [both.to_coco(len(packed) + i, SIZE) for i in range(len(some))] == [
        some.to_coco(i, SIZE) for i in range(len(some))
    ]


def test_two_decimals_take_half_the_room_and_more_lose_nothing() -> None:
    fine = [[0.1, 0.25, 10.07, 0.3, 5.5, 9.99]]
    finer = [[0.125, 0.2, 10.0, 0.3, 5.5, 1 / 3]]
    compact, exact = (PackedMasks.pack([parts], [NO_PIXELS]) for parts in (fine, finer))
    assert compact.coordinates.dtype == np.int32 and exact.coordinates.dtype == np.float64
    assert compact.to_coco(0, SIZE) == fine and exact.to_coco(0, SIZE) == finer
    both = PackedMasks.concatenate([compact, exact])
    assert both.to_coco(0, SIZE) == fine and both.to_coco(1, SIZE) == finer


def test_masks_are_their_arrays_and_nothing_else() -> None:
    parts = [[[float(k), 1.5, k + 9.25, 1.5, k + 9.25, 8.0, float(k), 8.0]] for k in range(5000)]
    packed = PackedMasks.pack(parts, [NO_PIXELS] * len(parts))
    assert packed.nbytes <= 5000 * (8 * 4 + 3 * 8) + 100


pose = st.one_of(st.none(), st.lists(st.floats(-9, 40, width=32), min_size=6, max_size=6))


@given(poses=st.lists(pose, max_size=7), chosen=st.lists(st.integers(0, 6), max_size=8))
def test_keypoints_against_a_list(poses: list, chosen: list[int]) -> None:
    packed = PackedKeypoints.pack(poses, 2)
    expected = np.array([[0.0] * 6 if row is None else row for row in poses]).reshape(-1, 2, 3)
    assert np.array_equal(packed.dense(np.arange(len(poses))), expected)
    assert len(packed.triples) == sum(row is not None for row in poses)
    indices = np.array([index for index in chosen if index < len(poses)], np.int64)
    some = packed.take(indices)
    assert np.array_equal(some.dense(np.arange(len(some))), expected[indices])
    both = PackedKeypoints.concatenate([some, PackedKeypoints.none(1, 2), packed])
    assert np.array_equal(
        both.dense(np.arange(len(both))), np.concatenate([expected[indices], np.zeros((1, 2, 3)), expected])
    )


def test_outside_is_beyond_the_edge_and_labelled() -> None:
    triples = np.array([[[0.0, 0, 2], [30, 20, 1], [30.5, 5, 2], [5, -0.1, 1], [99, 99, 0]]])
    assert outside(triples, np.array([SIZE])).tolist() == [[False, False, True, True, False]]
