"""What a reader found, good and bad: the one thing both `open_annotations` and the doctor look at."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pagoda.data.reading.complaints import Complaints
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import NO_SIZE, ImageColumns, ObjectColumns, assemble
from pagoda.files.text import as_whole
from pagoda.pictures.read import MAX_PIXELS, PictureError, picture_size
from pagoda.structures.labels import LabelMap


@dataclass
class Reading:
    """Pictures, objects and classes of one split as far as they could be read.

    Where something unusable stands, the columns hold `NO_SIZE`, `NO_BOX` or `NO_LABEL`, and the complaints one that
    stops `annotations`.
    """

    source: str
    """the file or folder that was read, for messages"""
    root: Path
    """the folder of the pictures"""
    complaints: Complaints
    """all that is wrong, also what does not stop the reading"""
    label_map: LabelMap = field(default_factory=lambda: LabelMap((), ()))
    """the classes; empty where they could not be read"""
    images: ImageColumns = field(default_factory=ImageColumns)
    """one entry per picture"""
    objects: ObjectColumns = field(default_factory=ObjectColumns)
    """one entry per object, in the order of the file"""
    word: str = "annotation"
    """what `objects.numbers` count: annotations, lines, objects"""

    @classmethod
    def broken(cls, source: str, root: Path, error: Exception) -> "Reading":
        """A reading of which nothing could be read, with the error as its complaint."""
        complaints = Complaints(source)
        complaints.add("unreadable_annotations", str(error))
        return cls(source, root, complaints)

    def where(self, row: int) -> str:
        """Picture, place and class of an object, for messages."""
        label = int(self.objects.labels[row])
        name = f" ({self.label_map.names[label]})" if label >= 0 else ""
        return f"{self.images.files[self.objects.owners[row]]}, {self.word} {self.objects.numbers[row]}{name}"

    def missing_pictures(self) -> list[int]:
        """The images whose file is not on disk; each folder is listed once."""
        listings: dict[str, frozenset[str]] = {}
        missing = []
        for index, file in enumerate(self.images.files):
            folder, _, name = file.rpartition("/")
            if folder not in listings:
                listings[folder] = _names_in(self.root / (folder or ("/" if file.startswith("/") else "")))
            if name not in listings[folder]:
                missing.append(index)
        return missing

    def subset(self, images: Sequence[int]) -> "Reading":
        """Only the images at these indices, which ascend."""
        position = np.full(len(self.images.files), -1)
        position[list(images)] = np.arange(len(images))
        owners = position[np.asarray(self.objects.owners, np.int64)]
        rows = np.flatnonzero(owners >= 0)
        objects = self.objects
        columns = {
            name: [column[row] for row in rows.tolist()]
            for name in ("boxes_xywh", "labels", "ignored", "areas", "ids", "numbers")
            if (column := getattr(objects, name)) is not None and len(column)
        }
        shapes = {
            name: column.take(rows)
            for name in ("masks", "keypoints")
            if (column := getattr(objects, name)) is not None
        }
        kept = ImageColumns(
            *([column[index] for index in images] for column in (self.images.files, self.images.ids)),
            [self.images.sizes[index] for index in images],
        )
        return replace(self, images=kept, objects=replace(objects, owners=owners[rows], **columns, **shapes))

    def annotations(self) -> Annotations:
        """The packed table of what was read; raises as `Complaints.check` where reading has to stop."""
        if "unknown_sizes" not in self.complaints:
            pairs = zip(self.images.files, self.images.sizes, strict=True)
            for file in (file for file, size in pairs if size == NO_SIZE):
                self.complaints.add("unknown_sizes", f"{self.source}: there is no picture {self.root / file}")
        self.complaints.check()
        return assemble(
            self.images,
            self.objects,
            label_map=self.label_map,
            root=self.root,
            source=self.source,
            notes=self.complaints.notes(),
        )


def usable_size(height: object, width: object) -> tuple[int, int] | None:
    """(height, width) where both are whole numbers, also as text, of a picture that can be read; else None.

    >>> usable_size("480", 640), usable_size(0, 640), usable_size(None, 640)
    ((480, 640), None, None)
    """
    rows, columns = as_whole(height), as_whole(width)
    if rows is None or columns is None or rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        return None
    return rows, columns


def size_of_file(root: Path, file: str, written: str, source: str, complaints: Complaints) -> tuple[int, int]:
    """(height, width) of a picture whose annotated size is of no use, and `written` says what it is.

    `NO_SIZE` where the file cannot tell; that it is missing is told by whoever looks for the pictures.
    """
    path = root / file
    if not os.path.isfile(path):  # also where the name can be none
        return NO_SIZE
    try:
        size = picture_size(path)
    except (PictureError, OSError) as error:
        complaints.add("unknown_sizes", f"{source}: {file}{', ' if written else ''}{written}: {error}")
        return NO_SIZE
    if written:
        complaints.add(
            "sizes_not_given", f"{source}: {file} has {written}; its size is taken from the picture"
        )
    return size


def _names_in(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except (OSError, ValueError):
        return frozenset()
