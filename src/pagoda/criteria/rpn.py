"""Losses of the proposal network (Ren 2015, section 3.1.2). B images, P anchors over all levels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pagoda.ops.assign import BACKGROUND, IGNORED, LowQuality, assign_by_overlap
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.boxes import pairwise_iou
from pagoda.ops.losses import CodedBoxLoss, coded_box_loss
from pagoda.ops.sampling import sample_balanced
from pagoda.plain import check_counts, check_numbers, checked
from pagoda.structures.clips import TubeTargets
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import RPNOutputs

SampleNormalizer = Literal["sampled", "budget", "image"]
"""what sums over the sample are divided by: its size; `count` times the images, however many there were
(detectron2, Caffe2 on pyramids); or each image's own size, then the mean over images (Caffe2 on one level)"""


@checked
@dataclass(frozen=True, kw_only=True)
class RPNCriterion:
    """Object or not for a sample of anchors, and deltas for those of them that are objects."""

    background_iou: float = 0.3
    foreground_iou: float = 0.7
    match_low_quality: LowQuality = "all"
    inclusive: bool = False
    """overlaps by the legacy rule"""
    border: float | None = None
    """pixels by which an anchor may leave its picture and still be trained on; None: any (0 in Caffe2 and
    maskrcnn-benchmark)"""
    assign_inside_only: bool = False
    """anchors beyond that border do not even compete to be an object's best (Caffe2)"""
    count: int | None = 256
    """anchors of a picture in the sample; None: all that are object or background"""
    positive_share: float = 0.5
    """of the sample, at most"""
    box_loss: CodedBoxLoss = "smooth_l1"
    smooth_l1_beta: float = 0.0
    """where the square turns into the absolute value, in units of the deltas; 0: L1"""
    box_weight: float = 1.0
    normalizer: SampleNormalizer = "sampled"
    box_normalizer: SampleNormalizer | None = None
    """of the box loss, where it is another"""

    def __post_init__(self) -> None:
        check_counts(count=self.count)
        check_numbers(self, 0, 1, "background_iou", "foreground_iou", "positive_share")
        check_numbers(self, 0, 1e6, "border", "smooth_l1_beta", "box_weight")
        if self.count is None and "budget" in (self.normalizer, self.box_normalizer):
            raise ValueError('normalizer="budget" divides by count, which is None; name a count')

    def assign(self, anchors: Tensor, target: Targets | TubeTargets, size: Tensor) -> Tensor:
        """(P,) index of an object, BACKGROUND or IGNORED, for a picture of (height, width) `size`."""
        if self.border is None:
            return self._assign(anchors, target)
        inside = (anchors[:, :2] >= -self.border).all(1) & (anchors[:, 2:] < size.flip(0) + self.border).all(
            1
        )
        if not self.assign_inside_only:
            return self._assign(anchors, target).masked_fill(~inside, IGNORED)
        index = torch.full((len(anchors),), IGNORED, device=anchors.device)
        index[inside] = self._assign(anchors[inside], target)
        return index

    def _assign(self, anchors: Tensor, target: Targets | TubeTargets) -> Tensor:
        return assign_by_overlap(
            self.overlaps(anchors, target),
            background_iou=self.background_iou,
            foreground_iou=self.foreground_iou,
            match_low_quality=self.match_low_quality,
        )

    def overlaps(self, anchors: Tensor, target: Targets | TubeTargets) -> Tensor:
        """(P, N) of every anchor with every object."""
        return pairwise_iou(anchors, target.boxes, inclusive=self.inclusive)

    def __call__(
        self,
        outputs: RPNOutputs,
        targets: Sequence[Targets | TubeTargets],
        sizes: Tensor,
        *,
        coder: BoxCoder,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:
        """`sizes` (B, 2) are the pictures' (height, width); `coder` is the head's: how its deltas stand for boxes."""
        anchors = torch.cat(outputs.anchors)
        index = torch.stack(
            [self.assign(anchors, target, size) for target, size in zip(targets, sizes, strict=True)]
        )  # (B, P)
        positive = index >= 0
        sampled = sample_balanced(
            positive,
            index == BACKGROUND,
            count=self.count,
            positive_share=self.positive_share,
            generator=generator,
        )
        divisors = self._divisors(sampled.sum(1), self.normalizer)
        box_divisors = self._divisors(sampled.sum(1), self.box_normalizer or self.normalizer)
        object_sums, box_sums = [], []
        for image, target in enumerate(targets):
            rows, found = sampled[image], sampled[image] & positive[image]
            object_sums.append(
                binary_cross_entropy_with_logits(
                    outputs.logits[image][rows].float(), positive[image][rows].float(), reduction="sum"
                )
            )
            deltas = outputs.deltas[image][found].float()
            box_sums.append(self.box_sum(deltas, anchors[found], target, index[image][found], coder))
        return {
            "loss_objectness": (torch.stack(object_sums) / divisors).sum(),
            "loss_rpn_box": (torch.stack(box_sums) / box_divisors).sum() * self.box_weight,
        }

    def _divisors(self, counts: Tensor, normalizer: SampleNormalizer) -> Tensor:
        """(B,) from the sizes of the images' samples."""
        if normalizer == "image":
            return counts.clamp(min=1) * len(counts)
        if normalizer == "budget":
            return torch.full_like(counts, (self.count or 0) * len(counts))
        return counts.sum().clamp(min=1).expand(len(counts))

    def box_sum(
        self,
        deltas: Tensor,
        anchors: Tensor,
        target: Targets | TubeTargets,
        objects: Tensor,
        coder: BoxCoder,
    ) -> Tensor:
        """The loss of (n, 4) deltas of anchors that serve `objects` (n,), summed."""
        losses = coded_box_loss(
            deltas, anchors, target.boxes[objects], coder, kind=self.box_loss, beta=self.smooth_l1_beta
        )
        return losses.sum()
