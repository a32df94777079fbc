"""MOTChallenge text files: frame, id, left, top, width, height, score, … per line, all counted from 1.

The corner of the first pixel is (1, 1) there and (0, 0) here; frames are counted from 1 there and from 0 here.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from pagoda.data.reading.annotation_files import files_like
from pagoda.data.tracks.mot_classes import Benchmark, CountedRows, count_found, count_truth, distinct_ids
from pagoda.data.tracks.mot_rows import (
    MOST_EMPTY,
    length_remedy,
    read_rows,
    sequence_folder,
    sequence_info,
    sequence_name,
)
from pagoda.data.tracks.spool import Spool
from pagoda.files.atomic import hashed_name, safe_name, safe_names, write_atomically
from pagoda.messages import short_list
from pagoda.ops.boxes import xywh_to_xyxy, xyxy_to_xywh
from pagoda.plain import checked
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import LONGEST, Tracks

WriteDraft = Callable[[Path], object]
"""writes a file's content under the name that it is given"""


@checked
def read_mot(
    path: str | Path,
    *,
    is_truth: bool = False,
    num_frames: int | None = None,
    image_size: tuple[int, int] | None = None,
    score_range: tuple[float, float] | None = None,
    benchmark: Benchmark = "auto",
    classes: Sequence[str] = (),
    label_map: LabelMap | None = None,
) -> Tracks:
    """A gt.txt, det.txt or tracker's file as tracks, named after the sequence; of pedestrians where no class is told.

    In ground truth the seventh column says whether a row counts, and `benchmark` and `classes` which others
    do not (`count_truth`); those become ignored. Elsewhere the seventh column is the score; `score_range`
    (low, high) of a detector whose scores are no probabilities is mapped to 0 … 1, and cut there. `label_map`
    is the ground truth's: predictions of other classes are left out. Length and size of the video come from
    seqinfo.ini beside the folder of the file, where there is one; else the last frame with a box is taken for
    the last. Raises ValueError naming the file, and the line, where it is no such text or does not fit the
    video.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "walk.txt")
    ...     _ = path.write_text("1,7,11,21,30,40,0.9,-1,-1,-1\\n")
    ...     tracks = read_mot(path, num_frames=2)
    >>> tracks.boxes.tolist(), tracks.boxes_from_1.tolist(), tracks.scores.tolist(), tracks.num_frames
    ([[10.0, 20.0, 40.0, 60.0]], [[11.0, 21.0, 41.0, 61.0]], [0.9], 2)
    """
    path = Path(path)
    info = sequence_info(sequence_folder(path))
    told = num_frames or int(info.get("seqlength", 0))
    rows = read_rows(path, is_truth=is_truth, most_empty=None if told else MOST_EMPTY)
    last = int(rows[:, 0].max(initial=0))
    length = told or last
    if "imwidth" in info and "imheight" in info and image_size is None:
        image_size = int(info["imheight"]), int(info["imwidth"])
    if last > length:
        raise ValueError(
            f"{path} cannot be used: its last row is of frame {last}, but the video has {length}"
            f" frame{'s' * (length != 1)};"
            f" {length_remedy(path, last).replace(LONGEST, str(last))}"
        )
    name = sequence_name(path)
    if is_truth:
        counted = count_truth(rows, path, name, benchmark=benchmark, classes=classes)
    else:
        counted = count_found(rows, path, label_map)
        rows, counted = rows[~counted.ignored], counted.without_ignored()
    corners = xywh_to_xyxy(rows[:, 2:6])
    try:
        return Tracks(
            rows[:, 0].astype(np.int64) - 1,
            _ids(rows, counted),
            corners - 1,
            np.ones(len(rows)) if is_truth else _scores(rows[:, 6], score_range),
            counted.labels,
            counted.label_map,
            length,
            image_size,
            name,
            ignored=counted.ignored if is_truth else None,
            regions=counted.regions if is_truth else None,
            distractors=counted.distractors,
            of_other_class=counted.of_other_class,
            boxes_from_1=corners,
            rules=counted.rules,
            left_out=counted.left_out,
            has_classes=counted.has_classes,
            length_remedy=length_remedy(path, last),
        )
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def _ids(rows: np.ndarray, counted: CountedRows) -> np.ndarray:
    """Each class may count its objects for itself; rows that are ignored may share an id."""
    ids, counts = rows[:, 1].astype(np.int64), ~counted.ignored
    ids[counts] = distinct_ids(rows[counts, 0], ids[counts], counted.labels[counts])
    return ids


def find_mot(source: str | Path) -> list[Path]:
    """The files `source` stands for: one file, a sequence's folder, or a folder of sequences or of text files, which
    may lie one folder lower (train/, data/).

    Raises FileNotFoundError where there is none.
    """
    source = Path(source)
    if source.is_file():
        return [source]
    for pattern in ("gt/gt.txt", "*/gt/gt.txt", "*.txt", "*/*/gt/gt.txt", "data/*.txt", "*/data/*.txt"):
        if files := sorted(files_like(source, pattern)):
            return files
    raise FileNotFoundError(
        f"expected a text file, a folder with gt/gt.txt, sequences with it, or text files in {source}; found none"
    )


def write_mot(tracks: Tracks, path: str | Path) -> None:
    """One line per object that belongs to a track. Raises ValueError when there are classes to lose."""
    _check_one_class(tracks.label_map)
    linked = tracks.linked()
    lines = _mot_lines(linked.frames, linked.track_ids, linked.boxes, linked.scores)
    write_atomically(path, lambda temporary: temporary.write_text("".join(lines), encoding="utf-8"))


class MotWriter:
    """Text files that grow frame by frame and appear when closed: `path`, or with several classes
    one file for each class seen, as path-car.txt (`class_words`). Use it in a `with` block.

    `write` gives each file, once it is whole, its place: `files.write_free` one that nobody has, where by itself what
    stood there is replaced.
    """

    def __init__(
        self, path: str | Path, *, write: Callable[[Path, WriteDraft], object] = write_atomically
    ) -> None:
        self.path = Path(path)
        self._write = write
        self._spools: dict[int | None, tuple[Path, Spool]] = {}

    def __enter__(self) -> "MotWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, detections: Detections, frame: int) -> None:
        """The objects of one frame, counted from 0, that belong to a track.

        Raises ValueError for detections without track ids.
        """
        if detections.track_ids is None:
            raise ValueError(
                "detections need track_ids to be written as tracks; hand them to a tracker first"
            )
        tracks = Tracks.from_detections([replace(detections, picture=None)]).linked()
        is_alone = len(tracks.label_map) == 1
        for label in [0] if is_alone else np.unique(tracks.labels).tolist():
            mine = tracks.rows(tracks.labels == label)
            lines = _mot_lines(mine.frames + frame, mine.track_ids, mine.boxes, mine.scores)
            self._spool(None if is_alone else label, tracks.label_map).write("".join(lines))

    def close(self) -> None:
        """Write the files under their names. Further calls do nothing."""
        for path, spool in self._spools.values():
            self._write(path, partial(_copy, spool))
            spool.close()
        self._spools.clear()

    def _spool(self, label: int | None, label_map: LabelMap) -> Spool:
        if label not in self._spools:
            path = self.path
            if label is not None:
                path = path.with_stem(f"{path.stem}-{class_words(label_map.names)[label]}")
            self._spools[label] = path, Spool()
        return self._spools[label][1]


MAX_VIDEO_BYTES, MAX_CLASS_BYTES = 120, 80
"""Of the names of a video and a class in a file's name, which stand there together"""


def video_word(name: str) -> str:
    """The name of a video as it stands in the names of its files; "tracks" where it has none.

    >>> video_word("street/north"), video_word("")
    ('street_north', 'tracks')
    """
    return safe_name(name or "tracks", max_bytes=MAX_VIDEO_BYTES)


def class_words(names: Sequence[str]) -> list[str]:
    """The name of each class as it stands in the names of files, no two alike: red_fox.

    >>> class_words(["red fox", "cat"])
    ['red_fox', 'cat']
    """
    return safe_names(names, max_bytes=MAX_CLASS_BYTES, space="_")


def known_words(names: Sequence[str]) -> dict[str, int]:
    """Label by every word that stands for a class in the name of a file, whichever other classes its writer knew.

    Of several that a word may stand for the likeliest counts: that of `class_words`, then those that a writer of
    other classes would give, then the word as it was written before, with ASCII letters alone.

    >>> known_words(["red fox", "cat"])["red_fox"]
    0
    """
    ways = (
        class_words(names),
        [safe_name(name, max_bytes=MAX_CLASS_BYTES, space="_") for name in names],
        [hashed_name(name, max_bytes=MAX_CLASS_BYTES, space="_") for name in names],
        [re.sub(r"[^A-Za-z0-9-]+", "_", name) for name in names],
    )
    words: dict[str, int] = {}
    for way in ways:
        for label, word in enumerate(way):
            if way.count(word) == 1:
                words.setdefault(word, label)
    return words


def _copy(spool: Spool, path: Path) -> None:
    with path.open("w", encoding="utf-8") as target:
        spool.copy_to(target)


def _mot_lines(frames: np.ndarray, track_ids: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> list[str]:
    """One line per row, ten columns; the three for places in the world are -1."""
    columns = (frames, track_ids, xyxy_to_xywh(boxes.astype(np.float64)), scores)
    return [
        f"{frame + 1},{track},{x + 1:.3f},{y + 1:.3f},{width:.3f},{height:.3f},{score:.6g},-1,-1,-1\n"
        for frame, track, (x, y, width, height), score in zip(*(c.tolist() for c in columns), strict=True)
    ]


def _check_one_class(label_map: LabelMap) -> None:
    """Raises ValueError for several classes: the ten columns have no place for them."""
    if len(label_map) > 1:
        raise ValueError(
            f"a MOT file holds one class, got {len(label_map)}: {short_list(label_map.names, 8)}; write one class"
            " per file, or JSON"
        )


def _scores(values: np.ndarray, score_range: tuple[float, float] | None) -> np.ndarray:
    # A tracker's file that has no scores says -1 in every row.
    if score_range is None:
        return np.ones_like(values) if (values == -1).all() else values
    low, high = score_range
    if not low < high:
        raise ValueError(f"a range of scores needs low < high, got {low} … {high}")
    return np.clip((values - low) / (high - low), 0, 1)
