"""pagoda export CKPT model.onnx"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import open_checkpoint, parse
from pagoda.exporting.onnx import export_onnx
from pagoda.files.drafts import sweep_drafts
from pagoda.pictures.read import list_pictures, read_picture
from pagoda.plain import checked


@checked
@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write an ONNX file with pre- and post-processing inside; it is compared with the model first.

    pagoda export runs/NAME-1/best.safetensors model.onnx --pictures "DIR/images/*.jpg"

    Outputs: boxes, scores, labels; of Mask R-CNN masks (batch, detections, height, width) of whole pictures; of
    Keypoint R-CNN keypoints and keypoint_scores. The file's metadata names classes, skeleton and thresholds.
    """

    common = ("pictures", "min_score", "max_detections", "overwrite")

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """a .safetensors file of a run, or another program's checkpoint: a file or an address"""
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL.onnx")]
    """the .onnx file to write"""
    pictures: tuple[str, ...] = ()
    """pictures, folders or globs to compare on; default: drawn ones"""
    min_score: float | None = None
    """the file gives no objects below this score; default: the model's own"""
    max_detections: int | None = None
    """of a picture; default: the model's own"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    overwrite: bool = False
    """write even where the file is there already"""
    json: bool = False
    """print the comparison as JSON"""


def main(arguments: Sequence[str]) -> int:
    command = parse(ExportCommand, "export", arguments)
    model = open_checkpoint(command.checkpoint, command.model, command.take)
    files = [file for source in command.pictures for file in list_pictures(source)]
    sweep_drafts(Path(command.output).parent)
    report = export_onnx(
        model,
        command.output,
        pictures=[read_picture(file, channels=model.input_spec.read_channels) for file in files[:16]] or None,
        min_score=command.min_score,
        max_detections=command.max_detections,
        overwrite=command.overwrite,
    )
    print(json.dumps(report.to_dict()) if command.json else f"{report.summary()}\nwritten: {command.output}")
    return 0
