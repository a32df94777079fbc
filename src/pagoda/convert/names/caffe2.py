"""Caffe2 Detectron pickles, ImageNet bodies and RetinaNet: {"blobs": {name: array}}; spec section 5.2.

Norms are stored as a scale and a shift, so their statistics keep 0 and 1, and no epsilon may be added.
"""

from collections.abc import Iterator
from itertools import product

from pagoda.convert.names.rules import Rule

KINDS = {"w": "weight", "b": "bias", "s": "weight"}
# index of each stage's last block: the FPN's blobs are named after it
LAST_BLOCKS = {2: (1, 2), 3: (1, 3, 7), 4: (1, 5, 22, 35), 5: (1, 2)}
DROPPED = (
    ("{rest}_momentum", "optimiser state"),
    ("weight_order", "the optimiser's"),
    ("lr", "learning rate"),
    ("pred_{rest}", "ImageNet classifier"),
    ("fc1000_{rest}", "ImageNet classifier"),
    ("conv1_b", "a convolution's bias that a norm follows"),
    ("res{rest}_branch1_b", "a convolution's bias that a norm follows"),
    ("res{rest}_branch2a_b", "a convolution's bias that a norm follows"),
    ("res{rest}_branch2b_b", "a convolution's bias that a norm follows"),
    ("res{rest}_branch2c_b", "a convolution's bias that a norm follows"),
)


def body_rules() -> Iterator[Rule]:
    """conv1 and res2 … res5, with affine or group norm."""
    yield Rule("conv1_w", "backbone.conv1.weight")
    for norm in ("bn", "gn"):
        stem = "res_conv1_bn" if norm == "bn" else "conv1_gn"
        for kind in "sb":
            yield Rule(f"{stem}_{kind}", f"backbone.bn1.{KINDS[kind]}")
    for stage in (2, 3, 4, 5):
        theirs, ours = f"res{stage}_{{i}}", f"backbone.layer{stage - 1}.{{i}}"
        for index, branch in enumerate("abc", start=1):
            yield Rule(f"{theirs}_branch2{branch}_w", f"{ours}.conv{index}.weight")
        yield Rule(f"{theirs}_branch1_w", f"{ours}.downsample.0.weight")
        for norm, kind in product(("bn", "gn"), "sb"):
            for index, branch in enumerate("abc", start=1):
                yield Rule(f"{theirs}_branch2{branch}_{norm}_{kind}", f"{ours}.bn{index}.{KINDS[kind]}")
            yield Rule(f"{theirs}_branch1_{norm}_{kind}", f"{ours}.downsample.1.{KINDS[kind]}")


def neck_rules() -> Iterator[Rule]:
    """Laterals, outputs and P6, P7."""
    for level, blocks in LAST_BLOCKS.items():
        lateral = "" if level == 5 else "_lateral"
        for last in blocks:
            for kind in "wb":
                block = f"res{level}_{last}_sum"
                yield Rule(f"fpn_inner_{block}{lateral}_{kind}", f"neck.lateral.{level}.{KINDS[kind]}")
                yield Rule(f"fpn_{block}_{kind}", f"neck.output.{level}.{KINDS[kind]}")
    for level in (6, 7):
        for kind in "wb":
            yield Rule(f"fpn_{level}_{kind}", f"neck.extra.{level}.{KINDS[kind]}")


def _retinanet_rules() -> Iterator[Rule]:
    """Towers of convolutions and ReLUs: every second module of ours."""
    for theirs, ours in (("cls", "class_head"), ("bbox", "box_head")):
        for kind in "wb":
            for index in range(8):
                name = f"retnet_{theirs}_conv_n{index}_fpn3_{kind}"
                yield Rule(name, f"{ours}.tower.{2 * index}.{KINDS[kind]}")
            yield Rule(f"retnet_{theirs}_pred_fpn3_{kind}", f"{ours}.predict.{KINDS[kind]}")


RULES = (
    *(Rule(pattern, None, why) for pattern, why in DROPPED),
    *body_rules(),
    *neck_rules(),
    *_retinanet_rules(),
)


def _roi_rules(*, one_level: bool) -> Iterator[Rule]:
    """Faster, Mask and Keypoint R-CNN on a pyramid, or on C4 (`one_level`), whose res5 is the box head's trunk."""
    for rule in body_rules():
        stage = str(rule.ours).replace("backbone.layer4.", "box_head.trunk.stage.")
        yield Rule(rule.source, stage) if one_level else rule
    suffix = "" if one_level else "_fpn2"
    names = {
        f"conv_rpn{suffix}": "rpn_head.tower.0",
        f"rpn_cls_logits{suffix}": "rpn_head.objectness",
        f"rpn_bbox_pred{suffix}": "rpn_head.deltas",
        "fc6": "box_head.trunk.1",
        "fc7": "box_head.trunk.3",
        "cls_score": "box_head.classes",
        "bbox_pred": "box_head.deltas",
        **{f"_[mask]_fcn{index + 1}": f"mask_head.tower.{2 * index}" for index in range(8)},
        "conv5_mask": "mask_head.enlarge",
        "mask_fcn_logits": "mask_head.predict",
        **{f"conv_fcn{index + 1}": f"keypoint_head.tower.{2 * index}" for index in range(8)},
        "kps_score_lowres": "keypoint_head.predict",
    }
    for theirs, ours in names.items():
        for kind in "wb":
            yield Rule(f"{theirs}_{kind}", f"{ours}.{KINDS[kind]}")
    for kind in "wb":
        yield Rule(f"kps_score_{kind}", None, "a fixed bilinear kernel")


NOT_NEEDED = tuple(Rule(pattern, None, why) for pattern, why in DROPPED)
RCNN_RULES = (*NOT_NEEDED, *_roi_rules(one_level=False), *neck_rules())
RCNN_ONE_LEVEL_RULES = (*NOT_NEEDED, *_roi_rules(one_level=True))
