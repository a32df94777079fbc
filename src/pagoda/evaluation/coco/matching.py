"""COCO's matching of detections to objects for all pictures at once, kept so that it can be counted again and again.

Greedy, the best score first, per picture, class, overlap (T = .50, .55 … .95) and range of sizes (S); what a detection
is matched to decides whether it is right, wrong or left out. D detections, N annotations.

hotcoco matches as quickly, but hands out what it matched picture by picture: minutes and gigabytes for a set like COCO.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pagoda.evaluation.coco.ground_truth import GroundTruth
from pagoda.evaluation.coco.overlaps import overlaps
from pagoda.evaluation.coco.scoring import SIZES, Task
from pagoda.evaluation.coco.state import State
from pagoda.plain import checked
from pagoda.structures.skeleton import Skeleton

IOUS = np.linspace(0.5, 0.95, 10)
WRONG, RIGHT, LEFT_OUT = np.uint8(0), np.uint8(1), np.uint8(2)


class Matches(NamedTuple):
    """Detections of each class together, the best score first."""

    images: np.ndarray
    """(D,) position of the picture in the ground truth"""
    categories: np.ndarray
    """(D,) rising"""
    scores: np.ndarray
    """(D,)"""
    rows: np.ndarray
    """(D,) where the detection stood among those collected"""
    in_range: np.ndarray
    """(S, D) bool: whether it counts where it finds nothing"""
    status: np.ndarray
    """(S, T, D) uint8: WRONG, RIGHT, or LEFT_OUT as what lies on a crowd or is of another size"""
    objects: np.ndarray
    """(T, D) the annotation it was matched to when all sizes count, -1 without"""
    counted: np.ndarray
    """(S, N) bool: annotations that can be found or missed"""
    truth: GroundTruth
    """that they were matched to"""

    def objects_of(self, size: int, category: int) -> np.ndarray:
        """Positions of the pictures of the objects that count, a picture as often as it has some."""
        return self.truth.images[self.counted[size] & (self.truth.categories == category)]


@checked
def match(
    truth: GroundTruth, collected: State, task: Task, limit: int, skeleton: Skeleton | None = None
) -> Matches:
    """As pycocotools matches them; of each picture and class the best `limit` detections count."""
    kept = np.ones(len(truth.images), bool) if task != "segm" else truth.has_mask
    annotations = np.flatnonzero(kept)
    classes = len(truth.category_ids)
    found = _ranked(collected, classes, limit)
    cells = collected["images"][found] * classes + collected["categories"][found]
    truth_cells = truth.images[annotations] * classes + truth.categories[annotations]
    annotations = annotations[np.argsort(truth_cells, kind="stable")]
    truth_cells = np.sort(truth_cells, kind="stable")
    pairs = pairs_of(cells, truth_cells)
    values, areas, ignored = overlaps(
        truth, collected, task, found[pairs.found], annotations[pairs.annotations], skeleton
    )
    limits = np.array(list(SIZES[task].values()))
    out_of_range = _outside(truth.areas[annotations], limits) | ignored[annotations]
    objects = _greedy(values, pairs, ranks_in(cells), out_of_range, truth.crowd[annotations])
    # What is matched to an annotation that does not count is left out, as is what is not matched and of another size.
    unmatched = objects < 0
    is_out = (
        np.take_along_axis(
            np.broadcast_to(out_of_range[:, None], (*objects.shape[:2], len(annotations))),
            objects.clip(0),
            axis=2,
        )
        if len(annotations)
        else np.zeros_like(unmatched)
    )
    in_range = ~_outside(areas[found], limits)
    left_out = np.where(unmatched, ~in_range[:, None], is_out)
    status = np.where(left_out, LEFT_OUT, np.where(unmatched, WRONG, RIGHT))
    order = np.lexsort(
        (collected["images"][found], -collected["scores"][found], collected["categories"][found])
    )
    counted = np.zeros((len(limits), len(truth.images)), bool)
    counted[:, annotations] = ~out_of_range
    matched_to = np.where(unmatched[0], -1, annotations[objects[0].clip(0)] if len(annotations) else -1)
    return Matches(
        images=collected["images"][found][order],
        categories=collected["categories"][found][order],
        scores=collected["scores"][found][order],
        rows=found[order],
        in_range=in_range[:, order],
        status=np.ascontiguousarray(status[..., order]),
        objects=matched_to[:, order],
        counted=counted,
        truth=truth,
    )


def _ranked(collected: State, classes: int, limit: int) -> np.ndarray:
    """Rows by picture and class, the best first, no more than `limit` of each."""
    cells = collected["images"] * classes + collected["categories"]
    rows = np.lexsort((np.arange(len(cells)), -collected["scores"], cells))
    return rows[ranks_in(cells[rows]) < limit]


def ranks_in(cells: np.ndarray) -> np.ndarray:
    """How many equal values stand before each; equal ones stand together.

    >>> ranks_in(np.array([4, 4, 7, 7, 7])).tolist()
    [0, 1, 0, 1, 2]
    """
    places = np.arange(len(cells))
    starts = np.flatnonzero(np.diff(cells, prepend=cells[:1] - 1)) if len(cells) else places
    return places - np.repeat(starts, np.diff(starts, append=len(cells)))


class Pairs(NamedTuple):
    """Detections and annotations of one cell, each with each; rows of a detection stand together."""

    found: np.ndarray
    """(P,) places among the detections"""
    annotations: np.ndarray
    """(P,) places among the annotations"""


def pairs_of(cells: np.ndarray, truth_cells: np.ndarray) -> Pairs:
    """Those of equal cells (picture, or picture and class); `truth_cells` rise.

    >>> pairs = pairs_of(np.array([5, 3, 5]), np.array([5, 5]))
    >>> pairs.found.tolist(), pairs.annotations.tolist()
    ([0, 0, 2, 2], [0, 1, 0, 1])
    """
    first = np.searchsorted(truth_cells, cells, "left")
    counts = np.searchsorted(truth_cells, cells, "right") - first
    found = np.repeat(np.arange(len(cells)), counts)
    return Pairs(found, np.repeat(first, counts) + ranks_in(found))


def _outside(areas: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """(S, n) bool."""
    return (areas < limits[:, :1]) | (areas > limits[:, 1:])


def _greedy(
    values: np.ndarray,
    pairs: Pairs,
    ranks: np.ndarray,
    out_of_range: np.ndarray,
    crowd: np.ndarray,
) -> np.ndarray:
    """(S, T, D) position of the annotation that each detection takes, -1 without.

    All pictures and classes take their first detections at once, then their second … Among those that overlap enough
    and nobody has taken (crowds may be taken again) a detection prefers what counts, then the largest overlap.
    """
    sizes, total = out_of_range.shape
    chosen = np.full((sizes, len(IOUS), len(ranks)), -1, np.int64)
    taken = np.zeros((sizes, len(IOUS), total), bool)
    enough = np.minimum(IOUS, 1 - 1e-10)[:, None]
    order = np.argsort(ranks[pairs.found], kind="stable")
    bounds = np.searchsorted(ranks[pairs.found][order], np.arange(ranks.max(initial=-1) + 2))
    for start, end in pairwise(bounds.tolist()):
        rows = order[start:end]
        if not len(rows):
            continue
        found, annotations, value = pairs.found[rows], pairs.annotations[rows], values[rows]
        free = (value >= enough) & (crowd[annotations] | ~taken[..., annotations])
        worth = np.where(free, value + 2.0 * ~out_of_range[:, None, annotations], -1.0)
        starts = np.flatnonzero(np.diff(found, prepend=-1))
        best = np.maximum.reduceat(worth, starts, axis=2)
        is_best = free & (worth == np.repeat(best, np.diff(starts, append=len(found)), axis=2))
        last = np.maximum.reduceat(np.where(is_best, annotations, -1), starts, axis=2)
        chosen[..., found[starts]] = last
        size, iou, place = np.nonzero(last >= 0)
        taken[size, iou, last[size, iou, place]] = True
    return chosen
