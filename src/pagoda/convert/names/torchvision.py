"""torchvision's FCOS, RetinaNet and R-CNNs (both versions, old and new names); spec section 5.4."""

from collections.abc import Iterator, Sequence

from pagoda.convert.names.pyramids import Pyramid, extra_rules
from pagoda.convert.names.rules import Rule

BODY = tuple(
    Rule(f"backbone.body.{name}", f"backbone.{name}")
    for name in ("conv1.{rest}", "bn1.{rest}", "layer{s}.{rest}")
)


def _neck_rules(levels: Sequence[int]) -> Iterator[Rule]:
    """Blocks are counted from the lowest of these levels on; old files lack the `.0` of the convolution. With norms
    (second version of R-CNN) ours are Sequentials of convolution and norm, too."""
    for theirs, ours in (("inner", "lateral"), ("layer", "output")):
        for index, level in enumerate(levels):
            block, at = f"backbone.fpn.{theirs}_blocks.{index}", f"neck.{ours}.{level}"
            in_sequential = f"{block}.1.weight"
            yield Rule(f"{block}.1.{{rest}}", f"{at}.1.{{rest}}")
            yield Rule(f"{block}.0.{{rest}}", f"{at}.0.{{rest}}", where_source_has=in_sequential)
            yield Rule(f"{block}.0.{{rest}}", f"{at}.{{rest}}")
            yield Rule(f"{block}.{{rest}}", f"{at}.{{rest}}", read_only=True)
    yield from extra_rules("backbone.fpn.extra_blocks.p{n}", levels)


def _tower_rules(theirs: str, ours: str, *, norm: bool) -> Iterator[Rule]:
    """RetinaNet's towers: blocks of convolution and activation (first version) or with a norm between."""
    step = 3 if norm else 2
    for index in range(8):
        yield Rule(f"{theirs}.conv.{index}.0.{{rest}}", f"{ours}.tower.{step * index}.{{rest}}")
        if norm:
            yield Rule(f"{theirs}.conv.{index}.1.{{rest}}", f"{ours}.tower.{step * index + 1}.{{rest}}")


LATERALS = r"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?\.weight$"
PYRAMID, RCNN_PYRAMID = (Pyramid(LATERALS, _neck_rules, first=level) for level in (3, 2))
CLASS, BOX = "head.classification_head", "head.regression_head"
FCOS_RULES = (
    *BODY,
    *_neck_rules((3, 4, 5)),
    Rule(f"{CLASS}.conv.{{n}}.{{rest}}", "class_head.tower.{n}.{rest}"),
    Rule(f"{BOX}.conv.{{n}}.{{rest}}", "box_head.tower.{n}.{rest}"),
    Rule(f"{CLASS}.cls_logits.{{rest}}", "class_head.predict.{rest}"),
    Rule(f"{BOX}.bbox_reg.{{rest}}", "box_head.predict.{rest}"),
    Rule(f"{BOX}.bbox_ctrness.{{rest}}", "quality.{rest}"),
)


def _retinanet_rules(*, norm: bool) -> tuple[Rule, ...]:
    """Of the second version (`norm`) or the first, whose old files number convolutions and activations alike."""
    old = () if norm else (*_old_tower_rules(CLASS, "class_head"), *_old_tower_rules(BOX, "box_head"))
    return (
        *BODY,
        *_neck_rules((3, 4, 5)),
        *_tower_rules(CLASS, "class_head", norm=norm),
        *_tower_rules(BOX, "box_head", norm=norm),
        *old,
        Rule(f"{CLASS}.cls_logits.{{rest}}", "class_head.predict.{rest}"),
        Rule(f"{BOX}.bbox_reg.{{rest}}", "box_head.predict.{rest}"),
    )


def _old_tower_rules(theirs: str, ours: str) -> tuple[Rule, Rule]:
    """As torchvision wrote them before 0.12."""
    weight, bias = (f"{theirs}.conv.{{n}}.{kind}" for kind in ("weight", "bias"))
    return (
        Rule(weight, f"{ours}.tower.{{n}}.weight", read_only=True),
        Rule(bias, f"{ours}.tower.{{n}}.bias", read_only=True),
    )


RETINANET_RULES = _retinanet_rules(norm=False)
RETINANET_V2_RULES = _retinanet_rules(norm=True)


def _roi_rules(*, norm: bool) -> tuple[Rule, ...]:
    """Of Faster, Mask and Keypoint R-CNN, second version (`norm`) or first with its older names."""
    step = 3 if norm else 2
    box = {"5": "13"} if norm else {"fc6": "1", "fc7": "3"}
    old = (
        Rule("rpn.head.conv.weight", "rpn_head.tower.0.weight", read_only=True),
        Rule("rpn.head.conv.bias", "rpn_head.tower.0.bias", read_only=True),
        *(
            Rule(
                f"roi_heads.mask_head.mask_fcn{i + 1}.{{rest}}",
                f"mask_head.tower.{2 * i}.{{rest}}",
                read_only=True,
            )
            for i in range(4)
        ),
    )
    return (
        *BODY,
        *_neck_rules((2, 3, 4, 5)),
        *(() if norm else old),
        *(Rule(f"rpn.head.conv.{i}.0.{{rest}}", f"rpn_head.tower.{2 * i}.{{rest}}") for i in range(2)),
        Rule("rpn.head.cls_logits.{rest}", "rpn_head.objectness.{rest}"),
        Rule("rpn.head.bbox_pred.{rest}", "rpn_head.deltas.{rest}"),
        *(
            Rule(
                f"roi_heads.{head}_head.{i}.{part}.{{rest}}", f"{head}_head.{ours}.{step * i + part}.{{rest}}"
            )
            for head, ours in (("box", "trunk"), ("mask", "tower"))
            for i in range(4)
            for part in (0, 1)
            if norm or (head == "mask" and part == 0)
        ),
        *(
            Rule(f"roi_heads.box_head.{theirs}.{{rest}}", f"box_head.trunk.{ours}.{{rest}}")
            for theirs, ours in box.items()
        ),
        Rule("roi_heads.box_predictor.cls_score.{rest}", "box_head.classes.{rest}"),
        Rule("roi_heads.box_predictor.bbox_pred.{rest}", "box_head.deltas.{rest}"),
        Rule("roi_heads.mask_predictor.conv5_mask.{rest}", "mask_head.enlarge.{rest}"),
        Rule("roi_heads.mask_predictor.mask_fcn_logits.{rest}", "mask_head.predict.{rest}"),
        Rule("roi_heads.keypoint_head.{n}.{rest}", "keypoint_head.tower.{n}.{rest}"),
        Rule("roi_heads.keypoint_predictor.kps_score_lowres.{rest}", "keypoint_head.predict.{rest}"),
    )


RCNN_RULES = _roi_rules(norm=False)
RCNN_V2_RULES = _roi_rules(norm=True)
