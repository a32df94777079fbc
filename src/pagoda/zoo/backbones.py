"""The backbones that can be named, which options each understands, and which a detector gets for its flavour."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial

from torch import nn

from pagoda.backbones.ghostnet import GhostNet
from pagoda.backbones.mobilenet import MobileNetV2
from pagoda.backbones.resnet import ResNet, Style
from pagoda.backbones.resnet_options import Body, Deform, Fallback, Ghost, Plugin, Stem, TrainMode
from pagoda.backbones.timm import TimmBackbone
from pagoda.layers.deform import OffsetInit
from pagoda.layers.norm import Norm
from pagoda.plain import checked
from pagoda.zoo.flavours.base import BodyFlavour
from pagoda.zoo.option_groups import (
    ChannelOptions,
    DeformKind,
    FrozenOptions,
    LevelOptions,
    NormOptions,
    ResNetOptions,
    StageOptions,
)
from pagoda.zoo.options import ModelOptions, check_known, given

TIMM = "timm:"
CARDINALITY = re.compile(r"resnext(\d+)([cd]?)_(\d+)x(\d+)d")


@checked
@dataclass(frozen=True, kw_only=True)
class BackboneChoices:
    """What a detector's backbone can be asked for. Those that cannot do a thing refuse it.

    >>> BackboneChoices(style="cafe")
    Traceback (most recent call last):
    ValueError: BackboneChoices: style must be one of 'pytorch', 'caffe', got 'cafe'; did you mean 'caffe'?
    """

    norm: Norm = "batch"
    """behind every convolution"""
    eps: float = 1e-5
    """of ResNets' norms, added to the variance"""
    norm_eval: bool = False
    """batch norms keep their statistics in training (ResNets)"""
    style: Style = "pytorch"
    """where bottlenecks stride: in the 3×3 (pytorch) or the first 1×1 (caffe)"""
    pooling: str = "padded"
    """of a ResNet's stem: padded or ceil, as `Stem` has it"""
    frozen_stages: int = 0
    """that never train: 1 the stem, 2 stem and C2, …"""
    deform: DeformKind = "none"
    """deformable 3×3 convolutions in bottlenecks: version 1 or 2 (modulated)"""
    deform_levels: tuple[int, ...] = (3, 4, 5)
    """which levels have them"""
    deform_groups: int = 1
    """parts of the channels with displacements of their own"""
    deform_fallback: bool = False
    """some blocks keep the plain convolution"""
    deform_fallback_on: Fallback = "stride"
    """which blocks those are: the ones that stride, or the first deformable one"""
    deform_blocks: tuple[tuple[bool, ...], ...] | None = None
    """which blocks of each stage, instead of levels and fallback"""
    offset_init: OffsetInit = "zero"
    """what displacements start from: none, or random ones"""
    levels: tuple[int, ...] = (3, 4, 5)
    """which of C2 … C5 it gives; stages beyond the last are not built"""
    num_stages: int = 4
    """of a ResNet, 1 … 4"""
    strides: tuple[int, ...] = (1, 2, 2, 2)
    """of a ResNet's stages, in their first block"""
    dilations: tuple[int, ...] = (1, 1, 1, 1)
    """of the 3×3 convolutions of a ResNet's stages"""
    plugins: tuple[Plugin, ...] = ()
    """modules inside a ResNet's bottlenecks"""
    in_channels: int = 3
    """of the pictures"""
    stem_channels: int | None = None
    """that a ResNet's layer1 receives; None: `base_channels`"""
    base_channels: int = 64
    """of a ResNet's layer1 inside its blocks; every later stage has twice as many"""
    avg_down: bool = False
    """a ResNet's projections average before a 1×1 without stride"""
    standardized: bool = False
    """weight standardisation in all of a ResNet's convolutions"""
    norm_groups: int = 32
    """of group norms"""
    classes: int | None = None
    """of a classifier on top (GhostNet)"""


def resnet(
    choices: BackboneChoices,
    depth: int,
    *,
    groups: int = 1,
    width_per_group: int = 64,
    deep: bool = False,
    avg_down: bool = False,
    ghost: Ghost | None = None,
) -> ResNet:
    """A ResNet or ResNeXt, with deep stem (C), pooled shortcuts (D) or Ghost modules if asked for.

    Raises ValueError for `deform_blocks` without a kind of deformable convolution.

    >>> resnet(BackboneChoices(levels=(2,), base_channels=16), 50).channels
    {2: 64}
    """
    if choices.deform_blocks is not None and choices.deform == "none":
        raise ValueError(
            "deform_blocks says where deformable convolutions are; say which: deform='v1' or 'v2'"
        )
    deform = None
    if choices.deform != "none":
        deform = Deform(
            levels=choices.deform_levels,
            modulated=choices.deform == "v2",
            deform_groups=choices.deform_groups,
            fallback_on_stride=choices.deform_fallback,
            fallback=choices.deform_fallback_on,
            blocks=choices.deform_blocks,
            offset_init=choices.offset_init,
        )
    return ResNet(
        depth,
        levels=choices.levels,
        norm=choices.norm,
        eps=choices.eps,
        style=choices.style,
        groups=groups,
        width_per_group=width_per_group,
        frozen_stages=choices.frozen_stages,
        stem=Stem(
            in_channels=choices.in_channels,
            channels=choices.stem_channels,
            deep=deep,
            pooling=choices.pooling,
        ),
        body=Body(
            num_stages=choices.num_stages,
            base_channels=choices.base_channels,
            norm_groups=choices.norm_groups,
            standardized=choices.standardized,
            strides=choices.strides,
            dilations=choices.dilations,
            avg_down=avg_down or choices.avg_down,
            deform=deform,
            ghost=ghost,
            plugins=choices.plugins,
        ),
        train_mode=TrainMode(norm_eval=choices.norm_eval),
    )


def ghostnet(choices: BackboneChoices, width: float, *, version: int = 1) -> GhostNet:
    """A GhostNet or GhostNetV2 of this width. Raises ValueError for what only ResNets can be asked for.

    >>> ghostnet(BackboneChoices(levels=(2,)), 0.5).channels
    {2: 12}
    """
    refuse(choices, "GhostNet", "norm", *OF_RESNETS)
    return GhostNet(
        width,
        version=version,
        levels=choices.levels,
        frozen_stages=choices.frozen_stages,
        in_channels=choices.in_channels,
        classes=choices.classes,
    )


def mobilenet(choices: BackboneChoices) -> MobileNetV2:
    """MobileNetV2 as FCOS uses it. Raises ValueError for what only ResNets can be asked for.

    >>> mobilenet(BackboneChoices(levels=(2,), deform="v2"))
    Traceback (most recent call last):
    ValueError: MobileNetV2 takes no deform='v2', only 'none'; ResNets do
    """
    refuse(choices, "MobileNetV2", *OF_RESNETS)
    return MobileNetV2(
        levels=choices.levels,
        norm=choices.norm,
        frozen_stages=choices.frozen_stages,
        in_channels=choices.in_channels,
    )


def vgg16(choices: BackboneChoices) -> nn.Module:
    """VGG16 without its classifier. Raises ValueError for what only ResNets can be asked for.

    >>> vgg16(BackboneChoices(levels=(2,))).channels
    {2: 256}
    """
    from pagoda.backbones.vgg import VGG16  # whoever loads another backbone does without

    refuse(choices, "VGG16", "norm", *OF_RESNETS)
    return VGG16(levels=choices.levels, frozen_stages=choices.frozen_stages, in_channels=choices.in_channels)


OF_RESNETS = (
    "deform",
    "deform_blocks",
    "num_stages",
    "strides",
    "dilations",
    "plugins",
    "stem_channels",
    "base_channels",
    "avg_down",
    "standardized",
    "norm_groups",
)


def refuse(choices: BackboneChoices, what: str, *names: str) -> None:
    """Raises ValueError where one of the named choices is not the default.

    >>> refuse(BackboneChoices(norm="frozen"), "GhostNet", "norm")
    Traceback (most recent call last):
    ValueError: GhostNet takes no norm='frozen', only 'batch'; ResNets do
    """
    defaults = {field.name: field.default for field in fields(BackboneChoices)}
    for name in names:
        if getattr(choices, name) != defaults[name]:
            raise ValueError(
                f"{what} takes no {name}={getattr(choices, name)!r}, only {defaults[name]!r}; ResNets do"
            )


BACKBONES: dict[str, Callable[[BackboneChoices], nn.Module]] = {
    **{f"resnet{depth}": partial(resnet, depth=depth) for depth in (18, 34, 50, 101, 152)},
    **{f"resnet{depth}c": partial(resnet, depth=depth, deep=True) for depth in (18, 34, 50, 101, 152)},
    **{
        f"resnet{depth}d": partial(resnet, depth=depth, deep=True, avg_down=True)
        for depth in (18, 34, 50, 101, 152)
    },
    "resnext50_32x4d": partial(resnet, depth=50, groups=32, width_per_group=4),
    "resnext101_32x4d": partial(resnet, depth=101, groups=32, width_per_group=4),
    "resnext101_32x8d": partial(resnet, depth=101, groups=32, width_per_group=8),
    "resnext101_64x4d": partial(resnet, depth=101, groups=64, width_per_group=4),
    "ghost_resnet50": partial(resnet, depth=50, ghost=Ghost()),
    "ghost_resnet50_s4": partial(resnet, depth=50, ghost=Ghost(ratio=4)),
    "mobilenet_v2": mobilenet,
    "vgg16": vgg16,
    **{f"ghostnet_{round(100 * width)}": partial(ghostnet, width=width) for width in (0.5, 1.0, 1.1, 1.3)},
    **{f"ghostnetv2_{round(100 * w)}": partial(ghostnet, width=w, version=2) for w in (1.0, 1.3, 1.6)},
}


def knows_backbone(name: str) -> bool:
    """Whether `build_backbone` takes it (of timm's names only the prefix is looked at).

    >>> knows_backbone("resnet50d"), knows_backbone("resnext50_8x16d"), knows_backbone("resnet51")
    (True, True, False)
    """
    return name in BACKBONES or name.startswith(TIMM) or CARDINALITY.fullmatch(name) is not None


def is_resnet(name: str) -> bool:
    """Whether the name is of a ResNet or ResNeXt, in whatever variant.

    >>> is_resnet("resnext50_32x4d"), is_resnet("mobilenet_v2")
    (True, False)
    """
    return name.startswith(("resnet", "resnext", "ghost_resnet"))


def build_backbone(name: str, choices: BackboneChoices) -> nn.Module:
    """The backbone of a name, or any timm model that gives features with "timm:NAME" (without its weights).

    >>> build_backbone("resnext50_8x4d", BackboneChoices(levels=(2,))).layer1[0].conv2.groups
    8
    """
    if name.startswith(TIMM):
        refuse(choices, "a timm backbone", "norm", *OF_RESNETS)
        return TimmBackbone(
            name.removeprefix(TIMM),
            levels=choices.levels,
            in_channels=choices.in_channels,
            frozen_stages=choices.frozen_stages,
        )
    grouped = CARDINALITY.fullmatch(name)
    if grouped:  # any cardinality, not only those that are listed
        depth, form, groups, width = grouped.groups()
        return resnet(
            choices,
            int(depth),
            groups=int(groups),
            width_per_group=int(width),
            deep=form != "",
            avg_down=form == "d",
        )
    check_known("backbone", name, BACKBONES)
    return BACKBONES[name](choices)


def body_levels(options: ModelOptions, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Which levels of the backbone the neck reads: those asked for, or the usual ones as far as there are stages.

    >>> body_levels(StageOptions(num_stages=3), (3, 4, 5))
    (3, 4)
    >>> body_levels(LevelOptions(levels=(5, 2)), (3, 4, 5))
    (2, 5)
    """
    if isinstance(options, LevelOptions) and options.levels is not None:
        return tuple(sorted(options.levels))
    highest = 1 + (given(options.num_stages, 4) if isinstance(options, StageOptions) else 4)
    return tuple(level for level in usual if level <= highest) or (highest,)


def body_options(backbone: str, *, is_pyramid: bool = True) -> tuple[type[ModelOptions], ...]:
    """The option groups of a backbone, under a pyramid or on its own.

    >>> [[group.__name__ for group in body_options(name)] for name in ("ghostnet_100", "timm:convnext_tiny")]
    [['FrozenOptions'], ['FrozenOptions']]
    """
    if is_resnet(backbone):
        return (ResNetOptions, StageOptions) if is_pyramid else (ResNetOptions,)
    return (NormOptions,) if backbone.startswith("mobilenet") else (FrozenOptions,)


def build_body(
    backbone: str,
    options: ChannelOptions,
    flavour: BodyFlavour,
    levels: tuple[int, ...],
    *,
    dilated: bool = False,
) -> nn.Module:
    """A detector's backbone over these levels; `dilated`: the last stage keeps the stride of the one before."""
    if not is_resnet(backbone):
        flavour = replace(flavour, norm="batch", eps=1e-5, frozen_stages=0)
    frozen_stages = options.frozen_stages if isinstance(options, FrozenOptions) else None
    norm = (options.norm if isinstance(options, NormOptions) else None) or flavour.norm
    choices = BackboneChoices(
        levels=levels,
        norm=norm,
        eps=flavour.eps if norm == flavour.norm else BodyFlavour.eps,
        norm_eval=flavour.norm_eval,
        style="pytorch" if backbone.startswith("resnext") else flavour.style,
        pooling=flavour.pooling,
        frozen_stages=given(frozen_stages, flavour.frozen_stages),
        in_channels=given(options.in_channels, 3),
        num_stages=given(options.num_stages, 4) if isinstance(options, StageOptions) else 4,
        strides=(1, 2, 2, 1) if dilated else (1, 2, 2, 2),
        dilations=(1, 1, 1, 2) if dilated else (1, 1, 1, 1),
    )
    if isinstance(options, ResNetOptions):
        choices = _resnet_choices(choices, options)
    return build_backbone(backbone, choices)


def _resnet_choices(choices: BackboneChoices, options: ResNetOptions) -> BackboneChoices:
    """With what is asked for of a ResNet alone."""
    return replace(
        choices,
        deform=options.deform,
        deform_levels=options.deform_levels,
        deform_groups=options.deform_groups,
        deform_fallback=options.deform_fallback,
        deform_fallback_on=options.deform_fallback_on,
        deform_blocks=options.deform_blocks,
        stem_channels=options.stem_channels,
        base_channels=given(options.base_channels, 64),
        avg_down=options.avg_down is True,
        norm_groups=given(options.norm_groups, 32),
        plugins=options.plugins,
        standardized=options.standardized,
    )
