"""FCOS and RetinaNet on ResNet-FPN: our best defaults. Names: detector_backbone_neck."""

from collections.abc import Callable
from functools import partial

from torch import nn

from pagoda.backbones.resnet import ResNet
from pagoda.detectors.contract import Detector
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.retinanet import RetinaNet
from pagoda.heads.dense import DenseHead
from pagoda.necks.fpn import FPN
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.zoo.options import ModelOptions

Builder = Callable[[LabelMap, ModelOptions], Detector]

BACKBONES: dict[str, Callable[..., ResNet]] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in (18, 34, 50, 101, 152)},
    "resnext50_32x4d": partial(ResNet, 50, groups=32, width_per_group=4),
    "resnext101_32x8d": partial(ResNet, 101, groups=32, width_per_group=8),
    "resnext101_64x4d": partial(ResNet, 101, groups=64, width_per_group=4),
}


def fcos(backbone: Callable[..., ResNet], labels: LabelMap, options: ModelOptions) -> FCOS:
    """Centre sampling, GIoU, centerness on the box tower, group norm in the heads, P6 and P7 from P5."""
    body, neck = body_and_neck(backbone, options, extra_from="P5")
    head = partial(dense_head, neck.channels, options)
    return FCOS(
        body,
        neck,
        class_head=head(outputs=len(labels)),
        box_head=head(outputs=5),  # left, top, right, bottom, centerness
        label_map=labels,
        input_spec=input_spec(options),
    )


def retinanet(backbone: Callable[..., ResNet], labels: LabelMap, options: ModelOptions) -> RetinaNet:
    """Nine anchors per location, GIoU, group norm in the heads, P6 and P7 from P5."""
    body, neck = body_and_neck(backbone, options, extra_from="P5")
    head = partial(dense_head, neck.channels, options)
    return RetinaNet(
        body,
        neck,
        class_head=head(outputs=9 * len(labels)),
        box_head=head(outputs=9 * 4),
        label_map=labels,
        input_spec=input_spec(options),
    )


def body_and_neck(
    backbone: Callable[..., ResNet], options: ModelOptions, *, extra_from: str
) -> tuple[nn.Module, FPN]:
    """The backbone over C3 … C5 and an FPN up to P7."""
    body = backbone(norm=options.norm, frozen_stages=options.frozen_stages)
    return body, FPN(body.channels, options.width, extra_from=extra_from)


def dense_head(channels: dict[int, int], options: ModelOptions, outputs: int) -> DenseHead:
    """A head of the depth and norm asked for."""
    groups = norm_groups(options.width)
    return DenseHead(channels, outputs, depth=options.head_depth, norm=options.head_norm, groups=groups)


def norm_groups(width: int) -> int:
    """32 as published, for narrow heads fewer: one value alone in a group (a 1×1 map) has no deviation."""
    return min(32, max(1, width // 4))


def input_spec(options: ModelOptions) -> InputSpec:
    """ImageNet's normalisation at the picture size asked for."""
    return InputSpec(short_side=options.short_side, long_side=options.long_side)


MODELS: dict[str, Builder] = {
    f"{name}_{backbone}_fpn": partial(build, body)
    for name, build in (("fcos", fcos), ("retinanet", retinanet))
    for backbone, body in BACKBONES.items()
}
