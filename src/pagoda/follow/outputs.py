"""What following objects writes: annotated video, MOT text, PoseTrack JSON and a table of the tracks."""

import csv
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from pagoda.data.tracks.mot import MotWriter
from pagoda.data.tracks.posetrack_writing import PoseTrackWriter
from pagoda.drawing.objects import image_of_detections
from pagoda.evaluation.tracks.result import text_columns
from pagoda.files.atomic import make_folder, numbered, write_atomically, write_free
from pagoda.messages import counted
from pagoda.plain import checked
from pagoda.structures.instances import Detections
from pagoda.structures.tracks import UNLINKED
from pagoda.video.frames import VideoWriter

MAX_TABLE_ROWS = 30
"""What is printed; tracks.csv has them all"""


@dataclass
class TrackSummary:
    """One row of tracks.csv: where a track begins and ends, and how sure the model was of it."""

    track: int
    """its id, from 1 on"""
    name: str
    """the class of its first detection"""
    first_frame: int
    """counted as in the video, from 0"""
    last_frame: int = 0
    """the last in which it was seen"""
    seen_frames: int = 0
    """in how many frames it was seen, gaps not counted"""
    mean_score: float = 0.0
    """of its detections, over these frames"""


class TrackSummaries:
    """A table of tracks: first and last frame, in how many it was seen, mean score; it does not grow with the video.

    >>> import torch
    >>> from pagoda.structures.labels import LabelMap
    >>> ids, cats = torch.tensor([7]), LabelMap.from_names(["cat"])
    >>> labels, summaries = torch.zeros(1).long(), TrackSummaries()
    >>> for frame, score in ((3, 0.9), (5, 0.7)):
    ...     found = Detections(torch.ones(1, 4), torch.tensor([score]), labels, (8, 8), cats, track_ids=ids)
    ...     summaries.add(found, frame)
    >>> print(summaries.table())
    track  name  first  last  frames  score
    #7      cat      3     5       2   0.80
    1 track
    """

    def __init__(self) -> None:
        self._rows: dict[int, TrackSummary] = {}

    def add(self, followed: Detections, frame: int) -> None:
        """Count the objects of one frame, each of which belongs to a track."""
        assert followed.track_ids is not None
        columns = followed.track_ids.tolist(), followed.names, followed.scores.tolist()
        for track, name, score in zip(*columns, strict=True):
            row = self._rows.setdefault(track, TrackSummary(track, name, frame))
            row.last_frame, row.seen_frames = frame, row.seen_frames + 1
            row.mean_score += (score - row.mean_score) / row.seen_frames

    def table(self) -> str:
        """The tracks seen longest, and how many there are."""
        longest = sorted(self._rows.values(), key=lambda track: -track.seen_frames)[:MAX_TABLE_ROWS]
        rows = [["track", "name", "first", "last", "frames", "score"]]
        for each in longest:
            numbers = (each.first_frame, each.last_frame, each.seen_frames)
            rows.append([f"#{each.track}", each.name, *map(str, numbers), f"{each.mean_score:.2f}"])
        return f"{text_columns(rows)}\n{counted(len(self._rows), 'track')}"

    def write_csv(self, path: Path) -> None:
        """One row for every track, in the order they began; the columns are the fields of `TrackSummary`."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(TrackSummary.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(asdict(row) for row in self._rows.values())


@checked
class TrackOutputs:
    """The files of a followed video: video.mp4, tracks.txt (MOT), posetrack18.json and tracks.csv. For a `with` block.

    They grow frame by frame on disk, with one row per track in memory, and have their names on leaving. Nothing that
    exists is overwritten: names get a number, unless it `replaces` the files of a run that goes on. No name is taken
    before its file is whole, so hold the folder (`files.lock.hold_folder`) where others may write.
    `frames_per_second` None: no video. Frames are counted from `first_frame` on.
    """

    def __init__(
        self,
        out: Path,
        name: str,
        frames_per_second: float | None,
        *,
        first_frame: int = 0,
        replaces: bool = False,
    ) -> None:
        make_folder(out)
        self.folder, self.num_frames = out, 0
        self._name: Callable[[Path], Path] = Path if replaces else _free_name
        self._frame = first_frame
        self.summaries = TrackSummaries()
        self._csv = self._name(out / "tracks.csv")
        self._mot = MotWriter(out / "tracks.txt", write=write_atomically if replaces else write_free)
        self._posetrack = PoseTrackWriter(self._name(out / "posetrack18.json"), name)
        self._video: VideoWriter | None = None
        self._rate = frames_per_second
        self._open = ExitStack()

    def __enter__(self) -> "TrackOutputs":
        for writer in (self._mot, self._posetrack):
            self._open.enter_context(writer)
        self._open.callback(write_atomically, self._csv, self.summaries.write_csv)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, linked: Detections, picture: np.ndarray | None = None, seconds: float = 0.0) -> None:
        """Write the next frame: its objects that belong to a track; without a `picture` there is none in the video."""
        assert linked.track_ids is not None
        followed = linked[linked.track_ids != UNLINKED]
        self._mot.add(followed, self._frame)
        self._posetrack.add(followed)
        if self._rate is not None and picture is not None:
            drawn = np.asarray(image_of_detections(picture, followed))
            self._film(self._rate).add(drawn, seconds)
        self.summaries.add(followed, self._frame)
        self.num_frames += 1
        self._frame += 1

    def table(self) -> str:
        """The tracks seen longest, and how many there are."""
        return self.summaries.table()

    def _film(self, frames_per_second: float) -> VideoWriter:
        """Begun with its first frame: without any there is no file."""
        if self._video is None:
            path = self._name(self.folder / "video.mp4")
            self._video = self._open.enter_context(VideoWriter(path, frames_per_second=frames_per_second))
        return self._video


def _free_name(path: Path) -> Path:
    return next(name for name in numbered(path) if not name.exists())
