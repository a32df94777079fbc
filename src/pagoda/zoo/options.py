"""A zoo model's name in its parts, what can be chosen besides, and how both are checked."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from pagoda.backbones.resnet_options import Plugin
from pagoda.layers.inflate import Inflation
from pagoda.layers.norm import Norm
from pagoda.plain import checked

DeformKind = Literal["none", "v1", "v2"]


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
    neck_relu: bool | None = None
    """behind those, a ReLU (not in a BiFPN)"""
    top_level: int | None = None
    """of the pyramid (7; 8 in EfficientDet-D7x)"""
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
    """blocks that stride keep the plain convolution"""
    plugins: tuple[Plugin, ...] = ()
    """modules inside a ResNet's bottlenecks"""
    standardized: bool = False
    """weight standardisation in all of a ResNet's convolutions"""
    backbone_weights: str | None = None
    """file (.pth, .pkl, .safetensors) or timm:NAME with ImageNet weights for the backbone"""
    inflation: Inflation | None = None
    """what the taps in time of a clip's backbone make of those weights of pictures (center)"""
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
    for name in values:
        check_known("model option", name, names)
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    if "plugins" in plain:
        plain["plugins"] = tuple(
            plugin if isinstance(plugin, Plugin) else Plugin(**plugin) for plugin in plain["plugins"]
        )
    return ModelOptions(**plain)
