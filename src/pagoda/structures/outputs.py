"""Raw predictions. B images or clips, P locations (or anchors) over all levels, R regions, D detections.

Of clips, boxes and deltas carry T frames before their four numbers.
"""

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class ClassOutputs(Protocol):
    """Raw predictions with class logits, which all but those of proposal networks have."""

    @property
    def class_logits(self) -> Tensor:
        """(B, …, classes), as the detector has it"""
        ...


class DenseOutputs(NamedTuple):
    """What the heads say about every location, finest level first, row by row.

    >>> import torch
    >>> points = torch.zeros(4, 2), torch.zeros(1, 2)  # of P3 and P4
    >>> outputs = DenseOutputs(torch.zeros(2, 5, 80), torch.zeros(2, 5, 4), None, points)
    >>> [part.shape for part in outputs.class_logits.split([len(level) for level in points], dim=1)]
    [torch.Size([2, 4, 80]), torch.Size([2, 1, 80])]
    """

    class_logits: Tensor
    """(B, P, classes); of SSD (B, P, classes + 1), the background last"""
    box_outputs: Tensor
    """(B, P, 4): distances or deltas, still encoded as the detector's coder has it."""
    quality_logits: Tensor | None
    """(B, P): centerness or predicted IoU; None where the detector has no such branch."""
    priors: tuple[Tensor, ...]
    """One tensor per level: points (P_l, 2) or anchors (P_l, 4), in pixels of the batch."""


class RPNOutputs(NamedTuple):
    """What the proposal network says about every anchor, finest level first, row by row.

    >>> import torch
    >>> outputs = RPNOutputs(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2, 4), (torch.zeros(2, 4),))
    >>> outputs.logits.sigmoid()  # probabilities of an object
    tensor([[0.5000, 0.8808]])
    """

    logits: Tensor
    """(B, P): is there an object of any class?"""
    deltas: Tensor
    """(B, P, 4), encoded"""
    anchors: tuple[Tensor, ...]
    """(P_l, 4) per level, in pixels of the batch"""


class Proposals(NamedTuple):
    """The regions worth a second look, best first; always R rows per image.

    >>> import torch
    >>> valid = torch.tensor([[True, False], [True, True]])
    >>> proposals = Proposals(torch.zeros(2, 2, 4), torch.zeros(2, 2), valid)
    >>> [boxes[rows].shape[0] for boxes, rows in zip(proposals.boxes, proposals.valid)]
    [1, 2]
    """

    boxes: Tensor
    """(B, R, 4) in pixels of the batch; zeros where there is none"""
    scores: Tensor
    """(B, R): probabilities or logits, as the selection ranks them; 0 where there is none"""
    valid: Tensor
    """(B, R) bool: rows that hold a region"""


class RoIOutputs(NamedTuple):
    """What a two-stage detector says: about every region, and about the objects chosen from them.

    >>> import torch
    >>> regions = Proposals(torch.zeros(1, 3, 4), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool))
    >>> scores, labels = torch.tensor([[0.9, 0.0]]), torch.tensor([[7, -1]])
    >>> outputs = RoIOutputs(
    ...     torch.zeros(1, 3, 81), torch.zeros(1, 3, 80, 4), regions, torch.zeros(1, 2, 4), scores, labels, None, None
    ... )
    >>> outputs.labels[outputs.labels >= 0]  # one object, a place left empty
    tensor([7])
    """

    class_logits: Tensor
    """(B, R, classes + 1), background last whatever the weights were trained with"""
    box_outputs: Tensor
    """(B, R, classes, 4), or (B, R, 1, 4) where one box serves all classes; encoded relative to the region"""
    proposals: Proposals
    boxes: Tensor
    """(B, D, 4) of the objects, best first; rows beyond the last are zeros"""
    scores: Tensor
    """(B, D), 0 beyond the last"""
    labels: Tensor
    """(B, D), −1 beyond the last"""
    mask_logits: Tensor | None
    """(B, D, M, M) of each object's own class, inside its box; None without that branch"""
    keypoint_logits: Tensor | None
    """(B, D, K, S, S) over its box; None without that branch"""


class TubeOutputs(NamedTuple):
    """What Detect-and-Track says of clips of T frames: about every tube, and about the objects chosen from them.

    >>> import torch
    >>> regions = Proposals(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))
    >>> boxes, scores, labels = torch.zeros(1, 1, 3, 4), torch.tensor([[0.9]]), torch.tensor([[0]])
    >>> outputs = TubeOutputs(torch.zeros(1, 2, 2), torch.zeros(1, 2, 1, 3, 4), regions, boxes, scores, labels, None)
    >>> outputs.boxes[0, :, 1].shape  # the objects' boxes in the middle frame
    torch.Size([1, 4])
    """

    class_logits: Tensor
    """(B, R, classes + 1), background last"""
    box_outputs: Tensor
    """(B, R, classes, T, 4), encoded relative to the tube's box in that frame"""
    proposals: Proposals
    """boxes (B, R, T, 4)"""
    boxes: Tensor
    """(B, D, T, 4) of the objects, best first; rows beyond the last are zeros"""
    scores: Tensor
    """(B, D), 0 beyond the last"""
    labels: Tensor
    """(B, D), −1 beyond the last"""
    keypoint_logits: Tensor | None
    """(B, D, T, K, S, S) over its boxes; None without that branch"""
