"""The keypoints of a whole data set: rows only for the objects that have some. M objects, R of them with
keypoints, K keypoints each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PackedKeypoints:
    """The keypoints of M objects in one array of those that have some, as the files say to the last bit.

    >>> packed = PackedKeypoints.pack([None, [1, 2, 2], None], num_keypoints=1)
    >>> packed.rows.tolist(), packed.dense(np.array([0, 1])).tolist()
    ([-1, 0, -1], [[[0.0, 0.0, 0.0]], [[1.0, 2.0, 2.0]]])
    """

    rows: np.ndarray
    """(M,) int32: the row of `triples` that belongs to object m, -1 where it has no keypoints"""
    triples: np.ndarray
    """(R, K, 3) float64: x, y, visibility (0 not labelled, 1 labelled but hidden, 2 visible)"""

    @classmethod
    def pack(cls, values: Sequence[Sequence[float] | None], num_keypoints: int) -> "PackedKeypoints":
        """From each object's x, y, visibility, x, y, …, or None for one without keypoints."""
        known = [row for row in values if row is not None]
        triples = np.array(known, np.float64).reshape(len(known), num_keypoints, 3)
        return cls.of_rows(np.array([row is not None for row in values], bool), triples)

    @classmethod
    def of_rows(cls, is_known: np.ndarray, triples: np.ndarray) -> "PackedKeypoints":
        """From (M,) bool, which objects have keypoints, and the triples (R, K, 3) of those."""
        return cls(np.where(is_known, np.cumsum(is_known) - 1, -1).astype(np.int32), triples)

    @classmethod
    def none(cls, num_objects: int, num_keypoints: int) -> "PackedKeypoints":
        """The column of objects without keypoints, to stand beside some that have them."""
        return cls(np.full(num_objects, -1, np.int32), np.zeros((0, num_keypoints, 3)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self.triples.nbytes

    @property
    def num_keypoints(self) -> int:
        """K, of each object."""
        return self.triples.shape[1]

    def take(self, objects: np.ndarray) -> "PackedKeypoints":
        """Only the objects at these indices, in that order."""
        rows = self.rows[objects]
        return PackedKeypoints.of_rows(rows >= 0, self.triples[rows[rows >= 0]])

    @classmethod
    def concatenate(cls, parts: Sequence["PackedKeypoints"]) -> "PackedKeypoints":
        """All objects of all parts, which have the same keypoints."""
        is_known = np.concatenate([part.rows for part in parts]) >= 0
        ordered = [part.triples[part.rows[part.rows >= 0]] for part in parts]
        return cls.of_rows(is_known, np.concatenate(ordered))

    def dense(self, objects: np.ndarray) -> np.ndarray:
        """(len(objects), K, 3) float64, zeros for those without keypoints."""
        rows = self.rows[objects]
        result = np.zeros((len(rows), *self.triples.shape[1:]))
        result[rows >= 0] = self.triples[rows[rows >= 0]]
        return result


def outside(triples: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(N, K) bool: labelled keypoints (N, K, 3) that lie off the picture; `sizes` (N, 2) height and width.

    >>> outside(np.array([[[9.0, 1.0, 2.0], [9.0, 1.0, 0.0]]]), np.array([[4, 8]])).tolist()
    [[True, False]]
    """
    beyond = (triples[..., :2] < 0) | (triples[..., :2] > sizes[:, None, ::-1])
    return (triples[..., 2] > 0) & beyond.any(-1)
