"""What is there (`Targets`) and what a model says (`Detections`). N objects, K keypoints."""

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from pagoda.structures.labels import LabelMap

if TYPE_CHECKING:
    import pandas
    import supervision


class _PerObject:
    """Indexing shared by both: every tensor field has one row per object."""

    boxes: Tensor
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"boxes must be (n, 4) xyxy pixels, got {tuple(self.boxes.shape)}")
        for name, value in self._rows().items():
            if len(value) != len(self.boxes):
                raise ValueError(f"{name} must have {len(self.boxes)} rows like boxes, got {len(value)}")

    def _rows(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor | slice | list[int]) -> Self:
        """The objects at `index`: a boolean mask, indices or a slice."""
        if isinstance(index, int):
            raise TypeError("index with a slice, mask or list of indices; one object is [i:i+1]")
        return replace(self, **{name: value[index] for name, value in self._rows().items()})  # type: ignore[type-var]

    def to(self, device: torch.device | str) -> Self:
        moved = {name: value.to(device, non_blocking=True) for name, value in self._rows().items()}
        return replace(self, **moved)  # type: ignore[type-var]

    def _check_same_frame(self, other_size: tuple[int, int]) -> None:
        if tuple(other_size) != tuple(self.image_size):
            raise ValueError(
                f"boxes belong to an image of (height, width) {self.image_size}, got {tuple(other_size)};"
                " restore them to the picture's size first"
            )


@dataclass(frozen=True, eq=False)
class Targets(_PerObject):
    """The annotated objects of one picture, in pixels of `image_size`."""

    boxes: Tensor
    """(N, 4) xyxy"""
    labels: Tensor
    """(N,) 0 … num_classes-1"""
    image_size: tuple[int, int]
    """(height, width)"""
    ignored: Tensor
    """(N,) bool: crowd regions and difficult objects; never trained on, never counted as missed"""
    areas: Tensor | None = None
    """(N,) pixels² of the object itself where known (its mask), else None: the box's area"""
    masks: Tensor | None = None
    """(N, H, W) bool"""
    keypoints: Tensor | None = None
    """(N, K, 2) xy"""
    visibility: Tensor | None = None
    """(N, K): 0 not labelled, 1 labelled but hidden, 2 visible"""
    image_id: int | str | None = None
    file: str | None = None

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> "Targets":
        return cls(
            torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), image_size, torch.zeros(0, dtype=torch.bool)
        )

    def learnable(self) -> "Targets":
        """Without the ignored objects."""
        return self[~self.ignored]


@dataclass(frozen=True, eq=False)
class Detections(_PerObject):
    """The objects a model reports for one picture, best first, in pixels of `image_size`."""

    boxes: Tensor
    """(N, 4) xyxy"""
    scores: Tensor
    """(N,) 0 … 1"""
    labels: Tensor
    """(N,) 0 … num_classes-1"""
    image_size: tuple[int, int]
    """(height, width)"""
    label_map: LabelMap
    masks: Tensor | None = None
    keypoints: Tensor | None = None
    keypoint_scores: Tensor | None = None
    track_ids: Tensor | None = None
    image_id: int | str | None = None
    file: str | None = None
    picture: np.ndarray | None = field(default=None, repr=False)
    """(H, W, 3) RGB uint8, where the one who asked for the detections kept it"""

    @property
    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.label_map.names[label] for label in self.labels.tolist()]

    def above(self, min_score: float) -> "Detections":
        return self[self.scores >= min_score]

    def __repr__(self) -> str:
        best = ", ".join(
            f"{n} {s:.2f}" for n, s in zip(self.names[:3], self.scores[:3].tolist(), strict=True)
        )
        tail = ", …" if len(self) > 3 else ""
        return f"Detections({len(self)} in {self.image_size[0]}×{self.image_size[1]}: {best}{tail})"

    def plot(self, picture: np.ndarray | None = None, *, min_score: float = 0.0) -> np.ndarray:
        """A copy of the picture, (H, W, 3) RGB uint8, with boxes, names and scores drawn on it."""
        from pagoda.visualization.draw import draw_detections

        picture = self.picture if picture is None else picture
        if picture is None:
            raise ValueError("these detections carry no picture; call plot(picture) with (H, W, 3) RGB uint8")
        self._check_same_frame(picture.shape[:2])
        return draw_detections(picture, self.above(min_score))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for JSON."""
        objects = [
            {"name": name, "label": label, "score": score, "box_xyxy": box}
            for name, label, score, box in zip(
                self.names, self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True
            )
        ]
        if self.track_ids is not None:
            for entry, track_id in zip(objects, self.track_ids.tolist(), strict=True):
                entry["track_id"] = track_id
        return {
            "file": self.file,
            "image_id": self.image_id,
            "image_size": list(self.image_size),
            "objects": objects,
        }

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """COCO results: original category ids, boxes xywh, full precision."""
        image_id = self.image_id if image_id is None else image_id
        if image_id is None:
            raise ValueError("COCO results need the image_id of the ground truth; pass to_coco(image_id)")
        x1, y1, x2, y2 = self.boxes.double().cpu().unbind(1)
        boxes_xywh = torch.stack([x1, y1, x2 - x1, y2 - y1], 1).tolist()
        ids = self.label_map.category_ids
        return [
            {"image_id": image_id, "category_id": ids[label], "bbox": box, "score": score}
            for label, box, score in zip(self.labels.tolist(), boxes_xywh, self.scores.tolist(), strict=True)
        ]

    def to_supervision(self) -> "supervision.Detections":
        """The same as `supervision.Detections`, class names under data["class_name"]."""
        import supervision

        return supervision.Detections(
            xyxy=self.boxes.detach().cpu().numpy().astype(np.float32),
            confidence=self.scores.detach().cpu().numpy(),
            class_id=self.labels.cpu().numpy().astype(int),
            tracker_id=None if self.track_ids is None else self.track_ids.cpu().numpy().astype(int),
            mask=None if self.masks is None else self.masks.cpu().numpy().astype(bool),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per object: file, name, score, x1, y1, x2, y2."""
        import pandas

        table = pandas.DataFrame(self.boxes.detach().cpu().numpy(), columns=["x1", "y1", "x2", "y2"])
        table.insert(0, "score", self.scores.detach().cpu().numpy())
        table.insert(0, "name", self.names)
        table.insert(0, "file", self.file)
        return table
