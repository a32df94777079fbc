"""Faster, Mask and Keypoint R-CNN of any backbone in any flavour, on a pyramid ("fpn") or one level ("c4", "dc5")."""

from dataclasses import replace
from functools import partial

from torch import nn

from pagoda.detectors.rcnn import RCNN
from pagoda.heads.roi_box import BoxHead, BoxTrunk, StageTrunk
from pagoda.heads.roi_keypoint import KeypointHead
from pagoda.heads.roi_mask import MaskHead
from pagoda.heads.rpn import RPNHead
from pagoda.layers.norm import Norm
from pagoda.necks.fpn import FPN
from pagoda.ops.roi import RoIPooling
from pagoda.structures.labels import LabelMap
from pagoda.zoo.backbones import body_levels, body_options, build_body, is_resnet
from pagoda.zoo.flavours.rcnn import RCNNFlavour
from pagoda.zoo.inputs import input_spec, size_options
from pagoda.zoo.option_groups import (
    BoxHeadOptions,
    ChannelOptions,
    FPNOptions,
    KeypointHeadOptions,
    LevelOptions,
    MaskHeadOptions,
    RCNNOptions,
)
from pagoda.zoo.options import ModelName, ModelOptions, given, with_usual

NECKS = {"fpn": (2, 3, 4, 5), "c4": (4,), "dc5": (5,)}
"""which levels the backbone gives where no others are asked for"""
# Those that are listed; any other backbone goes by its name, too.
REGION_MODELS = [
    *(
        f"{detector}_{backbone}_fpn"
        for detector in ("faster_rcnn", "mask_rcnn", "keypoint_rcnn")
        for backbone in ("resnet18", "resnet34", "resnet50", "resnet101", "resnext101_32x8d")
    ),
    *(
        f"{detector}_{backbone}_{neck}"
        for detector in ("faster_rcnn", "mask_rcnn")
        for backbone in ("resnet50", "resnet101")
        for neck in ("c4", "dc5")
    ),
]
HEADS: dict[str, type[RCNNOptions]] = {
    "faster_rcnn": BoxHeadOptions,
    "mask_rcnn": MaskHeadOptions,
    "keypoint_rcnn": KeypointHeadOptions,
}
"""what can be chosen of a detector's heads; of those behind a backbone's last stage (c4) less"""


def rcnn_options(name: ModelName, flavour: RCNNFlavour) -> tuple[type[ModelOptions], ...]:
    """The option groups of an R-CNN of this name."""
    is_pyramid = name.neck == "fpn"
    return (
        RCNNOptions if name.neck == "c4" else HEADS[name.detector],
        *((FPNOptions, LevelOptions) if is_pyramid else ()),
        *body_options(name.backbone, is_pyramid=is_pyramid),
        ChannelOptions,
        size_options(flavour.input_spec),
    )


def rcnn(name: ModelName, labels: LabelMap, options: RCNNOptions, flavour: RCNNFlavour) -> RCNN:
    """An R-CNN: one flavour's conventions around the parts that the options describe.

    `name.detector` is faster_rcnn, mask_rcnn or keypoint_rcnn. Raises ValueError for networks of one level
    (c4, dc5) on other than ResNets.
    """
    detector, backbone, neck, _ = name
    skeleton = 17 if labels.skeleton is None else len(labels.skeleton)
    options = with_usual(options, {"width": 256, "top_level": 6, "num_keypoints": skeleton})
    is_pyramid = neck == "fpn"
    if neck != "fpn" and not is_resnet(backbone):
        raise ValueError(f"networks of one level are built on ResNets, not {backbone}; take its fpn")
    body = partial(build_body, backbone, options, flavour.body)
    levels = body_levels(options, NECKS[neck]) if is_pyramid else NECKS[neck]
    features = body(levels, dilated=neck == "dc5")
    pyramid = fpn(features.channels, options, flavour) if is_pyramid else None
    channels = (pyramid or features).channels
    width = channels[levels[0]]
    if not is_pyramid:
        flavour = replace(
            flavour,
            proposals=flavour.one_level_proposals,
            pooling=replace(flavour.pooling, sampling_ratio=flavour.one_level_sampling),
        )
    anchors = flavour.anchors(pyramid=is_pyramid)
    stage = body((5,)) if neck == "c4" else None
    trunk, pooling = _box_trunk(width, options, flavour, stage)
    return RCNN(
        features,
        pyramid,
        rpn_head=RPNHead(
            channels, len(anchors.of_cell(16)), depth=flavour.rpn_depth, coder=flavour.rpn_coder
        ),
        box_head=BoxHead(
            trunk,
            len(labels),
            pooling=pooling,
            class_agnostic=options.class_agnostic,
            background=flavour.background,
            background_box=flavour.background_box,
            coder=flavour.box_coder,
        ),
        mask_head=mask_head(width, len(labels), options, flavour, stage) if detector == "mask_rcnn" else None,
        keypoint_head=keypoint_head(width, options, flavour) if detector == "keypoint_rcnn" else None,
        shared_stage=detector == "mask_rcnn" and stage is not None,
        label_map=labels,
        input_spec=replace(
            input_spec(options, flavour.input_spec),
            pad_multiple=flavour.input_spec.pad_multiple if is_pyramid else 1,
        ),
        anchors=anchors,
        proposals=flavour.proposals,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def fpn(channels: dict[int, int], options: FPNOptions, flavour: RCNNFlavour) -> FPN:
    """The FPN: P2 … P5, and the levels above for proposals."""
    return FPN(
        channels,
        options.width,
        top_level=options.top_level,
        extra_from=options.extra_from or flavour.body.extra_from,
        relu_before_extra=flavour.body.relu_before_extra,
        norm=options.neck_norm or flavour.neck_norm,
        norm_on=options.neck_norm_on or ("lateral", "output"),
        groups=given(options.norm_groups, 32),
        relu_after=flavour.body.neck_relu if options.neck_relu is None else options.neck_relu,
    )


def _box_trunk(
    width: int, options: RCNNOptions, flavour: RCNNFlavour, stage: nn.Module | None
) -> tuple[nn.Module, RoIPooling]:
    """(trunk, its pooling): fully connected layers, or the last stage of the backbone `stage`."""
    if stage is not None:
        return StageTrunk(stage.layer4, stage.channels[5]), _finer(flavour)
    return BoxTrunk(
        width,
        flavour.pooling.resolution,
        conv_depth=flavour.box_convs,
        fc_depth=flavour.box_fcs,
        width=4 * options.width,
        norm=head_norm(options, flavour),
    ), flavour.pooling


def head_norm(options: RCNNOptions, flavour: RCNNFlavour) -> Norm:
    """The norm behind the heads' convolutions; a C4 network has none in them."""
    return (options.head_norm if isinstance(options, BoxHeadOptions) else None) or flavour.head_norm


def _finer(flavour: RCNNFlavour) -> RoIPooling:
    """The pooling of mask and keypoint heads, and of C4's last stage."""
    return replace(flavour.pooling, resolution=2 * flavour.pooling.resolution)


def mask_head(
    width: int, num_classes: int, options: RCNNOptions, flavour: RCNNFlavour, stage: nn.Module | None
) -> MaskHead:
    """The mask head: behind its own convolutions, or behind the last stage that box and mask share."""
    depth = given(options.head_depth, 4) if isinstance(options, MaskHeadOptions) else 0
    return MaskHead(
        width if stage is None else stage.channels[5],
        num_classes,
        pooling=_finer(flavour),
        depth=depth,
        width=options.width,
        norm=head_norm(options, flavour),
        class_agnostic=options.class_agnostic,
        background_mask=flavour.background_box,
    )


def keypoint_head(width: int, options: KeypointHeadOptions, flavour: RCNNFlavour) -> KeypointHead:
    """The keypoint head, on regions pooled twice as fine. Raises ValueError for one of no keypoints."""
    if not options.num_keypoints:
        raise ValueError("a keypoint head needs num_keypoints of at least 1, got 0; faster_rcnn_… have none")
    return KeypointHead(
        width,
        options.num_keypoints,
        pooling=_finer(flavour),
        depth=given(options.head_depth, 8),
        width=2 * options.width,
        upsampling=flavour.upsampling,
    )
