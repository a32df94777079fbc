"""SSD300, SSD512 and SSDlite as published, and our own on any backbone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from types import MappingProxyType

from torch import nn

from pagoda.backbones.mobilenet import MobileNetV2
from pagoda.backbones.mobilenet_v3 import MobileNetV3Large
from pagoda.backbones.vgg import VGG16
from pagoda.detectors.ssd import SSD
from pagoda.heads.per_level import PerLevelHead
from pagoda.layers.conv import Activation
from pagoda.necks.extras import ExtraLevel, ExtraLevels
from pagoda.ops.anchors import DefaultBoxes
from pagoda.plain import checked
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.zoo import inputs
from pagoda.zoo.backbones import body_levels, body_options, build_body
from pagoda.zoo.flavours.base import Flavour
from pagoda.zoo.flavours.ssd import SSDFlavour
from pagoda.zoo.option_groups import (
    CanvasOptions,
    ChannelOptions,
    LevelOptions,
    PublishedSSDOptions,
    SSDOptions,
)
from pagoda.zoo.options import ModelName, ModelOptions, given

TWO, SIX = (2.0,), (2.0, 3.0)
Table = tuple[tuple[float, ...], float]
"""the smallest side of each level's default boxes in pixels, and the M of the last; other M are the next level's m"""


@checked
@dataclass(frozen=True, kw_only=True)
class Variant:
    """A published SSD: what its name stands for.

    >>> VARIANTS["ssd300_vgg16"].side, VARIANTS["ssdlite320_mobilenet_v2"].lite
    (300, True)
    """

    side: int
    """pixels: pictures are stretched to a square of this side"""
    body: Callable[..., nn.Module]
    """of (in_channels, conventions) to the backbone"""
    rows: tuple[ExtraLevel, ...]
    """the further levels"""
    ratios: tuple[tuple[float, ...], ...]
    """of default boxes, level by level"""
    sizes: Mapping[str, Table] = field(default_factory=dict)
    """{"voc", "coco": sides of default boxes}"""
    steps: tuple[float, ...] | None = None
    """pixels from cell to cell; None: the picture's side divided by the level's"""
    lite: bool = False
    """depthwise separable levels and heads with norms"""

    def boxes(self, flavour: SSDFlavour, which: str | None) -> DefaultBoxes:
        """The default boxes in a program's conventions, of the table asked for."""
        if flavour.boxes is not None:
            return flavour.boxes
        low, last = self.sizes[which or flavour.box_sizes]
        return DefaultBoxes(
            min_sizes=low,
            max_sizes=(*low[1:], last),
            ratios=self.ratios,
            steps=self.steps,
            image_size=self.side,
            whole_sizes=flavour.whole_sizes,
            clip=flavour.box_clip,
        )


def _vgg(in_channels: int, flavour: SSDFlavour) -> VGG16:
    return VGG16(levels=(3, 4), reduced=True, in_channels=in_channels)


def _mobilenet_v2(in_channels: int, flavour: SSDFlavour) -> MobileNetV2:
    return MobileNetV2(levels=(4, 5), last_conv=True, in_channels=in_channels)


def _mobilenet_v3(in_channels: int, flavour: SSDFlavour) -> MobileNetV3Large:
    return MobileNetV3Large(
        reduced_tail=True, in_channels=in_channels, eps=flavour.norm_eps, momentum=flavour.norm_momentum
    )


def _even(low: tuple[float, ...], last: float) -> Mapping[str, Table]:
    """One table for VOC and COCO."""
    return dict.fromkeys(("voc", "coco"), (low, last))


VALID = ExtraLevel(256, 128, stride=1, padding=0)
VARIANTS = MappingProxyType(
    {
        "ssd300_vgg16": Variant(
            side=300,
            body=_vgg,
            rows=(ExtraLevel(512, 256), ExtraLevel(256, 128), VALID, VALID),
            ratios=(TWO, SIX, SIX, SIX, TWO, TWO),
            sizes={
                "voc": ((30.0, 60.0, 111.0, 162.0, 213.0, 264.0), 315.0),
                "coco": ((21.0, 45.0, 99.0, 153.0, 207.0, 261.0), 315.0),
            },
            steps=(8.0, 16.0, 32.0, 64.0, 100.0, 300.0),
        ),
        "ssd512_vgg16": Variant(
            side=512,
            body=_vgg,
            rows=(
                ExtraLevel(512, 256),
                *[ExtraLevel(256, 128)] * 3,
                ExtraLevel(256, 128, kernel=4, stride=1),
            ),
            ratios=(TWO, SIX, SIX, SIX, SIX, TWO, TWO),
            sizes={
                "voc": ((35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8), 537.6),
                "coco": ((20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8), 542.72),
            },
            steps=(8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0),
        ),
        "ssdlite320_mobilenet_v3_large": Variant(
            side=320,
            body=_mobilenet_v3,
            rows=tuple(ExtraLevel(width, width // 2) for width in (512, 256, 256, 128)),
            ratios=(SIX,) * 6,
            sizes=_even((64.0, 112.0, 160.0, 208.0, 256.0, 304.0), 320.0),
            lite=True,
        ),
        "ssdlite320_mobilenet_v2": Variant(
            side=320,
            body=_mobilenet_v2,
            rows=(ExtraLevel(512, 256), ExtraLevel(256, 128), ExtraLevel(256, 128), ExtraLevel(64, 64)),
            ratios=(SIX,) * 6,
            sizes=_even((60.0, 105.0, 150.0, 195.0, 240.0, 285.0), 330.0),
            steps=(16.0, 32.0, 64.0, 107.0, 160.0, 320.0),
            lite=True,
        ),
    }
)


def published_ssd(
    name: ModelName, labels: LabelMap, options: PublishedSSDOptions, flavour: SSDFlavour
) -> SSD:
    """The SSD that a published name stands for, in one flavour's conventions.

    Raises ValueError for a canvas on which a level would have no cell, and for `width`, which is published too.
    """
    variant = VARIANTS[f"{name.detector}_{name.backbone}"]
    if options.width is not None:
        raise ValueError(f"{name} is as wide as published; leave width={options.width} out")
    body = variant.body(given(options.in_channels, 3), flavour)
    neck = ExtraLevels(
        body.channels,  # type: ignore[arg-type]
        variant.rows,
        kind=flavour.lite_extras if variant.lite else "plain",
        l2_levels=() if variant.lite else (3,),
        norm="batch" if variant.lite else "none",
        activation="relu6" if variant.lite else "relu",
        eps=flavour.norm_eps,
        momentum=flavour.norm_momentum,
    )
    spec = replace(flavour.input_spec, canvas=(variant.side, variant.side))
    spec = inputs.input_spec(options, spec)
    _check_cells(name, neck, spec.canvas or (variant.side, variant.side))
    boxes = variant.boxes(flavour, options.box_sizes)
    head = partial(
        PerLevelHead,
        separable=variant.lite,
        plain_last=flavour.lite_plain_last,
        depthwise_bias=flavour.lite_depthwise_bias,
        eps=flavour.norm_eps,
        momentum=flavour.norm_momentum,
    )
    return _assembled(body, neck, head, boxes, labels, spec, flavour)


def _assembled(
    body: nn.Module,
    neck: ExtraLevels,
    head: Callable[..., PerLevelHead],
    boxes: DefaultBoxes,
    labels: LabelMap,
    spec: InputSpec,
    flavour: SSDFlavour,
) -> SSD:
    """Both heads on the levels, with as many outputs as there are boxes in a cell, and the flavour's conventions."""
    head = partial(head, neck.channels, dict(zip(sorted(neck.channels), boxes.counts, strict=True)))
    return SSD(
        body,
        neck,
        class_head=head(outputs=len(labels) + 1),
        box_head=head(outputs=4),
        boxes=boxes,
        label_map=labels,
        input_spec=spec,
        coder=flavour.coder,
        prior_probability=flavour.prior_probability,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def _check_cells(name: ModelName, neck: ExtraLevels, canvas: tuple[int, int]) -> None:
    for side in canvas:
        cells = -(-side // 2 ** neck.inputs[-1])
        for level, row in neck.rows.items():
            cells = row.cells(cells)
            if cells < 1:
                raise ValueError(
                    f"{name} has no cell on level {level} of pictures {canvas[0]}×{canvas[1]}; a larger canvas is"
                    " needed"
                )


# Our own: shares of the picture's side in percent, as SSD300 for COCO has them on six levels.
FIRST, START, END = 7.0, 15.0, 105.0


def even_boxes(levels: int, side: float, flavour: SSDFlavour) -> DefaultBoxes:
    """Default boxes for so many levels: the finest of 7 %, the others evenly from 15 % to where 105 % would follow.

    >>> even_boxes(6, 300, SSDFlavour()).min_sizes  # those of SSD300 for COCO
    (21.0, 45.0, 99.0, 153.0, 207.0, 261.0)
    """
    step = (END - START) / max(1, levels - 1)
    shares = [FIRST, *(START + step * index for index in range(levels))][: levels + 1]
    sides = [side * share / 100 for share in shares]
    low, high = zip(*pairwise(sides), strict=True)
    return DefaultBoxes(
        min_sizes=low,
        max_sizes=high,
        ratios=(SIX,) * levels,
        image_size=side,
        whole_sizes=flavour.whole_sizes,
        clip=flavour.box_clip,
    )


USUAL_WIDTH, USUAL_TOP = 256, 8
SIDE = 320


def ssd(name: ModelName, labels: LabelMap, options: SSDOptions, flavour: SSDFlavour) -> SSD:
    """An SSD on any backbone: its levels from C3 on, and further ones of `width` channels up to `top_level`."""
    body = build_body(name.backbone, options, flavour.body, body_levels(options, (3, 4, 5)))  # type: ignore[arg-type]
    width, top = given(options.width, USUAL_WIDTH), given(options.top_level, USUAL_TOP)
    highest = max(body.channels)  # type: ignore[arg-type, type-var]
    if top < highest:
        raise ValueError(f"top_level must be {highest} or more on this backbone, got {top}")
    norm = options.neck_norm or "group"
    activation: Activation = "relu6" if options.separable else "relu"
    neck = ExtraLevels(
        body.channels,  # type: ignore[arg-type]
        [ExtraLevel(width, max(1, width // 2))] * (top - highest),
        kind="separable" if options.separable else "plain",
        norm=norm,
        activation=activation,
    )
    spec = inputs.input_spec(options, replace(flavour.input_spec, canvas=(SIDE, SIDE)))
    boxes = flavour.boxes or even_boxes(len(neck.channels), SIDE, flavour)
    head = partial(
        PerLevelHead,
        separable=options.separable,
        norm=norm,
    )
    return _assembled(body, neck, head, boxes, labels, spec, flavour)


def ssd_named(name: ModelName, labels: LabelMap, options: ModelOptions, flavour: Flavour) -> SSD:
    """The published SSD of this name, or our own on its backbone."""
    build = published_ssd if f"{name.detector}_{name.backbone}" in VARIANTS else ssd
    return build(name, labels, options, flavour)  # type: ignore[arg-type, operator]


def ssd_options(name: ModelName) -> tuple[type[ModelOptions], ...]:
    """The option groups of an SSD of this name."""
    if f"{name.detector}_{name.backbone}" in VARIANTS:
        return (PublishedSSDOptions,)
    return (SSDOptions, LevelOptions, *body_options(name.backbone), ChannelOptions, CanvasOptions)
