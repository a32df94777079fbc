"""EfficientDet D0 to D7x and lite: a table, since the published models follow no formula (Tan 2020, table 1)."""

from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from torch import nn

from pagoda.backbones.timm import TimmBackbone
from pagoda.detectors.efficientdet import EfficientDet
from pagoda.heads.separable import SeparableHead
from pagoda.layers.conv import NORM_MOMENTUM, Activation
from pagoda.necks.bifpn import BiFPN, Fusion
from pagoda.necks.topology import TOPOLOGIES
from pagoda.ops.anchors import StretchedAnchors
from pagoda.plain import checked
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.zoo import inputs
from pagoda.zoo.class_names import published_classes
from pagoda.zoo.flavours.efficientdet import GOOGLE, EfficientDetFlavour
from pagoda.zoo.option_groups import EfficientDetOptions, RestridedOptions, VariantOptions

# Published heads have a class for each COCO category id from 1 to 90; ten of the ids were never used.
COCO_90 = published_classes("coco_90", 90)


@checked
@dataclass(frozen=True)
class Variant:
    """A published EfficientDet: one row of the table.

    >>> VARIANTS["efficientdet_d1"].side, VARIANTS["efficientdet_lite0"].activation
    (640, 'relu6')
    """

    backbone: str
    """EfficientNet's own name: b0 … b7, lite0 … lite4; empty: handed over"""
    side: int
    """pixels: pictures are fitted into a square of this side"""
    width: int
    """channels of the pyramid and of the heads"""
    cells: int
    """of the pyramid"""
    head_depth: int
    """convolutions in each head's tower"""
    top_level: int = 7
    """highest level of the pyramid: the coarsest cells are 2ˡ pixels apart"""
    fusion: Fusion = "fast"
    """how the pyramid weighs what it joins"""
    base_scale: float = 4.0
    """of the anchors, in steps of their level"""
    drop_path_rate: float = 0.2
    """stochastic depth of the backbone's last block in training"""

    @property
    def is_lite(self) -> bool:
        """For accelerators of 8 bits: ReLU6, no squeeze-and-excitation, other pixels."""
        return self.backbone.startswith("lite")

    @property
    def activation(self) -> Activation:
        """The activation of the pyramid and the heads; the backbone brings its own."""
        return "relu6" if self.is_lite else "silu"


lite = partial(Variant, fusion="sum")
# name: backbone, side, width, cells, convolutions per head, and what is out of the ordinary
VARIANTS = MappingProxyType(
    {
        "efficientdet_d0": Variant("b0", 512, 64, 3, 3, drop_path_rate=0.0),
        "efficientdet_d1": Variant("b1", 640, 88, 4, 3),
        "efficientdet_d2": Variant("b2", 768, 112, 5, 3),
        "efficientdet_d3": Variant("b3", 896, 160, 6, 4),
        "efficientdet_d4": Variant("b4", 1024, 224, 7, 4),
        "efficientdet_d5": Variant("b5", 1280, 288, 7, 4),
        "efficientdet_d6": Variant("b6", 1280, 384, 8, 5, fusion="sum"),
        "efficientdet_d7": Variant("b6", 1536, 384, 8, 5, fusion="sum", base_scale=5.0),
        "efficientdet_d7x": Variant("b7", 1536, 384, 8, 5, fusion="sum", top_level=8),
        "efficientdet_lite0": lite("lite0", 320, 64, 3, 3, base_scale=3.0, drop_path_rate=0.0),
        "efficientdet_lite1": lite("lite1", 384, 88, 4, 3, base_scale=3.0),
        "efficientdet_lite2": lite("lite2", 448, 112, 5, 3, base_scale=3.0),
        "efficientdet_lite3": lite("lite3", 512, 160, 6, 4),
        "efficientdet_lite3x": lite("lite3", 640, 200, 6, 4, base_scale=3.0),
        "efficientdet_lite4": lite("lite4", 640, 224, 7, 4),
    }
)


def efficientdet(
    variant: Variant,
    labels: LabelMap = COCO_90,
    options: EfficientDetOptions | RestridedOptions | None = None,
    flavour: EfficientDetFlavour = GOOGLE,
    *,
    parts: tuple[nn.Module, nn.Module] | None = None,
) -> EfficientDet:
    """The model that a row describes in one flavour's conventions; `options` change its sizes.

    `parts` are a backbone and a neck to take instead of the row's.

    Raises ValueError for `parts` in toandaominh1997's conventions.
    """
    options = options or variant_options(flavour)()
    anchors = StretchedAnchors(
        base_scale=variant.base_scale if flavour.base_scale is None else flavour.base_scale,
        shapes=flavour.shapes,
        shapes_outer=flavour.shapes_outer,
    )
    if flavour.parts == "toandaominh":
        if parts is not None:
            raise ValueError("toandaominh1997's EfficientDet exists for its own backbones only")
        from pagoda.zoo.toandaominh import restrided_parts  # of one flavour alone

        backbone, neck, class_head, box_head = restrided_parts(
            variant.backbone, options, width=variant.width, cells=variant.cells, num_classes=len(labels)
        )
    else:
        backbone, neck = parts or _published_parts(variant, options, flavour)
        head = partial(
            SeparableHead,
            neck.channels,
            depth=variant.head_depth if options.head_depth is None else options.head_depth,
            norm=options.head_norm or flavour.head_norm,
            activation=flavour.head_activation or options.activation or variant.activation,
            conv_bias=flavour.conv_bias,
        )
        per_cell = len(anchors.of_cell())
        class_head, box_head = head(outputs=per_cell * len(labels)), head(outputs=per_cell * 4)
    return EfficientDet(
        backbone,
        neck,
        class_head=class_head,
        box_head=box_head,
        label_map=labels,
        input_spec=inputs.input_spec(options, input_spec(variant, flavour)),
        anchors=anchors,
        coder=flavour.coder,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def variant_options(flavour: EfficientDetFlavour) -> type[VariantOptions] | type[RestridedOptions]:
    """What can be chosen of a published variant in one flavour's conventions.

    >>> variant_options(GOOGLE).__name__
    'VariantOptions'
    """
    return RestridedOptions if flavour.parts == "toandaominh" else VariantOptions


def _published_parts(
    variant: Variant, options: VariantOptions, flavour: EfficientDetFlavour
) -> tuple[TimmBackbone, BiFPN]:
    """EfficientNet and the BiFPN on it."""
    backbone = TimmBackbone(
        f"{'tf_' if flavour.tensorflow else ''}efficientnet_{variant.backbone}",
        levels=(3, 4, 5),
        bn_momentum=NORM_MOMENTUM,
        in_channels=3 if options.in_channels is None else options.in_channels,
        drop_path_rate=variant.drop_path_rate if options.drop_path_rate is None else options.drop_path_rate,
        frozen_stages=0 if options.frozen_stages is None else options.frozen_stages,
    )
    neck = BiFPN(
        backbone.channels,
        variant.width if options.width is None else options.width,
        cells=variant.cells if options.cells is None else options.cells,
        top_level=variant.top_level if options.top_level is None else options.top_level,
        fusion=options.fusion or variant.fusion,
        topology=TOPOLOGIES[options.topology or "bifpn"],
        activation=options.activation or variant.activation,
        norm=options.neck_norm or "batch",
        padding=flavour.padding,
        conv_bias=flavour.conv_bias,
        resampling=flavour.resampling,
    )
    return backbone, neck


def input_spec(
    variant: Variant, flavour: EfficientDetFlavour = GOOGLE, canvas: tuple[int, int] | None = None
) -> InputSpec:
    """Pictures fitted into the variant's square, or into another frame.

    >>> variant = VARIANTS["efficientdet_d1"]
    >>> input_spec(variant).canvas, input_spec(variant, canvas=(320, 480)).canvas
    ((640, 640), (320, 480))
    """
    spec = flavour.lite_input if variant.is_lite else flavour.input_spec
    # toandaominh1997 has a size for each variant, too, but its resizer never asks.
    side = 512 if flavour.parts == "toandaominh" else variant.side
    return replace(spec, canvas=canvas or (side, side))
