"""EfficientDet as six programs write it (spec sections 1, 4). "" is our own best.

The zoo's names of these programs: "google" (google/automl, and effdet's copies of its weights), "advprop" (Google's
second set, trained against adversarial pictures), "effdet" (rwightman's own training, without TensorFlow's padding),
"zylo117", "mmdet" (its project of the name), "toandaominh" (which computes something else: see `zoo.toandaominh`).
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from pagoda.criteria.dense import RetinaNetCriterion
from pagoda.criteria.efficientdet import EfficientDetCriterion
from pagoda.layers.conv import Activation, Padding
from pagoda.layers.norm import Norm
from pagoda.necks.bifpn import Resampling
from pagoda.ops.anchors import ROUNDED_SHAPES, SQRT2_SHAPES
from pagoda.ops.box_coding import BoxCoder
from pagoda.plain import checked
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.preprocess import InputSpec
from pagoda.zoo.flavours.base import ClassNames, Flavour

# Google normalises first and pads with 0, which is the mean colour; here its nearest whole grey values.
MEAN_COLOR = (124, 116, 104)
# In the canvas every level gets its size from the one below, so no side needs to be a multiple of anything.
INPUT = InputSpec(fit="corner", canvas=(512, 512), border=MEAN_COLOR, pad_multiple=1)
LITE_INPUT = replace(INPUT, border=127, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


@checked
@dataclass(frozen=True, kw_only=True)
class EfficientDetFlavour(Flavour):
    """The conventions of one program's EfficientDet. `body` counts for ResNets only.

    >>> EFFDET.padding, GOOGLE.padding, GOOGLE.postprocess.suppression
    ('symmetric', 'same', 'soft')
    """

    parts: Literal["published", "toandaominh"] = "published"
    """which backbone, pyramid and heads: the paper's, or those of toandaominh1997/EfficientDet.Pytorch"""
    head_norm: Norm = "batch"
    """behind the towers' convolutions, one for each level"""
    input_spec: InputSpec = INPUT
    """its canvas gives way to the variant's"""
    lite_input: InputSpec = LITE_INPUT
    """of the lite variants"""
    class_names: ClassNames = "coco_90"
    """of a checkpoint with as many classes"""
    tensorflow: bool = False
    """the backbone pads and normalises as TensorFlow does; weights of one kind mean nothing in the other"""
    padding: Padding = "symmetric"
    """of the pyramid's pooling"""
    conv_bias: bool = False
    """in front of norms, where it changes nothing but the number of parameters"""
    resampling: Resampling = field(default_factory=Resampling)
    """between the pyramid's levels"""
    head_activation: Activation | None = None
    """None: that of the pyramid"""
    base_scale: float | None = None
    """of the anchors, in steps of their level; None: the variant's"""
    shapes: tuple[tuple[float, float], ...] = ROUNDED_SHAPES
    """(width, height) of the anchors as factors of their size"""
    shapes_outer: bool = False
    """anchors of a cell are ordered by shape first, then by size"""
    coder: BoxCoder = field(default_factory=partial(BoxCoder, max_log_growth=None))
    """how deltas stand for boxes"""
    criterion: EfficientDetCriterion = field(default_factory=EfficientDetCriterion)
    """assignment and losses in training"""
    postprocess: SelectFromAllLevels = field(default_factory=SelectFromAllLevels)
    """thresholds and suppression in use"""


@checked
@dataclass(frozen=True, kw_only=True)
class RetinaLossFlavour(EfficientDetFlavour):
    """The same network trained with RetinaNet's assignment and losses."""

    criterion: RetinaNetCriterion = field(
        default_factory=partial(
            RetinaNetCriterion,
            match_low_quality="none",
            box_loss="smooth_l1",
            normalizer="image",
            probability_margin=1e-4,
        )
    )
    """assignment and losses in training"""


# Evaluated by soft suppression with every score above .001, of which 100 are kept.
GOOGLE = EfficientDetFlavour(
    tensorflow=True,
    padding="same",
    conv_bias=True,
    postprocess=SelectFromAllLevels(suppression="soft", min_score=0.001),
)
ADVPROP = replace(GOOGLE, input_spec=replace(INPUT, border=0, mean=(0.5,) * 3, std=(0.5,) * 3))
EFFDET = EfficientDetFlavour(
    lite_input=replace(LITE_INPUT, mean=(0.5,) * 3, std=(0.5,) * 3),
    postprocess=SelectFromAllLevels(min_score=0.0),
)
# The one lite variant that effdet trained itself, unlike Google's: fusion with weights, ordinary pixels and anchors. No
# model of the zoo has that by name.
EFFDET_LITE0 = {"lite_input": INPUT, "base_scale": 4.0, "padding": "same"}
EFFDET_LITE0_CANVAS = (384, 384)
# 50 times the mean over four sides of each anchor, where the criterion adds up the sides.
ZYLO117 = RetinaLossFlavour(
    tensorflow=True,
    padding="same_zero",
    conv_bias=True,
    criterion=replace(RetinaLossFlavour().criterion, box_weight=50 / 4),
    postprocess=SelectFromAllLevels(
        min_score=0.2,
        max_candidates=None,
        max_detections=None,
        best_class_only=True,
        clip_rule="outer_sides",
        last_pixel=True,
    ),
)
# Huber's loss with δ .1 and weight 50 is the smooth L1 loss with β .1 and weight 5, per side 5 / 4.
MMDET = RetinaLossFlavour(
    tensorflow=True,
    padding="same_zero",
    conv_bias=True,
    shapes=SQRT2_SHAPES,
    shapes_outer=True,
    coder=BoxCoder(limit_shrinking=True),
    criterion=RetinaNetCriterion(
        background_iou=0.5,
        foreground_iou=0.5,
        match_low_quality="claim",
        gamma=1.5,
        box_loss="smooth_l1",
        smooth_l1_beta=0.1,
        box_weight=5 / 4,
        normalizer="sum_of_images",
    ),
    postprocess=SelectFromAllLevels(
        suppression="soft", max_candidates=1000, levels_apart=True, soft_min_score=0.001
    ),
)
TOANDAOMINH = RetinaLossFlavour(
    parts="toandaominh",
    class_names="voc",
    shapes=(SQRT2_SHAPES[1], SQRT2_SHAPES[0], SQRT2_SHAPES[2]),
    shapes_outer=True,
    coder=BoxCoder(weights=(10.0, 10.0, 5.0, 5.0), max_log_growth=None),
    criterion=replace(
        RetinaLossFlavour().criterion,
        box_weight=1 / 4,
        skip_empty=True,
    ),
    postprocess=SelectFromAllLevels(
        min_score=0.01,
        max_candidates=None,
        max_detections=None,
        best_class_only=True,
        clip_rule="outer_sides",
        across_classes=True,
    ),
)

EFFICIENTDET_FLAVOURS = {
    "": EfficientDetFlavour(),
    "google": GOOGLE,
    "advprop": ADVPROP,
    "effdet": EFFDET,
    "zylo117": ZYLO117,
    "mmdet": MMDET,
    "toandaominh": TOANDAOMINH,
}
