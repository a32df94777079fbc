"""Frames of a video, one after the other, to what a model sees in each: the code behind `pagoda track`.

Nothing here grows with the length of the video. T frames of a clip.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.structures.clips import clip_frames
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.tracks import Tubes
from pagoda.tracking.tracker import Tracker
from pagoda.tracking.tubes import PairedFrames

Limits = Mapping[str, float | int | None]


class KnownFrame(NamedTuple):
    """A frame whose own work is done."""

    number: int
    features: Tensor
    """(1, C, 1, h, w)"""


def link_video(
    model: Detector,
    pictures: Iterable[np.ndarray],
    tracker: Tracker,
    *,
    limits: Limits | None = None,
    classes: list[int] | None = None,
) -> Iterator[Detections]:
    """What is in each frame, with track ids, in order. Detectors of clips run a few frames behind.

    Args:
        pictures: (H, W, 3) RGB uint8, of one size.
        tracker: a linker; the one over tubes sees whole tubes where the model has some.
        limits: fields of the model's `postprocess`; None keeps the model's own.
        classes: labels to follow; None: all.
    """
    if isinstance(model, DetectAndTrack):
        for tubes in tubes_of_video(model, pictures, limits=limits):
            chosen = tubes if classes is None else tubes[_among(tubes.labels, classes)]
            if isinstance(tracker, PairedFrames):
                yield tracker.tracker.update(chosen)
            else:
                yield tracker.update(chosen.at(chosen.key))
        return
    for picture in pictures:
        found = model.predict(picture, **(limits or {}))
        assert isinstance(found, Detections)
        found = replace(found, picture=None)
        yield tracker.update(found if classes is None else found[_among(found.labels, classes)])


def tubes_of_video(
    model: DetectAndTrack, pictures: Iterable[np.ndarray], *, limits: Limits | None = None, reuse: bool = True
) -> Iterator[Tubes]:
    """The tubes of the clip about every frame, in pixels of the video, on the CPU.

    What a frame is worth by itself, the stem and the first stage, is computed once and not for each of the T clips
    it is part of; the result is the same bits. `reuse=False` computes it anew, for comparison.
    """
    postprocess = model.postprocess.with_limits(**(limits or {}))
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for key, clip, images, size in _clips(model, pictures, device, reuse):
            with torch.inference_mode():
                features = torch.cat([frame.features for frame in clip], dim=2)
                if not reuse:  # `features` are normalised pixels
                    features = model.frame_features(features)
                numbers = tuple(frame.number for frame in clip)
                found = model.detect_tubes(
                    images, frames=[numbers], frame_features=features, postprocess=postprocess
                )
            (tubes,) = model.input_spec.restore(found, [size])
            assert tubes.frames[tubes.key] == key
            yield tubes.to("cpu")
    finally:
        model.train(was_training)


def _clips(
    model: DetectAndTrack, pictures: Iterable[np.ndarray], device: torch.device, reuse: bool
) -> Iterator[tuple[int, list[KnownFrame], ImageBatch, tuple[int, int]]]:
    """(number of the key frame, its clip, a batch of the frames' size, (height, width) of the video)."""
    length, interval = model.num_frames, model.frame_interval
    ahead = (length - 1 - length // 2) * interval
    known: deque[KnownFrame] = deque(maxlen=(length - 1) * interval + 1)
    key, images, size = 0, None, (0, 0)

    def clip_about(frame: int) -> list[KnownFrame]:
        wanted = clip_frames(frame, known[-1].number + 1, clip_length=length, interval=interval)
        return [known[number - known[0].number] for number in wanted]

    for number, picture in enumerate(pictures):
        size = (picture.shape[0], picture.shape[1])
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
        with torch.inference_mode():
            images = model.input_spec.prepare([pixels], device=device)
            known.append(KnownFrame(number, model.frame_features(images.pixels) if reuse else images.pixels))
        if number >= ahead:
            yield key, clip_about(key), images, size
            key += 1
    while images is not None and key <= known[-1].number:
        yield key, clip_about(key), images, size
        key += 1


def _among(labels: Tensor, classes: list[int]) -> Tensor:
    return torch.isin(labels, torch.tensor(classes, device=labels.device))
