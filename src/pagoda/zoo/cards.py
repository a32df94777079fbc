"""The model a card describes: the card is checked before it is built, and its shapes before there are numbers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pagoda.detectors.contract import Detector, check_input
from pagoda.files.text import is_too_deep
from pagoda.layers.unallocated import WithoutMemory, unfilled
from pagoda.plain import JsonObject, check_option
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.structures.thresholds import ScoreThresholds
from pagoda.weights.files import WeightsError
from pagoda.weights.tensors import Stored, read_header, read_tensor, read_tensors
from pagoda.zoo.families import FAMILIES, build_detector, is_known, options_from, parse_name

LONGEST_REASON = 500
Build = Callable[[int], Detector]


def model_from_card(card: Any, *, build: Build | None = None, where: str | Path = "the card") -> Detector:
    """The model a card describes, with fresh weights; `build` composes models that are not in the zoo.

    Raises WeightsError that begins with `where` and names the entry of the card that cannot be used.
    """
    label_map = classes_in(card, where)
    if build is not None:
        model = build(len(label_map))
        model.label_map = label_map
        model.origin = {"model": card.get("model"), "options": card.get("options", {})}
    elif is_known(model_in(card, where)):
        with _told_of(where):
            model = _of_the_zoo(card, label_map)
    else:
        raise WeightsError(
            f"{where} holds '{_shortened(str(card['model']))}', which is not a model of the zoo; hand over the function"
            " that composes it, if you trust it (no file chooses code to run): load(path, build=function), --model"
            " FILE.py:FUNCTION of pagoda predict, val, track, export and replay, or pagoda train FILE.py:FUNCTION"
            " --resume RUN"
        )
    with _told_of(where):
        model.input_spec = InputSpec.from_dict(card.get("input_spec"))
        check_input(model)
        check_option("card", "inclusive", bool, card.get("inclusive", False))
        model.inclusive = card.get("inclusive", False)
        if "thresholds" in card:
            model.thresholds = ScoreThresholds.from_dict(card["thresholds"], label_map)
        if "linker" in card:
            from pagoda.structures.linker_settings import LinkerSettings  # few models have one

            model.linker = LinkerSettings.from_dict(card["linker"])
    if "provenance" in card and model.origin is not None:  # whose weights these were, and their licence
        model.origin["provenance"] = card["provenance"]
    return model


def _of_the_zoo(card: JsonObject, label_map: LabelMap) -> Detector:
    parts = parse_name(card["model"])
    conventions = FAMILIES[parts.detector].flavours[parts.flavour]
    if "flavour" in card:
        conventions = type(conventions).from_dict(card["flavour"])
    options = options_from(card.get("options"), parts, conventions)
    return build_detector(parts, label_map, options, conventions)


def model_in(card: object, where: str | Path) -> str | None:
    """The name of its model; None for one that was composed outside the zoo. Raises WeightsError.

    >>> model_in({"model": "fcos_resnet50_fpn"}, "a.safetensors")
    'fcos_resnet50_fpn'
    >>> model_in({"model": 7}, "a.safetensors")
    Traceback (most recent call last):
    pagoda.weights.file_types.WeightsError: a.safetensors: its card should name its model, got 7
    """
    if not isinstance(card, Mapping) or is_too_deep(card):
        raise WeightsError(f"{where}: its card should be entries by name, nested a few deep")
    name = card.get("model", 0)
    if not isinstance(name, str | None):
        raise WeightsError(f"{where}: its card should name its model, got {name!r:.80}")
    return name


def classes_in(card: Any, where: str | Path) -> LabelMap:
    """The classes a card names. Raises WeightsError that begins with `where`.

    >>> card = {"model": None, "label_map": {"names": ["cat", "dog"], "category_ids": [17, 18]}}
    >>> classes_in(card, "a.safetensors").names
    ('cat', 'dog')
    """
    model_in(card, where)
    with _told_of(where):
        return LabelMap.from_dict(card.get("label_map"))


def _shortened(words: str) -> str:
    """At most `LONGEST_REASON` letters: what a card holds may be quoted, however long it is."""
    return words if len(words) <= LONGEST_REASON else f"{words[: LONGEST_REASON - 1]}…"


@contextmanager
def _told_of(where: str | Path) -> Iterator[None]:
    """Whatever an entry of a card makes fail is told with the file it is in."""
    try:
        yield
    except (
        Exception
    ) as error:  # numbers that fit each other in none of a dozen ways; each is told with its cause
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise WeightsError(
            f"{where}: its card cannot be used: {_shortened(reason)}; is the file damaged, or from a newer version of"
            " Pagoda?"
        ) from error


def model_of_file(path: Path, card: JsonObject, *, build: Build | None = None) -> Detector:
    """The model of a checkpoint of ours with its weights.

    It takes no more memory than the file: the model is built without numbers, compared with the header, then filled.
    """
    header = read_header(path)
    if build is not None:  # somebody's own program, which may compute with its numbers
        model = model_from_card(card, build=build, where=path)
        _check_fits(path, header, model)
        model.load_state_dict(read_tensors(path))
        return model
    with WithoutMemory():
        model = model_from_card(card, where=path)
    _check_fits(path, header, model)
    return with_state(model, _stored_state(path, header, model), lambda: model_from_card(card, where=path))


def model_of_state(
    card: JsonObject, state: Mapping[str, Tensor], *, build: Build | None = None, where: str | Path
) -> Detector:
    """The model a card describes with these tensors as its weights, not copies of them. Raises WeightsError."""
    if build is not None:
        model = model_from_card(card, build=build, where=where)
        _check_fits(where, state, model)
        model.load_state_dict(state)
        return model
    with WithoutMemory():
        model = model_from_card(card, where=where)
    _check_fits(where, state, model)
    wanted = model.state_dict(keep_vars=True)
    taken = {
        name: nn.Parameter(tensor.to(wanted[name].dtype), wanted[name].requires_grad)
        if isinstance(wanted[name], nn.Parameter)
        else tensor
        for name, tensor in state.items()
    }
    return with_state(model, taken, lambda: model_from_card(card, where=where))


def _check_fits(path: str | Path, given: Mapping[str, Stored | Tensor], model: Detector) -> None:
    """Raises WeightsError that lists what is missing, left over, of another shape, or no broken numbers."""
    wanted = model.state_dict()
    both = wanted.keys() & given.keys()
    found = {
        "missing": wanted.keys() - given.keys(),
        "unknown": given.keys() - wanted.keys(),
        "of another shape": {name for name in both if tuple(wanted[name].shape) != tuple(given[name].shape)},
        "of whole numbers instead of floating ones": {
            name
            for name in both
            if wanted[name].is_floating_point() and not given[name].dtype.is_floating_point
        },
    }
    lines = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:3])} …)" for what, names in found.items() if names
    ]
    if lines:
        raise WeightsError(f"{path} does not fit the model its card describes: {'; '.join(lines)}")


def _stored_state(path: Path, header: Mapping[str, Stored], model: nn.Module) -> dict[str, Tensor]:
    """The file's tensors as the model wants them: parameters, in its precision, shared where it shares them."""
    device, filled = torch.get_default_device(), {}
    wanted = model.state_dict(keep_vars=True)
    with path.open("rb") as file:
        for name, stored in header.items():
            like = wanted[name]
            if id(like) not in filled:
                tensor = read_tensor(file, stored).to(device, like.dtype)
                is_weight = isinstance(like, nn.Parameter)
                filled[id(like)] = nn.Parameter(tensor, like.requires_grad) if is_weight else tensor
    return {name: filled[id(like)] for name, like in wanted.items()}


def with_state(model: Detector, state: Mapping[str, Tensor], build: Callable[[], Detector]) -> Detector:
    """A model built without memory, with these tensors as its own; `build` makes it anew where that is not all of it.

    Tables that a network computes when it is built, and does not save, may have had no numbers to be computed from.
    """
    model.load_state_dict(state, assign=True)
    if not unfilled(model):
        return model
    whole = build()
    whole.load_state_dict(state, assign=True)
    return whole
