"""maskrcnn-benchmark and FCOS, which grew out of it: `.pth` with {"model": …}; spec sections 5.1 and 1.4."""

from functools import partial

from pagoda.convert.names.pyramids import Pyramid, extra_rules
from pagoda.convert.names.rules import Rule

BODY, BLOCK = "backbone.body", "layer{s}.{i}"

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


PYRAMID = Pyramid(
    r"backbone\.fpn\.fpn_inner(\d)(?:\.0)?\.weight$",
    partial(extra_rules, "backbone.fpn.top_blocks.p{n}"),
    above=1,
)
RULES = (
    Rule(f"{BODY}.{BLOCK}.conv2.offset.{{rest}}", f"backbone.{BLOCK}.conv2.offset.{{rest}}"),
    Rule(
        f"{BODY}.{BLOCK}.conv2.conv.{{rest}}",
        f"backbone.{BLOCK}.conv2.{{rest}}",
        where_ours_has=f"backbone.{BLOCK}.conv2.offset.weight",
    ),
    *(Rule(f"{BODY}.stem.{part}.{{rest}}", f"backbone.{part}.{{rest}}") for part in ("conv1", "bn1")),
    Rule(f"{BODY}.layer{{s}}.{{rest}}", "backbone.layer{s}.{rest}"),
    *mobilenet_rules(f"{BODY}."),
    *PYRAMID.rules((3, 4, 5)),
    *(
        Rule(f"backbone.fpn.fpn_{theirs}{level - 1}.{{rest}}", f"neck.{ours}.{level}.{{rest}}")
        for level in (2, 3, 4, 5)
        for theirs, ours in (("inner", "lateral"), ("layer", "output"))
    ),
    *(
        rule
        for theirs, ours in (("cls", "class_head"), ("bbox", "box_head"))
        for rule in (
            Rule(f"rpn.head.{theirs}_tower.{{n}}.offset.{{rest}}", f"{ours}.tower.{{n}}.offset.{{rest}}"),
            Rule(
                f"rpn.head.{theirs}_tower.{{n}}.conv.{{rest}}",
                f"{ours}.tower.{{n}}.{{rest}}",
                where_ours_has=f"{ours}.tower.{{n}}.offset.weight",
            ),
            Rule(f"rpn.head.{theirs}_tower.{{n}}.{{rest}}", f"{ours}.tower.{{n}}.{{rest}}"),
        )
    ),
    Rule("rpn.head.cls_logits.{rest}", "class_head.predict.{rest}"),
    Rule("rpn.head.bbox_pred.{rest}", "box_head.predict.{rest}"),
    Rule("rpn.head.centerness.{rest}", "quality.{rest}"),
    Rule("rpn.head.scales.{n}.scale", "scales.{n}"),
    Rule("rpn.anchor_generator.{rest}", None, "anchors are computed"),
)


def _tower_rules(theirs: str, ours: str, depth: int) -> tuple[Rule, ...]:
    """Numbered convolutions `…1`, `…2` with a ReLU behind each: every second module of ours."""
    return tuple(
        Rule(f"{theirs}{index + 1}.{{rest}}", f"{ours}.tower.{2 * index}.{{rest}}") for index in range(depth)
    )


BOX, MASK, KEYPOINT = "roi_heads.box", "roi_heads.mask", "roi_heads.keypoint"
RCNN_RULES = (
    *(rule for rule in RULES if not rule.source.startswith("rpn.")),
    Rule("rpn.anchor_generator.{rest}", None, "anchors are computed"),
    Rule("rpn.head.conv.{rest}", "rpn_head.tower.0.{rest}"),
    Rule("rpn.head.cls_logits.{rest}", "rpn_head.objectness.{rest}"),
    Rule("rpn.head.bbox_pred.{rest}", "rpn_head.deltas.{rest}"),
    Rule(f"{BOX}.feature_extractor.fc6.{{rest}}", "box_head.trunk.1.{rest}"),
    Rule(f"{BOX}.feature_extractor.fc7.{{rest}}", "box_head.trunk.3.{rest}"),
    Rule(f"{BOX}.feature_extractor.head.layer4.{{rest}}", "box_head.trunk.stage.{rest}"),
    Rule(f"{BOX}.predictor.cls_score.{{rest}}", "box_head.classes.{rest}"),
    Rule(f"{BOX}.predictor.bbox_pred.{{rest}}", "box_head.deltas.{rest}"),
    Rule(f"{MASK}.feature_extractor.head.{{rest}}", None, "the box head's last stage once more"),
    *_tower_rules(f"{MASK}.feature_extractor.mask_fcn", "mask_head", 8),
    Rule(f"{MASK}.predictor.conv5_mask.{{rest}}", "mask_head.enlarge.{rest}"),
    Rule(f"{MASK}.predictor.mask_fcn_logits.{{rest}}", "mask_head.predict.{rest}"),
    *_tower_rules(f"{KEYPOINT}.feature_extractor.conv_fcn", "keypoint_head", 8),
    Rule(f"{KEYPOINT}.predictor.kps_score_lowres.{{rest}}", "keypoint_head.predict.{rest}"),
)
