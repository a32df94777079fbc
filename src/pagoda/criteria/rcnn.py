"""Losses of the second stage: which regions are looked at, their classes and boxes. R sampled regions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from pagoda.criteria.masks_keypoints import KeypointCriterion, MaskCriterion
from pagoda.criteria.normalize import num_sharing, number_over_processes
from pagoda.criteria.rpn import RPNCriterion
from pagoda.ops.assign import assign_by_overlap, sample_balanced
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.boxes import pairwise_iou
from pagoda.ops.losses import CodedBoxLoss, coded_box_loss
from pagoda.plain import check_counts, check_numbers, checked
from pagoda.structures.outputs import Proposals
from pagoda.structures.tubes import SomeTargets

LEARNT_IOU = 0.3
"""from here on the regions of an untrained network are as many for each object as those of a trained one from
`min_iou` on: two or three of crowded small ones, up to ten of others"""


class RoISample(NamedTuple):
    """The regions of a training step, all images together.

    >>> boxes = torch.tensor([[0., 0., 8., 8.], [0., 0., 4., 4.], [2., 2., 9., 9.]])
    >>> sample = RoISample(boxes, torch.tensor([0, 0, 1]), torch.tensor([1, -1, 0]))
    >>> sample.positive().of_objects([torch.tensor([7, 8]), torch.tensor([9])])  # their objects' labels
    tensor([8, 9])
    """

    boxes: Tensor
    """(R, 4) in pixels of the batch"""
    images: Tensor
    """(R,) whose region it is"""
    objects: Tensor
    """(R,) index of its object in that image's targets, negative for none"""

    def positive(self) -> "RoISample":
        """The regions with an object."""
        rows = self.objects >= 0
        return type(self)(*(part[rows] for part in self))

    def of_objects(self, values: Sequence[Shaped[Tensor, "_ *rest"]]) -> Shaped[Tensor, "r *rest"]:
        """(R, …) each region's row of its image's (N, …) tensor; only for regions with an object."""
        first = torch.tensor([0, *(len(value) for value in values)]).cumsum(0).to(self.images.device)
        return torch.cat(list(values))[first[self.images] + self.objects]

    def of_pictures(
        self, targets: Sequence[SomeTargets]
    ) -> Iterator[tuple[SomeTargets, Float[Tensor, "_ *t 4"], Int[Tensor, " _"]]]:
        """(targets, boxes, objects) of each picture in turn that has a region here."""
        for image, target in enumerate(targets):
            rows = self.images == image
            if rows.any():
                yield target, self.boxes[rows], self.objects[rows]


@checked
@dataclass(frozen=True, kw_only=True)
class RoICriterion(Generic[SomeTargets]):
    """Softmax over the classes and background, and deltas of the object's class (Girshick 2015).

    >>> from pagoda.structures.instances import Targets
    >>> region = RoISample(torch.zeros(1, 4), torch.tensor([0]), torch.tensor([-1]))  # of background
    >>> undecided, deltas, nobody = torch.zeros(1, 2), torch.zeros(1, 1, 4), Targets.empty((9, 9))
    >>> RoICriterion()(undecided, deltas, region, [nobody], coder=BoxCoder())  # ln of 2 classes
    {'loss_class': tensor(0.6931), 'loss_box': tensor(0.)}
    """

    min_iou: float = 0.5
    """a region serves the object it overlaps most, if at least by this"""
    inclusive: bool = False
    """overlaps by the legacy rule"""
    append_objects: bool = True
    """annotated boxes are regions, too"""
    count: int | None = 512
    """regions of a picture in the sample; None: all"""
    positive_share: float = 0.25
    """of the sample, at most"""
    box_loss: CodedBoxLoss = "smooth_l1"
    """of deltas as they are, or of the boxes they stand for (1 − GIoU)"""
    smooth_l1_beta: float = 0.0
    """where the square turns into the absolute value, in units of the deltas; 0: L1"""
    box_weight: float = 1.0
    """factor of the box loss"""

    def __post_init__(self) -> None:
        check_counts(count=self.count)
        check_numbers(self, 0, 1, "min_iou", "positive_share")
        check_numbers(self, 0, 1e6, "smooth_l1_beta", "box_weight")

    def sample(
        self, proposals: Proposals, targets: Sequence[SomeTargets], *, generator: Generator | None = None
    ) -> RoISample:
        """Some of each image's proposals (and its objects), balanced; `generator` draws them."""
        boxes, images, objects = [], [], []
        for image, target in enumerate(targets):
            rois = proposals.boxes[image][proposals.valid[image]]
            if self.append_objects:
                rois = torch.cat([rois, self.annotated(target).to(rois)])
            overlaps = self.overlaps(rois, target)
            index = assign_by_overlap(
                overlaps, background_iou=self.min_iou, foreground_iou=self.min_iou, match_low_quality="none"
            )
            positive = index >= 0
            rows = sample_balanced(
                positive[None],
                ~positive[None],
                count=self.count,
                positive_share=self.positive_share,
                generator=generator,
            )[0]
            boxes.append(rois[rows])
            images.append(torch.full_like(index[rows], image))
            objects.append(index[rows])
        return RoISample(torch.cat(boxes), torch.cat(images), torch.cat(objects))

    def annotated(self, target: SomeTargets) -> Float[Tensor, "n 4"]:
        """Boxes of a picture's objects, as regions."""
        return target.boxes

    def overlaps(self, rois: Float[Tensor, "r 4"], target: SomeTargets) -> Float[Tensor, "r n"]:
        """IoU of every region with every object."""
        return pairwise_iou(rois, target.boxes, inclusive=self.inclusive)

    def __call__(
        self,
        class_logits: Float[Tensor, "r classes"],
        box_outputs: Float[Tensor, "r _ *t 4"],
        sample: RoISample,
        targets: Sequence[SomeTargets],
        *,
        coder: BoxCoder,
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_class", "loss_box": scalar} of logits, background last, and (R, classes or 1, 4) deltas, which stand
        for boxes as the head's `coder` has it."""
        positive = sample.objects >= 0
        served = sample.positive()
        labels = served.of_objects([target.labels for target in targets])
        class_targets = torch.full_like(sample.objects, class_logits.shape[1] - 1)
        class_targets[positive] = labels
        total = number_over_processes(len(class_targets), class_logits).clamp(min=1) / num_sharing()
        deltas = box_outputs[positive].float()
        of_class = labels if deltas.shape[1] > 1 else torch.zeros_like(labels)
        deltas = deltas[torch.arange(len(labels), device=labels.device), of_class]
        return {
            "loss_class": cross_entropy(class_logits.float(), class_targets, reduction="sum") / total,
            "loss_box": self.box_sum(deltas, served, targets, coder) * (self.box_weight / total),
        }

    def box_sum(
        self,
        deltas: Float[Tensor, "r 4"],
        served: RoISample,
        targets: Sequence[SomeTargets],
        coder: BoxCoder,
    ) -> Float[Tensor, ""]:
        """The loss of deltas of regions that all have an object, summed."""
        boxes = served.of_objects([target.boxes for target in targets])
        losses = coded_box_loss(
            deltas, served.boxes, boxes, coder, kind=self.box_loss, beta=self.smooth_l1_beta
        )
        return losses.sum()


@checked
@dataclass(frozen=True, kw_only=True)
class RCNNCriterion:
    """The losses of both stages, as the detectors of `detectors.rcnn` learn by them.

    >>> RCNNCriterion(rois=RoICriterion(smooth_l1_beta=1.0)).rpn.smooth_l1_beta  # each stage its own
    0.0
    """

    rpn: RPNCriterion = field(default_factory=RPNCriterion)
    """of the proposal network"""
    rois: RoICriterion = field(default_factory=RoICriterion)
    """of the box head; it also draws the regions that all heads are trained on"""
    masks: MaskCriterion = field(default_factory=MaskCriterion)
    """of the mask head; does not count without one"""
    keypoints: KeypointCriterion = field(default_factory=KeypointCriterion)
    """of the keypoint head; does not count without one"""

    def as_learnt(self) -> "RCNNCriterion":
        """With as many regions for each object, from a fresh proposal network, as one gives that has learnt."""
        return replace(self, rois=replace(self.rois, min_iou=min(self.rois.min_iou, LEARNT_IOU)))
