"""Dense detectors of any backbone and neck in any flavour. Names: detector_backbone_neck, with .flavour or without."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from pagoda.detectors.contract import Detector
from pagoda.detectors.efficientdet import EfficientDet
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.retinanet import RetinaNet
from pagoda.heads.dense import DenseHead
from pagoda.necks.bifpn import BiFPN
from pagoda.necks.fpn import FPN
from pagoda.necks.pafpn import PAFPN
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.zoo.backbones import BACKBONES, BackboneChoices, build_backbone, is_resnet, knows_backbone
from pagoda.zoo.efficientdet import VARIANTS, efficientdet
from pagoda.zoo.efficientdet_flavours import EFFICIENTDET_FLAVOURS, EfficientDetFlavour
from pagoda.zoo.fcos_flavours import FCOS_FLAVOURS
from pagoda.zoo.flavours import BodyFlavour, FCOSFlavour, Flavour, RetinaNetFlavour
from pagoda.zoo.options import ModelOptions, check_known, refuse_options
from pagoda.zoo.rcnn import REGION_MODELS, rcnn
from pagoda.zoo.rcnn_flavours import FASTER_RCNN_FLAVOURS, KEYPOINT_RCNN_FLAVOURS, MASK_RCNN_FLAVOURS
from pagoda.zoo.retinanet_flavours import RETINANET_FLAVOURS


class ModelName(NamedTuple):
    """`fcos_resnet50_fpn.original` in its parts; the flavour is "" for our own.

    `efficientdet_d0` has no neck: a published variant names all its parts at once and stands for the backbone.
    """

    detector: str
    backbone: str
    neck: str
    flavour: str = ""

    def __str__(self) -> str:
        parts = (self.detector, self.backbone, self.neck)
        return "_".join(part for part in parts if part) + (f".{self.flavour}" if self.flavour else "")


def fcos(name: ModelName, labels: LabelMap, options: ModelOptions, flavour: FCOSFlavour) -> FCOS:
    """One flavour's conventions around the parts that the options describe."""
    options = with_defaults(options, flavour.input_spec)
    body, neck = body_and_neck(name, options, flavour.body)
    head = partial(dense_head, neck.channels, options, flavour)
    on_class = flavour.quality_on == "class"
    return FCOS(
        body,
        neck,
        class_head=head(outputs=len(labels) + on_class),
        box_head=head(outputs=4 + (not on_class)),
        label_map=labels,
        input_spec=input_spec(options, flavour),
        quality_on=flavour.quality_on,
        coder=flavour.coder,
        level_scale=flavour.level_scale,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def retinanet(
    name: ModelName, labels: LabelMap, options: ModelOptions, flavour: RetinaNetFlavour
) -> RetinaNet:
    """One flavour's conventions around the parts that the options describe."""
    options = with_defaults(options, flavour.input_spec)
    body, neck = body_and_neck(name, options, flavour.body)
    head = partial(dense_head, neck.channels, options, flavour)
    anchors = len(flavour.anchors.of_cell(8))
    return RetinaNet(
        body,
        neck,
        class_head=head(outputs=anchors * len(labels)),
        box_head=head(outputs=anchors * 4),
        label_map=labels,
        input_spec=input_spec(options, flavour),
        anchors=flavour.anchors,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def efficientdet_named(
    name: ModelName, labels: LabelMap, options: ModelOptions, flavour: EfficientDetFlavour
) -> EfficientDet:
    """A published variant, or the small one's width and depth on another backbone and neck."""
    if not name.neck:
        return efficientdet(VARIANTS[f"efficientdet_{name.backbone}"], labels, options, flavour)
    sized = replace(VARIANTS["efficientdet_d0"], backbone="")
    options = replace(options, width=given(options.width, sized.width), top_level=given(options.top_level, 7))
    body, neck = body_and_neck(name, replace(options, canvas=None), flavour.body)
    return efficientdet(sized, labels, options, flavour, parts=(body, neck))


def with_defaults(options: ModelOptions, spec: InputSpec) -> ModelOptions:
    """The published width, depth and top level where no other is asked for. Raises where an option has no use."""
    if spec.canvas is None:
        refuse_options(options, "a model that resizes its pictures by their sides", "canvas")
    else:
        refuse_options(options, "a model that fits its pictures into a canvas", "short_side", "long_side")
    return replace(
        options,
        width=given(options.width, 256),
        head_depth=given(options.head_depth, 4),
        top_level=given(options.top_level, 7),
    )


def body_and_neck(
    name: ModelName, options: ModelOptions, flavour: BodyFlavour
) -> tuple[nn.Module, FPN | BiFPN]:
    """The backbone over C3 … C5 and a neck on it."""
    body = build_body(name.backbone, options, flavour)
    return body, NECKS[name.neck](body.channels, options, flavour)


def build_body(backbone: str, options: ModelOptions, flavour: BodyFlavour) -> nn.Module:
    """The backbone over C3 … C5."""
    refuse_options(options, f"the backbone {backbone}", "drop_path_rate")
    flavour = flavour if is_resnet(backbone) else replace(flavour, norm="batch", eps=1e-5, frozen_stages=0)
    norm = options.norm or flavour.norm
    return build_backbone(
        backbone,
        BackboneChoices(
            norm=norm,
            eps=flavour.eps if norm == flavour.norm else BodyFlavour.eps,
            norm_eval=flavour.norm_eval,
            style=flavour.style,
            pooling=flavour.pooling,
            frozen_stages=given(options.frozen_stages, flavour.frozen_stages),
            deform=options.deform,
            deform_levels=options.deform_levels,
            deform_groups=options.deform_groups,
            deform_fallback=options.deform_fallback,
            plugins=options.plugins,
            standardized=options.standardized,
        ),
    )


def fpn(
    channels: dict[int, int], options: ModelOptions, flavour: BodyFlavour, *, kind: type[FPN] = FPN
) -> FPN:
    """An FPN, or one that climbs up again (PAFPN)."""
    refuse_options(options, f"{kind.__name__} (it is no BiFPN)", "cells")
    return kind(
        channels,
        options.width,
        top_level=options.top_level,
        extra_from=flavour.extra_from,
        relu_before_extra=flavour.relu_before_extra,
        norm=options.neck_norm or "none",
        relu_after=flavour.neck_relu if options.neck_relu is None else options.neck_relu,
    )


def bifpn(channels: dict[int, int], options: ModelOptions, flavour: BodyFlavour) -> BiFPN:
    """A BiFPN as EfficientDet-D0 has it, but for width, norm and the number of cells."""
    refuse_options(options, "a BiFPN", "neck_relu")
    return BiFPN(
        channels,
        options.width,
        cells=given(options.cells, 3),
        top_level=options.top_level,
        norm=options.neck_norm or "batch",
    )


def dense_head(channels: dict[int, int], options: ModelOptions, flavour: Flavour, outputs: int) -> DenseHead:
    """A head of the depth and norm asked for."""
    return DenseHead(
        channels,
        outputs,
        depth=options.head_depth,
        norm=options.head_norm or flavour.head_norm,
        groups=norm_groups(options.width),
        bias=flavour.head_bias if options.head_bias is None else options.head_bias,
        deform_last=options.head_deform,
    )


def norm_groups(width: int) -> int:
    """32 as published, for narrow heads fewer: one value alone in a group (a 1×1 map) has no deviation."""
    return min(32, max(1, width // 4))


def input_spec(options: ModelOptions, flavour: Flavour) -> InputSpec:
    """The flavour's, at the picture size asked for."""
    spec = flavour.input_spec
    return replace(
        spec,
        short_side=given(options.short_side, spec.short_side),
        long_side=given(options.long_side, spec.long_side),
        canvas=spec.canvas if options.canvas is None else options.canvas,
    )


def given(value: int | None, otherwise: int) -> int:
    """The value, or the other one for None."""
    return otherwise if value is None else value


@dataclass(frozen=True)
class Family:
    """A detector: the function that composes it and the flavours it comes in."""

    build: Callable[..., Detector]
    flavours: Mapping[str, Any]
    necks: tuple[str, ...] = ("fpn", "pafpn", "bifpn")


FAMILIES = {
    "fcos": Family(fcos, FCOS_FLAVOURS),
    "retinanet": Family(retinanet, RETINANET_FLAVOURS),
    "efficientdet": Family(efficientdet_named, EFFICIENTDET_FLAVOURS),
    "faster_rcnn": Family(rcnn, FASTER_RCNN_FLAVOURS, ("fpn", "c4", "dc5")),
    "mask_rcnn": Family(rcnn, MASK_RCNN_FLAVOURS, ("fpn", "c4", "dc5")),
    "keypoint_rcnn": Family(rcnn, KEYPOINT_RCNN_FLAVOURS, ("fpn",)),
}
NECKS: dict[str, Callable[..., FPN | BiFPN]] = {"fpn": fpn, "pafpn": partial(fpn, kind=PAFPN), "bifpn": bifpn}


def build_detector(
    name: ModelName, labels: LabelMap, options: ModelOptions, conventions: Flavour
) -> Detector:
    """With fresh weights; its origin tells how to build it again."""
    model = FAMILIES[name.detector].build(name, labels, options, conventions)
    # Rebuilding from a checkpoint must not ask for the ImageNet file again.
    kept = asdict(replace(options, backbone_weights=None))
    model.origin = {"model": str(name), "options": kept, "flavour": conventions.to_dict()}
    return model


# Any backbone goes with any neck. Those that are listed and tried one by one: each backbone with its detector's
# published neck, and each detector with each neck.
PUBLISHED_NECKS = {"fcos": "fpn", "retinanet": "fpn", "efficientdet": "bifpn"}
MODELS = sorted(
    {
        *VARIANTS,
        *REGION_MODELS,
        *(f"{detector}_{body}_{neck}" for detector, neck in PUBLISHED_NECKS.items() for body in BACKBONES),
        *(f"{d}_{b}_{n}" for d in PUBLISHED_NECKS for b in ("resnet50", "ghostnet_100") for n in NECKS),
    }
)


def parse_name(name: str) -> ModelName:
    """Raises ValueError with the nearest name that exists."""
    found = _split_name(name)
    if found is not None:
        return found
    plain, _, flavour = name.rpartition(".")
    if _split_name(plain) is not None:
        flavours = [known for known in FAMILIES[_detector_of(plain)].flavours if known]
        check_known(f"flavour of {plain}", flavour, flavours)
    check_known("model", name, MODELS)
    raise AssertionError(f"'{name}' is known but could not be split")


def is_known(name: str | None) -> bool:
    """Whether `create_model` takes it."""
    return name is not None and _split_name(name) is not None


def _split_name(name: str) -> ModelName | None:
    detector = _detector_of(name)
    if not detector:
        return None
    plain, _, flavour = name.removeprefix(f"{detector}_").rpartition(".")
    if flavour not in FAMILIES[detector].flavours or not plain:  # timm's names have dots, too
        plain, flavour = name.removeprefix(f"{detector}_"), ""
    if f"{detector}_{plain}" in VARIANTS:
        return ModelName(detector, plain, "", flavour)
    backbone, _, neck = plain.rpartition("_")
    if neck not in FAMILIES[detector].necks or not knows_backbone(backbone):
        return None
    return ModelName(detector, backbone, neck, flavour)


def _detector_of(name: str) -> str:
    """What a name begins with; empty where it is none of the families."""
    return next((detector for detector in FAMILIES if name.startswith(f"{detector}_")), "")
