"""SSD's MultiBox loss: boxes of the positives, classes of the positives and of the hardest negatives.

B images, P default boxes over all levels, F positive ones over the whole batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from pagoda.criteria.dense import class_labels
from pagoda.criteria.normalize import num_sharing, sum_over_processes
from pagoda.ops.assign import BACKGROUND, assign_bipartite, assign_overwrite
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.boxes import pairwise_iou
from pagoda.ops.losses import CodedBoxLoss, coded_box_loss
from pagoda.plain import check_numbers, checked
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import DenseOutputs

Matching = Literal["bipartite", "overwrite"]
"""how every object gets its default box: one of its own each (Caffe), or its best one, of which a later object may rob
it (all others)"""


@checked
@dataclass(frozen=True, kw_only=True)
class MultiBoxCriterion:
    """(class loss + box_weight · box loss) / max(1, F), F of the whole batch over all processes (Liu 2016).

    Negatives are mined in each picture for itself: of its default boxes without an object those whose background is
    least likely, `negatives_per_positive` for each positive, and never fewer than `least_negatives`, as far as there
    are any. So a picture without objects teaches nothing by itself, as in the originals.

    >>> boxes = torch.tensor([[0., 0., 8., 8.], [0., 0., 8., 24.]])
    >>> MultiBoxCriterion().assign(boxes, torch.tensor([[0., 0., 9., 30.]]))  # overlaps 0.24 and 0.71
    tensor([-1,  0])
    """

    min_iou: float = 0.5
    """from which on a default box is positive; below, it is background, and nothing is ignored"""
    matching: Matching = "overwrite"
    """see `Matching`"""
    union_eps: float = 0.0
    """added to unions, as shares of the picture's area (lufficc: 1e-5)"""
    class_loss: Literal["mined", "focal"] = "mined"
    """cross entropy of positives and mined negatives, or focal loss of all default boxes by the same softmax"""
    negatives_per_positive: float = 3.0
    """mined in every picture"""
    least_negatives: int = 0
    """mined in every picture, even one without objects"""
    alpha: float = 0.25
    """the positives' share of the focal loss"""
    gamma: float = 2.0
    """of the focal loss: the larger, the less easy boxes count"""
    box_loss: CodedBoxLoss = "smooth_l1"
    """of deltas as they are (smooth L1), or of the boxes they stand for (1 − GIoU)"""
    smooth_l1_beta: float = 1.0
    """where the square turns into the absolute value, in units of the deltas; 0: L1"""
    box_weight: float = 1.0
    """factor of the box loss"""
    inclusive: bool = False
    """overlaps by the legacy rule, which no published SSD has"""

    def __post_init__(self) -> None:
        check_numbers(self, 0, 1, "min_iou", "alpha", "union_eps")
        check_numbers(self, 0, 1e6, "negatives_per_positive", "gamma", "smooth_l1_beta", "box_weight")
        check_numbers(self, 0, 10**6, "least_negatives")

    def running_count(self) -> None:
        """F is counted anew in every step."""

    def assign(
        self,
        anchors: Float[Tensor, "p 4"],
        boxes: Float[Tensor, "n 4"],
        picture: tuple[int, int] | None = None,
    ) -> Int[Tensor, " p"]:
        """(P,) index into `boxes` or BACKGROUND; `picture` is the (height, width) that `union_eps` is a share of.

        An object without area is nobody's. Both may be in any unit, as losses are: SSD's first programs compute in
        shares of the picture.
        """
        real = (boxes[:, 2:] > boxes[:, :2]).all(1).nonzero().squeeze(1)  # of no size: no deltas stand for it
        if len(real) == 0 or len(anchors) == 0:
            return torch.full((len(anchors),), BACKGROUND, device=anchors.device)
        eps = 0.0 if picture is None else self.union_eps * picture[0] * picture[1]
        iou = pairwise_iou(anchors, boxes[real], inclusive=self.inclusive, union_eps=eps)
        assign = assign_bipartite if self.matching == "bipartite" else assign_overwrite
        index = assign(iou, min_iou=self.min_iou)
        return torch.where(index >= 0, real[index.clamp(min=0)], index)

    def mine(
        self, background_loss: Float[Tensor, "b p"], positive: Bool[Tensor, "b p"]
    ) -> Bool[Tensor, "b p"]:
        """The negatives to learn from: in each picture those of largest loss."""
        wanted = (positive.sum(1, keepdim=True) * self.negatives_per_positive).clamp(min=self.least_negatives)
        ranking = background_loss.detach().masked_fill(positive, -torch.inf)
        rank = ranking.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (rank < wanted) & ~positive

    def __call__(
        self,
        outputs: DenseOutputs,
        targets: Sequence[Targets],
        levels: Sequence[int],
        running_count: Callable[[Tensor], Tensor] | None = None,
        *,
        coder: BoxCoder,
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_class", "loss_box": scalar}; `coder` is the detector's, `running_count` is not used."""
        anchors = torch.cat(outputs.priors)
        labels, boxes = [], []
        for target in targets:
            index = self.assign(anchors, target.boxes, target.image_size)
            labels.append(class_labels(index, target))
            boxes.append(target.boxes[index[index >= 0]])
        image_labels = torch.stack(labels)  # (B, P)
        positive = image_labels >= 0
        divisor = sum_over_processes(positive.sum()).clamp(min=1) / num_sharing()
        deltas, priors = outputs.box_outputs[positive].float(), anchors.expand(len(targets), -1, -1)[positive]
        box_losses = coded_box_loss(
            deltas, priors, torch.cat(boxes), coder, kind=self.box_loss, beta=self.smooth_l1_beta
        )
        class_losses = self._class_losses(outputs.class_logits, image_labels, positive)
        return {
            "loss_class": class_losses.sum() / divisor,
            "loss_box": self.box_weight * box_losses.sum() / divisor,
        }

    def _class_losses(
        self,
        logits: Float[Tensor, "b p classes"],
        labels: Int[Tensor, "b p"],
        positive: Bool[Tensor, "b p"],
    ) -> Float[Tensor, "b p"]:
        """Of every default box; 0 where it is not learnt from."""
        wanted = torch.where(positive, labels, logits.shape[-1] - 1)
        losses = cross_entropy(logits.float().transpose(1, 2), wanted, reduction="none")
        if self.class_loss == "mined":
            return torch.where(positive | self.mine(losses, positive), losses, 0.0)
        weight = torch.where(positive, self.alpha, 1 - self.alpha)
        return weight * (-torch.expm1(-losses)) ** self.gamma * losses
