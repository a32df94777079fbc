"""The score from which detections of a class are worth having."""

from itertools import pairwise

import numpy as np

from pagoda.evaluation.coco.matching import LEFT_OUT, RIGHT, Matches


def best_f1(matches: Matches) -> np.ndarray:
    """(classes,) the score from which F1 at an IoU of .5 is largest, objects of all sizes; 1 where nothing is right."""
    classes = len(matches.truth.category_ids)
    starts = np.searchsorted(matches.categories, np.arange(classes + 1))
    scores = np.ones(classes)
    for category, (first, end) in enumerate(pairwise(starts.tolist())):
        status = matches.status[0, 0, first:end]
        right, total = np.cumsum(status == RIGHT), np.cumsum(status != LEFT_OUT)
        f1 = 2 * right / np.maximum(total + len(matches.objects_of(0, category)), 1)
        if right.any():
            # Of equal scores either all are taken or none: the last of them tells.
            own = matches.scores[first:end]
            is_last = np.append(own[1:] != own[:-1], True)
            scores[category] = own[np.where(is_last, f1, -1).argmax()]
    return scores


def counts_above(matches: Matches, min_scores: np.ndarray) -> np.ndarray:
    """(2, images) objects found and detections that find none, at an IoU of .5, from the score of their class on."""
    status = matches.status[0, 0]
    is_shown = matches.scores >= min_scores[matches.categories]
    images = len(matches.truth.image_ids)
    return np.stack(
        [
            np.bincount(matches.images[is_shown & (status == RIGHT)], minlength=images),
            np.bincount(matches.images[is_shown & ~np.isin(status, (RIGHT, LEFT_OUT))], minlength=images),
        ]
    )
