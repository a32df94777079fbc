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
    """The settings of a recipe for a dataset folder. Raises ValueError for an unknown name, with the nearest.

    >>> recipe_settings("efficientdet", data="coco").epochs
    300
    >>> recipe_settings("efficientnet", data="coco")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: unknown recipe 'efficientnet'; did you mean 'efficientdet'...
    """
    check_known("recipe", name, RECIPES)
    return RECIPES[name](data)
