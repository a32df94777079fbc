"""The rows of MOTChallenge-like text: numbers, one line per object and frame; and what seqinfo.ini says of them."""

from configparser import ConfigParser, Error
from pathlib import Path

import numpy as np

from pagoda.files.text import as_whole, read_text
from pagoda.structures.tracks import LONGEST

MIN_COLUMNS = 7
MOST_FRAMES = 10_000_000
"""of a video: four and a half days at 25 a second"""
MOST_EMPTY = 100_000
"""frames without a row, one after the other, where nothing but the rows says how long a video is: an hour"""
MOST_IDS = 2**53
"""beyond which rows of floats do not tell whole numbers apart"""


def read_rows(path: Path, *, is_truth: bool, most_empty: int | None = None) -> np.ndarray:
    """(rows, columns) of a file: frame, id, left, top, width, height, flag or score, …; (0, 10) for an empty one.

    Raises ValueError with the line that is no such row. In ground truth the seventh column is a flag, and so
    a whole number: a score there would be 0 for some programs and count for others. `most_empty`: so many frames
    may follow each other without a row; None: any number.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "gt.txt")
    ...     _ = path.write_text("1,7,11,21,30,40,1\\n")
    ...     read_rows(path, is_truth=True).tolist()
    [[1.0, 7.0, 11.0, 21.0, 30.0, 40.0, 1.0]]
    """
    rows: list[list[float]] = []
    lines: list[int] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        columns = len(rows[0]) if rows else MIN_COLUMNS
        try:
            row = _row(words, columns, is_first=not rows)
            _check_row(row, is_truth=is_truth)
        except ValueError as error:
            raise ValueError(f"{path} line {number}: {error}, got '{line.strip()[:80]}'") from error
        rows.append(row)
        lines.append(number)
    found = np.array(rows, dtype=np.float64) if rows else np.zeros((0, 10))
    if most_empty is not None:
        _check_gaps(path, found[:, 0], lines, most_empty)
    return found


def _check_gaps(path: Path, frames: np.ndarray, lines: list[int], most_empty: int) -> None:
    """One row too far away would have every frame before it gone through."""
    order = frames.argsort(kind="stable")
    gaps = np.diff(frames[order], prepend=0)
    if not (gaps > most_empty).any():
        return
    place = order[(gaps > most_empty).argmax()]
    raise ValueError(
        f"{path} line {lines[place]}: frame {frames[place]:.0f} follows on more than {most_empty} frames without any"
        " row; correct the number, or say how long the video is: two lines, [Sequence] and"
        f" seqLength={frames.max():.0f}, in the file {sequence_folder(path) / 'seqinfo.ini'}"
    )


def _row(words: list[str], columns: int, *, is_first: bool) -> list[float]:
    try:
        row = [float(word) for word in words]
    except ValueError as error:
        raise ValueError("expected numbers") from error
    if len(row) < MIN_COLUMNS or (not is_first and len(row) != columns):
        at_least = "at least " if len(row) < MIN_COLUMNS else ""
        wanted = MIN_COLUMNS if len(row) < MIN_COLUMNS else columns
        raise ValueError(
            f"expected {at_least}{wanted} columns (frame, id, left, top, width, height, score, …) and found {len(row)}"
        )
    return row


def _check_row(row: list[float], *, is_truth: bool) -> None:
    if not np.isfinite(row[:MIN_COLUMNS]).all():
        raise ValueError("expected numbers that are finite")
    if row[0] < 1 or row[0] % 1 or row[4] < 0 or row[5] < 0:
        hint = " (MOTChallenge counts frames from 1: add 1 to every frame of the file)" if row[0] == 0 else ""
        raise ValueError(f"expected a whole frame number from 1 on and sides of 0 or more{hint}")
    if row[0] > MOST_FRAMES:
        raise ValueError(f"expected a frame number of at most {MOST_FRAMES}")
    if row[1] % 1:
        raise ValueError("expected a whole number for the id")
    if abs(row[1]) > MOST_IDS:
        raise ValueError(f"expected an id of at most {MOST_IDS}")
    if is_truth and row[6] % 1:
        raise ValueError(
            "expected 0 or 1 in the seventh column of ground truth, which says whether the row counts; write"
            " there which"
        )


def sequence_folder(path: Path) -> Path:
    """The folder of a sequence, where its seqinfo.ini stands: above gt/ of gt/gt.txt, else that of gt.txt, beside
    NAME.txt the folder NAME.

    >>> sequence_folder(Path("walk/gt/gt.txt")).as_posix(), sequence_folder(Path("out/walk.txt")).as_posix()
    ('walk', 'out/walk')
    """
    if path.stem not in ("gt", "det"):
        return path.with_suffix("")
    path = path if len(path.parents) > 2 else path.absolute()
    return path.parents[1] if path.parent.name in ("gt", "det") else path.parent


def sequence_info(sequence: Path) -> dict[str, str]:
    """What seqinfo.ini in the folder of a sequence says, its keys in small letters; {} without one.

    Raises ValueError for a file without a section [Sequence], and for a size or length that is no whole number.
    """
    file = sequence / "seqinfo.ini"
    if not file.is_file():
        return {}
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(file))
        info = dict(parser["Sequence"])
    except (Error, KeyError) as error:
        raise ValueError(
            f"{file}: expected the line [Sequence] and below it lines as seqLength=100, got {error}"
        ) from error
    for key in ("seqlength", "imwidth", "imheight"):
        number = as_whole(info.get(key, "0"))
        if number is None or not 0 <= number <= MOST_FRAMES:
            raise ValueError(
                f"{file}: expected a whole number for {key}, got '{info[key][:60]}' (0 … {MOST_FRAMES})"
            )
    return info


def sequence_name(path: Path) -> str:
    """What a video is called after its file: as seqinfo.ini says, else its folder, or the file's own name.

    >>> sequence_name(Path("walk/gt/gt.txt")), sequence_name(Path("out/walk.txt"))
    ('walk', 'walk')
    """
    named = sequence_info(sequence_folder(path)).get("name")
    if path.stem in ("gt", "det"):
        return named or sequence_folder(path.absolute()).name
    return path.stem


def length_remedy(path: Path, last: int) -> str:
    """What to do where nothing but its last row says how long a sequence is; "" where seqinfo.ini does."""
    folder = sequence_folder(path)
    if "seqlength" in sequence_info(folder):
        return f"{folder / 'seqinfo.ini'} says how long it is (seqLength); correct what is wrong"
    return (
        f"the last row of {path} is of frame {last}, and nothing else says how long the video is: if it has"
        f" {LONGEST} frames, write two lines, [Sequence] and seqLength={LONGEST}, into the file"
        f" {folder / 'seqinfo.ini'}"
    )
