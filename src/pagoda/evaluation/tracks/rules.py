"""What counts when boxes of a video are compared: which classes meet, and which predictions are taken out first.

N objects or regions, M predictions of one frame.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import Tracks

EPS = np.finfo(np.float64).eps
MIN_DISTRACTOR_IOU = 0.5
"""MOTChallenge's, whatever is asked for of objects"""
ANY_CLASS = LabelMap.from_names(["any class"])


def matched_distractors(ious: np.ndarray, distractors: np.ndarray) -> np.ndarray:
    """(M,) bool: predictions whose partner is a distractor, when all rows of the frame are matched best.

    `ious` (N, M) of all rows, counted or not, in the order of the file; `distractors` (N,) bool. As TrackEval's
    MotChallenge2DBox does it, ties included.

    >>> matched_distractors(np.array([[0.9, 0.6], [0.7, 0.8]]), np.array([False, True]))
    array([False,  True])
    """
    taken = np.zeros(ious.shape[1], bool)
    scores = np.where(ious < MIN_DISTRACTOR_IOU - EPS, 0.0, ious)
    rows, columns = linear_sum_assignment(-scores)
    is_match = scores[rows, columns] > EPS
    taken[columns[is_match & distractors[rows]]] = True
    return taken


def boxes_as_in_files(truth: Tracks, found: Tracks) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of both sides, (N, 4) and (M, 4) xyxy of the whole video.

    Pixels are counted from 1 where both sides were read so and not changed since: their IoU is then that of the files
    to the last bit.
    """
    sides = (truth, found)
    if all(s.boxes_from_1 is not None and np.array_equal(s.boxes_from_1 - 1, s.boxes) for s in sides):
        return tuple(s.boxes_from_1 for s in sides)
    return truth.boxes, found.boxes


def shares_inside(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """(N, M) share of the area of each of N boxes that lies inside each of M regions, all xyxy.

    >>> shares_inside(np.array([[0.0, 0, 4, 4]]), np.array([[2.0, 0, 9, 9], [5, 5, 9, 9]]))
    array([[0.5, 0. ]])
    """
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.prod(np.maximum(high - low, 0), axis=2) / np.maximum(areas, 1e-12)[:, None]


def with_same_classes(truth: Tracks, found: Tracks) -> tuple[Tracks, Tracks]:
    """Both with the classes of the ground truth, matched by name; predictions of others are left out and counted.

    Predictions without classes are of the only one of the ground truth; where it has several, all become one class.
    Raises ValueError when no class has the same name.
    """
    mine, theirs = truth.label_map.names, found.label_map.names
    if not found.has_classes:
        truth = truth if len(mine) == 1 else _of_any_class(truth)
        return truth, replace(found, label_map=truth.label_map, labels=np.zeros_like(found.labels))
    if mine == theirs:
        return truth, found
    if not set(mine) & set(theirs):
        raise ValueError(
            f"the video '{truth.name}' has the classes {', '.join(mine)} in the ground truth and"
            f" {', '.join(theirs)} in the predictions; call them alike, or give the predictions as MOT text"
            " without classes"
        )
    place = np.array([mine.index(name) if name in mine else -1 for name in theirs])
    labels = place[found.labels]
    other = {
        f"of class {name}": int((found.labels == i).sum()) for i, name in enumerate(theirs) if place[i] < 0
    }
    left_out = {**found.left_out, **{why: count for why, count in other.items() if count}}
    kept = replace(found.rows(labels >= 0), labels=labels[labels >= 0], left_out=left_out)
    return truth, replace(kept, label_map=truth.label_map)


def with_unasked_as_distractors(truth: Tracks, found: Tracks) -> Tracks:
    """The ground truth, where objects of classes that nobody asked for are distractors of predictions without classes.

    Such a prediction may be of one of those. With classes on both sides the ground truth comes back as it is.
    """
    if found.has_classes or truth.of_other_class is None or not truth.of_other_class.any():
        return truth
    said = "predictions that name no class and match an object of another are taken out"
    taken_out = (
        truth.of_other_class if truth.distractors is None else truth.of_other_class | truth.distractors
    )
    return replace(truth, distractors=taken_out, rules=f"{truth.rules}; {said}" if truth.rules else said)


def _of_any_class(truth: Tracks) -> Tracks:
    said = (
        "the predictions name no classes: for all together each may meet an object of any class, for one class"
        " those matched to objects of another are taken out"
    )
    rules = f"{truth.rules}; {said}" if truth.rules else said
    return replace(truth, label_map=ANY_CLASS, labels=np.zeros_like(truth.labels), rules=rules)


def one_class_each(truth: Tracks) -> dict[str, Tracks]:
    """Class → the ground truth of it alone for predictions without classes; objects of the others are distractors."""
    ignored = np.zeros(len(truth), bool) if truth.ignored is None else truth.ignored
    regions = ignored if truth.regions is None else truth.regions
    one = replace(truth, label_map=ANY_CLASS, labels=np.zeros_like(truth.labels), regions=regions)
    videos = {}
    for label, name in enumerate(truth.label_map.names):
        is_other = ~ignored & (truth.labels != label)
        taken_out = is_other if truth.distractors is None else is_other | truth.distractors
        videos[name] = replace(one, ignored=ignored | is_other, distractors=taken_out)
    return videos
