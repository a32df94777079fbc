"""What becomes of boxes, keypoints, classes and ids in formats that cannot hold all of them: counted and carried out.

Each step takes a data set and gives how many things it changes, and the data set as the format holds it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.keypoints import PackedKeypoints, outside
from pagoda.data.writing.contents import Contents, with_labels
from pagoda.data.writing.holding import CLOSE, FormatName
from pagoda.data.writing.naming import Counted
from pagoda.ops.rle import mask_areas
from pagoda.plain import checked
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton, known_skeleton

TableStep = Callable[[Annotations, FormatName], tuple[int, Annotations]]
NUMBERED_CLASSES = ("coco", "yolo")
"""formats whose files number the classes; in the others readers do"""
WITH_IDS = ("coco",)
"""formats whose files give pictures and objects ids; in the others readers count them"""


def table_by_table(step: TableStep) -> Callable[[Contents, FormatName], Counted]:
    """A step over the table of one split as one over all."""

    def every(contents: Contents, name: FormatName) -> Counted:
        found = {split: step(table, name) for split, table in contents.splits.items()}
        splits = {split: table for split, (_, table) in found.items()}
        return sum(count for count, _ in found.values()), replace(contents, splits=splits)

    return every


def limits_of(table: Annotations) -> np.ndarray:
    """(M, 2) width and height of each object's picture."""
    return table.sizes[table.owners][:, ::-1].astype(np.float64)


@checked
def drop_ignored(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Crowds and what is marked as ignored or difficult."""
    return int(table.ignored.sum()), table.with_objects(~table.ignored)


@checked
def drop_without_area(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """YOLO's boxes need an area within the picture, those of the others one at all."""
    has_area = (table.boxes_xywh[:, 2:] > 0).all(1)
    if name == "yolo":
        low, high = _cut(table)
        has_area &= (high - low > CLOSE).all(1)
    return int((~has_area).sum()), table.with_objects(has_area)


def _cut(table: Annotations) -> tuple[np.ndarray, np.ndarray]:
    """The corners of all boxes, inside their pictures."""
    limits, low = limits_of(table), table.boxes_xywh[:, :2]
    return low.clip(0, limits), (low + table.boxes_xywh[:, 2:]).clip(0, limits)


@checked
def widen_thin(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Boxes less than a pixel wide or high get a pixel."""
    is_thin = (table.boxes_xywh[:, 2:] < 1).any(1)
    boxes = table.boxes_xywh.copy()
    boxes[:, 2:] = boxes[:, 2:].clip(min=1)
    return int(is_thin.sum()), replace(table, boxes_xywh=boxes)


@checked
def cut_boxes(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Boxes end at the border of their picture."""
    low, high = _cut(table)
    cut = np.concatenate([low, high - low], 1)
    is_beyond = (np.abs(cut - table.boxes_xywh) > CLOSE).any(1)
    boxes = np.where(is_beyond[:, None], cut, table.boxes_xywh)
    return int(is_beyond.sum()), replace(table, boxes_xywh=boxes)


def labelled(table: Annotations) -> np.ndarray:
    """(M, K) bool: the keypoints that somebody placed; (M, 0) where there are none."""
    if table.keypoints is None:
        return np.zeros((len(table.labels), 0), bool)
    return table.keypoints.dense(np.arange(len(table.labels)))[..., 2] > 0


@checked
def drop_keypoints(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """All keypoints; counted are objects that have a labelled one."""
    return int(labelled(table).any(1).sum()), replace(table, keypoints=None)


@checked
def forget_keypoints_beyond(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Keypoints outside their picture become not labelled."""
    if table.keypoints is None:
        return 0, table
    triples = table.keypoints.dense(np.arange(len(table.labels)))
    is_beyond = outside(triples, table.sizes[table.owners])
    triples[is_beyond] = 0
    return int(is_beyond.sum()), _with_triples(table, triples)


@checked
def show_hidden_keypoints(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Labelled and hidden becomes visible: the format has one kind."""
    if table.keypoints is None:
        return 0, table
    triples = table.keypoints.dense(np.arange(len(table.labels)))
    is_hidden = triples[..., 2] == 1
    triples[is_hidden, 2] = 2
    return int(is_hidden.sum()), _with_triples(table, triples)


def _with_triples(table: Annotations, triples: np.ndarray) -> Annotations:
    """The table with these keypoints, (M, K, 3); objects of which none is labelled have none."""
    is_known = (triples[..., 2] > 0).any(1)
    keypoints = PackedKeypoints.of_rows(is_known, triples[is_known]) if is_known.any() else None
    return replace(table, keypoints=keypoints)


@checked
def plain_skeleton(contents: Contents, name: FormatName) -> Counted:
    """The skeleton as the format tells of it, with the keypoints in that order."""
    before = contents.label_map.skeleton
    if before is None:
        return 0, contents
    seen = np.zeros(len(before), bool)
    for table in contents.splits.values():
        seen |= labelled(table).any(0) if table.keypoints is not None else False
    after, order = _skeleton_in(before, seen, name)
    if after is None:
        gone = contents.changed(lambda table: replace(table, keypoints=None))
    else:
        gone = contents.changed(lambda table: _reordered(table, order))
    kept = replace(contents.label_map, skeleton=after)
    return int(after != before), gone.changed(lambda table: replace(table, label_map=kept))


def _skeleton_in(before: Skeleton, seen: np.ndarray, name: FormatName) -> tuple[Skeleton | None, list[int]]:
    """What comes back of a skeleton, and which of its keypoints stands in each place."""
    if name == "voc" or not seen.any():
        return None, []
    if name == "yolo":
        own = Skeleton(before.names, flip_pairs=before.flip_pairs)
        return known_skeleton(before.names) or own, list(range(len(before)))
    order = sorted(np.flatnonzero(seen).tolist(), key=lambda k: before.names[k])
    names = tuple(before.names[k] for k in order)
    return known_skeleton(names) or Skeleton(names), order


def _reordered(table: Annotations, order: list[int]) -> Annotations:
    if table.keypoints is None:
        return table
    return _with_triples(table, table.keypoints.dense(np.arange(len(table.labels)))[:, order])


@checked
def set_areas(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Areas as readers reckon them of boxes, or where the format is LabelMe of masks."""
    areas = table.boxes_xywh[:, 2] * table.boxes_xywh[:, 3]
    if name == "labelme" and table.masks is not None:
        owners, is_known = table.owners, table.masks.is_known
        for row in np.flatnonzero(is_known).tolist():
            height, width = table.sizes[owners[row]].tolist()
            areas[row] = mask_areas([table.masks.text(row, (height, width))], (height, width))[0]
    differs = np.abs(areas - table.areas) > CLOSE * np.maximum(1, areas)
    return int(differs.sum()), replace(table, areas=np.where(differs, areas, table.areas))


@checked
def drop_unused_classes(contents: Contents, name: FormatName) -> Counted:
    """Raises ValueError where no class has an object: nothing would name any."""
    used = sorted({int(label) for table in contents.splits.values() for label in np.unique(table.labels)})
    if not used:
        raise ValueError(
            f"{contents.source} has no objects that the format can hold, and without them it cannot name classes;"
            " write COCO or YOLO (--to coco, --to yolo)"
        )
    before = contents.label_map
    names, ids = (tuple(column[k] for k in used) for column in (before.names, before.category_ids))
    kept = LabelMap(names, ids, before.skeleton)

    def change(table: Annotations) -> Annotations:
        labels = np.searchsorted(used, table.labels).astype(np.int32)
        return replace(table, labels=labels, label_map=kept)

    return len(before) - len(used), contents.changed(change)


@checked
def number_classes(contents: Contents, name: FormatName) -> Counted:
    """Classes as the format's reader numbers them; only where files numbered them before is something lost."""
    before = contents.label_map
    if name == "yolo":
        names, ids = before.names, tuple(range(len(before)))
    else:
        names, ids = tuple(sorted(before.names)), tuple(range(1, len(before) + 1))
    after = LabelMap(names, ids, before.skeleton)
    numbers = dict(zip(before.names, before.category_ids, strict=True))
    changed = sum(numbers[label] != number for label, number in zip(names, ids, strict=True))
    is_written = contents.kind in NUMBERED_CLASSES
    return changed if is_written else 0, contents.changed(lambda table: with_labels(table, after))


@checked
def number_pictures(contents: Contents, name: FormatName) -> Counted:
    """Pictures are numbered anew, from 1; counted are those whose number changes."""
    changed, splits = 0, {}
    for split, table in contents.splits.items():
        numbers = np.arange(1, len(table) + 1)
        before = table.image_ids.tolist()
        changed += sum(old != new for old, new in zip(before, numbers.tolist(), strict=True))
        splits[split] = replace(table, image_ids=numbers)
    return changed if contents.kind in WITH_IDS else 0, replace(contents, splits=splits)


@checked
def number_objects(contents: Contents, name: FormatName) -> Counted:
    """Objects are numbered anew, from 1; counted where the source's format holds numbers."""
    changed, splits = 0, {}
    for split, table in contents.splits.items():
        numbers = np.arange(1, len(table.labels) + 1)
        changed += int((table.annotation_ids != numbers).sum())
        splits[split] = replace(table, annotation_ids=numbers)
    return changed if contents.kind in WITH_IDS else 0, replace(contents, splits=splits)


@checked
def drop_track_ids(contents: Contents, name: FormatName) -> Counted:
    """Which objects of several frames are one."""
    ids = contents.track_ids or {}
    return sum(int((each >= 0).sum()) for each in ids.values()), replace(contents, track_ids=None)
