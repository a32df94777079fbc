"""Losses of the second stage: which regions are looked at, their classes and boxes. R sampled regions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from pagoda.criteria.masks_keypoints import KeypointCriterion, MaskCriterion
from pagoda.criteria.rpn import RPNCriterion
from pagoda.ops.assign import assign_by_overlap
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.boxes import pairwise_iou
from pagoda.ops.losses import CodedBoxLoss, coded_box_loss
from pagoda.ops.sampling import sample_balanced
from pagoda.plain import check_counts, check_numbers, checked
from pagoda.structures.clips import TubeTargets
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import Proposals

AnyTargets = TypeVar("AnyTargets", Targets, TubeTargets)


class RegionSample(NamedTuple):
    """The regions of a training step, all images together."""

    boxes: Tensor
    """(R, 4) in pixels of the batch"""
    images: Tensor
    """(R,) whose region it is"""
    objects: Tensor
    """(R,) index of its object in that image's targets, negative for none"""

    def positive(self) -> "RegionSample":
        """Those with an object."""
        rows = self.objects >= 0
        return type(self)(*(part[rows] for part in self))

    def of_objects(self, values: Sequence[Tensor]) -> Tensor:
        """(R, …) each region's row of its image's (N, …) tensor; only for regions with an object."""
        first = torch.tensor([0, *(len(value) for value in values)]).cumsum(0).to(self.images.device)
        return torch.cat(list(values))[first[self.images] + self.objects]

    def of_pictures(self, targets: Sequence[AnyTargets]) -> Iterator[tuple[AnyTargets, Tensor, Tensor]]:
        """(targets, boxes, objects) of each picture in turn that has a region here."""
        for image, target in enumerate(targets):
            rows = self.images == image
            if rows.any():
                yield target, self.boxes[rows], self.objects[rows]


@checked
@dataclass(frozen=True, kw_only=True)
class RegionCriterion:
    """Softmax over the classes and background, and deltas of the object's class (Girshick 2015)."""

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
    smooth_l1_beta: float = 0.0
    """where the square turns into the absolute value, in units of the deltas; 0: L1"""
    box_weight: float = 1.0

    def __post_init__(self) -> None:
        check_counts(count=self.count)
        check_numbers(self, 0, 1, "min_iou", "positive_share")
        check_numbers(self, 0, 1e6, "smooth_l1_beta", "box_weight")

    def sample(
        self,
        proposals: Proposals,
        targets: Sequence[Targets | TubeTargets],
        *,
        generator: Generator | None = None,
    ) -> RegionSample:
        """Some of each image's proposals (and its objects), balanced."""
        boxes, images, objects = [], [], []
        for image, target in enumerate(targets):
            regions = proposals.boxes[image][proposals.valid[image]]
            if self.append_objects:
                regions = torch.cat([regions, self.annotated(target).to(regions)])
            overlaps = self.overlaps(regions, target)
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
            boxes.append(regions[rows])
            images.append(torch.full_like(index[rows], image))
            objects.append(index[rows])
        return RegionSample(torch.cat(boxes), torch.cat(images), torch.cat(objects))

    def annotated(self, target: Targets | TubeTargets) -> Tensor:
        """(n, 4) boxes of a picture's objects, as regions."""
        return target.boxes

    def overlaps(self, regions: Tensor, target: Targets | TubeTargets) -> Tensor:
        """(R, N) of every region with every object."""
        return pairwise_iou(regions, target.boxes, inclusive=self.inclusive)

    def __call__(
        self,
        class_logits: Tensor,
        box_outputs: Tensor,
        sample: RegionSample,
        targets: Sequence[Targets | TubeTargets],
        *,
        coder: BoxCoder,
    ) -> dict[str, Tensor]:
        """Of (R, classes + 1) logits, background last, and (R, classes or 1, 4) deltas, which stand for boxes as the
        head's `coder` has it."""
        positive = sample.objects >= 0
        served = sample.positive()
        labels = served.of_objects([target.labels for target in targets])
        wanted = torch.full_like(sample.objects, class_logits.shape[1] - 1)
        wanted[positive] = labels
        total = max(1, len(wanted))
        deltas = box_outputs[positive].float()
        of_class = labels if deltas.shape[1] > 1 else torch.zeros_like(labels)
        deltas = deltas[torch.arange(len(labels), device=labels.device), of_class]
        return {
            "loss_class": cross_entropy(class_logits.float(), wanted, reduction="sum") / total,
            "loss_box": self.box_sum(deltas, served, targets, coder) * (self.box_weight / total),
        }

    def box_sum(
        self,
        deltas: Tensor,
        served: RegionSample,
        targets: Sequence[Targets | TubeTargets],
        coder: BoxCoder,
    ) -> Tensor:
        """The loss of (R, 4) deltas of regions that all have an object, summed."""
        boxes = served.of_objects([target.boxes for target in targets])
        losses = coded_box_loss(
            deltas, served.boxes, boxes, coder, kind=self.box_loss, beta=self.smooth_l1_beta
        )
        return losses.sum()


@checked
@dataclass(frozen=True, kw_only=True)
class RCNNCriterion:
    """The losses of both stages; those of masks and keypoints count where the detector has such heads."""

    rpn: RPNCriterion = field(default_factory=RPNCriterion)
    regions: RegionCriterion = field(default_factory=RegionCriterion)
    masks: MaskCriterion = field(default_factory=MaskCriterion)
    keypoints: KeypointCriterion = field(default_factory=KeypointCriterion)
