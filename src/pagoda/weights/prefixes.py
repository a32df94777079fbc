"""What wrappers put before the names of a model's tensors, cut off where the rest is known."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pagoda.messages import counted, short_list
from pagoda.weights.file_types import WeightsError
from pagoda.weights.wrappers import is_averaged

ANYWHERE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""what torch.compile, FSDP and activation checkpointing put before the names of whatever they wrap"""
DEEPEST = 6
"""words that are cut off at most"""
Tensors = Mapping[str, Tensor]
Knows = Callable[[Tensors], bool]


@dataclass(frozen=True, eq=False)
class Peeled:
    """The tensors under the names that are known, and what stood around them."""

    tensors: Tensors
    """by the names without what stood before them"""
    notes: tuple[str, ...] = ()
    """what was cut off, what was left, a line each"""
    beside: tuple[str, ...] = ()
    """other models in the same dict: averages of this one, a teacher"""


def peel(path: Path, tensors: Tensors, *, knows: Knows, alone: Knows) -> Peeled:
    """Names without the words before them, as far as that makes them known; unchanged where nothing does.

    Args:
        knows: whether some model has such names.
        alone: whether it is a model that other networks (a discriminator, an average) may lie beside, not a mere
            part of something larger.

    Raises WeightsError where two models lie in one dict and nothing tells which is meant.

    >>> import torch
    >>> tensors = {"net.w": torch.ones(1, 2)}
    >>> found = peel(Path("a.pth"), tensors, knows=lambda names: "w" in names, alone=lambda names: True)
    >>> list(found.tensors), found.notes
    (['w'], ("'net.' is cut off, with which its names began",))
    """
    names, notes = _unmarked(tensors)
    if knows(names):
        return Peeled(names, notes, tuple(_averages_beside(names)))
    parts = dict(_known_parts(names, knows))
    is_all = not any(t.ndim > 1 for name, t in names.items() if not name.startswith(tuple(parts)))
    found = [prefix for prefix, part in parts.items() if is_all or alone(part)]
    plain = [prefix for prefix in found if not is_averaged(prefix)] or found
    if not plain:
        return Peeled(tensors)
    if len(plain) > 1:
        words = [prefix.removesuffix(".") for prefix in plain]
        raise WeightsError(
            f"{path}: which weights are meant? the names begin with {' or '.join(map(repr, words))}; name the"
            f" beginning: take='{words[0]}' (--take {words[0]})"
        )
    (prefix,) = plain
    kept = {name.removeprefix(prefix): tensor for name, tensor in names.items() if name.startswith(prefix)}
    others = {each: sum(name.startswith(each) for name in names) for each in found if each != prefix}
    left = [name for name in names if not name.startswith((prefix, *others))]
    more = [f"left out: {counted(len(left), 'tensor')} beside it ({short_list(left, 4)})"]
    return Peeled(
        kept,
        (*notes, f"'{prefix}' is cut off, with which its names began", *(more if left else [])),
        tuple(_described(each, count) for each, count in others.items()),
    )


def _described(prefix: str, count: int) -> str:
    """As other weights are told of in files that keep them in dicts of their own."""
    kind = ", averaged" if is_averaged(prefix) else ""
    return f"'{prefix.removesuffix('.')}' ({counted(count, 'tensor')}{kind})"


def _unmarked(tensors: Tensors) -> tuple[Tensors, tuple[str, ...]]:
    """Names without ANYWHERE, and a line for each that was cut off; unchanged where two would become one."""
    cut, names = [], dict(tensors)
    for mark in ANYWHERE:
        if any(mark in name for name in names):
            shorter = {name.replace(mark, ""): tensor for name, tensor in names.items()}
            if len(shorter) < len(names):
                continue
            cut.append(f"'{mark}' is cut off wherever it stood")
            names = shorter
    return (names, tuple(cut)) if cut else (tensors, ())


def _known_parts(tensors: Tensors, knows: Knows, prefix: str = "") -> list[tuple[str, Tensors]]:
    """(beginning of names, the tensors without it) of every part that is known, the largest of those in each other."""
    groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        word, dot, rest = name.partition(".")
        if dot:
            groups[word][rest] = tensor
    found: list[tuple[str, Tensors]] = []
    for word, part in groups.items():
        here = f"{prefix}{word}."
        if knows(part):
            found.append((here, part))
        elif here.count(".") < DEEPEST:
            found += _known_parts(part, knows, here)
    return found


def _averages_beside(tensors: Tensors) -> list[str]:
    """Groups of names that speak of averages, beside a model whose names stand open."""
    counts: dict[str, int] = defaultdict(int)
    for name in tensors:
        word, dot, _ = name.partition(".")
        if dot and is_averaged(word):
            counts[word] += 1
    return [_described(word, count) for word, count in counts.items()]
