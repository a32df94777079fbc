"""Frames of a video, one after the other, to what a model sees in each.

`detect_frames` finds, the linkers of pagoda.tracking say who is who; `run` does both for a file. Nothing here grows
with the length of the video. T frames of a clip.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pagoda.batch_size import BatchSize
from pagoda.detectors.contract import Detector
from pagoda.evaluating import evaluating
from pagoda.follow.appearance import Appearance
from pagoda.pictures.read import PictureError
from pagoda.structures.images import ImageBatch
from pagoda.structures.tubes import Tubes, clip_frames
from pagoda.tiling.tiles import Tiles
from pagoda.tracking.linking import create_tracker
from pagoda.tracking.tracker import Found, Tracker

Limits = Mapping[str, float | int | None]
"""fields of a model's `postprocess`; None keeps the model's own"""
FOLLOWING_LIMITS: Limits = {"min_score": 0.1}
"""What a model reports to a linker at all; ByteTrack's second round looks at weak detections too"""
TUBE_MIN_SCORE = 0.9
"""From which score on people are followed through clips: two stages are sure of what they say, right or wrong, and
Detect-and-Track's own linker took 0.95"""
MOST_TOGETHER = 8
"""frames"""
MOST_PIXELS = 2**24
"""of frames that are looked at together, on any device; as many again are read meanwhile, and wait to be written"""


class _KnownFrame(NamedTuple):
    """A frame whose own work is done."""

    number: int
    """counted from 0 in the video"""
    features: Tensor
    """(1, C, 1, h, w)"""
    picture: np.ndarray
    """(H, W, 3)"""


def tracker_for(model: Detector, linker: str, *, min_score: float | None = None) -> Tracker:
    """The linker of that name, where nobody says otherwise with a threshold that suits the model's scores.

    `min_score` starts a track; higher makes fewer false tracks and misses the doubtful. Raises ValueError for an
    unknown linker, as `create_tracker` does.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> type(tracker_for(model, "byte")).__name__
    'ByteTracker'
    """
    if min_score is None and model.sees_clips and linker != "reference":
        min_score = TUBE_MIN_SCORE
    return create_tracker(linker, min_score=min_score)


def neighbours(model: Detector) -> tuple[int, int]:
    """(before, behind): how many frames around a frame the model looks at, too; (0, 0) for models of pictures.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> neighbours(model)
    (0, 0)
    """
    if not model.sees_clips:
        return 0, 0
    before = model.num_frames // 2
    return before * model.frame_interval, (model.num_frames - 1 - before) * model.frame_interval


def detect_frames(
    model: Detector,
    pictures: Iterable[np.ndarray],
    *,
    limits: Limits | None = None,
    tiles: Tiles | None = None,
    classes: Sequence[int] | None = None,
    start: int = 0,
    first: int = 0,
    reuse: bool = True,
    appearance: Appearance | None = None,
    live: bool = False,
) -> Iterator[Found]:
    """What the model finds in each frame from `first` on, in order: detections, or tubes of the clip about the frame,
    in pixels of the video. Not linked; a tracker's `update` does that. Models of clips run a few frames behind.

    A model of pictures looks at several at a time, `frames_together`, which is quicker and the same but for rounding. A
    model of clips computes what a frame is worth by itself, the stem and the first stage, once and not for each of the
    T clips it is part of; the result is the same, to the bit unless maps are tiny. A picture that cannot be read ends
    the video: the frames before it come first, then `PictureError`. So does, for clips, one of another size.

    Args:
        pictures: (H, W, 3) RGB uint8, of one size.
        limits: fields of the model's `postprocess`, such as `FOLLOWING_LIMITS`; None keeps the model's own.
        tiles: a model of pictures looks at each frame cut so, as many tiles at a time as suit the device.
        classes: labels to find; None: all.
        start: number in the video of the first of `pictures`. When that is 0, or `neighbours` frames before `first`,
            every frame is seen as in a run over the whole video.
        first: number of the first frame that is asked about.
        reuse: False has a model of clips compute every frame anew for each clip, for comparison.
        appearance: what says how objects look, which linkers compare; not together with tiles.
        live: each frame is looked at as soon as it is there, as frames cut into tiles always are.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> frames = [np.zeros((32, 48, 3), np.uint8)] * 3
    >>> [found.image_size for found in detect_frames(model, frames, limits=FOLLOWING_LIMITS, first=1)]
    [(32, 48), (32, 48)]
    """
    model, limits = evaluating(model), limits or {}

    def wanted(found: Found, picture: np.ndarray, place: int = 0) -> Found:
        asked = found if classes is None else found[_among(found.labels, classes)]
        return asked if appearance is None else appearance.give(asked, picture, place)

    def seen(group: Sequence[np.ndarray]) -> list[Found]:
        size = len(group) if tiles is None else together.size
        found = model.predict(list(group), **limits, tiles=tiles, batch_size=size)
        assert isinstance(found, list)
        return [
            wanted(replace(each, picture=None), picture, place)
            for place, (each, picture) in enumerate(zip(found, group, strict=True))
        ]

    with nullcontext() if appearance is None else appearance.watching(model):
        if model.sees_clips:
            tubes = _tubes(model, pictures, limits=limits, reuse=reuse, start=start, first=first)
            yield from (wanted(each, picture) for each, picture in tubes)
            return
        together = BatchSize("auto", next(model.parameters()).device)
        shown = islice(pictures, first - start, None)
        is_alone = live or tiles is not None
        for group in ([picture] for picture in shown) if is_alone else _groups(model, shown, first):
            yield from together.run(seen, group)


def frames_together(model: Detector, size: tuple[int, int]) -> int:
    """How many frames of (height, width) `detect_frames` looks at together: 1, 2, 4 or 8, so that where one group of
    that many may begin, those of fewer may, too.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, short_side=240, long_side=320)
    >>> frames_together(model, (480, 640)), frames_together(model, (2160, 3840))
    (8, 1)
    """
    if model.sees_clips:
        return 1
    device = next(model.parameters()).device
    suits = BatchSize("auto", device).of(model.input_spec.frame(size), held=size)
    most = min(MOST_TOGETHER, suits, max(1, MOST_PIXELS // (size[0] * size[1])))
    return 1 << most.bit_length() - 1


def _groups(model: Detector, pictures: Iterable[np.ndarray], first: int) -> Iterator[list[np.ndarray]]:
    """Frames that are looked at together, of one size; the groups begin at multiples of their length, counted in the
    video, whose frame `first` is the first of `pictures`. What comes before one that cannot be read comes first."""
    group: list[np.ndarray] = []
    together, failure = 1, None
    try:
        for number, picture in enumerate(pictures, first):
            if group and (picture.shape != group[0].shape or number % together == 0):
                yield group
                group = []
            if not group:
                together = frames_together(model, (picture.shape[0], picture.shape[1]))
            group.append(picture)
    except PictureError as error:
        failure = error
    if group:
        yield group
    if failure is not None:
        raise failure


def _tubes(
    model: Detector,
    pictures: Iterable[np.ndarray],
    *,
    limits: Limits,
    reuse: bool,
    start: int,
    first: int,
) -> Iterator[tuple[Tubes, np.ndarray]]:
    """The tubes of the clip about every frame, on the CPU, and the frame's picture."""
    postprocess = model.postprocess.with_limits(**limits)
    device = next(model.parameters()).device
    for key, clip, images, size in _clips(model, pictures, device, reuse, start, first):
        picture = next(frame.picture for frame in clip if frame.number == key)
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
        yield tubes.to("cpu"), picture


def _clips(
    model: Detector,
    pictures: Iterable[np.ndarray],
    device: torch.device,
    reuse: bool,
    start: int,
    first: int,
) -> Iterator[tuple[int, list[_KnownFrame], ImageBatch, tuple[int, int]]]:
    """(number of the key frame, its clip, a batch of the frames' size, (height, width) of the video)."""
    length, interval = model.num_frames, model.frame_interval
    _, ahead = neighbours(model)
    known: deque[_KnownFrame] = deque(maxlen=(length - 1) * interval + 1)
    key, images, size, failure = first, None, (0, 0), None

    def clip_about(frame: int) -> list[_KnownFrame]:
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
                    _KnownFrame(
                        number, model.frame_features(images.pixels) if reuse else images.pixels, picture
                    )
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


def _among(labels: Tensor, classes: Sequence[int]) -> Tensor:
    return torch.isin(labels, torch.tensor(list(classes), device=labels.device))
