"""Detect-and-Track's pickles: Caffe2 Detectron's blobs, some with a time axis (five axes, time before height).

A file also keeps blobs of the checkpoint that its training began with: heads of a pyramid in a C4 network, say.
Which heads are the model's own, its proposal head tells.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pagoda.convert.architecture.plugins import Shapes
from pagoda.convert.names.caffe2 import KINDS, NOT_NEEDED, body_rules, neck_rules
from pagoda.convert.names.rules import Rule
from pagoda.weights.files import WeightsError

STAGE = "box_head.head.trunk.stage."


@dataclass(frozen=True)
class Form:
    """What a kind of network calls its heads."""

    rpn: str
    """pattern of the proposal head's outputs"""
    box: str
    """pattern of the box head's outputs"""
    fixed: str
    """the kernel of the last doubling, which never learns"""
    one_level: bool
    """without a pyramid: the backbone's last stage is in the box head"""


# In this order: a network with time may have begun as one without, a C4 network as a pyramid, not the reverse.
FORMS = (
    Form("rpn_{}_1", "{}_1", "kps_score_prefinal", one_level=True),
    Form("rpn_{}", "{}", "kps_score", one_level=True),
    Form("rpn_{}_fpn2", "{}", "kps_score", one_level=False),
)
LEFT = "left of the checkpoint that its training began with"
LEFT_OVER = (
    *("fpn_{rest}", "conv_rpn_{rest}", "rpn_cls_logits_{rest}", "rpn_bbox_pred_{rest}", "fc6_{rest}"),
    *("fc7_{rest}", "cls_score_{rest}", "bbox_pred_{rest}", "kps_score_{rest}"),
)


def _form_of(names: Mapping[str, object]) -> Form:
    """By the proposal head. Raises WeightsError where there is none."""
    for form in FORMS:
        if f"{form.rpn.format('cls_logits')}_w" in names:
            return form
    known = ", ".join(f"{form.rpn.format('cls_logits')}_w" for form in FORMS)
    raise WeightsError(f"it has no proposal head (one of {known}): the checkpoint is cut short")


def rules_for(shapes: Shapes) -> tuple[Rule, ...]:
    """The table for the network whose heads are in the file."""
    form = _form_of(shapes)
    fixed = (Rule(f"{form.fixed}_{kind}", None, "a fixed bilinear kernel") for kind in "wb")
    necks = () if form.one_level else neck_rules()
    left = (Rule(pattern, None, LEFT) for pattern in LEFT_OVER)
    return (*NOT_NEEDED, *_stage_rules(form), *necks, *_head_rules(form), *fixed, *left)


def _stage_rules(form: Form) -> Iterator[Rule]:
    """The body; statistics where batch norms learned. On one level res5 is the box head's trunk."""
    for rule in body_rules():
        if "_gn_" in rule.source:  # no network of this program has group norms
            continue
        ours = str(rule.ours)
        if form.one_level:
            ours = ours.replace("backbone.layer4.", STAGE)
        yield Rule(rule.source, ours)
        if rule.source.endswith("_bn_s"):
            norm = rule.source.removesuffix("s")
            for theirs, kind in (("rm", "running_mean"), ("riv", "running_var")):
                yield Rule(f"{norm}{theirs}", f"{ours.removesuffix('weight')}{kind}")


def _head_rules(form: Form) -> Iterator[Rule]:
    """Proposals, boxes, keypoints."""
    names = {
        "conv_rpn" if form.one_level else "conv_rpn_fpn2": "rpn_head.tower.0",
        form.rpn.format("cls_logits"): "rpn_head.objectness",
        form.rpn.format("bbox_pred"): "rpn_head.deltas",
        form.box.format("cls_score"): "box_head.head.classes",
        form.box.format("bbox_pred"): "box_head.head.deltas",
        **{f"conv_fcn{index + 1}": f"keypoint_head.tower.{2 * index}" for index in range(8)},
        "kps_score_lowres": "keypoint_head.predict",
    }
    if not form.one_level:
        names |= {"fc6": "box_head.head.trunk.1", "fc7": "box_head.head.trunk.3"}
    for theirs, ours in names.items():
        for kind in "wb":
            yield Rule(f"{theirs}_{kind}", f"{ours}.{KINDS[kind]}")


def check_layers(tensors: Mapping[str, Tensor]) -> None:
    """Raises WeightsError where the file computes something that our model has no layer for."""
    if "kps_deconv_w" in tensors:
        raise WeightsError(
            "its keypoint head begins with a transposed convolution (kps_deconv_w, KRCNN.USE_DECONV), which our"
            " model has not; only heads without it can be read"
        )
    fixed = _form_of(tensors).fixed
    weight, bias = tensors.get(f"{fixed}_w"), tensors.get(f"{fixed}_b")
    if weight is not None and not _is_bilinear(weight):
        raise WeightsError(
            f"{fixed}_w {tuple(weight.shape)} should be the bilinear kernel that doubles maps, one for each"
            " keypoint, but holds other numbers; our model has that kernel built in and cannot take others"
        )
    if bias is not None and bool((bias != 0).any()):
        raise WeightsError(f"{fixed}_b should hold zeros, as it belongs to a fixed bilinear kernel")


def _is_bilinear(weight: Tensor) -> bool:
    """Whether (K, K, 4, 4) doubles each map for itself."""
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    wanted = torch.eye(len(weight))[:, :, None, None] * (line[:, None] * line)
    return weight.shape == wanted.shape and torch.allclose(weight.float(), wanted, atol=1e-6)
