"""What can be wrong with boxes, classes and splits, told from the annotations alone. M objects of a split."""

from collections import Counter

import numpy as np

from pagoda.data.reading.complaints import Complaints
from pagoda.drawing.lettering import missing_letters
from pagoda.explain.doctor.duplicates import MAX_BOX_IOU, overlapping_boxes
from pagoda.explain.doctor.records import Split
from pagoda.messages import counted, short_list

TOLERANCE = 1.0
"""Pixels a box may leave its picture: roundings, and corners counted from 1"""
MIN_SIDE = 1.0
"""Pixels; VOC's box of equal corners is this wide"""
MAX_IMBALANCE = 50.0


def check_boxes(split: Split, sizes: list[tuple[int, int] | None], notes: Complaints) -> None:
    """Note boxes that are not finite, empty, outside their picture, leaving it, tiny, or there twice.

    `sizes`: (height, width) per picture, None where nobody knows it.
    """
    boxes, owners = split.boxes, split.owners
    if not len(boxes):
        return
    limits = np.array([(size[1], size[0]) if size else (np.inf, np.inf) for size in sizes])[owners]
    is_number = ~np.isnan(boxes).all(1)  # NO_BOX is complained of by the reader
    finite = np.isfinite(boxes).all(1)
    low, high = boxes[:, :2], boxes[:, 2:]
    with np.errstate(invalid="ignore"):
        sides = high - low
        has_area = finite & (sides > 0).all(1)
        outside = has_area & ((high <= 0) | (low >= limits)).any(1)
        beyond = np.maximum(-low, high - limits).max(1)
        leaves = has_area & ~outside & (beyond > TOLERANCE)
        tiny = has_area & ~outside & (sides <= MIN_SIDE).any(1)
    rows_by_kind = {
        "non_finite_boxes": is_number & ~finite,
        "empty_boxes": finite & ~has_area,
        "boxes_outside": outside,
        "boxes_leaving_picture": leaves,
        "tiny_boxes": tiny & ~split.ignored,
    }
    for kind, rows in rows_by_kind.items():
        for row in np.flatnonzero(rows).tolist():
            size = sizes[owners[row]]
            notes.add(
                kind,
                f"{split.where(row)}: {_box_words(boxes[row])}"
                + (f" in {_size_words(size)}" if size else ""),
            )
    _check_pairs(split, boxes, has_area, notes)


def check_classes(splits: list[Split], notes: Complaints) -> None:
    """Note categories that differ, classes without objects, imbalance; over splits that do not repeat others."""
    splits = [split for split in splits if split.files]  # one that could not be read lacks everything
    disputed = _check_categories([split for split in splits if split.categories], notes)
    counts = {split.name: split.counts() for split in splits}
    ignored = {split.name: split.ignored_counts() for split in splits}
    total, total_ignored = (sum(each.values(), Counter()) for each in (counts, ignored))
    listed = dict.fromkeys(name for split in splits for name in split.categories.values())
    for name in listed:
        elsewhere = f"{name}: {counted(total[name], 'object')} elsewhere"
        if name in disputed:
            continue  # missing from a split for another reason
        if not total[name] and total_ignored[name]:
            notes.add("ignored_classes", f"{name}: {counted(total_ignored[name], 'object')}")
        elif not total[name]:
            notes.add("empty_classes", name)
        elif "train" in counts and not counts["train"][name]:
            notes.add("classes_not_in_train", f"{elsewhere}{_ignored_words(ignored['train'][name])}")
        elif "val" in counts and not counts["val"][name]:
            notes.add("classes_not_in_val", f"{elsewhere}{_ignored_words(ignored['val'][name])}")
    ranked = total.most_common()
    if ranked and ranked[0][1] > MAX_IMBALANCE * ranked[-1][1]:
        notes.add(
            "class_imbalance",
            f"{ranked[0][0]} {counted(ranked[0][1], 'object')}, {ranked[-1][0]} {ranked[-1][1]}",
        )


def _ignored_words(count: int) -> str:
    return f"; {counted(count, 'object')} here, ignored" if count else ""


def _check_categories(splits: list[Split], notes: Complaints) -> set[str]:
    """Note where splits list other categories than the one to learn from. Classes meet by name, so only objects of a
    class that this one does not list are in the way: then the names that stand on one side alone are returned."""
    if not splits:
        return set()
    learnt = next((split for split in splits if split.name == "train"), splits[0])
    others = [split for split in splits if split is not learnt]
    scored = [split for split in others if split.name == "val"] or others
    known, disputed = set(learnt.categories.values()), set()
    for split in others:
        names = set(split.categories.values())
        present = split.counts() + split.ignored_counts()
        unknown = [name for name in split.categories.values() if name not in known and present[name]]
        if unknown and split in scored:
            disputed |= names ^ known
            for name in unknown:
                objects = f"{counted(present[name], 'object')} of '{name}'"
                notes.add(
                    "classes_unknown_to_train", f"{split.name}: {objects}, which {learnt.name} does not list"
                )
        elif split.categories != learnt.categories:
            notes.add("different_categories", f"{split.name}: {_difference(split, learnt)}")
    return disputed


def _difference(split: Split, learnt: Split) -> str:
    """How the categories of a split differ from those that are learnt."""
    names, known = (list(each.categories.values()) for each in (split, learnt))
    missing, more = (
        [name for name in one if name not in other] for one, other in ((known, names), (names, known))
    )
    parts = [f"without {short_list(missing, 5)}"] if missing else []
    parts += [f"with {short_list(more, 5)}"] if more else []
    shared = {name: number for number, name in learnt.categories.items()}
    moved = [name for number, name in split.categories.items() if shared.get(name, number) != number]
    parts += [f"other ids of {short_list(moved, 5)}"] if moved else []
    return f"{', '.join(parts)}, compared to {learnt.name}"


def check_names(splits: list[Split], notes: Complaints) -> None:
    """Note names of classes and keypoints that cannot be written onto pictures."""
    maps = [split.reading.label_map for split in splits]
    skeletons = [labels.skeleton.names for labels in maps if labels.skeleton is not None]
    for name in dict.fromkeys(
        name for names in (*(labels.names for labels in maps), *skeletons) for name in names
    ):
        if letters := missing_letters(name):
            notes.add("letters_not_in_font", f"'{name}': {letters}")


def without_repeating_splits(splits: list[Split], notes: Complaints) -> list[Split]:
    """The splits but for those that, like trainval, hold others whole under a name that says no purpose."""
    paths = {split.name: {split.path(index) for index in range(len(split.files))} for split in splits}
    kept = []
    for split in splits:
        inner = [n for n, held in paths.items() if n != split.name and held and held < paths[split.name]]
        if inner and split.name not in ("train", "val", "test"):
            notes.add("overlapping_splits", f"{split.name} holds {', '.join(inner)}")
        else:
            kept.append(split)
    return kept


def check_contents(split: Split, notes: Complaints) -> None:
    """Note pictures without objects, and crowd regions."""
    for index in sorted(set(range(len(split.files))).difference(split.owners.tolist())):
        notes.add("pictures_without_objects", f"{split.name}: {split.files[index]}")
    crowd = int(split.ignored.sum())
    if crowd:
        share = crowd / len(split.ignored)
        notes.add(
            "crowd_regions",
            f"{split.name}: {crowd} of {counted(len(split.ignored), 'object')} ({share:.1%})",
            crowd,
        )


def _check_pairs(split: Split, boxes: np.ndarray, usable: np.ndarray, notes: Complaints) -> None:
    """Boxes that stand twice, exactly or nearly; crowd regions may well lie on each other."""
    usable = usable & ~split.ignored
    owners = np.where(usable, split.owners, -1)
    order = np.argsort(owners, kind="stable")
    starts = np.flatnonzero(np.diff(owners[order])) + 1
    for rows in np.split(order, starts):
        if owners[rows[0]] < 0 or len(rows) < 2:
            continue
        for first, second, iou in overlapping_boxes(boxes[rows], MAX_BOX_IOU):
            one, other = int(rows[first]), int(rows[second])
            is_equal = bool((boxes[one] == boxes[other]).all())
            is_same_class = split.labels[one] == split.labels[other]
            place = f"{split.where(one)} and {split.place(other)}: {_box_words(boxes[one])}"
            if is_same_class:
                kind = "repeated_boxes" if is_equal else "near_duplicate_boxes"
                notes.add(kind, place if is_equal else f"{place}, IoU {iou:.3f}")
            elif is_equal:
                notes.add("boxes_of_two_classes", f"{place} ({split.class_of(other)})")


def _box_words(box: np.ndarray) -> str:
    return "x1, y1, x2, y2 = " + ", ".join(f"{value:.6g}" for value in box)


def _size_words(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]} (height×width)"
