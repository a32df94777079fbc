"""Which of the state dicts in a checkpoint is meant: found wherever they lie, chosen by rule or by word, all named."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pagoda.messages import counted
from pagoda.weights.file_types import WeightsError, python_command
from pagoda.weights.metadata import is_number_array
from pagoda.weights.torch_files import Foreign

WRAPPERS = ("model", "state_dict", "model_state_dict", "blobs")
"""Keys under which programs keep the weights: maskrcnn-benchmark and detectron2, mmdet and Lightning, plain
torch, Detectron."""
DEEPEST = 4
"""dicts in dicts, from the top of a file to its weights"""
# Moving averages and their relatives, as words of a key: model_ema, ema_state_dict, swa_model, averagedModel …
AVERAGED = re.compile(r"(?<![a-z])(ema|swa|avg|averag(e|ed|ing)|polyak|shadow)(?![a-z])")
NOT_WEIGHTS = re.compile(r"optim|sched|scaler|momentum", re.IGNORECASE)
AVERAGES = "ema"
"""with `take`, whatever averages a file has, under whichever name"""
LIGHTNING = {"state_dict", "current_model_state", "averaging_state"}
"""What Lightning's WeightAveraging and EMAWeightAveraging write: the average as state_dict, the trained weights
beside it"""


class Candidate(NamedTuple):
    """A state dict, or the part of one whose names begin alike."""

    path: tuple[str, ...]
    """keys of the dicts it is in, from the top of the file down"""
    state: Mapping[object, object]
    prefix: str = ""
    """with which the names of the part begin, with its dot"""
    is_lightning_average: bool = False
    """the state_dict of `LIGHTNING`"""

    @property
    def key(self) -> str:
        """The key of its dict; empty for the file's own top."""
        return ".".join(self.path)

    @property
    def name(self) -> str:
        """The word by which `take` chooses it."""
        return ".".join(part for part in (self.key, self.prefix.removesuffix(".")) if part)

    def count(self) -> int:
        """How many arrays it has."""
        return sum(
            is_number_array(value) and str(name).startswith(self.prefix) for name, value in self.state.items()
        )

    @property
    def is_average(self) -> bool:
        """By its name, or by what lies beside it."""
        return self.is_lightning_average or is_averaged(self.name)

    def __str__(self) -> str:
        kind = ", averaged" if self.is_average else ""
        return f"{self.name!r} ({counted(self.count(), 'tensor')}{kind})"


def is_averaged(key: str) -> bool:
    """Whether a key speaks of averages of the weights.

    >>> is_averaged("modelEma.module"), is_averaged("state_dict_ema"), is_averaged("avgpool"), is_averaged("schema")
    (True, True, False, False)
    """
    return AVERAGED.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()) is not None


def _candidates(content: object) -> list[Candidate]:
    """All state dicts within dicts, but those of optimizers; the ones with kernels alone where there are such."""
    found = _states(content, (), ())
    whole = [each for each in found if any(_is_kernel(value) for value in each.state.values())]
    return whole or found


def _states(
    content: object, path: tuple[str, ...], around: tuple[int, ...], is_average: bool = False
) -> list[Candidate]:
    """`around`: the dicts it is in, since one may lie within itself."""
    if not isinstance(content, dict) or len(path) > DEEPEST or id(content) in around:
        return []
    has_arrays = any(is_number_array(value) for value in content.values())
    found = [Candidate(path, content, is_lightning_average=is_average)] if has_arrays else []
    averaged = "state_dict" if content.keys() >= LIGHTNING else None
    for name, value in content.items():
        if isinstance(name, str) and not NOT_WEIGHTS.search(name):
            found += _states(value, (*path, name), (*around, id(content)), name == averaged)
    return found


def _is_kernel(value: object) -> bool:
    """Norms, counters and random states have one axis at most; Caffe2's fixed tables are no floats."""
    return is_number_array(value) and value.ndim > 1


def with_averages_apart(content: object, depth: int = 0) -> object:
    """The averages that mmcv keeps among a model's buffers, in a dict of their own beside the weights: those of
    `a.b` are called `ema_a_b` there. Whatever else is in the file stays.

    >>> import torch
    >>> with_averages_apart({"w": torch.ones(1), "ema_w": torch.zeros(1)})
    {'w': tensor([1.]), 'ema': {'w': tensor([0.])}}
    """
    if not isinstance(content, dict) or depth > DEEPEST:
        return content
    arrays = [name for name, value in content.items() if isinstance(name, str) and is_number_array(value)]
    buffers = {buffer: name for name in arrays if (buffer := f"ema_{name.replace('.', '_')}") in content}
    if not buffers or AVERAGES in content:
        within = {name: with_averages_apart(value, depth + 1) for name, value in content.items()}
        return within if any(within[name] is not content[name] for name in content) else content
    plain = {name: value for name, value in content.items() if name not in buffers}
    averaged = {name: content[buffer] for buffer, name in buffers.items()}
    return {**plain, AVERAGES: {**plain, **averaged}}


def choose(path: Path, content: object, take: str | None) -> tuple[Candidate, list[Candidate]]:
    """(what is meant, the others). Raises WeightsError where nothing is, or nothing tells which.

    >>> import torch
    >>> content = {"model": {"w": torch.ones(1, 2)}, "model_ema": {"w": torch.ones(1, 2)}}
    >>> str(choose(Path("a.pth"), content, None)[0]), str(choose(Path("a.pth"), content, "ema")[0])
    ("'model' (1 tensor)", "'model_ema' (1 tensor, averaged)")
    """
    found = _candidates(content)
    if take:
        chosen = _named(path, content, found, take)
    elif not found:
        raise WeightsError(f"{path} should hold a state dict (name → tensor), got {_explain(path, content)}")
    else:
        chosen = _usual(path, found)
    return chosen, [each for each in found if each.path != chosen.path]


def _usual(path: Path, found: list[Candidate]) -> Candidate:
    """The weights themselves before averages of them, well-known keys before others."""
    plain = [each for each in found if not each.is_average]
    known = [each for each in plain if each.key.rpartition(".")[2] in ("", *WRAPPERS)]
    for group in (found, known, plain, [] if plain else found):
        if len(group) == 1:
            return group[0]
    raise WeightsError(f"{path}: which weights are meant? {_offer(found)}")


def _named(path: Path, content: object, found: list[Candidate], take: str) -> Candidate:
    """By its key, the beginning of its key or of its names, or a word in either; AVERAGES by what it means."""
    parts = [part for each in found for part in groups(each)]
    words = re.compile(rf"(?<![a-z0-9]){re.escape(take.lower())}(?![a-z0-9])")
    for fitting in (
        [each for each in found if each.key == take],
        [each for each in found if each.key.startswith(f"{take}.")],
        [part for part in parts if part.name == take],
        [part for part in parts if part.prefix == f"{take}."],
        [each for each in found if words.search(each.key.lower())],
        _shallowest([part for part in parts if words.search(part.prefix.lower())]),
        [each for each in found if take == AVERAGES and each.is_average],
        _shallowest([part for part in parts if take == AVERAGES and is_averaged(part.prefix)]),
    ):
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise WeightsError(f"{path}: which weights are meant by '{take}'? {_offer(fitting)}")
    raise WeightsError(f"{path} holds nothing under '{take}'; {_offer_or(path, content, found)}")


def groups(candidate: Candidate) -> list[Candidate]:
    """A candidate's parts by the first three words of names, for programs that keep several networks in a dict."""
    prefixes: dict[str, None] = {}
    for name in candidate.state:
        words = str(name).split(".")
        prefixes |= dict.fromkeys(".".join(words[:n]) + "." for n in range(1, min(4, len(words))))
    return [candidate._replace(prefix=prefix) for prefix in prefixes]


def _shallowest(parts: list[Candidate]) -> list[Candidate]:
    """Without those that are within another."""
    return [
        part
        for part in parts
        if not any(
            part.path == other.path and part.prefix != other.prefix and part.prefix.startswith(other.prefix)
            for other in parts
        )
    ]


def _offer(found: list[Candidate]) -> str:
    """What the file holds, and the word to say."""
    return (
        f"it holds tensors under {', '.join(str(each) for each in found)};"
        f" name the key: take='{found[0].name}' (--take {found[0].name})"
    )


def _offer_or(path: Path, content: object, found: list[Candidate]) -> str:
    named = [each for each in found if each.name]
    if named:
        return _offer(named)
    return "its tensors lie open: leave take (--take) out" if found else f"it holds {_explain(path, content)}"


def _explain(path: Path, content: object) -> str:
    """What was found in place of weights, and what to do where a whole model was saved."""
    where = ""
    if isinstance(content, dict):
        within = {str(key): value for key, value in content.items() if isinstance(value, Foreign)}
        known = [key for key in within if key in WRAPPERS or is_averaged(key)]
        wrapped = next((key for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if not known:
            inside = content if wrapped is None else content[wrapped]
            where = "" if wrapped is None else f" under {wrapped}"
            listed = ", ".join(str(key) for key in list(inside)[:5]) or "empty"
            return (
                f"a dict without tensors ({listed}){where}; save its state_dict with the program it is from"
            )
        where, content = f"[{known[0]!r}]", within[known[0]]
    if not isinstance(content, Foreign):
        return f"{type(content).__name__}; save its state_dict with the program it is from"
    under = f" under {where[2:-2]}" if where else ""
    program = (
        f"import torch; torch.save(torch.load({str(path)!r}, map_location='cpu', weights_only=False){where}"
        f".state_dict(), {str(path.with_suffix('.state.pth'))!r})"
    )
    return (
        f"an object of {content.name}{under}: a model saved whole, which opening would run code. Save its"
        f" state_dict alone where that program is installed, if you trust the file: {python_command(program)}"
    )
