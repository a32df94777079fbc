"""Detect-and-Track as its authors' program writes it (spec in Girdhar 2018; Caffe2 Detectron). "" is our own best."""

from dataclasses import dataclass, field, replace

from pagoda.criteria.tubes import (
    DetectAndTrackCriterion,
    TubeCriterion,
    TubeKeypointCriterion,
    TubeRPNCriterion,
)
from pagoda.heads.roi_box import Background
from pagoda.heads.roi_keypoint import Upsampling
from pagoda.layers.norm import Norm
from pagoda.ops.anchors import AnchorShapes, AnchorStyle
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.roi import RoIPooling
from pagoda.plain import checked
from pagoda.postprocess.tubes import SelectTubeProposals, SelectTubes, TubeProposalRules
from pagoda.preprocess import InputSpec
from pagoda.zoo.flavours.base import BodyFlavour, Flavour
from pagoda.zoo.flavours.fcos import CAFFE2_BODY, CAFFE2_INPUT
from pagoda.zoo.flavours.rcnn import POOLED, REGION_WEIGHTS

# Every tube costs T regions, and those of a small clip lie on each other: a quarter of the original's sample.
FEW_PROPOSALS = TubeProposalRules(
    training=SelectTubeProposals(max_candidates=1000, max_proposals=500),
    inference=SelectTubeProposals(max_candidates=1000, max_proposals=300),
)
FEW_TUBES = DetectAndTrackCriterion(tubes=TubeCriterion(count=128), keypoints=TubeKeypointCriterion(count=32))


@checked
@dataclass(frozen=True, kw_only=True)
class DetectAndTrackFlavour(Flavour):
    """The conventions of one program's Detect-and-Track.

    >>> ORIGINAL.upsampling, ORIGINAL.of_pictures().postprocess.suppress_equal
    ('deconvolution', True)
    """

    body: BodyFlavour = field(default_factory=lambda: BodyFlavour(extra_from=POOLED))
    """of backbone and neck; level 6 is every second cell of level 5"""
    head_norm: Norm = "none"
    """behind the convolutions of the heads"""
    input_spec: InputSpec = field(default_factory=lambda: InputSpec(short_side=320, long_side=576))
    """size, order and statistics of the pixels, for networks with a pyramid"""
    one_level_input: InputSpec = field(default_factory=lambda: InputSpec(short_side=320, long_side=576))
    """of C4 networks"""
    anchor_style: AnchorStyle = "detectron2"
    """how sides are rounded and shapes ordered"""
    rpn_coder: BoxCoder = field(default_factory=BoxCoder)
    """how deltas of the proposal head stand for boxes"""
    box_coder: BoxCoder = field(default_factory=lambda: BoxCoder(weights=REGION_WEIGHTS))
    """how deltas of the box head stand for boxes"""
    proposals: TubeProposalRules = field(default_factory=lambda: FEW_PROPOSALS)
    """how many tubes are looked at, in training and in use"""
    criterion: DetectAndTrackCriterion = field(default_factory=lambda: FEW_TUBES)
    """assignment, sampling and losses in training"""
    postprocess: SelectTubes = field(default_factory=SelectTubes)
    """thresholds and suppression in use"""
    pooling: RoIPooling = field(default_factory=RoIPooling)
    """of the box head; the keypoint head has twice the resolution"""
    background: Background = "last"
    """row of the class that means nothing"""
    background_box: bool = False
    """box predictions have rows for the background"""
    upsampling: Upsampling = "interpolate"
    """of the keypoint maps' last doubling"""

    def anchors(self, *, pyramid: bool) -> AnchorShapes:
        """One size per level from 32 pixels on P2; four from 64 on a single level of stride 16."""
        shapes = AnchorShapes(base_scale=8.0, octaves=1, style=self.anchor_style)
        return shapes if pyramid else replace(shapes, scales=(4.0, 8.0, 16.0, 32.0))

    def of_pictures(self) -> "DetectAndTrackFlavour":
        """The same for clips of one frame, where the original suppresses boxes that overlap by just the limit, too."""
        if not self.postprocess.inclusive:
            return self
        rules = {
            name: replace(getattr(self.proposals, name), suppress_equal=True)
            for name in ("training", "inference")
        }
        return replace(
            self,
            proposals=TubeProposalRules(**rules),
            postprocess=replace(self.postprocess, suppress_equal=True),
        )


# Boxes lose no pixel when they are decoded, so that they grow by one each time they are coded.
LEGACY = BoxCoder(inclusive=True, exclusive_ends=True)
LEGACY_TUBES = SelectTubeProposals(min_side=None, rank_on="probability", inclusive=True)
ORIGINAL = DetectAndTrackFlavour(
    body=replace(CAFFE2_BODY, extra_from=POOLED),
    input_spec=replace(CAFFE2_INPUT, rounding="nearest"),
    one_level_input=replace(CAFFE2_INPUT, rounding="nearest", short_side=256, long_side=333, pad_multiple=1),
    class_names="posetrack_person",
    anchor_style="maskrcnn_benchmark",
    rpn_coder=LEGACY,
    box_coder=replace(LEGACY, weights=REGION_WEIGHTS),
    proposals=TubeProposalRules(
        training=replace(LEGACY_TUBES, max_candidates=2000, max_proposals=2000), inference=LEGACY_TUBES
    ),
    criterion=DetectAndTrackCriterion(
        rpn=TubeRPNCriterion(
            inclusive=True,
            border=0.0,
            assign_inside_only=True,
            smooth_l1_beta=1 / 9,
            box_normalizer="image",
            over="all",
        ),
        tubes=TubeCriterion(
            inclusive=True,
            smooth_l1_beta=1.0,
            over="all",
            mask_absent=False,
            fill_absent=False,
        ),
        keypoints=TubeKeypointCriterion(inclusive=True, count=128, seen_in="first_frame", or_objects=True),
    ),
    postprocess=SelectTubes(max_candidates=None, inclusive=True, keypoint_score="logit"),
    pooling=RoIPooling(sampling_ratio=2, aligned=False, eps=1e-6, inclusive=True),
    background="first",
    background_box=True,
    upsampling="deconvolution",
)
DETECT_AND_TRACK_FLAVOURS = {"": DetectAndTrackFlavour(), "original": ORIGINAL}
