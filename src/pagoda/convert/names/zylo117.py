"""zylo117/Yet-Another-EfficientDet-Pytorch (spec section 4.2). Its "d8" is D7x. Box deltas are (dy, dx, dh, dw)."""

from pagoda.convert.architecture.plugins import Shapes
from pagoda.convert.names.efficientdet import PyramidNames, head_rules, pyramid_rules
from pagoda.convert.names.imagenet import efficientnet_body
from pagoda.convert.names.rules import Rule

BODY = "backbone_net.model"
PYRAMID = PyramidNames(
    cell="bifpn.{c}",
    depthwise="depthwise_conv.conv",
    pointwise="pointwise_conv.conv",
    projection_conv="0.conv",
    projection_norm="1",
    second={4: "p4_down_channel_2", 5: "p5_down_channel_2"},
    sixth="p5_to_p6",
)
SUMMED_FROM = 384  # channels: D6, D7 and D7x add up without weights, but keep the parameters


def rules_for(shapes: Shapes) -> tuple[Rule, ...]:
    """Its names depend on the number of blocks and levels, and on the width."""
    top_level = 8 if any(".conv8_down." in name for name in shapes) else 7
    width = shapes.get("bifpn.0.conv6_up.pointwise_conv.conv.weight", (0,))[0]
    rules = list(efficientnet_body(shapes, f"{BODY}.", conv_suffix=".conv"))
    rules += pyramid_rules(PYRAMID, top_level, weighted=width < SUMMED_FROM)
    heads = {"classifier": "class_head", "regressor": "box_head"}
    # Norms are by level and then by repeat there, here the other way round.
    rules += head_rules(heads, "{head}.bn_list.{{l}}.{{r}}", conv_suffix=".conv")
    return tuple(rules)
