"""Whether two data sets are the same, whatever folders they lie in."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from hashlib import sha256

import numpy as np

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.structures.tubes import AnyTargets

LEARNT = ("sizes", "offsets", "boxes_xywh", "labels", "ignored", "areas", "masks", "keypoints")


def fingerprint(dataset: AnnotatedDataset[AnyTargets]) -> str:
    """A SHA-256 of what is learnt or scored: the names of pictures, without their folders, their sizes, objects and
    classes; of clips all frames. Pixels are not read.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> a, b = DrawnShapes(2, (32, 48)), DrawnShapes(2, (32, 48), seed=1)
    >>> len(fingerprint(a)), fingerprint(a) == fingerprint(b)
    (64, False)
    """
    table: Annotations = getattr(dataset, "all_frames", dataset.annotations)
    digest = sha256(repr((table.label_map.names, table.label_map.skeleton)).encode())
    for file in table.files:
        digest.update(file.replace("\\", "/").rpartition("/")[2].encode() + b"\n")
    for name in LEARNT:
        digest.update(name.encode())
        for array in _arrays(getattr(table, name)):
            digest.update(repr((array.dtype.str, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _arrays(column: object) -> Iterator[np.ndarray]:
    """The arrays that a column is made of, none where it is not there."""
    if isinstance(column, np.ndarray):
        yield column
    elif is_dataclass(column):
        for each in fields(column):
            yield from _arrays(getattr(column, each.name))
