"""Frames of a video, one after the other, to what a model sees in each: the code behind `pagoda track`.

Nothing here grows with the length of the video. T frames of a clip.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.evaluating import evaluating
from pagoda.pictures.read import PictureError
from pagoda.structures.clips import clip_frames
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.tracks import Tubes
from pagoda.tracking.linking import create_tracker
from pagoda.tracking.tracker import Tracker
from pagoda.tracking.tubes import PairedFrames

Limits = Mapping[str, float | int | None]
FOLLOWING_LIMITS: Limits = {"min_score": 0.1}
"""What a model reports to a linker at all; ByteTrack's second round looks at weak detections too"""
TUBE_MIN_SCORE = 0.9
"""From which score on people are followed through clips: two stages are sure of what they say, right or wrong, and
Detect-and-Track's own linker took 0.95"""


class KnownFrame(NamedTuple):
    """A frame whose own work is done."""

    number: int
    features: Tensor
    """(1, C, 1, h, w)"""


def tracker_for(model: Detector, linker: str, *, min_score: float | None = None) -> Tracker:
    """`create_tracker`, where nobody says otherwise with a threshold that suits the model's scores."""
    if min_score is None and model.sees_clips and linker != "reference":
        min_score = TUBE_MIN_SCORE
    return create_tracker(linker, min_score=min_score)


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
    for found in find_in_video(model, pictures, limits=limits, classes=classes):
        yield link_frame(found, tracker)


def link_frame(found: Detections | Tubes, tracker: Tracker) -> Detections:
    """What was found in, or in the clip about, the next frame: in that frame, with track ids."""
    if not isinstance(found, Tubes):
        return tracker.update(found)
    return (
        tracker.tracker.update(found)
        if isinstance(tracker, PairedFrames)
        else tracker.update(found.at(found.key))
    )


def neighbours(model: Detector) -> tuple[int, int]:
    """How many frames before and behind a frame the model looks at, too."""
    if not model.sees_clips:
        return 0, 0
    before = model.num_frames // 2
    return before * model.frame_interval, (model.num_frames - 1 - before) * model.frame_interval


def find_in_video(
    model: Detector,
    pictures: Iterable[np.ndarray],
    *,
    limits: Limits | None = None,
    classes: list[int] | None = None,
    start: int = 0,
    first: int = 0,
) -> Iterator[Detections | Tubes]:
    """What the model finds in each frame from `first` on: tubes of the clip about it, or detections. Not linked.

    `start` is the number in the video of the first of `pictures`. When that is 0, or `neighbours` frames before
    `first`, every frame is seen as in a run over the whole video.
    """
    model = evaluating(model)
    if model.sees_clips:
        for tubes in tubes_of_video(model, pictures, limits=limits, start=start, first=first):
            yield tubes if classes is None else tubes[_among(tubes.labels, classes)]
        return
    for picture in islice(pictures, first - start, None):
        found = model.predict(picture, **(limits or {}))
        assert isinstance(found, Detections)
        found = replace(found, picture=None)
        yield found if classes is None else found[_among(found.labels, classes)]


def tubes_of_video(
    model: DetectAndTrack,
    pictures: Iterable[np.ndarray],
    *,
    limits: Limits | None = None,
    reuse: bool = True,
    start: int = 0,
    first: int = 0,
) -> Iterator[Tubes]:
    """The tubes of the clip about every frame from `first` on, in pixels of the video, on the CPU.

    What a frame is worth by itself, the stem and the first stage, is computed once and not for each of the T clips
    it is part of; the result is the same, to the bit unless maps are tiny. `reuse=False` computes it anew, for
    comparison. `start` as `find_in_video` has it. A picture that cannot be read ends the video: the frames before
    it come first, then `PictureError`. So does one of another size.
    """
    postprocess = model.postprocess.with_limits(**(limits or {}))
    device = next(model.parameters()).device
    model = evaluating(model)
    for key, clip, images, size in _clips(model, pictures, device, reuse, start, first):
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


def _clips(
    model: DetectAndTrack,
    pictures: Iterable[np.ndarray],
    device: torch.device,
    reuse: bool,
    start: int,
    first: int,
) -> Iterator[tuple[int, list[KnownFrame], ImageBatch, tuple[int, int]]]:
    """(number of the key frame, its clip, a batch of the frames' size, (height, width) of the video)."""
    length, interval = model.num_frames, model.frame_interval
    _, ahead = neighbours(model)
    known: deque[KnownFrame] = deque(maxlen=(length - 1) * interval + 1)
    key, images, size, failure = first, None, (0, 0), None

    def clip_about(frame: int) -> list[KnownFrame]:
        # The pictures begin at `start`, and so does what a clip can reach.
        seen = known[-1].number + 1 - start
        wanted = clip_frames(frame - start, seen, clip_length=length, interval=interval)
        return [known[start + number - known[0].number] for number in wanted]

    try:
        for number, picture in enumerate(pictures, start):
            size = _same_size(picture, size, number)
            pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
            with torch.inference_mode():
                images = model.input_spec.prepare([pixels], device=device)
                known.append(
                    KnownFrame(number, model.frame_features(images.pixels) if reuse else images.pixels)
                )
            if number >= key + ahead:
                yield key, clip_about(key), images, size
                key += 1
    except PictureError as error:
        failure = error
    while images is not None and key <= known[-1].number:
        yield key, clip_about(key), images, size
        key += 1
    if failure is not None:
        raise failure


def _same_size(picture: np.ndarray, size: tuple[int, int], number: int) -> tuple[int, int]:
    """(height, width) of the picture, which must be that of those before it; (0, 0) where there were none."""
    found = (picture.shape[0], picture.shape[1])
    if size not in ((0, 0), found):
        raise PictureError(
            f"frame {number} has (height, width) {found}, the ones before {size}; frames of one video must have one"
            " size"
        )
    return found


def _among(labels: Tensor, classes: list[int]) -> Tensor:
    return torch.isin(labels, torch.tensor(classes, device=labels.device))
