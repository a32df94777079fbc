"""torchvision's detectors and ours side by side, so that rounding cannot decide and a fault still shows.

Fifty random layers make much of a rounding, and of two boxes as good either may be kept: compared at the end alone, the
last digit would decide, on each processor otherwise.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pagoda.detectors.contract import Detector
from pagoda.detectors.rcnn import RCNN
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections


@contextmanager
def stage_by_stage(original: nn.Module, model: Detector, images: ImageBatch) -> Iterator[None]:
    """Pixels, features and proposals of torchvision agree with ours, and its next stage starts from ours."""
    with torch.no_grad():
        pyramid = model.neck(model.backbone(images.pixels))

    def same_pixels(_: nn.Module, __: tuple, output: tuple) -> tuple:
        torch.testing.assert_close(output[0].tensors, images.pixels, rtol=0, atol=2e-5)
        output[0].tensors = images.pixels
        return output

    def same_features(_: nn.Module, __: tuple, output: dict[str, Tensor]) -> dict[str, Tensor]:
        for x, wanted in zip(pyramid.values(), output.values(), strict=True):
            torch.testing.assert_close(x, wanted, rtol=0, atol=2e-4 * float(wanted.std()))
        return dict(zip(output, pyramid.values(), strict=True))

    hooks: dict[nn.Module, Callable[..., Any]] = {
        original.transform: same_pixels,
        original.backbone: same_features,
    }
    if isinstance(model, RCNN):
        hooks[original.rpn] = same_proposals(model, images)
    handles = [part.register_forward_hook(hook) for part, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def same_proposals(model: RCNN, images: ImageBatch) -> Callable[..., Any]:
    """All but a few, which near-ties of scores and overlaps may turn."""
    with torch.no_grad():
        (boxes,) = model.propose(images, model.proposals.inference).proposals.boxes

    def compare(_: nn.Module, __: tuple, output: tuple) -> tuple:
        (wanted,), losses = output
        near = (boxes[:, None] - wanted[None]).abs().amax(-1) <= 1e-2
        assert len(boxes) == len(wanted) and near.any(0).float().mean() > 0.8
        return [boxes], losses

    return compare


class Tally:
    """Detections of both sides, paired; those without a twin are counted over all pictures."""

    rows, strays = 0, 0

    def twins(self, found: Detections, expected: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(rows of ours, rows of theirs) that are the same box, score and class."""
        near = (found.boxes[:, None] - expected["boxes"][None]).abs().amax(-1) <= 5e-3
        near &= (found.scores[:, None] - expected["scores"][None]).abs() <= 2e-5
        near &= found.labels[:, None] == expected["labels"][None]
        assert (near.sum(0) <= 1).all() and (near.sum(1) <= 1).all()
        self.rows += sum(near.shape)
        self.strays += sum(near.shape) - 2 * int(near.sum())
        return near.nonzero(as_tuple=True)

    def check(self) -> None:
        """Where two boxes overlap by all but exactly the limit, either may go; and so may the last of a full list."""
        assert self.strays <= 0.05 * self.rows, f"{self.strays} of {self.rows} have no twin"
