"""What lies beside the weights in a checkpoint: plain values are kept, everything else is named."""

from typing import TypeGuard

import numpy as np
from torch import Tensor

from pagoda.plain import JsonObject
from pagoda.weights.torch_files import Foreign

MAX_DEPTH = 50
_KEYS = (str, int, float, bool, type(None))
_NOTHING, _OPEN = object(), object()


class Leftovers:
    """Sorts entries into `metadata`, plain values by name, and `dropped`, one line for what is not kept.

    >>> import torch
    >>> rest = Leftovers()
    >>> rest.add("epoch", 3)
    >>> rest.add("optimizer", {"momentum": torch.zeros(2)})
    >>> rest.metadata, rest.dropped
    ({'epoch': 3}, ['optimizer: 1 tensor'])
    """

    def __init__(self) -> None:
        self.metadata: JsonObject = {}
        self.dropped: list[str] = []
        self._kept: dict[int, object] = {}
        """what became of each container; one that is met within itself is still open"""

    def add(self, name: str, value: object) -> None:
        """Keep what is plain; an entry with tensors in it (an optimizer's state) goes as a whole."""
        count = _count_tensors(value, set())
        if count:
            self.dropped.append(f"{name}: {count} tensor{'s' if count > 1 else ''}")
            return
        kept = self._plain(value, name, 0)
        if kept is not _NOTHING:
            self.metadata[name] = kept

    def _plain(self, value: object, where: str, depth: int) -> object:
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, dict | list | tuple):
            return self._drop(where, value.name if isinstance(value, Foreign) else type(value).__name__)
        if depth == MAX_DEPTH:
            return self._drop(where, f"nested more than {MAX_DEPTH} deep")
        if id(value) not in self._kept:
            self._kept[id(value)] = _OPEN
            self._kept[id(value)] = self._plain_container(value, where, depth + 1)
        kept = self._kept[id(value)]
        return self._drop(where, "contains itself") if kept is _OPEN else kept

    def _plain_container(self, value: dict | list | tuple, where: str, depth: int) -> object:
        if isinstance(value, dict):
            parts = {
                key: self._plain(part, f"{where}.{key}", depth)
                if isinstance(key, _KEYS)
                else self._drop(f"{where}: entry of key", type(key).__name__)
                for key, part in value.items()
            }
            return {key: part for key, part in parts.items() if part is not _NOTHING}
        items = (self._plain(part, f"{where}.{index}", depth) for index, part in enumerate(value))
        kept = [part for part in items if part is not _NOTHING]
        return tuple(kept) if isinstance(value, tuple) else kept

    def _drop(self, where: str, what: str) -> object:
        self.dropped.append(f"{where}: {what}")
        return _NOTHING


def is_number_array(value: object) -> TypeGuard[Tensor | np.ndarray]:
    """A tensor, or numpy's array of numbers or truth values.

    >>> is_number_array(np.zeros(2)), is_number_array(np.array(["a"])), is_number_array([0.0])
    (True, False, False)
    """
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "biufc")


def _count_tensors(value: object, seen: set[int]) -> int:
    """Arrays and tensors in all containers within `value`, those in `seen` left out."""
    if is_number_array(value):
        return 1
    if not isinstance(value, dict | list | tuple | set) or id(value) in seen:
        return 0
    seen.add(id(value))
    return sum(_count_tensors(part, seen) for part in (value.values() if isinstance(value, dict) else value))
