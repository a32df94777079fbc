"""Pictures of any kind to detections: the code behind `model.predict` and `pagoda predict`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from pagoda.detectors.contract import Detector
from pagoda.pictures import to_picture
from pagoda.postprocess.dense import SelectDetections
from pagoda.structures.instances import Detections


def predict(
    model: Detector,
    source: Any,
    *,
    limits: Mapping[str, float | int | None] | None = None,
    batch_size: int = 1,
    stream: bool = False,
) -> Detections | list[Detections] | Iterator[Detections]:
    """See `Detector.predict`. `limits` are fields of the model's `postprocess`; None keeps the model's own."""
    is_many = isinstance(source, list | tuple | Iterator)
    found = predict_stream(model, source if is_many else [source], limits=limits, batch_size=batch_size)
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
) -> Iterator[Detections]:
    """Detections in the order of `sources`, reading no further ahead than one batch."""
    limits = limits or {}
    postprocess = model.postprocess.with_limits(**limits)
    min_score = float(limits.get("min_score") or 0)
    remaining = iter(sources)
    while group := list(islice(remaining, batch_size)):
        read = [to_picture(source) for source in group]
        found = detect_pictures(model, [picture for picture, _ in read], postprocess)
        for (picture, name), detections in zip(read, found, strict=True):
            # Where the model compares its threshold with something else, the person's still means the score.
            yield replace(detections.above(min_score), file=name, picture=picture)


def detect_pictures(
    model: Detector, pictures: list[np.ndarray], postprocess: SelectDetections
) -> list[Detections]:
    """Detections of (H, W, 3) RGB uint8 pictures, in their own pixels, on the CPU."""
    device = next(model.parameters()).device
    tensors = [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            found = model.detect(model.input_spec.prepare(tensors, device=device), postprocess=postprocess)
    finally:
        model.train(was_training)
    sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
    return [detections.to("cpu") for detections in model.input_spec.restore(found, sizes)]
