"""What can be chosen about a zoo model besides its name, and how names and options are checked."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from pagoda.layers.norm import Norm


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Everything a dense detector of the zoo lets you choose; the defaults are the published widths."""

    width: int = 256
    """channels of the neck and of the heads"""
    head_depth: int = 4
    """convolutions in each head's tower"""
    head_norm: Norm = "group"
    """in those towers: group or none"""
    norm: Norm = "batch"
    """of the backbone: batch, frozen or group"""
    frozen_stages: int = 0
    """of the backbone that never train: 1 the stem, 2 stem and layer1, …"""
    backbone_weights: str | None = None
    """file (.pth, .safetensors) or timm:NAME with ImageNet weights for the backbone"""
    short_side: int = 800
    """pixels: the shorter side pictures are resized to"""
    long_side: int = 1333
    """pixels: the longer side is never larger"""


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
    return ModelOptions(**values)
