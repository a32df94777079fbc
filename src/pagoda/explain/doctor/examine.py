"""The dataset doctor: every defect of a data set in one go, with names, counts and remedies."""

from pathlib import Path

import numpy as np

from pagoda.data.formats.layouts import find_dataset
from pagoda.data.reading.complaints import Complaints
from pagoda.explain.doctor.annotation_checks import (
    check_boxes,
    check_classes,
    check_contents,
    check_names,
    without_repeating_splits,
)
from pagoda.explain.doctor.findings import DoctorReport, findings_of
from pagoda.explain.doctor.kinds import KINDS
from pagoda.explain.doctor.masks_keypoints_checks import check_masks_keypoints
from pagoda.explain.doctor.picture_checks import (
    Opened,
    Progress,
    check_duplicates,
    check_pictures,
    open_pictures,
)
from pagoda.explain.doctor.records import Split, read_splits
from pagoda.plain import JsonObject

QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


def examine(
    folder: str | Path,
    *,
    max_pictures: int | None = None,
    progress: Progress | None = None,
    inside_only: bool = False,
) -> DoctorReport:
    """Look through all splits of a data set in any layout that is read: files, ids, boxes, classes, pictures, leaks.

    Every picture is opened once, or only `max_pictures` spread over all; annotations are always read whole. With
    `inside_only` none outside the folder is opened, which stops the reading of its split.
    `progress` is called with (pictures done, pictures in all). Raises ValueError for `max_pictures` below 0, and as
    `find_dataset` does where there is no data set.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.saving import write_coco_folder
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_coco_folder(DrawnShapes(2, image_size=(32, 32), seed=1), folder)
    ...     report = examine(folder)
    >>> report.statistics["splits"]["train"]["objects"], report.problems
    (8, ())
    """
    if max_pictures is not None and max_pictures < 0:
        raise ValueError(f"max_pictures must be None or at least 0, got {max_pictures}")
    layout = find_dataset(folder)
    notes = Complaints(str(folder), KINDS)
    for kind, lines in (
        ("absent_splits", [why for _, why in layout.absent]),
        ("files_not_read", layout.unread),
    ):
        for line in lines:
            notes.add(kind, line)
    every = read_splits(layout, notes, inside_only=inside_only)
    splits = without_repeating_splits(every, notes)
    opened = open_pictures(splits, max_pictures, progress, notes)
    for split in splits:
        check_boxes(split, _sizes(split, opened), notes)
        check_contents(split, notes)
        check_masks_keypoints(split, notes)
    check_classes(splits, notes)
    check_names(splits, notes)
    check_pictures(splits, opened, layout.root, notes)
    check_duplicates(splits, opened, notes)
    return DoctorReport(layout.describe(), findings_of(notes), _statistics(splits, every, opened))


def _sizes(split: Split, opened: dict[Path, Opened]) -> list[tuple[int, int] | None]:
    """(height, width) of each picture: as annotated, for boxes were drawn for that size; else the file's own."""
    sizes = []
    for index, annotated in enumerate(split.sizes):
        picture = opened.get(split.path(index))
        sizes.append(annotated or (picture.size if picture else None))
    return sizes


def _statistics(splits: list[Split], every: list[Split], opened: dict[Path, Opened]) -> JsonObject:
    """Plain numbers: per split, and over `splits`, which are `every` without those that repeat others."""
    per_split = {}
    for split in every:
        ignored = int(split.ignored.sum())
        per_split[split.name] = {
            "pictures": len(split.files),
            "without_objects": len(split.files) - len(np.unique(split.owners)),
            "objects": len(split.owners) - ignored,
            "ignored": ignored,
            "classes": {**dict.fromkeys(split.categories.values(), 0), **split.counts()},
        }
    boxes = np.concatenate([split.boxes for split in splits]) if splits else np.zeros((0, 4))
    with np.errstate(invalid="ignore"):
        boxes = boxes[np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)]
    with np.errstate(over="ignore"):
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    areas = areas[np.isfinite(areas)]
    sizes = [size for split in splits for size in split.sizes if size]
    return {
        "splits": per_split,
        "box_sides": _quantiles(np.sqrt(areas)),
        "picture_sizes": _quantiles(np.sqrt(np.prod(np.array(sizes, np.float64).reshape(-1, 2), axis=1))),
        "pictures_opened": len(opened),
    }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    return {name: round(float(np.quantile(values, share)), 1) for name, share in QUANTILES.items()}
