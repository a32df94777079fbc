"""The network alone as an ONNX file, for TensorRT, OpenCV and others that decode and suppress themselves.

B pictures, P locations (or anchors) over all levels, finest first, row by row.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from pagoda.detectors.contract import Detector
from pagoda.detectors.dense import AnchorDetector, DenseDetector
from pagoda.detectors.yolov1 import YOLOv1
from pagoda.evaluating import evaluating
from pagoda.exporting.engines import OnnxEngine
from pagoda.exporting.metadata import metadata
from pagoda.exporting.onnx import check_exportable, check_form, check_free, check_installed, name_dimensions
from pagoda.exporting.optimize import optimize
from pagoda.exporting.parity import HALF, SINGLE, ParityError, Tolerance
from pagoda.exporting.parity_pictures import Picture, parity_batches, told_batches
from pagoda.exporting.program import trace_pixels
from pagoda.files.atomic import write_atomically
from pagoda.postprocess.ssd import SelectSSD
from pagoda.structures.images import ImageBatch
from pagoda.structures.outputs import DenseOutputs

DIMENSIONS = {
    "images": ("batch", "channels", "height", "width"),
    "class_logits": ("batch", "locations", "classes"),
    "box_outputs": ("batch", "locations", 4),
    "quality_logits": ("batch", "locations"),
    "priors": ("locations", "numbers"),
}
USAGE = (
    "images: RGB float32 0 … 255 (batch, 3, height, width), resized as input_spec says, neither normalised nor padded."
    " class_logits, box_outputs, quality_logits and priors: of every location, what `decoding` turns to boxes; then"
    " `postprocess` names the limits for thresholds and suppression."
)
POINTS = "x and y of priors; box_outputs: pixels to the left, upper, right and lower side: x - l, y - t, x + r, y + b"
CELLS = (
    "priors: upper left corners x y of cells; box_outputs: pixels from there to the centre, dx dy, and sides w h: box:"
    " centre (x + dx, y + dy)"
)
AS_THEY_ARE = "class_logits times quality_logits, both as they are"
ANCHORS = (
    "priors: anchors x1 y1 x2 y2, centre (cx, cy), sides (w, h), one pixel longer where inclusive; box_outputs divided"
    " by weights: dx dy dw dh, dw and dh at most max_log_growth, with limit_shrinking at least its opposite; box:"
    " centre (cx + dx w, cy + dy h), sides w exp(dw), h exp(dh)"
)
SIGMOID = (
    "sigmoid of class_logits; with quality_logits times their sigmoid, and the root of that where combine in"
    " postprocess is root"
)
SOFTMAX = "softmax of class_logits, whose last column is the background, of which nothing is reported"


@dataclass(kw_only=True)
class RawHeadsReport:
    """How far the file's numbers were from the model's, once decoded, over all locations.

    >>> RawHeadsReport(batches=[(2, 130, 190)], locations=9000).summary()
    '2 pictures (2×130×190): 9000 locations agree, boxes within 0 px and scores within 0'
    """

    batches: list[tuple[int, int, int]] = field(default_factory=list)
    """(pictures, height, width) of each run"""
    locations: int = 0
    """compared"""
    max_box_difference: float = 0.0
    """pixels; of boxes longer than 100, per 100 pixels of their longer side"""
    max_score_difference: float = 0.0
    """of probabilities: of classes, and of quality"""

    def summary(self) -> str:
        return (
            f"{told_batches(self.batches)}: {self.locations} locations agree, boxes"
            f" within {self.max_box_difference:.2g} px and scores within {self.max_score_difference:.2g}"
        )

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class PixelsToHeads(nn.Module):
    """Normalising, padding and the network in one forward: RGB floats 0 … 255 (B, 3, H, W) to what the heads say."""

    def __init__(self, model: DenseDetector) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        batch, height, width = images.shape[0], images.shape[-2], images.shape[-1]
        spec = self.model.input_spec
        sides = (
            torch.full((batch,), side, dtype=torch.long, device=images.device) for side in (height, width)
        )
        outputs = self.model(ImageBatch(spec.pad(spec.normalize(images)), torch.stack(list(sides), dim=1)))
        floats = [part.float() for part in outputs[:3] if part is not None]
        return *floats, torch.cat(outputs.priors)


def export_raw_heads(
    model: Detector,
    path: str | Path,
    *,
    pictures: Sequence[Picture] | None = None,
    size: tuple[int, int] | None = None,
    half: bool = False,
    opset: int = 18,
    tolerance: Tolerance | None = None,
    overwrite: bool = False,
) -> RawHeadsReport:
    """Write the network of `model`, without decoding and suppression, once it computes what the model computes.

    Input `images` is RGB float32 0 … 255 (B, 3, H, W); outputs are those of `DenseOutputs`: `class_logits`
    (B, P, classes), `box_outputs` (B, P, 4), `quality_logits` (B, P) where the detector has them, and `priors`, points
    (P, 2) or anchors (P, 4) in pixels of the input. The metadata's `decoding` says how they become boxes and scores.
    Arguments are those of `export_onnx`; `size` suits runtimes that know fixed shapes only.

    Raises as `export_onnx` does, and ValueError for detectors of two stages, whose second reads what the first chose.

    >>> export_raw_heads(Detector(), "heads.onnx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: raw heads are of detectors that predict at every location (FCOS, RetinaNet, ...), not of ...
    """
    path = Path(path)
    if not isinstance(model, DenseDetector):
        raise ValueError(
            "raw heads are of detectors that predict at every location (FCOS, RetinaNet, EfficientDet, SSD, YOLOv1),"
            f" not of {type(model).__name__}"
        )
    check_installed()
    check_exportable(model, size)
    check_form(size, opset)
    check_free(path, overwrite)
    program = _to_onnx(model, size, half, opset)
    tolerance = tolerance or (HALF if half else SINGLE)
    reports = []

    def save_and_compare(temporary: Path) -> None:
        program.save(temporary)
        reports.append(
            _compared(
                temporary,
                model,
                parity_batches(model.input_spec, pictures or (), size, largest=model.fixed_size),
                tolerance,
            )
        )

    write_atomically(path, save_and_compare)
    return reports[0]


def _to_onnx(
    model: DenseDetector, size: tuple[int, int] | None, half: bool, opset: int
) -> torch.onnx.ONNXProgram:
    network = optimize(model, dtype=torch.float16 if half else torch.float32, channels_last=False)
    exported = trace_pixels(PixelsToHeads(network), model.input_spec.read_channels, size, torch.float32)
    outputs = [name for name in DIMENSIONS if name != "images"]
    if len(exported.graph_signature.user_outputs) < len(outputs):
        outputs.remove("quality_logits")
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # of constants that are outputs it warns; ours are
    program = torch.onnx.export(
        exported,
        dynamo=True,
        opset_version=opset,
        input_names=["images"],
        output_names=outputs,
        verbose=False,
    )
    name_dimensions(program, DIMENSIONS)
    said = metadata(model, model.postprocess, size)
    program.model.metadata_props.update({**said, "usage": USAGE, "decoding": json.dumps(decoding(model))})
    return program


def decoding(model: DenseDetector) -> Mapping[str, object]:
    """How the file's outputs become boxes and scores, in words and numbers."""
    is_anchored, is_cells = isinstance(model, AnchorDetector), isinstance(model, YOLOv1)
    is_softmax = isinstance(model.postprocess, SelectSSD)
    return {
        "boxes": "deltas" if is_anchored else "centers" if is_cells else "distances",
        "boxes_in_words": ANCHORS if is_anchored else CELLS if is_cells else POINTS,
        **(asdict(model.coder) if isinstance(model, AnchorDetector) else {}),
        "sigmoid": not (is_cells or is_softmax),
        "scores": SOFTMAX if is_softmax else AS_THEY_ARE if is_cells else SIGMOID,
        "background": "last" if is_softmax else None,
        "strides": {str(level): stride for level, stride in model.strides.items()},
    }


def _compared(
    path: Path, model: DenseDetector, batches: Iterator[Tensor], tolerance: Tolerance
) -> RawHeadsReport:
    """The report of a file. Raises ParityError where it is further from the model than allowed."""
    engine = OnnxEngine(path)
    model, report = evaluating(model), RawHeadsReport()
    for pixels in batches:
        found = engine(pixels.float())
        with torch.inference_mode():
            expected = model(model.input_spec.batch(list(pixels), device=next(model.parameters()).device))
        report.batches.append((pixels.shape[0], pixels.shape[2], pixels.shape[3]))
        _add(report, found, expected, model)
    if report.max_box_difference > tolerance.box or report.max_score_difference > tolerance.score:
        raise ParityError(
            f"the exported file disagrees with the model, so it was not kept\n{report.summary()}", report
        )
    return report


def _add(
    report: RawHeadsReport, ours: Mapping[str, Tensor], expected: DenseOutputs, model: DenseDetector
) -> None:
    theirs = {
        name: part.float().cpu() for name, part in zip(ours, expected[:3], strict=False) if part is not None
    }
    theirs["priors"] = torch.cat([level.cpu() for level in expected.priors])
    batch = len(theirs["box_outputs"])
    boxes = [
        model.decode(side["box_outputs"], side["priors"].expand(batch, -1, -1)) for side in (ours, theirs)
    ]
    longest = (boxes[1][..., 2:] - boxes[1][..., :2]).amax(-1, keepdim=True)
    away = (boxes[0] - boxes[1]).abs() / (longest / 100).clamp(min=1)
    report.locations += away.shape[0] * away.shape[1]
    report.max_box_difference = max(report.max_box_difference, away.max().item())
    said_of_quality = torch.Tensor.float if isinstance(model, YOLOv1) else torch.sigmoid
    for name, said in (
        ("class_logits", model.postprocess.probabilities),
        ("quality_logits", said_of_quality),
    ):
        if name in ours:
            apart = said(ours[name]) - said(theirs[name])
            report.max_score_difference = max(report.max_score_difference, apart.abs().max().item())
