"""EfficientDet's training: as Google's was, and a small one for a processor without accelerator.

efficientdet        pagoda train efficientdet_d0.google --recipe efficientdet --data COCO --model.backbone-weights FILE
    32 TPUv3 cores, 300 epochs of COCO (D7 and D7x: 600 on 128) in batches of 4 each; published AP on val2017 34.3
    (D0) … 54.4 (D7x), by soft suppression. Ours differs from the original's code in one thing: its cosine runs on
    as if there had been no warm-up, so that the rate touches 0 a little early.
efficientdet_small  pagoda train efficientdet_d0 --recipe efficientdet_small --data BCCD --model.canvas 256 320
    two processor cores, minutes; the result stands in benchmarks/RESULTS.md.

Wide scale jitter (0.1 … 2) pays in 300 epochs only: the paper has it 1 AP behind mild jitter after 30.
"""

from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings


def published(data: str) -> TrainSettings:
    """Google's settings: SGD with momentum over 300 epochs, rate 0.08 per 64 pictures; for 8 processes of 16 pictures.

    Stochastic depth is the model's: 0.2 in D1 and above, none in D0. Weight decay is for kernels only, as always.

    >>> published("coco").optim.learning_rate  # 0.08 · 8 · 16 / 64
    0.16
    """
    return TrainSettings(
        data=data,
        epochs=300,
        batch_size=16,
        val_every=10,
        optim=OptimSettings(
            optimizer="sgd",
            learning_rate=0.16,
            weight_decay=4e-5,
            momentum=0.9,
            schedule="cosine",
            final_factor=0.0,
            warmup_steps=917,  # one epoch of COCO in batches of 128
            warmup_factor=0.1,
            clip_norm=10.0,
            clip_each=10.0,
            ema_decay=0.9998,
            ema_ramp="counted",
        ),
        augment=AugmentSettings(scale_range=(0.1, 2.0), horizontal_flip=0.5),
    )


def small(data: str) -> TrainSettings:
    """Settings for hundreds of steps instead of 300,000: AdamW, mild jitter and a short memory of the average.

    >>> small("bccd").optim.ema_decay, published("coco").optim.ema_decay
    (0.99, 0.9998)
    """
    return TrainSettings(
        data=data,
        epochs=12,
        batch_size=8,
        optim=OptimSettings(learning_rate=2e-3, clip_each=10.0, ema_decay=0.99),
        augment=AugmentSettings(scale_range=(0.8, 1.25)),
    )
