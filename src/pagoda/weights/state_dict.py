"""The weights in a file of another program, and what else lay in it: told apart, nothing lost unsaid."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pagoda.messages import counted
from pagoda.plain import JsonObject
from pagoda.weights.file_types import WeightsError, kind_of
from pagoda.weights.metadata import Leftovers, is_number_array
from pagoda.weights.pickles import read_pickle
from pagoda.weights.shards import is_index, read_shards
from pagoda.weights.tensors import read_tensors
from pagoda.weights.torch_files import Foreign, read_checkpoint
from pagoda.weights.wrappers import choose, with_averages_apart

SPREAD = 2**26
"""places of all tensors that repeat few numbers (`expand`); more ask for memory the file does not have"""
DISTRIBUTED = "module."
"""what torch's DistributedDataParallel and AveragedModel put before every name"""


@dataclass(frozen=True, eq=False)
class ForeignState:
    """Weights by name, where they were found, and the rest of the file."""

    tensors: dict[str, Tensor]
    """by the file's names, without `stripped`"""
    taken: str
    """key of the dict they were under, "model" say, or "model.state_dict"; empty where at the top"""
    stripped: str
    """what every name began with and was cut off: "module." or nothing"""
    metadata: JsonObject
    """the plain rest: numbers, text, lists and dicts of these (iteration, meta, cfg …)"""
    dropped: list[str]
    """what was left out, one line each: optimizer states, objects of other programs"""
    beside: tuple[str, ...] = ()
    """other weights that the file holds, a line each: averages of them, other networks"""


def read_foreign(path: str | Path, *, take: str | None = None) -> ForeignState:
    """Any weights file: .safetensors, torch.save of any age, pickles of Detectron and detectron2.

    Nothing in the file is run: objects of other programs become inert stand-ins and are named in `dropped`.

    Args:
        take: the key of the weights, where several dicts of tensors lie side by side: "a.b" for one within
            another, the beginning of names, a word of the key, or "ema" for averages under whichever name.
            None: the weights themselves before averages of them, and well-known keys before others.

    Raises WeightsError that lists what the file holds where nothing tells which weights are meant.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     torch.save({"model": {"module.w": torch.ones(1, 2)}, "iteration": 9}, Path(folder, "a.pth"))
    ...     found = read_foreign(Path(folder, "a.pth"))
    >>> found.tensors, found.taken, found.stripped, found.metadata
    ({'w': tensor([[1., 1.]])}, 'model', 'module.', {'iteration': 9})
    """
    path = Path(path)
    if is_index(path):
        return _sort_out(path, read_shards(path, _tensors_of), take)
    kind = kind_of(path)
    if kind == "darknet":
        raise WeightsError(
            f"{path} holds numbers of darknet without names: whole detectors are read from such files (pagoda convert"
            f" {path.name} OUT.safetensors --cfg NET.cfg), and nothing else"
        )
    if kind == "safetensors":
        tensors, metadata = _read_safetensors(path)
        found = _sort_out(path, tensors, take)
        return replace(found, metadata={**metadata, **found.metadata})
    content = read_pickle(path) if kind == "pickle" else read_checkpoint(path)
    try:
        return _sort_out(path, content, take)
    except RecursionError as error:
        raise WeightsError(f"{path} is refused: its content is nested without end") from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
        return read_tensors(path), dict(metadata)
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a whole .safetensors file ({path.stat().st_size} bytes; {error}):"
            " truncated or another format?"
        ) from error


def _tensors_of(shard: Path) -> object:
    """Of one shard, whichever form it has."""
    kind = kind_of(shard)
    return _read_safetensors(shard)[0] if kind == "safetensors" else read_checkpoint(shard)


def _sort_out(path: Path, content: object, take: str | None) -> ForeignState:
    content = with_averages_apart(content)
    chosen, others = choose(path, content, take)
    leftovers = Leftovers()
    for depth, key in enumerate(chosen.path):
        assert isinstance(content, dict)
        for name, value in content.items():
            if name != key:
                leftovers.add(".".join([*chosen.path[:depth], str(name)]), value)
        content = content[key]
    tensors: dict[str, Tensor] = {}
    more: Counter[str] = Counter()
    for name, value in chosen.state.items():
        where = ".".join([*chosen.path, str(name)])
        if isinstance(value, Foreign):
            raise WeightsError(f"{path} is refused: {where} is an object of {value.name}, not a tensor")
        if not (isinstance(name, str) and is_number_array(value)):
            leftovers.add(where, value)
        elif name.startswith(chosen.prefix):
            tensors[name.removeprefix(chosen.prefix)] = _to_tensor(path, where, value)
        else:
            more[".".join([*chosen.path, name.split(".")[0]])] += 1
    _refuse_spread(path, tensors)
    tensors, stripped = _without_prefix(tensors, leftovers)
    return ForeignState(
        tensors,
        chosen.name,
        stripped,
        leftovers.metadata,
        leftovers.dropped,
        (*map(str, others), *(f"{name!r} ({counted(count, 'tensor')})" for name, count in more.items())),
    )


def _to_tensor(path: Path, where: str, value: Tensor | np.ndarray) -> Tensor:
    if isinstance(value, Tensor):
        if value.is_meta:
            raise WeightsError(
                f"{path}: {where} has a shape but no numbers (it was saved on the meta device); save the model after"
                " its weights are loaded"
            )
        if value.layout != torch.strided:
            raise WeightsError(f"{path}: {where} is stored as {value.layout}; save it with .to_dense()")
        return value.detach()
    array = np.require(value, value.dtype.newbyteorder("="), ["C", "W"])
    try:
        return torch.from_numpy(array.view(np.ndarray))
    except TypeError as error:
        raise WeightsError(f"{path}: {where} is of {array.dtype}, which torch does not know") from error


def _refuse_spread(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises WeightsError where few numbers stand for more than `SPREAD` places."""
    held = {
        name: tensor.untyped_storage().nbytes() // tensor.element_size() for name, tensor in tensors.items()
    }
    spread = {name: tensor.numel() for name, tensor in tensors.items() if tensor.numel() > held[name]}
    if sum(spread.values()) > SPREAD:
        largest = max(spread, key=lambda name: spread[name])
        raise WeightsError(
            f"{path} is refused: {largest} spreads {held[largest]} numbers over {tuple(tensors[largest].shape)}"
            f" ({sum(spread.values())} places in all such tensors, at most {SPREAD} are read)"
        )


def _without_prefix(tensors: dict[str, Tensor], leftovers: Leftovers) -> tuple[dict[str, Tensor], str]:
    """Without "module.", where every name begins so but those of counters (`n_averaged`), which are set aside."""
    counters = {name: t for name, t in tensors.items() if "." not in name and t.ndim == 0}
    rest = {name: tensor for name, tensor in tensors.items() if name not in counters}
    if not rest or not all(name.startswith(DISTRIBUTED) for name in rest):
        return tensors, ""
    for name, tensor in counters.items():
        leftovers.metadata[name] = tensor.item()
    return {name.removeprefix(DISTRIBUTED): tensor for name, tensor in rest.items()}, DISTRIBUTED
