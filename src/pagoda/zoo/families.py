"""All detectors by name: detector_backbone_neck, with .flavour or without."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from pagoda.detectors.contract import Detector
from pagoda.plain import checked
from pagoda.structures.labels import LabelMap
from pagoda.zoo.backbones import BACKBONES, knows_backbone
from pagoda.zoo.composed_options import composed, read_options
from pagoda.zoo.dense import (
    NECKS,
    dense_options,
    efficientdet_named,
    efficientdet_options,
    fcos,
    retinanet,
)
from pagoda.zoo.detect_and_track import CLIP_MODELS, detect_and_track, detect_and_track_options
from pagoda.zoo.efficientdet import VARIANTS
from pagoda.zoo.flavours.base import Flavour, pixels_of_body
from pagoda.zoo.flavours.detect_and_track import DETECT_AND_TRACK_FLAVOURS
from pagoda.zoo.flavours.efficientdet import EFFICIENTDET_FLAVOURS
from pagoda.zoo.flavours.fcos import FCOS_FLAVOURS
from pagoda.zoo.flavours.rcnn import FASTER_RCNN_FLAVOURS, KEYPOINT_RCNN_FLAVOURS, MASK_RCNN_FLAVOURS
from pagoda.zoo.flavours.retinanet import RETINANET_FLAVOURS
from pagoda.zoo.options import ModelName, ModelOptions, check_known
from pagoda.zoo.rcnn import REGION_MODELS, rcnn, rcnn_options


@checked
@dataclass(frozen=True)
class Family:
    """A detector: the function that composes it, the groups of its options, and the flavours it comes in.

    >>> FAMILIES["faster_rcnn"].necks, FAMILIES["detect_and_track"].of_clips
    (('fpn', 'c4', 'dc5'), True)
    """

    build: Callable[..., Detector]
    """(name, classes, options, conventions) to the detector with fresh weights"""
    options: Callable[..., tuple[type[ModelOptions], ...]]
    """(name, conventions) to the groups whose fields are the model's options"""
    flavours: Mapping[str, Any]  # of Flavour; not checked one by one, which would import SSD's
    """{name: conventions}; "" is our own"""
    necks: tuple[str, ...] = tuple(NECKS)
    """which may end a name; "" is none"""
    backbones: tuple[str, ...] | None = None
    """which its names have; None: any"""
    of_clips: bool = False
    """its batches are clips of videos, not pictures"""


# SSD's modules are imported when one is asked for: whoever loads another model does without them.


def _ssd(name: ModelName, labels: LabelMap, options: ModelOptions, flavour: Flavour) -> Detector:
    from pagoda.zoo.ssd import ssd_named

    return ssd_named(name, labels, options, flavour)


def _ssd_options(name: ModelName, flavour: Flavour) -> tuple[type[ModelOptions], ...]:
    from pagoda.zoo.ssd import ssd_options

    return ssd_options(name)


class _SSDFlavours(Mapping[str, Flavour]):
    """Those of one of its kinds."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    @cached_property
    def _known(self) -> Mapping[str, Flavour]:
        from pagoda.zoo.flavours.ssd import SSD_FLAVOURS

        return SSD_FLAVOURS[self.kind]

    def __getitem__(self, name: str) -> Flavour:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


FAMILIES = {
    "fcos": Family(fcos, dense_options, FCOS_FLAVOURS),
    "retinanet": Family(retinanet, dense_options, RETINANET_FLAVOURS),
    "efficientdet": Family(efficientdet_named, efficientdet_options, EFFICIENTDET_FLAVOURS),
    "ssd": Family(_ssd, _ssd_options, _SSDFlavours("SSD"), ("",)),
    "ssd300": Family(_ssd, _ssd_options, _SSDFlavours("SSD300"), ("",), ("vgg16",)),
    "ssd512": Family(_ssd, _ssd_options, _SSDFlavours("SSD512"), ("",), ("vgg16",)),
    "ssdlite320": Family(
        _ssd, _ssd_options, _SSDFlavours("SSDLITE320"), ("",), ("mobilenet_v2", "mobilenet_v3_large")
    ),
    "faster_rcnn": Family(rcnn, rcnn_options, FASTER_RCNN_FLAVOURS, ("fpn", "c4", "dc5")),
    "mask_rcnn": Family(rcnn, rcnn_options, MASK_RCNN_FLAVOURS, ("fpn", "c4", "dc5")),
    "keypoint_rcnn": Family(rcnn, rcnn_options, KEYPOINT_RCNN_FLAVOURS, ("fpn",)),
    "detect_and_track": Family(
        detect_and_track,
        detect_and_track_options,
        DETECT_AND_TRACK_FLAVOURS,
        ("3d", "2d", "c4_3d", "c4_2d", "c5_3d", "c5_2d"),
        of_clips=True,
    ),
}


def conventions_for(name: ModelName) -> Flavour:
    """The conventions of a model: its flavour's, and of detectron2's and AdelaiDet's the pixels for this backbone.

    >>> names = ("fcos_resnet50_fpn.original", "fcos_resnet50_fpn")
    >>> [conventions_for(parse_name(name)).quality_on for name in names]
    ['class', 'box']
    """
    conventions = FAMILIES[name.detector].flavours[name.flavour]
    if name.flavour not in ("detectron2", "adelaidet"):
        return conventions
    return replace(conventions, input_spec=pixels_of_body(name.backbone, conventions.input_spec))


def options_class(name: ModelName, conventions: Flavour | None = None) -> type[ModelOptions]:
    """The options of one model: those of its detector, neck, backbone and pictures, in its flavour's conventions.

    >>> options_class(parse_name("fcos_mobilenet_v2_fpn"))(head_depth=2).head_depth
    2
    """
    flavour = conventions_for(name) if conventions is None else conventions
    return composed(str(name), FAMILIES[name.detector].options(name, flavour))


def options_from(values: object, name: ModelName, conventions: Flavour | None = None) -> ModelOptions:
    """The options of a model out of values by name. Raises ValueError for one that the model has no use for, and for
    an unknown one with the nearest.

    >>> options_from({"width": 64}, parse_name("fcos_resnet50_fpn")).width
    64
    >>> options_from({"widht": 64}, parse_name("fcos_resnet50_fpn"))
    Traceback (most recent call last):
    ValueError: fcos_resnet50_fpn has no option 'widht'; did you mean 'width'?
    """
    return read_options(options_class(name, conventions), values, str(name))


def build_detector(
    name: ModelName, labels: LabelMap, options: ModelOptions, conventions: Flavour
) -> Detector:
    """A detector with fresh weights, whose origin tells how to build it again.

    >>> from pagoda.layers.unallocated import WithoutMemory
    >>> name = parse_name("fcos_resnet18_fpn")
    >>> options = options_from({"width": 64}, name)
    >>> with WithoutMemory():
    ...     model = build_detector(name, LabelMap.numbered(2), options, conventions_for(name))
    >>> model.origin["model"], model.origin["options"]["width"]
    ('fcos_resnet18_fpn', 64)
    """
    model = FAMILIES[name.detector].build(name, labels, options, conventions)
    # Rebuilding from a checkpoint must not ask for the ImageNet file again.
    kept = asdict(options.without_weights())
    model.origin = {"model": str(name), "options": kept, "flavour": conventions.to_dict()}
    return model


# Any backbone goes with any neck. Those that are listed and tried one by one: each backbone with its detector's
# published neck, and each detector with each neck.
PUBLISHED_NECKS = {"fcos": "fpn", "retinanet": "fpn", "efficientdet": "bifpn"}
MODELS = sorted(
    {
        *VARIANTS,
        *(f"{detector}_{body}" for detector, family in FAMILIES.items() for body in family.backbones or ()),
        *REGION_MODELS,
        *CLIP_MODELS,
        *(f"{detector}_{body}_{neck}" for detector, neck in PUBLISHED_NECKS.items() for body in BACKBONES),
        *(f"ssd_{body}" for body in BACKBONES),
        *(f"{d}_{b}_{n}" for d in PUBLISHED_NECKS for b in ("resnet50", "ghostnet_100") for n in NECKS),
    }
)


def parse_name(name: str) -> ModelName:
    """A name in its parts. Raises ValueError with the nearest name that exists.

    >>> parse_name("fcos_resnet50_fpn.original")
    ModelName(detector='fcos', backbone='resnet50', neck='fpn', flavour='original')
    """
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
    """Whether `create_model` takes the name.

    >>> is_known("efficientdet_d0"), is_known("efficientdet_d9"), is_known(None)
    (True, False, False)
    """
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
    family = FAMILIES[detector]
    necks = [neck for neck in family.necks if neck and plain.endswith(f"_{neck}")]
    neck = max(necks, key=len, default="")
    backbone = plain.removesuffix(f"_{neck}") if neck else plain
    is_known = knows_backbone(backbone) if family.backbones is None else backbone in family.backbones
    if neck not in family.necks or not is_known:
        return None
    return ModelName(detector, backbone, neck, flavour)


def _detector_of(name: str) -> str:
    """What a name begins with; empty where it is none of the families."""
    return next((detector for detector in FAMILIES if name.startswith(f"{detector}_")), "")
