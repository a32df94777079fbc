"""Ragged rows in flat arrays: strings end to end, and how to take some of the runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PackedStrings:
    """A sequence of strings in two arrays: all UTF-8 bytes end to end, and where each one starts.

    >>> packed = PackedStrings.pack(["a", "grün", ""])
    >>> packed[1], packed.offsets.tolist(), packed.take(np.array([2, 0])).tolist()
    ('grün', [0, 1, 6, 6], ['', 'a'])
    """

    content: np.ndarray
    """(bytes,) uint8"""
    offsets: np.ndarray
    """(N + 1,) int64"""

    @classmethod
    def pack(cls, strings: Sequence[str]) -> "PackedStrings":
        encoded = [string.encode() for string in strings]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(piece) for piece in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} strings")
        index = int(index) % len(self)
        return self.content[self.offsets[index] : self.offsets[index + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def tolist(self) -> list[str]:
        return list(self)

    @property
    def nbytes(self) -> int:
        return self.content.nbytes + self.offsets.nbytes

    def take(self, indices: np.ndarray) -> "PackedStrings":
        where, offsets = gather_runs(self.offsets, indices)
        return PackedStrings(self.content[where], offsets)


def gather_runs(offsets: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the chosen runs end to end, and the offsets of the runs among them.

    >>> where, offsets = gather_runs(np.array([0, 2, 5, 6]), np.array([2, 1]))
    >>> where.tolist(), offsets.tolist()
    ([5, 2, 3, 4], [0, 1, 4])
    """
    lengths = np.diff(offsets)[indices]
    new_offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    shifts = np.repeat(offsets[:-1][indices] - new_offsets[:-1], lengths)
    return np.arange(new_offsets[-1]) + shifts, new_offsets
