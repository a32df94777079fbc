"""The transforms of single pictures, applied to all frames of a clip alike. T frames."""

from dataclasses import replace

import torch
from torch import Tensor

from pagoda.data.augment.mixing import CopyPaste, Mixup
from pagoda.data.augment.transforms import Compose, Mosaic, RandomIoUCrop, Transform
from pagoda.structures.tubes import TubeTargets


def transform_clip(transform: Transform, frames: Tensor, targets: TubeTargets) -> tuple[Tensor, TubeTargets]:
    """The clip after `transform`, with the same random draws for every frame; the frames are (T, 3, H, W).

    An object that leaves some frames is absent there, and one that leaves all is gone. Raises ValueError for
    transforms whose draws follow from what is in a frame, for they would not treat all frames alike.

    >>> from pagoda.data.augment.transforms import HorizontalFlip
    >>> from pagoda.structures.instances import Targets
    >>> one = Targets(torch.tensor([[1.0, 0.0, 3.0, 2.0]]), torch.tensor([0]), (4, 10), torch.tensor([False]))
    >>> one = replace(one, track_ids=torch.tensor([5]))
    >>> clip = TubeTargets.join([one, one], [one.track_ids] * 2, key=0)
    >>> frames, moved = transform_clip(HorizontalFlip(p=1), torch.zeros(2, 3, 4, 10, dtype=torch.uint8), clip)
    >>> moved.boxes.tolist()
    [[[7.0, 0.0, 9.0, 2.0], [7.0, 0.0, 9.0, 2.0]]]
    """
    _check(transform)
    start = torch.get_rng_state()
    end = start
    pictures, parts = [], []
    for position, frame in enumerate(frames):
        torch.set_rng_state(start)
        picture, part = transform(frame, targets.at(position))
        if position and not torch.equal(end, torch.get_rng_state()):
            raise ValueError(
                f"a transform of clips must draw the same random numbers for every frame, but frame {position} took"
                f" others than the one before in {transform}; its draws must not depend on the objects"
            )
        end = torch.get_rng_state()
        pictures.append(picture)
        parts.append(part)
    ids = [part.track_ids for part in parts]
    if any(rows is None for rows in ids):
        raise ValueError(
            f"the track ids of a clip were lost in {transform}; make new targets with dataclasses.replace"
        )
    joined = TubeTargets.join(parts, [rows for rows in ids if rows is not None], key=targets.key)
    return torch.stack(pictures), replace(joined, image_id=targets.image_id, file=targets.file)


def _check(transform: Transform) -> None:
    for step in transform.transforms if isinstance(transform, Compose) else (transform,):
        if isinstance(step, Mosaic | CopyPaste | Mixup | RandomIoUCrop):
            raise ValueError(
                f"{type(step).__name__} is for single pictures and would tear a clip apart; train clips with"
                " augment.mosaic=0, copy_paste=0, mixup=0 and iou_crop=0"
            )
