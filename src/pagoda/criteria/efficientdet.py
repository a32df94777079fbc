"""EfficientDet's losses: focal loss with γ 1.5 and a Huber loss, both over the positives plus one.

B images, P anchors over all levels, F positive ones over the whole batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from pagoda.criteria.dense import class_labels
from pagoda.criteria.normalize import num_sharing, sum_over_processes
from pagoda.ops.assign import IGNORED, assign_claim_best
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.focal import focal_loss_sums
from pagoda.ops.losses import smoothed_focal_loss
from pagoda.plain import check_numbers, checked
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import DenseOutputs


@checked
@dataclass(frozen=True, kw_only=True)
class EfficientDetCriterion:
    """Class loss / (F + 1) and box_weight · box loss / 4 (F + 1) (Tan 2020, and the released code).

    The original leaves out each coordinate whose target is exactly 0; here a positive anchor learns all four.

    >>> anchors = torch.tensor([[0., 0., 8., 8.], [0., 0., 8., 24.]])
    >>> EfficientDetCriterion().assign(anchors, torch.tensor([[0., 0., 9., 30.]]))  # overlaps 0.24 and 0.71
    tensor([-1,  0])
    """

    min_iou: float = 0.5
    """from which on an anchor is positive; below, it is background, and nothing is ignored"""
    alpha: float = 0.25
    """the positive class's share of the focal loss"""
    gamma: float = 1.5
    """of the focal loss: the larger, the less easy anchors count"""
    label_smoothing: float = 0.0
    """s: classes aim at 1 − s/2 and s/2"""
    huber_delta: float = 0.1
    """where the square turns into the absolute value, in units of the deltas"""
    box_weight: float = 50.0
    """factor of the box loss, which is small where δ is"""
    inclusive: bool = False
    """overlaps by the legacy rule"""
    count_momentum: float | None = None
    """F + 1 becomes its running mean of this momentum; see `RunningCount`"""

    def __post_init__(self) -> None:
        check_numbers(self, 0, 1, "min_iou", "alpha", "label_smoothing", "count_momentum")
        check_numbers(self, 0, 1e6, "gamma", "box_weight")
        check_numbers(self, 1e-6, 1e6, "huber_delta")

    def running_count(self) -> "RunningCount | None":
        """What makes the divisor of F + 1 from step to step, to be kept with the weights; None: F + 1 itself."""
        return None if self.count_momentum is None else RunningCount(self.count_momentum)

    def assign(self, anchors: Float[Tensor, "p 4"], boxes: Float[Tensor, "n 4"]) -> Int[Tensor, " p"]:
        """(P,) index into `boxes` or BACKGROUND."""
        return assign_claim_best(anchors, boxes, min_iou=self.min_iou, inclusive=self.inclusive)

    def __call__(
        self,
        outputs: DenseOutputs,
        targets: Sequence[Targets],
        levels: Sequence[int],
        running_count: Callable[[Tensor], Tensor] | None = None,
        *,
        coder: BoxCoder,
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_class", "loss_box": scalar}.

        `running_count` makes the divisor out of F + 1; `coder` is the detector's: how its deltas stand for boxes.
        """
        anchors = torch.cat(outputs.priors)
        labels, delta_targets = [], []
        for target in targets:
            index = self.assign(anchors, target.boxes)
            labels.append(class_labels(index, target))
            own = index >= 0
            delta_targets.append(coder.encode(target.boxes[index[own]], anchors[own]))
        image_labels = torch.stack(labels)  # (B, P)
        positive = image_labels >= 0
        count = sum_over_processes(positive.sum()) + 1
        divisor = (count if running_count is None else running_count(count)) / num_sharing()
        deltas = outputs.box_outputs[positive].float()
        box_sum = huber_loss(deltas, torch.cat(delta_targets), delta=self.huber_delta, reduction="sum")
        return {
            "loss_class": self._class_sum(outputs.class_logits, image_labels) / divisor,
            "loss_box": self.box_weight * box_sum / (4 * divisor),
        }

    def _class_sum(
        self, logits: Float[Tensor, "b p classes"], labels: Int[Tensor, "b p"]
    ) -> Float[Tensor, ""]:
        if self.label_smoothing == 0:
            return focal_loss_sums(logits, labels, alpha=self.alpha, gamma=self.gamma).sum()
        targets = (labels[..., None] == torch.arange(logits.shape[-1], device=labels.device)).float()
        loss = smoothed_focal_loss(
            logits.float(), targets, smoothing=self.label_smoothing, alpha=self.alpha, gamma=self.gamma
        )
        return (loss * (labels != IGNORED)[..., None]).sum()


@checked
class RunningCount(nn.Module):
    """The running mean of a count over training steps, so that a batch with few objects does not weigh more.

    It starts at the first count, not at 0, which would let the first losses tower. In evaluation it stands still.
    Raises ValueError for a momentum below 0, or of 1 and above.

    >>> count = RunningCount(momentum=0.75)
    >>> count(torch.tensor(8.0)), count(torch.tensor(16.0))  # 0.75 · 8 + 0.25 · 16
    (tensor(8.), tensor(10.))
    """

    mean: Tensor

    def __init__(self, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is the old mean's share, from 0 to below 1, got {momentum}")
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, count: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean with this step's count in it."""
        old = torch.where(self.mean > 0, self.mean, count)
        if not self.training:
            return old
        self.mean.copy_(old * self.momentum + count * (1 - self.momentum))
        return self.mean.clone()
