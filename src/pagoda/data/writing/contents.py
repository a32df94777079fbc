"""A whole data set in memory, all splits with the same classes: what is converted, merged, split and chosen from."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.reading.splits import choose_split
from pagoda.data.table.annotations import Annotations
from pagoda.data.unread.pictures import unread_of_pictures
from pagoda.data.writing.holding import Loss
from pagoda.data.writing.unread import unread_losses
from pagoda.messages import short_list
from pagoda.structures.labels import LabelMap

_NUMBERS = {2: "two", 3: "three"}


@dataclass(frozen=True, eq=False)
class Contents:
    """The splits of a data set as tables with one label map, and where its pictures are.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.saving import write_coco_folder
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_coco_folder(DrawnShapes(2, (32, 48)), folder)
    ...     contents = open_contents(folder)
    >>> contents.kind, contents.num_pictures, contents.pictures["train"][0].name
    ('coco', 2, '000001.png')
    """

    noun: ClassVar[str] = "picture"
    """what it is made of"""
    kind: str
    """the format it was read from, which says what of it was written by somebody and what is made up"""
    source: str
    """what was read, for messages"""
    splits: Mapping[str, Annotations]
    """split → its table; all have the same label map"""
    pictures: Mapping[str, tuple[Path, ...]]
    """split → the file of each of its pictures, in the order of the table"""
    track_ids: Mapping[str, np.ndarray] | None = None
    """split → (M,) int64, negative where an object belongs to no track; None for pictures"""
    unread: tuple[Loss, ...] = ()
    """what stands in the files that were read, but no reader takes up"""
    folders: tuple[Path, ...] = ()
    """what was read: folders, or files that describe a data set"""
    notes: tuple[str, ...] = ()
    """what readers left out, repaired or took for something else, a line each"""

    @property
    def label_map(self) -> LabelMap:
        return next(iter(self.splits.values())).label_map

    @property
    def num_pictures(self) -> int:
        return sum(map(len, self.splits.values()))

    @property
    def num_objects(self) -> int:
        return sum(len(table.labels) for table in self.splits.values())

    def names(self, split: str) -> list[str]:
        """The file of each picture of a split."""
        return self.splits[split].files.tolist()

    def files(self, split: str) -> list[tuple[Path, ...]]:
        """What is never divided: each picture alone."""
        return [(path,) for path in self.pictures[split]]

    def counts(self, split: str) -> np.ndarray:
        """(N, C) objects of each class in each picture of a split."""
        table = self.splits[split]
        counts = np.zeros((len(table), len(self.label_map)), np.int64)
        np.add.at(counts, (table.owners, table.labels), 1)
        return counts

    def changed(self, change: Callable[[Annotations], Annotations]) -> "Contents":
        """The same with another table for each split, of the same pictures."""
        return replace(self, splits={split: change(table) for split, table in self.splits.items()})

    def taken(self, chosen: Mapping[str, np.ndarray]) -> "Contents":
        """Only these pictures, positions in their split, in that order; splits that are not named are left out."""
        pictures = {split: tuple(self.pictures[split][k] for k in which) for split, which in chosen.items()}
        splits = {split: self.splits[split].subset(which) for split, which in chosen.items()}
        return replace(self, splits=splits, pictures=pictures)

    def divided(self, split: str, picked: Mapping[str, np.ndarray]) -> "Contents":
        """The pictures of one split in others: name → positions."""
        return replace(
            self,
            splits={name: self.splits[split].subset(which) for name, which in picked.items()},
            pictures={name: tuple(self.pictures[split][k] for k in which) for name, which in picked.items()},
        )

    def noted(self, notes: Sequence[str]) -> "Contents":
        """With what was done to it, before what was known."""
        return replace(self, notes=(*notes, *self.notes))


def open_contents(path: str | Path, splits: Sequence[str] = (), *, skip_missing: bool = False) -> Contents:
    """All splits of a folder of annotated pictures, or those that are named; "train+val" is both as one.

    Raises ValueError or FileNotFoundError for what cannot be read; pictures that are missing stop the reading, or are
    left out and noted with `skip_missing`.
    """
    layout = find_dataset(path)
    tables: dict[str, Annotations] = {}
    for split in splits or layout.splits:
        if "+" not in split:
            choose_split(layout.splits, split, str(layout.root), dict(layout.absent))
        tables[split] = open_annotations(path, split, skip_missing=skip_missing)
    contents = contents_of(layout.kind, str(path), tables, [Path(path)])
    return replace(contents, unread=unread_losses(unread_of_pictures(layout, splits)))


def contents_of(
    kind: str, source: str, tables: Mapping[str, Annotations], folders: Sequence[Path]
) -> Contents:
    """Tables as one data set, brought to the same classes. Raises ValueError for different keypoints."""
    label_map, notes = joint_labels([table.label_map for table in tables.values()], list(tables))
    splits = {split: with_labels(table, label_map) for split, table in tables.items()}
    pictures = {
        split: tuple(table.path(index) for index in range(len(table))) for split, table in splits.items()
    }
    read = tuple(dict.fromkeys(note for table in tables.values() for note in table.notes))
    return Contents(kind, source, splits, pictures, folders=tuple(folders), notes=(*read, *notes))


def joint_labels(maps: Sequence[LabelMap], sources: Sequence[str]) -> tuple[LabelMap, list[str]]:
    """All classes by their names, in the order they are met, and what had to be said of them.

    A class keeps its category id, unless another has taken it before. Raises ValueError for different keypoints.

    >>> joint, notes = joint_labels([LabelMap(("cat",), (1,)), LabelMap(("Cat", "dog"), (1, 2))], ["a", "b"])
    >>> joint.names, joint.category_ids, notes[0][:55]
    (('cat', 'Cat', 'dog'), (1, 3, 2), "the classes 'cat' and 'Cat' look alike and stay two; if")
    """
    pairs = [pair for labels in maps for pair in zip(labels.names, labels.category_ids, strict=True)]
    ids: dict[str, int] = {}
    for name, number in pairs:
        if name not in ids and number not in ids.values():
            ids[name] = number
    names = list(dict.fromkeys(name for name, _ in pairs))
    later = [name for name in names if name not in ids]
    for name in later:
        ids[name] = max(ids.values()) + 1
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(re.sub(r"[\W_]+", "", name).casefold() or name, []).append(name)
    notes = [
        f"the classes {' and '.join(map(repr, group))} look alike and stay {_NUMBERS.get(len(group), 'apart')}; if they"
        " are one, give them one name in the annotations first"
        for group in alike.values()
        if len(group) > 1
    ]
    if later:
        notes.append(f"category ids that meet twice are replaced: {short_list(later)}")
    skeletons = {labels.skeleton.names: labels.skeleton for labels in maps if labels.skeleton is not None}
    if len(skeletons) > 1:
        told = "; ".join(
            f"{source}: {short_list(labels.skeleton.names, 5)}"
            for source, labels in zip(sources, maps, strict=True)
            if labels.skeleton is not None
        )
        raise ValueError(
            f"data sets that are put together need the same keypoints in the same order, got {told}; choose one of"
            " them, or leave the keypoints out of the other's annotations"
        )
    skeleton = next(iter(skeletons.values()), None)
    return LabelMap(tuple(names), tuple(ids[name] for name in names), skeleton), notes


def with_labels(table: Annotations, label_map: LabelMap) -> Annotations:
    """The table with another label map, which has all its classes by name."""
    number = np.array([label_map.names.index(name) for name in table.label_map.names], np.int32)
    labels = number[table.labels] if len(table.labels) else table.labels
    return replace(table, labels=labels.astype(np.int32), label_map=label_map)
