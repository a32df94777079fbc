"""Some of a data set: of some classes, or some of its pictures or videos."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np

from pagoda.data.table.annotations import Annotations
from pagoda.data.writing.contents import Contents
from pagoda.data.writing.videos import VideoContents
from pagoda.messages import counted, did_you_mean
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import Tracks

Whole = TypeVar("Whole", Contents, VideoContents)
"""a data set of pictures, or of videos, of which each is taken whole or not at all"""


def of_classes(contents: Whole, names: Sequence[str]) -> Whole:
    """Only the objects of these classes, which keep their category ids; what has none any more stays, and is noted.

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

    def change_tracks(tracks: Tracks) -> Tracks:
        some = tracks.rows(np.isin(tracks.labels, kept))
        return replace(some, labels=np.searchsorted(kept, some.labels), label_map=fewer)

    chosen = contents.changed(change if isinstance(contents, Contents) else change_tracks)  # type: ignore[arg-type]
    gone = contents.num_objects - chosen.num_objects
    emptied = _num_empty(chosen) - _num_empty(contents)
    notes = [f"{counted(gone, 'object')} of other classes left out"] if gone else []
    if emptied:
        have = "has" if emptied == 1 else "have"
        notes.append(f"{counted(emptied, contents.noun)} {have} no objects any more")
    return chosen.noted(notes)


def _num_empty(contents: Contents | VideoContents) -> int:
    return sum(int((contents.counts(split).sum(1) == 0).sum()) for split in contents.splits)


def without_empty(contents: Whole) -> Whole:
    """Without the pictures, or videos, that have no objects; how many there were is noted."""
    gone = _num_empty(contents)
    chosen = contents.taken(
        {split: np.flatnonzero(contents.counts(split).sum(1)) for split in contents.splits}
    )
    return chosen.noted([f"{counted(gone, contents.noun)} without objects left out"] if gone else [])


def of_names(contents: Whole, names: Sequence[str]) -> Whole:
    """Only these pictures, by their names as they are written, or without folders, or without their ending; or these
    videos.

    Raises ValueError for a name that nothing has, with the nearest.
    """
    wanted = dict.fromkeys(names)
    met: set[str] = set()
    chosen, every = {}, []
    for split in contents.splits:
        which = []
        for index, file in enumerate(contents.names(split)):
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
            f"{contents.source} has no {contents.noun} '{missing[0]}'; {did_you_mean(missing[0], every)}"
        )
    return contents.taken(chosen)


def first(contents: Whole, count: int) -> Whole:
    """The first pictures, or videos, of each split, at most so many."""
    return contents.taken(
        {split: np.arange(min(count, len(each))) for split, each in contents.splits.items()}
    )


def fraction(contents: Whole, share: float, seed: int = 0) -> Whole:
    """This share of the pictures, or videos, of each split, at least one, drawn by the seed; their order stays.

    Raises ValueError for a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of {contents.noun}s must be above 0 and at most 1, got {share:g}")
    rng = np.random.default_rng(seed)
    return contents.taken(
        {
            split: np.sort(rng.permutation(len(each))[: max(1, round(share * len(each)))])
            for split, each in contents.splits.items()
            if len(each)
        }
    )
