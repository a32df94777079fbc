"""Pictures of any kind to detections: the code behind `model.predict` and `pagoda predict`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from pagoda.detectors.contract import Detector
from pagoda.evaluating import evaluating
from pagoda.pictures import to_picture
from pagoda.plain import check_counts
from pagoda.postprocess.dense import SelectDetections
from pagoda.postprocess.views import TestViews, ViewFound, mirror_images, select_from_views
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Detections


def predict(
    model: Detector,
    source: Any,
    *,
    limits: Mapping[str, float | int | None] | None = None,
    batch_size: int = 1,
    stream: bool = False,
    views: TestViews | None = None,
) -> Detections | list[Detections] | Iterator[Detections]:
    """See `Detector.predict`. `limits` are fields of the model's `postprocess`; None keeps the model's own."""
    is_many = isinstance(source, list | tuple | Iterator)
    sources = source if is_many else [source]
    found = predict_stream(model, sources, limits=limits, batch_size=batch_size, views=views)
    if stream:
        return found
    results = list(found)
    return results if is_many else results[0]


def predict_stream(
    model: Detector,
    sources: Iterable[Any],
    *,
    limits: Mapping[str, float | int | None] | None = None,
    batch_size: int = 1,
    views: TestViews | None = None,
) -> Iterator[Detections]:
    """Detections in the order of `sources`, reading no further ahead than one batch."""
    check_counts(batch_size=batch_size)
    limits = limits or {}
    postprocess = model.postprocess.with_limits(**limits)
    min_score = float(limits.get("min_score") or 0)
    remaining = iter(sources)
    while group := list(islice(remaining, batch_size)):
        model = evaluating(model)
        read = [to_picture(source, channels=model.input_spec.read_channels) for source in group]
        found = detect_pictures(model, [picture for picture, _ in read], postprocess, views)
        for (picture, name), detections in zip(read, found, strict=True):
            # Where the model compares its threshold with something else, the person's still means the score.
            yield replace(detections.above(min_score), file=name, picture=picture[..., :3])


def detect_pictures(
    model: Detector,
    pictures: list[np.ndarray],
    postprocess: SelectDetections,
    views: TestViews | None = None,
) -> list[Detections]:
    """Detections of (H, W, 3) RGB uint8 pictures (RGBA where the model reads that), in their own pixels, on the CPU."""
    device = next(model.parameters()).device
    tensors = [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]
    sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
    model = evaluating(model)
    with torch.inference_mode():
        if views is None:
            images = model.input_spec.prepare(tensors, device=device)
            found = model.detect_restored(images, sizes, postprocess=postprocess)
        else:
            seen = detect_views(model, tensors, postprocess, views, device)
            found = model.restore(seen, sizes)
    return [detections.to("cpu") for detections in found]


def detect_views(
    model: Detector,
    pictures: list[torch.Tensor],
    postprocess: SelectDetections,
    views: TestViews,
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
            found.append(ViewFound(candidates, seen.sizes, is_mirrored))
    return select_from_views(found, postprocess, model.label_map)


def input_specs(spec: InputSpec, views: TestViews) -> list[InputSpec]:
    """The model's own, then one per further size."""
    if views.scales and spec.fit != "resize":
        raise ValueError(
            f'views at other sizes need a model with fit="resize", got fit="{spec.fit}"; leave `scales` empty'
        )
    return [spec, *(replace(spec, short_side=side, long_side=views.max_size) for side in views.scales)]
