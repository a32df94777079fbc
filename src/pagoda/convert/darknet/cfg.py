"""Darknet's `.cfg` files of networks with a [detection] layer: text to layers, nothing is run.

What is not known is refused by its name and line, since it might change what the network computes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pagoda.criteria.yolov1 import YOLOv1Criterion
from pagoda.files.text import read_text
from pagoda.layers.darknet_layer import MOST_LAYERS, WIDEST, DarknetLayer, Shape, shapes_of
from pagoda.messages import did_you_mean
from pagoda.ops.cells import CellCoder
from pagoda.plain import checked
from pagoda.weights.file_types import WeightsError
from pagoda.zoo.flavours.yolov1 import YOLOv1Flavour
from pagoda.zoo.yolov1 import DarknetNet

LONGEST = 2**20
"""bytes; published files have a few thousand"""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
OF_TRAINING = {
    "batch", "subdivisions", "time_steps", "momentum", "decay", "learning_rate", "policy", "steps", "scales", "step",
    "scale", "gamma", "power", "burn_in", "max_batches", "angle", "aspect", "saturation", "exposure", "hue", "adam",
    "b1", "b2", "eps", "max_crop", "min_crop", "inputs", "random", "center", "clip",
}  # fmt: skip
"""of [net], which say how it was trained"""
KNOWN = {
    "net": {"height", "width", "channels", *OF_TRAINING},
    "crop": {"crop_height", "crop_width", "flip", "angle", "saturation", "exposure", "shift", "noadjust"},
    "convolutional": {"batch_normalize", "filters", "size", "stride", "pad", "padding", "activation"},
    "maxpool": {"size", "stride", "padding"},
    "local": {"filters", "size", "stride", "pad", "activation"},
    "dropout": {"probability"},
    "connected": {"output", "activation", "batch_normalize"},
    "detection": {
        "classes", "coords", "rescore", "side", "num", "softmax", "sqrt", "jitter", "object_scale", "noobject_scale",
        "class_scale", "coord_scale", "forced", "random", "max",
    },
}  # fmt: skip
SPELLED = {"network": "net", "conv": "convolutional", "max": "maxpool", "conn": "connected"}
"""other names of sections, as darknet takes them"""
OFF = {"groups": 1, "flipped": 0, "binary": 0, "xnor": 0, "dot": 0, "dontload": 0, "dontloadscales": 0}
"""which may stand in any section, if they ask for nothing"""
WORDS = ("policy", "activation", "steps", "scales")
"""whose values are no single numbers"""


@dataclass(frozen=True)
class Section:
    """One section of a file.

    >>> Section("maxpool", 9, {"size": ("2", 10)}).number("size", 0)
    2
    """

    kind: str
    """as darknet calls it, spelled out"""
    line: int
    """where it begins, counted from 1"""
    entries: Mapping[str, tuple[str, int]]
    """{name: (value, line)}"""

    def number(self, name: str, usual: int) -> int:
        """A whole number. Raises WeightsError with its line for anything else."""
        value = self.real(name, usual)
        if value != int(value) or not -1 <= value <= WIDEST:
            raise WeightsError(
                f"line {self.entries[name][1]}: {name} of [{self.kind}] must be a whole number from 0 to {WIDEST},"
                f" got '{self.entries[name][0][:40]}'"
            )
        return int(value)

    def real(self, name: str, usual: float) -> float:
        """A number; whole ones exceed nothing."""
        if name not in self.entries:
            return usual
        value, line = self.entries[name]
        if not NUMBER.fullmatch(value) or abs(float(value)) > 1e9:
            raise WeightsError(f"line {line}: {name} of [{self.kind}] must be a number, got '{value[:40]}'")
        return float(value)

    def flag(self, name: str, usual: int = 0) -> bool:
        """0 or 1."""
        value = self.number(name, usual)
        if value not in (0, 1):
            raise WeightsError(
                f"line {self.entries[name][1]}: {name} of [{self.kind}] must be 0 or 1, got {value}"
            )
        return bool(value)

    def word(self, name: str, usual: str) -> str:
        return self.entries.get(name, (usual, 0))[0]


@checked
@dataclass(frozen=True, kw_only=True)
class DarknetConfig:
    """What a file says of its network; how it was trained is left out.

    >>> text = '''[net]
    ... height=8
    ... width=8
    ... [connected]
    ... output=32
    ... activation=linear
    ... [detection]
    ... side=2
    ... num=1
    ... classes=3
    ... coords=4
    ... sqrt=1'''
    >>> config = parse_cfg(text)
    >>> config.net.layers[0].outputs, config.net.canvas, config.coder.roots
    (32, (8, 8), True)
    """

    net: DarknetNet
    """layers, grid, boxes, classes and canvas"""
    in_channels: int = 3
    """of the pictures"""
    is_centered: bool = False
    """pixels of 0 … 1 become −1 … 1 first, as a [crop] of the whole picture makes them"""
    coder: CellCoder = field(default_factory=CellCoder)
    """roots and softmax"""
    criterion: YOLOv1Criterion = field(default_factory=lambda: YOLOv1Criterion(claim="shuffled"))
    """weights of the errors"""


def read_cfg(path: str | Path) -> DarknetConfig:
    """The network of a `.cfg` file. Raises WeightsError with the file and the line of what cannot be used, and
    FileNotFoundError."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file at {path}")
    if path.stat().st_size > LONGEST:
        raise WeightsError(
            f"{path} has {path.stat().st_size:,} bytes; a configuration of darknet is a text of at most {LONGEST:,}"
        )
    try:
        return parse_cfg(read_text(path))
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error


def parse_cfg(text: str) -> DarknetConfig:
    """The network that the text of a `.cfg` file describes. Raises WeightsError with the line."""
    sections = list(_sections(text))
    if not sections or sections[0].kind != "net":
        raise WeightsError("a configuration begins with [net]")
    if len(sections) < 3 or sections[-1].kind != "detection":
        last = sections[-1].kind
        raise WeightsError(
            f"a network of this kind ends with [detection], got [{last}] in line {sections[-1].line}"
        )
    first, *inner, last = sections
    crop = inner.pop(0) if inner[0].kind == "crop" else None
    for section in inner:
        if section.kind in ("net", "crop", "detection"):
            raise WeightsError(f"line {section.line}: [{section.kind}] stands among the layers")
    layers = tuple(_layer(section) for section in inner)
    canvas = first.number("height", 0), first.number("width", 0)
    channels = first.number("channels", 3)
    if min(*canvas, channels) < 1:
        raise WeightsError(f"line {first.line}: [net] must say height, width and channels of the pictures")
    config = replace(_detection(last, layers, canvas, channels), is_centered=_is_centered(crop, canvas))
    _check_sizes(inner, layers, (channels, *canvas), config, last)
    return config


def _is_centered(crop: Section | None, canvas: tuple[int, int]) -> bool:
    """Raises WeightsError for a crop that leaves some of the picture out."""
    if crop is None:
        return False
    size = crop.number("crop_height", 1), crop.number("crop_width", 1)
    if size != canvas:
        raise WeightsError(
            f"line {crop.line}: a [crop] to {size} (height, width) of pictures of {canvas} is not computed here"
        )
    return not crop.flag("noadjust")


def _sections(text: str) -> Iterator[Section]:
    """In their order; every entry is known to its section."""
    kind, start, entries = "", 0, dict[str, tuple[str, int]]()
    count = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.sub(r"\s", "", raw)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if kind:
                yield Section(kind, start, entries)
            kind, start, entries = _kind(line, number), number, {}
            count += 1
            if count > MOST_LAYERS:
                raise WeightsError(f"line {number}: a network has at most {MOST_LAYERS} sections")
            continue
        name, equals, value = line.partition("=")
        if not equals or not kind:
            raise WeightsError(f"line {number}: expected [section] or name=value, got '{raw.strip()[:60]}'")
        _check_entry(kind, name, value, number, entries)
        entries[name] = value, number
    if kind:
        yield Section(kind, start, entries)


def _kind(line: str, number: int) -> str:
    kind = SPELLED.get(line[1:-1], line[1:-1])
    if not line.endswith("]") or kind not in KNOWN:
        raise WeightsError(
            f"line {number}: a section {line[:40]} is not known; read are networks of"
            f" {', '.join(f'[{each}]' for each in KNOWN)}"
        )
    return kind


def _check_entry(kind: str, name: str, value: str, number: int, entries: Mapping[str, object]) -> None:
    if name in entries:
        raise WeightsError(f"line {number}: {name} stands twice in this [{kind}]")
    if name in OFF:
        if value != str(OFF[name]):
            raise WeightsError(f"line {number}: {name}={value[:40]} of [{kind}] is not computed here")
        return
    if name not in KNOWN[kind]:
        near = did_you_mean(name[:40], sorted(KNOWN[kind]), cutoff=0.6)
        raise WeightsError(f"line {number}: [{kind}] has an entry '{name[:40]}' that is not known; {near}")


def _layer(section: Section) -> DarknetLayer:
    try:
        return _layer_of(section)
    except ValueError as error:
        if str(error).startswith("line "):
            raise
        raise WeightsError(f"line {section.line}: [{section.kind}]: {error}") from error


def _layer_of(section: Section) -> DarknetLayer:
    kind = section.kind
    if kind == "dropout":
        return DarknetLayer(kind="dropout", probability=section.real("probability", 0.5))
    # Without one, darknet's layers are logistic.
    activation: Any = section.word("activation", "logistic")
    if kind == "connected":
        return DarknetLayer(
            kind="connected",
            outputs=section.number("output", 1),
            batch_norm=section.flag("batch_normalize"),
            activation=activation,
        )
    stride = section.number("stride", 1)
    size = section.number("size", stride if kind == "maxpool" else 1)
    if kind == "maxpool":
        padding = section.number("padding", size - 1)
        return DarknetLayer(kind="maxpool", size=size, stride=stride, padding=padding)
    padding = size // 2 if section.flag("pad") else section.number("padding", 0)
    return DarknetLayer(
        kind="local" if kind == "local" else "convolutional",
        outputs=section.number("filters", 1),
        size=size,
        stride=stride,
        padding=padding,
        batch_norm=section.flag("batch_normalize"),
        activation=activation,
    )


def _detection(
    section: Section, layers: tuple[DarknetLayer, ...], canvas: tuple[int, int], channels: int
) -> DarknetConfig:
    coords = section.number("coords", 1)
    if coords != 4:
        raise WeightsError(f"line {section.line}: [detection] must say coords=4, got {coords}")
    side, num, classes = (
        section.number(name, usual) for name, usual in (("side", 7), ("num", 1), ("classes", 1))
    )
    if min(side, num, classes) < 1:
        raise WeightsError(f"line {section.line}: side, num and classes of [detection] begin at 1")
    if section.flag("forced"):
        raise WeightsError(
            f"line {section.entries['forced'][1]}: forced=1 of [detection] is not computed here"
        )
    return DarknetConfig(
        net=DarknetNet(layers=layers, side=side, num_boxes=num, classes=classes, canvas=canvas),
        in_channels=channels,
        coder=CellCoder(roots=section.flag("sqrt"), class_softmax=section.flag("softmax")),
        criterion=YOLOv1Criterion(
            claim="shuffled",
            rescore=section.flag("rescore"),
            **{
                name: section.real(name, 1.0)
                for name in ("object_scale", "noobject_scale", "class_scale", "coord_scale")
            },
        ),
    )


def _check_sizes(
    sections: list[Section],
    layers: tuple[DarknetLayer, ...],
    shape: tuple[int, int, int],
    config: DarknetConfig,
    last: Section,
) -> None:
    """Raises WeightsError where layers do not fit each other, or the last not the grid."""
    try:
        shapes = shapes_of(layers, shape)
    except ValueError as error:
        found = re.match(r"layer (\d+)", str(error))
        line = sections[int(found[1])].line if found else 1
        raise WeightsError(f"line {line}: {error}") from error
    net = config.net
    wanted = net.side**2 * (net.classes + 5 * net.num_boxes)
    if layers[-1].kind != "connected" or shapes[-1][0] != wanted:
        raise WeightsError(
            f"line {last.line}: [detection] of {net.side}×{net.side} cells, {net.classes} classes and {net.num_boxes}"
            f" boxes needs a [connected] layer of {wanted} numbers before it, got [{sections[-1].kind}] of"
            f" {shapes[-1][0]}"
        )


def cfg_text(
    layers: Sequence[DarknetLayer],
    shape: Shape,
    side: int,
    num_boxes: int,
    conventions: YOLOv1Flavour,
    num_classes: int,
    *,
    is_centered: bool = False,
) -> str:
    """The text of a `.cfg` that describes such a network of pictures (channels, height, width), as darknet reads it.

    `is_centered` as in `DarknetConfig`.

    Raises ValueError for a layer that such a file cannot describe.

    >>> layers = (DarknetLayer(kind="connected", outputs=2 * 2 * (3 + 5)),)
    >>> text = cfg_text(layers, (3, 8, 8), 2, 1, YOLOv1Flavour(), 3)
    >>> parse_cfg(text).net.layers == layers
    True
    """
    channels, height, width = shape
    sections = [
        ("net", {"batch": 1, "subdivisions": 1, "height": height, "width": width, "channels": channels})
    ]
    sections += [("crop", {"crop_height": height, "crop_width": width})] * is_centered
    sections += [(layer.kind, _entries_of(layer)) for layer in layers]
    criterion, coder = conventions.criterion, conventions.coder
    scales = ("object_scale", "noobject_scale", "class_scale", "coord_scale")
    detection: dict[str, object] = {
        "classes": num_classes, "coords": 4, "rescore": int(criterion.rescore), "side": side, "num": num_boxes,
        "softmax": int(coder.class_softmax), "sqrt": int(coder.roots),
        **{name: f"{getattr(criterion, name):g}" for name in scales},
    }  # fmt: skip
    sections.append(("detection", detection))
    blocks = [
        "\n".join([f"[{kind}]", *(f"{k}={v}" for k, v in entries.items())]) for kind, entries in sections
    ]
    return "\n\n".join(blocks) + "\n"


def _entries_of(layer: DarknetLayer) -> dict[str, object]:
    if layer.kind == "dropout":
        return {"probability": f"{layer.probability:g}"}
    norm = {"batch_normalize": 1} if layer.batch_norm else {}
    if layer.kind == "connected":
        return {**norm, "output": layer.outputs, "activation": layer.activation}
    window: dict[str, object] = {"size": layer.size, "stride": layer.stride}
    if layer.kind == "maxpool":
        return window if layer.padding == layer.size - 1 else {**window, "padding": layer.padding}
    if layer.padding == layer.size // 2:
        window["pad"] = 1
    elif layer.padding and layer.kind == "local":
        raise ValueError(
            f"a local layer of darknet has a padding of {layer.size // 2} or none, got {layer.padding}"
        )
    elif layer.padding:
        window["padding"] = layer.padding
    return {**norm, "filters": layer.outputs, **window, "activation": layer.activation}
