"""Losses of the dense detectors: raw predictions and targets to named, normalised terms.

B images, P locations or anchors over all levels, F foreground (positive) ones over the whole batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pagoda.criteria.normalize import (
    MovingMean,
    num_sharing,
    number_over_processes,
    sum_over_processes,
)
from pagoda.ops.anchors import point_strides
from pagoda.ops.assign import IGNORED, LowQuality, assign_by_center, assign_by_iou
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.boxes import boxes_to_ltrb, ltrb_to_boxes, paired_iou
from pagoda.ops.focal import focal_loss_sums
from pagoda.ops.losses import (
    CodedBoxLoss,
    IoULoss,
    centerness,
    coded_box_loss,
    ltrb_iou_loss,
    shifted_cross_entropy,
)
from pagoda.plain import check_numbers, checked
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import DenseOutputs

Normalizer = Literal["batch", "batch_plus_images", "image", "sum_of_images"]
"""what sums are divided by: max(1, F); F + B (Caffe2, maskrcnn-benchmark); each image by its own max(1, F), then
the mean over images (torchvision); or Σ max(1, F of an image) (mmdet)"""


def default_ranges(levels: Sequence[int]) -> tuple[tuple[float, float], ...]:
    """FCOS's object sizes per level: 8·2ˡ doubling, the first from below 0, the last without end.

    They stay where a level is dilated: another level would not see more of the picture.

    >>> default_ranges([3, 4, 5])
    ((-1.0, 64.0), (64.0, 128.0), (128.0, inf))
    """
    bounds = [-1.0, *(8.0 * 2**level for level in sorted(levels)[:-1]), torch.inf]
    return tuple(pairwise(bounds))


def class_labels(index: Int[Tensor, " p"], target: Targets) -> Int[Tensor, " p"]:
    """(P,) label of the object at `index`; BACKGROUND and IGNORED stay what they are.

    >>> box = torch.tensor([[0., 0., 8., 8.]])
    >>> person = Targets(box, torch.tensor([5]), (9, 9), torch.tensor([False]))
    >>> class_labels(torch.tensor([0, -1, IGNORED]), person)
    tensor([ 5, -1, -2])
    """
    return torch.where(index >= 0, target.labels[index.clamp(min=0)], index) if len(target) else index


@checked
@dataclass(frozen=True, kw_only=True)
class FCOSCriterion:
    """FCOS's three losses (Tian 2019) and every variant its sources differ in.

    `box_outputs` are distances in pixels.

    >>> points = (torch.tensor([[4., 4.], [28., 4.]]),)  # of P3; the first lies in the box, at its centre
    >>> FCOSCriterion().assign(points, [3], torch.tensor([[0., 0., 8., 8.]]))
    tensor([ 0, -1])
    """

    radius: float | None = 1.5
    """centre sampling, in strides; None: every location inside a box is positive"""
    ranges: tuple[tuple[float, float], ...] | None = None
    """(low, high) per level in pixels; None: 64, 128, 256 … on P3, P4, P5 …"""
    closed_ranges: bool = False
    """a distance equal to an end of its level's range belongs to the level (the original); else to none"""
    inclusive: bool = False
    """areas by the legacy rule when the smallest box wins"""
    normalize_targets: bool = True
    """distances are divided by the stride; matters only with `smoothing`"""
    box_loss: IoULoss = "giou"
    """see `ops.losses.ltrb_iou_loss`: −ln IoU, 1 − IoU or 1 − GIoU"""
    smoothing: float = 0.0
    """added to intersection and union; 1 in the original"""
    quality: Literal["centerness", "iou"] = "centerness"
    """what the quality branch learns; "iou": the overlap of the predicted box"""
    weigh_boxes: bool = False
    """box losses are weighted by the quality target and divided by its sum; else all alike, divided by F"""
    moving_start: float | None = None
    """F is a moving mean over steps that begins here (detectron2)"""
    alpha: float = 0.25
    """the positive class's share of the focal loss"""
    gamma: float = 2.0
    """of the focal loss: the larger, the less easy locations count"""

    def __post_init__(self) -> None:
        check_numbers(self, 0, 1, "alpha")
        check_numbers(self, 0, 1e6, "radius", "smoothing", "gamma", "moving_start")
        if any(low >= high for low, high in self.ranges or ()):
            raise ValueError(f"ranges must be (low, high) with low below high, got {self.ranges}")

    def check_levels(self, levels: Sequence[int]) -> None:
        """Raises ValueError where `ranges` are not one for each of a detector's levels.

        >>> FCOSCriterion(ranges=((0.0, 64.0), (64.0, 128.0))).check_levels([3, 4, 5])
        Traceback (most recent call last):
        ValueError: ranges must be one (low, high) for each of the levels 3, 4, 5, got 2: ((0.0, 64.0), (64.0, 128.0))
        """
        if self.ranges is not None and len(self.ranges) != len(levels):
            told = ", ".join(map(str, levels))
            raise ValueError(
                f"ranges must be one (low, high) for each of the levels {told}, got {len(self.ranges)}: {self.ranges}"
            )

    def running_count(self) -> MovingMean | None:
        """What makes the divisor of F from step to step, to be kept with the weights; None: F itself."""
        return None if self.moving_start is None else MovingMean(self.moving_start)

    def assign(
        self,
        points: Sequence[Float[Tensor, "_ 2"]],
        levels: Sequence[int],
        boxes: Float[Tensor, "n 4"],
        strides: Mapping[int, int] | None = None,
    ) -> Int[Tensor, " p"]:
        """(P,) index into `boxes` or BACKGROUND; `strides` are the levels' where they are not 2ˡ."""
        rows = self.ranges or default_ranges(levels)
        ranges = torch.cat([p.new_tensor(row).expand(len(p), 2) for p, row in zip(points, rows, strict=True)])
        return assign_by_center(
            torch.cat(list(points)),
            point_strides(points, levels, strides),
            ranges,
            boxes,
            radius=self.radius,
            closed_ranges=self.closed_ranges,
            inclusive=self.inclusive,
        )

    def __call__(
        self,
        outputs: DenseOutputs,
        targets: Sequence[Targets],
        levels: Sequence[int],
        running_count: MovingMean | None = None,
        strides: Mapping[int, int] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_class", "loss_box", "loss_centerness" or "loss_iou": scalar}; the last with a quality branch only.

        `running_count` makes the divisor out of F; `strides` are the levels' where they are not 2ˡ.
        """
        points = outputs.priors
        flat_points = torch.cat(points)
        steps = point_strides(points, levels, strides)
        labels, ltrb_targets = [], []
        for target in targets:
            index = self.assign(points, levels, target.boxes, strides)
            labels.append(class_labels(index, target))
            ltrb_targets.append(boxes_to_ltrb(flat_points[index >= 0], target.boxes[index[index >= 0]]))
        image_labels = torch.stack(labels)  # (B, P)
        positive = image_labels >= 0
        target_ltrb = torch.cat(ltrb_targets)  # (F, 4)
        scale = steps.expand(len(targets), -1)[positive][:, None] if self.normalize_targets else 1.0
        count = sum_over_processes(positive.sum()).clamp(min=1)
        count = (count if running_count is None else running_count(count)) / num_sharing()
        class_sums = focal_loss_sums(outputs.class_logits, image_labels, alpha=self.alpha, gamma=self.gamma)
        predicted_ltrb = outputs.box_outputs[positive].float()
        quality = self._quality_target(predicted_ltrb.detach(), target_ltrb)
        box_loss = ltrb_iou_loss(
            predicted_ltrb / scale, target_ltrb / scale, kind=self.box_loss, smoothing=self.smoothing
        )
        if self.weigh_boxes:
            box_loss = box_loss * quality
            box_count = sum_over_processes(quality.sum()).clamp(min=1e-6) / num_sharing()
        else:
            box_count = count
        losses = {"loss_class": class_sums.sum() / count, "loss_box": box_loss.sum() / box_count}
        if outputs.quality_logits is not None:
            logits = outputs.quality_logits[positive].float()
            quality_loss = binary_cross_entropy_with_logits(logits, quality, reduction="sum")
            losses[f"loss_{self.quality}"] = quality_loss / count
        return losses

    def _quality_target(
        self, predicted: Float[Tensor, "f 4"], target: Float[Tensor, "f 4"]
    ) -> Float[Tensor, " f"]:
        if self.quality == "centerness":
            return centerness(target)
        origin = target.new_zeros(len(target), 2)
        return paired_iou(ltrb_to_boxes(origin, predicted), ltrb_to_boxes(origin, target))


@checked
@dataclass(frozen=True, kw_only=True)
class RetinaNetCriterion:
    """Focal loss over all anchors and a box loss over the positive ones (Lin 2017).

    >>> anchors = torch.tensor([[0., 0., 8., 8.], [0., 0., 8., 18.], [0., 0., 80., 80.]])
    >>> RetinaNetCriterion().assign(anchors, torch.tensor([[0., 0., 8., 8.]]))  # overlaps 1, 0.44 and 0.01
    tensor([ 0, -2, -1])
    """

    background_iou: float = 0.4
    """an anchor that overlaps every object less is background"""
    foreground_iou: float = 0.5
    """one that overlaps an object at least so much is positive; what lies between is ignored"""
    match_low_quality: LowQuality = "all"
    """which objects without such an anchor get their best one all the same: see `ops.assign.assign_by_iou`"""
    class_loss: Literal["focal", "focal_star"] = "focal"
    """focal loss, or FL* of the paper's appendix A"""
    alpha: float = 0.25
    """the positive class's share of the focal loss"""
    gamma: float = 2.0
    """of the focal loss: the larger, the less easy anchors count"""
    star_beta: float = 1.0
    """β of FL*, which takes its own γ from `gamma`"""
    box_loss: CodedBoxLoss = "giou"
    """of deltas as they are (smooth L1), or of the boxes they stand for (1 − GIoU)"""
    smooth_l1_beta: float = 1 / 9
    """where the square turns into the absolute value, in units of the deltas; 0: L1"""
    box_weight: float = 1.0
    """factor of the box loss"""
    inclusive: bool = False
    """overlaps by the legacy rule"""
    normalizer: Normalizer = "batch"
    """what the sums are divided by: F, with at least 1, or one of its variants (see `Normalizer`)"""
    box_normalizer: Normalizer | None = None
    """of the box loss, where it is another"""
    moving_start: float | None = None
    """F is a moving mean over steps that begins here (detectron2)"""
    probability_margin: float = 0.0
    """probabilities are cut to [margin, 1 − margin] before their loss (bubbliiiing)"""
    skip_empty: bool = False
    """pictures without objects teach the classes nothing (toandaominh1997)"""

    def __post_init__(self) -> None:
        check_numbers(self, 0, 1, "background_iou", "foreground_iou", "alpha")
        check_numbers(self, 0, 0.5, "probability_margin")
        check_numbers(self, 0, 1e6, "gamma", "smooth_l1_beta", "box_weight", "moving_start")

    def running_count(self) -> MovingMean | None:
        """What makes the divisor of F from step to step, to be kept with the weights; None: F itself."""
        return None if self.moving_start is None else MovingMean(self.moving_start)

    def assign(self, anchors: Float[Tensor, "p 4"], boxes: Float[Tensor, "n 4"]) -> Int[Tensor, " p"]:
        """(P,) index into `boxes`, BACKGROUND or IGNORED."""
        return assign_by_iou(
            anchors,
            boxes,
            background_iou=self.background_iou,
            foreground_iou=self.foreground_iou,
            match_low_quality=self.match_low_quality,
            inclusive=self.inclusive,
        )

    def __call__(
        self,
        outputs: DenseOutputs,
        targets: Sequence[Targets],
        levels: Sequence[int],
        running_count: MovingMean | None = None,
        *,
        coder: BoxCoder,
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_class", "loss_box": scalar}.

        `running_count` makes the divisor out of F; `coder` is the detector's: how its deltas stand for boxes.
        """
        anchors = torch.cat(outputs.priors)
        labels, box_sums, counts = [], [], []
        for image, target in enumerate(targets):
            index = self.assign(anchors, target.boxes)
            positive = index >= 0
            is_skipped = self.skip_empty and len(target) == 0
            labels.append(torch.full_like(index, IGNORED) if is_skipped else class_labels(index, target))
            deltas = outputs.box_outputs[image][positive].float()
            boxes = target.boxes[index[positive]]
            losses = coded_box_loss(
                deltas, anchors[positive], boxes, coder, kind=self.box_loss, beta=self.smooth_l1_beta
            )
            box_sums.append(losses.sum())
            counts.append(positive.sum())
        image_counts = torch.stack(counts)
        divisors = box_divisors = self._divisors(image_counts, self.normalizer)
        if self.box_normalizer is not None:
            box_divisors = self._divisors(image_counts, self.box_normalizer)
        if running_count is not None:
            divisors = box_divisors = running_count(sum_over_processes(image_counts.sum())) / num_sharing()
        class_sums = self._class_sums(outputs.class_logits, torch.stack(labels))
        return {
            "loss_class": (class_sums / divisors).sum(),
            "loss_box": (torch.stack(box_sums) / box_divisors).sum() * self.box_weight,
        }

    def _divisors(self, counts: Int[Tensor, " b"], normalizer: Normalizer) -> Shaped[Tensor, " b"]:
        """(B,) what the sums are divided by, from the positives of every image."""
        if normalizer == "image":
            return counts.clamp(min=1) * number_over_processes(len(counts), counts) / num_sharing()
        if normalizer == "sum_of_images":
            counts = counts.clamp(min=1)
        total = counts.sum() + (len(counts) if normalizer == "batch_plus_images" else 0)
        return (sum_over_processes(total).clamp(min=1) / num_sharing()).expand(len(counts))

    def _class_sums(
        self, logits: Float[Tensor, "b p classes"], labels: Int[Tensor, "b p"]
    ) -> Float[Tensor, " b"]:
        if self.probability_margin:
            limit = math.log((1 - self.probability_margin) / self.probability_margin)
            logits = logits.clamp(-limit, limit)
        if self.class_loss == "focal":
            return focal_loss_sums(logits, labels, alpha=self.alpha, gamma=self.gamma)
        targets = (labels[..., None] == torch.arange(logits.shape[-1], device=labels.device)).float()
        loss = shifted_cross_entropy(
            logits.float(), targets, gamma=self.gamma, beta=self.star_beta, alpha=self.alpha
        )
        return (loss * (labels != IGNORED)[..., None]).sum((1, 2))
