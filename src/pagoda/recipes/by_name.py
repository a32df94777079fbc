"""Recipes by name: settings that hold unless a flag says otherwise."""

from collections.abc import Callable
from types import MappingProxyType

from pagoda.recipes import detect_and_track, efficientdet, rcnn
from pagoda.training.settings import TrainSettings
from pagoda.zoo.options import check_known

RECIPES: MappingProxyType[str, Callable[[str], TrainSettings]] = MappingProxyType(
    {
        "efficientdet": efficientdet.published,
        "efficientdet_small": efficientdet.small,
        "rcnn_small": rcnn.small,
        "detect_and_track": detect_and_track.published,
    }
)


def recipe_settings(name: str, data: str) -> TrainSettings:
    """The settings of a recipe for a dataset folder; an unknown name raises with the nearest."""
    check_known("recipe", name, RECIPES)
    return RECIPES[name](data)
