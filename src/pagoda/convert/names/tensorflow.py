"""Google's own checkpoints, without TensorFlow: their variables under effdet's names (spec section 4.1).

A checkpoint is a pair of files NAME.index and NAME.data-00000-of-00001, or an .npz somebody made of it with the
variables' names as keys. Where a variable has an ExponentialMovingAverage, that is taken: it is what was evaluated.

| TensorFlow | effdet |
|---|---|
| efficientnet-bX/stem/{conv2d, tpu_batch_normalization} | backbone.{conv_stem, bn1} |
| …/blocks_i/{conv2d, depthwise_conv2d, conv2d_1, se/conv2d, se/conv2d_1, tpu_batch_normalization…} | \
backbone.blocks.S.B.{conv_pw, conv_dw, conv_pwl, se.conv_reduce, se.conv_expand, bn1 …} |
| the same without expansion (stage 0): {depthwise_conv2d, conv2d, …} | {conv_dw, conv_pw, …} |
| resample_p6/{conv2d, bn} | fpn.resample.3.conv.{conv, bn} |
| fpn_cells/cell_C/fnodeN/{WSM, WSM_1, WSM_2} | fpn.cell.C.fnode.N.combine.edge_weights |
| …/resample_E_SOURCE_NODE/{conv2d, bn} | …combine.resample.SOURCE.conv.{conv, bn} |
| …/op_after_combineNODE/{conv, bn} | …after_combine.conv.{conv_dw, conv_pw, bn} |
| class_net/{class-R, class-R-bn-LEVEL, class-predict}, box_net/box-… | \
class_net.{conv_rep.R, bn_rep.R.(LEVEL − 3).bn, predict}, box_net.… |
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pagoda.convert.architecture.efficientnet import places_of_blocks
from pagoda.messages import short_list
from pagoda.weights.file_types import WeightsError, check_exists
from pagoda.weights.pickles import damaged
from pagoda.weights.provenance import Reading
from pagoda.weights.tensorflow_bundle import read_bundle
from pagoda.weights.wrappers import AVERAGES

LATEST = "model"
"""the word for the variables themselves, beside AVERAGES"""
AVERAGE = "/ExponentialMovingAverage"
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
NOT_WEIGHTS = re.compile(r"global_step|/Momentum$|^_CHECKPOINTABLE|save_counter|^optimizer")
EXPANDED = {"conv2d": "conv_pw", "depthwise_conv2d": "conv_dw", "conv2d_1": "conv_pwl"}
PLAIN = {"depthwise_conv2d": "conv_dw", "conv2d": "conv_pw"}
SQUEEZE = {"se/conv2d": "se.conv_reduce", "se/conv2d_1": "se.conv_expand"}


def is_tensorflow(path: str | Path) -> bool:
    """Whether a file is one of a TensorFlow checkpoint's, or an .npz of its variables."""
    return re.search(r"\.(index|npz|data-\d+-of-\d+)$", str(path)) is not None


def read_variables(path: str | Path) -> dict[str, np.ndarray]:
    """{name: value} of an .npz file or of a checkpoint, any file of which may be named.

    Raises WeightsError for a damaged file, FileNotFoundError for none.
    """
    path = Path(path)
    if path.suffix == ".npz":
        check_exists(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        except (
            Exception
        ) as error:  # a damaged archive fails in a dozen ways; every one is told with its cause
            raise damaged(path, error) from error
    return read_bundle(path.with_name(re.sub(r"\.(index|data-\d+-of-\d+)$", "", path.name)))


def which_variables(
    path: Path, variables: Mapping[str, np.ndarray], take: str | None
) -> tuple[bool, Reading]:
    """(whether moving averages are taken, what to say of it): they are, as in the program, unless `take` is model.

    Raises WeightsError for other words.
    """
    count = sum(name.endswith(AVERAGE) for name in variables)
    known = (AVERAGES, LATEST) if count else (LATEST,)
    if take not in (None, *known):
        raise WeightsError(f"{path} holds nothing under '{take}'; it holds {' and '.join(map(repr, known))}")
    if not count:
        return True, Reading()
    if take == LATEST:
        return False, Reading(LATEST, (f"'{AVERAGES}' ({count} variables, averaged)",))
    return True, Reading(AVERAGES, (f"'{LATEST}' ({count} variables)",))


def effdet_state(variables: Mapping[str, np.ndarray], *, averaged: bool = True) -> dict[str, Tensor]:
    """The weights as effdet would save them. Raises WeightsError with the variables that have no place.

    `averaged`: the moving average of a variable instead of its last value, where there is one.
    """
    latest = {
        name.removesuffix(AVERAGE): name
        for name in sorted(variables, key=lambda name: name.endswith(AVERAGE) == averaged)
    }
    latest = {name: source for name, source in latest.items() if not NOT_WEIGHTS.search(name)}
    blocks = {found.group(1) for name in latest if (found := re.search(r"/blocks_(\d+)/", name))}
    if not blocks:
        raise WeightsError(
            f"no variables of TensorFlow's EfficientDet (…/blocks_0/…) are among its {len(variables)} arrays"
            f" ({short_list(variables, 3)}); save weights of other programs with torch.save or as .safetensors"
        )
    places = places_of_blocks(len(blocks))
    state: dict[str, Tensor] = {}
    shares: dict[str, dict[int, Tensor]] = {}
    unknown = []
    for name, source in latest.items():
        value = np.asarray(variables[source])
        weight = re.fullmatch(r"fpn_cells/cell_(\d+)/fnode(\d+)/WSM(?:_(\d))?", name)
        if weight is not None:
            cell, node, number = weight.groups()
            target = f"fpn.cell.{cell}.fnode.{node}.combine.edge_weights"
            shares.setdefault(target, {})[int(number or 0)] = torch.from_numpy(
                value.astype(np.float32)
            ).reshape(())
            continue
        layer, _, kind = name.rpartition("/")
        target = _effdet_layer(layer, kind, places)
        if target is None:
            unknown.append(name)
        else:
            state[f"{target}.{NORM.get(kind, 'bias' if kind == 'bias' else 'weight')}"] = _as_torch(
                value, kind
            )
    if unknown:
        raise WeightsError(
            f"{len(unknown)} of {len(latest)} variables are none of EfficientDet's: {short_list(unknown, 4)}"
        )
    joined = {
        target: torch.stack([parts[number] for number in sorted(parts)]) for target, parts in shares.items()
    }
    return {**state, **joined}


def _as_torch(value: np.ndarray, kind: str) -> Tensor:
    """Kernels (height, width, in, out) as (out, in, height, width); depthwise ones have their filters in `in`."""
    if kind.endswith("depthwise_kernel"):
        value = value.transpose(2, 3, 0, 1)
    elif value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(value))


def _effdet_layer(layer: str, kind: str, places: list[tuple[int, int]]) -> str | None:
    """effdet's name of a layer, whose part `kind` tells the halves of separable convolutions apart."""
    separable = {"depthwise_kernel": ".conv_dw", "pointwise_kernel": ".conv_pw", "bias": ".conv_pw"}
    if found := re.fullmatch(r"efficientnet-[\w-]+/stem/(conv2d|tpu_batch_normalization)", layer):
        return {"conv2d": "backbone.conv_stem"}.get(found[1], "backbone.bn1")
    if found := re.fullmatch(r"efficientnet-[\w-]+/blocks_(\d+)/(.+)", layer):
        return _block_layer(found[2], places[int(found[1])])
    if found := re.fullmatch(r"resample_p6/(conv2d|bn)", layer):
        return f"fpn.resample.3.conv.{found[1].replace('conv2d', 'conv')}"
    if found := re.fullmatch(r"fpn_cells/cell_(\d+)/fnode(\d+)/resample_\d+_(\d+)_\d+/(conv2d|bn)", layer):
        cell, node, source, part = found.groups()
        part = part.replace("conv2d", "conv")
        return f"fpn.cell.{cell}.fnode.{node}.combine.resample.{source}.conv.{part}"
    if found := re.fullmatch(r"fpn_cells/cell_(\d+)/fnode(\d+)/op_after_combine\d+/(conv|bn)", layer):
        cell, node, part = found.groups()
        end = ".bn" if part == "bn" else separable.get(kind, "")
        return f"fpn.cell.{cell}.fnode.{node}.after_combine.conv{end}"
    if found := re.fullmatch(r"(class|box)_net/\1-(\d+)-bn-(\d+)", layer):
        return f"{found[1]}_net.bn_rep.{found[2]}.{int(found[3]) - 3}.bn"
    if found := re.fullmatch(r"(class|box)_net/\1-(\d+|predict)", layer):
        part = "predict" if found[2] == "predict" else f"conv_rep.{found[2]}"
        return f"{found[1]}_net.{part}{separable.get(kind, '')}"
    return None


def _block_layer(layer: str, place: tuple[int, int]) -> str | None:
    """Of a block of the backbone; norms are numbered as they come."""
    convs = (PLAIN if place[0] == 0 else EXPANDED) | SQUEEZE
    at = f"backbone.blocks.{place[0]}.{place[1]}"
    if found := re.fullmatch(r"tpu_batch_normalization(?:_(\d))?", layer):
        return f"{at}.bn{int(found[1] or 0) + 1}"
    return f"{at}.{convs[layer]}" if layer in convs else None
