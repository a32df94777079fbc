"""Putting another program's tensors into a model of ours: all of them, in their places, or a clear refusal."""

import re
from collections import Counter
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from pagoda.convert.recognise import ForeignCheckpoint
from pagoda.convert.report import ConversionReport
from pagoda.convert.tensor_slices import Place, fill
from pagoda.detectors.contract import Detector
from pagoda.layers.unallocated import unfilled
from pagoda.messages import counted
from pagoda.weights.files import WeightsError
from pagoda.weights.shards import sha256_of

# Counters of batches, statistics of norms that are stored as scale and shift, and averages that training keeps.
OPTIONAL = ("num_batches_tracked", "running_count.mean")
STATISTICS = ("running_mean", "running_var")
# The stages of a backbone, and the classifier on top.
PART = re.compile(r"(backbone\.)?(layer\d|blocks\.\d+|features\.\d+|conv_head|classifier|fc[67])\.")


def fill_model(
    model: nn.Module,
    checkpoint: ForeignCheckpoint,
    places: dict[str, Place],
    *,
    allow_missing: bool,
    fresh: Collection[str] = (),
) -> ConversionReport:
    """Put the tensors where they belong. Raises WeightsError that lists what does not fit, `fresh` ones apart."""
    state, tensors = model.state_dict(), checkpoint.tensors
    dropped = dict(checkpoint.renamed.dropped)
    homeless = []
    for source, place in list(places.items()):
        if place.name not in state:
            why = _why_not_needed(place.name, state)
            if why:
                dropped[source] = why
            else:
                homeless.append(source)
            del places[source]
    misshapen = [
        f"{source} {tuple(tensors[source].shape)} instead of {tuple(place.read(state[place.name]).shape)}"
        for source, place in places.items()
        if whole_axes(tensors[source]) != whole_axes(place.read(state[place.name]))
    ]
    misshapen += [
        f"{source} of {tensors[source].dtype} instead of floating numbers"
        for source, place in places.items()
        if state[place.name].is_floating_point() and not tensors[source].is_floating_point()
    ]
    missing = _missing_tensors(state, places, affine=checkpoint.source.affine_norms)
    wanted = [name for name in missing if name not in fresh]
    if misshapen or ((wanted or homeless) and not allow_missing):
        raise WeightsError(
            f"{checkpoint.path} ({checkpoint.source.title}) does not fill the model it describes:"
            f" {_counted(wanted, 'tensors missing')}, {_counted(misshapen, 'of another shape')},"
            f" {_counted(homeless, 'without a place in it')}; {_remedy(model, misshapen)}"
        )
    if unfilled(model):
        _take_over(model, places, tensors)
        state = model.state_dict()
    fill(state, places, tensors)
    return ConversionReport(
        file=checkpoint.path.name,
        sha256=sha256_of(checkpoint.path),
        source=checkpoint.source.title,
        licence=checkpoint.source.licence,
        model=(getattr(model, "origin", None) or {}).get("model", checkpoint.architecture.backbone),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        taken=len(places),
        dropped=dropped,
        unknown=[*checkpoint.renamed.unknown, *homeless],
        missing=missing,
        notes=[*checkpoint.reading.notes, *_stored_as(tensors, places)],
        weights=checkpoint.reading.taken,
        choice=checkpoint.reading.choice(),
        not_finite=not_finite(tensors, places),
        left=list(checkpoint.reading.dropped),
    )


def _take_over(model: nn.Module, places: Mapping[str, Place], tensors: Mapping[str, Tensor]) -> None:
    """Give a model built without memory the file's own tensors where one is a whole weight, else room for it."""
    sources: dict[str, list[str]] = {}
    for source, place in places.items():
        sources.setdefault(place.name, []).append(source)
    owners = Counter(tensors[source].untyped_storage().data_ptr() for source in places)
    taken = {}
    for name, like in model.state_dict(keep_vars=True).items():
        if like.is_meta and name in sources:
            first = tensors[sources[name][0]]
            is_whole = places[sources[name][0]] == Place(name) and first.numel() == like.numel()
            is_own = _is_alone(first) and owners[first.untyped_storage().data_ptr()] == 1
            fits = is_whole and is_own and first.dtype == like.dtype
            tensor = first.reshape(like.shape) if fits else torch.empty(like.shape, dtype=like.dtype)
            is_weight = isinstance(like, nn.Parameter)
            taken[name] = nn.Parameter(tensor, like.requires_grad) if is_weight else tensor
    model.load_state_dict(taken, strict=False, assign=True)


def _is_alone(tensor: Tensor) -> bool:
    """Whether its storage holds its numbers in their order and no more."""
    return tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes


def _stored_as(tensors: Mapping[str, Tensor], places: Collection[str]) -> list[str]:
    """A line where numbers were not stored in single precision."""
    counts = Counter(str(tensors[name].dtype).removeprefix("torch.") for name in places)
    return [
        f"{counted(count, 'tensor is', 'tensors are')} stored as {dtype} and used as float32"
        for dtype, count in counts.items()
        if "float" in dtype and dtype != "float32"
    ]


def not_finite(tensors: Mapping[str, Tensor], places: Collection[str]) -> str:
    """A line where weights are no numbers: whatever they meet becomes none, too.

    >>> not_finite({"w": torch.ones(2)}, ["w"])
    ''
    """
    broken = [name for name in places if not _is_finite(tensors[name])]
    if not broken:
        return ""
    return (
        f"{counted(len(broken), 'tensor holds', 'tensors hold')} NaN or infinity, the first is {broken[0]}:"
        " the training they are from went astray;"
        " take an earlier checkpoint"
    )


def _is_finite(tensor: Tensor) -> bool:
    values = tensor.float() if tensor.itemsize == 1 else tensor  # float8 knows few operations
    return not tensor.is_floating_point() or bool(values.isfinite().all())


def _remedy(model: nn.Module, misshapen: list[str]) -> str:
    """What helps: only detectors can be converted without all of their tensors, and shapes must fit."""
    if misshapen:
        return "a file of that very network is needed"
    if not isinstance(model, Detector):
        return "a whole file is needed"
    return (
        "a whole file is needed, or allow_missing=True (--allow-missing) to go on without: of"
        " pagoda.convert.read.convert, and pagoda convert"
    )


def whole_axes(tensor: Tensor) -> list[int]:
    """Its shape but for axes of length 1: a 1×1 convolution may be another program's linear layer.

    >>> whole_axes(Tensor(2, 512, 1, 1))
    [2, 512]
    """
    return [side for side in tensor.shape if side != 1]


def _counted(names: list[str], what: str) -> str:
    """
    >>> _counted(["a", "b", "c", "d"], "missing"), _counted([], "missing")
    ('4 missing (a, b, c …)', '0 missing')
    """
    listed = f" ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})" if names else ""
    return f"{len(names)} {what}{listed}"


def _why_not_needed(name: str, state: Collection[str]) -> str | None:
    """Of a tensor without a place in the model; None where that matters: the model would compute something else."""
    if name.endswith(OPTIONAL):
        return "a counter that fixed norms do not need"
    part = PART.match(name)
    if part and not any(each.startswith(part[0]) for each in state):
        return "beyond the last level of the backbone"
    return None


def _missing_tensors(state: dict[str, Tensor], places: dict[str, Place], *, affine: bool) -> list[str]:
    """Names of our tensors that nothing fills, wholly or in part."""
    rows = dict.fromkeys(state, 0)
    for place in places.values():
        rows[place.name] += len(place.read(state[place.name])) if state[place.name].ndim else 1
    optional = OPTIONAL + (STATISTICS if affine else ())
    return [
        name
        for name, tensor in state.items()
        if rows[name] < (len(tensor) if tensor.ndim else 1) and not name.endswith(optional)
    ]


def check_told(checkpoint: ForeignCheckpoint, given: Collection[str]) -> None:
    """Raises WeightsError where the tensors leave a question about the blocks that nothing given answers."""
    deform = checkpoint.architecture.deform_question
    if deform and not {"deform", "deform_groups"} <= set(given):
        raise WeightsError(
            f"{checkpoint.path} ({checkpoint.source.title}) has deformable convolutions, but which is open: {deform},"
            " and neither a config in the file nor its name tells; hand both over, as options={'deform': 'v1',"
            " 'deform_groups': 3} or to load_backbone as deform='v1', deform_groups=3"
        )
    question = checkpoint.architecture.question
    if question and "plugins" not in given:
        raise WeightsError(
            f"{checkpoint.path} ({checkpoint.source.title}) has plugins in its blocks, but its tensors do not tell"
            f" all: {question}; hand them over: plugins=(Plugin(module=…, options=…, levels=…, position=…), …) of"
            " load_backbone, or options={'plugins': …} of pagoda.load"
        )
