"""What all programs' EfficientDets share: a block's and a pyramid's names, and which variant the shapes tell.

Canonical names are those of `detectors.efficientdet` composed of `backbones.timm`, `necks.bifpn` and
`heads.separable`: backbone.body.blocks.S.B (stage, block), neck.cells.C.nodes.N, class_head.norms.REPEAT.LEVEL.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pagoda.convert.architecture.dense import Architecture
from pagoda.convert.architecture.efficientnet import count_of, efficientnet_of
from pagoda.convert.architecture.plugins import Shapes, body_shapes
from pagoda.convert.names.rules import Rule
from pagoda.necks.topology import TOPOLOGIES
from pagoda.weights.files import WeightsError
from pagoda.zoo.efficientdet import VARIANTS, Variant

OUR_BLOCK, OUR_NODE = "backbone.body.blocks.{s}.{i}", "neck.cells.{{c}}.nodes.{node}"
# The norm behind each convolution of a block, by timm's names: with an expansion in front, and without.
EXPANDED = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))
PLAIN = (("conv_dw", "bn1"), ("conv_pw", "bn2"))


def block_rules(theirs: str, place: tuple[int, int], names: "BlockNames") -> Iterator[Rule]:
    """Of one block called `theirs` there."""
    ours = OUR_BLOCK.format(s=place[0], i=place[1])
    is_plain = place[0] == 0
    convs = (names.depthwise, names.project) if is_plain else (names.expand, names.depthwise, names.project)
    norms = names.plain_norms if is_plain else names.norms
    for (conv, norm), their_conv, their_norm in zip(
        PLAIN if is_plain else EXPANDED, convs, norms, strict=True
    ):
        yield Rule(f"{theirs}.{their_conv}.{{rest}}", f"{ours}.{conv}.{{rest}}")
        yield Rule(f"{theirs}.{their_norm}.{{rest}}", f"{ours}.{norm}.{{rest}}")
    for part, their_part in (("reduce", names.squeeze), ("expand", names.excite)):
        yield Rule(f"{theirs}.{their_part}.{{rest}}", f"{ours}.se.conv_{part}.{{rest}}")


class BlockNames(NamedTuple):
    """How a program calls the parts of a block; norms in the order of the convolutions."""

    expand: str
    depthwise: str
    project: str
    squeeze: str
    excite: str
    norms: tuple[str, ...]
    plain_norms: tuple[str, ...]


class PyramidNames(NamedTuple):
    """How a program calls the parts of a pyramid; {rest} is what follows."""

    cell: str
    depthwise: str
    pointwise: str
    projection_conv: str
    projection_norm: str
    second: Mapping[int, str]
    """{level: the projection for the way up, where the way down has one already}"""
    sixth: str
    """the projection in front of P6"""


def pyramid_rules(names: PyramidNames, top_level: int, *, weighted: bool) -> Iterator[Rule]:
    """Of zylo117's kind: nodes called by their level and direction, fusion weights by level and pass."""
    for node, (level, way) in enumerate(_nodes_of(top_level)):
        theirs, ours = f"{names.cell}.conv{level}_{way}", OUR_NODE.format(node=node)
        yield Rule(f"{theirs}.{names.depthwise}.{{rest}}", f"{ours}.conv.conv_dw.{{rest}}")
        yield Rule(f"{theirs}.{names.pointwise}.{{rest}}", f"{ours}.conv.conv_pw.{{rest}}")
        yield Rule(f"{theirs}.bn.{{rest}}", f"{ours}.conv.bn.{{rest}}")
        weights = f"{names.cell}.p{level}_w{1 if way == 'up' else 2}"
        if weighted:
            yield Rule(weights, f"{ours}.weights")
        else:
            yield Rule(weights, None, "fusion weights, which this variant adds up without")
    at = {pair: node for node, pair in enumerate(_nodes_of(top_level))}
    edges = [(f"p{level}_down_channel", at[level, "up"], level - 3) for level in (3, 4, 5)]
    edges += [(name, at[level, "down"], level - 3) for level, name in names.second.items()]
    targets = [
        (f"{names.cell}.{name}", f"{OUR_NODE.format(node=node)}.edges.{edge}") for name, node, edge in edges
    ]
    first_cell = names.cell.replace("{c}", "0")
    for theirs, ours in [*targets, (f"{first_cell}.{names.sixth}", "neck.extra.3")]:
        yield Rule(f"{theirs}.{names.projection_conv}.{{rest}}", f"{ours}.conv.{{rest}}")
        yield Rule(f"{theirs}.{names.projection_norm}.{{rest}}", f"{ours}.bn.{{rest}}")


def head_rules(
    heads: Mapping[str, str], norms: str, *, layers: str = "{head}.{part}", conv_suffix: str = ""
) -> Iterator[Rule]:
    """Of both separable heads; `heads` are {their name: ours}, and the other words hold theirs in {head}.

    Args:
        norms: of a norm, with {{r}} for the repeat and {{l}} for the level.
        layers: in front of a convolution: its {part} is conv_list.REPEAT or header.
        conv_suffix: behind the name of a convolution.
    """
    for theirs, ours in heads.items():
        yield Rule(f"{norms.format(head=theirs)}.{{rest}}", f"{ours}.norms.{{r}}.{{l}}.{{rest}}")
        for part, our_part in (("conv_list.{r}", "convs.{r}"), ("header", "predict")):
            front = layers.format(head=theirs, part=part)
            for conv, our_conv in (("depthwise_conv", "conv_dw"), ("pointwise_conv", "conv_pw")):
                yield Rule(f"{front}.{conv}{conv_suffix}.{{rest}}", f"{ours}.{our_part}.{our_conv}.{{rest}}")


def _nodes_of(top_level: int) -> list[tuple[int, str]]:
    """(level, "up" or "down") of a BiFPN's nodes, as zylo117 names directions: "up" is towards fine levels."""
    down = [(level, "up") for level in range(top_level - 1, 2, -1)]
    return down + [(level, "down") for level in range(4, top_level + 1)]


def efficientdet_architecture(shapes: Shapes) -> Architecture:
    """Of canonical shapes, whichever program they are from. Raises WeightsError where no variant fits."""
    backbone = efficientnet_of(body_shapes(shapes))
    is_restrided, topology = "neck.cells.0.w1" in shapes, "bifpn"
    first = "neck.lateral.3.weight" if is_restrided else "neck.cells.0.nodes.0.conv.conv_pw.weight"
    predict = "predict.weight" if is_restrided else "predict.conv_pw.weight"
    for name in (first, f"class_head.{predict}", f"box_head.{predict}"):
        if name not in shapes:
            raise WeightsError(f"it lacks what becomes {name}: the checkpoint is cut short")
    found = {"width": shapes[first][0], "cells": count_of(shapes, r"neck\.cells\.(\d+)\.")}
    if not is_restrided:
        found["head_depth"] = count_of(shapes, r"class_head\.convs\.(\d+)\.")
        topology, found["top_level"] = _cells_of(shapes)
    is_weighted = None if is_restrided else "neck.cells.0.nodes.0.weights" in shapes
    name, variant = _nearest_variant(backbone, found, is_weighted)
    # toandaominh1997 has a cell less than the table, after the paper's first version.
    usual = {"cells": variant.cells - 1} if is_restrided else {}
    box_rows = shapes[f"box_head.{predict}"][0]
    return Architecture(
        detector="efficientdet",
        backbone=name.removeprefix("efficientdet_"),
        neck="",
        num_classes=shapes[f"class_head.{predict}"][0] // (box_rows // 4),
        options={
            **({} if topology == "bifpn" else {"topology": topology}),
            **_fusion_option(is_weighted, variant),
            **{key: value for key, value in found.items() if value != usual.get(key, getattr(variant, key))},
        },
        box_rows=box_rows,
    )


def _fusion_option(is_weighted: bool | None, variant: Variant) -> dict[str, str]:
    """Where the pyramid does not join as the variant's; weights may be attention's, too, which look the same."""
    if is_weighted is None or is_weighted == (variant.fusion != "sum"):
        return {}
    return {"fusion": "fast" if is_weighted else "sum"}


def _cells_of(shapes: Shapes) -> tuple[str, int]:
    """(topology, top level) by a cell's nodes and by the levels for which the heads have norms of their own."""
    nodes = count_of(shapes, r"neck\.cells\.0\.nodes\.(\d+)\.")
    levels = count_of(shapes, r"class_head\.norms\.0\.(\d+)\.") or 1 + nodes // 2
    for name, topology in TOPOLOGIES.items():
        if len(topology(3, 2 + levels)) == nodes:
            return name, 2 + levels
    raise WeightsError(
        f"its pyramid has {nodes} nodes per cell for {levels} levels, as no topology of ours has"
    )


def _nearest_variant(
    backbone: str, found: Mapping[str, int], is_weighted: bool | None
) -> tuple[str, Variant]:
    """The variant on this backbone that differs in the fewest sizes; of equal ones (D6 and D7) the first.

    `is_weighted` tells whether the pyramid has fusion weights; None: that counts for nothing.
    """
    of_backbone = {name: variant for name, variant in VARIANTS.items() if variant.backbone == backbone}
    fitting = {
        name: variant
        for name, variant in of_backbone.items()
        if is_weighted in (None, variant.fusion != "sum")
    } or of_backbone  # where none is, an option says what it does
    best = min(fitting, key=lambda name: sum(getattr(fitting[name], key) != n for key, n in found.items()))
    return best, fitting[best]


def told_apart(architecture: Architecture, path: Path, wanted: str | None) -> Architecture:
    """D7 is D6 with larger anchors and pictures, so that only `wanted` or the file's name tells.

    Raises WeightsError where another model is wanted than the tensors are of.
    """
    is_either = architecture.detector == "efficientdet" and architecture.backbone == "d6"
    says_so = re.search(r"d7(?!x)", path.name, re.IGNORECASE) is not None if wanted is None else False
    if (
        is_either
        and not set(architecture.options) - {"fusion", "topology"}
        and (wanted == "efficientdet_d7" or says_so)
    ):
        architecture = replace(architecture, backbone="d7")
    name = "_".join(
        part for part in (architecture.detector, architecture.backbone, architecture.neck) if part
    )
    if wanted is not None and wanted != name:
        sizes = ", ".join(f"{key} {value}" for key, value in architecture.options.items())
        raise WeightsError(f"{path} holds {name}{f' ({sizes})' if sizes else ''}, not {wanted}")
    return architecture
