"""FCOS and RetinaNet of any backbone in any flavour. Names: detector_backbone_neck, with .flavour or without."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from pagoda.detectors.contract import Detector
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.retinanet import RetinaNet
from pagoda.heads.dense import DenseHead
from pagoda.necks.fpn import FPN
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.zoo.backbones import BACKBONES, BackboneChoices, build_backbone, is_resnet, knows_backbone
from pagoda.zoo.fcos_flavours import FCOS_FLAVOURS
from pagoda.zoo.flavours import BodyFlavour, FCOSFlavour, Flavour, RetinaNetFlavour
from pagoda.zoo.options import ModelOptions, check_known
from pagoda.zoo.retinanet_flavours import RETINANET_FLAVOURS


class ModelName(NamedTuple):
    """`fcos_resnet50_fpn.original` in its parts; the flavour is "" for our own."""

    detector: str
    backbone: str
    neck: str
    flavour: str = ""

    def __str__(self) -> str:
        return f"{self.detector}_{self.backbone}_{self.neck}" + (f".{self.flavour}" if self.flavour else "")


def fcos(backbone: str, labels: LabelMap, options: ModelOptions, flavour: FCOSFlavour) -> FCOS:
    """One flavour's conventions around the parts that the options describe."""
    body, neck = body_and_neck(backbone, options, flavour.body)
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


def retinanet(backbone: str, labels: LabelMap, options: ModelOptions, flavour: RetinaNetFlavour) -> RetinaNet:
    """One flavour's conventions around the parts that the options describe."""
    body, neck = body_and_neck(backbone, options, flavour.body)
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


def body_and_neck(backbone: str, options: ModelOptions, flavour: BodyFlavour) -> tuple[nn.Module, FPN]:
    """The backbone over C3 … C5 and an FPN on it."""
    flavour = flavour if is_resnet(backbone) else replace(flavour, norm="batch", eps=1e-5, frozen_stages=0)
    norm = options.norm or flavour.norm
    body = build_backbone(
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
    neck = FPN(
        body.channels,
        options.width,
        top_level=options.top_level,
        extra_from=flavour.extra_from,
        relu_before_extra=flavour.relu_before_extra,
        norm=options.neck_norm,
        relu_after=flavour.neck_relu if options.neck_relu is None else options.neck_relu,
    )
    return body, neck


def dense_head(channels: dict[int, int], options: ModelOptions, flavour: Flavour, outputs: int) -> DenseHead:
    """A head of the depth and norm asked for."""
    return DenseHead(
        channels,
        outputs,
        depth=options.head_depth,
        norm=options.head_norm or flavour.head_norm,
        groups=norm_groups(options.width),
        bias=options.head_bias,
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
    )


def given(value: int | None, otherwise: int) -> int:
    """The value, or the other one for None."""
    return otherwise if value is None else value


@dataclass(frozen=True)
class Family:
    """A detector: the function that composes it and the flavours it comes in."""

    build: Callable[..., Detector]
    flavours: Mapping[str, Any]


FAMILIES = {"fcos": Family(fcos, FCOS_FLAVOURS), "retinanet": Family(retinanet, RETINANET_FLAVOURS)}


def build_detector(
    name: ModelName, labels: LabelMap, options: ModelOptions, conventions: Flavour
) -> FCOS | RetinaNet:
    """With fresh weights; its origin tells how to build it again."""
    model = FAMILIES[name.detector].build(name.backbone, labels, options, conventions)
    # Rebuilding from a checkpoint must not ask for the ImageNet file again.
    kept = asdict(replace(options, backbone_weights=None))
    model.origin = {"model": str(name), "options": kept, "flavour": conventions.to_dict()}
    return model


NECKS = ("fpn",)
MODELS = sorted(f"{d}_{b}_{n}" for d in FAMILIES for b in BACKBONES for n in NECKS)


def parse_name(name: str) -> ModelName:
    """Raises ValueError with the nearest name that exists."""
    found = _split_name(name)
    if found is not None:
        return found
    plain, _, flavour = name.rpartition(".")
    if plain in MODELS:
        flavours = [known for known in FAMILIES[plain.split("_", 1)[0]].flavours if known]
        check_known(f"flavour of {plain}", flavour, flavours)
    check_known("model", plain if plain in MODELS else name, MODELS)
    raise AssertionError(f"'{name}' is known but could not be split")


def is_known(name: str | None) -> bool:
    """Whether `create_model` takes it."""
    return name is not None and _split_name(name) is not None


def _split_name(name: str) -> ModelName | None:
    detector, _, rest = name.partition("_")
    if detector not in FAMILIES:
        return None
    plain, _, flavour = rest.rpartition(".")
    if flavour not in FAMILIES[detector].flavours or not plain:  # timm's names have dots, too
        plain, flavour = rest, ""
    backbone, _, neck = plain.rpartition("_")
    if neck not in NECKS or not knows_backbone(backbone):
        return None
    return ModelName(detector, backbone, neck, flavour)
