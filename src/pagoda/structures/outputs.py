"""Raw predictions of a dense detector. B images, P locations (or anchors) over all levels."""

from typing import NamedTuple

from torch import Tensor


class DenseOutputs(NamedTuple):
    """What the heads say about every location, finest level first, row by row."""

    class_logits: Tensor
    """(B, P, classes)"""
    box_outputs: Tensor
    """(B, P, 4): distances or deltas, still encoded as the detector's coder has it."""
    quality_logits: Tensor | None
    """(B, P): centerness or predicted IoU; None where the detector has no such branch."""
    priors: tuple[Tensor, ...]
    """One tensor per level: points (P_l, 2) or anchors (P_l, 4), in pixels of the batch."""
