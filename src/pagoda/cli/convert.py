"""pagoda convert IN OUT"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse, read_labels, refuse_existing, warnings_as_notes
from pagoda.convert.read import convert
from pagoda.convert.report import ConversionReport
from pagoda.convert.write_checkpoint import WayBackReport, write_for
from pagoda.convert.write_darknet import write_darknet
from pagoda.files.text import json_text
from pagoda.models import load, local_file
from pagoda.plain import checked
from pagoda.weights.files import has_card, save_weights

SUFFIXES = {"darknet": ".weights"}
"""of programs whose files end otherwise than .pth"""


@checked
@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """Turn another program's checkpoint into one of Pagoda, or one of Pagoda into another program's.

    pagoda convert FCOS_imprv_R_50_FPN_1x.pth fcos.safetensors
    pagoda convert my_model_final.pth mine.safetensors --labels names.txt
    pagoda convert fcos.safetensors back.pth --to fcos
    pagoda convert yolov1.weights yolov1.safetensors --cfg yolov1.cfg
    """

    common = ("to", "cfg", "labels", "flavour", "take", "overwrite")

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """a file or an address: https://… or hf:OWNER/REPO/FILE"""
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """the .safetensors file to write; with --to a .pth, for darknet a .weights"""
    flavour: str = ""
    """the conventions it was trained in, where the file does not tell; `pagoda models` lists them"""
    labels: str = ""
    """its classes, where they are not the published ones: a file with a name per line, or a COCO file"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    cfg: str = ""
    """darknet's file with the network of a .weights; else the .cfg beside it, or the published one of its size"""
    num_classes: int | None = None
    """how many you expect; another number is an error"""
    allow_missing: bool = False
    """go on where the file lacks tensors (they keep their initial values) or has some without a place"""
    to: str = ""
    """the program to write for: fcos, maskrcnn_benchmark, detectron2, adelaidet, torchvision, mmdet, bubbliiiing,
    darknet"""
    overwrite: bool = False
    """write even where the file is there already"""
    json: bool = False
    """print the report as JSON, with every tensor named"""


def main(arguments: Sequence[str]) -> int:
    command = parse(ConvertCommand, "convert", arguments)
    suffix = SUFFIXES.get(command.to, ".pth") if command.to else ".safetensors"
    if not command.output.endswith(suffix):
        raise ValueError(f"the file to write should end in {suffix}, got '{command.output}'")
    refuse_existing(command.output, overwrite=command.overwrite)
    report = _write_theirs(command) if command.to else _write_ours(command)
    print(json_text({**report.to_dict(), "written": command.output}) if command.json else report.text())
    if not command.json:
        print(f"written: {command.output}")
    return 0


def _write_ours(command: ConvertCommand) -> ConversionReport:
    source = local_file(command.source)
    if has_card(source):
        raise ValueError(
            f"{source} is a checkpoint of Pagoda already; --to PROGRAM writes one for another program"
        )
    conversion = convert(
        source,
        flavour=command.flavour or None,
        label_map=read_labels(command.labels) if command.labels else None,
        num_classes=command.num_classes,
        allow_missing=command.allow_missing,
        take=command.take or None,
        cfg=command.cfg or None,
    )
    save_weights(command.output, conversion.model.state_dict(), conversion.model.card())
    return conversion.report


def _write_theirs(command: ConvertCommand) -> WayBackReport:
    if command.allow_missing:
        raise ValueError("--allow-missing is for reading another program's file; it does nothing with --to")
    if command.cfg:
        raise ValueError("--cfg describes a .weights file that is read; with --to one is written beside OUT")
    with warnings_as_notes():
        model = load(
            command.source,
            flavour=command.flavour or None,
            label_map=read_labels(command.labels) if command.labels else None,
            num_classes=command.num_classes,
            take=command.take or None,
        )
    if command.to == "darknet":
        return write_darknet(model, command.output)
    return write_for(model, command.to, command.output)
