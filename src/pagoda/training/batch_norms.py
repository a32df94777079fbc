"""Batch norms that learn need more than one value of each channel: found out before training, not by a crash."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pagoda.detectors.contract import Detector
from pagoda.layers.norm import BATCH_NORMS, has_batch_statistics


def needs_two_pictures(
    model: Detector, sizes: np.ndarray, *, low: float = 1.0, resized: bool = False
) -> bool:
    """Whether a norm that learns would see a single value of each channel in a batch of one picture.

    `sizes` are (height, width) of the pictures to learn from, in rows; `low` the smallest factor they are shrunk by,
    or of pictures that are `resized` already.
    The smallest of them goes through the network once, without learning or drawing anything.
    """
    if not has_batch_statistics(model):
        return False
    spec = model.input_spec
    every = [(int(height), int(width)) for height, width in np.unique(sizes, axis=0)]
    frames = np.array(every if resized else [spec.frame(size) for size in every])
    scale = 1.0 if resized or spec.canvas is not None else min(low, 1.0)
    height, width = (max(1, int(side * scale)) for side in frames[frames.prod(1).argmin()])
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    if model.sees_clips:
        picture = picture.expand(len(model.frames_around), -1, -1, -1)
    device = next(model.parameters()).device
    with _values_per_picture(model) as seen, torch.no_grad():
        model(spec.batch([picture, picture], device=device))
    return 1 in seen


def fewest_pictures(
    model: Detector, sizes: np.ndarray, *, batch_size: int, num_processes: int, low: float
) -> int:
    """How many pictures a process needs in every batch: 2 where batches of one cannot be learnt from, else 1.

    Looks at the model (`needs_two_pictures`) only where there would be such a batch. Raises ValueError, before
    training, where all are, or where there are too few pictures to join them to others.
    """
    count, rest = len(sizes), len(sizes) % (batch_size * num_processes)
    is_hopeless = batch_size == 1 or count < 2 * num_processes
    if not is_hopeless and not 0 < rest < 2 * num_processes:
        return 1
    if not needs_two_pictures(model, sizes, low=low):
        return 1
    if not is_hopeless:
        return 2
    what = "--batch-size 1 gives" if batch_size == 1 else f"{count} pictures give"
    raise ValueError(
        f"{what} a process one picture per batch, of which a batch norm of this model would see a single value: take"
        f" {'--batch-size 2 or more' if batch_size == 1 else 'more pictures'}, larger pictures, or a norm without"
        " batch statistics (group, frozen)"
    )


@contextmanager
def _values_per_picture(model: nn.Module) -> Iterator[list[int]]:
    """How many values of a channel each norm that learns sees of one picture; the model is as before afterwards."""
    training = {module: module.training for module in model.modules()}
    seen: list[int] = []

    def look(module: nn.Module, inputs: Sequence[Any]) -> None:
        x: Tensor = inputs[0]
        if x.shape[0] == 2:  # of pictures, not of regions, whose number is another every time
            seen.append(x[0, 0].numel())

    norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS) and module.training]
    handles = [norm.register_forward_pre_hook(look) for norm in norms]
    model.eval()  # no statistics are learnt, nothing is dropped at random
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        for module, was_training in training.items():
            module.training = was_training
