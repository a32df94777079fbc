"""detectron2 and AdelaiDet: `.pkl` and `.pth`; spec section 5.3."""

from collections.abc import Iterator
from functools import partial

from pagoda.convert.names.pyramids import Pyramid, extra_rules
from pagoda.convert.names.rules import Rule

DROPPED = (
    Rule("pixel_mean", None, "preprocessing constant"),
    Rule("pixel_std", None, "preprocessing constant"),
    Rule("anchor_generator.{rest}", None, "anchors are computed"),
    Rule("proposal_generator.anchor_generator.{rest}", None, "anchors are computed"),
)


def _body_rules(theirs: str) -> Iterator[Rule]:
    """The stem and res2 … res5 under a prefix (empty in ImageNet files)."""
    yield Rule(f"{theirs}stem.fc.{{rest}}", None, "ImageNet classifier")
    yield Rule(f"{theirs}stem.conv1.norm.{{rest}}", "backbone.bn1.{rest}")
    yield Rule(f"{theirs}stem.conv1.{{rest}}", "backbone.conv1.{rest}")
    for stage in (2, 3, 4, 5):
        block, ours = f"{theirs}res{stage}.{{i}}", f"backbone.layer{stage - 1}.{{i}}"
        yield Rule(f"{block}.shortcut.norm.{{rest}}", f"{ours}.downsample.1.{{rest}}")
        yield Rule(f"{block}.shortcut.{{rest}}", f"{ours}.downsample.0.{{rest}}")
        yield Rule(f"{block}.conv2_offset.{{rest}}", f"{ours}.conv2.offset.{{rest}}")
        for index in (1, 2, 3):
            yield Rule(f"{block}.conv{index}.norm.{{rest}}", f"{ours}.bn{index}.{{rest}}")
            yield Rule(f"{block}.conv{index}.{{rest}}", f"{ours}.conv{index}.{{rest}}")


def _neck_rules() -> Iterator[Rule]:
    """With a norm, ours is a Sequential of convolution and norm."""
    for kind in ("lateral", "output"):
        theirs = f"backbone.fpn_{kind}{{n}}"
        yield Rule(f"{theirs}.norm.{{rest}}", f"neck.{kind}.{{n}}.1.{{rest}}")
        yield Rule(
            f"{theirs}.{{rest}}", f"neck.{kind}.{{n}}.0.{{rest}}", where_source_has=f"{theirs}.norm.weight"
        )
        yield Rule(f"{theirs}.{{rest}}", f"neck.{kind}.{{n}}.{{rest}}")


PYRAMID = Pyramid(r"backbone\.fpn_lateral(\d)\.weight$", partial(extra_rules, "backbone.top_block.p{n}"))
RULES = (
    *DROPPED,
    *_body_rules("backbone.bottom_up."),
    *_neck_rules(),
    *PYRAMID.rules((3, 4, 5)),
    Rule("head.cls_subnet.{n}.{rest}", "class_head.tower.{n}.{rest}"),
    Rule("head.bbox_subnet.{n}.{rest}", "box_head.tower.{n}.{rest}"),
    Rule("head.cls_score.{rest}", "class_head.predict.{rest}"),
    Rule("head.bbox_pred.{rest}", "box_head.predict.{rest}"),
    Rule("head.ctrness.{rest}", "quality.{rest}"),
)

ADELAIDET_HEAD = "proposal_generator.fcos_head"
ADELAIDET_RULES = (
    *DROPPED,
    *_body_rules("backbone.bottom_up."),
    *_neck_rules(),
    *PYRAMID.rules((3, 4, 5)),
    *(
        rule
        for theirs, ours in (("cls", "class_head"), ("bbox", "box_head"))
        for rule in (
            Rule(
                f"{ADELAIDET_HEAD}.{theirs}_tower.{{n}}.offset.{{rest}}",
                f"{ours}.tower.{{n}}.offset.{{rest}}",
            ),
            Rule(
                f"{ADELAIDET_HEAD}.{theirs}_tower.{{n}}.conv.{{rest}}",
                f"{ours}.tower.{{n}}.{{rest}}",
                where_ours_has=f"{ours}.tower.{{n}}.offset.weight",
            ),
            Rule(f"{ADELAIDET_HEAD}.{theirs}_tower.{{n}}.{{rest}}", f"{ours}.tower.{{n}}.{{rest}}"),
        )
    ),
    Rule(f"{ADELAIDET_HEAD}.cls_logits.{{rest}}", "class_head.predict.{rest}"),
    Rule(f"{ADELAIDET_HEAD}.bbox_pred.{{rest}}", "box_head.predict.{rest}"),
    Rule(f"{ADELAIDET_HEAD}.ctrness.{{rest}}", "quality.{rest}"),
    Rule(f"{ADELAIDET_HEAD}.scales.{{n}}.scale", "scales.{n}"),
)
IMAGENET_RULES = (*DROPPED, *_body_rules(""))


def _stage_rules() -> Iterator[Rule]:
    """The last stage where it is part of the box head (C4)."""
    for rule in _body_rules(""):
        if rule.source.startswith("res5."):
            ours = str(rule.ours).replace("backbone.layer4.", "box_head.trunk.stage.")
            yield Rule(f"roi_heads.{rule.source}", ours)


REGION_HEADS = (
    Rule("proposal_generator.rpn_head.conv.{rest}", "rpn_head.tower.0.{rest}"),
    Rule("proposal_generator.rpn_head.objectness_logits.{rest}", "rpn_head.objectness.{rest}"),
    Rule("proposal_generator.rpn_head.anchor_deltas.{rest}", "rpn_head.deltas.{rest}"),
    Rule("roi_heads.box_head.fc1.{rest}", "box_head.trunk.1.{rest}"),
    Rule("roi_heads.box_head.fc2.{rest}", "box_head.trunk.3.{rest}"),
    *_stage_rules(),
    Rule("roi_heads.box_predictor.cls_score.{rest}", "box_head.classes.{rest}"),
    Rule("roi_heads.box_predictor.bbox_pred.{rest}", "box_head.deltas.{rest}"),
    *(
        Rule(f"roi_heads.{head}_head.{theirs}{index + 1}.{{rest}}", f"{head}_head.tower.{2 * index}.{{rest}}")
        for head, theirs in (("mask", "mask_fcn"), ("keypoint", "conv_fcn"))
        for index in range(8)
    ),
    Rule("roi_heads.mask_head.deconv.{rest}", "mask_head.enlarge.{rest}"),
    Rule("roi_heads.mask_head.predictor.{rest}", "mask_head.predict.{rest}"),
    Rule("roi_heads.keypoint_head.score_lowres.{rest}", "keypoint_head.predict.{rest}"),
)
RCNN_RULES = (*DROPPED, *_body_rules("backbone.bottom_up."), *_neck_rules(), *REGION_HEADS)
# C4 and DC5 have no FPN to call the network below "bottom_up".
RCNN_ONE_LEVEL_RULES = (*DROPPED, *_body_rules("backbone."), *REGION_HEADS)
