"""Faster R-CNN (Ren 2015), with a mask branch or a keypoint branch (He 2017), on a pyramid or on one level.

Which regions may hold an object, what do they look like, which class and box are they, which survive, and where
in them are the mask and the keypoints?
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagoda.criteria.rcnn import RCNNCriterion, RoISample
from pagoda.detectors.contract import Learnt
from pagoda.detectors.two_stage import (
    Proposed,
    TwoStageDetector,
    image_index,
    image_index_of,
)
from pagoda.ops.anchors import AnchorShapes
from pagoda.plain import checked
from pagoda.postprocess.proposals import ProposalRules, SelectProposals
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import RoIOutputs


@checked
class RCNN(TwoStageDetector):
    """A proposal network and a head that looks at each proposal again; further heads see the objects found.

    Regions are read from the levels of the backbone; levels a neck adds above serve proposals only.

    Args:
        neck: pyramid to pyramid; None: the backbone's own levels (C4 and DC5 networks have one).
        rpn_head, box_head, mask_head, keypoint_head: from `heads`; each brings its pooling, and its coder of boxes.
        anchors: the shapes every cell has.
        proposals: how many regions are looked at in training and in use.
        shared_stage: the mask head sees the regions as the box head's last stage does (C4 networks).

    Raises ValueError for a proposal head of other anchors, and a label map of other classes.

    >>> from pagoda.backbones.resnet import ResNet
    >>> from pagoda.heads.roi_box import BoxHead, BoxTrunk
    >>> from pagoda.heads.rpn import RPNHead
    >>> from pagoda.necks.fpn import FPN
    >>> from pagoda.ops.roi import RoIPooling
    >>> body = ResNet(18, levels=(2,))
    >>> neck = FPN(body.channels, 32, top_level=3, extra_from="max_pool")
    >>> head = BoxHead(BoxTrunk(32, 7, width=16), 2, pooling=RoIPooling())
    >>> model = RCNN(body, neck, rpn_head=RPNHead(neck.channels, 3), box_head=head)
    >>> model.levels, model.roi_levels, model.learns
    ([2, 3], [2], frozenset())
    """

    criterion: RCNNCriterion
    postprocess: SelectRoIs

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module | None,
        *,
        rpn_head: nn.Module,
        box_head: nn.Module,
        mask_head: nn.Module | None = None,
        keypoint_head: nn.Module | None = None,
        shared_stage: bool = False,
        label_map: LabelMap | None = None,
        input_spec: InputSpec | None = None,
        anchors: AnchorShapes | None = None,
        proposals: ProposalRules | None = None,
        criterion: RCNNCriterion | None = None,
        postprocess: SelectRoIs | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.rpn_head, self.box_head = rpn_head, box_head
        self.mask_head, self.keypoint_head, self.shared_stage = mask_head, keypoint_head, shared_stage
        self._fit_parts(anchors, label_map, input_spec)
        self.proposals = proposals or ProposalRules()
        self.criterion = criterion or RCNNCriterion()
        self.postprocess = postprocess or SelectRoIs()

    @property
    def learns(self) -> frozenset[Learnt]:
        heads: dict[Learnt, nn.Module | None] = {"masks": self.mask_head, "keypoints": self.keypoint_head}
        return frozenset(name for name, head in heads.items() if head is not None)

    def propose(self, images: ImageBatch, select: SelectProposals) -> Proposed:
        """The first stage, for training and use alike: pyramid, outputs, and the regions that `select` takes."""
        features = self.backbone(images.pixels)
        pyramid = features if self.neck is None else self.neck(features)
        return self._propose(pyramid, images, select)

    def pool(
        self,
        head: nn.Module,
        pyramid: dict[int, Float[Tensor, "b c _ _"]],
        regions: Float[Tensor, "r 4"],
        images: Int[Tensor, " r"],
    ) -> Float[Tensor, "r c h w"]:
        return head.pooling(pyramid, self.strides, regions.detach(), images)

    def mask_logits(
        self,
        pyramid: dict[int, Float[Tensor, "b c _ _"]],
        boxes: Float[Tensor, "r 4"],
        images: Int[Tensor, " r"],
        labels: Int[Tensor, " r"],
    ) -> Float[Tensor, "r m m"]:
        """(R, M, M) mask logits of the class in `labels` (R,), inside each box."""
        head = self.box_head if self.shared_stage else self.mask_head
        pooled = self.pool(head, pyramid, boxes, images)
        return self.mask_head(self.box_head.trunk.stage(pooled) if self.shared_stage else pooled, labels)

    def look(self, images: ImageBatch) -> tuple[Proposed, RoIOutputs]:
        """The first stage, and all that is said about its regions; no objects chosen yet."""
        first = self.propose(images, self.proposals.inference)
        classes, boxes = self._judge(first.pyramid, first.proposals.boxes)
        batch = boxes.shape[0]
        none = boxes.new_zeros(batch, 0)
        return first, RoIOutputs(
            classes, boxes, first.proposals, boxes.new_zeros(batch, 0, 4), none, none, None, None
        )

    def forward(self, images: ImageBatch, *, postprocess: SelectRoIs | None = None) -> RoIOutputs:
        (pyramid, _, _), outputs = self.look(images)
        found = (postprocess or self.postprocess)(outputs, images.sizes, self.decode)
        outputs = outputs._replace(boxes=found.boxes, scores=found.scores, labels=found.labels)
        sizes = (found.labels.shape[0], found.labels.shape[1])
        pictures, labels = image_index(found.boxes), found.labels.flatten()
        # Rows without an object get a box of one pixel: what a box of none holds, some runtimes take for NaN.
        unit = found.boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
        boxes = found.boxes.flatten(0, 1) + (labels < 0)[:, None] * unit
        if self.mask_head is not None:
            masks = self.mask_logits(pyramid, boxes, pictures, labels)
            outputs = outputs._replace(mask_logits=masks.unflatten(0, sizes))
        if self.keypoint_head is not None:
            maps = self.keypoint_logits(pyramid, boxes, pictures)
            outputs = outputs._replace(keypoint_logits=maps.unflatten(0, sizes))
        return outputs

    def losses(self, images: ImageBatch, targets: Sequence[Targets]) -> dict[str, Float[Tensor, ""]]:
        pyramid, rpn, proposals = self.propose(images, self.proposals.training)
        criterion = self.criterion
        sample = criterion.rois.sample(proposals, targets)
        losses = criterion.rpn(rpn, targets, images.sizes, coder=self.rpn_head.coder)
        pooled = self.pool(self.box_head, pyramid, sample.boxes, sample.images)
        losses |= criterion.rois(*self.box_head(pooled), sample, targets, coder=self.box_head.coder)
        served = sample.positive()
        if self.mask_head is not None:
            losses |= self._mask_loss(pyramid, served, targets)
        if self.keypoint_head is not None:
            losses |= self._keypoint_loss(pyramid, served, targets, self.criterion.keypoints)
        return losses

    def _mask_loss(
        self, pyramid: dict[int, Float[Tensor, "b c _ _"]], served: RoISample, targets: Sequence[Targets]
    ) -> dict[str, Float[Tensor, ""]]:
        labels = served.of_objects([target.labels for target in targets])
        logits = self.mask_logits(pyramid, served.boxes, served.images, labels)
        criterion, size = self.criterion.masks, logits.shape[-1]
        pairs = [criterion.targets(*each, size) for each in served.of_pictures(targets)]
        if not pairs:
            return criterion(logits, torch.zeros_like(logits), labels > 0)
        mask_targets, counts = (torch.cat(part) for part in zip(*pairs, strict=True))
        return criterion(logits, mask_targets, counts)

    def detect(  # type: ignore[override]
        self,
        images: ImageBatch,
        *,
        postprocess: SelectRoIs | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Detections]:
        """One `Detections` per picture; masks are pasted once, at the size asked for."""
        found = self._find(images, postprocess or self.postprocess)
        if sizes is None:
            return [self.postprocess.with_masks(each) for each in found]
        return self.restore(found, sizes)

    def _find(self, images: ImageBatch, select: SelectRoIs) -> list[Detections]:
        (pyramid, _, _), outputs = self.look(images)
        return self.finish(select.detect(outputs, images, self.decode, self.label_map), pyramid, select)

    def finish(
        self, found: list[Detections], pyramid: dict[int, Float[Tensor, "b c _ _"]], select: SelectRoIs
    ) -> list[Detections]:
        """Objects with keypoints and what the mask head says of the inside of their boxes, not yet pasted."""
        if self.mask_head is not None:
            boxes = torch.cat([each.boxes for each in found])
            labels = torch.cat([each.labels for each in found])
            logits = self.mask_logits(pyramid, boxes, image_index_of(found), labels)
            inside = logits.float().sigmoid().split([len(each) for each in found])
            found = [
                replace(each, mask_crops=part, found_by=select)
                for each, part in zip(found, inside, strict=True)
            ]
        return self._with_keypoints(found, pyramid, select)

    def restore(self, detections: Sequence[Detections], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Masks are pasted anew where something moved: a mask has one shape at every size, its pixels have not.

        Raises ValueError for masks that must move and carry no `mask_crops`, which nobody can paste.
        """
        restored = super().restore([replace(each, masks=None) for each in detections], sizes)
        return [
            self.postprocess.with_masks_of(before, after)
            for before, after in zip(detections, restored, strict=True)
        ]
