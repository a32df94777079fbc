"""EfficientNets of lukemelas/EfficientNet-PyTorch, which number blocks straight on; others have them as a body."""

import re
from collections.abc import Iterator

from pagoda.convert.architecture.efficientnet import places_of_blocks
from pagoda.convert.architecture.plugins import Shapes
from pagoda.convert.names.efficientdet import BlockNames, block_rules
from pagoda.convert.names.rules import Rule

CLASSIFIER = "ImageNet classifier"


def body_rules(shapes: Shapes, front: str = "", *, conv_suffix: str = "") -> Iterator[Rule]:
    """Of stem and blocks, below `front` there; `conv_suffix` stands behind the name of a convolution.

    >>> shapes = {f"_blocks.{number}._bn1.weight": (8,) for number in range(16)}
    >>> next(body_rules(shapes)).to_ours("_conv_stem.weight", ())
    'backbone.body.conv_stem.weight'
    """
    found = (re.match(rf"{re.escape(front)}_blocks\.(\d+)\.", name) for name in shapes)
    names = BlockNames(
        expand=f"_expand_conv{conv_suffix}",
        depthwise=f"_depthwise_conv{conv_suffix}",
        project=f"_project_conv{conv_suffix}",
        squeeze=f"_se_reduce{conv_suffix}",
        excite=f"_se_expand{conv_suffix}",
        norms=("_bn0", "_bn1", "_bn2"),
        plain_norms=("_bn1", "_bn2"),
    )
    yield Rule(f"{front}_conv_stem{conv_suffix}.{{rest}}", "backbone.body.conv_stem.{rest}")
    yield Rule(f"{front}_bn0.{{rest}}", "backbone.body.bn1.{rest}")
    for number, place in enumerate(places_of_blocks(len({match[1] for match in found if match}))):
        yield from block_rules(f"{front}_blocks.{number}", place, names)


def rules_for(shapes: Shapes) -> tuple[Rule, ...]:
    """Of the network alone; what stands above the last block is left out."""
    above = (Rule(f"{name}.{{rest}}", None, CLASSIFIER) for name in ("_conv_head", "_bn1", "_fc"))
    return (*body_rules(shapes), *above)
