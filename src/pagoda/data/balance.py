"""How much more often pictures of rare classes are drawn. N pictures.

Factors are relative: an epoch keeps its number of draws (`loading.BatchPlan`), so that a balanced run takes as many
steps as another one, and what some pictures gain others lose. A picture with a factor twice that of another is drawn
twice as often in the mean over epochs.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.presence import presence_of
from pagoda.messages import counted
from pagoda.plain import checked

Balance = Literal["none", "repeat-factor", "class"]
MAX_TOLD = 5
"""Classes told one by one in a remark"""


@checked
def picture_factors(annotations: Annotations, how: Balance, *, threshold: float) -> np.ndarray | None:
    """(N,) float64, how often each picture is drawn relative to the others; None for "none".

    "repeat-factor" (Gupta 2019): of a class in the share f of all pictures max(1, √(threshold / f)), and of a picture
    the largest of its classes. "class": every class is drawn as often as every other (Shen 2016), and then one of its
    pictures; a picture with several classes counts for each. Pictures without an object to learn keep the factor 1:
    with "class" the others have the mean 1, so that those without come as often as they did.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> table = DrawnShapes(6, (64, 64), seed=1).annotations
    >>> picture_factors(table, "repeat-factor", threshold=1.0).round(2).tolist()
    [1.22, 1.22, 1.22, 1.0, 1.22, 1.22]
    """
    if how == "none":
        return None
    rows, num_classes = presence_of(annotations), len(annotations.label_map)
    pictures_of = np.bincount(rows.labels, minlength=num_classes)
    factors = np.ones(len(annotations))
    if how == "repeat-factor":
        shares = pictures_of / max(len(annotations), 1)
        of_class = np.sqrt(np.maximum(threshold / np.maximum(shares, 1 / max(len(annotations), 1)), 1))
        np.maximum.at(factors, rows.pictures, of_class[rows.labels])
        return factors
    with_objects = np.unique(rows.pictures)
    factors[with_objects] = 0
    np.add.at(factors, rows.pictures, 1 / pictures_of[rows.labels])
    factors[with_objects] *= len(with_objects) / max((pictures_of > 0).sum(), 1)
    return factors


def balance_remark(annotations: Annotations, factors: np.ndarray) -> str:
    """A line on which classes are seen how much more, in objects per epoch; says so where nothing changes.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> table = DrawnShapes(6, (64, 64), seed=1).annotations
    >>> print(balance_remark(table, picture_factors(table, "repeat-factor", threshold=1.0)))
    balanced, objects per epoch: circle × 1.03, square × 1.03, triangle × 1.03; 6 pictures are drawn, as without
    """
    rows, names = presence_of(annotations), annotations.label_map.names
    pictures_of = np.bincount(rows.labels, minlength=len(names))
    if np.ptp(factors) < 1e-9:
        rarest = _rarest(pictures_of, names, len(annotations))
        return f"balance changes nothing: every picture is drawn as often as the others{rarest}"
    scale = len(factors) / factors.sum()
    before = np.bincount(rows.labels, weights=rows.counts, minlength=len(names))
    after = np.bincount(
        rows.labels, weights=rows.counts * factors[rows.pictures] * scale, minlength=len(names)
    )
    there = np.flatnonzero(before)
    gains = after[there] / before[there]
    order = np.argsort(-gains, kind="stable")
    told = [f"{names[there[k]]} × {gains[k]:.3g}" for k in order]
    if len(told) > 2 * MAX_TOLD:
        left_out = counted(len(told) - 2 * MAX_TOLD, "class", "classes")
        told = [*told[:MAX_TOLD], f"… {left_out} between …", *told[-MAX_TOLD:]]
    pictures = counted(len(factors), "picture is", "pictures are")
    return f"balanced, objects per epoch: {', '.join(told)}; {pictures} drawn, as without"


def _rarest(pictures_of: np.ndarray, names: Sequence[str], count: int) -> str:
    there = np.flatnonzero(pictures_of)
    if not len(there):
        return ""
    label = there[pictures_of[there].argmin()]
    share = pictures_of[label] / count
    told = f"; the rarest class, {names[label]}, is in {share:.2g} of them"
    return told if share >= 1 else f"{told}, which a balance_threshold above that repeats"
