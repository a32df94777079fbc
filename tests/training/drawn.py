"""A run small enough for a test: `python drawn.py FOLDER [resume]` trains it, for tests that kill it.

With `odd` the second process of a group has losses that are no numbers, with `fails` it fails.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.loading import TrainingView
from pagoda.evaluation.runner import evaluate
from pagoda.layers.norm import Norm
from pagoda.models import create_model
from pagoda.recipes.augmentation import training_transform
from pagoda.training.loop import Trainer
from pagoda.training.settings import OptimSettings, TrainSettings


def small_trainer(
    folder: Path,
    *,
    resume: bool = False,
    images: int = 24,
    save_seconds: float = 0.0,
    side: int = 64,
    sizes: np.ndarray | None = None,
    norm: Norm = "batch",
    data: dict[str, str] | None = None,
    **changes,
) -> Trainer:
    """Two epochs of FCOS on small drawings; `last/` is written after every step. `sizes` for other than theirs."""
    optim = changes.pop("optim", OptimSettings(warmup_steps=2, ema_decay=0.9))
    settings = TrainSettings(
        data="drawn", epochs=2, batch_size=4, save_seconds=save_seconds, device="cpu", optim=optim, **changes
    )
    shapes, val = (
        DrawnShapes(images, image_size=(side, side), seed=1),
        DrawnShapes(6, image_size=(side, side), seed=2),
    )
    torch.manual_seed(0)
    model = create_model(
        "fcos_resnet18_fpn",
        label_map=shapes.label_map,
        width=32,
        head_depth=1,
        base_channels=16,
        norm_groups=8,
        short_side=side,
        long_side=side,
        norm=norm,
    )
    view = TrainingView(shapes, training_transform(model, shapes, settings.augment))
    return Trainer(
        model,
        view,
        lambda current, progress: evaluate(current, val, batch_size=3),
        settings,
        folder,
        sizes=shapes.annotations.sizes if sizes is None else sizes,
        data=data,
        resume=resume,
        quiet=True,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    trainer = small_trainer(Path(sys.argv[1]), resume="resume" in sys.argv)
    if trainer.accelerator.process_index == 1 and "odd" in sys.argv:
        losses = trainer.model.losses
        trainer.model.losses = lambda images, targets: {
            name: value * torch.nan for name, value in losses(images, targets).items()
        }
    if trainer.accelerator.process_index == 1 and "fails" in sys.argv:
        trainer.view.transform = None
        trainer.view.dataset = None
    trainer.run()
