"""The annotated objects of a whole data set in flat arrays. N images, M objects over all images.

No Python object per box: worker processes that only read arrays share them with their parent, while
counting references in a list of dicts would copy it page by page into every worker.

The arrays hold what the files say; `targets(i)` hands out what can be learnt: boxes cut to the picture,
without those that then have no area, keypoints off the picture as not labelled. What differs between the two
is listed in `notes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pagoda.data.table.keypoints import PackedKeypoints, outside
from pagoda.data.table.masks import PackedMasks
from pagoda.data.table.strings import PackedStrings, gather_runs
from pagoda.messages import counted
from pagoda.ops.boxes import xywh_to_xyxy
from pagoda.plain import JsonObject
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap

OBJECT_COLUMNS = ("boxes_xywh", "labels", "ignored", "areas", "annotation_ids")
"""of `Annotations`, one entry per object, besides masks and keypoints"""


@dataclass(frozen=True, eq=False)
class Annotations:
    """Pictures, their objects and the classes; build one with `assembly.assemble` or a reader.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> table = DrawnShapes(3, (32, 48), seed=2).annotations
    >>> len(table), table.image_id(0), table.files[0], len(table.subset([2, 0]))
    (3, 1, '000001.png', 2)
    >>> table.to_coco()["images"][0]
    {'id': 1, 'file_name': '000001.png', 'height': 32, 'width': 48}
    """

    files: PackedStrings
    """N names, relative to `root`"""
    image_ids: np.ndarray | PackedStrings
    """(N,) int64, or objects where 64 bits are not enough, or strings where the files have strings"""
    sizes: np.ndarray
    """(N, 2) int32: (height, width) as annotated"""
    offsets: np.ndarray
    """(N + 1,) int64: the objects of image i are rows offsets[i] … offsets[i + 1]"""
    boxes_xywh: np.ndarray
    """(M, 4) float64, as annotated: kept in this form because x + w - x is not always w"""
    labels: np.ndarray
    """(M,) int32"""
    ignored: np.ndarray
    """(M,) bool: crowd regions and difficult objects"""
    areas: np.ndarray
    """(M,) float64"""
    annotation_ids: np.ndarray
    """(M,) int64, unique"""
    label_map: LabelMap
    """the classes that `labels` count; its skeleton names the keypoints"""
    root: Path
    """The folder of the pictures"""
    source: str
    """What was read, for messages"""
    notes: tuple[str, ...] = ()
    """What was skipped, repaired or cannot be learnt, one line each, with file, image and box"""
    masks: PackedMasks | None = None
    """of the M objects; None where no object has one"""
    keypoints: PackedKeypoints | None = None
    """of the M objects, named by `label_map.skeleton`; None where there are none"""

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        return (
            f"Annotations({counted(len(self), 'image')}, {counted(len(self.labels), 'object')},"
            f" {counted(len(self.label_map), 'class', 'classes')}"
            f" from {self.source}; {len(self.notes)} notes)"
        )

    @property
    def boxes(self) -> np.ndarray:
        """(M, 4) float64 xyxy, as annotated. Computed anew each time: in a loop use `targets(i)`."""
        return xywh_to_xyxy(self.boxes_xywh)

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        images = (self.files, self.image_ids, self.sizes, self.offsets)
        objects = (self.boxes_xywh, self.labels, self.ignored, self.areas, self.annotation_ids)
        shapes = (column for column in (self.masks, self.keypoints) if column is not None)
        return sum(int(column.nbytes) for column in (*images, *objects, *shapes))

    def boxes_only(self) -> "Annotations":
        """The same without masks and keypoints, for models that learn boxes alone."""
        if self.masks is None and self.keypoints is None:
            return self
        return replace(self, masks=None, keypoints=None)

    def path(self, index: int) -> Path:
        return self.root / self.files[index]

    def image_id(self, index: int) -> int | str:
        value = self.image_ids[index]
        return value if isinstance(value, str) else int(value)

    def targets(self, index: int) -> Targets:
        """The objects that can be learnt from one picture: cut to its annotated size, with area inside it.

        Raises IndexError where there is no such image.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in {self.source}")
        index = int(index) % len(self)
        rows = slice(self.offsets[index], self.offsets[index + 1])
        height, width = self.sizes[index].tolist()
        boxes, has_area = cut_to_picture(self.boxes_xywh[rows], np.array([[height, width]]))
        shapes = self._shapes(rows.start + np.flatnonzero(has_area), (height, width))
        return Targets(
            boxes=torch.from_numpy(boxes[has_area]),
            labels=torch.from_numpy(self.labels[rows][has_area].astype(np.int64)),
            image_size=(height, width),
            ignored=torch.from_numpy(self.ignored[rows][has_area]),
            areas=torch.from_numpy(self.areas[rows][has_area].astype(np.float32)),
            image_id=self.image_id(index),
            file=self.files[index],
            **shapes,
        )

    def _shapes(self, objects: np.ndarray, size: tuple[int, int]) -> dict[str, torch.Tensor]:
        """Masks, keypoints and visibility of some objects of one picture, as far as there are any."""
        shapes = {}
        if self.masks is not None:
            shapes["masks"] = torch.from_numpy(self.masks.decode(objects, size))
        if self.keypoints is not None:
            triples = self.keypoints.dense(objects)
            triples[outside(triples, np.array([size]))] = 0
            shapes["keypoints"] = torch.from_numpy(triples[..., :2].astype(np.float32))
            shapes["visibility"] = torch.from_numpy(triples[..., 2].astype(np.int64))
        return shapes

    def counts(self) -> dict[str, int]:
        """Annotated objects per class name, crowd and difficult ones included."""
        numbers = np.bincount(self.labels, minlength=len(self.label_map)).tolist()
        return dict(zip(self.label_map.names, numbers, strict=True))

    @property
    def owners(self) -> np.ndarray:
        """(M,) int64: the position of each object's image."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Annotations":
        """Only the images at `indices` (integers, or one bool per image), in that order."""
        images = _as_indices(indices, len(self))
        rows, offsets = gather_runs(self.offsets, images)
        ids = self.image_ids
        return replace(
            self,
            files=self.files.take(images),
            image_ids=ids.take(images) if isinstance(ids, PackedStrings) else ids[images],
            sizes=self.sizes[images],
            offsets=offsets,
            masks=None if self.masks is None else self.masks.take(rows),
            keypoints=None if self.keypoints is None else self.keypoints.take(rows),
            **{name: getattr(self, name)[rows] for name in OBJECT_COLUMNS},
        )

    def with_objects(self, keep: np.ndarray) -> "Annotations":
        """All images, but only the objects where `keep`, (M,) bool, is set."""
        rows = np.flatnonzero(keep)
        counts = np.bincount(self.owners[rows], minlength=len(self))
        return replace(
            self,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            masks=None if self.masks is None else self.masks.take(rows),
            keypoints=None if self.keypoints is None else self.keypoints.take(rows),
            **{name: getattr(self, name)[rows] for name in OBJECT_COLUMNS},
        )

    def to_coco(self) -> dict:
        """COCO ground truth: boxes, masks and keypoints as annotated to the last bit, original ids, iscrowd = 1
        where ignored. The categories carry the skeleton, with sigmas and flip_pairs besides COCO's own keys."""
        ids = self.image_ids.tolist()
        images = [
            {"id": image_id, "file_name": file, "height": height, "width": width}
            for image_id, file, (height, width) in zip(ids, self.files, self.sizes.tolist(), strict=True)
        ]
        owners = self.owners
        columns = (owners, self.labels, self.boxes_xywh, self.areas, self.ignored, self.annotation_ids)
        category_ids = self.label_map.category_ids
        annotations = [
            {
                "id": annotation_id,
                "image_id": ids[owner],
                "category_id": category_ids[label],
                "bbox": box,
                "area": area,
                "iscrowd": int(is_ignored),
            }
            for owner, label, box, area, is_ignored, annotation_id in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]
        self._add_coco_shapes(annotations, owners)
        categories = _categories_to_coco(self.label_map)
        info = {"description": self.source}
        return {"info": info, "images": images, "categories": categories, "annotations": annotations}

    def _add_coco_shapes(self, entries: list[JsonObject], owners: np.ndarray) -> None:
        if self.masks is not None:
            sizes = [tuple(size) for size in self.sizes.tolist()]
            for row, (entry, owner) in enumerate(zip(entries, owners.tolist(), strict=True)):
                segmentation = self.masks.to_coco(row, sizes[owner])
                if segmentation is not None:
                    entry["segmentation"] = segmentation
        if self.keypoints is not None:
            for row in np.flatnonzero(self.keypoints.rows >= 0).tolist():
                triples = self.keypoints.triples[self.keypoints.rows[row]]
                entries[row]["keypoints"] = triples.flatten().tolist()
                entries[row]["num_keypoints"] = int((triples[:, 2] > 0).sum())


def _categories_to_coco(label_map: LabelMap) -> list[JsonObject]:
    """The categories of a COCO document; its edges count keypoints from 1."""
    skeleton: JsonObject = {}
    if label_map.skeleton is not None:
        plain = label_map.skeleton.to_dict()
        skeleton = {
            "keypoints": plain["names"],
            "skeleton": [[a + 1, b + 1] for a, b in plain["edges"]],
            "sigmas": plain["sigmas"],
            "flip_pairs": plain["flip_pairs"],
        }
    return [
        {"id": category_id, "name": name, **skeleton}
        for name, category_id in zip(label_map.names, label_map.category_ids, strict=True)
    ]


def cut_to_picture(boxes_xywh: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((M, 4) float32 xyxy inside the pictures of these sizes, (M,) bool: has area there).

    `sizes`: (height, width), one row for all boxes or one per box.

    >>> boxes_xywh = np.array([[-2.0, 1.0, 5.0, 4.0], [9.0, 0.0, 3.0, 3.0]])
    >>> boxes, has_area = cut_to_picture(boxes_xywh, np.array([[4, 8]]))
    >>> boxes.tolist(), has_area.tolist()
    ([[0.0, 1.0, 3.0, 4.0], [8.0, 0.0, 8.0, 3.0]], [True, False])
    """
    limits = sizes[:, [1, 0, 1, 0]]
    boxes = xywh_to_xyxy(boxes_xywh).clip(0, limits).astype(np.float32)
    return boxes, (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _as_indices(indices: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    chosen = np.asarray(indices)
    if chosen.dtype == bool:
        if chosen.shape != (count,):
            raise ValueError(f"a mask needs one bool per image ({count}), got {chosen.shape}")
        return np.flatnonzero(chosen)
    chosen = chosen.astype(np.int64).reshape(-1)
    if len(chosen) and (chosen.min() < -count or chosen.max() >= count):
        raise IndexError(f"indices must lie below the {count} images, got {chosen.min()} … {chosen.max()}")
    return chosen % count if len(chosen) else chosen
