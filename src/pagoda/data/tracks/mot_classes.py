"""Which rows of MOTChallenge-like ground truth count, by whose rules, and as which class. N rows.

Three kinds of files look alike. MOTChallenge's have pedestrians to follow and other classes that never count
(eighth of nine columns; MOT15 has none). CVAT's have the classes of gt/labels.txt there. VisDrone's have ten
columns and its own twelve categories in the eighth, of which 0 are regions to be ignored.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pagoda.files.text import read_text
from pagoda.messages import nearest
from pagoda.plain import checked
from pagoda.structures.labels import LabelMap

Benchmark = Literal["auto", "MOT15", "MOT16", "MOT17", "MOT20", "own"]
PEDESTRIAN = LabelMap(("pedestrian",), (1,))
MOT_CLASSES = LabelMap.from_names(
    ("pedestrian", "person_on_vehicle", "car", "bicycle", "motorbike", "non_mot_vehicle", "static_person",
     "distractor", "occluder", "occluder_on_ground", "occluder_full", "reflection", "crowd")
)  # fmt: skip
VISDRONE = LabelMap.from_names(
    ("pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor",
     "others")
)  # fmt: skip
VISDRONE_REGION = 0
MOST_CLASSES = 100_000
"""A larger number in the place of a class is none"""
DISTRACTORS = {
    "MOT16": ("person_on_vehicle", "static_person", "distractor", "reflection"),
    "MOT17": ("person_on_vehicle", "static_person", "distractor", "reflection"),
    "MOT20": ("person_on_vehicle", "non_mot_vehicle", "static_person", "distractor", "reflection"),
}
"""A prediction that fits one of these best is neither right nor wrong (TrackEval)"""


@dataclass(frozen=True, eq=False)
class CountedRows:
    """What each row of a file is: its class, and whether it counts; `ignored` ones are not to be found."""

    label_map: LabelMap
    """the classes that `labels` count"""
    labels: np.ndarray
    """(N,)"""
    ignored: np.ndarray
    """(N,) bool"""
    rules: str
    """by whose, in words"""
    left_out: Mapping[str, int]
    """why → how many"""
    regions: np.ndarray
    """(N,) bool: whatever lies mostly in one of these is forgiven"""
    distractors: np.ndarray | None = None
    """(N,) bool"""
    of_other_class: np.ndarray | None = None
    """(N,) bool: of a class that is known, but not asked for"""
    has_classes: bool = True
    """False: predictions that name none"""

    def without_ignored(self) -> "CountedRows":
        """Only the rows that are left."""
        kept = ~self.ignored
        masks = {"labels": self.labels[kept], "ignored": self.ignored[kept], "regions": self.regions[kept]}
        return replace(self, **masks)


@checked
def count_truth(
    rows: np.ndarray, path: Path, name: str, *, benchmark: Benchmark = "auto", classes: Sequence[str] = ()
) -> CountedRows:
    """By the rules of `benchmark`, or "auto": of labels.txt beside the file, of VisDrone's ten columns, of the
    benchmark in the names of the sequence and the two folders above, or MOT17.

    "own": the classes are the file's own. `classes`: only these, by name or number; classes other than pedestrian
    are scored as the file's own. Raises ValueError for classes that the rules do not know.
    """
    named = benchmark_in(path, name) if benchmark == "auto" else None if benchmark == "own" else benchmark
    numbers = None if benchmark == "MOT15" else _class_numbers(rows, path, named)
    own = _own_names(path) if benchmark in ("auto", "own") else None
    if benchmark == "auto" and own is not None and own.names == MOT_CLASSES.names:
        own = None
    if own is not None and not len(rows):
        numbers = np.zeros(0, np.int64)  # of a video without objects the classes are known all the same
    if own is not None and numbers is not None:
        return _count_own(rows, numbers, own, classes, f"{path}: the classes of labels.txt")
    if named is None and numbers is not None and rows.shape[1] == 10:
        return _count_own(rows, numbers, VISDRONE, classes, f"{path}: VisDrone's classes", VISDRONE_REGION)
    if numbers is None and benchmark in DISTRACTORS and len(rows):
        raise ValueError(
            f"{path}: {benchmark} has classes in the eighth of nine columns, got {rows.shape[1]} columns without;"
            " --benchmark MOT15 counts by flags alone"
        )
    if numbers is None or named == "MOT15":
        _check_single(classes, path)
        why = "MOT15" if named == "MOT15" else "without classes, as MOT15"
        return _count_flags(rows, f"{why} (TrackEval's MotChallenge2DBox): rows whose flag is not 0 count")
    if benchmark == "own" or (named is None and not np.isin(numbers, MOT_CLASSES.category_ids).all()):
        known = _numbered(numbers, classes)
        return _count_own(rows, numbers, known, classes, f"{path}: the file's own classes, by number")
    if set(classes) <= {"pedestrian", "1"}:
        return _count_mot(rows, numbers, path, named)
    if benchmark != "auto":
        raise ValueError(
            f"{benchmark} knows pedestrians only; leave --benchmark away to score {' '.join(classes)}"
        )
    return _count_own(rows, numbers, MOT_CLASSES, classes, f"{path}: MOTChallenge's classes, each for itself")


def _class_numbers(rows: np.ndarray, path: Path, named: str | None = None) -> np.ndarray | None:
    """(N,) the classes in the eighth of 8 or 9 columns, or of ten where they are VisDrone's or, in a benchmark that
    has classes, all MOTChallenge's; None where it holds none.

    Other files of ten columns have places in the world there, or -1. Raises ValueError for a class that is no
    whole number.
    """
    width = rows.shape[1]
    if width not in (8, 9, 10) or not len(rows) or (rows[:, 7] == -1).all():
        return None
    column = rows[:, 7]
    is_mot = named in DISTRACTORS and bool(np.isin(column, MOT_CLASSES.category_ids).all())
    if width == 10 and not is_mot and not _is_visdrone(rows):
        return None
    is_number = np.abs(column) < MOST_CLASSES
    broken = np.flatnonzero(~is_number | (np.where(is_number, column, 0) % 1 != 0))
    if len(broken):
        raise ValueError(
            f"{path} row {broken[0] + 1}: expected a whole number as class in the eighth of {width} columns, got"
            f" {column[broken[0]]:g}"
        )
    return column.astype(np.int64)


def _is_visdrone(rows: np.ndarray) -> bool:
    """Category 0 … 11, truncation 0 or 1 and occlusion 0 to 2, with -1 for unknown; not zeros alone."""
    category, *states = rows[:, 7:10].T
    is_known = np.isin(category, (-1, 0, *VISDRONE.category_ids)).all()
    return bool(is_known and np.isin(states, (-1, 0, 1, 2)).all() and (category > 0).any())


def benchmark_in(path: Path, name: str) -> str | None:
    """ "MOT15", "MOT16", "MOT17" or "MOT20" where the sequence or one of the two folders above it is called so.

    >>> benchmark_in(Path("/data/2DMOT2015/train/TUD-Campus/gt/gt.txt"), "TUD-Campus")
    'MOT15'
    """
    path = path.absolute()
    start = 1 if path.stem in ("gt", "det") else -1
    folders = [path.parents[level].name for level in range(start + 1, start + 3) if level < len(path.parents)]
    own = path.parent.parent.name if start == 1 else path.stem
    for text in (name, own, *folders):
        if found := re.search(r"MOT(?:20)?(15|16|17|20)(?!\d)", text):
            return f"MOT{found[1]}"
    return None


def _own_names(path: Path) -> LabelMap | None:
    """The classes of labels.txt beside the file, numbered from 1; None without it."""
    file = path.parent / "labels.txt"
    if not file.is_file():
        return None
    names = [line.strip() for line in read_text(file).rstrip().splitlines()]
    if not names or "" in names:
        where = f"line {names.index('') + 1} is empty" if names else "it is empty"
        raise ValueError(f"{file} should hold one class name per line, but {where}")
    try:
        return LabelMap.from_names(names)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _numbered(numbers: np.ndarray, classes: Sequence[str] = ()) -> LabelMap:
    """Classes numbered as the rows are, and of `classes`: another sequence may have objects of them."""
    asked = {int(word.removeprefix("class_")) for word in classes if word.removeprefix("class_").isdigit()}
    known = sorted({number for number in numbers.tolist() if number >= 0} | asked)
    return LabelMap(tuple(f"class_{number}" for number in known), tuple(known))


def _count_flags(rows: np.ndarray, rules: str) -> CountedRows:
    ignored = rows[:, 6] == 0
    left_out = _reasons([("with flag 0", ignored)])
    nowhere = np.zeros(len(rows), bool)
    return CountedRows(PEDESTRIAN, np.zeros(len(rows), np.int64), ignored, rules, left_out, nowhere)


def _count_mot(rows: np.ndarray, numbers: np.ndarray, path: Path, named: str | None) -> CountedRows:
    unknown = np.flatnonzero(~np.isin(numbers, MOT_CLASSES.category_ids))
    if len(unknown):
        raise ValueError(
            f"{path} row {unknown[0] + 1}: {named} has the classes 1 … {len(MOT_CLASSES)}, got"
            f" {numbers[unknown[0]]}; for classes of the file's own say --benchmark own, to count by flags alone"
            " --benchmark MOT15"
        )
    benchmark = named or "MOT17"
    taken_out = [MOT_CLASSES.category_ids[MOT_CLASSES.label_named(each)] for each in DISTRACTORS[benchmark]]
    is_pedestrian, is_off = numbers == 1, rows[:, 6] == 0
    reasons = [("with flag 0", is_pedestrian & is_off)]
    reasons += [(f"of class {each}", numbers == i) for each, i in _pairs(MOT_CLASSES) if i != 1]
    chosen = "" if named else ", taken because no name says which benchmark it is (--benchmark chooses)"
    rules = (
        f"{benchmark} (TrackEval's MotChallenge2DBox{chosen}): pedestrians whose flag is not 0 count; predictions"
        f" matched at IoU 0.5 to {', '.join(DISTRACTORS[benchmark])} are taken out"
    )
    return CountedRows(
        PEDESTRIAN,
        np.zeros(len(rows), np.int64),
        ~is_pedestrian | is_off,
        rules,
        _reasons(reasons),
        np.zeros(len(rows), bool),
        np.isin(numbers, taken_out),
    )


def _count_own(
    rows: np.ndarray,
    numbers: np.ndarray,
    known: LabelMap,
    classes: Sequence[str],
    whose: str,
    region: int | None = None,
) -> CountedRows:
    chosen = choose_classes(known, classes)
    is_region = numbers == region if region is not None else np.zeros(len(rows), bool)
    strange = np.flatnonzero(~np.isin(numbers, (-1, *known.category_ids)) & ~is_region)
    if len(strange):
        raise ValueError(
            f"{whose} are {', '.join(f'{i} {name}' for name, i in _pairs(known))}, but row {strange[0] + 1} is of class"
            f" {numbers[strange[0]]}"
        )
    is_chosen, is_off = np.isin(numbers, chosen.category_ids), rows[:, 6] == 0
    reasons = [("that are ignored regions", is_region), ("without a class", numbers == -1)]
    reasons += [
        (f"of class {name}", numbers == i) for name, i in _pairs(known) if i not in chosen.category_ids
    ]
    reasons += [("with flag 0", is_chosen & is_off)]
    rules = f"{whose.rpartition(': ')[2]}: {', '.join(chosen.names)}; rows with flag 0 do not count"
    if region is not None:
        rules += ", nor predictions that match nobody and lie mostly in ignored regions"
    labels = np.searchsorted(chosen.category_ids, np.where(is_chosen, numbers, chosen.category_ids[0]))
    is_other = np.isin(numbers, known.category_ids) & ~is_chosen & ~is_off
    ignored = ~is_chosen | is_off
    return CountedRows(chosen, labels, ignored, rules, _reasons(reasons), is_region, of_other_class=is_other)


def choose_classes(known: LabelMap, classes: Sequence[str]) -> LabelMap:
    """Those of `known` that are asked for by name or number, in its order; all when nothing is asked for.

    Raises ValueError for one that is not there, with what there is.
    """
    by_word = {str(number): name for name, number in _pairs(known)} | {name: name for name in known.names}
    for word in classes:
        if word not in by_word:
            near = nearest(word, known.names, cutoff=0.6)
            listed = ", ".join(f"{number} {name}" for name, number in _pairs(known))
            hint = f"did you mean '{near}'? " if near else ""
            raise ValueError(f"there is no class '{word}' in the ground truth; {hint}it has {listed}")
    names = {by_word[word] for word in classes} or set(known.names)
    kept = sorted((number, name) for name, number in _pairs(known) if name in names)
    return LabelMap(tuple(name for _, name in kept), tuple(number for number, _ in kept))


def _check_single(classes: Sequence[str], path: Path) -> None:
    if set(classes) - {"pedestrian", "1"}:
        raise ValueError(f"{path} names no classes to choose from; leave --classes {' '.join(classes)} away")


def count_found(rows: np.ndarray, path: Path, wanted: LabelMap | None) -> CountedRows:
    """The classes of predictions, by the numbers of `wanted`, the ground truth's; without it as they are.

    Predictions of other classes are left out (ignored).
    """
    numbers, nobody = _class_numbers(rows, path), np.zeros(len(rows), bool)
    if numbers is None or not _are_classes(numbers, wanted):
        labels = np.zeros(len(rows), np.int64)
        return CountedRows(PEDESTRIAN, labels, nobody, "", {}, nobody, has_classes=False)
    if wanted is None:
        is_mot = numbers.max() <= 1
        wanted = PEDESTRIAN if is_mot else VISDRONE if rows.shape[1] == 10 else _numbered(numbers)
    order = np.argsort(wanted.category_ids)
    ids = np.array(wanted.category_ids)[order]
    is_wanted = np.isin(numbers, ids)
    reasons = [(f"of class number {i}", numbers == i) for i in np.unique(numbers[~is_wanted]).tolist()]
    labels = order[np.searchsorted(ids, np.where(is_wanted, numbers, ids[0]))]
    return CountedRows(wanted, labels, ~is_wanted, "", _reasons(reasons), nobody)


def _are_classes(numbers: np.ndarray, wanted: LabelMap | None) -> bool:
    """Zeros alone stand for nothing known, unless there is a class 0."""
    return bool((numbers > 0).any()) or (wanted is not None and 0 in wanted.category_ids)


def distinct_ids(frames: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) ids that no two classes share within a frame: each class may count its objects for itself.

    >>> distinct_ids(np.array([0, 0, 1]), np.array([7, 7, 7]), np.array([0, 1, 1])).tolist()
    [7, 8, 8]
    """
    ids = ids.copy()
    order = np.lexsort((labels, ids, frames))
    meets = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0) & (np.diff(labels[order]) != 0)
    later = order[1:][meets & (ids[order[1:]] >= 0)]
    next_id = int(ids.max(initial=0)) + 1
    for label, track in dict.fromkeys(zip(labels[later].tolist(), ids[later].tolist(), strict=True)):
        ids[(labels == label) & (ids == track)] = next_id
        next_id += 1
    return ids


def _pairs(labels: LabelMap) -> list[tuple[str, int]]:
    return list(zip(labels.names, labels.category_ids, strict=True))


def _reasons(masks: Collection[tuple[str, np.ndarray]]) -> dict[str, int]:
    return dict(Counter({why: int(mask.sum()) for why, mask in masks if mask.any()}))
