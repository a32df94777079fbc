"""Darknet's `.weights`, whose network stands in a `.cfg` file or is told by the number of bytes, as a model of ours."""

from dataclasses import replace
from math import prod
from pathlib import Path

from torch import Tensor, nn

from pagoda.backbones.darknet import DarknetTrunk
from pagoda.convert.assign import not_finite
from pagoda.convert.conversion import Conversion
from pagoda.convert.darknet.cfg import DarknetConfig, read_cfg
from pagoda.convert.darknet.weights_file import (
    count_numbers,
    entries_of,
    guess_net,
    read_header,
    read_weights,
)
from pagoda.convert.report import ConversionReport
from pagoda.convert.tensor_slices import Place
from pagoda.detectors.contract import Detector
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.layers.unallocated import WithoutMemory
from pagoda.messages import counted
from pagoda.structures.labels import LabelMap
from pagoda.weights.file_types import WeightsError
from pagoda.weights.shards import sha256_of
from pagoda.zoo.cards import with_state
from pagoda.zoo.class_names import published_classes
from pagoda.zoo.families import FAMILIES, build_detector
from pagoda.zoo.flavours.base import Flavour
from pagoda.zoo.flavours.yolov1 import DARKNET, YOLOv1Flavour
from pagoda.zoo.option_groups import DarknetOptions
from pagoda.zoo.options import ModelName, check_known
from pagoda.zoo.yolov1 import NETS

ENDING = ".weights"
CENTERED = (0.5, 0.5, 0.5)
"""mean and std that make −1 … 1 of pixels of 0 … 1"""
LAST = DarknetLayer(kind="connected")
"""behind a trunk that is looked at alone"""
LICENCE = "YOLO LICENSE version 2 (public domain)"


def is_darknet(path: str | Path) -> bool:
    """By its name: the file itself does not tell.

    >>> is_darknet("yolov1.weights"), is_darknet("fcos.pth")
    (True, False)
    """
    return Path(path).suffix.lower() == ENDING


def convert_darknet(
    path: str | Path,
    cfg: str | Path | None = None,
    *,
    flavour: str | Flavour | None = None,
    label_map: LabelMap | None = None,
    num_classes: int | None = None,
) -> Conversion:
    """The model of a `.weights` file. Without `cfg` it is the published network whose files have as many bytes.

    A flavour as an object is taken for all that a `.cfg` does not say. Raises WeightsError for a file that does not fit
    its network, or none that is known, and as `read_cfg` does.
    """
    path = Path(path)
    name, config, notes = _network(path, cfg)
    if num_classes not in (None, config.net.classes):
        raise WeightsError(
            f"{path} was trained on {counted(config.net.classes, 'class', 'classes')}, not {num_classes}"
        )
    conventions = _conventions(config, flavour, is_told=cfg is not None)
    labels = label_map or published_classes(conventions.class_names, config.net.classes)
    if len(labels) != config.net.classes:
        raise WeightsError(
            f"{path} was trained on {counted(config.net.classes, 'class', 'classes')} but the label map names"
            f" {len(labels)}"
        )
    options = DarknetOptions()
    if name is None:
        options = replace(
            options,
            layers=config.net.layers,
            side=config.net.side,
            num_boxes=config.net.num_boxes,
            canvas=config.net.canvas,
            **({} if config.in_channels == 3 else {"in_channels": config.in_channels}),
        )
    parts = ModelName("yolov1", (name or "yolov1").removeprefix("yolov1").removeprefix("_"), "", "darknet")

    def build() -> Detector:
        return build_detector(parts, labels, options, conventions)

    entries = entries_of(config.net.layers, (config.in_channels, *config.net.canvas))
    header, tensors = read_weights(path, entries)  # bytes are compared before anything is built
    with WithoutMemory():
        model = build()
    model = with_state(model, _with_counters(model, tensors), build)
    report = ConversionReport(
        file=path.name,
        sha256=sha256_of(path),
        source="darknet YOLOv1",
        licence=LICENCE,
        model=str(parts),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        taken=len(tensors),
        notes=[*notes, f"header {header.text()} pictures"],
        not_finite=not_finite(tensors, tensors),
    )
    model.origin = {**(model.origin or {}), "provenance": {**report.provenance(), "header": header.text()}}
    return Conversion(model.eval(), report, {name: Place(name) for name in tensors})


def fill_trunk(trunk: DarknetTrunk, path: Path) -> ConversionReport:
    """Fill the first layers of a trunk with a file that holds them alone, as darknet's `partial` writes them.

    How many these are tells the file's length. Raises WeightsError where it ends within a layer.
    """
    header, size = read_header(path), path.stat().st_size
    described = entries_of((*trunk.described, LAST), trunk.input_shape)[:-2]
    entries = [replace(entry, name=entry.name.removeprefix("backbone.")) for entry in described]
    ends, count = [], 0
    for entry in entries:
        count += prod(entry.shape)
        ends.append(len(header.packed()) + 4 * count)
    last_of_layers = [
        end
        for end, entry, after in zip(ends, entries, [*entries[1:], None], strict=True)
        if after is None or after.name.split(".")[1] != entry.name.split(".")[1]
    ]
    if size not in last_of_layers:
        raise WeightsError(
            f"{path} has {size:,} bytes, where none of the first layers of this trunk ends: they end at"
            f" {', '.join(f'{end:,}' for end in last_of_layers)}"
        )
    held = entries[: ends.index(size) + 1]
    _, tensors = read_weights(path, held)
    trunk.load_state_dict(tensors, strict=False)
    return ConversionReport(
        file=path.name,
        sha256=sha256_of(path),
        source="darknet",
        licence=LICENCE,
        model=type(trunk).__name__,
        parameters=sum(parameter.numel() for parameter in trunk.parameters()),
        taken=len(tensors),
        missing=[entry.name for entry in entries[len(held) :]],
        not_finite=not_finite(tensors, tensors),
    )


def _network(path: Path, cfg: str | Path | None) -> tuple[str | None, DarknetConfig, list[str]]:
    """(name of the published network, or None, what describes it, how it was found)."""
    if cfg is None and path.with_suffix(".cfg").is_file():
        cfg = path.with_suffix(".cfg")
    if cfg is not None:
        config = read_cfg(cfg)
        name = next((name for name, net in NETS.items() if net == config.net), None)
        return name, config, [f"network as {cfg} describes it"]
    guessed = guess_net(path)
    if guessed is None:
        size, header = path.stat().st_size, read_header(path)
        known = ", ".join(
            f"{name} {len(header.packed()) + 4 * count_numbers(net.layers, (3, *net.canvas)):,}"
            for name, net in NETS.items()
        )
        raise WeightsError(
            f"{path} has {size:,} bytes, as no published network has ({known}); say which it is: --cfg FILE.cfg of"
            " pagoda convert, or put that file beside it under the same name"
        )
    name, net = guessed
    config = DarknetConfig(net=net)
    notes = [f"taken for {name} by its {path.stat().st_size:,} bytes; --cfg FILE.cfg overrules"]
    if not any(layer.batch_norm for layer in net.layers):
        notes.append(
            "pixels 0 … 1; some of the .cfg of 2015 begin with [crop], which makes them -1 … 1: give yours"
        )
    return name, config, notes


def _conventions(config: DarknetConfig, flavour: str | Flavour | None, *, is_told: bool) -> YOLOv1Flavour:
    base: Flavour = DARKNET
    if isinstance(flavour, Flavour):
        base = flavour
    elif flavour is not None:
        known = FAMILIES["yolov1"].flavours
        check_known("flavour of yolov1", flavour, [each for each in known if each])
        base = known[flavour]
    if not isinstance(base, YOLOv1Flavour):
        raise ValueError(f"a network of darknet needs a YOLOv1Flavour, got {type(base).__name__}")
    if isinstance(flavour, Flavour) and not is_told:
        return base
    if config.is_centered:
        base = replace(base, input_spec=replace(base.input_spec, mean=CENTERED, std=CENTERED))
    return replace(base, coder=config.coder, criterion=config.criterion)


def _with_counters(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """With what PyTorch's norms count besides."""
    counters = {
        name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")
    }
    return {**tensors, **counters}
