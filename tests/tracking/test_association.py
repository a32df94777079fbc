"""Costs against plain loops and worked examples; assignments against trying all of them."""

from itertools import permutations

import numpy as np
import pytest

from pagoda.structures.skeleton import COCO_17
from pagoda.tracking.association import (
    FEW,
    assign,
    cosine_costs,
    forbid_other_labels,
    iou_costs,
    oks_costs,
    pck_costs,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_example_of_the_original_linker():
    before = np.array([[0.0, 0, 9, 9], [100, 100, 109, 109]])
    now = np.array([[200.0, 200, 209, 209], [2, 0, 11, 9], [300, 0, 309, 9]])
    costs = iou_costs(before, now, inclusive=True)
    np.testing.assert_allclose(costs, [[1, 1 / 3, 1], [1, 1, 1]])
    assert assign(costs).tolist() == [1, 0, -1], "without a gate a far box inherits the free track"
    assert assign(costs, max_cost=0.9).tolist() == [-1, 0, -1]


def test_hungarian_looks_at_the_whole_and_greedy_does_not():
    costs = np.array([[0.1, 0.2], [0.15, 0.9]])
    best, greedy = assign(costs), assign(costs, algorithm="greedy")
    assert best.tolist() == [1, 0] and costs[best, [0, 1]].sum() == pytest.approx(0.35)
    assert greedy.tolist() == [0, 1] and costs[greedy, [0, 1]].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_assign_finds_the_least_total_cost_of_all(rng, shape):
    for _ in range(20):
        costs = rng.random(shape)
        costs[rng.random(shape) < 0.3] = np.inf
        limit = 0.6
        found = assign(costs, max_cost=limit)
        total = sum(costs[row, column] if row >= 0 else limit for column, row in enumerate(found))
        assert total == pytest.approx(least_total(costs, limit))


def least_total(costs, limit):
    """Every way to give each column a row or none (cost `limit`), one by one."""
    rows = [*range(costs.shape[0]), *[-1] * costs.shape[1]]
    totals = []
    for choice in set(permutations(rows, costs.shape[1])):
        prices = [limit if row < 0 else costs[row, column] for column, row in enumerate(choice)]
        if all(price <= limit for price in prices):
            totals.append(sum(prices))
    return min(totals)


def test_forbidden_pairs_are_never_made_but_as_many_others_as_can_be():
    costs = np.array([[0.1, 5.0], [np.inf, 0.2], [np.inf, np.inf]])
    assert assign(costs).tolist() == [0, 1]
    # Row 1 can only take column 1, so row 0 gives up the cheap one: two pairs are better than one.
    assert assign(np.array([[9.0, 0.1], [np.inf, 0.2]])).tolist() == [0, 1]
    assert assign(np.full((2, 2), np.inf)).tolist() == [-1, -1]
    assert assign(np.zeros((0, 3))).tolist() == [-1] * 3
    labelled = forbid_other_labels(np.zeros((2, 2)), np.array([0, 1]), np.array([1, 0]))
    assert assign(labelled).tolist() == [1, 0]


def test_oks_against_a_plain_loop(rng):
    before, now = rng.uniform(0, 60, (3, 17, 2)), rng.uniform(0, 60, (2, 17, 2))
    before[0, 4] = now[1, 9] = np.nan
    areas, sigmas = rng.uniform(500, 3000, 3), np.array(COCO_17.sigmas)
    expected = np.zeros((3, 2))
    for n in range(3):
        for m in range(2):
            terms = [
                np.exp(-np.sum((before[n, k] - now[m, k]) ** 2) / (2 * areas[n] * (2 * sigmas[k]) ** 2))
                for k in range(17)
                if np.isfinite(before[n, k]).all() and np.isfinite(now[m, k]).all()
            ]
            expected[n, m] = 1 - np.mean(terms)
    np.testing.assert_allclose(oks_costs(before, now, areas, sigmas), expected, atol=1e-12)


def test_oks_of_the_same_pose_is_0_and_of_nothing_shared_1(rng):
    pose = rng.uniform(0, 60, (1, 4, 2))
    half, other = pose.copy(), pose.copy()
    half[0, :2], other[0, 2:] = np.nan, np.nan
    sigmas, areas = np.full(4, 0.05), np.array([100.0])
    assert oks_costs(pose, pose, areas, sigmas)[0, 0] == pytest.approx(0)
    assert oks_costs(half, other, areas, sigmas)[0, 0] == 1


def test_pck_of_six_moved_joints_of_seventeen():
    before = np.zeros((1, 17, 2))
    before[0, 2] = 0, -19  # the head is 19 pixels high, plus 1
    now = before.copy()
    now[0, 10:16] += 10  # exactly half a head length in x and in y: moved
    assert pck_costs(before, now, (2, 1))[0, 0] == pytest.approx(0.352941, abs=1e-6)
    now = before.copy()
    now[0, 5, 0] += 10  # exactly 0.5 is not below it
    now[0, 6, 0] += 9.99
    now[0, 7] = np.nan
    assert pck_costs(before, now, (2, 1))[0, 0] == pytest.approx(2 / 17)


def test_cosine_ignores_lengths():
    before, now = np.array([[1.0, 0], [0, 0]]), np.array([[5.0, 0], [0, 2], [-1, 0]])
    np.testing.assert_allclose(cosine_costs(before, now), [[0, 1, 2], [1, 1, 1]])


def test_the_iou_of_few_is_that_of_many(rng):
    """To the last bit, of whichever boxes: apart, touching, inside each other, flat, turned inside out."""
    corners = rng.integers(0, 12, (40, 2)).astype(float)
    boxes = np.concatenate([corners, corners + rng.integers(-2, 9, (40, 2))], 1) + rng.choice(
        [0, 1 / 3], (40, 1)
    )
    costs = iou_costs(boxes, boxes)
    assert len(boxes) ** 2 > FEW and ((costs > 0) & (costs < 1)).any()
    for start in range(0, 40, 5):
        few = boxes[start : start + 5]
        np.testing.assert_array_equal(iou_costs(boxes[:8], few), costs[:8, start : start + 5])
