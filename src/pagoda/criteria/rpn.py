"""Losses of the proposal network (Ren 2015, section 3.1.2). B images, P anchors over all levels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal

import torch
from jaxtyping import Float, Int, Real
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pagoda.criteria.normalize import num_sharing, number_over_processes, sum_over_processes
from pagoda.ops.assign import BACKGROUND, IGNORED, LowQuality, assign_by_overlap, sample_balanced
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.boxes import pairwise_iou
from pagoda.ops.losses import CodedBoxLoss, coded_box_loss
from pagoda.plain import check_counts, check_numbers, checked
from pagoda.structures.outputs import RPNOutputs
from pagoda.structures.tubes import SomeTargets

SampleNormalizer = Literal["sampled", "budget", "image"]
"""what sums over the sample are divided by: its size; `count` times the images, however many there were
(detectron2, Caffe2 on pyramids); or each image's own size, then the mean over images (Caffe2 on one level)"""


@checked
@dataclass(frozen=True, kw_only=True)
class RPNCriterion(Generic[SomeTargets]):
    """Object or not for a sample of anchors, and deltas for those of them that are objects.

    >>> from pagoda.structures.instances import Targets
    >>> criterion = RPNCriterion(border=0.0)  # what leaves the picture is ignored
    >>> anchors = torch.tensor([[0., 0., 8., 8.], [-4., 0., 8., 8.], [8., 8., 16., 16.]])
    >>> person = Targets(anchors[:1], torch.tensor([0]), (32, 32), torch.tensor([False]))
    >>> criterion.assign(anchors, person, torch.tensor([32, 32]))
    tensor([ 0, -2, -1])
    """

    background_iou: float = 0.3
    """an anchor that overlaps every object less is background"""
    foreground_iou: float = 0.7
    """one that overlaps an object at least so much is positive; what lies between is ignored"""
    match_low_quality: LowQuality = "all"
    """which objects without such an anchor get their best one all the same: see `ops.assign.assign_by_iou`"""
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
    """of deltas as they are, or of the boxes they stand for (1 − GIoU)"""
    smooth_l1_beta: float = 0.0
    """where the square turns into the absolute value, in units of the deltas; 0: L1"""
    box_weight: float = 1.0
    """factor of the box loss"""
    normalizer: SampleNormalizer = "sampled"
    """what the sums are divided by: see `SampleNormalizer`"""
    box_normalizer: SampleNormalizer | None = None
    """of the box loss, where it is another"""

    def __post_init__(self) -> None:
        check_counts(count=self.count)
        check_numbers(self, 0, 1, "background_iou", "foreground_iou", "positive_share")
        check_numbers(self, 0, 1e6, "border", "smooth_l1_beta", "box_weight")
        if self.count is None and "budget" in (self.normalizer, self.box_normalizer):
            raise ValueError('normalizer="budget" divides by count, which is None; name a count')

    def assign(
        self, anchors: Float[Tensor, "p 4"], target: SomeTargets, size: Real[Tensor, "2"]
    ) -> Int[Tensor, " p"]:
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

    def _assign(self, anchors: Float[Tensor, "p 4"], target: SomeTargets) -> Int[Tensor, " p"]:
        return assign_by_overlap(
            self.overlaps(anchors, target),
            background_iou=self.background_iou,
            foreground_iou=self.foreground_iou,
            match_low_quality=self.match_low_quality,
        )

    def overlaps(self, anchors: Float[Tensor, "p 4"], target: SomeTargets) -> Float[Tensor, "p n"]:
        """IoU of every anchor with every object."""
        return pairwise_iou(anchors, target.boxes, inclusive=self.inclusive)

    def __call__(
        self,
        outputs: RPNOutputs,
        targets: Sequence[SomeTargets],
        sizes: Real[Tensor, "b 2"],
        *,
        coder: BoxCoder,
        generator: Generator | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_objectness", "loss_rpn_box": scalar}.

        `sizes` are the pictures' (height, width); `coder` is the head's: how its deltas stand for boxes; `generator`
        draws the sample.
        """
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

    def _divisors(self, counts: Int[Tensor, " b"], normalizer: SampleNormalizer) -> Float[Tensor, " b"]:
        """(B,) what the sums are divided by, from the sizes of the images' samples."""
        if normalizer == "sampled":
            return (sum_over_processes(counts.sum()).clamp(min=1) / num_sharing()).expand(len(counts))
        images = number_over_processes(len(counts), counts) / num_sharing()
        if normalizer == "image":
            return counts.clamp(min=1) * images
        return ((self.count or 0) * images).expand(len(counts))

    def box_sum(
        self,
        deltas: Float[Tensor, "n 4"],
        anchors: Float[Tensor, "n 4"],
        target: SomeTargets,
        objects: Int[Tensor, " n"],
        coder: BoxCoder,
    ) -> Float[Tensor, ""]:
        """The loss of deltas of anchors that serve `objects`, summed."""
        losses = coded_box_loss(
            deltas, anchors, target.boxes[objects], coder, kind=self.box_loss, beta=self.smooth_l1_beta
        )
        return losses.sum()
