"""Pictures of any kind to detections: the code behind `model.predict` and `pagoda predict`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pagoda.evaluating import evaluating
from pagoda.plain import check_counts
from pagoda.postprocess.select import Limits, Select
from pagoda.postprocess.test_time_augmentation import (
    PictureViews,
    ViewCandidates,
    mirror_images,
    select_from_views,
)
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import ClassOutputs
from pagoda.structures.thresholds import ScoreThresholds

if TYPE_CHECKING:
    from pagoda.tiling.tiles import Tiles


@runtime_checkable
class InMemory(Protocol):
    """A picture that was read before: `pictures.arrays.ReadPicture`."""

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3 or 4) uint8"""

    @property
    def name(self) -> str | None:
        """of its file"""


@dataclass(frozen=True)
class ResizedPicture:
    """A large picture that was made smaller while it was read: of its own pixels none are held.

    `Detector.predict` takes it for a model of the same `spec`, and tells its objects without a picture.
    """

    resized: Tensor
    """(3, h, w) uint8, as `spec.resize` makes it"""
    spec: InputSpec
    """of the model that shall take it"""
    size: tuple[int, int]
    """(height, width) of the picture itself"""
    drawing: np.ndarray
    """(⌈H / k⌉, ⌈W / k⌉, 3) uint8, means of k × k pixels, to draw on"""
    name: str
    """of its file"""


def read_resized(path: str | Path, spec: InputSpec, *, factor: int) -> ResizedPicture:
    """A picture strip by strip; `factor` is that of its `drawing`.

    Raises PictureError where it cannot be read. `spec` is one of those that take strips.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("RGB", (200, 99)).save(f"{folder}/a.png")
    ...     picture = read_resized(f"{folder}/a.png", InputSpec(short_side=32), factor=2)
    >>> picture.resized.shape, picture.size, picture.drawing.shape
    (torch.Size([3, 32, 65]), (99, 200), (50, 100, 3))
    """
    from pagoda.pictures.read import picture_size, read_strips  # see predict_pictures

    size = picture_size(path)
    drawing = np.empty((-(-size[0] // factor), -(-size[1] // factor), 3), np.uint8)

    def strips() -> Iterator[Tensor]:
        top = 0
        for strip in read_strips(path, multiple=factor):
            small = np.asarray(Image.fromarray(strip).reduce(factor))
            drawing[top : top + len(small)] = small
            top += len(small)
            yield torch.from_numpy(strip).permute(2, 0, 1)

    return ResizedPicture(spec.resize_strips(strips(), size), spec, size, drawing, str(path))


@runtime_checkable
class FiledSample(Protocol):
    """A sample of a data set that names the file of its picture, as FiftyOne's do."""

    filepath: str


Source = (
    str
    | Path
    | bytes
    | bytearray
    | memoryview
    | BytesIO
    | Image.Image
    | np.ndarray
    | Tensor
    | InMemory
    | ResizedPicture
    | tuple[str | Path, np.ndarray, Any]
    | FiledSample
)
"""a picture: path, address, bytes of a file, PIL image, array, tensor, or a sample of supervision's or FiftyOne's data
sets; see `Detector.predict`"""


def are_many(source: object) -> bool:
    """Whether `Detector.predict` was handed several pictures: a list, tuple or iterator, but no sample of supervision,
    which is a tuple, and no BytesIO, which could be gone through, too.

    >>> are_many(["a.jpg"]), are_many("a.jpg")
    (True, False)
    """
    from pagoda.pictures.samples import is_sample  # see predict_pictures

    return isinstance(source, list | tuple | Iterator) and not (
        isinstance(source, BytesIO) or is_sample(source)
    )


class PictureDetector(Protocol):
    """What is asked of a model; every `Detector` has it."""

    input_spec: InputSpec
    label_map: LabelMap
    postprocess: Select
    sees_clips: bool
    parameters: Callable[[], Iterator[Tensor]]

    def __call__(self, images: ImageBatch) -> ClassOutputs: ...

    def detect(
        self,
        images: ImageBatch,
        *,
        postprocess: Select | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Detections]: ...

    def restore(
        self, detections: Sequence[Detections], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]: ...


def predict_pictures(
    model: PictureDetector,
    sources: Iterable[Source],
    *,
    limits: Limits | None = None,
    batch_size: int = 1,
    views: PictureViews | None = None,
    tiles: "Tiles | int | Literal['auto'] | None" = None,
    thresholds: ScoreThresholds | None = None,
) -> Iterator[Detections]:
    """Detections in the order of `sources`, on the CPU, in pixels of each picture; read one batch ahead at most.

    `limits` are fields of the model's `postprocess`; None keeps the model's own. `thresholds`: what is below the score
    of its class is left out. See `Detector.predict` for the rest.
    Raises ValueError for a `batch_size` below 1, and for views or a model of clips together with tiles.
    """
    from pagoda.pictures.arrays import ReadPicture  # a model that is only loaded reads no pictures
    from pagoda.pictures.read import to_picture

    check_counts(batch_size=batch_size)
    if tiles is not None:
        if views is not None:
            raise ValueError(
                "views look at whole pictures, and tiles at parts of them; leave one of the two out"
            )
        from pagoda.tiling.detect import check_takes_tiles
        from pagoda.tiling.tiles import Tiles

        check_takes_tiles(model)
        tiles = Tiles.of(tiles)
    limits = limits or {}
    postprocess = model.postprocess.with_limits(**limits)
    least = float(limits.get("min_score") or 0)
    min_scores = torch.tensor(
        [least] * len(model.label_map) if thresholds is None else thresholds.of_labels(model.label_map)
    )
    remaining = iter(sources)
    while group := list(islice(remaining, batch_size)):
        model = evaluating(model)  # type: ignore[type-var]
        channels = model.input_spec.read_channels
        read = [
            source
            if isinstance(source, InMemory | ResizedPicture)
            else ReadPicture(*to_picture(source, channels=channels))
            for source in group
        ]
        device = next(model.parameters()).device
        sizes = [picture.size if isinstance(picture, ResizedPicture) else _size(picture) for picture in read]
        with torch.inference_mode():
            if tiles is not None:
                found = [_detect_tiled(model, picture, tiles, postprocess, batch_size) for picture in read]
            elif views is None:
                images = _batch(read, model.input_spec, device)
                found = model.detect(images, postprocess=postprocess, sizes=sizes)
            else:
                tensors = [_tensor(picture) for picture in read]
                found = model.restore(_detect_views(model, tensors, postprocess, views, device), sizes)
        for picture, detections in zip(read, found, strict=True):
            # Where the model compares its threshold with something else, the person's still means the score.
            found_here = detections.to("cpu")
            kept = found_here[found_here.scores >= min_scores[found_here.labels]]
            if tiles is not None:  # of each of which the model gives so many
                kept = kept[: limits.get("max_detections")]
            pixels = None if isinstance(picture, ResizedPicture) else picture.pixels[..., :3]
            yield replace(kept, file=picture.name, picture=pixels)


def _size(picture: InMemory) -> tuple[int, int]:
    return picture.pixels.shape[0], picture.pixels.shape[1]


def _tensor(picture: InMemory | ResizedPicture) -> Tensor:
    """(C, H, W). Raises ValueError for a picture that was made smaller."""
    if isinstance(picture, ResizedPicture):
        raise ValueError(f"views need all pixels of {picture.name}, which was made smaller; read it whole")
    return torch.from_numpy(picture.pixels).permute(2, 0, 1)


def _batch(
    pictures: Sequence[InMemory | ResizedPicture], spec: InputSpec, device: torch.device
) -> ImageBatch:
    """The batch of pictures, each resized unless it is already. Raises ValueError for one resized for another model."""
    if not any(isinstance(picture, ResizedPicture) for picture in pictures):
        return spec.prepare([_tensor(picture) for picture in pictures], device=device)
    resized = []
    for picture in pictures:
        if not isinstance(picture, ResizedPicture):
            resized.append(spec.resize(_tensor(picture)))
        elif picture.spec == spec:
            resized.append(picture.resized)
        else:
            raise ValueError(
                f"{picture.name} was made smaller for a model of another input_spec; read it again"
            )
    return spec.batch(resized, device=device)


def _detect_tiled(
    model: PictureDetector,
    picture: InMemory | ResizedPicture,
    tiles: "Tiles",
    postprocess: Select,
    batch_size: int,
) -> Detections:
    """Detections of one picture, cut into tiles."""
    from pagoda.batch_size import BatchSize  # who asks for no tiles needs none of it
    from pagoda.tiling.detect import detect_tiled

    spec, device = model.input_spec, next(model.parameters()).device
    size = picture.size if isinstance(picture, ResizedPicture) else _size(picture)
    strips = _strips_of(picture) if isinstance(picture, ResizedPicture) else iter([_tensor(picture)])
    return detect_tiled(
        model,
        strips,
        size,
        tiles,
        whole=lambda: _batch([picture], spec, device),
        postprocess=postprocess,
        together=BatchSize(batch_size, device),
    )


def _strips_of(picture: ResizedPicture) -> Iterator[Tensor]:
    """Its own pixels, which are read once more."""
    from pagoda.pictures.read import read_strips  # see predict_pictures

    return (torch.from_numpy(strip).permute(2, 0, 1) for strip in read_strips(picture.name))


def _detect_views(
    model: PictureDetector,
    pictures: list[Tensor],
    postprocess: Select,
    views: PictureViews,
    device: torch.device,
) -> list[Detections]:
    """Detections from all views together, in pixels of the first: the model's own size, not mirrored.

    Raises TypeError for a model without candidates to put together: it needs `decode`, as one-stage ones have.
    """
    decode = getattr(model, "decode", None)
    if decode is None:
        raise TypeError(f"views need a one-stage detector with decode(…), got {type(model).__name__}")
    found = []
    for spec in input_specs(model.input_spec, views):
        images = spec.prepare(pictures, device=device)
        for is_mirrored in (False, True) if views.flip else (False,):
            seen = mirror_images(images) if is_mirrored else images
            candidates = postprocess.candidates(model(seen), seen.sizes, decode)
            found.append(ViewCandidates(candidates, seen.sizes, is_mirrored))
    return select_from_views(found, postprocess, model.label_map)


def input_specs(spec: InputSpec, views: PictureViews) -> list[InputSpec]:
    """What all views are resized by: the model's own, then one per further size. Raises ValueError for sizes of a model
    that fits pictures into a canvas.

    >>> specs = input_specs(InputSpec(), PictureViews(scales=(400, 1200)))
    >>> [(spec.short_side, spec.long_side) for spec in specs]
    [(800, 1333), (400, 2000), (1200, 2000)]
    """
    if views.scales and spec.fit != "resize":
        raise ValueError(
            f'views at other sizes need a model with fit="resize", got fit="{spec.fit}"; leave `scales` empty'
        )
    return [spec, *(replace(spec, short_side=side, long_side=views.max_size) for side in views.scales)]
