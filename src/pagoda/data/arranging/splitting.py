"""A data set divided into splits in which every class has its share. G groups of pictures, C classes, S splits."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal, TypeVar

import numpy as np

from pagoda.data.arranging.merging import same_pictures
from pagoda.data.writing.contents import Contents
from pagoda.data.writing.videos import VideoContents
from pagoda.messages import aligned, counted
from pagoda.plain import checked

Whole = TypeVar("Whole", Contents, VideoContents)
GroupBy = Literal["picture", "folder", "prefix"]
"""what is never divided: a picture or video, those of a folder, or those named alike before their last number"""
_NUMBER = re.compile(r"[\W_]*\d+[\W_]*$")


@checked
def divide(contents: Whole, shares: Mapping[str, float], *, seed: int = 0, by: GroupBy = "picture") -> Whole:
    """The pictures, or videos, of a data set with one split, in splits of these shares, which add up to 1.

    Every class gets its share of objects in each as nearly as groups allow, rare classes first. Groups, pictures that
    are the same byte for byte, and videos, which count by their frames, are never divided. The same seed divides the
    same set alike. Raises ValueError for several splits, shares that are none, and fewer groups than splits.
    """
    if len(contents.splits) != 1:
        raise ValueError(f"one split is divided at a time, got {', '.join(contents.splits)}")
    if not all(0 < share < 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        told = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise ValueError(
            f"the shares of splits must lie between 0 and 1 and leave something to each, got {told}"
        )
    (split,) = contents.splits
    group_of = groups(contents, split, by)
    num_groups = int(group_of.max(initial=-1)) + 1
    if num_groups < len(shares):
        raise ValueError(
            f"{contents.source}: {counted(len(group_of), contents.noun)} in {counted(num_groups, 'group')}"
            f" by {contents.noun if by == 'picture' else by} cannot be divided into {len(shares)} splits;"
            f" {f'more {contents.noun}s are needed' if by == 'picture' else 'leave out --by or choose another'}"
        )
    in_units = contents.counts(split)
    counts = np.zeros((num_groups, in_units.shape[1]), np.int64)
    np.add.at(counts, group_of, in_units)
    frames = [len(each) for each in contents.files(split)]
    sizes = np.bincount(group_of, weights=frames, minlength=num_groups)
    chosen = stratify(counts, sizes, np.array(list(shares.values())), np.random.default_rng(seed))
    return contents.divided(
        split, {name: np.flatnonzero(chosen[group_of] == number) for number, name in enumerate(shares)}
    )


@checked
def groups(contents: Contents | VideoContents, split: str, by: GroupBy) -> np.ndarray:
    """(N,) the number of each picture's, or video's, group, from 0 in their order.

    Those with the same bytes, be it in one frame, are of one group, and so are all that share a group with one of them.
    """
    files = contents.names(split)
    keys: list[object] = [_key(file, index, by) for index, file in enumerate(files)]
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    above = [first[key] for key in keys]

    def root(index: int) -> int:
        while above[index] != index:
            above[index] = above[above[index]]
            index = above[index]
        return index

    units = contents.files(split)
    owners = np.repeat(np.arange(len(units)), [len(each) for each in units]).tolist()
    for places in same_pictures({split: [path for each in units for path in each]}):
        for _, index in places[1:]:
            a, b = sorted((root(owners[places[0][1]]), root(owners[index])))
            above[b] = a
    _, numbers = np.unique([root(index) for index in range(len(files))], return_inverse=True)
    return numbers


def _key(file: str, index: int, by: GroupBy) -> object:
    path = PurePosixPath(file)
    if by == "folder":
        return path.parent
    return path.parent / _NUMBER.sub("", path.stem) if by == "prefix" else index


def stratify(
    counts: np.ndarray, sizes: np.ndarray, shares: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(G,) the split of each group, given its objects per class (G, C), its pictures (G,) and the (S,) shares.

    The rarest class that is left is dealt out first, its largest group to the split that lacks most of it; groups
    without objects last, by the number of pictures. No split stays empty where there are groups enough.

    >>> counts, sizes = np.array([[1], [1], [0], [0]]), np.ones(4, int)
    >>> chosen = stratify(counts, sizes, np.array([0.5, 0.5]), np.random.default_rng(0))
    >>> np.bincount(chosen).tolist(), counts[chosen == 0].sum().tolist(), counts[chosen == 1].sum().tolist()
    ([2, 2], 1, 1)
    """
    lacks = shares[:, None] * counts.sum(0)
    lacks_pictures = shares * sizes.sum()
    chosen = np.full(len(counts), -1)
    order = rng.permutation(len(counts))

    def give(group: int, split: int) -> None:
        chosen[group] = split
        lacks[split] -= counts[group]
        lacks_pictures[split] -= sizes[group]

    while True:
        left = counts[chosen < 0].sum(0)
        if not left.any():
            break
        rarest = int(np.where(left > 0, left, left.max() + 1).argmin())
        having = [group for group in order if chosen[group] < 0 and counts[group, rarest]]
        for group in sorted(having, key=lambda group: -counts[group, rarest]):
            give(group, _neediest(lacks[:, rarest], lacks_pictures))
    for group in sorted((group for group in order if chosen[group] < 0), key=lambda group: -sizes[group]):
        give(group, int(lacks_pictures.argmax()))
    for split in np.flatnonzero(np.bincount(chosen, minlength=len(shares)) == 0):
        numbers = np.bincount(chosen, minlength=len(shares))
        spare = [group for group in order if numbers[chosen[group]] > 1]
        if spare:
            chosen[min(spare, key=lambda group: (sizes[group], counts[group].sum()))] = split
    return chosen


def _neediest(lacks: np.ndarray, lacks_pictures: np.ndarray) -> int:
    """The split that lacks most of a class; of equals the one that lacks most pictures."""
    return max(range(len(lacks)), key=lambda split: (round(float(lacks[split]), 9), lacks_pictures[split]))


def shares_text(contents: Contents | VideoContents) -> str:
    """Pictures or videos, and objects of each class, per split, with their shares in per cent."""
    names = list(contents.splits)
    rows: list[Sequence[str]] = [["", *names]]
    rows.append([f"{contents.noun}s", *_cells([len(each) for each in contents.splits.values()])])
    counts = [contents.counts(split).sum(0).tolist() for split in names]
    rows += [
        [name, *_cells([count[k] for count in counts])] for k, name in enumerate(contents.label_map.names)
    ]
    return aligned(rows)


def _cells(numbers: Sequence[int]) -> list[str]:
    total = max(1, sum(numbers))
    return [f"{number} ({100 * number / total:.1f} %)" for number in numbers]
