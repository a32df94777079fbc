"""Backbones alone, as their ImageNet files name them: torchvision, timm, mmdet, detectron2, huawei, tonylins."""

from pagoda.convert.names.detectron2 import IMAGENET_RULES as DETECTRON2
from pagoda.convert.names.maskrcnn_benchmark import mobilenet_rules
from pagoda.convert.names.mmdet import BACKBONE_RULES as RESNET
from pagoda.convert.names.rules import Rule

CLASSIFIER = "ImageNet classifier"
GHOSTNET = (
    Rule("{rest}.total_ops", None, "a counter of a profiler"),
    Rule("{rest}.total_params", None, "a counter of a profiler"),
    Rule("blocks.9.{rest}", "backbone.blocks.9.{rest}"),
    *(
        Rule(f"{name}.{{rest}}", f"backbone.{name}.{{rest}}")
        for name in ("conv_stem", "bn1", "blocks", "conv_head", "classifier")
    ),
)
MOBILENET_FLAT = (
    *mobilenet_rules(""),
    Rule("conv.{rest}", None, CLASSIFIER),
    Rule("features.18.{rest}", None, CLASSIFIER),
    Rule("classifier.{rest}", None, CLASSIFIER),
)
MOBILENET = (
    Rule("features.18.{rest}", None, CLASSIFIER),
    Rule("classifier.{rest}", None, CLASSIFIER),
    Rule("features.{rest}", "backbone.features.{rest}"),
)
VGG = (
    Rule("features.{n}.{rest}", "backbone.features.{n}.{rest}"),
    Rule("classifier.0.{rest}", "backbone.fc6.{rest}"),
    Rule("classifier.3.{rest}", "backbone.fc7.{rest}"),
    Rule("classifier.{rest}", None, CLASSIFIER),
)
VGG_REDUCED = (
    Rule("31.{rest}", "backbone.fc6.{rest}"),
    Rule("33.{rest}", "backbone.fc7.{rest}"),
    Rule("{n}.{rest}", "backbone.features.{n}.{rest}"),
)

__all__ = ["DETECTRON2", "GHOSTNET", "MOBILENET", "MOBILENET_FLAT", "RESNET", "VGG", "VGG_REDUCED"]
