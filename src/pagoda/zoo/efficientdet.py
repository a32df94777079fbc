"""EfficientDet D0 to D7x and lite: a table, since the published models follow no formula (Tan 2020, table 1)."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from types import MappingProxyType

from pagoda.backbones.timm import TimmBackbone
from pagoda.detectors.efficientdet import EfficientDet
from pagoda.heads.separable import SeparableHead
from pagoda.layers.conv import NORM_MOMENTUM, Activation, Padding
from pagoda.necks.bifpn import BiFPN, Fusion
from pagoda.ops.stretched_anchors import StretchedAnchors
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.zoo.class_names import COCO

# Published heads have a class for each COCO category id from 1 to 90; ten of the ids were never used.
COCO_90 = LabelMap(
    tuple(COCO.get(number, f"unused_{number}") for number in range(1, 91)), tuple(range(1, 91))
)


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    backbone: str
    """timm's name of it, with the weights it starts from"""
    side: int
    """pixels: pictures are fitted into a square of this side"""
    width: int
    """channels of the pyramid and of the heads"""
    cells: int
    """of the pyramid"""
    head_depth: int
    _: KW_ONLY
    top_level: int = 7
    fusion: Fusion = "fast"
    base_scale: float = 4.0
    """of the anchors, in steps of their level"""
    activation: Activation = "silu"
    """of the pyramid and the heads; the backbone brings its own"""
    drop_path_rate: float = 0.2
    """stochastic depth of the backbone's last block in training"""
    padding: Padding = "same"
    conv_bias: bool = True
    """in front of norms"""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


# Activations that 8-bit accelerators can do; pixels become (x - 127) / 128.
lite: Callable[..., Variant] = partial(
    Variant, fusion="sum", activation="relu6", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
)
B = "tf_efficientnet_b{}.aa_in1k"
LITE = "tf_efficientnet_lite{}.in1k"
# name: backbone, side, width, cells, convolutions per head, and what is out of the ordinary
VARIANTS = MappingProxyType(
    {
        "efficientdet_d0": Variant(B.format(0), 512, 64, 3, 3, drop_path_rate=0.0),
        "efficientdet_d1": Variant(B.format(1), 640, 88, 4, 3),
        "efficientdet_d2": Variant(B.format(2), 768, 112, 5, 3),
        "efficientdet_d3": Variant(B.format(3), 896, 160, 6, 4),
        "efficientdet_d4": Variant(B.format(4), 1024, 224, 7, 4),
        "efficientdet_d5": Variant(B.format(5), 1280, 288, 7, 4),
        "efficientdet_d6": Variant(B.format(6), 1280, 384, 8, 5, fusion="sum"),
        "efficientdet_d7": Variant(B.format(6), 1536, 384, 8, 5, fusion="sum", base_scale=5.0),
        "efficientdet_d7x": Variant(B.format(7), 1536, 384, 8, 5, fusion="sum", top_level=8),
        "efficientdet_lite0": lite(LITE.format(0), 320, 64, 3, 3, base_scale=3.0, drop_path_rate=0.0),
        "efficientdet_lite1": lite(LITE.format(1), 384, 88, 4, 3, base_scale=3.0),
        "efficientdet_lite2": lite(LITE.format(2), 448, 112, 5, 3, base_scale=3.0),
        "efficientdet_lite3": lite(LITE.format(3), 512, 160, 6, 4),
        "efficientdet_lite3x": lite(LITE.format(3), 640, 200, 6, 4, base_scale=3.0),
        "efficientdet_lite4": lite(LITE.format(4), 640, 224, 7, 4),
    }
)


def without_tensorflow(variant: Variant) -> Variant:
    """The row as effdet trains it from scratch: even padding, no bias in front of norms, timm's own backbone.

    Weights of one layout mean nothing in the other.
    """
    plain = variant.backbone.split(".")[0].removeprefix("tf_")
    return replace(variant, backbone=plain, padding="symmetric", conv_bias=False)


def efficientdet(
    variant: Variant, label_map: LabelMap = COCO_90, *, pretrained_backbone: bool = False
) -> EfficientDet:
    """The model a row describes; `pretrained_backbone` lets timm download ImageNet weights."""
    backbone = TimmBackbone(
        variant.backbone,
        levels=(3, 4, 5),
        pretrained=pretrained_backbone,
        bn_momentum=NORM_MOMENTUM,
        drop_path_rate=variant.drop_path_rate,
    )
    neck = BiFPN(
        backbone.channels,
        variant.width,
        cells=variant.cells,
        top_level=variant.top_level,
        fusion=variant.fusion,
        activation=variant.activation,
        padding=variant.padding,
        conv_bias=variant.conv_bias,
    )
    head = partial(
        SeparableHead,
        neck.channels,
        depth=variant.head_depth,
        activation=variant.activation,
        conv_bias=variant.conv_bias,
    )
    return EfficientDet(
        backbone,
        neck,
        class_head=head(outputs=9 * len(label_map)),
        box_head=head(outputs=9 * 4),
        label_map=label_map,
        input_spec=input_spec(variant),
        anchors=StretchedAnchors(base_scale=variant.base_scale),
    )


def input_spec(variant: Variant) -> InputSpec:
    """Pictures fitted into the variant's square and padded as far as its own levels divide evenly."""
    return InputSpec(
        short_side=variant.side,
        long_side=variant.side,
        mean=variant.mean,
        std=variant.std,
        pad_multiple=min(2**variant.top_level, variant.side & -variant.side),
    )
