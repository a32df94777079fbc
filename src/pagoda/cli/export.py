"""pagoda export CKPT MODEL.onnx, MODEL.xml"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from pagoda.cli.arguments.parsing import open_checkpoint, parse
from pagoda.data.formats.reader import open_annotations
from pagoda.data.reading.splits import chosen_with
from pagoda.detectors.contract import Detector
from pagoda.evaluation.comparing import ap_differences
from pagoda.exporting.clips.engines import names_of_two
from pagoda.exporting.clips.export import NO_LOOKS, export_clips
from pagoda.exporting.onnx import check_exportable, export_onnx, saying_looks
from pagoda.exporting.openvino import CALIBRATION_PICTURES, Int8Report, export_int8, export_openvino
from pagoda.exporting.parity import ParityReport
from pagoda.exporting.raw_heads import RawHeadsReport, export_raw_heads
from pagoda.files.drafts import sweep_drafts
from pagoda.files.text import json_text
from pagoda.messages import counted
from pagoda.pictures.read import list_pictures, read_picture
from pagoda.plain import checked
from pagoda.progress import Progress
from pagoda.recipes.datasets import check_scorable, dataset_for
from pagoda.structures.thresholds import below

MAX_COMPARED = 16
"""pictures that file and model are compared on"""


@checked
@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write an ONNX or OpenVINO file with pre- and post-processing inside; it is compared with the model first.

    pagoda export runs/NAME-1/best.safetensors model.onnx --pictures "DIR/images/*.jpg"
    pagoda export runs/NAME-1/best.safetensors model.xml --int8 --calibrate DIR/images/train --data DIR
    pagoda export runs/NAME-1/best.safetensors heads.onnx --raw-heads --size 480 640

    Outputs: boxes, scores, labels; of Mask R-CNN masks (batch, detections, height, width) of whole pictures, and
    mask_probabilities inside boxes; of Keypoint R-CNN keypoints and keypoint_scores. The file's metadata names classes,
    skeleton and thresholds.

    Detect-and-Track takes the frames of one clip and gives tubes; --sliding makes two files of it, so that the work on
    a frame is done once for all clips it is in.

    An int8 file is written if its AP on --data is at most --max-ap-loss points below the model's.
    """

    common = ("pictures", "min_score", "max_detections", "int8", "calibrate", "data", "split", "overwrite")

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """a .safetensors file of a run, or another program's checkpoint: a file or an address"""
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL.onnx|MODEL.xml")]
    """the file to write: .onnx, or .xml for OpenVINO, whose weights go into the .bin beside it"""
    pictures: tuple[str, ...] = ()
    """pictures, folders or globs to compare on; default: drawn ones"""
    min_score: float | None = None
    """the file gives no objects below this score; default: the model's own"""
    max_detections: int | None = None
    """of a picture; default: the model's own"""
    size: tuple[int, int] | None = None
    """height and width in pixels where the file shall take that size only, one picture at a time, scaled into it"""
    half: bool = False
    """float16 weights, half the bytes; in .onnx float16 arithmetic too, which pays on GPUs"""
    sliding: bool = False
    """of models of clips: MODEL.frames.onnx and MODEL.clips.onnx (.xml), each of use with the other alone"""
    raw_heads: bool = False
    """.onnx: the network alone, for TensorRT, OpenCV and others; the metadata say how its outputs become boxes"""
    appearance: bool = False
    """another output that says what objects look like, which pagoda track and the runtime then compare"""
    opset: int = 18
    """.onnx: 18 … 23, where a runtime asks for one"""
    int8: bool = False
    """backbone, neck and heads of the .xml compute in eight bits: quicker, most where the processor has VNNI"""
    calibrate: tuple[str, ...] = ()
    """pictures, folders or globs that set the scales of --int8: some 300 of the kind it will see"""
    data: str = ""
    """dataset folder whose annotations judge --int8"""
    split: str = "val"
    """which part of --data"""
    max_ap_loss: float = 0.5
    """points of AP, of boxes, masks or keypoints, that --int8 may lose"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    overwrite: bool = False
    """write even where the file is there already"""
    json: bool = False
    """print the comparison as JSON"""

    def __post_init__(self) -> None:
        ending = Path(self.output).suffix.lower()
        if ending not in (".onnx", ".xml"):
            raise ValueError(f"pagoda export writes .onnx (ONNX) or .xml (OpenVINO), got {self.output!r}")
        onnx = ending == ".onnx"
        if onnx and self.int8:
            raise ValueError(
                "--int8: for OpenVINO files; name one, as in pagoda export CHECKPOINT model.xml --int8"
            )
        of_onnx = {"--raw-heads": self.raw_heads, "--opset": self.opset != 18}
        if not onnx and any(of_onnx.values()):
            flags = " and ".join(flag for flag, given in of_onnx.items() if given)
            raise ValueError(
                f"{flags}: for ONNX files; name one, as in pagoda export CHECKPOINT model.onnx {flags}"
            )
        built_in = {"--min-score": self.min_score, "--max-detections": self.max_detections}
        useless = [flag for flag, value in built_in.items() if self.raw_heads and value is not None]
        if useless:
            raise ValueError(
                f"{' and '.join(useless)}: raw heads select nothing; leave --raw-heads or these out"
            )
        if self.raw_heads and self.appearance:
            raise ValueError(
                "--appearance: of whole detectors; raw heads find no objects that could look like anything"
            )
        apart = {"--raw-heads": self.raw_heads, "--int8": self.int8}
        if self.sliding and any(apart.values()):
            raise ValueError(
                f"--sliding goes without {' and '.join(flag for flag, given in apart.items() if given)}"
            )
        if self.half and self.int8:
            raise ValueError("--half and --int8 are two ways to fewer bits; say one of them")
        of_int8 = {"--calibrate": self.calibrate, "--data": self.data}
        lacking = [flag for flag, value in of_int8.items() if self.int8 and not value]
        if lacking:
            raise ValueError(
                f"--int8 needs {' and '.join(lacking)}: pictures that set its scales (--calibrate DIR, some 300), and"
                " annotated ones that judge it (--data DIR)"
            )
        unused = [flag for flag, value in of_int8.items() if value and not self.int8]
        if unused:
            raise ValueError(f"{' and '.join(unused)}: for --int8 alone")


def main(arguments: Sequence[str]) -> int:
    command = parse(ExportCommand, "export", arguments)
    model = open_checkpoint(command.checkpoint, command.model, command.take)
    sweep_drafts(Path(command.output).parent)
    report = _int8(command, model) if command.int8 else _compared(command, model)
    written = names_of_two(Path(command.output)) if command.sliding else (command.output,)
    told = f"{report.summary()}\nwritten: {' and '.join(map(str, written))}"
    print(json_text(report.to_dict()) if command.json else told)
    if model.thresholds is not None and not command.raw_heads:
        bar = model.postprocess.min_score if command.min_score is None else command.min_score
        note = below(model.thresholds, model.label_map, float(bar))
        print("\n".join(filter(None, (model.thresholds.text(model.label_map), note))), file=sys.stderr)
    return 0


def _compared(command: ExportCommand, model: Detector) -> ParityReport | RawHeadsReport:
    pictures = _read(command.pictures, model, MAX_COMPARED) or None
    form = {"size": command.size, "half": command.half, "overwrite": command.overwrite}
    if command.raw_heads:
        return export_raw_heads(model, command.output, pictures=pictures, opset=command.opset, **form)
    limits = {"min_score": command.min_score, "max_detections": command.max_detections}
    if command.sliding and not model.sees_clips:
        raise ValueError(
            f"--sliding is for models of clips, and {type(model).__name__} looks at single pictures; leave it out"
        )
    if model.sees_clips:
        if command.appearance:
            raise ValueError(NO_LOOKS)
        more = {"sliding": command.sliding, "opset": command.opset}
        return export_clips(model, command.output, pictures=pictures, **more, **limits, **form)
    form["appearance"] = command.appearance
    if Path(command.output).suffix.lower() == ".onnx":
        return export_onnx(model, command.output, pictures=pictures, opset=command.opset, **limits, **form)
    return export_openvino(model, command.output, pictures=pictures, **limits, **form)


def _int8(command: ExportCommand, model: Detector) -> Int8Report:
    check_exportable(model, command.size)
    model = saying_looks(model) if command.appearance else model
    with chosen_with("--split"):
        data = dataset_for(model, open_annotations(command.data, command.split))
    check_scorable(model, data, flag="--split")
    if data.annotations.ignored.all():
        raise ValueError(
            f"no object of {data.annotations.source} counts, so nothing says what int8 loses; choose another --split"
        )
    print(f"calibrating, then scoring on {counted(len(data), 'picture')} …", file=sys.stderr)
    with Progress() as bar:
        scored = bar.task("calibrating and scoring", 2 * len(data))  # of the file and of its model
        return export_int8(
            model,
            command.output,
            calibration=_read(command.calibrate, model, CALIBRATION_PICTURES),
            compare=partial(ap_differences, dataset=data, progress=scored),
            max_ap_loss=command.max_ap_loss,
            min_score=command.min_score,
            max_detections=command.max_detections,
            size=command.size,
            overwrite=command.overwrite,
        )


def _read(sources: Sequence[str], model: Detector, at_most: int) -> list[np.ndarray]:
    """All of them, or every second, third … where there are more than that."""
    files = [file for source in sources for file in list_pictures(source)]
    step = max(1, -(-len(files) // at_most))
    return [read_picture(file, channels=model.input_spec.read_channels) for file in files[::step]]
