"""detectron2 and AdelaiDet: `.pkl` and `.pth`; spec section 5.3."""

from collections.abc import Iterator

from pagoda.weights.convert.rules import Rule

DROPPED = (
    Rule("pixel_mean", None, "preprocessing constant"),
    Rule("pixel_std", None, "preprocessing constant"),
    Rule("anchor_generator.{rest}", None, "anchors are computed"),
    Rule("proposal_generator.anchor_generator.{rest}", None, "anchors are computed"),
)


def body_rules(theirs: str) -> Iterator[Rule]:
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


def neck_rules() -> Iterator[Rule]:
    """With a norm, ours is a Sequential of convolution and norm."""
    for theirs, ours in (("lateral", "lateral"), ("output", "output")):
        yield Rule(f"backbone.fpn_{theirs}{{n}}.norm.{{rest}}", f"neck.{ours}.{{n}}.1.{{rest}}")
        yield Rule(f"backbone.fpn_{theirs}{{n}}.{{rest}}", f"neck.{ours}.{{n}}.{{rest}}")
    yield Rule("backbone.top_block.p{n}.{rest}", "neck.extra.{n}.{rest}")


RULES = (
    *DROPPED,
    *body_rules("backbone.bottom_up."),
    *neck_rules(),
    Rule("head.cls_subnet.{n}.{rest}", "class_head.tower.{n}.{rest}"),
    Rule("head.bbox_subnet.{n}.{rest}", "box_head.tower.{n}.{rest}"),
    Rule("head.cls_score.{rest}", "class_head.predict.{rest}"),
    Rule("head.bbox_pred.{rest}", "box_head.predict.{rest}"),
    Rule("head.ctrness.{rest}", "quality.{rest}"),
)

ADELAIDET_HEAD = "proposal_generator.fcos_head"
ADELAIDET_RULES = (
    *DROPPED,
    *body_rules("backbone.bottom_up."),
    *neck_rules(),
    Rule(f"{ADELAIDET_HEAD}.cls_tower.{{n}}.{{rest}}", "class_head.tower.{n}.{rest}"),
    Rule(f"{ADELAIDET_HEAD}.bbox_tower.{{n}}.{{rest}}", "box_head.tower.{n}.{rest}"),
    Rule(f"{ADELAIDET_HEAD}.cls_logits.{{rest}}", "class_head.predict.{rest}"),
    Rule(f"{ADELAIDET_HEAD}.bbox_pred.{{rest}}", "box_head.predict.{rest}"),
    Rule(f"{ADELAIDET_HEAD}.ctrness.{{rest}}", "quality.{rest}"),
    Rule(f"{ADELAIDET_HEAD}.scales.{{n}}.scale", "scales.{n}"),
)
IMAGENET_RULES = (*DROPPED, *body_rules(""))
