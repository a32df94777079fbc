"""The masks of a whole data set in flat arrays, as their files say, decoded when a picture is loaded.

M objects, P polygons over all objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from pagoda.data.table.strings import PackedStrings, gather_runs
from pagoda.ops.rle import as_rle, decode_masks, draw_polygons
from pagoda.plain import JsonObject

HUNDREDTHS = 100.0
"""COCO's polygons have two decimals: kept as whole hundredths they take half the room and lose nothing."""
NO_PIXELS = ""


@dataclass(frozen=True, eq=False)
class PackedMasks:
    """The masks of M objects, polygons or run lengths as the files have them: holes and every digit survive.

    >>> packed = PackedMasks.pack([[[0, 0, 2, 0, 2, 2, 0, 2]], []], ["", NO_PIXELS])
    >>> packed.is_known.tolist(), int(packed.decode(np.array([0]), (4, 6)).sum())
    ([True, False], 4)
    >>> packed.to_coco(0, (4, 6)), packed.to_coco(1, (4, 6))
    ([[0.0, 0.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0]], None)
    """

    coordinates: np.ndarray
    """x, y, x, y, … of all polygons: int32 hundredths of a pixel, or float64 pixels where two decimals are
    not enough"""
    polygon_offsets: np.ndarray
    """(P + 1,) int64: polygon p is coordinates[polygon_offsets[p]] …"""
    object_offsets: np.ndarray
    """(M + 1,) int64: object m has the polygons from object_offsets[m] on"""
    run_lengths: PackedStrings
    """M texts (see `ops.rle`), empty where an object has polygons or no mask at all"""

    @classmethod
    def pack(cls, polygons: Sequence[Sequence[Sequence[float]]], run_lengths: Sequence[str]) -> "PackedMasks":
        """From a list of polygons and a text of run lengths per object, one or both of them empty."""
        flat = list(chain.from_iterable(polygons))
        values = np.fromiter(chain.from_iterable(flat), np.float64, sum(map(len, flat)))
        return cls(
            _compact(values),
            _offsets([len(polygon) for polygon in flat]),
            _offsets([len(parts) for parts in polygons]),
            PackedStrings.pack(run_lengths),
        )

    @classmethod
    def none(cls, num_objects: int) -> "PackedMasks":
        """The column of objects without masks, to stand beside some that have them."""
        return cls.pack([[]] * num_objects, [NO_PIXELS] * num_objects)

    def __len__(self) -> int:
        return len(self.object_offsets) - 1

    @property
    def nbytes(self) -> int:
        arrays = (self.coordinates, self.polygon_offsets, self.object_offsets, self.run_lengths)
        return sum(int(array.nbytes) for array in arrays)

    @property
    def is_known(self) -> np.ndarray:
        """(M,) bool: whose mask is annotated."""
        return (np.diff(self.object_offsets) > 0) | (np.diff(self.run_lengths.offsets) > 0)

    def take(self, objects: np.ndarray) -> "PackedMasks":
        """Only the objects at these indices, in that order."""
        polygons, object_offsets = gather_runs(self.object_offsets, objects)
        where, polygon_offsets = gather_runs(self.polygon_offsets, polygons)
        return PackedMasks(
            self.coordinates[where], polygon_offsets, object_offsets, self.run_lengths.take(objects)
        )

    @classmethod
    def concatenate(cls, parts: Sequence["PackedMasks"]) -> "PackedMasks":
        """The masks of all objects of all parts, one part after the other."""
        coordinates = [part.coordinates for part in parts]
        if len({array.dtype for array in coordinates}) > 1:
            coordinates = [_pixels(array) for array in coordinates]
        texts = [part.run_lengths for part in parts]
        return cls(
            np.concatenate(coordinates),
            _join_offsets([part.polygon_offsets for part in parts]),
            _join_offsets([part.object_offsets for part in parts]),
            PackedStrings(
                np.concatenate([text.content for text in texts]),
                _join_offsets([text.offsets for text in texts]),
            ),
        )

    def polygons(self, index: int) -> list[np.ndarray]:
        """The polygons of one object, float64 x, y, x, y, … in pixels."""
        first, last = self.object_offsets[index], self.object_offsets[index + 1]
        ends = self.polygon_offsets[first : last + 1]
        values = _pixels(self.coordinates[ends[0] : ends[-1]])
        places = (ends - ends[0]).tolist()
        return [values[start:end] for start, end in pairwise(places)]

    def text(self, index: int, size: tuple[int, int]) -> str:
        """The run lengths of one object in its picture of `size`, "" where it has no mask."""
        polygons = self.polygons(index)
        if not polygons:
            return self.run_lengths[index]
        return draw_polygons([polygon.tolist() for polygon in polygons], size)

    def decode(self, objects: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(len(objects), H, W) bool: the pixels of some objects of one picture; none where there is no mask."""
        texts = [self.text(int(index), size) for index in objects]
        known = [number for number, text in enumerate(texts) if text]
        decoded = decode_masks([texts[number] for number in known], size)
        if len(known) == len(texts):
            return decoded
        masks = np.zeros((len(texts), *size), bool)
        masks[known] = decoded
        return masks

    def to_coco(self, index: int, size: tuple[int, int]) -> list[list[float]] | JsonObject | None:
        """The `segmentation` of one object, None where it has none."""
        polygons = self.polygons(index)
        if polygons:
            return [polygon.tolist() for polygon in polygons]
        text = self.run_lengths[index]
        return as_rle(text, size) if text else None


def _compact(values: np.ndarray) -> np.ndarray:
    """int32 hundredths where that is exact, else the float64 themselves."""
    hundredths = np.rint(values * HUNDREDTHS)
    is_exact = (hundredths / HUNDREDTHS == values).all() and (np.abs(hundredths) < 2**31).all()
    return hundredths.astype(np.int32) if is_exact else values


def _pixels(coordinates: np.ndarray) -> np.ndarray:
    return coordinates / HUNDREDTHS if coordinates.dtype == np.int32 else coordinates


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _join_offsets(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part) for part in parts]))]).astype(
        np.int64
    )
