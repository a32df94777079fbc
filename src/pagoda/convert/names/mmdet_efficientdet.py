"""mmdetection's projects/EfficientDet (spec section 4.3). Its backbone joins stages of one stride: layers 1 … 5."""

import re

from pagoda.convert.architecture.efficientnet import places_of_blocks
from pagoda.convert.architecture.plugins import Shapes
from pagoda.convert.names.efficientdet import (
    BlockNames,
    PyramidNames,
    block_rules,
    head_rules,
    pyramid_rules,
)
from pagoda.convert.names.rules import Rule

BLOCK = BlockNames(
    expand="expand_conv.conv",
    depthwise="depthwise_conv.conv",
    project="linear_conv.conv",
    squeeze="se.conv1.conv",
    excite="se.conv2.conv",
    norms=("expand_conv.bn", "depthwise_conv.bn", "linear_conv.bn"),
    plain_norms=("depthwise_conv.bn", "linear_conv.bn"),
)
PYRAMID = PyramidNames(
    cell="neck.bifpn.{c}",
    depthwise="depthwise_conv",
    pointwise="pointwise_conv",
    projection_conv="down_conv",
    projection_norm="bn",
    second={4: "p4_level_connection", 5: "p5_level_connection"},
    sixth="p5_to_p6.0",
)


def rules_for(shapes: Shapes) -> tuple[Rule, ...]:
    """Its names depend on the number of blocks per layer."""
    found = (re.match(r"backbone\.layers\.([1-5])\.(\d+)\.", name) for name in shapes)
    blocks = sorted({(int(each.group(1)), int(each.group(2))) for each in found if each})
    rules = [
        Rule("backbone.layers.0.conv.{rest}", "backbone.body.conv_stem.{rest}"),
        Rule("backbone.layers.0.bn.{rest}", "backbone.body.bn1.{rest}"),
        Rule("backbone.layers.6.{rest}", None, "beyond the last level of the backbone"),
    ]
    for (layer, block), place in zip(blocks, places_of_blocks(len(blocks)), strict=True):
        rules += block_rules(f"backbone.layers.{layer}.{block}", place, BLOCK)
    rules += pyramid_rules(PYRAMID, 7, weighted=True)
    heads = {"cls": "class_head", "reg": "box_head"}
    rules += head_rules(heads, "bbox_head.{head}_bn_list.{{r}}.{{l}}", layers="bbox_head.{head}_{part}")
    return tuple(rules)
