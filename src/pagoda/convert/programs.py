"""The programs whose checkpoints are read, and how a file tells which of them it is from."""

from collections.abc import Mapping

from torch import Tensor

from pagoda.convert.names import (
    bubbliiiing,
    caffe2,
    detect_and_track,
    detectron2,
    effdet,
    imagenet,
    maskrcnn_benchmark,
    mmdet,
    mmdet_efficientdet,
    toandaominh,
    torchvision,
    zylo117,
)
from pagoda.convert.source import APACHE, BSD, MIT, NON_COMMERCIAL, SHARE_ALIKE, Source
from pagoda.convert.ssd import SSD_SOURCES
from pagoda.messages import counted, short_list
from pagoda.weights.files import WeightsError

RCNN_HEADS = r"^roi_heads\."
FLAT, OF_CLIPS = {"conv1_w": 4}, {"conv1_w": 5}
# Without time they are told from Detectron's Keypoint R-CNN by having one level, which that never has.
CLIP_SOURCES = tuple(
    Source(
        name="detect_and_track",
        title="Detect-and-Track",
        licence=APACHE,
        marks=(r"^conv1_w$", r"^res2_0_branch2a_w$", *more),
        axes=axes,
        rules_from=detect_and_track.rules_for,
        check=detect_and_track.check_layers,
        flavours={"detect_and_track": ("original",)},
        affine_norms=True,
    )
    for axes, more in ((OF_CLIPS, ()), (FLAT, (r"^rpn_cls_logits_w$", r"^kps_score_lowres_w$")))
)
REGION_SOURCES = (
    Source(
        name="maskrcnn_benchmark",
        title="maskrcnn-benchmark, R-CNN",
        licence=MIT,
        marks=(r"^backbone\.body\.stem\.", r"^roi_heads\.box\.predictor\."),
        rules=maskrcnn_benchmark.RCNN_RULES,
        pyramid=maskrcnn_benchmark.PYRAMID,
        flavours=dict.fromkeys(("faster_rcnn", "mask_rcnn", "keypoint_rcnn"), ("maskrcnn_benchmark",)),
        regions=True,
    ),
    Source(
        name="caffe2",
        title="Caffe2 Detectron, R-CNN on a pyramid",
        licence=SHARE_ALIKE,
        marks=(r"^conv1_w$", r"^res2_0_branch2a_w$", r"^rpn_cls_logits_fpn2_w$"),
        absent=(r"^rpn_cls_logits_w$",),
        axes=FLAT,
        rules=caffe2.RCNN_RULES,
        flavours=dict.fromkeys(("faster_rcnn", "mask_rcnn", "keypoint_rcnn"), ("caffe2",)),
        affine_norms=True,
        regions=True,
    ),
    Source(
        name="caffe2",
        title="Caffe2 Detectron, R-CNN on one level",
        licence=SHARE_ALIKE,
        marks=(r"^conv1_w$", r"^res2_0_branch2a_w$", r"^rpn_cls_logits_w$"),
        absent=(r"^kps_score_lowres_w$",),
        axes=FLAT,
        rules=caffe2.RCNN_ONE_LEVEL_RULES,
        flavours=dict.fromkeys(("faster_rcnn", "mask_rcnn"), ("caffe2",)),
        affine_norms=True,
        regions=True,
    ),
    Source(
        name="detectron2",
        title="detectron2, R-CNN on a pyramid",
        licence=SHARE_ALIKE,
        marks=(r"^backbone\.bottom_up\.", r"^proposal_generator\.rpn_head\.", RCNN_HEADS),
        rules=detectron2.RCNN_RULES,
        pyramid=detectron2.PYRAMID,
        flavours=dict.fromkeys(("faster_rcnn", "mask_rcnn", "keypoint_rcnn"), ("detectron2",)),
        regions=True,
        necks=("fpn",),
    ),
    Source(
        name="detectron2",
        title="detectron2, R-CNN on one level",
        licence=SHARE_ALIKE,
        marks=(r"^backbone\.stem\.", r"^proposal_generator\.rpn_head\.", RCNN_HEADS),
        rules=detectron2.RCNN_ONE_LEVEL_RULES,
        flavours=dict.fromkeys(("faster_rcnn", "mask_rcnn"), ("detectron2",)),
        regions=True,
        necks=("c4", "dc5"),
    ),
    Source(
        name="torchvision",
        title="torchvision R-CNN, first version",
        licence=BSD,
        marks=(r"^backbone\.body\.conv1\.", r"^rpn\.head\.conv\.", r"^roi_heads\.box_head\.fc6\."),
        rules=torchvision.RCNN_RULES,
        pyramid=torchvision.RCNN_PYRAMID,
        flavours=dict.fromkeys(("faster_rcnn", "mask_rcnn", "keypoint_rcnn"), ("torchvision",)),
        regions=True,
        necks=("fpn",),
    ),
    Source(
        name="torchvision",
        title="torchvision R-CNN, second version",
        licence=BSD,
        marks=(r"^backbone\.body\.conv1\.", r"^rpn\.head\.conv\.1\.", r"^roi_heads\.box_head\.5\."),
        rules=torchvision.RCNN_V2_RULES,
        pyramid=torchvision.RCNN_PYRAMID,
        flavours=dict.fromkeys(("faster_rcnn", "mask_rcnn"), ("torchvision_v2",)),
        regions=True,
        necks=("fpn",),
    ),
    Source(
        name="mmdet",
        title="mmdetection R-CNN",
        licence=APACHE,
        marks=(r"^rpn_head\.rpn_conv\.", r"^roi_head\.bbox_head\.fc_cls\."),
        rules=mmdet.RCNN_RULES,
        pyramid=mmdet.RCNN_PYRAMID,
        flavours=dict.fromkeys(("faster_rcnn", "mask_rcnn"), ("mmdet", "mmdet_caffe", "mmdet_bgr")),
        regions=True,
        necks=("fpn",),
    ),
)
SOURCES = (
    *REGION_SOURCES,
    *CLIP_SOURCES,
    *SSD_SOURCES,
    Source(
        name="fcos",
        title="FCOS (tianzhi0549/FCOS)",
        licence=NON_COMMERCIAL,
        marks=(r"^rpn\.head\.cls_tower\.", r"^rpn\.head\.centerness\.", r"^rpn\.head\.scales\."),
        rules=maskrcnn_benchmark.RULES,
        pyramid=maskrcnn_benchmark.PYRAMID,
        flavours={"fcos": ("original", "improved")},
    ),
    Source(
        name="maskrcnn_benchmark",
        title="maskrcnn-benchmark",
        licence=MIT,
        marks=(r"^backbone\.body\.", r"^rpn\.head\.cls_tower\."),
        absent=(r"^rpn\.head\.centerness\.",),
        rules=maskrcnn_benchmark.RULES,
        pyramid=maskrcnn_benchmark.PYRAMID,
        flavours={"retinanet": ("maskrcnn_benchmark",)},
    ),
    Source(
        name="caffe2",
        title="Caffe2 Detectron",
        licence=SHARE_ALIKE,
        marks=(r"^conv1_w$", r"^res2_0_branch2a_w$"),
        absent=("rpn_cls_logits", "^cls_score_w", "^bbox_pred_w"),
        axes=FLAT,
        rules=caffe2.RULES,
        flavours={"retinanet": ("caffe2",)},
        affine_norms=True,
    ),
    Source(
        name="detectron2",
        title="detectron2",
        licence=SHARE_ALIKE,
        marks=(r"^backbone\.bottom_up\.", r"^head\.cls_subnet\."),
        rules=detectron2.RULES,
        pyramid=detectron2.PYRAMID,
        flavours={"fcos": ("detectron2",), "retinanet": ("detectron2",)},
    ),
    Source(
        name="adelaidet",
        title="AdelaiDet",
        licence=NON_COMMERCIAL,
        marks=(r"^backbone\.bottom_up\.", r"^proposal_generator\.fcos_head\."),
        rules=detectron2.ADELAIDET_RULES,
        pyramid=detectron2.PYRAMID,
        flavours={"fcos": ("adelaidet",)},
    ),
    Source(
        name="torchvision",
        title="torchvision FCOS",
        licence=BSD,
        marks=(r"^backbone\.body\.", r"^head\.regression_head\.bbox_ctrness\."),
        rules=torchvision.FCOS_RULES,
        pyramid=torchvision.PYRAMID,
        flavours={"fcos": ("torchvision",)},
    ),
    Source(
        name="torchvision",
        title="torchvision RetinaNet, first version",
        licence=BSD,
        marks=(r"^backbone\.body\.", r"^head\.classification_head\.cls_logits\."),
        absent=(r"bbox_ctrness", r"^head\.classification_head\.conv\.0\.1\.weight"),
        rules=torchvision.RETINANET_RULES,
        pyramid=torchvision.PYRAMID,
        flavours={"retinanet": ("torchvision",)},
    ),
    Source(
        name="torchvision",
        title="torchvision RetinaNet, second version",
        licence=BSD,
        marks=(r"^backbone\.body\.", r"^head\.classification_head\.conv\.0\.1\.weight"),
        rules=torchvision.RETINANET_V2_RULES,
        pyramid=torchvision.PYRAMID,
        flavours={"retinanet": ("torchvision_v2",)},
    ),
    Source(
        name="mmdet",
        title="mmdetection FCOS",
        licence=APACHE,
        marks=(r"^bbox_head\.cls_convs\.", r"^bbox_head\.(conv|fcos)_centerness\."),
        rules=mmdet.FCOS_RULES,
        pyramid=mmdet.PYRAMID,
        flavours={"fcos": ("mmdet", "mmdet_improved", "mmdet_rgb", "mmdet_improved_rgb")},
    ),
    Source(
        name="mmdet",
        title="mmdetection RetinaNet",
        licence=APACHE,
        marks=(r"^bbox_head\.cls_convs\.", r"^bbox_head\.retina_cls\."),
        absent=(r"^neck\.stack_bifpn_convs\.",),
        rules=mmdet.RETINANET_RULES,
        pyramid=mmdet.PYRAMID,
        flavours={"retinanet": ("mmdet", "mmdet_caffe", "mmdet_bgr")},
    ),
    Source(
        name="bubbliiiing",
        title="bubbliiiing/retinanet-pytorch",
        licence=MIT,
        marks=(r"^backbone_net\.model\.conv1\.", r"^classificationModel\.", r"^fpn\.P5_1\."),
        rules=bubbliiiing.RULES,
        flavours={"retinanet": ("bubbliiiing",)},
        box_order="yxhw",
    ),
    Source(
        name="effdet",
        title="effdet (rwightman/efficientdet-pytorch)",
        licence=APACHE,
        marks=(r"^(model\.)?fpn\.cell\.", r"^(model\.)?class_net\.conv_rep\."),
        rules=effdet.RULES,
        flavours={"efficientdet": ("google", "effdet", "advprop")},
        box_order="yxhw",
    ),
    Source(
        name="zylo117",
        title="zylo117/Yet-Another-EfficientDet-Pytorch",
        licence="LGPL-3.0",
        marks=(r"^bifpn\.0\.conv6_up\.", r"^classifier\.header\."),
        rules_from=zylo117.rules_for,
        flavours={"efficientdet": ("zylo117",)},
        box_order="yxhw",
    ),
    Source(
        name="mmdet",
        title="mmdetection EfficientDet",
        licence=APACHE,
        marks=(r"^neck\.bifpn\.0\.conv6_up\.", r"^bbox_head\.cls_header\."),
        rules_from=mmdet_efficientdet.rules_for,
        flavours={"efficientdet": ("mmdet",)},
    ),
    Source(
        name="toandaominh",
        title="toandaominh1997/EfficientDet.Pytorch",
        licence=MIT,
        marks=(r"^neck\.stack_bifpn_convs\.", r"^bbox_head\.retina_cls\."),
        rules_from=toandaominh.rules_for,
        flavours={"efficientdet": ("toandaominh",)},
    ),
    Source(
        name="resnet",
        title="a ResNet of torchvision, timm or mmdetection",
        licence="that of the program it is from",
        marks=(r"^(conv1|conv1\.0|stem\.0)\.weight$", r"^layer1\.0\."),
        rules=imagenet.RESNET,
    ),
    Source(
        name="detectron2",
        title="an ImageNet backbone of detectron2",
        licence=SHARE_ALIKE,
        marks=(r"^stem\.conv1\.weight$", r"^res2\.0\.conv1\.weight$"),
        rules=imagenet.DETECTRON2,
    ),
    Source(
        name="ghostnet",
        title="GhostNet (huawei-noah or timm)",
        licence=APACHE,
        marks=(r"^conv_stem\.weight$", r"^blocks\.0\.0\.ghost1\."),
        rules=imagenet.GHOSTNET,
    ),
    Source(
        name="torchvision",
        title="VGG16 of torchvision",
        licence=BSD,
        marks=(r"^features\.0\.weight$", r"^features\.28\.weight$", r"^features\.26\.weight$"),
        rules=imagenet.VGG,
    ),
    Source(
        name="amdegroot",
        title="a reduced VGG16 (ssd.pytorch)",
        licence=MIT,
        marks=(r"^0\.weight$", r"^28\.weight$", r"^31\.weight$", r"^33\.weight$"),
        rules=imagenet.VGG_REDUCED,
    ),
    Source(
        name="mobilenet",
        title="MobileNetV2 (tonylins)",
        licence=APACHE,
        marks=(r"^features\.0\.0\.weight$", r"^features\.1\.conv\.0\.weight$"),
        rules=imagenet.MOBILENET_FLAT,
    ),
    Source(
        name="torchvision",
        title="MobileNetV2 of torchvision",
        licence=BSD,
        marks=(r"^features\.0\.0\.weight$", r"^features\.1\.conv\.0\.0\.weight$"),
        rules=imagenet.MOBILENET,
    ),
    Source(
        name="lukemelas",
        title="EfficientNet (lukemelas/EfficientNet-PyTorch)",
        licence=APACHE,
        marks=(r"^_conv_stem\.weight$", r"^_blocks\.0\._depthwise_conv\."),
        rules_from=imagenet.efficientnet_rules,
    ),
)


def is_known(names: Mapping[str, Tensor]) -> bool:
    """Whether the tensors bear some source's marks."""
    return any(source.matches(names) for source in SOURCES)


def is_detector(names: Mapping[str, Tensor]) -> bool:
    """Whether they are those of a detector, not of a backbone, which is part of other things too."""
    return any(source.flavours and source.matches(names) for source in SOURCES)


def recognise(names: Mapping[str, Tensor], where: str) -> Source:
    """The one source whose marks the tensors bear. Raises WeightsError for none or several."""
    found = [source for source in SOURCES if source.matches(names)]
    if len(found) == 1:
        return found[0]
    if found:
        raise WeightsError(
            f"{where} bears the marks of {' and of '.join(source.title for source in found)};"
            " save the tensors of one model alone"
        )
    known = ", ".join(dict.fromkeys(source.title for source in SOURCES))
    raise WeightsError(
        f"{where} holds {counted(len(names), 'tensor')} of no program that is known ({short_list(names, 4)});"
        f" known: {known}"
    )
