"""A split as the doctor looks at it: what its reader found, in flat arrays. M objects over all pictures."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pagoda.data.formats.layouts import Layout
from pagoda.data.formats.reader import split_reader
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.found import Reading
from pagoda.data.table.assembly import NO_SIZE
from pagoda.ops.boxes import xywh_to_xyxy


@dataclass
class Split:
    """Pictures and objects of one split."""

    name: str
    """train, val, … as the data set calls it"""
    reading: Reading
    """all that its reader found, what it complains of included"""

    @property
    def files(self) -> list[str]:
        """The pictures, relative to their folder."""
        return self.reading.images.files

    @cached_property
    def sizes(self) -> list[tuple[int, int] | None]:
        """(height, width) per picture, None where nobody knows it."""
        return [None if size == NO_SIZE else size for size in self.reading.images.sizes]

    @cached_property
    def categories(self) -> dict[int, str]:
        """Category id → name."""
        label_map = self.reading.label_map
        return dict(zip(label_map.category_ids, label_map.names, strict=True))

    @cached_property
    def owners(self) -> np.ndarray:
        """(M,) the position of the picture of each object."""
        return np.asarray(self.reading.objects.owners, np.int64)

    @cached_property
    def labels(self) -> np.ndarray:
        """(M,) classes, -1 where unknown."""
        return np.asarray(self.reading.objects.labels, np.int64)

    @cached_property
    def ignored(self) -> np.ndarray:
        """(M,) bool: crowd regions, and objects marked as ignored or difficult."""
        return np.asarray(self.reading.objects.ignored, bool)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(M, 4) float64 xyxy, NaN where the file has no four numbers."""
        xywh = np.asarray(self.reading.objects.boxes_xywh, np.float64).reshape(-1, 4)
        with np.errstate(invalid="ignore", over="ignore"):
            return xywh_to_xyxy(xywh)

    def path(self, index: int) -> Path:
        """Where picture `index` lies."""
        return self._paths[index]

    @cached_property
    def _paths(self) -> list[Path]:
        """Made once: a path takes as long to make and to hash as all else that is asked of it."""
        return [self.reading.root / file for file in self.files]

    def where(self, row: int) -> str:
        """Split, picture, place and class of object `row`, for messages."""
        return f"{self.name}: {self.reading.where(row)}"

    def place(self, row: int) -> str:
        """The place of object `row` in its file alone, for messages: "annotation 12"."""
        return f"{self.reading.word} {self.reading.objects.numbers[row]}"

    def class_of(self, row: int) -> str | None:
        """The class of object `row`; None where unknown."""
        label = int(self.labels[row])
        return None if label < 0 else self.reading.label_map.names[label]

    def counts(self) -> Counter[str]:
        """Objects per class that has any, ignored ones left out."""
        return self._count(~self.ignored)

    def ignored_counts(self) -> Counter[str]:
        """Ignored objects per class that has any: crowd regions, and those marked as difficult."""
        return self._count(self.ignored)

    def _count(self, rows: np.ndarray) -> Counter[str]:
        chosen = self.labels[(self.labels >= 0) & rows]
        names = self.reading.label_map.names
        numbers = np.bincount(chosen, minlength=len(names)).tolist()
        return Counter({name: count for name, count in zip(names, numbers, strict=True) if count})


def read_splits(layout: Layout, notes: Complaints, *, inside_only: bool = False) -> list[Split]:
    """Every split as its reader reads it; what is complained of goes into `notes`."""
    read = split_reader(layout, inside_only=inside_only)
    splits = []
    for name in layout.splits:
        reading = read(name)
        notes.extend(reading.complaints)
        splits.append(Split(name, reading))
    return splits
