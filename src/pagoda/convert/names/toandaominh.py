"""toandaominh1997/EfficientDet.Pytorch: lukemelas' backbone, a pyramid of its own, mmdetection's RetinaNet head."""

import re

from pagoda.convert.architecture.efficientnet import places_of_blocks
from pagoda.convert.architecture.plugins import Shapes
from pagoda.convert.names.efficientdet import BlockNames, block_rules
from pagoda.convert.names.mmdet import prediction_rules, tower_rules
from pagoda.convert.names.rules import Rule

BLOCK = BlockNames(
    expand="_expand_conv",
    depthwise="_depthwise_conv",
    project="_project_conv",
    squeeze="_se_reduce",
    excite="_se_expand",
    norms=("_bn0", "_bn1", "_bn2"),
    plain_norms=("_bn1", "_bn2"),
)
CELL, OUR_CELL = "neck.stack_bifpn_convs.{c}", "neck.cells.{c}"


def rules_for(shapes: Shapes) -> tuple[Rule, ...]:
    """Its names depend on the number of blocks."""
    blocks = {found.group(1) for name in shapes if (found := re.match(r"backbone\._blocks\.(\d+)\.", name))}
    rules = [
        Rule("backbone._conv_stem.{rest}", "backbone.body.conv_stem.{rest}"),
        Rule("backbone._bn0.{rest}", "backbone.body.bn1.{rest}"),
        *(
            Rule(f"backbone.{part}.{{rest}}", None, "ImageNet classifier")
            for part in ("_conv_head", "_bn1", "_fc")
        ),
        *(
            Rule(f"neck.lateral_convs.{level - 3}.conv.{{rest}}", f"neck.lateral.{level}.{{rest}}")
            for level in range(3, 8)
        ),
        Rule(f"{CELL}.w{{k}}", f"{OUR_CELL}.w{{k}}"),
        Rule(f"{CELL}.bifpn_convs.{{n}}.0.conv.{{rest}}", f"{OUR_CELL}.convs.{{n}}.{{rest}}"),
        *tower_rules(norm=False),
        *prediction_rules(class_head="retina_cls", box_head="retina_reg"),
    ]
    for number, place in enumerate(places_of_blocks(len(blocks))):
        rules += block_rules(f"backbone._blocks.{number}", place, BLOCK)
    return tuple(rules)
