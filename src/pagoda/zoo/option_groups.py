"""Options in groups. A model has those of its detector, its neck, its backbone and its pictures; which these are, say
`pagoda.zoo.families.options_class` and the builders; all of them stand in `pagoda.zoo.composed_options.GROUPS`.
"""

from dataclasses import dataclass
from typing import Literal

from pagoda.backbones.resnet_options import Fallback, Plugin
from pagoda.layers.conv import Activation
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.layers.norm import Norm
from pagoda.necks.bifpn import Fusion
from pagoda.necks.fpn import Convolutions, ExtraFrom
from pagoda.necks.topology import TopologyName
from pagoda.plain import checked
from pagoda.preprocess import Fit
from pagoda.zoo.options import ModelOptions

DeformKind = Literal["none", "v1", "v2"]


# Of the pictures.


@checked
@dataclass(frozen=True, kw_only=True)
class PixelOptions(ModelOptions):
    """Statistics of the pixels."""

    of = "detectors of pictures"
    mean: tuple[float, ...] | None = None
    """of each channel, in the units of the flavour (0 … 1, or 0 … 255); one channel: the average of the three"""
    std: tuple[float, ...] | None = None
    """of each channel, likewise"""


@checked
@dataclass(frozen=True, kw_only=True)
class ChannelOptions(PixelOptions):
    """Pixels of any number of channels."""

    of = "detectors of pictures"
    in_channels: int | None = None
    """of the pictures the network reads: 3, or 1 for grey (3)"""


@checked
@dataclass(frozen=True, kw_only=True)
class SideOptions(ModelOptions):
    """Pictures that are resized by their sides."""

    of = "models that resize their pictures by their sides"
    short_side: int | None = None
    """pixels: the shorter side pictures are resized to (800)"""
    long_side: int | None = None
    """pixels: the longer side is never larger (1333)"""


@checked
@dataclass(frozen=True, kw_only=True)
class CanvasOptions(ModelOptions):
    """Pictures that are fitted into a canvas."""

    of = "models that fit their pictures into a canvas"
    fit: Fit | None = None
    """how pictures get into the canvas: letterbox (its middle), corner (top left) or stretch (all of it, bubbliiiing's
    letterbox_image=False); None: as the flavour has it"""
    canvas: tuple[int, int] | None = None
    """height and width in pixels of the frame that pictures are fitted into"""


# Of the backbone.


@checked
@dataclass(frozen=True, kw_only=True)
class FrozenOptions(ModelOptions):
    """A backbone whose first stages can be kept from training."""

    of = "backbones of pictures"
    frozen_stages: int | None = None
    """of the backbone that never train: 1 the stem, 2 all up to C2, …"""


@checked
@dataclass(frozen=True, kw_only=True)
class NormOptions(FrozenOptions):
    """A backbone whose norms can be chosen (also MobileNetV2)."""

    of = "ResNets and MobileNetV2"
    norm: Norm | None = None
    """of the backbone: batch, sync, frozen or group"""


@checked
@dataclass(frozen=True, kw_only=True)
class GroupNormOptions(ModelOptions):
    """Parts that may have group norms."""

    of = "ResNets, FPNs, FCOS and RetinaNet"
    norm_groups: int | None = None
    """of group norms in ResNet, FPN and dense heads (32; in heads of width below 128 fewer)"""


@checked
@dataclass(frozen=True, kw_only=True)
class DeformOptions(ModelOptions):
    """Deformable convolutions in a ResNet."""

    of = "ResNets of pictures"
    deform: DeformKind = "none"
    """deformable convolutions in a ResNet: v1, or v2 with modulation"""
    deform_levels: tuple[int, ...] = (3, 4, 5)
    """which stages have them: C3 … C5"""
    deform_groups: int = 1
    """parts of the channels with displacements of their own"""
    deform_fallback: bool = False
    """some blocks keep the plain convolution"""
    deform_fallback_on: Fallback = "stride"
    """which: those that stride, as MMDetection's fallback_on_stride is meant; or the first deformable one alone,
    whatever its stride, as MMDetection does it"""
    deform_blocks: tuple[tuple[bool, ...], ...] | None = None
    """block by block instead of levels and fallback: for each stage, which of its blocks are deformable; JSON on the
    command line"""


@checked
@dataclass(frozen=True, kw_only=True)
class ResNetOptions(NormOptions, GroupNormOptions, DeformOptions):
    """A ResNet or ResNeXt."""

    of = "ResNets of pictures"
    plugins: tuple[Plugin, ...] = ()
    """modules inside a ResNet's bottlenecks: context_block, nonlocal_block or gen_attention_block, each with options,
    levels (2 … 5), position (after_conv1 … after_conv3) and name; JSON on the command line"""
    standardized: bool = False
    """weight standardisation in all of a ResNet's convolutions"""
    stem_channels: int | None = None
    """that a ResNet's first stage receives (as many as base_channels)"""
    base_channels: int | None = None
    """of a ResNet's first stage inside its blocks; every later stage has twice as many (64)"""
    avg_down: bool | None = None
    """a ResNet's projections average before a 1×1 without stride, as in its D forms, whose deep stem this is without"""


@checked
@dataclass(frozen=True, kw_only=True)
class StageOptions(ModelOptions):
    """A ResNet under a pyramid."""

    of = "pyramids on ResNets"
    num_stages: int | None = None
    """of a ResNet: 1 … 4 (4); without `levels`, the neck reads those of the usual that are left"""


# Of the neck.


@checked
@dataclass(frozen=True, kw_only=True)
class LevelOptions(ModelOptions):
    """A pyramid on a backbone of one's choice."""

    of = "pyramids on a backbone of your choice"
    levels: tuple[int, ...] | None = None
    """of the backbone that the neck reads, C2 … C5 (3, 4, 5; 2 too in R-CNN); stages above the last are not built"""


@checked
@dataclass(frozen=True, kw_only=True)
class PyramidOptions(ModelOptions):
    """A pyramid of any kind."""

    of = "pyramids"
    top_level: int | None = None
    """of the pyramid (7; R-CNN and Detect-and-Track 6; EfficientDet-D7x 8)"""


@checked
@dataclass(frozen=True, kw_only=True)
class NeckOptions(PyramidOptions):
    """A pyramid with norms."""

    of = "FPNs, PAFPNs and BiFPNs"
    neck_norm: Norm | None = None
    """behind the convolutions of the neck: group or none; in a BiFPN also batch, which it has by itself"""


@checked
@dataclass(frozen=True, kw_only=True)
class FPNOptions(NeckOptions, GroupNormOptions):
    """An FPN, or one that climbs up again (PAFPN)."""

    of = "FPNs and PAFPNs"
    neck_norm_on: tuple[Convolutions, ...] | None = None
    """which convolutions of an FPN have it (lateral, output); extra: those of the levels above the backbone's, too"""
    neck_relu: bool | None = None
    """behind those, a ReLU"""
    extra_from: ExtraFrom | None = None
    """what the first level of an FPN above the backbone's is made of: its top output (P5), the backbone's (C5, as
    USE_C5 says), or every second pixel of P5 (max_pool, of R-CNNs); None: as the flavour has it"""


@checked
@dataclass(frozen=True, kw_only=True)
class CellOptions(ModelOptions):
    """A pyramid of cells."""

    of = "BiFPNs"
    cells: int | None = None
    """how often a BiFPN goes down and up (3; EfficientDet's by its table)"""


@checked
@dataclass(frozen=True, kw_only=True)
class ActivationOptions(ModelOptions):
    """Parts whose activation can be chosen."""

    of = "BiFPNs and EfficientDet"
    activation: Activation | None = None
    """in a BiFPN and in EfficientDet's heads (silu; relu6 in the lite ones)"""


@checked
@dataclass(frozen=True, kw_only=True)
class BiFPNOptions(NeckOptions, CellOptions, ActivationOptions):
    """A BiFPN."""

    of = "BiFPNs"
    fusion: Fusion | None = None
    """how a BiFPN weighs what it joins (fast; sum from EfficientDet-D6 on and in the lite ones)"""
    topology: TopologyName | None = None
    """of a BiFPN's cells (bifpn)"""


# Of the heads.


@checked
@dataclass(frozen=True, kw_only=True)
class TowerOptions(ModelOptions):
    """Heads with towers of convolutions."""

    of = "heads with towers of convolutions, which Faster R-CNN and C4 networks are without"
    head_depth: int | None = None
    """convolutions in each head's tower (4; of keypoints 8; EfficientDet's by its table)"""


@checked
@dataclass(frozen=True, kw_only=True)
class HeadNormOptions(ModelOptions):
    """Heads with norms."""

    of = "heads with norms, which Detect-and-Track and C4 networks are without"
    head_norm: Norm | None = None
    """in the heads' towers: group, none, or batch (EfficientDet)"""


@checked
@dataclass(frozen=True, kw_only=True)
class DenseOptions(TowerOptions, HeadNormOptions, GroupNormOptions):
    """FCOS and RetinaNet."""

    of = "FCOS and RetinaNet"
    head_bias: bool | None = None
    """of the towers' convolutions"""
    head_deform: bool = False
    """the last convolution of each tower is deformable"""


@checked
@dataclass(frozen=True, kw_only=True)
class EfficientDetOptions(TowerOptions, HeadNormOptions, ActivationOptions):
    """EfficientDet."""

    of = "EfficientDet"


@checked
@dataclass(frozen=True, kw_only=True)
class VariantOptions(EfficientDetOptions, BiFPNOptions, FrozenOptions, ChannelOptions, CanvasOptions):
    """EfficientDet as published: a BiFPN on an EfficientNet."""

    of = "EfficientDet's published variants"
    drop_path_rate: float | None = None
    """stochastic depth in training, growing to this at the backbone's last block (EfficientDet-D1 … D7x: 0.2)"""


@checked
@dataclass(frozen=True, kw_only=True)
class RestridedOptions(CellOptions, PixelOptions, CanvasOptions):
    """What toandaominh1997 computes under the name of EfficientDet."""

    of = "toandaominh1997's EfficientDet"


@checked
@dataclass(frozen=True, kw_only=True)
class SSDOptions(NeckOptions):
    """SSD on a backbone of one's choice."""

    of = "SSDs on a backbone of your choice"
    separable: bool = False
    """SSD's further levels and heads are depthwise separable, as in SSDlite"""


@checked
@dataclass(frozen=True, kw_only=True)
class PublishedSSDOptions(ChannelOptions, CanvasOptions):
    """SSD300, SSD512 and SSDlite as published."""

    of = "SSD300, SSD512 and SSDlite"
    box_sizes: Literal["voc", "coco"] | None = None
    """which published table of default boxes: that for VOC, or the smaller ones for COCO; None: the flavour's"""


@checked
@dataclass(frozen=True, kw_only=True)
class YOLOv1Options(ModelOptions):
    """YOLOv1: cells of a grid."""

    of = "YOLOv1"
    num_boxes: int | None = None
    """that each cell predicts (2; yolov1 3)"""


@checked
@dataclass(frozen=True, kw_only=True)
class ConvCellOptions(YOLOv1Options, TowerOptions, HeadNormOptions):
    """YOLOv1 on a backbone: the grid is that of its map, `canvas` divided by the level's stride."""

    of = "YOLOv1 on a backbone of your choice"


@checked
@dataclass(frozen=True, kw_only=True)
class DarknetOptions(YOLOv1Options, ChannelOptions, CanvasOptions):
    """A network of darknet, which looks at pictures of one size."""

    of = "YOLOv1 as darknet has it"
    side: int | None = None
    """cells along each side of the grid (7)"""
    layers: tuple[DarknetLayer, ...] = ()
    """instead of the published ones: kind (convolutional, maxpool, local, dropout, connected), outputs, size, stride,
    padding, batch_norm, activation, probability; JSON on the command line"""


@checked
@dataclass(frozen=True, kw_only=True)
class RCNNOptions(ModelOptions):
    """Heads that look at regions: R-CNN and Detect-and-Track."""

    of = "R-CNN and Detect-and-Track"
    class_agnostic: bool = False
    """one box and one mask for all classes"""


@checked
@dataclass(frozen=True, kw_only=True)
class BoxHeadOptions(RCNNOptions, HeadNormOptions):
    """Faster R-CNN whose box head has layers of its own."""

    of = "R-CNN"


@checked
@dataclass(frozen=True, kw_only=True)
class MaskHeadOptions(BoxHeadOptions, TowerOptions):
    """Mask R-CNN whose heads have layers of their own."""

    of = "Mask R-CNN"


@checked
@dataclass(frozen=True, kw_only=True)
class KeypointOptions(TowerOptions):
    """A head of keypoints."""

    of = "models with a keypoint head"
    num_keypoints: int | None = None
    """of a keypoint head (as many as the classes' skeleton has; 17)"""


@checked
@dataclass(frozen=True, kw_only=True)
class KeypointHeadOptions(BoxHeadOptions, KeypointOptions):
    """Keypoint R-CNN."""

    of = "Keypoint R-CNN"
