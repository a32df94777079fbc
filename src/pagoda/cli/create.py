"""pagoda create MODEL"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
import tyro

from pagoda.cli.arguments.model_options import options_typed
from pagoda.cli.arguments.parsing import parse, read_labels, refuse_existing
from pagoda.files.atomic import safe_name
from pagoda.files.text import json_text
from pagoda.messages import counted
from pagoda.models import create_model, load_backbone_weights
from pagoda.plain import checked
from pagoda.training.settings import to_plain
from pagoda.transfer.inflate import start_from
from pagoda.weights.files import save_weights
from pagoda.zoo.detect_and_track import DetectAndTrackOptions
from pagoda.zoo.options import ModelOptions


@checked
@dataclass(frozen=True, kw_only=True)
class CreateCommand:
    """Write a new model to a file: ready to train, to look at, or to fill from somewhere else.

    pagoda create fcos_resnet50_fpn --classes 3 --backbone-weights R-50.pkl
    pagoda create fcos_resnet50_fpn.original --labels names.txt --out start.safetensors --model.short-side 640
    pagoda create detect_and_track_resnet50_3d --labels person_keypoints.json --start-from keypoint_rcnn.safetensors
    """

    common = (
        "classes", "labels", "backbone_weights", "start_from", "out", "overwrite",
        "model.width", "model.short_side", "model.long_side", "model.canvas",
    )  # fmt: skip

    architecture: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """a name of `pagoda models`"""
    classes: int | None = None
    """how many; they are numbered"""
    labels: str = ""
    """file with a class name per line, or a COCO file whose categories are taken"""
    backbone_weights: str = ""
    """ImageNet weights of any known program: a file, an address, or timm:NAME (downloads)"""
    start_from: str = ""
    """a trained detector, a file or an address: what of it matches by name and shape is taken, kernels with a time
    axis where the model has one"""
    take: str = ""
    """which weights of either file, where it holds several: their key, or ema for the averaged ones"""
    model: ModelOptions = field(default_factory=ModelOptions)
    """what can be chosen of this model, as it is before anything is"""
    out: str = ""
    """the .safetensors file to write; default: MODEL.safetensors"""
    seed: int = 0
    """of everything that is not loaded"""
    overwrite: bool = False
    """write even where the file is there already"""
    json: bool = False
    """print the file, the number of parameters and what was loaded as JSON"""


BGR_BODIES = ("Caffe2 Detectron", "an ImageNet backbone of detectron2")
BGR_WARNING = (
    "these weights expect BGR pixels from 0 to 255 and stride in the 1×1, but this model does not: take a flavour"
    " that does, .improved, .detectron2 or Detect-and-Track's .original say"
)


def main(arguments: Sequence[str]) -> int:
    default = CreateCommand(architecture=tyro.MISSING, model=options_typed(CreateCommand, arguments))
    command = parse(CreateCommand, "create", arguments, default)
    if (command.classes is None) == (not command.labels):
        raise ValueError("pagoda create needs either --classes N or --labels FILE, and not both")
    given = [place for place in (command.backbone_weights, command.model.backbone_weights) if place]
    inflation = command.model.inflation if isinstance(command.model, DetectAndTrackOptions) else None
    if len(given) > 1:
        raise ValueError("--backbone-weights and --model.backbone-weights are the same; give one of them")
    if given and command.start_from:
        raise ValueError("--start-from fills the backbone, too; give either it or --backbone-weights")
    if inflation and not given and not command.start_from:
        raise ValueError("--model.inflation is for --backbone-weights or --start-from; give one of them")
    name = f"{safe_name(command.architecture)}.safetensors"  # timm's have colons
    out = refuse_existing(command.out or name, overwrite=command.overwrite)
    take = command.take or command.model.take
    if take and not given and not command.start_from:
        raise ValueError("--take is for --backbone-weights or --start-from; give one of them")
    torch.manual_seed(command.seed)
    model = create_model(
        command.architecture,
        num_classes=command.classes,
        label_map=read_labels(command.labels) if command.labels else None,
        **to_plain(command.model.without_weights()),
    )
    report = (
        load_backbone_weights(model.backbone, given[0], inflation=inflation, take=take) if given else None
    )
    started = None
    if command.start_from:
        started = start_from(model, command.start_from, inflation=inflation or "center", take=take)
    save_weights(out, model.state_dict(), model.card())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if command.json:
        loaded = {
            "backbone": report.to_dict() if report else None,
            "started_from": started.to_dict() if started else None,
        }
        print(json_text({"file": str(out), "parameters": parameters, **loaded}))
        return 0
    if started:
        print(started.text())
    if report:
        print(f"backbone, from {report.file}\n{report.text()}")
        if report.source in BGR_BODIES and model.input_spec.channel_order == "RGB":
            print(f"warning     {BGR_WARNING}")
    print(f"written: {out} ({parameters:,} parameters, {counted(len(model.label_map), 'class', 'classes')})")
    print(f"next: pagoda train {out} --data DIR")
    return 0
