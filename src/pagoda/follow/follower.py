"""One model, one video, one linker: what is found and who is who, frame by frame."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pagoda.beside import taken_ahead
from pagoda.detectors.contract import Detector
from pagoda.follow.appearance import appearance_of
from pagoda.follow.clips import FOLLOWING_LIMITS, detect_frames, frames_together, neighbours, tracker_for
from pagoda.plain import check_counts, checked
from pagoda.structures.instances import Detections
from pagoda.tiling.detect import check_takes_tiles
from pagoda.tiling.tiles import Tiles
from pagoda.tracking.camera import CameraMotion
from pagoda.tracking.linking import LinkerName, tuned_tracker
from pagoda.tracking.staged import StagedTracker
from pagoda.tracking.tracker import Found, Tracker, in_key_frame
from pagoda.video.addresses import live_address
from pagoda.video.frames import VideoFrame, VideoSource
from pagoda.video.live import MAX_DELAY, STALL_SECONDS, LiveSource


@checked
@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """Who is followed, and through which frames.

    Raises ValueError for values of the wrong type, for words that are no linker and for `max_frames` below 1.

    >>> TrackOptions(linker="ocsort", classes=("person",)).max_frames is None
    True
    >>> TrackOptions(max_frames=0)
    Traceback (most recent call last):
    ValueError: max_frames must be at least 1, got 0
    """

    linker: LinkerName | Literal["card"] = "byte"
    """byte: overlap with a forecast, weak detections in a second round; ocsort: what was seen before what is forecast,
    for sudden turns; tubes: overlap in the frames that clips share; reference: Detect-and-Track's own; card: what
    pagoda track tune has put into the model's file"""
    appearance: str = "none"
    """what byte and ocsort compare besides places: none; model, the detector's own features of each object, which cost
    next to nothing; or the path of an .onnx file that embeds objects"""
    camera: Literal["still", "moving"] = "still"
    """moving: byte and ocsort first undo how the picture as a whole has moved; needs opencv (pip install
    'pagoda-vision[camera]')"""
    min_score: float | Literal["card"] | None = None
    """a detection this good starts a track: higher makes fewer false tracks and misses the doubtful; card: detections
    are kept from the score of their class in the model's file on, weaker ones help no track; default: the linker's
    own, 0.9 for models of clips"""
    relink: bool = False
    """once a video is known to its end, cut tracks where objects met and join the pieces along straight paths: fewer
    numbers are swapped, and files are written after the last frame was looked at"""
    classes: tuple[str, ...] = ()
    """names of the classes to follow; default: all"""
    first_frame: int = 0
    """counted from 0; a model of clips looks at the frames before it, too, but tracks begin here"""
    max_frames: int | None = None
    """stop after so many; default: at the end"""
    frames_per_second: float = 25.0
    """of a folder of pictures or the pages of a TIFF; a video knows its own"""
    max_delay: float | None = MAX_DELAY
    """of a live source: seconds from a frame's coming to its objects, to which older frames are dropped; 0: always
    the newest frame; None: none is dropped, and the source has to wait"""
    reconnect: int | None = None
    """of a live source: attempts in a row to connect anew; default: 5, of a pipe 0"""
    stall_seconds: float = STALL_SECONDS
    """of a live source: without a frame for so long, the connection counts as lost"""

    def __post_init__(self) -> None:
        check_counts(max_frames=self.max_frames)
        for name, value in (("appearance", self.appearance != "none"), ("camera", self.camera != "still")):
            if value and self.linker not in ("byte", "ocsort", "card"):
                raise ValueError(
                    f"{name} helps the linkers byte and ocsort, not {self.linker}; choose one of those, or leave it out"
                )

    def open(self, source: str | Path) -> VideoSource | LiveSource:
        """The frames of a video, an animated picture, a folder or a glob, from `first_frame` on; or those of a live
        source as they come."""
        if live_address(source) is None:
            return self.open_video(source)
        if self.relink:
            raise ValueError(
                f"relink needs a video's end, and {source} is live; leave it out, and relink what was written"
                " afterwards: pagoda track link DIR/posetrack18.json --relink"
            )
        if self.first_frame:
            raise ValueError(
                f"a live source begins when it is opened; it cannot start at frame {self.first_frame}"
            )
        return LiveSource(
            source, max_delay=self.max_delay, reconnect=self.reconnect, stall_seconds=self.stall_seconds
        )

    def open_video(self, source: str | Path) -> VideoSource:
        """The frames of what lies on a disk. Raises ValueError where options for live sources are set."""
        for name in ("max_delay", "reconnect", "stall_seconds"):
            if getattr(self, name) != getattr(TrackOptions, name):
                raise ValueError(f"{name} is for live sources (webcam:0, rtsp://…, -); {source} is none")
        return VideoSource(source, frames_per_second=self.frames_per_second, first_frame=self.first_frame)


class FollowedFrame(NamedTuple):
    """One frame, what the model found in it and what the linker made of that."""

    frame: VideoFrame
    """its picture, number, name and time"""
    found: Found
    """detections, or the tubes of the clip about the frame, not linked"""
    linked: Detections
    """with track ids; -1 for objects that belong to no track (yet)"""
    camera: np.ndarray | None = None
    """(2, 3) what takes pixels of the frame before to this one; None where the camera is taken to stand still"""


class VideoFollower:
    """One video followed frame by frame by one model and one linker; memory does not grow with the video.

    Attributes: `limits`, of what the model reports, and `appearance`, what objects are compared by; a card may say it.

    Raises KeyError for a class that the model does not know, with the nearest one; ValueError for min_score="card"
    where its file holds no thresholds, and for `tiles`, which frames are cut into, of a model of clips.

    >>> from tempfile import TemporaryDirectory
    >>> import pagoda
    >>> from PIL import Image
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> options = TrackOptions(first_frame=1)
    >>> with TemporaryDirectory() as folder:
    ...     for number in range(3):
    ...         Image.new("RGB", (32, 32)).save(Path(folder, f"{number}.png"))
    ...     [Path(each.frame.name).name for each in VideoFollower(model, options.open(folder), options).frames()]
    ['1.png', '2.png']
    """

    def __init__(
        self,
        model: Detector,
        source: VideoSource | LiveSource,
        options: TrackOptions,
        *,
        tiles: Tiles | None = None,
    ) -> None:
        if tiles is not None:
            check_takes_tiles(model)
        self.model, self.source, self.options, self.tiles = model, source, options, tiles
        self._labels = [model.label_map.label_named(name) for name in options.classes] or None
        self.limits = FOLLOWING_LIMITS
        self._min_scores: Tensor | None = None
        min_score = options.min_score
        if min_score == "card":
            thresholds = model.card_thresholds()
            self._min_scores = torch.tensor(thresholds.of_labels(model.label_map))
            self.limits = {"min_score": model.bar_of(thresholds)}
            min_score = thresholds.lowest(model.label_map)
        self.appearance, camera = options.appearance, options.camera
        if options.linker == "card":
            settings = model.card_linker()
            if min_score is not None:
                settings = replace(settings, numbers={**settings.numbers, "min_score": min_score})
            self._tracker: Tracker = tuned_tracker(settings)
            self.appearance = settings.appearance if self.appearance == "none" else self.appearance
            camera = settings.camera if camera == "still" else camera
        else:
            self._tracker = tracker_for(model, options.linker, min_score=min_score)
        self._camera = CameraMotion() if camera == "moving" else None
        self._appearance = appearance_of(self.appearance, model)
        if self._appearance is not None and tiles is not None:
            raise ValueError("appearance is of whole frames; leave it out, or the tiles")

    def frames(self, known: Iterable[Found] = (), tracker: Tracker | None = None) -> Iterator[FollowedFrame]:
        """Every frame in order; `known` is what was found in the first of them, at which the model then does not look,
        and `tracker` links in the place of the follower's own.

        Raises PictureError where a frame cannot be read, after all that come before it.
        """
        tracker = tracker or self._tracker
        tracker.reset()
        if self._camera is not None:
            self._camera.reset()
        waiting: deque[VideoFrame] = deque()  # a model of clips runs a few frames behind
        for found in islice(self._found(known, waiting), self.options.max_frames):
            frame = waiting.popleft()
            linked, camera = self._linked(found, frame, tracker)
            yield FollowedFrame(frame, found, replace(linked, file=frame.name), camera)

    def _linked(
        self, found: Found, frame: VideoFrame, tracker: Tracker
    ) -> tuple[Detections, np.ndarray | None]:
        worth = self._worth(found)
        if self._camera is None or not isinstance(tracker, StagedTracker):
            return tracker.update(worth), None
        objects = in_key_frame(worth)
        strong = objects.boxes[objects.scores >= tracker.min_score]
        moved = self._camera.update(frame.picture, strong.numpy())
        return tracker.update(worth, camera=moved), moved

    def _worth(self, found: Found) -> Found:
        """What the linker is shown."""
        if self._min_scores is None:
            return found
        return found[found.scores >= self._min_scores.to(found.scores.device)[found.labels]]

    def _found(self, known: Iterable[Found], waiting: deque[VideoFrame]) -> Iterator[Found]:
        before, _ = neighbours(self.model)
        now = self.source.first_frame
        first = max(0, now - before)
        frames: Iterator[VideoFrame]
        if isinstance(self.source, LiveSource):  # which reads ahead itself, and drops what gets old
            frames = iter(self.source)
        else:
            frames = self._read_ahead(iter(self.source.starting_at(first)))
        recent = deque((frame.picture for frame in islice(frames, now - first)), maxlen=before)
        pictures = _pictures(frames, waiting)
        for found in known:
            recent.append(next(pictures))
            now += 1
            yield found
        yield from detect_frames(
            self.model,
            chain(recent, pictures),
            limits=self.limits,
            tiles=self.tiles,
            classes=self._labels,
            start=now - len(recent),
            first=now,
            appearance=self._appearance,
            live=isinstance(self.source, LiveSource),
        )

    def _read_ahead(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """As many as are looked at together are read meanwhile."""
        first = next(frames, None)
        if first is not None:
            yield first
            yield from taken_ahead(frames, by=self.together(first))

    def together(self, frame: VideoFrame) -> int:
        """How many frames like this one are looked at together."""
        if self.tiles is not None or isinstance(self.source, LiveSource):
            return 1
        return frames_together(self.model, (frame.picture.shape[0], frame.picture.shape[1]))


def _pictures(frames: Iterable[VideoFrame], waiting: deque[VideoFrame]) -> Iterator[np.ndarray]:
    """Their pixels; each frame waits for its objects."""
    for frame in frames:
        waiting.append(frame)
        yield frame.picture
