"""Recipes by name: settings that hold unless a flag says otherwise."""

from collections.abc import Callable
from types import MappingProxyType

from pagoda.recipes import detect_and_track, efficientdet, rcnn
from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings
from pagoda.zoo.options import check_known


def ssd(data: str) -> TrainSettings:
    """SSD300's published training on VOC07+12 (Liu 2016): 120,000 steps of 32 pictures, ÷10 at 80,000 and 100,000.

    Colours are changed, pictures made smaller in a larger frame, and cropped around some object. Without `--recipe` an
    SSD takes the settings that suit hundreds of steps, which do none of this.

    >>> ssd("voc").augment.zoom_out, ssd("voc").optim.learning_rate
    (0.5, 0.001)
    """
    return TrainSettings(
        data=data,
        epochs=232,  # of 16,551 pictures
        batch_size=32,
        val_every=10,
        optim=OptimSettings(
            optimizer="sgd",
            learning_rate=1e-3,
            weight_decay=5e-4,
            momentum=0.9,
            bias_factor=2.0,
            schedule="multistep",
            milestones=(2 / 3, 5 / 6),
            warmup_steps=500,
            warmup_factor=1 / 3,
            clip_norm=0.0,
            ema_decay=0.0,
        ),
        augment=AugmentSettings(zoom_out=0.5, iou_crop=1.0, scale_range=(1.0, 1.0), photometric=0.5),
    )


RECIPES: MappingProxyType[str, Callable[[str], TrainSettings]] = MappingProxyType(
    {
        "efficientdet": efficientdet.published,
        "efficientdet_small": efficientdet.small,
        "ssd": ssd,
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
