"""One class of options out of groups, and options read from what people and files say of them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import TypeVar

from pagoda.backbones.resnet_options import Plugin
from pagoda.messages import did_you_mean
from pagoda.plain import JsonObject, checked, from_plain
from pagoda.zoo.detect_and_track import DetectAndTrackOptions, TimeStrideOptions
from pagoda.zoo.option_groups import (
    ActivationOptions,
    BiFPNOptions,
    CanvasOptions,
    CellOptions,
    ChannelOptions,
    DarknetOptions,
    DeformOptions,
    DenseOptions,
    FPNOptions,
    FrozenOptions,
    GroupNormOptions,
    HeadNormOptions,
    KeypointOptions,
    LevelOptions,
    NeckOptions,
    NormOptions,
    PixelOptions,
    PublishedSSDOptions,
    PyramidOptions,
    RCNNOptions,
    ResNetOptions,
    SideOptions,
    SSDOptions,
    StageOptions,
    TowerOptions,
    VariantOptions,
    YOLOv1Options,
)
from pagoda.zoo.options import ModelOptions, Options, check_known

GROUPS = (
    ModelOptions, PixelOptions, ChannelOptions, SideOptions, CanvasOptions, FrozenOptions, NormOptions,
    GroupNormOptions, DeformOptions, ResNetOptions, StageOptions, LevelOptions, PyramidOptions, NeckOptions,
    FPNOptions, CellOptions, ActivationOptions, BiFPNOptions, TowerOptions, HeadNormOptions, DenseOptions,
    VariantOptions, SSDOptions, PublishedSSDOptions, YOLOv1Options, DarknetOptions, RCNNOptions, KeypointOptions,
    DetectAndTrackOptions, TimeStrideOptions,
)  # fmt: skip
"""each option stands in one of them; all others inherit it"""
Read = TypeVar("Read", bound=Options)


@cache
def composed(model: str, groups: tuple[type[ModelOptions], ...]) -> type[ModelOptions]:
    """The class of a model's options: it has the fields of all the groups, and the model's name.

    >>> from pagoda.zoo.option_groups import CellOptions, TowerOptions
    >>> [field.name for field in fields(composed("my_detector", (TowerOptions, CellOptions)))][-2:]
    ['cells', 'head_depth']
    """
    whole = type(model, groups, {"__doc__": f"What {model} lets you choose.", "__module__": __name__})
    return checked(dataclass(frozen=True, kw_only=True)(whole))


def read_options(kind: type[Read], values: object, model: str) -> Read:
    """Options of the given values by name. Raises ValueError that names the model for an option it has no use for, and
    for an unknown one with the nearest.

    >>> read_options(ModelOptions, {"width": 64}, "my_detector").width
    64
    >>> read_options(ModelOptions, {"cells": 5}, "my_detector")
    Traceback (most recent call last):
    ValueError: my_detector has no use for the option cells=5, which is for BiFPNs; leave it out
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            check_applies(kind, str(name), model, said=f"the option {name}={value!r:.80}")
        if "plugins" in values:
            values = {**values, "plugins": plugins_from(values["plugins"])}
    return from_plain(kind, values, "options.")


def check_applies(kind: type[Options], name: str, model: str, *, said: str) -> None:
    """Raises ValueError unless `kind`, the options of `model`, has one of this name; `said` is how it was given."""
    known = [field.name for field in fields(kind)]
    if name in known:
        return
    owner = owner_of(name)
    if owner is not None:
        raise ValueError(kind.refusal(model, said, owner.of))
    raise ValueError(f"{model} has no option '{name}'; {did_you_mean(name, sorted(known), cutoff=0.5)}")


def changed(options: Options) -> JsonObject:
    """What was chosen: the options that are not as they are by themselves.

    >>> changed(ModelOptions(width=64))
    {'width': 64}
    """
    values = {field.name: (getattr(options, field.name), field.default) for field in fields(options)}
    return {name: value for name, (value, default) in values.items() if value != default}


def owner_of(name: str) -> type[ModelOptions] | None:
    """The group that an option is in; None where no model has it.

    >>> owner_of("cells").__name__, owner_of("cels")
    ('CellOptions', None)
    """
    return next((group for group in GROUPS if name in group.__annotations__), None)


def plugins_from(values: object) -> tuple[Plugin, ...]:
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
