"""Backbones alone, as their ImageNet files name them: torchvision, timm, mmdet, detectron2, huawei, tonylins,
lukemelas."""

import re
from collections.abc import Iterator

from pagoda.convert.architecture.efficientnet import places_of_blocks
from pagoda.convert.architecture.plugins import Shapes
from pagoda.convert.names.detectron2 import IMAGENET_RULES as DETECTRON2
from pagoda.convert.names.efficientdet import BlockNames, block_rules
from pagoda.convert.names.maskrcnn_benchmark import mobilenet_rules
from pagoda.convert.names.mmdet import BACKBONE_RULES as RESNET
from pagoda.convert.names.rules import Rule

CLASSIFIER = "ImageNet classifier"
GHOSTNET = (
    Rule("{rest}.total_ops", None, "a counter of a profiler"),
    Rule("{rest}.total_params", None, "a counter of a profiler"),
    Rule("blocks.9.{rest}", "backbone.blocks.9.{rest}"),
    *(
        Rule(f"{name}.{{rest}}", f"backbone.{name}.{{rest}}")
        for name in ("conv_stem", "bn1", "blocks", "conv_head", "classifier")
    ),
)
MOBILENET_FLAT = (
    *mobilenet_rules(""),
    Rule("conv.{rest}", None, CLASSIFIER),
    Rule("features.18.{rest}", None, CLASSIFIER),
    Rule("classifier.{rest}", None, CLASSIFIER),
)
MOBILENET = (
    Rule("features.18.{rest}", None, CLASSIFIER),
    Rule("classifier.{rest}", None, CLASSIFIER),
    Rule("features.{rest}", "backbone.features.{rest}"),
)
VGG = (
    Rule("features.{n}.{rest}", "backbone.features.{n}.{rest}"),
    Rule("classifier.0.{rest}", "backbone.fc6.{rest}"),
    Rule("classifier.3.{rest}", "backbone.fc7.{rest}"),
    Rule("classifier.{rest}", None, CLASSIFIER),
)
VGG_REDUCED = (
    Rule("31.{rest}", "backbone.fc6.{rest}"),
    Rule("33.{rest}", "backbone.fc7.{rest}"),
    Rule("{n}.{rest}", "backbone.features.{n}.{rest}"),
)


def efficientnet_body(shapes: Shapes, front: str = "", *, conv_suffix: str = "") -> Iterator[Rule]:
    """Of an EfficientNet's stem and blocks, which are numbered straight on, below `front` there; `conv_suffix` stands
    behind the name of a convolution.

    >>> shapes = {f"_blocks.{number}._bn1.weight": (8,) for number in range(16)}
    >>> next(efficientnet_body(shapes)).to_ours("_conv_stem.weight", ())
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


def efficientnet_rules(shapes: Shapes) -> tuple[Rule, ...]:
    """Of lukemelas' EfficientNets alone; what stands above the last block is left out."""
    above = (Rule(f"{name}.{{rest}}", None, CLASSIFIER) for name in ("_conv_head", "_bn1", "_fc"))
    return (*efficientnet_body(shapes), *above)


__all__ = [
    "DETECTRON2",
    "GHOSTNET",
    "MOBILENET",
    "MOBILENET_FLAT",
    "RESNET",
    "VGG",
    "VGG_REDUCED",
    "efficientnet_body",
    "efficientnet_rules",
]
