"""A two-stage model on a few dozen pictures of one's own, from scratch, on a processor without accelerator.

rcnn_small  pagoda train mask_rcnn_resnet18_fpn --recipe rcnn_small --data DIR --model.width 64 --model.short-side 320
    minutes to half an hour on two cores; the results stand in benchmarks/RESULTS.md.
"""

from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings


def small(data: str) -> TrainSettings:
    """Settings from scratch: AdamW at a third of the usual rate, for the fully connected layers have no norms.

    >>> small("bccd").optim.learning_rate, TrainSettings(data="bccd").optim.learning_rate
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
