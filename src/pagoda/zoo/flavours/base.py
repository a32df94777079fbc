"""What a model's weights cannot tell: the conventions of the program they were trained in, bundled by source."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Literal, Self

from pagoda.backbones.resnet import Style
from pagoda.criteria.dense import FCOSCriterion, RetinaNetCriterion
from pagoda.layers.norm import Norm
from pagoda.necks.fpn import ExtraFrom
from pagoda.ops.anchors import AnchorShapes
from pagoda.ops.box_coding import BoxCoder, PointCoder
from pagoda.plain import JsonObject, check_numbers, checked, from_plain
from pagoda.postprocess.dense import SelectDetections
from pagoda.preprocess import InputSpec

IMAGENET_STD_RGB = (58.395, 57.12, 57.375)
ClassNames = Literal["coco", "coco_91", "coco_90", "coco_person", "posetrack_person", "voc", "numbered"]


@checked
@dataclass(frozen=True, kw_only=True)
class BodyFlavour:
    """Conventions of the backbone and the neck; where the model's options say something else, that counts.

    Norm, epsilon and what is frozen are meant for ResNets; other backbones keep what they were published with.
    """

    norm: Norm = "batch"
    """behind the backbone's convolutions"""
    eps: float = 1e-5
    """of the backbone's norms"""
    norm_eval: bool = False
    """batch norms keep their statistics in training"""
    style: Style = "pytorch"
    """where plain bottlenecks stride; grouped ones (ResNeXt) always do in the 3×3"""
    pooling: Literal["padded", "ceil"] = "padded"
    """of the stem"""
    frozen_stages: int = 0
    """of the backbone that never train: 1 the stem, 2 stem and layer1, …"""
    extra_from: ExtraFrom = "P5"
    """what the FPN's first level above the backbone's reads"""
    relu_before_extra: bool = True
    """further levels read the ReLU of the one below"""
    neck_relu: bool = False
    """a ReLU behind each convolution of the FPN"""

    def __post_init__(self) -> None:
        check_numbers(self, 0, 1, "eps")
        check_numbers(self, 0, 64, "frozen_stages")


@checked
@dataclass(frozen=True, kw_only=True)
class Flavour:
    """Conventions of one program that all its detectors have in common.

    >>> flavour = Flavour(head_norm="none")
    >>> Flavour.from_dict(flavour.to_dict()) == flavour
    True
    """

    body: BodyFlavour = field(default_factory=BodyFlavour)
    """of backbone and neck"""
    head_norm: Norm = "group"
    """behind the towers' convolutions"""
    head_bias: bool = True
    """of the towers' convolutions"""
    input_spec: InputSpec = field(default_factory=InputSpec)
    """size, order and statistics of the pixels"""
    class_names: ClassNames = "coco"
    """of a checkpoint with as many classes"""

    def to_dict(self) -> JsonObject:
        """All fields by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """The flavour that `to_dict` made this of. Raises ValueError for settings of a newer version."""
        return from_plain(cls, data, "flavour.")


@checked
@dataclass(frozen=True, kw_only=True)
class FCOSFlavour(Flavour):
    """The conventions of one program's FCOS.

    >>> FCOSFlavour().postprocess.min_score, FCOSFlavour(level_scale=False).coder.offset
    (0.2, 0.5)
    """

    coder: PointCoder = field(default_factory=PointCoder)
    """where points sit, and how the box head's numbers become distances"""
    criterion: FCOSCriterion = field(default_factory=FCOSCriterion)
    """assignment and losses in training"""
    # √(class · centerness) of a fresh model is .07 everywhere, so the bar is higher than for plain classes.
    postprocess: SelectDetections = field(default_factory=partial(SelectDetections, min_score=0.2))
    """thresholds and suppression in use"""
    quality_on: Literal["class", "box"] = "box"
    """the head whose last output is the centerness"""
    level_scale: bool = True
    """distances of each level are multiplied by a learnt factor"""


@checked
@dataclass(frozen=True, kw_only=True)
class RetinaNetFlavour(Flavour):
    """The conventions of one program's RetinaNet.

    >>> len(RetinaNetFlavour().anchors.of_cell(8)), RetinaNetFlavour().postprocess.max_iou
    (9, 0.5)
    """

    anchors: AnchorShapes = field(default_factory=AnchorShapes)
    """shapes at every cell, and their order"""
    coder: BoxCoder = field(default_factory=BoxCoder)
    """how deltas stand for boxes"""
    criterion: RetinaNetCriterion = field(default_factory=RetinaNetCriterion)
    """assignment and losses in training"""
    postprocess: SelectDetections = field(default_factory=partial(SelectDetections, max_iou=0.5))
    """thresholds and suppression in use"""


def pixels_of_body(backbone: str, spec: InputSpec) -> InputSpec:
    """`spec` as detectron2's and AdelaiDet's models on this backbone read pixels: Facebook's own ResNeXt-101-32x8d
    was trained on deviations of ImageNet, all others on 1.

    >>> spec = InputSpec(std=(1.0, 1.0, 1.0))
    >>> pixels_of_body("resnet50", spec).std, pixels_of_body("resnext101_32x8d", spec).std
    ((1.0, 1.0, 1.0), (58.395, 57.12, 57.375))
    """
    return replace(spec, std=IMAGENET_STD_RGB) if backbone == "resnext101_32x8d" else spec
