"""From columns of numbers to `Annotations`: what every reader ends with, and how several become one."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from pagoda.data.table.annotations import Annotations, cut_to_picture
from pagoda.data.table.keypoints import PackedKeypoints, outside
from pagoda.data.table.masks import NO_PIXELS, PackedMasks
from pagoda.data.table.strings import PackedStrings
from pagoda.messages import counted
from pagoda.ops.boxes import xyxy_to_xywh
from pagoda.ops.rle import encode_masks
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton

NO_SIZE = (0, 0)
NO_BOX = (float("nan"),) * 4
NO_LABEL = -1
"""What stands in the columns where a file has nothing usable; reading such a file stops in the end."""


@dataclass
class ImageColumns:
    """Name, id and size of each image of a data set."""

    files: list[str] = field(default_factory=list)
    """names, relative to the root, with forward slashes"""
    ids: Sequence[int | str] = field(default_factory=list)
    """unique; all whole numbers, or all text"""
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """(height, width); `NO_SIZE` where nobody knows it"""


@dataclass
class ObjectColumns:
    """Box, class and the like of each object, in any order; arrays will do in place of the lists."""

    owners: list[int] = field(default_factory=list)
    """The position of the image in `ImageColumns`"""
    boxes_xywh: list[tuple[float, float, float, float]] = field(default_factory=list)
    """x, y, width, height in pixels; `NO_BOX` where there is none"""
    labels: list[int] = field(default_factory=list)
    """from 0; `NO_LABEL` where the class is unknown"""
    ignored: list[bool] = field(default_factory=list)
    """crowd regions and difficult objects"""
    areas: list[float] | None = None
    """None, or NaN for one object: the area of the box"""
    ids: Sequence[int] | None = None
    """None: numbered from 1"""
    numbers: Sequence[object] = ()
    """what the file calls each object (its id, its line, its place in the list), for messages"""
    masks: PackedMasks | None = None
    """of all objects in this order; None where no object has one"""
    keypoints: PackedKeypoints | None = None
    """of all objects in this order; None where no object has some"""

    def add(self, owner: int, box_xywh: tuple[float, float, float, float], label: int, ignored: bool) -> None:
        """One more object, without mask or keypoints."""
        self.owners.append(owner)
        self.boxes_xywh.append(box_xywh)
        self.labels.append(label)
        self.ignored.append(ignored)


def assemble(
    images: ImageColumns,
    objects: ObjectColumns,
    *,
    label_map: LabelMap,
    root: Path,
    source: str,
    notes: Sequence[str] = (),
) -> Annotations:
    """The table of a data set: objects sorted by image, their boxes checked, everything packed.

    Boxes that are not finite numbers are left out. Those without area in their picture are kept as annotated,
    but `Annotations.targets` will not show them. Each of both kinds gets a line in the notes, and so does every
    object with labelled keypoints off its picture.

    >>> images = ImageColumns(["a.png", "b.png"], [1, 2], [(10, 10), (10, 10)])
    >>> objects = ObjectColumns()
    >>> objects.add(1, (2, 2, 4, 4), 0, False)
    >>> objects.add(0, (8, 8, 9, 0), 0, False)
    >>> labels = LabelMap.from_names(["cat"])
    >>> table = assemble(images, objects, label_map=labels, root=Path(), source="here")
    >>> table.offsets.tolist(), table.areas.tolist(), len(table.targets(0))
    ([0, 1, 2], [0.0, 16.0], 0)
    >>> table.notes[0]
    'a.png: box 1 (annotation 1), x, y, width, height = 8, 8, 9, 0, has no area; it is not learnt'
    """
    owners = np.asarray(objects.owners, np.int64)
    order = np.argsort(owners, kind="stable")
    boxes_xywh = np.asarray(objects.boxes_xywh, np.float64).reshape(-1, 4)[order]
    ids = np.arange(1, len(order) + 1) if objects.ids is None else np.asarray(objects.ids, np.int64)[order]
    with np.errstate(over="ignore", invalid="ignore"):  # boxes that are no numbers are left out below
        areas = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    if objects.areas is not None:
        given = np.asarray(objects.areas, np.float64)[order]
        areas = np.where(np.isfinite(given), given, areas)
    sizes = np.asarray(images.sizes, np.int32).reshape(-1, 2)
    box_notes = _box_notes(images.files, sizes, owners[order], boxes_xywh, ids)
    kept = np.isfinite(boxes_xywh).all(1)
    order = order[kept]
    masks = None if objects.masks is None else objects.masks.take(order)
    keypoints = None if objects.keypoints is None else objects.keypoints.take(order)
    if keypoints is not None:
        box_notes += _keypoint_notes(images.files, sizes, owners[order], keypoints, ids[kept], label_map)
    return Annotations(
        files=PackedStrings.pack(images.files),
        image_ids=_pack_ids(images.ids),
        sizes=sizes,
        offsets=_running_sum(np.bincount(owners[order], minlength=len(images.files))),
        boxes_xywh=boxes_xywh[kept],
        labels=np.asarray(objects.labels, np.int32)[order],
        ignored=np.asarray(objects.ignored, bool)[order],
        areas=areas[kept],
        annotation_ids=ids[kept],
        label_map=label_map,
        root=Path(root),
        source=source,
        notes=(*notes, *box_notes),
        masks=masks,
        keypoints=keypoints,
    )


def tabulate(pictures: Iterable[Targets], *, label_map: LabelMap, root: Path, source: str) -> Annotations:
    """The targets of one picture after the other as one table; each needs its `file` and `image_id`.

    Objects are numbered from 1, masks become run lengths. Where the pictures have keypoints and the label map
    does not name them, they are called point_0, point_1, … Raises ValueError where one lacks either,
    and for a box that is not finite.

    >>> box, label, ignored = torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([0]), torch.tensor([False])
    >>> targets = Targets(box, label, (10, 10), ignored)
    >>> targets = replace(targets, file="a.png", image_id=7)
    >>> table = tabulate([targets], label_map=LabelMap.from_names(["cat"]), root=Path(), source="here")
    >>> table.boxes_xywh.tolist(), table.areas.tolist(), table.image_id(0)
    ([[1.0, 2.0, 3.0, 6.0]], [18.0], 7)
    """
    images, objects = ImageColumns(), ObjectColumns()
    ids: list[int | str] = []
    areas: list[float] = []
    texts: list[str] = []
    points: list[list[float] | None] = []
    num_keypoints, has_masks = 0, False
    for index, targets in enumerate(pictures):
        if targets.file is None or targets.image_id is None:
            raise ValueError(f"picture {index} needs a file name and an image id to stand in a table")
        broken = (~targets.boxes.isfinite().all(1)).nonzero().flatten().tolist()
        if broken:
            told = targets.boxes[broken[0]].tolist()
            raise ValueError(f"{targets.file}: box {broken[0]} must be made of finite numbers, got {told}")
        images.files.append(targets.file)
        images.sizes.append(targets.image_size)
        ids.append(targets.image_id)
        count = len(targets)
        objects.owners += [index] * count
        objects.boxes_xywh += map(tuple, xyxy_to_xywh(targets.boxes.double()).tolist())
        objects.labels += targets.labels.tolist()
        objects.ignored += targets.ignored.tolist()
        areas += [float("nan")] * count if targets.areas is None else targets.areas.tolist()
        texts += [NO_PIXELS] * count if targets.masks is None else encode_masks(targets.masks.numpy())
        points += [None] * count if targets.keypoints is None else _triples(targets)
        has_masks |= targets.masks is not None
        num_keypoints = num_keypoints if targets.keypoints is None else targets.keypoints.shape[1]
    images.ids, objects.areas = ids, areas
    if has_masks:
        objects.masks = PackedMasks.pack([[]] * len(texts), texts)
    if num_keypoints:
        objects.keypoints = PackedKeypoints.pack(points, num_keypoints)
        if label_map.skeleton is None:
            names = tuple(f"point_{number}" for number in range(num_keypoints))
            label_map = replace(label_map, skeleton=Skeleton(names))
    return assemble(images, objects, label_map=label_map, root=root, source=source)


def _triples(targets: Targets) -> list[list[float] | None]:
    """x, y, visibility, x, y, … of each object; None where nobody says what is visible."""
    if targets.keypoints is None or targets.visibility is None:
        return [None] * len(targets)
    return torch.cat([targets.keypoints, targets.visibility[..., None]], 2).flatten(1).tolist()


def concatenate(parts: Sequence[Annotations]) -> Annotations:
    """All images of several data sets with the same classes; ids that meet twice are replaced and noted.

    Raises ValueError for no parts, and for parts of different classes or keypoints.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> both = concatenate([DrawnShapes(2, (32, 48), seed=seed).annotations for seed in (0, 1)])
    >>> len(both), both.image_ids.tolist()
    (4, [1, 2, 3, 4])
    >>> both.notes[0].rpartition(": ")[2]
    'the images are numbered 1 … 4'
    """
    if not parts:
        raise ValueError("expected at least one set of annotations, got none")
    for part in parts[1:]:
        _check_same_classes(parts[0], part)
    source = " + ".join(part.source for part in parts)
    root, files = _common_root(parts)
    image_ids, annotation_ids, id_notes = _joint_ids(parts, source)
    repeated = len(files) - len(set(files))
    if repeated:
        id_notes.append(
            f"{counted(repeated, 'picture stands', 'pictures stand')} in more than one of {source}"
        )
    columns = ("sizes", "boxes_xywh", "labels", "ignored", "areas")
    return Annotations(
        files=PackedStrings.pack(files),
        image_ids=_pack_ids(image_ids),
        offsets=_running_sum(np.concatenate([np.diff(part.offsets) for part in parts])),
        annotation_ids=annotation_ids,
        label_map=parts[0].label_map,
        root=root,
        source=source,
        notes=(*(note for part in parts for note in part.notes), *id_notes),
        masks=_joint_masks(parts),
        keypoints=_joint_keypoints(parts),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
    )


def _joint_masks(parts: Sequence[Annotations]) -> PackedMasks | None:
    if all(part.masks is None for part in parts):
        return None
    return PackedMasks.concatenate([part.masks or PackedMasks.none(len(part.labels)) for part in parts])


def _joint_keypoints(parts: Sequence[Annotations]) -> PackedKeypoints | None:
    count = next((part.keypoints.num_keypoints for part in parts if part.keypoints is not None), None)
    if count is None:
        return None
    columns = [part.keypoints or PackedKeypoints.none(len(part.labels), count) for part in parts]
    return PackedKeypoints.concatenate(columns)


def _common_root(parts: Sequence[Annotations]) -> tuple[Path, list[str]]:
    """The folder above all roots, and the files relative to it."""
    roots = [part.root.absolute() for part in parts]
    common = Path(os.path.commonpath(roots))
    prefixes = [folder.relative_to(common) for folder in roots]
    return common, [
        file if os.path.isabs(file) or prefix == Path() else f"{prefix.as_posix()}/{file}"
        for part, prefix in zip(parts, prefixes, strict=True)
        for file in part.files
    ]


def _joint_ids(parts: Sequence[Annotations], source: str) -> tuple[list, np.ndarray, list[str]]:
    """Image ids, annotation ids and what had to change."""
    notes = []
    image_ids = [image_id for part in parts for image_id in part.image_ids.tolist()]
    if len(set(image_ids)) < len(image_ids) or len({type(value) for value in image_ids}) > 1:
        notes.append(f"image ids of {source} meet twice: the images are numbered 1 … {len(image_ids)}")
        image_ids = list(range(1, len(image_ids) + 1))
    annotation_ids = np.concatenate([part.annotation_ids for part in parts])
    if len(np.unique(annotation_ids)) < len(annotation_ids):
        count = len(annotation_ids)
        notes.append(f"annotation ids of {source} meet twice: the objects are numbered 1 … {count}")
        annotation_ids = np.arange(1, count + 1)
    return image_ids, annotation_ids, notes


def _check_same_classes(first: Annotations, other: Annotations) -> None:
    if first.label_map == other.label_map:
        return
    maps = first.label_map, other.label_map
    a, b = (set(zip(labels.names, labels.category_ids, strict=True)) for labels in maps)
    differences = [
        f"'{name}' (category id {category_id}) stands only in {source}"
        for pairs, source in ((a - b, first.source), (b - a, other.source))
        for name, category_id in sorted(pairs)
    ]
    if maps[0].skeleton != maps[1].skeleton:
        differences.append(f"the keypoints of {first.source} and {other.source} are not the same")
    raise ValueError(
        "annotations that are put together need the same classes in the same order: "
        + ("; ".join(differences) or " against ".join(", ".join(labels.names) for labels in maps))
    )


def _box_notes(
    files: list[str], sizes: np.ndarray, owners: np.ndarray, boxes_xywh: np.ndarray, ids: np.ndarray
) -> list[str]:
    """A line for every box that cannot be learnt; the rows are sorted by image."""
    is_finite = np.isfinite(boxes_xywh).all(1)
    _, has_area = cut_to_picture(np.where(is_finite[:, None], boxes_xywh, 0), sizes[owners])
    notes = []
    for row in np.flatnonzero(~has_area).tolist():
        box = ", ".join(f"{value:g}" for value in boxes_xywh[row])
        size = tuple(sizes[owners[row]].tolist())
        if not is_finite[row]:
            reason = "is not made of finite numbers; it is left out"
        elif (boxes_xywh[row, 2:] <= 0).any():
            reason = "has no area; it is not learnt"
        else:
            reason = f"has no area inside the picture of (height, width) {size}; it is not learnt"
        number = row - int(np.searchsorted(owners, owners[row])) + 1
        where = f"{files[owners[row]]}: box {number} (annotation {ids[row]})"
        notes.append(f"{where}, x, y, width, height = {box}, {reason}")
    return notes


def _keypoint_notes(
    files: list[str],
    sizes: np.ndarray,
    owners: np.ndarray,
    keypoints: PackedKeypoints,
    ids: np.ndarray,
    label_map: LabelMap,
) -> list[str]:
    """A line for every object with labelled keypoints off its picture; the rows are sorted by image."""
    known = np.flatnonzero(keypoints.rows >= 0)
    away = outside(keypoints.triples[keypoints.rows[known]], sizes[owners[known]])
    names = label_map.skeleton.names if label_map.skeleton else range(keypoints.num_keypoints)
    notes = []
    for row, which in zip(known.tolist(), away, strict=True):
        if which.any():
            listed = ", ".join(str(names[k]) for k in np.flatnonzero(which).tolist())
            size = tuple(sizes[owners[row]].tolist())
            notes.append(
                f"{files[owners[row]]}: annotation {ids[row]}: keypoints outside the picture of (height, width)"
                f" {size}: {listed}; learnt as not labelled"
            )
    return notes


def _pack_ids(ids: Sequence[int | str]) -> np.ndarray | PackedStrings:
    if len(ids) and isinstance(ids[0], str):
        return PackedStrings.pack([str(value) for value in ids])
    if any(not -(2**63) <= value < 2**63 for value in ids):
        return np.array([*ids, None], object)[:-1]  # whole numbers of any length, each an object
    return np.asarray(ids, np.int64)


def _running_sum(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
