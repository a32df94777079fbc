"""From objects per frame to tracks: linkers by name, and whole videos at once."""

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np

from pagoda.messages import did_you_mean
from pagoda.structures.linker_settings import LinkerSettings
from pagoda.structures.tracks import Tracks
from pagoda.tracking.byte import ByteTracker
from pagoda.tracking.ocsort import OCSortTracker
from pagoda.tracking.reference import ReferenceTracker
from pagoda.tracking.tracker import Found, Tracker
from pagoda.tracking.tubes import PairedFrames, TubeTracker

LinkerName = Literal["reference", "byte", "ocsort", "tubes"]
LINKERS: tuple[LinkerName, ...] = ("reference", "byte", "ocsort", "tubes")
_KINDS: dict[str, type[ReferenceTracker] | type[ByteTracker] | type[OCSortTracker] | type[TubeTracker]] = {
    "reference": ReferenceTracker,
    "byte": ByteTracker,
    "ocsort": OCSortTracker,
    "tubes": TubeTracker,
}


def create_tracker(name: str, *, min_score: float | None = None) -> Tracker:
    """A linker with its own defaults; `min_score` replaces its threshold for strong detections.

    Raises ValueError with the nearest name when there is none of that name.

    >>> create_tracker("byte").min_score, create_tracker("byte", min_score=0.7).min_score
    (0.5, 0.7)
    """
    if name not in _KINDS:
        raise ValueError(f"no linker is called '{name}'; {did_you_mean(name, LINKERS)}")
    kind = _KINDS[name]
    tracker = kind(min_score=kind.min_score if min_score is None else min_score)
    return PairedFrames(tracker) if isinstance(tracker, TubeTracker) else tracker


def tuned_tracker(settings: LinkerSettings) -> ByteTracker | OCSortTracker:
    """The linker with these numbers. Raises ValueError, with the nearest, for a number that it has not.

    >>> from pagoda.structures.linker_settings import LinkerSettings
    >>> tuned_tracker(LinkerSettings(linker="ocsort", numbers={"min_seen": 2.0}, metric="HOTA", split="train")).min_seen
    2
    """
    kind = ByteTracker if settings.linker == "byte" else OCSortTracker
    whole = {each.name for each in fields(kind) if each.type in (int, "int")}
    # How many observations are kept decides how much memory a track takes: no file says that.
    known = {each.name for each in fields(kind)} - {"model", "direction_frames"}
    for name in settings.numbers:
        if name not in known:
            raise ValueError(
                f"linker {settings.linker} has no number '{name:.80}', only {', '.join(sorted(known))}"
            )
    numbers: dict[str, Any] = {
        name: round(value) if name in whole else float(value) for name, value in settings.numbers.items()
    }
    return kind(**numbers)


def link(frames: Iterable[Found], tracker: Tracker, name: str = "") -> Tracks:
    """Link what was found in the frames of one video, in order: detections, or tubes of the clips about them.

    Objects without a track keep the id -1; none is left out. `name` is the video's.

    >>> import torch
    >>> from pagoda.structures.instances import Detections
    >>> from pagoda.structures.labels import LabelMap
    >>> boxes, labels = torch.tensor([[0., 0., 9., 30.], [50., 0., 59., 30.]]), torch.tensor([0, 0])
    >>> frame = Detections(boxes, torch.tensor([0.9, 0.2]), labels, (99, 99), LabelMap.from_names(["person"]))
    >>> link([frame, frame], create_tracker("ocsort")).track_ids  # the second object is too weak
    array([ 1, -1,  1, -1])
    """
    tracker.reset()
    return Tracks.from_detections(map(tracker.update, frames), name)


def link_tracks(detections: Tracks, tracker: Tracker) -> Tracks:
    """The tracks of detections that are kept as `Tracks`: all stays but the ids.

    >>> from pagoda.structures.labels import LabelMap
    >>> frames, boxes = np.arange(3), np.array([[0., 0., 9., 30.]] * 3)
    >>> found = Tracks(frames, frames, boxes, np.ones(3), frames * 0, LabelMap.numbered(1), 3, (99, 99))
    >>> link_tracks(found, create_tracker("byte")).track_ids
    array([1, 1, 1])
    """
    tracker.reset()
    ids = [np.zeros(0, dtype=np.int64)]
    for frame in range(detections.num_frames):
        linked = tracker.update(detections.at(frame)).track_ids
        assert linked is not None
        ids.append(linked.numpy())
    return replace(detections, track_ids=np.concatenate(ids))
