"""Where a canonical tensor lives in our model: some are rows of a larger tensor, some have rows in another order."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pagoda.plain import checked

BoxOrder = Literal["xywh", "yxhw"]
CLASS_ROWS = re.compile(r"class_head\.predict\.\d+(\.3)?\.(weight|bias)")
"""of SSD: rows are default boxes, each with all its classes"""


@checked
@dataclass(frozen=True)
class Place:
    """`ours[rows][order]` is what the other program's tensor holds.

    >>> Place("scales", slice(1, 2)).read(torch.tensor([5.0, 6.0, 7.0]))
    tensor([6.])
    >>> Place("predict.bias", order=(1, 0)).read(torch.tensor([5.0, 6.0]))
    tensor([6., 5.])
    """

    name: str
    """of our tensor, in the model's state dict"""
    rows: slice | None = None
    """of our tensor; None: all"""
    order: tuple[int, ...] | None = None
    """for each row of the other tensor the one of ours; None: the same"""
    last_first: int | None = None
    """of every so many rows the last of ours is the first there: the background of a default box"""

    def read(self, ours: Tensor) -> Tensor:
        """The other program's tensor, out of ours (weights or gradients)."""
        part = ours if self.rows is None else ours[self.rows]
        if self.last_first is not None:
            return _rolled(part, self.last_first, 1)
        return part if self.order is None else part[list(self.order)]

    def write(self, ours: Tensor, theirs: Tensor) -> None:
        """Put their tensor into ours, in place."""
        part = ours if self.rows is None else ours[self.rows]
        if self.last_first is not None:
            part.copy_(_rolled(theirs, self.last_first, -1))
        elif self.order is None:
            part.copy_(theirs)
        else:
            part[list(self.order)] = theirs.to(part.dtype)


def _rolled(rows: Tensor, count: int, shift: int) -> Tensor:
    """
    >>> _rolled(torch.tensor([1, 2, 3, 4]), 2, 1)
    tensor([2, 1, 4, 3])
    """
    return rows.unflatten(0, (-1, count)).roll(shift, 1).flatten(0, 1)


@checked
@dataclass(frozen=True)
class Layout:
    """How a dense detector of ours joins its predictions.

    >>> Layout(2, "class").place("quality.bias")
    Place(name='class_head.predict.bias', rows=slice(2, 3, None), order=None, last_first=None)
    """

    num_classes: int
    """of foreground"""
    quality_on: Literal["class", "box"] | None
    """the head whose last row is the quality; None: there is none"""
    box_order: BoxOrder = "xywh"
    """of the other program's box deltas"""
    box_rows: int = 4
    """outputs of the box head: 4 for each anchor of a cell"""
    background: Literal["first", "last"] | None = None
    """where the other program's SSD has it among the classes; ours has it last. None: there is none"""

    def place(self, canonical: str) -> Place:
        """Where our model keeps a canonical tensor."""
        head, _, kind = canonical.rpartition(".")
        if self.background == "first" and CLASS_ROWS.fullmatch(canonical):
            return Place(canonical, last_first=self.num_classes + 1)
        if head == "quality" and self.quality_on is not None:
            rows = self.num_classes if self.quality_on == "class" else 4
            return Place(f"{self.quality_on}_head.predict.{kind}", slice(rows, rows + 1))
        if canonical.startswith("scales."):
            level = int(canonical.split(".")[1])
            return Place("scales", slice(level, level + 1))
        if head == "class_head.predict" and self.quality_on == "class":
            return Place(canonical, slice(0, self.num_classes))
        if head in ("box_head.predict", "box_head.predict.conv_pw"):
            rows = slice(0, 4) if self.quality_on == "box" else None
            return Place(canonical, rows, self._box_rows_order())
        return Place(canonical)

    def _box_rows_order(self) -> tuple[int, ...] | None:
        if self.box_order == "xywh":
            return None
        return tuple(4 * (row // 4) + (1, 0, 3, 2)[row % 4] for row in range(self.box_rows))

    def canonical_names(self, ours: str, rows: int) -> list[str]:
        """The canonical tensors of which our tensor of so many rows is made."""
        if ours == "scales":
            return [f"scales.{level}" for level in range(rows)]
        head, _, kind = ours.rpartition(".")
        if head == f"{self.quality_on}_head.predict":
            return [ours, f"quality.{kind}"]
        return [ours]


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """{name: shape} of {name: tensor}.

    >>> shapes_of({"conv.weight": torch.zeros(8, 3, 1, 1)})
    {'conv.weight': (8, 3, 1, 1)}
    """
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def fill(state: Mapping[str, Tensor], places: Mapping[str, Place], tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors` (by source name) into our `state` where `places` says. Shapes must have been checked.

    >>> ours = {"scales": torch.zeros(2)}
    >>> fill(ours, {"scales.1.scale": Place("scales", slice(1, 2))}, {"scales.1.scale": torch.tensor(3.0)})
    >>> ours["scales"]
    tensor([0., 3.])
    """
    with torch.no_grad():
        for source, place in places.items():
            place.write(state[place.name], tensors[source].reshape(place.read(state[place.name]).shape))
