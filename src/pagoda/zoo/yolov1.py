"""YOLOv1: darknet's networks layer by layer, as published, and a head of cells on any backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from pagoda.backbones.darknet import DarknetTrunk
from pagoda.detectors.yolov1 import YOLOv1
from pagoda.heads.cells import ConnectedCellHead, ConvCellHead
from pagoda.layers.darknet_layer import DarknetLayer, LayerActivation
from pagoda.plain import checked
from pagoda.structures.labels import LabelMap
from pagoda.zoo.backbones import body_levels, body_options, build_body
from pagoda.zoo.flavours.base import Flavour
from pagoda.zoo.flavours.yolov1 import YOLOv1Flavour
from pagoda.zoo.inputs import input_spec
from pagoda.zoo.option_groups import (
    CanvasOptions,
    ChannelOptions,
    ConvCellOptions,
    DarknetOptions,
    LevelOptions,
    YOLOv1Options,
)
from pagoda.zoo.options import ModelName, ModelOptions, given, with_usual

LEVELS = (5,)
USUAL = {"width": 256, "head_depth": 2}
OF_MAPS = ("convolutional", "maxpool")


@checked
@dataclass(frozen=True, kw_only=True)
class DarknetNet:
    """A network of darknet: its layers, and what its last one says.

    >>> NETS["yolov1"].num_boxes, NETS["yolov1_tiny"].side, len(NETS["yolov1_tiny"].layers)
    (3, 7, 15)
    """

    layers: tuple[DarknetLayer, ...]
    """all of them; the last is connected, and gets as many outputs as there are classes and boxes to tell"""
    side: int = 7
    """cells along each side"""
    num_boxes: int = 2
    """of a cell"""
    classes: int = 20
    """of the published weights"""
    canvas: tuple[int, int] = (448, 448)
    """(height, width) in pixels of its pictures"""


def conv(outputs: int, size: int, stride: int = 1, *, norm: bool = True) -> DarknetLayer:
    """A convolution that keeps the size, but for its stride, then leaky.

    >>> conv(64, 7, 2).padding
    3
    """
    return DarknetLayer(
        kind="convolutional",
        outputs=outputs,
        size=size,
        stride=stride,
        padding=size // 2,
        batch_norm=norm,
        activation="leaky",
    )


@checked
def connected(outputs: int, activation: LayerActivation = "linear") -> DarknetLayer:
    """A fully connected layer.

    >>> connected(4096, "leaky").kind
    'connected'
    """
    return DarknetLayer(kind="connected", outputs=outputs, activation=activation)


POOL = DarknetLayer(kind="maxpool", size=2, stride=2, padding=1)
DROPOUT = DarknetLayer(kind="dropout")


def full_trunk(*, norm: bool) -> tuple[DarknetLayer, ...]:
    """The 24 convolutions of the paper's figure, whose first 20 were trained on ImageNet.

    >>> sum(layer.kind == "convolutional" for layer in full_trunk(norm=True))
    24
    """

    def pairs(narrow: int, wide: int, count: int) -> list[DarknetLayer]:
        return [
            layer for _ in range(count) for layer in (conv(narrow, 1, norm=norm), conv(wide, 3, norm=norm))
        ]

    return (
        conv(64, 7, 2, norm=norm), POOL,
        conv(192, 3, norm=norm), POOL,
        *pairs(128, 256, 1), *pairs(256, 512, 1), POOL,
        *pairs(256, 512, 4), *pairs(512, 1024, 1), POOL,
        *pairs(512, 1024, 2),
        conv(1024, 3, norm=norm), conv(1024, 3, 2, norm=norm), conv(1024, 3, norm=norm), conv(1024, 3, norm=norm),
    )  # fmt: skip


def pooled(widths: Sequence[int], *, norm: bool) -> tuple[DarknetLayer, ...]:
    """3×3 convolutions, each with a pool behind it.

    >>> [layer.kind for layer in pooled((16, 32), norm=True)]
    ['convolutional', 'maxpool', 'convolutional', 'maxpool']
    """
    return tuple(layer for width in widths for layer in (conv(width, 3, norm=norm), POOL))


LOCAL = DarknetLayer(kind="local", outputs=256, size=3, padding=1, activation="leaky")
NETS = MappingProxyType(
    {
        "yolov1": DarknetNet(layers=(*full_trunk(norm=True), LOCAL, DROPOUT, connected(1715)), num_boxes=3),
        "yolov1_tiny": DarknetNet(
            layers=(
                *pooled((16, 32, 64, 128, 256, 512), norm=True), conv(1024, 3), conv(256, 3), connected(1470),
            )
        ),
        "yolov1_paper": DarknetNet(
            layers=(*full_trunk(norm=False), connected(4096, "leaky"), DROPOUT, connected(1470))
        ),
        "yolov1_small_2015": DarknetNet(
            layers=(
                *full_trunk(norm=False), connected(512, "leaky"), connected(4096, "leaky"), DROPOUT, connected(1470),
            )
        ),
        "yolov1_tiny_2015": DarknetNet(
            layers=(
                *pooled((16, 32, 64, 128, 256, 512), norm=False), *[conv(1024, 3, norm=False)] * 3,
                connected(256), connected(4096, "leaky"), DROPOUT, connected(1470),
            )
        ),
    }
)  # fmt: skip
"""{name: network}: those of darknet's cfg/yolov1.cfg and cfg/yolov1-tiny.cfg today, and of its first ones of 2015"""


def yolov1(name: ModelName, labels: LabelMap, options: YOLOv1Options, flavour: YOLOv1Flavour) -> YOLOv1:
    """A network of darknet, or a head of cells on a backbone, in one flavour's conventions.

    Raises ValueError for layers whose last is not connected, and for a grid asked for where the map decides.
    """
    if isinstance(options, DarknetOptions):
        return _of_darknet(name, labels, options, flavour)
    options = with_usual(options, USUAL)
    body = build_body(name.backbone, options, flavour.body, body_levels(options, LEVELS))
    head = ConvCellHead(
        body.channels,
        num_classes=len(labels),
        num_boxes=given(options.num_boxes, 2),
        width=given(options.width, 0),
        depth=given(options.head_depth, 0),
        norm=options.head_norm or flavour.head_norm,
        prior=-2.0 if flavour.coder.sigmoid else 0.0,
    )
    return YOLOv1(
        body,
        head,
        label_map=labels,
        input_spec=input_spec(options, flavour.input_spec),
        coder=flavour.coder,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def _of_darknet(name: ModelName, labels: LabelMap, options: DarknetOptions, flavour: YOLOv1Flavour) -> YOLOv1:
    if options.width is not None:
        raise ValueError(f"{name} has no one width; its layers have theirs: leave width out")
    net = NETS[variant_name(name)]
    spec = input_spec(options, replace(flavour.input_spec, canvas=net.canvas))
    layers = darknet_layers(name, options, len(labels))
    side, num_boxes = given(options.side, net.side), given(options.num_boxes, net.num_boxes)
    first = next((place for place, layer in enumerate(layers) if layer.kind not in OF_MAPS), len(layers))
    canvas = spec.canvas or net.canvas
    in_channels = given(options.in_channels, 3)
    try:
        trunk = DarknetTrunk(layers[:first], size=canvas, norm=flavour.cell_norm, in_channels=in_channels)
    except ValueError as error:
        raise ValueError(f"the layers of {name} do not go with canvas={canvas}: {error}") from error
    head = ConnectedCellHead(
        trunk.shape,
        layers[first:],
        side=side,
        num_classes=len(labels),
        num_boxes=num_boxes,
        norm=flavour.cell_norm,
    )
    return YOLOv1(
        trunk,
        head,
        label_map=labels,
        input_spec=spec,
        coder=flavour.coder,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def darknet_layers(name: ModelName, options: DarknetOptions, num_classes: int) -> tuple[DarknetLayer, ...]:
    """All layers of a network; the last has the outputs that so many classes need.

    >>> tiny = ModelName("yolov1", "tiny", "")
    >>> darknet_layers(tiny, DarknetOptions(side=3), num_classes=1)[-1].outputs  # 9 · (1 + 10)
    99
    """
    net = NETS[variant_name(name)]
    layers = options.layers or net.layers
    side, num_boxes = given(options.side, net.side), given(options.num_boxes, net.num_boxes)
    if layers[-1].kind != "connected":
        return layers
    return (*layers[:-1], replace(layers[-1], outputs=side * side * (num_classes + 5 * num_boxes)))


def variant_name(name: ModelName) -> str:
    """The name in `NETS`.

    >>> variant_name(ModelName("yolov1", "tiny", "", "darknet")), variant_name(ModelName("yolov1", "", ""))
    ('yolov1_tiny', 'yolov1')
    """
    return str(name._replace(flavour=""))


def yolov1_options(name: ModelName, flavour: Flavour) -> tuple[type[ModelOptions], ...]:
    """The option groups of a YOLOv1 of this name."""
    if variant_name(name) in NETS:
        return (DarknetOptions,)
    return (ConvCellOptions, LevelOptions, *body_options(name.backbone), ChannelOptions, CanvasOptions)
