"""Detect-and-Track's training, as its authors ran it on PoseTrack 2017.

detect_and_track    pagoda train detect_and_track_resnet18_c4_3d.original --recipe detect_and_track --data POSETRACK
    8 GPUs of 2 clips each (pictures, for the two-dimensional models: 8 of 1), 13,000 steps; for 4 GPUs halve the rate
    and double the steps. Published: mAP 22.6 and MOTA 15.4 from a COCO model (`pagoda create … --start-from FILE`).

The original has one scale per clip of 128, 196 or 256 pixels; a range of the same width stands for it here, and flips
at random for the mirrored copy of every clip.
"""

from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings

STEPS = 13_000


def published(data: str) -> TrainSettings:
    """Settings of the original training: SGD with momentum; biases learn twice as fast and do not decay.

    Other data than PoseTrack 2017 need other `epochs`, to come to `STEPS`.

    >>> settings = published("posetrack2017")
    >>> settings.optim.learning_rate, [round(share * STEPS) for share in settings.optim.milestones]
    (0.001, [10000, 12000])
    """
    return TrainSettings(
        data=data,
        epochs=24,  # 13,000 steps of 16 clips: 24 times the 30 labelled frames of each of 292 videos
        batch_size=2,
        val_every=10,
        optim=OptimSettings(
            optimizer="sgd",
            learning_rate=0.001,
            weight_decay=1e-4,
            momentum=0.9,
            bias_factor=2.0,
            schedule="multistep",
            milestones=(10_000 / STEPS, 12_000 / STEPS),
            warmup_steps=500,
            warmup_factor=1 / 3,
            clip_norm=0.0,
            ema_decay=0.0,
        ),
        augment=AugmentSettings(scale_range=(0.5, 1.0), horizontal_flip=0.5),
    )
