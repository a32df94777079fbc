"""From objects per frame to tracks: linkers by name, and whole videos at once."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from pagoda.messages import did_you_mean
from pagoda.structures.tracks import Tracks
from pagoda.tracking.byte import ByteTracker
from pagoda.tracking.ocsort import OCSortTracker
from pagoda.tracking.reference import ReferenceTracker
from pagoda.tracking.tracker import Found, Tracker
from pagoda.tracking.tubes import PairedFrames, TubeTracker

LinkerName = Literal["reference", "byte", "ocsort", "tubes"]
LINKERS: tuple[LinkerName, ...] = ("reference", "byte", "ocsort", "tubes")


def create_tracker(name: str, *, min_score: float | None = None) -> Tracker:
    """A linker with its own defaults; `min_score` replaces its threshold for strong detections.

    Raises ValueError with the nearest name when there is none of that name.
    """
    if name not in LINKERS:
        raise ValueError(f"no linker is called '{name}'; {did_you_mean(name, LINKERS)}")
    threshold: dict[str, Any] = {} if min_score is None else {"min_score": min_score}
    if name == "tubes":
        return PairedFrames(TubeTracker(**threshold))
    if name == "byte":
        return ByteTracker(**threshold)
    return OCSortTracker(**threshold) if name == "ocsort" else ReferenceTracker(**threshold)


def link(frames: Iterable[Found], tracker: Tracker, name: str = "") -> Tracks:
    """Link what was found in the frames of one video, in order: detections, or tubes of the clips about them.

    Objects without a track keep the id -1; none is left out.
    """
    tracker.reset()
    return Tracks.from_detections(map(tracker.update, frames), name)


def link_tracks(detections: Tracks, tracker: Tracker) -> Tracks:
    """The same for detections that are kept as `Tracks`: all stays but the ids."""
    tracker.reset()
    ids = [np.zeros(0, dtype=np.int64)]
    for frame in range(detections.num_frames):
        linked = tracker.update(detections.at(frame)).track_ids
        assert linked is not None
        ids.append(linked.numpy())
    return replace(detections, track_ids=np.concatenate(ids))
