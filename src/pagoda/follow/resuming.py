"""From where a run that was stopped goes on, and only with what it began with: weights, classes and frames are told by
their content, wherever they lie."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from pagoda.detectors.contract import Detector
from pagoda.follow.clips import frames_together, neighbours
from pagoda.follow.follower import VideoFollower
from pagoda.follow.frame_log import picture_hash, read_about, read_found, read_seen
from pagoda.plain import JsonObject
from pagoda.video.frames import VideoSource
from pagoda.weights.files import state_hash

RECORD = "found.jsonl"
"""what the model found so far; in the folder of a run only until that comes to its end"""


class Wording(NamedTuple):
    """How somebody who reads a message asks for a run to go on: in Python, or at the command line.

    >>> IN_PYTHON.resume, Wording("--resume", "--out", again="the same command with --resume").resume
    ('resume=True', '--resume')
    """

    resume: str
    """how to ask for a run to go on"""
    out: str
    """what says the folder"""
    again: str
    """what a run that was stopped goes on with"""


IN_PYTHON = Wording("resume=True", "out", again="the same call and resume=True")


def about_run(follower: VideoFollower, source: VideoSource) -> JsonObject:
    """What decides what is found in which frame: the first line of the record."""
    model, options, tiles = follower.model, follower.options, follower.tiles
    return {
        "weights": state_hash(model.state_dict()),
        "class_names": list(model.label_map.names),
        "first_frame": source.first_frame,
        "classes": list(options.classes),
        "appearance": None if follower.appearance == "none" else follower.appearance,
        "objects from score": round(float(follower.limits["min_score"] or 0), 6),
        "video": source.content_hash(),
        "tiles": None if tiles is None else asdict(tiles),
    }


def known_frames(
    record: Path,
    wanted: JsonObject,
    model: Detector,
    source: VideoSource,
    *,
    resume: bool,
    wording: Wording,
) -> int:
    """How many frames of the stopped run in `record` stand; 0 for a run that starts. `wanted`: `about_run`.

    A model of clips saw the last frames without those that follow, and one of pictures perhaps in other batches than
    the whole run's, so they are looked at again. Raises ValueError where the run was made with something else, or where
    one that starts finds another's record.
    """
    if not resume:
        if record.exists():
            raise ValueError(
                f"{record.parent} holds a run that was stopped; go on with it ({wording.resume}) or choose another"
                f" {wording.out}"
            )
        return 0
    about, count = read_about(record)
    is_same_file = wanted["video"] and about.get("video") == wanted["video"]
    different = [
        f"other {name}" if name == "weights" else f"{name} {about.get(name)!r}"
        for name, value in wanted.items()
        if about.get(name) != value and name != "video"
    ]
    if different:
        raise ValueError(
            f"the run in {record.parent} was made with {', '.join(different)}; {wording.resume} needs the same"
        )
    _, behind = neighbours(model)
    known = max(0, count - behind)
    if not model.sees_clips and wanted["tiles"] is None:  # frames may have been looked at together
        sizes = {found.image_size for found in read_found(record, model.label_map, num_frames=known)}
        together = max((frames_together(model, size) for size in sizes), default=1)
        known = max(0, known - (source.first_frame + known) % together)
    if not is_same_file:
        _check_frames(record, source, known, wording)
    return known


def _check_frames(record: Path, source: VideoSource, known: int, wording: Wording) -> None:
    """Raises ValueError where the first `known` frames are not those that the run saw: they may come from another
    file, or from a folder whose last pictures were mended."""
    frames = iter(source)
    for number, seen in enumerate(read_seen(record, num_frames=known), source.first_frame):
        frame = next(frames, None)
        if frame is None or picture_hash(frame.picture) != seen:
            what = f"has no frame {number}" if frame is None else f"shows something else in frame {number}"
            raise ValueError(
                f"the run in {record.parent} was made of another video: {source.path} {what}; {wording.resume} needs"
                " the same frames"
            )
