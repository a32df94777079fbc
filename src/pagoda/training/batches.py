"""A run's batches: planned, and what a step learns from.

Batch norms that learn need more than one value of each channel: found out before training, not by a crash.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pagoda.data.loading import Batch, BatchPlan, Parts
from pagoda.detectors.contract import Detector
from pagoda.layers.norm import BATCH_NORMS, has_batch_statistics
from pagoda.structures.instances import Targets
from pagoda.structures.tubes import AnyTargets, TubeTargets
from pagoda.training.settings import TrainSettings


def needs_two_pictures(
    model: Detector, sizes: np.ndarray, *, low: float = 1.0, resized: bool = False
) -> bool:
    """Whether a norm that learns would see a single value of each channel in a batch of one picture.

    `sizes` are (height, width) of the pictures to learn from, in rows; `low` the smallest factor they are shrunk by,
    or of pictures that are `resized` already.
    The smallest of them goes through the network once, without learning or drawing anything.

    >>> import pagoda
    >>> options = {"base_channels": 8, "width": 8, "norm_groups": 4, "short_side": 64, "long_side": 64}
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, **options)
    >>> size = np.array([[32, 32]])  # at stride 32 a single cell, unless the model resizes it: here to 64×64
    >>> needs_two_pictures(model, size, resized=True), needs_two_pictures(model, size)
    (True, False)
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
    """The fewest pictures a process needs in every batch: 2 where batches of one cannot be learnt from, else 1.

    Looks at the model (`needs_two_pictures`) only where there would be such a batch. Raises ValueError, before
    training, where all are, or where there are too few pictures to join them to others.

    Args:
        sizes: (n, 2) height and width of the pictures to learn from.
        batch_size: per process; n pictures leave a last batch of n % (batch_size · num_processes).
        low: the smallest factor that pictures are shrunk by, `AugmentSettings.scale_range[0]`.
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


def plan_batches(
    model: Detector,
    sizes: np.ndarray,
    settings: TrainSettings,
    num_processes: int,
    process_index: int,
    factors: np.ndarray | None = None,
    parts: Parts | None = None,
) -> BatchPlan:
    """The batches of a run, for one of its processes: pictures of one shape together where no norm learns statistics.

    Batch norm must see mixtures: where wide pictures are of another kind than upright ones, batches of one shape have
    other statistics than the running ones it is used with. `factors` and `parts` are those of `BatchPlan`. Raises
    ValueError as `fewest_pictures` does, and for a `batch_size` that is not a number yet.

    >>> plan = plan_batches(nn.Linear(1, 1), np.array([[3, 4]] * 5), TrainSettings(data="", batch_size=2), 1, 0)
    >>> len(plan), plan.group_by_aspect
    (3, True)
    """
    if isinstance(settings.batch_size, str):
        raise ValueError(
            "batch_size='auto' is found out before a run: take recipes.training_run, or a number"
        )
    return BatchPlan(
        images=sizes,
        batch_size=settings.batch_size,
        seed=settings.seed,
        group_by_aspect=not has_batch_statistics(model),
        at_least=fewest_pictures(
            model,
            sizes,
            batch_size=settings.batch_size,
            num_processes=num_processes,
            low=settings.augment.scale_range[0],
        ),
        num_processes=num_processes,
        process_index=process_index,
        factors=factors,
        parts=parts,
    )


@contextmanager
def _values_per_picture(model: nn.Module) -> Iterator[list[int]]:
    """How many values of a channel each norm that learns sees of one picture; the model is as before afterwards."""
    training = {module: module.training for module in model.modules()}
    seen: list[int] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
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


def learnable_batch(
    model: Detector, batch: Batch, *, is_cut: bool = False
) -> tuple[list[Tensor], list[AnyTargets]]:
    """(pictures, targets), or two black pictures without objects where none could be read: every process must step.

    One black picture comes to a batch that was left with one where a batch norm would see a single value, and where the
    model `is_cut` among processes, so that this one alone cannot find that out, wherever a batch norm learns.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> pictures, targets = learnable_batch(model, Batch([], [], [], []))
    >>> len(pictures), [len(each) for each in targets]
    (2, [0, 0])
    """
    if not batch.pictures:
        side = model.input_spec.pad_multiple
        black, nothing = _nothing(model, (side, side))
        return [black, black], [nothing, nothing]  # batch statistics need more than one value
    targets: list[AnyTargets] = [target.learnable() for target in batch.targets]
    if len(batch.pictures) > 1 or not batch.skipped:
        return batch.pictures, targets
    size = (batch.pictures[0].shape[-2], batch.pictures[0].shape[-1])
    is_unknown = is_cut and has_batch_statistics(model)
    if not is_unknown and not needs_two_pictures(model, np.array([size]), resized=True):
        return batch.pictures, targets
    black, nothing = _nothing(model, size)
    return [*batch.pictures, black], [*targets, nothing]


def _nothing(model: Detector, size: tuple[int, int]) -> tuple[Tensor, AnyTargets]:
    """A black picture, or clip, of (height, width) and its targets, without any object."""
    black = torch.zeros(model.input_spec.read_channels, *size, dtype=torch.uint8)
    nothing = Targets.empty(size)
    if not model.sees_clips:
        return black, nothing
    length = len(model.frames_around)
    no_ids = torch.zeros(0, dtype=torch.long)
    tubes = TubeTargets.join([nothing] * length, [no_ids] * length, key=length // 2)
    return black.expand(length, -1, -1, -1), tubes
