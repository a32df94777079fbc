"""The programs whose checkpoints are read, and how a file tells which of them it is from."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pagoda.weights.convert import (
    bubbliiiing,
    caffe2,
    detectron2,
    imagenet,
    maskrcnn_benchmark,
    mmdet,
    torchvision,
)
from pagoda.weights.convert.layout import BoxOrder
from pagoda.weights.convert.rules import Rule
from pagoda.weights.files import WeightsError

MIT, APACHE, BSD = "MIT", "Apache-2.0", "BSD-3-Clause"
NON_COMMERCIAL = "BSD-2-Clause headed 'for non-commercial purposes': weights may not be used commercially"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One program (or one family of its models)."""

    name: str
    title: str
    licence: str
    marks: tuple[str, ...]
    """patterns; each is found in some tensor's name"""
    absent: tuple[str, ...] = ()
    """patterns; none is found in any"""
    rules: tuple[Rule, ...] = ()
    flavours: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{detector: the conventions its files may follow}; empty for backbones alone"""
    box_order: BoxOrder = "xywh"
    affine_norms: bool = False
    """norms are stored as scale and shift without statistics"""
    family: str | None = None
    """what the models are, where that family is not built"""

    def matches(self, names: Collection[str]) -> bool:
        """Whether all marks are found and nothing that must be absent."""
        found = [any(re.search(mark, name) for name in names) for mark in self.marks]
        return all(found) and not any(re.search(mark, name) for mark in self.absent for name in names)


RCNN = "Faster, Mask or Keypoint R-CNN"
EFFICIENTDET = "EfficientDet"
SOURCES = (
    Source(
        name="fcos",
        title="FCOS (tianzhi0549/FCOS)",
        licence=NON_COMMERCIAL,
        marks=(r"^rpn\.head\.cls_tower\.", r"^rpn\.head\.centerness\.", r"^rpn\.head\.scales\."),
        rules=maskrcnn_benchmark.RULES,
        flavours={"fcos": ("original", "improved")},
    ),
    Source(
        name="maskrcnn_benchmark",
        title="maskrcnn-benchmark",
        licence=MIT,
        marks=(r"^backbone\.body\.", r"^rpn\.head\.cls_tower\."),
        absent=(r"^rpn\.head\.centerness\.",),
        rules=maskrcnn_benchmark.RULES,
        flavours={"retinanet": ("maskrcnn_benchmark",)},
    ),
    Source(
        name="caffe2",
        title="Caffe2 Detectron",
        licence=APACHE,
        marks=(r"^conv1_w$", r"^res2_0_branch2a_w$"),
        absent=("rpn_cls_logits", "^cls_score_w", "^bbox_pred_w"),
        rules=caffe2.RULES,
        flavours={"retinanet": ("caffe2",)},
        affine_norms=True,
    ),
    Source(
        name="detectron2",
        title="detectron2",
        licence=APACHE,
        marks=(r"^backbone\.bottom_up\.", r"^head\.cls_subnet\."),
        rules=detectron2.RULES,
        flavours={"fcos": ("detectron2",), "retinanet": ("detectron2",)},
    ),
    Source(
        name="adelaidet",
        title="AdelaiDet",
        licence=NON_COMMERCIAL,
        marks=(r"^backbone\.bottom_up\.", r"^proposal_generator\.fcos_head\."),
        rules=detectron2.ADELAIDET_RULES,
        flavours={"fcos": ("adelaidet",)},
    ),
    Source(
        name="torchvision",
        title="torchvision FCOS",
        licence=BSD,
        marks=(r"^backbone\.body\.", r"^head\.regression_head\.bbox_ctrness\."),
        rules=torchvision.FCOS_RULES,
        flavours={"fcos": ("torchvision",)},
    ),
    Source(
        name="torchvision",
        title="torchvision RetinaNet, first version",
        licence=BSD,
        marks=(r"^backbone\.body\.", r"^head\.classification_head\.cls_logits\."),
        absent=(r"bbox_ctrness", r"^head\.classification_head\.conv\.0\.1\.weight"),
        rules=torchvision.RETINANET_RULES,
        flavours={"retinanet": ("torchvision",)},
    ),
    Source(
        name="torchvision",
        title="torchvision RetinaNet, second version",
        licence=BSD,
        marks=(r"^backbone\.body\.", r"^head\.classification_head\.conv\.0\.1\.weight"),
        rules=torchvision.RETINANET_V2_RULES,
        flavours={"retinanet": ("torchvision_v2",)},
    ),
    Source(
        name="mmdet",
        title="mmdetection FCOS",
        licence=APACHE,
        marks=(r"^bbox_head\.cls_convs\.", r"^bbox_head\.(conv|fcos)_centerness\."),
        rules=mmdet.FCOS_RULES,
        flavours={"fcos": ("mmdet", "mmdet_improved")},
    ),
    Source(
        name="mmdet",
        title="mmdetection RetinaNet",
        licence=APACHE,
        marks=(r"^bbox_head\.cls_convs\.", r"^bbox_head\.retina_cls\."),
        rules=mmdet.RETINANET_RULES,
        flavours={"retinanet": ("mmdet",)},
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
        name="resnet",
        title="a ResNet of torchvision, timm or mmdetection",
        licence="that of the program it is from",
        marks=(r"^(conv1|conv1\.0|stem\.0)\.weight$", r"^layer1\.0\."),
        rules=imagenet.RESNET,
    ),
    Source(
        name="detectron2",
        title="an ImageNet backbone of detectron2",
        licence=APACHE,
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
)
NOT_BUILT = (
    Source(
        name="rcnn",
        title="maskrcnn-benchmark, detectron2, torchvision, mmdetection or Caffe2 Detectron",
        licence="",
        marks=(r"^(roi_heads?\.|module\.roi_heads\.|rpn_cls_logits|cls_score_w|bbox_pred_w)",),
        family=RCNN,
    ),
    Source(
        name="effdet",
        title="EfficientDet of Google, effdet, zylo117, toandaominh1997 or mmdetection",
        licence="",
        marks=(
            r"^(model\.)?(fpn\.cell\.|bifpn\.|BIFPN\.|neck\.stack_bifpn|neck\.bifpn|class_net\.|classifier\.header|bbox_head\.cls_header)",
        ),
        family=EFFICIENTDET,
    ),
)


def recognise(names: Collection[str], where: str) -> Source:
    """The one source whose marks the names bear. Raises WeightsError for none, several, or a family not built."""
    for source in NOT_BUILT:
        if source.matches(names):
            raise WeightsError(
                f"{where} is a checkpoint of {source.title}: its family ({source.family}) is not built yet"
            )
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
        f"{where} holds {len(names)} tensors of no program that is known ({', '.join(list(names)[:4])} …);"
        f" known: {known}"
    )
