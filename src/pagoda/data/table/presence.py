"""Which pictures hold objects of which class: what balancing and pasting go by."""

from typing import NamedTuple

import numpy as np

from pagoda.data.table.annotations import Annotations, cut_to_picture


class Presence(NamedTuple):
    """One row for every class in every picture that holds it, by picture and then class."""

    pictures: np.ndarray
    """(R,) index of the picture"""
    labels: np.ndarray
    """(R,) the class"""
    counts: np.ndarray
    """(R,) how many objects of it are there"""


def presence_of(annotations: Annotations) -> Presence:
    """Of the objects that can be learnt: with area inside their picture, and not ignored.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> table = DrawnShapes(4, (64, 64), seed=1).annotations
    >>> rows = presence_of(table)
    >>> len(rows.labels), int(rows.counts.sum()) == int((~table.ignored).sum())
    (8, True)
    """
    owners = annotations.owners
    _, has_area = cut_to_picture(annotations.boxes_xywh, annotations.sizes[owners])
    learnable = has_area & ~annotations.ignored
    num_classes = max(len(annotations.label_map), 1)
    keys = owners[learnable].astype(np.int64) * num_classes + annotations.labels[learnable]
    rows, counts = np.unique(keys, return_counts=True)
    return Presence(rows // num_classes, rows % num_classes, counts)
