"""Dataclasses that hold one row per object in each of their tensors."""

from dataclasses import fields, replace
from typing import Self

import torch
from torch import Tensor


class Rows:
    """Dataclasses of one row per object in each tensor, which are indexed and moved together. N objects.

    >>> from pagoda.structures.instances import Targets
    >>> targets = Targets(torch.zeros(3, 4), torch.tensor([3, 5, 7]), (9, 9), torch.zeros(3, dtype=torch.bool))
    >>> targets[targets.labels > 3].labels, len(targets[:1])
    (tensor([5, 7]), 1)
    """

    boxes: Tensor

    def _rows(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def _check_rows(self) -> None:
        for name, value in self._rows().items():
            if len(value) != len(self.boxes):
                raise ValueError(f"{name} must have {len(self.boxes)} rows like boxes, got {len(value)}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor | slice | list[int]) -> Self:
        """The objects at `index`: a boolean mask, indices or a slice."""
        if isinstance(index, int):
            raise TypeError("index with a slice, mask or list of indices; one object is [i:i+1]")
        return replace(self, **{name: value[index] for name, value in self._rows().items()})  # type: ignore[type-var]

    def to(self, device: torch.device | str) -> Self:
        """The same objects, all tensors on `device`."""
        moved = {name: value.to(device, non_blocking=True) for name, value in self._rows().items()}
        return replace(self, **moved)  # type: ignore[type-var]


class TubeRows(Rows):
    """Rows with one box in each of T frames. N objects, K keypoints."""

    def _check_tubes(self, num_frames: int, key: int) -> None:
        """Raises ValueError unless all tensors speak of the same objects, frames and keypoints."""
        if self.boxes.ndim != 3 or self.boxes.shape[2] != 4:
            raise ValueError(f"boxes must be (n, t, 4) xyxy pixels, got {tuple(self.boxes.shape)}")
        self._check_rows()
        if self.boxes.shape[1] != num_frames or not 0 <= key < num_frames:
            raise ValueError(
                f"tubes need one box per frame and a key frame among them, got {self.boxes.shape[1]} boxes each for"
                f" {num_frames} frames, key {key}"
            )
        keypoints = getattr(self, "keypoints", None)
        if keypoints is not None and (
            keypoints.shape[:2] != self.boxes.shape[:2] or keypoints.shape[3:] != (2,)
        ):
            raise ValueError(f"keypoints must be (n, t, k, 2) xy pixels, got {tuple(keypoints.shape)}")
        points = None if keypoints is None else keypoints.shape[:3]
        wanted = {"visible": self.boxes.shape[:2], "visibility": points, "keypoint_scores": points}
        for name, shape in wanted.items():
            values = getattr(self, name, None)
            if values is not None and values.shape != shape:
                told = (
                    "no keypoints" if shape is None else f"{tuple(shape)} as the boxes or keypoints have it"
                )
                raise ValueError(f"{name} is {tuple(values.shape)}, but there are {told}")
        for name in ("scores", "labels"):
            values = getattr(self, name, None)
            if values is not None and values.ndim != 1:
                raise ValueError(f"{name} must be (n,), one of each object, got {tuple(values.shape)}")
