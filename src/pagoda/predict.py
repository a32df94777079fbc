"""Pictures of any kind to detections: the code behind `model.predict` and `pagoda predict`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class InMemory(Protocol):
    """A picture that was read before: `pictures.arrays.ReadPicture`."""

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3 or 4) uint8"""

    @property
    def name(self) -> str | None:
        """of its file"""


Source = str | Path | Image.Image | np.ndarray | Tensor | InMemory
"""a picture: path, address, PIL image, array or tensor; see `Detector.predict`"""


class PictureDetector(Protocol):
    """What is asked of a model; every `Detector` has it."""

    input_spec: InputSpec
    label_map: LabelMap
    postprocess: Select
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
) -> Iterator[Detections]:
    """Detections in the order of `sources`, on the CPU, in pixels of each picture; read one batch ahead at most.

    `limits` are fields of the model's `postprocess`; None keeps the model's own. See `Detector.predict` for the rest.
    Raises ValueError for a `batch_size` below 1.
    """
    from pagoda.pictures.read import to_picture  # a model that is only loaded reads no pictures

    check_counts(batch_size=batch_size)
    limits = limits or {}
    postprocess = model.postprocess.with_limits(**limits)
    min_score = float(limits.get("min_score") or 0)
    remaining = iter(sources)
    while group := list(islice(remaining, batch_size)):
        model = evaluating(model)  # type: ignore[type-var]
        channels = model.input_spec.read_channels
        read = [
            (source.pixels, source.name)
            if isinstance(source, InMemory)
            else to_picture(source, channels=channels)
            for source in group
        ]
        device = next(model.parameters()).device
        tensors = [torch.from_numpy(picture).permute(2, 0, 1) for picture, _ in read]
        sizes = [(picture.shape[0], picture.shape[1]) for picture, _ in read]
        with torch.inference_mode():
            if views is None:
                images = model.input_spec.prepare(tensors, device=device)
                found = model.detect(images, postprocess=postprocess, sizes=sizes)
            else:
                found = model.restore(_detect_views(model, tensors, postprocess, views, device), sizes)
        for (picture, name), detections in zip(read, found, strict=True):
            # Where the model compares its threshold with something else, the person's still means the score.
            kept = detections.to("cpu").above(min_score)
            yield replace(kept, file=name, picture=picture[..., :3])


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
