"""Faster, Mask and Keypoint R-CNN as five programs write them (spec sections 4.1 to 4.3). "" is our own best."""

from dataclasses import dataclass, field, replace
from typing import Literal

from pagoda.criteria.masks_keypoints import MaskCriterion
from pagoda.criteria.rcnn import RCNNCriterion, RoICriterion
from pagoda.criteria.rpn import RPNCriterion
from pagoda.heads.roi_box import Background
from pagoda.heads.roi_keypoint import Upsampling
from pagoda.layers.norm import Norm
from pagoda.ops.anchors import AnchorShapes
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.roi import RoIPooling
from pagoda.plain import check_numbers, checked
from pagoda.postprocess.proposals import ProposalRules, SelectProposals
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.zoo.flavours.base import BodyFlavour, Flavour
from pagoda.zoo.flavours.fcos import (
    CAFFE2_BODY,
    CAFFE2_INPUT,
    IMAGENET_STD,
    MSRA_BODY,
    MSRA_INPUT,
    TORCHVISION_INPUT,
)

# A level above a backbone's is every second value of the one below.
POOLED = "max_pool"
REGION_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


# Networks of one level have all their proposals there, so more of them compete.
ONE_LEVEL = ProposalRules(
    training=SelectProposals(max_candidates=12000, max_proposals=2000),
    inference=SelectProposals(max_candidates=6000),
)


@checked
@dataclass(frozen=True, kw_only=True)
class RCNNFlavour(Flavour):
    """The conventions of one program's R-CNNs.

    >>> DETECTRON2.anchors(pyramid=True).of_cell(4).shape, DETECTRON2.anchors(pyramid=False).of_cell(16).shape
    (torch.Size([3, 4]), torch.Size([15, 4]))
    """

    body: BodyFlavour = field(default_factory=lambda: BodyFlavour(extra_from=POOLED))
    """of backbone and neck; level 6 is every second cell of level 5"""
    head_norm: Norm = "none"
    """of the convolutions in box and mask heads"""
    neck_norm: Norm = "none"
    """behind the convolutions of the FPN"""
    anchor_style: Literal["detectron2", "mmdet", "torchvision", "maskrcnn_benchmark"] = "detectron2"
    """how sides are rounded and shapes ordered"""
    anchor_steps: Literal["level", "padded"] = "level"
    """from cell to cell: the level's stride, or the padded picture's side over the number of cells"""
    rpn_coder: BoxCoder = field(default_factory=BoxCoder)
    """how deltas of the proposal head stand for boxes"""
    box_coder: BoxCoder = field(default_factory=lambda: BoxCoder(weights=REGION_WEIGHTS))
    """how deltas of the box head stand for boxes"""
    proposals: ProposalRules = field(default_factory=ProposalRules)
    """how many regions are looked at, in training and in use"""
    criterion: RCNNCriterion = field(default_factory=RCNNCriterion)
    """assignment, sampling and losses in training"""
    postprocess: SelectRoIs = field(default_factory=SelectRoIs)
    """thresholds, suppression and pasting in use"""
    pooling: RoIPooling = field(default_factory=RoIPooling)
    """of the box head; other heads, and C4 networks, have twice the resolution"""
    one_level_proposals: ProposalRules = ONE_LEVEL
    """of C4 and DC5 networks"""
    one_level_sampling: int = 0
    """of their pooling: the sampling ratio"""
    rpn_depth: int = 1
    """3×3 convolutions of the proposal head"""
    box_convs: int = 0
    """convolutions of the box head, before its fully connected layers"""
    box_fcs: int = 2
    """fully connected layers of the box head"""
    background: Background = "last"
    """row of the class that means nothing"""
    background_box: bool = False
    """box and mask predictions have rows for the background"""
    upsampling: Upsampling = "interpolate"
    """of the keypoint maps' last doubling"""

    def __post_init__(self) -> None:
        check_numbers(self, 0, 64, "one_level_sampling", "rpn_depth", "box_convs", "box_fcs")

    def anchors(self, *, pyramid: bool) -> AnchorShapes:
        """One size per level of a pyramid from 32 pixels on P2; five on a single level of stride 16."""
        shapes = AnchorShapes(base_scale=8.0, octaves=1, style=self.anchor_style, steps=self.anchor_steps)
        return shapes if pyramid else replace(shapes, scales=(2.0, 4.0, 8.0, 16.0, 32.0))


LEGACY = BoxCoder(inclusive=True)
LEGACY_PROPOSALS = SelectProposals(min_side=None, rank_on="probability", inclusive=True)
MASKRCNN_BENCHMARK = RCNNFlavour(
    body=replace(CAFFE2_BODY, extra_from=POOLED),
    input_spec=CAFFE2_INPUT,
    anchor_style="maskrcnn_benchmark",
    rpn_coder=LEGACY,
    box_coder=replace(LEGACY, weights=REGION_WEIGHTS),
    proposals=ProposalRules(
        training=replace(
            LEGACY_PROPOSALS, max_candidates=2000, max_per_level=2000, max_proposals=2000, pool="batch"
        ),
        inference=replace(LEGACY_PROPOSALS, max_per_level=1000),
    ),
    one_level_proposals=ProposalRules(
        training=replace(LEGACY_PROPOSALS, max_candidates=12000, max_proposals=2000),
        inference=replace(LEGACY_PROPOSALS, max_candidates=6000),
    ),
    criterion=RCNNCriterion(
        rpn=RPNCriterion(inclusive=True, border=0.0, smooth_l1_beta=1 / 9),
        rois=RoICriterion(inclusive=True, smooth_l1_beta=1.0),
    ),
    postprocess=SelectRoIs(max_candidates=None, inclusive=True, paste="whole_pixels", keypoint_score="logit"),
    pooling=RoIPooling(sampling_ratio=2, aligned=False, eps=1e-6, inclusive=True),
    background="first",
    background_box=True,
)
CAFFE2 = replace(
    MASKRCNN_BENCHMARK,
    input_spec=replace(CAFFE2_INPUT, rounding="nearest"),
    criterion=replace(
        MASKRCNN_BENCHMARK.criterion,
        rpn=replace(MASKRCNN_BENCHMARK.criterion.rpn, assign_inside_only=True, normalizer="budget"),
    ),
    upsampling="deconvolution",
)
DETECTRON2 = RCNNFlavour(
    body=replace(MSRA_BODY, extra_from=POOLED),
    input_spec=MSRA_INPUT,
    proposals=ProposalRules(training=SelectProposals(max_candidates=2000)),
    criterion=RCNNCriterion(rpn=RPNCriterion(normalizer="budget")),
    postprocess=SelectRoIs(max_candidates=None, drop_empty=True),
)
TORCHVISION = RCNNFlavour(
    # Its published weights run with epsilon 0; torchvision sets it when it loads them, and only then.
    body=BodyFlavour(norm="frozen", eps=0.0, frozen_stages=2, extra_from=POOLED),
    input_spec=TORCHVISION_INPUT,
    class_names="coco_90",
    anchor_style="torchvision",
    anchor_steps="padded",
    proposals=ProposalRules(
        training=SelectProposals(
            max_candidates=2000, max_proposals=2000, min_side=1e-3, rank_on="probability"
        ),
        inference=SelectProposals(min_side=1e-3, rank_on="probability"),
    ),
    criterion=RCNNCriterion(
        rpn=RPNCriterion(smooth_l1_beta=1 / 9),
        rois=RoICriterion(smooth_l1_beta=1 / 9),
        masks=MaskCriterion(aligned=False, binary=False),
    ),
    postprocess=SelectRoIs(max_candidates=None, min_side=1e-2, paste="whole_pixels", keypoint_score="logit"),
    pooling=RoIPooling(sampling_ratio=2, aligned=False, eps=1e-6, eps_on="level"),
    background="first",
    background_box=True,
)
TORCHVISION_V2 = replace(
    TORCHVISION,
    body=BodyFlavour(frozen_stages=2, extra_from=POOLED),
    head_norm="batch",
    neck_norm="batch",
    rpn_depth=2,
    box_convs=4,
    box_fcs=1,
)
MMDET = RCNNFlavour(
    body=BodyFlavour(norm_eval=True, frozen_stages=2, extra_from=POOLED),
    anchor_style="mmdet",
    rpn_coder=BoxCoder(limit_shrinking=True),
    box_coder=BoxCoder(weights=REGION_WEIGHTS, limit_shrinking=True),
    proposals=ProposalRules(
        training=SelectProposals(max_candidates=2000, rank_on="probability"),
        inference=SelectProposals(rank_on="probability"),
    ),
    criterion=RCNNCriterion(rpn=RPNCriterion(match_low_quality="claim_above_low")),
    postprocess=SelectRoIs(max_candidates=None),
    # Boxes are compared with 56 pixels there, a quarter of 224.
    pooling=RoIPooling(eps=2.5e-7),
)
MMDET_CAFFE = replace(MMDET, body=replace(MMDET.body, norm="frozen", style="caffe"), input_spec=MSRA_INPUT)
MMDET_BGR = replace(
    MMDET, body=replace(MMDET.body, norm="frozen"), input_spec=replace(MSRA_INPUT, std=IMAGENET_STD)
)

FASTER_RCNN_FLAVOURS = {
    "": RCNNFlavour(),
    "caffe2": CAFFE2,
    "maskrcnn_benchmark": MASKRCNN_BENCHMARK,
    "detectron2": DETECTRON2,
    "torchvision": TORCHVISION,
    "torchvision_v2": TORCHVISION_V2,
    "mmdet": MMDET,
    "mmdet_caffe": MMDET_CAFFE,
    "mmdet_bgr": MMDET_BGR,
}
MASK_RCNN_FLAVOURS = FASTER_RCNN_FLAVOURS


def _of_people(flavour: RCNNFlavour) -> RCNNFlavour:
    """For the keypoint models, which know one class; detectron2 smooths their box loss, where others do already."""
    rois = replace(flavour.criterion.rois, smooth_l1_beta=flavour.criterion.rois.smooth_l1_beta or 0.5)
    return replace(
        flavour,
        class_names="coco_person" if flavour.class_names in ("coco", "coco_90") else flavour.class_names,
        criterion=replace(flavour.criterion, rois=rois),
    )


KEYPOINT_RCNN_FLAVOURS = {
    "": RCNNFlavour(),
    **{
        name: _of_people(FASTER_RCNN_FLAVOURS[name])
        for name in ("caffe2", "maskrcnn_benchmark", "detectron2", "torchvision")
    },
}
