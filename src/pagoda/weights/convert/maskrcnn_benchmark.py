"""maskrcnn-benchmark and FCOS, which grew out of it: `.pth` with {"model": …}; spec sections 5.1 and 1.4."""

from pagoda.weights.convert.rules import Rule

BODY = "backbone.body"

# MobileNetV2 without expansion (block 1) and with it: the flat numbers of its Sequential to torchvision's nested.
PLAIN_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
EXPANDED_BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}


def mobilenet_rules(theirs: str) -> tuple[Rule, ...]:
    """`features.…` under a prefix."""
    rules = [
        Rule(f"{theirs}features.1.conv.{flat}.{{rest}}", f"backbone.features.1.conv.{nested}.{{rest}}")
        for flat, nested in PLAIN_BLOCK.items()
    ]
    rules += [
        Rule(
            f"{theirs}features.{{i}}.conv.{flat}.{{rest}}", f"backbone.features.{{i}}.conv.{nested}.{{rest}}"
        )
        for flat, nested in EXPANDED_BLOCK.items()
    ]
    return (*rules, Rule(f"{theirs}features.0.{{rest}}", "backbone.features.0.{rest}"))


RULES = (
    Rule(f"{BODY}.layer{{s}}.{{i}}.conv2.conv.{{rest}}", "backbone.layer{s}.{i}.conv2.{rest}"),
    Rule(f"{BODY}.stem.{{rest}}", "backbone.{rest}"),
    Rule(f"{BODY}.layer{{s}}.{{rest}}", "backbone.layer{s}.{rest}"),
    *mobilenet_rules(f"{BODY}."),
    *(
        Rule(f"backbone.fpn.fpn_{theirs}{level - 1}.{{rest}}", f"neck.{ours}.{level}.{{rest}}")
        for level in (2, 3, 4, 5)
        for theirs, ours in (("inner", "lateral"), ("layer", "output"))
    ),
    Rule("backbone.fpn.top_blocks.p{n}.{rest}", "neck.extra.{n}.{rest}"),
    *(
        rule
        for theirs, ours in (("cls", "class_head"), ("bbox", "box_head"))
        for rule in (
            Rule(f"rpn.head.{theirs}_tower.{{n}}.conv.{{rest}}", f"{ours}.tower.{{n}}.{{rest}}"),
            Rule(f"rpn.head.{theirs}_tower.{{n}}.{{rest}}", f"{ours}.tower.{{n}}.{{rest}}"),
        )
    ),
    Rule("rpn.head.cls_logits.{rest}", "class_head.predict.{rest}"),
    Rule("rpn.head.bbox_pred.{rest}", "box_head.predict.{rest}"),
    Rule("rpn.head.centerness.{rest}", "quality.{rest}"),
    Rule("rpn.head.scales.{n}.scale", "scales.{n}"),
    Rule("rpn.anchor_generator.{rest}", None, "anchors are computed"),
)
