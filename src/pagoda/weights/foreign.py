"""The weights in a file of another program, and what else lay in it: told apart, nothing lost unsaid."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from pagoda.weights.checkpoints import Foreign, read_checkpoint
from pagoda.weights.kinds import WeightsError, kind_of
from pagoda.weights.leftovers import Leftovers, is_number_array
from pagoda.weights.pickles import read_pickle

WRAPPERS = ("model", "state_dict", "model_state_dict", "blobs")
"""Keys under which programs keep the weights: maskrcnn-benchmark and detectron2, mmdet and Lightning, plain
torch, Detectron. Averaged weights ("state_dict_ema") are taken only when asked for."""
DISTRIBUTED = "module."
"""what torch's DistributedDataParallel puts before every name"""


@dataclass(frozen=True, eq=False)
class ForeignState:
    """Weights by name, where they were found, and the rest of the file."""

    tensors: dict[str, Tensor]
    taken: str
    """key of the dict they were under, "model" say, or "model.state_dict"; empty where at the top"""
    stripped: str
    """what every name began with and was cut off: "module." or nothing"""
    metadata: dict[str, Any]
    """the plain rest: numbers, text, lists and dicts of these (iteration, meta, cfg …)"""
    dropped: list[str]
    """what was left out, one line each: optimizer states, objects of other programs"""


def read_foreign(path: str | Path, *, take: str | None = None) -> ForeignState:
    """Any weights file: .safetensors, torch.save of any age, pickles of Detectron and detectron2.

    Nothing in the file is run: objects of other programs become inert stand-ins and are named in `dropped`.

    Args:
        take: the key of the weights, where several dicts of tensors lie side by side or under other keys
            than `WRAPPERS`; "a.b" for one within another.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "safetensors":
        return _read_safetensors(path)
    content = read_pickle(path) if kind == "pickle" else read_checkpoint(path)
    try:
        return _sort_out(path, content, take)
    except RecursionError as error:
        raise WeightsError(f"{path} is refused: its content is nested without end") from error


def _read_safetensors(path: Path) -> ForeignState:
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
        tensors, stripped = _without_prefix(load_file(str(path)))
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a whole .safetensors file ({path.stat().st_size} bytes; {error}):"
            " truncated or another format?"
        ) from error
    return ForeignState(tensors, "", stripped, dict(metadata), [])


def _sort_out(path: Path, content: object, take: str | None) -> ForeignState:
    leftovers = Leftovers()
    taken: list[str] = []
    for key in _keys(path, content, take):
        assert isinstance(content, dict)
        for name, value in content.items():
            if name != key:
                leftovers.add(".".join([*taken, str(name)]), value)
        taken.append(key)
        content = content[key]
    if not _is_state(content):
        raise WeightsError(
            f"{path} should hold a state dict (name → tensor), got {_describe(content)}"
            f"{' under ' + '.'.join(taken) if taken else ''}; save its state_dict with the program it is from"
        )
    assert isinstance(content, dict)
    tensors = {}
    for name, value in content.items():
        where = ".".join([*taken, str(name)])
        if isinstance(value, Foreign):
            raise WeightsError(f"{path} is refused: {where} is an object of {value.name}, not a tensor")
        if isinstance(name, str) and is_number_array(value):
            tensors[name] = _to_tensor(path, where, value)
        else:
            leftovers.add(where, value)
    tensors, stripped = _without_prefix(tensors)
    return ForeignState(tensors, ".".join(taken), stripped, leftovers.metadata, leftovers.dropped)


def _keys(path: Path, content: object, take: str | None) -> Iterator[str]:
    """From the top of the file down to the weights; two steps suffice for every program known."""
    asked = take.split(".") if take else [None, None]
    for word in asked:
        key = _choose(path, content) if word is None else word
        if key is None:
            return
        if not isinstance(content, dict) or key not in content:
            raise WeightsError(f"{path} holds nothing under '{take}'; {_offer(content)}")
        yield key
        content = content[key]


def _choose(path: Path, content: object) -> str | None:
    """The key of the weights; None where they lie open, or where there are none."""
    if not isinstance(content, dict):
        return None
    states = {key: value for key, value in content.items() if _holds_state(value)}
    if not states:  # a model saved whole instead of its weights, perhaps: the error will name it
        return next((key for key in WRAPPERS if isinstance(content.get(key), dict | Foreign)), None)
    known = [key for key in WRAPPERS if key in states]
    # Another copy of the same weights, a moving average say; a random state shares no names.
    rivals = [key for key in states if known and key not in known and states[key].keys() & states[known[0]]]
    if len(known) != 1 or rivals:
        raise WeightsError(f"{path}: which weights are meant? {_offer(content)}")
    return known[0]


def _offer(content: object) -> str:
    keys = [str(key) for key in content if _holds_state(content[key])] if isinstance(content, dict) else []
    if not keys:
        return f"it holds {_describe(content)}"
    return f"it holds tensors under {', '.join(map(repr, keys))}; name the key: take='{keys[0]}'"


def _describe(content: object) -> str:
    if isinstance(content, Foreign):
        return f"an object of {content.name}"
    if not isinstance(content, dict):
        return type(content).__name__
    return f"a dict without tensors ({', '.join(str(key) for key in list(content)[:5]) or 'empty'})"


def _holds_state(value: object) -> bool:
    """A dict of tensors, or one that wraps such a dict in the known way."""
    if not isinstance(value, dict):
        return False
    return _is_state(value) or any(_is_state(value.get(key)) for key in WRAPPERS)


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and any(is_number_array(part) for part in value.values())


def _to_tensor(path: Path, where: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    array = np.require(value, value.dtype.newbyteorder("="), ["C", "W"])
    try:
        return torch.from_numpy(array.view(np.ndarray))
    except TypeError as error:
        raise WeightsError(f"{path}: {where} is of {array.dtype}, which torch does not know") from error


def _without_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Without "module.", where every name begins so."""
    if not tensors or not all(name.startswith(DISTRIBUTED) for name in tensors):
        return tensors, ""
    return {name.removeprefix(DISTRIBUTED): tensor for name, tensor in tensors.items()}, DISTRIBUTED
