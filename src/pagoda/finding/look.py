"""The objects of one picture after another: what is alike is looked at together, what comes next is read meanwhile."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pagoda.batch_size import AnyBatchSize, BatchSize
from pagoda.beside import ahead
from pagoda.detectors.contract import Detector
from pagoda.drawing.objects import shrink_factor
from pagoda.pictures.arrays import ReadPicture
from pagoda.pictures.read import PictureError, picture_size, to_picture
from pagoda.plain import checked
from pagoda.postprocess.test_time_augmentation import PictureViews
from pagoda.predict import ResizedPicture, read_resized
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Detections
from pagoda.structures.thresholds import DEFAULT_MIN_SCORE
from pagoda.tiling.tiles import Tiles

VIEWS = {"none": None, "flip": PictureViews(), "published": PictureViews.published()}
Read = ReadPicture | ResizedPicture
"""a picture as the model takes it"""
Source = TypeVar("Source")


@checked
@dataclass(frozen=True, kw_only=True)
class Look:
    """How pictures are looked at.

    >>> Look(views="flip").views
    'flip'
    >>> Look(views="flip", tiles=Tiles(side=64))
    Traceback (most recent call last):
    ValueError: --views looks at whole pictures, and --tiles at parts of them; leave one of the two out
    """

    min_score: float | Literal["card"] = DEFAULT_MIN_SCORE
    """objects below it are left out; card: below the score of their class in the model's file"""
    max_iou: float | None = None
    """overlap above which the weaker of two boxes of a class goes; None: the model's own"""
    views: Literal["none", "flip", "published"] = "none"
    """of each picture: itself, mirrored too, or the 18 of FCOS's published result"""
    tiles: Tiles | None = None
    """how pictures are cut; None: they are not"""
    batch_size: AnyBatchSize = "auto"
    """pictures, or tiles, that are looked at together"""

    def __post_init__(self) -> None:
        if self.tiles is not None and self.views != "none":
            raise ValueError(
                "--views looks at whole pictures, and --tiles at parts of them; leave one of the two out"
            )


def find_in(
    model: Detector,
    sources: Iterable[Source],
    look: Look,
    read: Callable[[Source], Read | PictureError],
    *,
    check: Callable[[], object] = lambda: None,
) -> Iterator[tuple[Source, Read | PictureError, Detections | PictureError]]:
    """Each source, what was read of it, and its objects, or why there are none; in the order of `sources`.

    `read` runs in a thread, one source ahead; `check` before pictures are looked at, to stop by what it raises.
    """
    device = next(model.parameters()).device
    together = BatchSize(look.batch_size, device)
    pairs = ahead(lambda source: (source, read(source)), sources)
    groups = _alike(pairs, together, model.input_spec) if look.tiles is None else ([pair] for pair in pairs)
    for group in groups:
        check()
        found = _found_in([picture for _, picture in group], look, model, together)
        for (source, picture), objects in zip(group, found, strict=True):
            yield source, picture, objects


def read_source(
    source: str | Path, spec: InputSpec, *, is_whole: bool, max_pixels: int
) -> Read | PictureError:
    """A picture of more than `max_pixels` is made smaller while it is read, unless it is needed whole. What cannot be
    read is told when its turn comes."""
    try:
        if spec.takes_strips and spec.read_channels == 3 and not is_whole and isinstance(source, Path):
            factor = shrink_factor(picture_size(source), max_pixels)
            if factor > 1:
                return read_resized(source, spec, factor=factor)
        return ReadPicture(*to_picture(source, channels=spec.read_channels))
    except PictureError as error:
        return error


def _alike(
    pairs: Iterable[tuple[Source, Read | PictureError]], together: BatchSize, spec: InputSpec
) -> Iterator[list[tuple[Source, Read | PictureError]]]:
    """Neighbours of one size, as many as are computed together."""
    group: list[tuple[Source, Read | PictureError]] = []
    for pair in pairs:
        size = _size(pair[1])
        if group and (
            size is None
            or size != _size(group[-1][1])
            or len(group) >= together.of(spec.frame(size), held=size)
        ):
            yield group
            group = []
        group.append(pair)
    if group:
        yield group


def _size(picture: Read | PictureError) -> tuple[int, int] | None:
    """(height, width); None where pictures stay alone: what could not be read, or was made smaller while it was."""
    return picture.pixels.shape[:2] if isinstance(picture, ReadPicture) else None


def _found_in(
    group: Sequence[Read | PictureError], look: Look, model: Detector, together: BatchSize
) -> Sequence[Detections | PictureError]:
    """The objects of each picture that was read; else why it was not."""
    pictures = [picture for picture in group if not isinstance(picture, PictureError)]
    if len(pictures) < len(group):
        return [picture for picture in group if isinstance(picture, PictureError)]

    def see(some: Sequence[Read]) -> list[Detections]:
        found = model.predict(
            list(some),
            min_score=look.min_score,
            max_iou=look.max_iou,
            batch_size=len(some) if look.tiles is None else _tiles_together(look.tiles, model, together),
            views=VIEWS[look.views],
            tiles=look.tiles,
        )
        assert isinstance(found, list)
        return found

    try:
        return together.run(see, pictures)
    except PictureError as error:
        return (
            [error]
            if len(group) == 1
            else [_found_in([picture], look, model, together)[0] for picture in group]
        )


def _tiles_together(tiles: Tiles, model: Detector, together: BatchSize) -> int:
    """How many tiles are looked at together."""
    side = tiles.side_for(model.input_spec)
    return together.of(model.input_spec.frame((side, side)))
