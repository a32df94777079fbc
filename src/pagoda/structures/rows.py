"""Dataclasses that hold one row per object in each of their tensors."""

from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor


class Rows:
    """Indexing and moving of all tensors together. N objects."""

    boxes: Tensor

    def _rows(self) -> dict[str, Any]:
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
        moved = {name: value.to(device, non_blocking=True) for name, value in self._rows().items()}
        return replace(self, **moved)  # type: ignore[type-var]
