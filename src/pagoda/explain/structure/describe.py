"""What a detector is made of: shapes, parameters, work and sight of every step, in the order data flows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeGuard

import torch
from torch import Tensor, nn

from pagoda.criteria.dense import default_ranges
from pagoda.detectors.contract import Detector
from pagoda.explain.structure.rows import Kind, LevelRow, Row
from pagoda.explain.structure.structure import Structure
from pagoda.explain.structure.trace import Call, Tracer, flat_tensors, traceable, without_numbers
from pagoda.explain.structure.words import convolutions, describe_module
from pagoda.ops.anchors import DefaultBoxes
from pagoda.structures.images import ImageBatch

LETTERS = {"backbone": "C", "neck": "P", "head": "P", "other": "L"}


def describe_model(model: Detector, size: tuple[int, int]) -> Structure:
    """Trace the detector on a picture of (height, width), as it enters the network; nothing is computed.

    Detectors of clips see as many such frames as they were made for. Raises ValueError for sizes below one pixel.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> structure = describe_model(model, (64, 96))
    >>> [(level.level, level.stride, level.size) for level in structure.levels][:2]
    [(3, 8, (8, 12)), (4, 16, (4, 6))]
    >>> structure.parameters == sum(parameter.numel() for parameter in model.parameters())
    True
    """
    if min(size) < 1:
        raise ValueError(f"size must be (height, width) of at least one pixel, got {tuple(size)}")
    padded = (model.input_spec.padded(size[0]), model.input_spec.padded(size[1]))
    copy = traceable(without_numbers(model))
    num_frames = len(model.frames_around) if model.sees_clips else None
    time = () if num_frames is None else (num_frames,)
    pixels = torch.empty(1, model.input_spec.channels, *time, *padded, device="meta")
    tracer = Tracer(pixels)
    handles = tracer.watch(copy)
    with torch.no_grad(), tracer:
        outputs = copy(ImageBatch(pixels, torch.empty(1, 2, dtype=torch.long, device="meta")))
        for handle in handles:
            handle.remove()
        describer = _Describer(copy, tracer)
        rows = describer.rows()
    return Structure(
        model=(model.origin or {}).get("model") or type(model).__name__,
        num_classes=len(model.label_map),
        size=(size[0], size[1]),
        padded_size=padded,
        rows=tuple(rows),
        levels=tuple(
            _describe_levels(
                model, describer.pyramid, _priors_of(copy, describer.pyramid, padded, outputs), padded
            )
        ),
        num_frames=num_frames,
    )


class _Describer:
    """Turns what was traced into rows; every parameter and product is told once."""

    def __init__(self, model: nn.Module, tracer: Tracer) -> None:
        self.model, self.tracer = model, tracer
        self.total_macs = tracer.macs
        self.told: set[int] = set()
        self.strides: dict[int, int] = getattr(model, "strides", {})
        self.pyramid: dict[int, Tensor] = {}
        """the last one that came out of a part: what the heads read"""

    def rows(self) -> list[Row]:
        rows: list[Row] = []
        for path, part in _called_below(self.model, "", self.tracer.calls):
            call = self.tracer.calls[path]
            reads_pyramid = bool(call.inputs) and _is_pyramid(call.inputs[0])
            if _is_pyramid(call.outputs[0]):
                self.pyramid = call.outputs[0]
                rows += self._pyramid_rows(path, part, "neck" if reads_pyramid else "backbone")
            elif reads_pyramid and next(part.parameters(), None) is None:
                continue  # anchors are laid out, nothing is computed
            elif reads_pyramid:
                rows += self._head_rows(path, part)
            elif _reads_regions(call):
                rows.append(self._region_row(path, part))
            else:
                rows.append(self._module_row("other", path, path, part))
        rest = self._rest("other", "", self.model, self.total_macs - sum(row.macs for row in rows))
        return rows + rest

    def _pyramid_rows(self, path: str, part: nn.Module, kind: Kind) -> list[Row]:
        """One row per step inside, one per level that no step of its own completes, and the rest."""
        call = self.tracer.calls[path]
        levels = dict(call.outputs[0])
        rows: list[Row] = []
        previous: Tensor | None = None
        for name, module in _steps_of(path, part, self.tracer.calls):
            step = self.tracer.calls[name]
            row = self._module_row(kind, path, name, module)
            follows = bool(rows) and bool(step.inputs) and step.inputs[0] is previous
            is_layer = not row.macs and not list(module.children())
            if follows and is_layer and row.shape == rows[-1].shape:
                row = _joined(rows.pop(), row)
            finished = [n for n, x in levels.items() if any(x is output for output in step.outputs)]
            for level in finished:
                del levels[level]
            if finished:
                row = replace(row, label=" ".join(f"{LETTERS[kind]}{n}" for n in sorted(finished)))
            rows.append(row)
            previous = step.outputs[0] if isinstance(step.outputs[0], Tensor) else None
        if kind == "backbone":
            rows = _label_inner_stages(rows, call.outputs[0])
        rows += [self._level_row(kind, path, level, x) for level, x in sorted(levels.items())]
        return rows + self._rest(kind, path, part, call.macs - sum(row.macs for row in rows))

    def _head_rows(self, path: str, part: nn.Module) -> list[Row]:
        """The head with its parameters, then what it does on each level."""
        call = self.tracer.calls[path]
        levels = []
        for level, features in sorted(call.inputs[0].items()):
            before = self.tracer.macs
            output = flat_tensors([part({level: features})])
            levels.append(self._level_row("head", path, level, features, output, self.tracer.macs - before))
        head = self._module_row("head", path, path, part)
        rest = call.macs - sum(row.macs for row in levels)
        return [
            replace(head, shape=None, stride=None, receptive_field=None, receptive_frames=None, macs=rest),
            *levels,
        ]

    def _region_row(self, path: str, part: nn.Module) -> Row:
        """A head on regions: what it says of one, and its work on all of them."""
        call = self.tracer.calls[path]
        regions = call.inputs[0].shape[0]
        outputs = flat_tensors(call.outputs)
        row = self._module_row("head", path, path, part)
        shape = row.shape or (sum(output.numel() for output in outputs) // regions,)
        return replace(
            row, shape=shape, stride=None, receptive_field=None, receptive_frames=None, regions=regions
        )

    def _module_row(self, kind: Kind, part: str, name: str, module: nn.Module) -> Row:
        call = self.tracer.calls[name]
        output, reach = call.outputs[0], call.reach
        parameters, trainable = self._count(module)
        return Row(
            kind=kind,
            part=part,
            name=name,
            label="",
            words=describe_module(module),
            shape=tuple(output.shape[1:]) if isinstance(output, Tensor) else None,
            stride=round(reach.stride) if reach else None,
            parameters=parameters,
            trainable=trainable,
            macs=call.macs,
            is_stage=len(convolutions(module)) > 1,
            receptive_field=reach.receptive_field if reach else None,
            receptive_frames=reach.receptive_frames if reach else None,
        )

    def _level_row(
        self,
        kind: Kind,
        part: str,
        level: int,
        features: Tensor,
        outputs: Sequence[Tensor] = (),
        macs: int = 0,
    ) -> Row:
        """A level without a module of its own, or what a head makes of one: all its numbers per cell."""
        reach = self.tracer.reaches.get(outputs[0] if outputs else features)
        sides = features.shape[-2:]
        numbers = sum(output.numel() for output in outputs) // sides.numel()
        return Row(
            kind=kind,
            part=part,
            name="",
            label=f"{LETTERS[kind]}{level}",
            words="" if outputs else "made from other levels, nothing to learn",
            shape=(numbers, *sides) if outputs else tuple(features.shape[1:]),
            stride=self.strides.get(level, 2**level),
            macs=macs,
            receptive_field=reach.receptive_field if reach else None,
            receptive_frames=reach.receptive_frames if reach else None,
        )

    def _rest(self, kind: Kind, path: str, module: nn.Module, macs: int) -> list[Row]:
        """Parameters and products of `module` that no row has told, if any."""
        names = [name for name, p in module.named_parameters() if id(p) not in self.told]
        parameters, trainable = self._count(module)
        if not parameters and not macs:
            return []
        listed = ", ".join(names[:4]) + (f" … ({len(names)} in all)" if len(names) > 4 else "")
        words = f"parameters outside the steps above: {listed}" if names else "work outside the steps above"
        row = Row(kind=kind, part=path, name="", label="", words=words)
        return [replace(row, parameters=parameters, trainable=trainable, macs=macs)]

    def _count(self, module: nn.Module) -> tuple[int, int]:
        """(parameters, trainable ones) not told before; shared ones belong to the first who has them."""
        fresh = [p for p in module.parameters() if id(p) not in self.told]
        self.told |= {id(p) for p in fresh}
        return sum(p.numel() for p in fresh), sum(p.numel() for p in fresh if p.requires_grad)


def _is_pyramid(value: object) -> TypeGuard[dict[int, Tensor]]:
    """{level: (B, C, H, W)} with integer levels."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(level, int) and isinstance(x, Tensor) for level, x in value.items())
    )


def _reads_regions(call: Call) -> bool:
    """Whether a module saw many pooled regions of the one picture or clip."""
    return bool(call.inputs) and isinstance(call.inputs[0], Tensor) and call.inputs[0].shape[0] > 1


def _called_below(module: nn.Module, path: str, calls: dict[str, Call]) -> list[tuple[str, nn.Module]]:
    """The modules directly below that ran, looking through those that only hold others, in running order."""

    def find(parent: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
        for name, child in parent.named_children():
            here = f"{prefix}.{name}" if prefix else name
            if here in calls:
                yield here, child
            else:
                yield from find(child, here)

    return sorted(find(module, path), key=lambda found: calls[found[0]].order)


def _steps_of(path: str, part: nn.Module, calls: dict[str, Call]) -> list[tuple[str, nn.Module]]:
    """The steps inside a part; one that only wraps another is looked through."""
    steps = _called_below(part, path, calls)
    while len(steps) == 1 and (inner := _called_below(steps[0][1], steps[0][0], calls)):
        steps = inner
    return steps


def _joined(row: Row, following: Row) -> Row:
    """A step and the norm or activation behind it, told as one."""
    words = ", ".join(words for words in (row.words, following.words) if words)
    parameters, trainable = row.parameters + following.parameters, row.trainable + following.trainable
    return replace(row, words=words, parameters=parameters, trainable=trainable)


def _label_inner_stages(rows: list[Row], pyramid: dict[int, Tensor]) -> list[Row]:
    """Name the last of several-layer steps at each stride below the pyramid's (C2), as papers do."""
    labelled = list(rows)
    for level in range(1, min(pyramid)):
        at_level = [i for i, row in enumerate(rows) if row.stride == 2**level and row.is_stage]
        if at_level:
            labelled[at_level[-1]] = replace(rows[at_level[-1]], label=f"C{level}")
    return labelled


def _priors_of(
    model: Detector, pyramid: dict[int, Tensor], padded: tuple[int, int], outputs: object
) -> tuple[Tensor, ...] | None:
    """Points or anchors of each level, as the outputs have them or as the model lays them out; None: neither."""
    if hasattr(outputs, "priors"):
        return outputs.priors
    return model.anchors(pyramid, padded) if hasattr(model, "rpn_head") else None


def _describe_levels(
    model: Detector,
    pyramid: dict[int, Tensor],
    priors: tuple[Tensor, ...] | None,
    padded: tuple[int, int],
) -> list[LevelRow]:
    """Sizes, locations and served objects of the levels the heads read."""
    levels = sorted(pyramid)
    strides: dict[int, int] = getattr(model, "strides", {})
    grid: tuple[int, int] | None = getattr(model, "grid", None)  # of connected layers, whatever the map
    sizes = {level: grid or (pyramid[level].shape[-2], pyramid[level].shape[-1]) for level in levels}
    counts = [math.prod(sizes[n]) for n in levels] if priors is None else [len(prior) for prior in priors]
    has_anchors = priors is not None and priors[0].shape[1] == 4
    served = _anchor_sizes(model, levels, padded) if has_anchors else _served_ranges(model, levels)
    return [
        LevelRow(
            level=level,
            stride=strides.get(level, 2**level),
            size=sizes[level],
            locations=math.prod(sizes[level]),
            predictions_per_location=count // math.prod(sizes[level]),
            object_sizes=served.get(level),
        )
        for level, count in zip(levels, counts, strict=True)
    ]


def _anchor_sizes(
    model: Detector, levels: list[int], padded: tuple[int, int]
) -> dict[int, tuple[float, float]]:
    """(smallest, largest) √area in pixels of the anchors of one cell per level."""
    device = next(model.parameters()).device
    cell = torch.zeros(1, 1, 1, 1, device=device)
    strides: dict[int, int] = getattr(model, "strides", {})
    of_picture = isinstance(
        getattr(model, "boxes", None), DefaultBoxes
    )  # others grow with their level's stride
    found = {}
    for level in levels:
        stride = strides.get(level, 2**level)
        (anchors,) = model.anchors({level: cell}, padded if of_picture else (stride, stride))
        sides = ((anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])).sqrt()
        found[level] = (sides.min().item(), sides.max().item())
    return found


def _served_ranges(model: Detector, levels: list[int]) -> dict[int, tuple[float, float]]:
    """(low, high) pixels of the longest distance to a side that a level serves; {} where there are none."""
    criterion = getattr(model, "criterion", None)
    if not hasattr(criterion, "ranges"):
        return {}
    ranges = criterion.ranges or default_ranges(levels)
    return {level: (max(0.0, low), high) for level, (low, high) in zip(levels, ranges, strict=True)}
