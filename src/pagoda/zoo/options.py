"""A zoo model's name in its parts, what can be chosen besides, and how both are checked."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from pagoda.backbones.resnet_options import Fallback, Plugin
from pagoda.layers.conv import Activation
from pagoda.layers.inflate import Inflation
from pagoda.layers.norm import Norm
from pagoda.necks.bifpn import Fusion
from pagoda.necks.fpn import Convolutions, ExtraFrom
from pagoda.necks.topology import TopologyName
from pagoda.plain import checked, from_plain
from pagoda.preprocess import Fit

DeformKind = Literal["none", "v1", "v2"]
MOST = {
    "width": 2**14, "head_depth": 64, "num_keypoints": 4096, "cells": 64, "top_level": 12,
    "deform_groups": 2**10, "stem_channels": 2**14, "base_channels": 2**12, "norm_groups": 2**14, "num_frames": 256,
    "frame_interval": 10**6, "time_kernel": 255, "in_channels": 4,
}  # fmt: skip
"""Larger numbers are no wish but a mistake, or somebody's file that is to fill the memory"""


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


@checked
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Everything a dense detector of the zoo lets you choose. None: as the model or its flavour has it."""

    width: int | None = None
    """channels of the neck and of the heads (256; EfficientDet's by its table)"""
    head_depth: int | None = None
    """convolutions in each head's tower (4; EfficientDet's by its table)"""
    head_norm: Norm | None = None
    """in those towers: group, none, or batch (EfficientDet)"""
    head_bias: bool | None = None
    """of the towers' convolutions"""
    head_deform: bool = False
    """the last convolution of each tower is deformable"""
    class_agnostic: bool = False
    """one box and one mask for all classes (R-CNN)"""
    num_keypoints: int | None = None
    """of a keypoint head (17)"""
    cells: int | None = None
    """how often a BiFPN goes down and up (3; EfficientDet's by its table)"""
    drop_path_rate: float | None = None
    """stochastic depth in training, growing to this at the backbone's last block (EfficientDet-D1 … D7x: 0.2)"""
    neck_norm: Norm | None = None
    """behind the convolutions of the neck: group or none; in a BiFPN also batch, which it has by itself"""
    neck_norm_on: tuple[Convolutions, ...] | None = None
    """which convolutions of an FPN have it (lateral, output); extra: those of the levels above the backbone's, too"""
    neck_relu: bool | None = None
    """behind those, a ReLU (not in a BiFPN)"""
    extra_from: ExtraFrom | None = None
    """what the first level of an FPN above the backbone's is made of: its top output (P5), the backbone's (C5, as
    USE_C5 says), or every second pixel of P5 (max_pool, of R-CNNs); None: as the flavour has it"""
    fusion: Fusion | None = None
    """how a BiFPN weighs what it joins (fast; sum from EfficientDet-D6 on and in the lite ones)"""
    topology: TopologyName | None = None
    """of a BiFPN's cells (bifpn)"""
    activation: Activation | None = None
    """in a BiFPN and in EfficientDet's heads (silu; relu6 in the lite ones)"""
    top_level: int | None = None
    """of the pyramid (7; 8 in EfficientDet-D7x)"""
    levels: tuple[int, ...] | None = None
    """of the backbone that the neck reads, C2 … C5 (3, 4, 5; 2 too in R-CNN); stages above the last are not built"""
    num_stages: int | None = None
    """of a ResNet: 1 … 4 (4); without `levels`, the neck reads those of the usual that are left"""
    norm: Norm | None = None
    """of the backbone: batch, sync, frozen or group"""
    frozen_stages: int | None = None
    """of the backbone that never train: 1 the stem, 2 stem and layer1, …"""
    deform: DeformKind = "none"
    """deformable convolutions in a ResNet: v1, or v2 with modulation"""
    deform_levels: tuple[int, ...] = (3, 4, 5)
    """which stages have them: C3 … C5"""
    deform_groups: int = 1
    deform_fallback: bool = False
    """some blocks keep the plain convolution"""
    deform_fallback_on: Fallback = "stride"
    """which: those that stride, as MMDetection's fallback_on_stride is meant; or the first deformable one alone,
    whatever its stride, as MMDetection does it"""
    deform_blocks: tuple[tuple[bool, ...], ...] | None = None
    """block by block instead of levels and fallback: for each stage, which of its blocks are deformable; JSON on the
    command line"""
    plugins: tuple[Plugin, ...] = ()
    """modules inside a ResNet's bottlenecks: context_block, nonlocal_block or gen_attention_block, each with options,
    levels (2 … 5), position (after_conv1 … after_conv3) and name; JSON on the command line"""
    standardized: bool = False
    """weight standardisation in all of a ResNet's convolutions"""
    stem_channels: int | None = None
    """that a ResNet's first stage receives (as many as base_channels)"""
    base_channels: int | None = None
    """of a ResNet's first stage inside its blocks; every later stage has twice as many (64)"""
    avg_down: bool | None = None
    """a ResNet's projections average before a 1×1 without stride, as in its D forms, whose deep stem this is without"""
    norm_groups: int | None = None
    """of group norms in ResNet, FPN and dense heads (32; in heads of width below 128 fewer)"""
    backbone_weights: str | None = None
    """file (.pth, .pkl, .safetensors) or timm:NAME with ImageNet weights for the backbone"""
    inflation: Inflation | None = None
    """what the taps in time of a clip's backbone make of those weights of pictures (center)"""
    take: str | None = None
    """which weights of that file, where it holds several: their key, or ema for the averaged ones"""
    in_channels: int | None = None
    """of the pictures the network reads: 3, or 1 for grey (3)"""
    mean: tuple[float, ...] | None = None
    """of each channel, in the units of the flavour (0 … 1, or 0 … 255); one channel: the average of the three"""
    std: tuple[float, ...] | None = None
    """of each channel, likewise"""
    fit: Fit | None = None
    """how pictures get into a canvas: letterbox (its middle), corner (top left) or stretch (all of it, bubbliiiing's
    letterbox_image=False); None: as the flavour has it"""
    short_side: int | None = None
    """pixels: the shorter side pictures are resized to (800)"""
    long_side: int | None = None
    """pixels: the longer side is never larger (1333)"""
    canvas: tuple[int, int] | None = None
    """height and width in pixels of the frame that EfficientDet fits its pictures into"""
    num_frames: int | None = None
    """of a clip (Detect-and-Track: 3, in its two-dimensional form 1)"""
    frame_interval: int | None = None
    """frames of the video from one of a clip to the next (1)"""
    link: Literal["none", "center", "mean"] | None = None
    """between body and heads of Detect-and-Track: all frames go on (none), the middle one, or their mean"""
    time_kernel: int | None = None
    """frames that the convolutions of Detect-and-Track see, an odd number (3, in its two-dimensional form 1)"""
    time_stride: bool = False
    """each stage from layer2 on halves the frames, an odd number rounded up, as Detect-and-Track's TIME_STRIDE_ON: on
    one level over clips (c4_3d, c5_3d); tubes then have the middle frames of a clip alone"""

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise ValueError(f"the model option {name} is a number up to {most}, got {value}")


def given(value: int | None, otherwise: int) -> int:
    """The value, or the other one for None."""
    return otherwise if value is None else value


def refuse_options(options: ModelOptions, what: str, *names: str) -> None:
    """Raises ValueError where one of the named options is given, since `what` has no use for it."""
    defaults = {field.name: field.default for field in fields(ModelOptions)}
    for name in names:
        if getattr(options, name) != defaults[name]:
            raise ValueError(
                f"{what} has no use for the option {name}={getattr(options, name)!r}; leave it out"
            )


def check_known(kind: str, name: str, known: Collection[str]) -> None:
    """Raises ValueError with the nearest right word."""
    if name in known:
        return
    near = get_close_matches(name, known, 1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known))}"
    raise ValueError(f"unknown {kind} '{name}'; {hint}")


def options_from(values: Mapping[str, Any]) -> ModelOptions:
    """ModelOptions of the given values; an unknown name raises with the nearest one."""
    names = [field.name for field in fields(ModelOptions)]
    for name in values if isinstance(values, Mapping) else ():
        check_known("model option", name, names)
    if isinstance(values, Mapping) and "plugins" in values:
        values = {**values, "plugins": plugins_from(values["plugins"])}
    return from_plain(ModelOptions, values, "options.")


def plugins_from(values: Any) -> tuple[Plugin, ...]:
    """Plugins, each itself or in the words of JSON and YAML. Raises ValueError for other words, with the nearest.

    >>> plugins_from([{"module": "context_block", "options": {"ratio": 0.25}}])[0].attribute
    'context_block'
    """
    words = [field.name for field in fields(Plugin)]
    if not isinstance(values, list | tuple):
        raise ValueError(f"plugins are a list, each of it {{'module': …}}, got {values!r}")
    for value in values:
        if isinstance(value, Plugin):
            continue
        for name in value if isinstance(value, Mapping) else ():
            check_known("word of a plugin", name, words)
        if not isinstance(value, Mapping) or "module" not in value:
            raise ValueError(f"a plugin is {{'module': …}}, with {', '.join(words[1:])}; got {value!r}")
    return tuple(value if isinstance(value, Plugin) else Plugin(**value) for value in values)
