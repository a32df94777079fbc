"""The two-minute demonstration.

Command: pagoda demo · two CPU cores · see README for the result it reaches.
"""

import torch

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.models import create_model
from pagoda.recipes.training_run import RunResult, train_on
from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings

EPOCHS = 9


def run_demo(*, epochs: int = EPOCHS, seed: int = 0, out: str = "runs", quiet: bool = False) -> RunResult:
    """A narrow FCOS, its ResNet of half the channels, on 128×128 drawings of circles, squares and triangles, scored
    before and after."""
    train_data = DrawnShapes(800, image_size=(128, 128), seed=seed, max_objects=4)
    val_data = DrawnShapes(64, image_size=(128, 128), seed=seed + 1_000_003, max_objects=4)
    settings = TrainSettings(
        data="drawn shapes",
        epochs=epochs,
        batch_size=8,
        seed=seed,
        name="demo",
        out=out,
        val_every=2,
        optim=OptimSettings(warmup_steps=30, ema_decay=0.99),
        augment=AugmentSettings(scale_range=(1.0, 1.0)),
    )
    torch.manual_seed(seed)
    options = {"base_channels": 32, "width": 64, "head_depth": 2, "short_side": 128, "long_side": 128}
    model = create_model("fcos_resnet18_fpn", label_map=train_data.label_map, **options)
    return train_on(model, train_data, val_data, settings, quiet=quiet, score_before=True)
