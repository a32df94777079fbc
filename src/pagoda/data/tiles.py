"""Annotated pictures cut into tiles: windows of one size, each a picture of its own with what is seen of the objects.

N pictures, T tiles. The tiles stand in a table as pictures do, so that whatever reads tables (balancing, scoring,
saving) takes them.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.keypoints import PackedKeypoints, outside
from pagoda.data.table.masks import PackedMasks
from pagoda.data.table.pieces import Pieces, cut_picture
from pagoda.data.table.strings import PackedStrings
from pagoda.messages import counted
from pagoda.ops.boxes import tile_windows
from pagoda.plain import check_counts, check_numbers, checked


@checked
@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How pictures are cut, and what counts as an object in a tile.

    Raises ValueError for a side below 1 pixel, an overlap outside 0 … 0.9 and shares outside 0 … 1.

    >>> Tiling(size=640).min_share
    0.5
    """

    size: int
    """side of a tile in pixels of the picture; a picture that is shorter is not cut along that side"""
    overlap: float = 0.2
    """share of its side that neighbours have in common at least: an object up to so long lies whole in some tile"""
    min_share: float = 0.5
    """share of an object (of its mask, else of its box) that is seen in a tile where it is learnt; where less is seen
    it is ignored. From .5 on a box around what is seen overlaps the object's by an IoU of .5, and so finds it"""
    empty_share: float = 1.0
    """share of the tiles without an object to learn that are kept, evenly spread over all"""

    def __post_init__(self) -> None:
        check_counts(size=self.size)
        check_numbers(self, 0, 0.9, "overlap")
        check_numbers(self, 0, 1, "min_share", "empty_share")


class TileCounts(NamedTuple):
    """What became of pictures and objects; of all tiles, before some without objects were left out."""

    pictures: int
    """that were cut, or are one tile where they are no larger"""
    tiles: int
    """of all of them"""
    empty: int
    """tiles without an object to learn"""
    left_out: int
    """empty tiles that are not kept"""
    objects: int
    """that can be learnt in their pictures"""
    whole: int
    """times that one of them lies whole in a tile"""
    cut: int
    """times that one is cut by a tile's border and learnt by what is seen"""
    ignored: int
    """times that one is cut and too little is seen, so that it is ignored there"""
    never_whole: int
    """of the objects lie whole in no tile"""
    never_learnt: int
    """of these are ignored in every tile"""
    crowds: int
    """crowd regions and difficult objects, which stay ignored wherever they are seen"""


@dataclass(frozen=True, eq=False)
class Tiles:
    """Pictures and the tiles they are cut into; `cut_annotations` makes them."""

    pictures: Annotations
    """the N whole pictures"""
    annotations: Annotations
    """the T tiles, numbered from 1, each called by its picture's file and its left upper corner there, "photo.jpg at
    480, 0"; masks are run lengths"""
    windows: np.ndarray
    """(T, 4) int64 xyxy: where in its picture each tile lies"""
    owners: np.ndarray
    """(T,) int64: the picture of each tile"""
    counts: TileCounts
    """what was cut, ignored and left out"""
    tiling: Tiling
    """how they were cut"""

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def is_cut(self) -> bool:
        """Whether any picture is larger than a tile."""
        return bool((self.pictures.sizes > self.tiling.size).any())

    def boxes_only(self) -> "Tiles":
        """The same without masks and keypoints, for models that learn boxes alone; shares stay those of the masks."""
        return replace(self, pictures=self.pictures.boxes_only(), annotations=self.annotations.boxes_only())

    def words(self) -> str:
        """What was cut, ignored and left out, in a line.

        >>> from pagoda.data.drawn.synthetic import DrawnShapes
        >>> tiles = cut_annotations(DrawnShapes(2, (64, 96), seed=1).annotations, Tiling(size=64))
        >>> tiles.words().partition(";")[0]
        '2 pictures in 4 tiles of 64×64 pixels that share 0.2 of a side or more'
        """
        counts, tiling = self.counts, self.tiling
        empty = f", {counts.left_out} of them left out" if counts.left_out else ""
        told = [
            f"{counted(counts.pictures, 'picture')} in {counted(counts.tiles, 'tile')} of"
            f" {tiling.size}×{tiling.size} pixels that share {tiling.overlap:g} of a side or more",
            f"{counts.empty} without an object to learn{empty}",
            f"{counted(counts.objects, 'object')}, {_times(counts.whole)} whole in a tile, {_times(counts.cut)} cut"
            f" and learnt by what is seen, {_times(counts.ignored)} ignored, as too little"
            f" (below {tiling.min_share:g}) is seen",
        ]
        if counts.never_whole:
            lost = f", and {counts.never_learnt} nowhere learnt" if counts.never_learnt else ""
            told.append(
                f"{counted(counts.never_whole, 'object lies', 'objects lie')} whole in no tile{lost}: larger tiles or a"
                " larger overlap would show them"
            )
        if counts.crowds:
            told.append(f"{counts.crowds} crowd or difficult ones stay ignored")
        return "; ".join(told)


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def cut_annotations(annotations: Annotations, tiling: Tiling) -> Tiles:
    """The tiles of every picture, row by row (`ops.boxes.tile_windows`), with what is seen of its objects.

    An object that no border cuts keeps its box. Of one that is cut the visible part becomes the box, around its mask's
    pixels where it has a mask. Where less than `min_share` of it is seen it is ignored, as crowds are: not learnt, and
    in scoring neither missed nor held against what finds it. What is ignored in the picture stays so. Masks are cut to
    the pixel, areas shrink with the share, keypoints outside are not labelled there. What lies outside is gone.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> shapes = DrawnShapes(2, (64, 96), seed=1)
    >>> tiles = cut_annotations(shapes.annotations, Tiling(size=64))
    >>> tiles.windows.tolist(), tiles.annotations.sizes[0].tolist(), tiles.annotations.image_id(3)
    ([[0, 0, 64, 64], [32, 0, 96, 64], [0, 0, 64, 64], [32, 0, 96, 64]], [64, 64], 4)
    """
    sizes = annotations.sizes.tolist()
    of_pictures = [
        tile_windows((height, width), tiling.size, overlap=tiling.overlap) for height, width in sizes
    ]
    counts = np.array([len(each) for each in of_pictures], np.int64)
    windows = np.concatenate([np.zeros((0, 4), np.int64), *of_pictures])
    owners = np.repeat(np.arange(len(annotations)), counts)
    pieces = Pieces.join(
        [
            part._replace(windows=part.windows + start)
            for start, part in zip(
                (np.cumsum(counts) - counts).tolist(),
                (cut_picture(annotations, index, each) for index, each in enumerate(of_pictures)),
                strict=True,
            )
        ]
    )
    ignored = annotations.ignored[pieces.rows] | (pieces.shares < tiling.min_share)
    is_empty = np.bincount(pieces.windows[~ignored], minlength=len(windows)) == 0
    kept = _kept(is_empty, tiling.empty_share)
    table = _table(annotations, pieces, ignored, windows, owners)
    told = _counts(annotations, pieces, ignored, is_empty, kept)
    return Tiles(annotations, table.subset(kept), windows[kept], owners[kept], told, tiling)


def _kept(is_empty: np.ndarray, share: float) -> np.ndarray:
    """(T,) bool: all but some of the empty ones, which are taken evenly."""
    empty = np.flatnonzero(is_empty)
    count = round(share * len(empty))
    kept = ~is_empty
    kept[empty[np.arange(count) * len(empty) // max(count, 1)]] = True
    return kept


def _table(
    annotations: Annotations, pieces: Pieces, ignored: np.ndarray, windows: np.ndarray, owners: np.ndarray
) -> Annotations:
    """A row for every window, the pieces as its objects."""
    rows = pieces.rows
    is_known = annotations.masks is not None
    return replace(
        annotations,
        files=PackedStrings.pack(
            [
                f"{annotations.files[owner]} at {left}, {top}"
                for owner, (left, top, _, _) in zip(owners.tolist(), windows.tolist(), strict=True)
            ]
        ),
        image_ids=np.arange(1, len(windows) + 1),
        sizes=(windows[:, [3, 2]] - windows[:, [1, 0]]).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(pieces.windows, minlength=len(windows)))]).astype(
            np.int64
        ),
        boxes_xywh=pieces.boxes_xywh,
        labels=annotations.labels[rows],
        ignored=ignored,
        areas=annotations.areas[rows] * pieces.shares,
        annotation_ids=np.arange(1, len(rows) + 1),
        masks=PackedMasks.pack([[]] * len(rows), pieces.texts.tolist()) if is_known else None,
        keypoints=_keypoints(annotations.keypoints, pieces, windows),
    )


def _keypoints(
    keypoints: PackedKeypoints | None, pieces: Pieces, windows: np.ndarray
) -> PackedKeypoints | None:
    """In the frames of their tiles; those outside are zeros, which is not labelled."""
    if keypoints is None:
        return None
    taken = keypoints.take(pieces.rows)
    frames = windows[pieces.windows[taken.rows >= 0]]
    triples = taken.triples.copy()
    is_labelled = triples[..., 2] > 0
    triples[..., :2] -= np.where(is_labelled[..., None], frames[:, None, :2], 0)
    triples[outside(triples, frames[:, [3, 2]] - frames[:, [1, 0]])] = 0
    return replace(taken, triples=triples)


def _counts(
    annotations: Annotations, pieces: Pieces, ignored: np.ndarray, is_empty: np.ndarray, kept: np.ndarray
) -> TileCounts:
    was_ignored = annotations.ignored[pieces.rows]
    mine = ~was_ignored
    there = np.unique(pieces.rows[mine])
    whole = np.unique(pieces.rows[mine & ~pieces.is_cut])
    learnt = np.unique(pieces.rows[~ignored])
    return TileCounts(
        pictures=len(annotations),
        tiles=len(kept),
        empty=int(is_empty.sum()),
        left_out=int((~kept).sum()),
        objects=len(there),
        whole=int((mine & ~pieces.is_cut).sum()),
        cut=int((pieces.is_cut & ~ignored).sum()),
        ignored=int((mine & ignored).sum()),
        never_whole=len(there) - len(whole),
        never_learnt=len(there) - len(learnt),
        crowds=len(np.unique(pieces.rows[was_ignored])),
    )
