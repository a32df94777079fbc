"""Recipes by name: settings that hold unless a flag says otherwise; those of no file of their own stand here.

fine_tune  pagoda train NAME --recipe fine_tune --data DIR --model.backbone-weights FILE
    a learned body under heads that have learnt nothing; what was measured stands in benchmarks/RESULTS.md.
rcnn_small  pagoda train mask_rcnn_resnet18_fpn --recipe rcnn_small --data DIR --model.width 64 --model.short-side 320
    a two-stage model on a few dozen pictures of one's own, from scratch, on a processor without accelerator; results
    stand in benchmarks/RESULTS.md.
yolov1  pagoda train yolov1.darknet --recipe yolov1 --data VOC --model.backbone-weights FILE
    darknet's: SGD over 40,000 steps of 64 pictures, from 20 convolutions that had seen ImageNet; published mAP on VOC07
    63.4.
    Small data need no recipe: docs/yolov1.md has the command and what it came to.
"""

from collections.abc import Callable
from types import MappingProxyType

from pagoda.recipes import detect_and_track, efficientdet
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


def rcnn_small(data: str) -> TrainSettings:
    """An R-CNN from scratch on a few dozen pictures, in minutes to half an hour on two cores.

    AdamW learns at a third of the usual rate, for the fully connected layers have no norms.

    >>> rcnn_small("bccd").optim.learning_rate, TrainSettings(data="bccd").optim.learning_rate
    (0.0007, 0.002)
    """
    return TrainSettings(
        data=data,
        epochs=30,
        batch_size=4,
        val_every=5,
        optim=OptimSettings(learning_rate=7e-4),
        augment=AugmentSettings(scale_range=(0.8, 1.25)),
    )


def fine_tune(data: str) -> TrainSettings:
    """For a backbone that has learnt and heads that have not: the body at a tenth of the rate, its norms' statistics
    as they come, every tensor's gradient cut by itself, and an average of short memory.

    >>> fine_tune("bccd").optim.backbone_factor, fine_tune("bccd").optim.norm_eval
    (0.1, True)
    """
    optim = OptimSettings(backbone_factor=0.1, norm_eval=True, clip_each=10.0, ema_decay=0.99)
    return TrainSettings(data=data, optim=optim)


def yolov1(data: str) -> TrainSettings:
    """Darknet's settings for VOC 07+12 (16,551 pictures, 259 steps an epoch), in four batches of 16 a step.

    Its rate of .0005 rises to .005 within 600 steps and falls to a tenth after 20,000 and again after 30,000. What it
    moves the picture's edges by, a fifth of the sides, is here a change of scale and place.

    >>> yolov1("voc").optim.learning_rate
    0.005
    """
    return TrainSettings(
        data=data,
        epochs=155,
        batch_size=16,
        val_every=5,
        optim=OptimSettings(
            optimizer="sgd",
            learning_rate=0.005,
            weight_decay=5e-4,
            momentum=0.9,
            schedule="multistep",
            milestones=(0.5, 0.75),
            warmup_steps=600,
            warmup_factor=0.1,
            clip_norm=0.0,
            accumulate=4,
            ema_decay=0.0,
        ),
        augment=AugmentSettings(scale_range=(0.8, 1.25), photometric=0.5),
    )


RECIPES: MappingProxyType[str, Callable[[str], TrainSettings]] = MappingProxyType(
    {
        "fine_tune": fine_tune,
        "efficientdet": efficientdet.published,
        "efficientdet_small": efficientdet.small,
        "ssd": ssd,
        "rcnn_small": rcnn_small,
        "detect_and_track": detect_and_track.published,
        "yolov1": yolov1,
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
