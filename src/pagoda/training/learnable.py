"""What a step learns from: the batch as it was read, or with black pictures where too few could be."""

import numpy as np
import torch
from torch import Tensor

from pagoda.data.loading import Batch
from pagoda.detectors.contract import Detector
from pagoda.structures.instances import Targets
from pagoda.structures.tubes import AnyTargets, TubeTargets
from pagoda.training.batch_norms import needs_two_pictures


def learnable_batch(model: Detector, batch: Batch) -> tuple[list[Tensor], list[AnyTargets]]:
    """(pictures, targets), or two black pictures without objects where none could be read: every process must step.

    One black picture comes to a batch that was left with one where a batch norm would see a single value.

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
    if not needs_two_pictures(model, np.array([size]), resized=True):
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
