"""Exported detectors of clips: frames of a video in, the objects of each out, found in the frames about it.

One file takes all frames of a clip; of two, one says once what a frame is worth by itself, and the other makes tubes of
what is known of the frames of a clip. T frames of a clip.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from pagoda_runtime.backends import CLIP, REMEDY, OpenedFile, check_detector
from pagoda_runtime.detections import Detections
from pagoda_runtime.errors import ModelFileError, PictureError
from pagoda_runtime.model import Model, check_input
from pagoda_runtime.together import see

STARTING_SCORE = 0.9
"""from which score on people are followed through clips, as `pagoda track` has it"""
PER_FRAME = ("boxes", "keypoints", "keypoint_scores")
"""outputs that have an axis of frames"""
MOST = 1000
"""frames of a clip, and between two of them"""


@dataclass(frozen=True)
class ClipForm:
    """Which clips a file takes, and whether it is one of two."""

    part: str
    """"whole"; or "frames" and "clips" of two files"""
    num_frames: int
    """T"""
    frame_interval: int
    """frames of the video from one of a clip to the next"""
    key: int
    """which of a tube's frames the clip is about"""
    this: str
    other: str
    """digests of a half, and of the only file it goes with"""

    @classmethod
    def from_text(cls, text: str) -> "ClipForm":
        """Of the metadata. Raises ValueError for what a newer version may have written."""
        data = json.loads(text)
        known = {"part", "num_frames", "frame_interval", "tube_frames", "this", "other"}
        if (
            not isinstance(data, dict)
            or set(data) != known
            or data["part"] not in ("whole", "frames", "clips")
        ):
            raise ValueError(
                f"of its clips it says {text!r:.200}, of which this pagoda-runtime knows nothing; install a newer one"
            )
        counts = data["num_frames"], data["frame_interval"], len(list(data["tube_frames"]))
        if not all(type(count) is int and 1 <= count <= MOST for count in counts):
            raise ValueError(f"a clip has 1 … {MOST} frames, so many apart, got {text!r:.200}")
        return cls(data["part"], counts[0], counts[1], counts[2] // 2, str(data["this"]), str(data["other"]))


def open_clips(
    path: str | Path, opened: OpenedFile, open_beside: Callable[[Path], OpenedFile]
) -> "ClipModel":
    """The detector of clips in an open file, with the one of frames beside it where it takes two.

    Raises ModelFileError for the half that looks at frames, and for halves of two exports; FileNotFoundError where the
    second is missing.
    """
    path, form = Path(path), ClipForm.from_text(opened.metadata[CLIP])
    if form.part == "frames":
        raise ModelFileError(
            f"{path} holds the half of a detector of clips that looks at single frames; load the other one,"
            f" {_other_name(path, '.frames', '.clips')}, which reads this"
        )
    check_detector(opened, path)
    if opened.input_shape[0] not in (None, form.num_frames):
        raise ModelFileError(
            f"{path} takes {opened.input_shape[0]} frames, and its metadata say clips of {form.num_frames}; {REMEDY}"
        )
    if form.part == "whole":
        return ClipModel(opened, form)
    beside = path.with_name(_other_name(path, ".clips", ".frames"))
    if not beside.is_file():
        raise FileNotFoundError(
            f"{path} makes tubes of what {beside.name} says of single frames, which is not beside it; keep the two"
            " files that `pagoda export --sliding` writes together"
        )
    frames = open_beside(beside)
    said = frames.metadata.get(CLIP)
    half = None if said is None else ClipForm.from_text(said)
    if half is None or half.part != "frames" or (half.this, half.other) != (form.other, form.this):
        raise ModelFileError(
            f"{beside} and {path} are not of one export, so that one cannot read what the other says; {REMEDY}"
            " --sliding, which gives both"
        )
    return ClipModel(opened, form, frames)


class ClipModel(Model):
    """A detector that looks at frames of a video together; threads may share it."""

    starting_score = STARTING_SCORE
    num_frames: int
    """T, of a clip"""
    frame_interval: int
    """frames of the video from one of a clip to the next"""

    def __init__(self, opened: OpenedFile, form: ClipForm, frames: OpenedFile | None = None) -> None:
        """`frames`: the file that looks at single frames, where there is one."""
        super().__init__(opened)
        self._form, self._frames = form, frames
        self.num_frames, self.frame_interval = form.num_frames, form.frame_interval

    def predict_each(self, sources: Iterable[Any], **limits: Any) -> NoReturn:
        """Raises ValueError: a picture is no clip."""
        self.predict(sources, **limits)

    def predict(self, source: Any, **limits: Any) -> NoReturn:
        """Raises ValueError: a picture is no clip."""
        raise ValueError(
            f"this file looks at clips of {self.num_frames} frames, not at a picture; hand the frames of a video to"
            " track(frames), which finds the objects of each"
        )

    def _look_through(self, frames: Iterable[Any], min_score: float | np.ndarray) -> Iterator[Detections]:
        """What is in each frame, found in the clip about it; a few frames late, as a clip needs those behind.

        Only the frames of one clip are held. A frame that cannot be read, or has another size, ends the video: the
        frames before it come first, then PictureError.
        """
        window = _Window(self.num_frames, self.frame_interval)
        key, failure = 0, None
        try:
            for source in frames:
                window.add(self._known(source, window))
                if window.count > key + window.ahead:
                    yield self._about(key, window, min_score)
                    key += 1
        except PictureError as error:
            failure = error
        while key < window.count:
            yield self._about(key, window, min_score)
            key += 1
        if failure is not None:
            raise failure

    def _known(self, source: Any, window: "_Window") -> "_Frame":
        """A frame with what is kept of it: the features of the file of frames, or else its pixels."""
        seen = see(source, self.input_spec)
        if window.size not in (None, seen.size):
            raise PictureError(
                f"frame {window.count} has (height, width) {seen.size}, the ones before {window.size}; frames of one"
                " video must have one size"
            )
        pixels = seen.pixels[None]
        looking = self._frames or self._opened
        check_input(looking.input_shape, (looking.input_shape[0] or 1, *pixels.shape[1:]), seen.size)
        known = pixels if self._frames is None else self._frames.run(pixels)["features"]
        return _Frame(known, seen.picture[..., :3], seen.name, (pixels.shape[2], pixels.shape[3]))

    def _about(self, key: int, window: "_Window", min_score: float | np.ndarray) -> Detections:
        """The objects of a frame in pixels of the video."""
        clip, frame = window.clip_about(key), window.at(key)
        known = np.concatenate([each.known for each in clip])
        more = () if self._frames is None else (np.array(frame.seen, np.int64),)
        outputs = self._opened.run(known, *more)
        of_key = {
            name: value[0][:, self._form.key] if name in PER_FRAME else value[0]
            for name, value in outputs.items()
        }
        found = self._rows(of_key, frame.seen, min_score)
        restored = self.input_spec.restore(found, (frame.picture.shape[0], frame.picture.shape[1]))
        return replace(restored, file=frame.name, picture=frame.picture)


@dataclass(frozen=True)
class _Frame:
    known: np.ndarray
    """(1, …) pixels or features"""
    picture: np.ndarray
    """(H, W, 3)"""
    name: str | None
    seen: tuple[int, int]
    """(height, width) that the network saw"""


class _Window:
    """The frames of a video that a clip about the next one may need, and no others."""

    def __init__(self, num_frames: int, interval: int) -> None:
        self.num_frames, self.interval = num_frames, interval
        self.ahead = (num_frames - 1 - num_frames // 2) * interval
        self.count = 0
        """of frames so far"""
        self._frames: deque[_Frame] = deque(maxlen=(num_frames - 1) * interval + 1)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the frames so far."""
        return (
            (self._frames[-1].picture.shape[0], self._frames[-1].picture.shape[1]) if self._frames else None
        )

    def add(self, frame: _Frame) -> None:
        """The next one."""
        self._frames.append(frame)
        self.count += 1

    def at(self, number: int) -> _Frame:
        """The frame of this number in the video."""
        return self._frames[number - self.count + len(self._frames)]

    def clip_about(self, key: int) -> list[_Frame]:
        """T frames, `interval` apart; beyond the ends of the video stands the last one that there is."""
        before, behind = key // self.interval, (self.count - 1 - key) // self.interval
        steps = (position - self.num_frames // 2 for position in range(self.num_frames))
        return [self.at(key + self.interval * min(max(step, -before), behind)) for step in steps]


def _other_name(path: Path, mine: str, other: str) -> str:
    """Of the file beside. Raises ModelFileError where the name of this one was changed."""
    if not path.stem.endswith(mine):
        raise ModelFileError(
            f"{path} is one of two files, whose names end in .frames{path.suffix} and .clips{path.suffix} and are the"
            " same before; name them so again"
        )
    return path.stem.removesuffix(mine) + other + path.suffix
