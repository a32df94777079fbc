"""A zoo model's name in its parts, and the options that every model has; the others are in groups of their own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self, TypeVar

from pagoda.messages import did_you_mean
from pagoda.plain import checked

MOST = {
    "width": 2**14, "head_depth": 64, "num_keypoints": 4096, "cells": 64, "top_level": 12,
    "deform_groups": 2**10, "stem_channels": 2**14, "base_channels": 2**12, "norm_groups": 2**14, "num_frames": 256,
    "frame_interval": 10**6, "time_kernel": 255, "in_channels": 4,
    "num_boxes": 256, "side": 256,
}  # fmt: skip
"""Larger numbers are no wish but a mistake, or somebody's file that is to fill the memory"""
MAY_BE_NONE = ("head_depth", "cells", "num_keypoints")
"""which may be 0; all others begin at 1 (a Detect-and-Track without keypoints has boxes alone)"""


class ModelName(NamedTuple):
    """`fcos_resnet50_fpn.original` in its parts; the flavour is "" for our own.

    `efficientdet_d0` has no neck: a published variant names all its parts at once and stands for the backbone.

    >>> str(ModelName("fcos", "resnet50", "fpn", "original"))
    'fcos_resnet50_fpn.original'
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
class Options:
    """What can be chosen of a model that is made already, or by somebody's own function: nothing."""

    of: ClassVar[str] = "nothing"
    """whose options these are, for messages"""

    @classmethod
    def refusal(cls, model: str, said: str, of: str) -> str:
        """What is wrong where somebody says an option that these have not; `of` is whose it is.

        >>> Options.refusal("model.py:build", "--model.width", "models by their zoo names")
        'model.py:build is no model by its zoo name and has no options: leave --model.width out'
        """
        return f"{model} is no model by its zoo name and has no options: leave {said} out"


@checked
@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """What every model of the zoo lets you choose. Name a model to see what else it has: NAME --help-all.

    None: as the model or its flavour has it.
    """

    of = "models by their zoo names"

    width: int | None = None
    """channels of the neck and of the heads (256; EfficientDet's by its table)"""
    backbone_weights: str | None = None
    """file (.pth, .pkl, .safetensors) or timm:NAME with ImageNet weights for the backbone"""
    take: str | None = None
    """which weights of that file, where it holds several: their key, or ema for the averaged ones"""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers beyond those in MOST.

        >>> ModelOptions(width=10**6)
        Traceback (most recent call last):
        ValueError: the model option width is a number up to 16384, got 1000000
        """
        for name, most in MOST.items():
            value = getattr(self, name, None)
            least = 0 if name in MAY_BE_NONE else 1
            if value is not None and not least <= value <= most:
                limit = f"up to {most}" if value > most else f"from {least} on"
                raise ValueError(f"the model option {name} is a number {limit}, got {value}")

    @classmethod
    def refusal(cls, model: str, said: str, of: str) -> str:
        """What is wrong where somebody says an option that these have not; `of` is whose it is."""
        return f"{model} has no use for {said}, which is for {of}; leave it out"

    def without_weights(self) -> Self:
        """The same without what says where the first weights come from: to be built again from a checkpoint."""
        return replace(self, backbone_weights=None, take=None)


Chosen = TypeVar("Chosen", bound=ModelOptions)


def given(value: int | None, otherwise: int) -> int:
    """`value`, or `otherwise` where it is None; 0 is a value.

    >>> given(None, 3), given(0, 3)
    (3, 0)
    """
    return otherwise if value is None else value


def with_usual(options: Chosen, usual: Mapping[str, int]) -> Chosen:
    """The options with `usual` numbers where none are asked for; those that a model has not are left out.

    >>> with_usual(ModelOptions(), {"width": 256, "cells": 3}).width
    256
    """
    open_ = {name: value for name, value in usual.items() if getattr(options, name, value) is None}
    return replace(options, **open_)


def check_known(kind: str, name: str, known: Collection[str]) -> None:
    """Raises ValueError with the nearest right word unless `name` is among the known ones.

    >>> check_known("backbone", "resnet51", ["resnet18", "resnet50"])
    Traceback (most recent call last):
    ValueError: unknown backbone 'resnet51'; did you mean 'resnet50'?
    """
    if name in known:
        return
    raise ValueError(f"unknown {kind} '{name}'; {did_you_mean(name, sorted(known), cutoff=0.5)}")
