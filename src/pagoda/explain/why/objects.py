"""What is annotated in each picture of a data set, in the classes of a model. N objects of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.data.tiled_dataset import TiledDataset
from pagoda.evaluation.coco.scoring import size_name
from pagoda.evaluation.runner import in_classes_of
from pagoda.explain.why.misses import Reason
from pagoda.explain.why.records import Miss, SeenPicture, plain_boxes
from pagoda.messages import did_you_mean
from pagoda.ops.boxes import xywh_to_xyxy
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import AnyTargets


@dataclass(frozen=True)
class Annotated:
    """What is annotated in one picture."""

    index: int
    """of the picture in its data set"""
    image_id: int | str
    """of the picture"""
    image_size: tuple[int, int]
    """(height, width)"""
    boxes: Tensor
    """(N, 4) float64 xyxy, as annotated"""
    labels: Tensor
    """(N,) in the model's classes"""
    ignored: Tensor
    """(N,) bool"""

    @property
    def counted(self) -> list[int]:
        """Rows of objects that can be missed."""
        return (~self.ignored).nonzero().flatten().tolist()


class AnnotatedObjects:
    """Hands them out picture by picture, and says what is known of a miss from the annotations alone."""

    def __init__(self, dataset: AnnotatedDataset[AnyTargets], model_labels: LabelMap) -> None:
        self.table, self.label_map, self.model_labels = dataset.annotations, dataset.label_map, model_labels
        known = {name: label for label, name in enumerate(model_labels.names)}
        self._in_model = torch.tensor([known.get(name, -1) for name in dataset.label_map.names])
        self.known = torch.tensor([name in dataset.label_map.names for name in model_labels.names])
        """(classes of the model,) bool: those that the data have, too"""
        self.index_of = {image_id: index for index, image_id in enumerate(self.table.image_ids.tolist())}

    def of(self, index: int) -> Annotated:
        """Of the picture at `index`."""
        rows = slice(self.table.offsets[index], self.table.offsets[index + 1])
        height, width = self.table.sizes[index].tolist()
        return Annotated(
            index,
            self.table.image_id(index),
            (height, width),
            xywh_to_xyxy(torch.from_numpy(self.table.boxes_xywh[rows].astype(np.float64))),
            self._in_model[torch.from_numpy(self.table.labels[rows].astype(np.int64))],
            torch.from_numpy(self.table.ignored[rows].astype(bool)),
        )

    def in_data_classes(self, found: Detections, image_id: int | str) -> tuple[Detections, list[int]]:
        """(detections of the classes that the data have, their rows among all)."""
        rows = self.known[found.labels].nonzero().flatten().tolist()
        return replace(in_classes_of(found, self.model_labels, self.label_map), image_id=image_id), rows

    def picture(
        self, index: int, found: Detections | None = None, found_by: dict[int, int] | None = None
    ) -> SeenPicture:
        """The record of a picture; None: one that could not be read."""
        own = self.of(index)
        names = [self.label_map.names[label] for label in self._labels(index)]
        return SeenPicture(
            image_id=own.image_id,
            file=str(self.table.files[index]),
            image_size=own.image_size
            if found is None
            else (int(found.image_size[0]), int(found.image_size[1])),
            object_boxes=plain_boxes(own.boxes),
            object_labels=names,
            found_by=[(found_by or {}).get(row) for row in range(len(names))],
            ignored=own.ignored.tolist(),
            boxes=[] if found is None else plain_boxes(xywh_to_xyxy(found.boxes_xywh)),
            scores=[] if found is None else [round(score, 4) for score in found.scores.tolist()],
            labels=[] if found is None else found.names,
        )

    def miss(self, index: int, row: int, reason: Reason) -> Miss:
        """The record of a miss."""
        place = int(self.table.offsets[index]) + row
        return Miss(
            image_id=self.table.image_id(index),
            object=row,
            label=self.label_map.names[self._labels(index)[row]],
            size=size_name(float(self.table.areas[place])),
            reason=reason.reason,
            words=reason.words,
            remedy=reason.remedy,
            evidence=reason.evidence,
            detection=reason.detection,
        )

    def _labels(self, index: int) -> list[int]:
        return self.table.labels[self.table.offsets[index] : self.table.offsets[index + 1]].tolist()


def chosen_pictures(dataset: AnnotatedDataset[AnyTargets], names: Sequence[str]) -> list[int]:
    """Indices of the pictures that are named, as the table has them or by the end of their path; none: all.

    Of pictures in tiles those of all tiles of them. Raises ValueError for a name of no picture, or of several.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> chosen_pictures(DrawnShapes(3), ["000002.png"])
    [1]
    """
    if not names:
        return list(range(len(dataset)))
    if isinstance(dataset, TiledDataset):
        named = _named(dataset.tiles.pictures, names)
        return np.flatnonzero(np.isin(dataset.tiles.owners, list(named))).tolist()
    return sorted(_named(dataset.annotations, names))


def _named(table: Annotations, names: Sequence[str]) -> set[int]:
    files = [str(file) for file in table.files]
    chosen = set()
    for name in names:
        parts = Path(name).parts
        found = [index for index, file in enumerate(files) if file == name] or [
            index for index, file in enumerate(files) if parts and Path(file).parts[-len(parts) :] == parts
        ]
        if len(found) != 1:
            near = did_you_mean(name, files) if not found else f": {', '.join(files[i] for i in found[:5])}"
            raise ValueError(
                f"'{name}' must name one picture of {table.source}, and names {len(found)}{near}"
            )
        chosen.add(found[0])
    return chosen
