"""Some of a data set: of some classes, or some of its pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from pagoda.data.table.annotations import Annotations
from pagoda.data.writing.contents import Contents
from pagoda.messages import counted, did_you_mean
from pagoda.structures.labels import LabelMap


def of_classes(contents: Contents, names: Sequence[str]) -> Contents:
    """Only the objects of these classes, which keep their category ids; pictures without one stay, and are noted.

    Raises ValueError for an unknown class, with the nearest.
    """
    labels = contents.label_map
    unknown = [name for name in names if name not in labels.names]
    if unknown:
        raise ValueError(
            f"{contents.source} has no class '{unknown[0]}'; {did_you_mean(unknown[0], labels.names)}"
        )
    kept = [k for k, name in enumerate(labels.names) if name in names]
    fewer = LabelMap(
        tuple(labels.names[k] for k in kept), tuple(labels.category_ids[k] for k in kept), labels.skeleton
    )

    def change(table: Annotations) -> Annotations:
        some = table.with_objects(np.isin(table.labels, kept))
        return replace(some, labels=np.searchsorted(kept, some.labels).astype(np.int32), label_map=fewer)

    chosen = contents.changed(change)
    gone = contents.num_objects - chosen.num_objects
    emptied = _num_empty(chosen) - _num_empty(contents)
    notes = [f"{counted(gone, 'object')} of other classes left out"] if gone else []
    if emptied:
        notes.append(f"{counted(emptied, 'picture has', 'pictures have')} no objects any more, and stay")
    return replace(chosen, notes=(*notes, *contents.notes))


def _num_empty(contents: Contents) -> int:
    return sum(int((np.diff(table.offsets) == 0).sum()) for table in contents.splits.values())


def without_empty(contents: Contents) -> Contents:
    """Without the pictures that have no objects; how many there were is noted."""
    gone = _num_empty(contents)
    chosen = contents.taken(
        {split: np.flatnonzero(np.diff(table.offsets)) for split, table in contents.splits.items()}
    )
    note = (f"{counted(gone, 'picture')} without objects left out",) if gone else ()
    return replace(chosen, notes=(*note, *contents.notes))


def of_names(contents: Contents, names: Sequence[str]) -> Contents:
    """Only these pictures, by their names as they are written, or without folders, or without their ending.

    Raises ValueError for a name that no picture has, with the nearest.
    """
    wanted = dict.fromkeys(names)
    met: set[str] = set()
    chosen, every = {}, []
    for split, table in contents.splits.items():
        which = []
        for index, file in enumerate(table.files):
            path = PurePosixPath(file)
            every.append(path.name)
            found = {file, path.name, path.stem, path.with_suffix("").as_posix()} & wanted.keys()
            met |= found
            if found:
                which.append(index)
        chosen[split] = np.array(which, np.int64)
    missing = [name for name in wanted if name not in met]
    if missing:
        raise ValueError(
            f"{contents.source} has no picture '{missing[0]}'; {did_you_mean(missing[0], every)}"
        )
    return contents.taken(chosen)


def first(contents: Contents, count: int) -> Contents:
    """The first pictures of each split, at most so many."""
    return contents.taken(
        {split: np.arange(min(count, len(table))) for split, table in contents.splits.items()}
    )


def fraction(contents: Contents, share: float, seed: int = 0) -> Contents:
    """This share of the pictures of each split, at least one, drawn by the seed; their order stays.

    Raises ValueError for a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of pictures must be above 0 and at most 1, got {share:g}")
    rng = np.random.default_rng(seed)
    return contents.taken(
        {
            split: np.sort(rng.permutation(len(table))[: max(1, round(share * len(table)))])
            for split, table in contents.splits.items()
            if len(table)
        }
    )
