"""pagoda track link DETECTIONS"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse
from pagoda.data.tracks.files import read_tracks, tracks_to_predictions
from pagoda.data.tracks.mot import MotWriter, video_word
from pagoda.data.tracks.posetrack_writing import write_posetrack
from pagoda.files.atomic import claim_folder, inside, write_free
from pagoda.files.text import json_text
from pagoda.messages import counted
from pagoda.plain import checked
from pagoda.structures.tracks import Tracks
from pagoda.tracking.linking import LinkerName, create_tracker, link_tracks
from pagoda.tracking.tracklets import Relinker


@checked
@dataclass(frozen=True, kw_only=True)
class LinkCommand:
    """Link detections that are already there, of any program, into tracks; no model and no pictures needed.

    pagoda track link predictions.json --linker byte --out DIR
    pagoda track link MOT/TUD-Campus/det/det.txt --score-range 0 100 --min-score 0.3 --out DIR
    """

    detections: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DETECTIONS")]
    """predictions.json of `pagoda predict`, PoseTrack JSON, MOT text, or a folder of the last two"""
    linker: LinkerName = "byte"
    """byte: weak detections continue tracks, too; ocsort: by the motion that was seen; reference: Detect-and-Track's,
    frame by frame; tubes: two neighbouring frames at a time"""
    min_score: float | None = None
    """a detection this good starts a track; default: the linker's own"""
    relink: bool = False
    """once a video is linked to its end, cut tracks where objects met and join the pieces along straight paths"""
    score_range: tuple[float, float] | None = None
    """scores of MOT text that are not 0 … 1: the lowest and highest, which are mapped to 0 and 1"""
    image_size: tuple[int, int] | None = None
    """height and width of the frames, where neither the file nor a seqinfo.ini tells"""
    out: str = ""
    """folder for the results, three files per video; default: a new runs/track-<n>"""


def main(arguments: Sequence[str]) -> int:
    command = parse(LinkCommand, "track link", arguments)
    videos = read_tracks(command.detections, image_size=command.image_size, score_range=command.score_range)
    if not videos:
        raise ValueError(f"{command.detections} holds no frames to link")
    for note in dict.fromkeys(note for video in videos for note in video.notes):
        print(note, file=sys.stderr)
    tracker = create_tracker(command.linker, min_score=command.min_score)
    out = Path(command.out) if command.out else claim_folder("runs", "track")
    for video in videos:
        if video.image_size is None and video.num_frames:
            video = replace(video, image_size=_size_asked_for(command, video.name))
        linked = link_tracks(video, tracker)
        linked = Relinker().relink(linked) if command.relink else linked
        _write_video(linked, out)
        count, total = len(linked.linked()), len(linked)
        print(
            f"{video.name}: {counted(video.num_frames, 'frame')}, {count} of {counted(total, 'detection')} in"
            f" {counted(len(linked.per_track()), 'track')}",
            file=sys.stderr,
        )
    print(f"see {out}", file=sys.stderr)
    return 0


def _size_asked_for(command: LinkCommand, name: str) -> tuple[int, int]:
    if command.image_size is None:
        raise ValueError(
            f"{command.detections} does not tell how large the frames of '{name}' are; say --image-size HEIGHT WIDTH"
        )
    return command.image_size


def _write_video(linked: Tracks, out: Path) -> None:
    """NAME.txt for MOT, posetrack18/NAME.json, and predictions/NAME.json with the unlinked detections too."""
    name = video_word(linked.name)
    poses, predictions = (inside(out, folder, f"{name}.json") for folder in ("posetrack18", "predictions"))
    with MotWriter(inside(out, f"{name}.txt"), write=write_free) as writer:
        for frame in range(linked.num_frames):
            writer.add(linked.at(frame), frame)
    write_free(poses, lambda path: write_posetrack(linked, path))
    text = json_text(tracks_to_predictions(linked))
    write_free(predictions, lambda path: path.write_text(text, encoding="utf-8"))
