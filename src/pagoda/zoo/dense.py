"""FCOS, RetinaNet and EfficientDet of any backbone and neck in any flavour."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import nn

from pagoda.detectors.efficientdet import EfficientDet
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.retinanet import RetinaNet
from pagoda.heads.dense import DenseHead
from pagoda.necks.bifpn import BiFPN
from pagoda.necks.fpn import FPN
from pagoda.necks.pafpn import PAFPN
from pagoda.necks.topology import TOPOLOGIES
from pagoda.structures.labels import LabelMap
from pagoda.zoo.backbones import body_levels, body_options, build_body
from pagoda.zoo.efficientdet import VARIANTS, efficientdet, variant_options
from pagoda.zoo.flavours.base import BodyFlavour, FCOSFlavour, Flavour, RetinaNetFlavour
from pagoda.zoo.flavours.efficientdet import EfficientDetFlavour
from pagoda.zoo.inputs import input_spec, size_options
from pagoda.zoo.option_groups import (
    BiFPNOptions,
    ChannelOptions,
    DenseOptions,
    EfficientDetOptions,
    FPNOptions,
    LevelOptions,
)
from pagoda.zoo.options import ModelName, ModelOptions, given, with_usual

USUAL = {"width": 256, "head_depth": 4, "top_level": 7}


def fcos(name: ModelName, labels: LabelMap, options: DenseOptions, flavour: FCOSFlavour) -> FCOS:
    """An FCOS: one flavour's conventions around the parts that the options describe."""
    options = with_usual(options, USUAL)
    body, neck = body_and_neck(name, options, flavour.body)
    head = partial(_dense_head, neck.channels, options, flavour)
    on_class = flavour.quality_on == "class"
    return FCOS(
        body,
        neck,
        class_head=head(outputs=len(labels) + on_class),
        box_head=head(outputs=4 + (not on_class)),
        label_map=labels,
        input_spec=input_spec(options, flavour.input_spec),
        quality_on=flavour.quality_on,
        coder=flavour.coder,
        level_scale=flavour.level_scale,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def retinanet(
    name: ModelName, labels: LabelMap, options: DenseOptions, flavour: RetinaNetFlavour
) -> RetinaNet:
    """A RetinaNet: one flavour's conventions around the parts that the options describe."""
    options = with_usual(options, USUAL)
    body, neck = body_and_neck(name, options, flavour.body)
    head = partial(_dense_head, neck.channels, options, flavour)
    anchors = len(flavour.anchors.of_cell(8))
    return RetinaNet(
        body,
        neck,
        class_head=head(outputs=anchors * len(labels)),
        box_head=head(outputs=anchors * 4),
        label_map=labels,
        input_spec=input_spec(options, flavour.input_spec),
        anchors=flavour.anchors,
        coder=flavour.coder,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def efficientdet_named(
    name: ModelName, labels: LabelMap, options: EfficientDetOptions, flavour: EfficientDetFlavour
) -> EfficientDet:
    """A published variant, or the small one's width and depth on another backbone and neck."""
    if not name.neck:
        return efficientdet(VARIANTS[f"efficientdet_{name.backbone}"], labels, options, flavour)
    sized = replace(VARIANTS["efficientdet_d0"], backbone="")
    options = with_usual(options, {"width": sized.width, "top_level": sized.top_level})
    body, neck = body_and_neck(name, options, flavour.body)
    return efficientdet(sized, labels, options, flavour, parts=(body, neck))


def body_and_neck(
    name: ModelName, options: ChannelOptions, flavour: BodyFlavour
) -> tuple[nn.Module, FPN | BiFPN]:
    """(backbone over C3 … C5 or the levels asked for, neck on it)."""
    body = build_body(name.backbone, options, flavour, body_levels(options, (3, 4, 5)))
    return body, NECKS[name.neck].build(body.channels, options, flavour)


def fpn(channels: dict[int, int], options: FPNOptions, flavour: BodyFlavour, *, kind: type[FPN] = FPN) -> FPN:
    """An FPN, or one that climbs up again (PAFPN).

    >>> neck = fpn({3: 8, 4: 8}, FPNOptions(width=16, top_level=5), BodyFlavour(extra_from="C5"))
    >>> neck.extra_from, neck.channels
    ('C5', {3: 16, 4: 16, 5: 16})
    """
    return kind(
        channels,
        options.width,
        top_level=options.top_level,
        extra_from=options.extra_from or flavour.extra_from,
        relu_before_extra=flavour.relu_before_extra,
        norm=options.neck_norm or "none",
        norm_on=options.neck_norm_on or ("lateral", "output"),
        groups=given(options.norm_groups, 32),
        relu_after=flavour.neck_relu if options.neck_relu is None else options.neck_relu,
    )


def bifpn(channels: dict[int, int], options: BiFPNOptions, flavour: BodyFlavour) -> BiFPN:
    """A BiFPN as EfficientDet-D0 has it, but for width, norm and the number of cells.

    >>> bifpn({3: 8, 4: 8}, BiFPNOptions(width=16, top_level=4, cells=1), BodyFlavour()).channels
    {3: 16, 4: 16}
    """
    return BiFPN(
        channels,
        options.width,
        cells=given(options.cells, 3),
        top_level=options.top_level,
        fusion=options.fusion or "fast",
        topology=TOPOLOGIES[options.topology or "bifpn"],
        activation=options.activation or "silu",
        norm=options.neck_norm or "batch",
    )


def _dense_head(channels: dict[int, int], options: DenseOptions, flavour: Flavour, outputs: int) -> DenseHead:
    """A head of the depth and norm asked for."""
    return DenseHead(
        channels,
        outputs,
        depth=options.head_depth,
        norm=options.head_norm or flavour.head_norm,
        groups=given(options.norm_groups, norm_groups(options.width)),
        bias=flavour.head_bias if options.head_bias is None else options.head_bias,
        deform_last=options.head_deform,
    )


def norm_groups(width: int) -> int:
    """32 as published, for narrow heads fewer: one value alone in a group (a 1×1 map) has no deviation.

    >>> norm_groups(256), norm_groups(64), norm_groups(2)
    (32, 16, 1)
    """
    return min(32, max(1, width // 4))


class Neck(NamedTuple):
    """A kind of neck: the function that builds it, and what can be chosen of it."""

    build: Callable[..., FPN | BiFPN]
    options: type[ModelOptions]


NECKS = {
    "fpn": Neck(fpn, FPNOptions),
    "pafpn": Neck(partial(fpn, kind=PAFPN), FPNOptions),
    "bifpn": Neck(bifpn, BiFPNOptions),
}


def dense_options(name: ModelName, flavour: Flavour) -> tuple[type[ModelOptions], ...]:
    """The option groups of an FCOS or a RetinaNet of this name."""
    return (DenseOptions, *_parts_options(name), size_options(flavour.input_spec))


def efficientdet_options(name: ModelName, flavour: EfficientDetFlavour) -> tuple[type[ModelOptions], ...]:
    """The option groups of an EfficientDet of this name."""
    if not name.neck:
        return (variant_options(flavour),)
    return (EfficientDetOptions, *_parts_options(name), size_options(flavour.input_spec))


def _parts_options(name: ModelName) -> tuple[type[ModelOptions], ...]:
    """What can be chosen of a neck on a backbone, and of the pixels."""
    return (NECKS[name.neck].options, LevelOptions, *body_options(name.backbone), ChannelOptions)
