# Written by tools/runtime_tracking.py from src/pagoda/tracking/association.py: change that one.
"""How alike two objects are, and who goes with whom. N objects seen before, M objects seen now, K keypoints.

All numbers are costs: 0 for the same, 1 for nothing in common. Keypoints that are not there are nan.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from pagoda_runtime.tracking.assignment import linear_sum_assignment

Algorithm = Literal["hungarian", "greedy"]
Pairing = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
TINY = float(np.finfo(np.float64).tiny)
FEW = 64
"""pairs, up to which going through them one by one takes less time than a dozen calls for all at once"""


def iou_costs(before: np.ndarray, now: np.ndarray, *, inclusive: bool = False) -> np.ndarray:
    """1 - IoU of xyxy boxes; `inclusive`: sides are measured as x2 - x1 + 1."""
    if inclusive:
        before, now = (boxes + np.array([0, 0, 1, 1]) for boxes in (before, now))
    if len(before) * len(now) <= FEW:
        return _iou_costs_of_few(before, now)
    # Along axes of their own, coordinates lie side by side in memory.
    a, b = before.T[:, :, None], now.T[:, None]
    width, height = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
    (a_width, a_height), (b_width, b_height) = a[2:] - a[:2], b[2:] - b[:2]
    shared = width * height
    return 1 - shared / np.maximum(a_width * a_height + b_width * b_height - shared, TINY)


def _iou_costs_of_few(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    costs, theirs = np.empty((len(before), len(now))), now.tolist()
    costs.fill(1)
    for row, (left, top, right, bottom) in enumerate(before.tolist()):
        for column, (x1, y1, x2, y2) in enumerate(theirs):
            if x2 <= left or right <= x1 or y2 <= top or bottom <= y1:
                continue
            width = (right if right < x2 else x2) - (left if left > x1 else x1)
            height = (bottom if bottom < y2 else y2) - (top if top > y1 else y1)
            if width > 0 and height > 0:
                shared = width * height
                union = (right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - shared
                costs[row, column] = 1 - shared / max(union, TINY)
    return costs


def oks_costs(
    before: np.ndarray,
    now: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
) -> np.ndarray:
    """1 - object keypoint similarity (COCO), over the keypoints both have; 1 for pairs that share none.

    `areas`: pixels² of the objects before. The mean of exp(-d² / (2 · area · (2σ)²)) over shared keypoints.
    """
    squared = np.square(before[:, None] - now[None]).sum(-1)
    shared = np.isfinite(squared)
    spread = 2 * np.maximum(areas, 1e-9)[:, None, None] * np.square(2 * sigmas)
    likeness = np.where(shared, np.exp(-np.where(shared, squared, 0) / spread), 0)
    return 1 - likeness.sum(-1) / np.maximum(shared.sum(-1), 1)


def pck_costs(
    before: np.ndarray,
    now: np.ndarray,
    head_ends: tuple[int, int],
    *,
    max_distance: float = 0.5,
) -> np.ndarray:
    """1 - the share of all K keypoints that are less than `max_distance` head lengths away from before.

    Detect-and-Track's pose cost: the head length is the distance of the keypoints `head_ends` (top and
    bottom) of the pose before, plus 1 pixel; keypoints that are not there count as moved.
    """
    top, bottom = head_ends
    head_lengths = np.linalg.norm(before[:, top] - before[:, bottom], axis=-1) + 1
    moved = np.linalg.norm(before[:, None] - now[None], axis=-1) / head_lengths[:, None, None]
    return 1 - (moved < max_distance).mean(-1)


def cosine_costs(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """1 - the cosine of the angle between appearance vectors of any length; 1 where one of them is 0."""
    sizes = np.linalg.norm(before, axis=1)[:, None] * np.linalg.norm(now, axis=1)[None]
    return 1 - (before @ now.T) / np.maximum(sizes, np.finfo(sizes.dtype).tiny)


def assign(
    costs: np.ndarray, *, max_cost: float | None = None, algorithm: Algorithm = "hungarian"
) -> np.ndarray:
    """For each object now, the row of the one before that it continues, or -1. Costs of inf never pair.

    `hungarian` has the least total cost, where leaving two objects alone costs `max_cost`; `greedy` takes
    the least cost again and again. Without `max_cost` as many are paired as can be, at any finite cost.
    """
    result = np.full(costs.shape[1], -1)
    rows, columns = pair_up(
        costs, max_cost, _greedy_pairs if algorithm == "greedy" else linear_sum_assignment
    )
    result[columns] = rows
    return result


def pair_up(
    costs: np.ndarray, max_cost: float | None, pair: Pairing = linear_sum_assignment
) -> tuple[np.ndarray, np.ndarray]:
    """What `assign` pairs by the algorithm `pair`: rows, and of each its column."""
    alone, most = max_cost, max_cost
    if alone is None or most is None:
        finite = np.abs(costs[np.isfinite(costs)])
        most = float(finite.max(initial=0.0))
        # One more pair must be worth more than any choice among costs.
        alone = 1 + 2 * min(costs.shape) * most
    rows, columns = pair(np.minimum(costs, alone))
    kept = costs[rows, columns] <= most
    return (rows, columns) if np.count_nonzero(kept) == len(kept) else (rows[kept], columns[kept])


def _greedy_pairs(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    left, pairs = costs.copy(), []
    for _ in range(min(costs.shape)):
        row, column = np.unravel_index(int(left.argmin()), left.shape)
        pairs.append((row, column))
        left[row, :] = left[:, column] = np.inf
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return rows, columns


def forbid_other_labels(costs: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """The costs with inf between objects of different classes."""
    return np.where(before[:, None] == now[None], costs, np.inf)
