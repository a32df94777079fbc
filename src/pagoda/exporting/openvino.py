"""A detector as an OpenVINO file: fp32, compared row by row; or int8, calibrated on pictures and judged by AP."""

import ast
import io
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.evaluation.coco.result import ApDifference
from pagoda.exporting.engines import check_engine, on_a_test_farm, silent_import
from pagoda.exporting.exported import load_exported
from pagoda.exporting.onnx import (
    check_exportable,
    check_form,
    check_free,
    check_installed,
    saying_looks,
    to_onnx,
)
from pagoda.exporting.parity import HALF, SINGLE, ParityReport, Tolerance, check_parity, verify
from pagoda.exporting.parity_pictures import fitted
from pagoda.files.atomic import write_atomically
from pagoda.files.text import json_text
from pagoda.messages import counted

CALIBRATION_PICTURES = 300
"""as many as calibrate well; more only take longer"""
_SCOPES = "pkg.torch.onnx.name_scopes"
"""where torch's exporter says which module a node is from"""
_INSIDE = ("model.backbone", "model.neck")
"""whose layers become int8, and those of heads"""
_KEPT = ("predict", "classes", "deltas", "objectness")
"""last layers, whose outputs are ranked and decoded to pixels"""
_NORM = "group_norm"
"""an operator of torch that becomes several nodes, between which whole numbers would lose what it is for"""
_SCORED = "class_head.predict"
"""the last layer that is no small one: 720 channels for 80 classes and 9 anchors; its outputs are only scored"""

Compare = Callable[[Detector, Detector], Mapping[str, ApDifference]]
"""AP of two models on somebody's pictures, by what is scored: of boxes, and of masks and keypoints they may learn"""


@dataclass(frozen=True, kw_only=True)
class Int8Report:
    """What int8 costs, and how it was found out."""

    ap: dict[str, ApDifference]
    """of the file, and of the model as `other_ap`, by what is scored; 0 … 1"""
    max_ap_loss: float
    """points that may be lost"""
    calibration_pictures: int
    """that set the scales"""
    quantized: int
    """layers that compute in int8"""
    kept: int
    """convolutions and products that stay in fp32"""

    @property
    def ap_loss(self) -> float:
        """Points, of what loses most."""
        return max(-100 * each.difference for each in self.ap.values())

    @property
    def passed(self) -> bool:
        return self.ap_loss <= self.max_ap_loss

    def summary(self) -> str:
        scores = ", ".join(
            f"{name} {100 * each.ap:.2f} (fp32 {100 * each.other_ap:.2f}; 95 % interval of the loss"
            f" {-100 * each.high:+.2f} … {-100 * each.low:+.2f})"
            for name, each in self.ap.items()
        )
        return (
            f"int8 {scores}: {self.ap_loss:+.2f} points lost, {self.max_ap_loss:g} allowed;"
            f" {counted(self.quantized, 'layer')} in int8, {self.kept} in fp32; calibrated on"
            f" {counted(self.calibration_pictures, 'picture')}"
        )

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "ap_loss": self.ap_loss, "passed": self.passed}


class Int8Error(RuntimeError):
    """The int8 file loses too much; `report` says how much."""

    def __init__(self, message: str, report: Int8Report) -> None:
        super().__init__(message)
        self.report = report


def export_openvino(
    model: Detector,
    path: str | Path,
    *,
    pictures: Sequence[object] | None = None,
    min_score: float | None = None,
    max_detections: int | None = None,
    size: tuple[int, int] | None = None,
    half: bool = False,
    appearance: bool = False,
    tolerance: Tolerance | None = None,
    overwrite: bool = False,
) -> ParityReport:
    """Write `model` as MODEL.xml and MODEL.bin once the pair finds what the model finds, in fp32.

    Inputs, outputs, metadata (rt_info "pagoda") and arguments are those of `export_onnx`, but that `half` keeps weights
    in float16, which processors compute with in float32. Raises as `export_onnx` does.
    """
    path = check_place(path, overwrite)
    check_exportable(model, size)
    model = saying_looks(model) if appearance else model
    check_form(size)
    select = model.postprocess.with_limits(min_score=min_score, max_detections=max_detections)
    with TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        write_ir(ir_of(model, select, size)[0], file, half=half)
        tolerance = tolerance or (HALF if half else SINGLE)
        report = verify(file, model, pictures, tolerance=tolerance, size=size)
        check_parity(report)
        place_pair(file, path)
    return report


def export_int8(
    model: Detector,
    path: str | Path,
    *,
    calibration: Sequence[object],
    compare: Compare,
    max_ap_loss: float = 0.5,
    min_score: float | None = None,
    max_detections: int | None = None,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> Int8Report:
    """Write `model` in int8 as MODEL.xml and MODEL.bin, if no more AP is lost than `max_ap_loss` points.

    Backbone, neck and heads compute in int8, weights per channel; the last layers of boxes, masks and keypoints, those
    of two stages, group norms, decoding and suppression stay in fp32. The report is in the metadata ("int8") too.

    Args:
        calibration: pictures of the kind the model will see, some 300: their activations set the scales.
        compare: of the int8 file and the model on annotated pictures, {"AP": …} and what else is scored.

    Raises:
        Int8Error: more is lost; nothing is written.
        ValueError: there is no picture to calibrate on.
    """
    path = check_place(path, overwrite)
    if find_spec("nncf") is None:
        raise ImportError("int8 needs nncf; install with: pip install 'pagoda-vision[openvino]'")
    if not calibration:
        raise ValueError(
            "int8 needs pictures of the kind the model will see, to set its scales by: --calibrate DIR (some 300)"
        )
    check_exportable(model, size)
    check_form(size)
    select = model.postprocess.with_limits(min_score=min_score, max_detections=max_detections)
    ir, modules = ir_of(model, select, size)
    pictures = calibration[:CALIBRATION_PICTURES]
    quantized, counts = quantize(
        ir, modules, (fitted(model.input_spec, picture, size) for picture in pictures), len(pictures)
    )
    with TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        write_ir(quantized, file)
        report = Int8Report(
            ap=dict(compare(load_exported(file), model)),
            max_ap_loss=max_ap_loss,
            calibration_pictures=len(pictures),
            quantized=counts[0],
            kept=counts[1],
        )
        if not report.passed:
            raise Int8Error(
                f"the int8 file was not kept: {report.summary()}; calibrate on pictures like those it will see, or"
                " allow more: --max-ap-loss",
                report,
            )
        quantized.set_rt_info(json_text(report.to_dict()), ["pagoda", "int8"])
        write_ir(quantized, file)
        place_pair(file, path)
    return report


def check_place(path: str | Path, overwrite: bool) -> Path:
    """The path of the .xml; raises where a package is missing, or a file of the pair is there already."""
    path = Path(path)
    check_engine(".xml")
    check_installed()
    for each in (path, path.with_suffix(".bin")):
        check_free(each, overwrite)
    return path


def ir_of(
    model: Detector, select: Any, size: tuple[int, int] | None = None
) -> tuple[Any, dict[str, list[str]]]:
    """(openvino.Model with our metadata, {name of a node: the modules it stands in, outermost first})."""
    program = to_onnx(model, select, size=size)
    ir = ir_from(program)
    modules: dict[str, list[str]] = {}
    for node in program.model.graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        for name in filter(None, (node.name, *(output.name for output in node.outputs))):
            modules[name] = scopes
    return ir, modules


def ir_from(program: Any) -> Any:
    """An openvino.Model of an ONNX program, with its metadata."""
    file = io.BytesIO()
    program.save(file)
    ir = silent_import("openvino").Core().read_model(file.getvalue(), b"")
    for key, value in program.model.metadata_props.items():
        ir.set_rt_info(value, ["pagoda", key])
    return ir


def quantize(
    ir: Any, modules: dict[str, list[str]], frames: Iterator[Tensor], count: int
) -> tuple[Any, tuple[int, int]]:
    """(the model in int8, (layers in int8, convolutions and products in fp32)).

    NNCF's post-training quantisation: weights symmetric and per channel, activations by the whole range they have in
    `frames`, `count` of them, with their bias corrected. Its default, the mean of the pictures' ranges, cuts off the
    bright ones where dark ones are many: 1.6 points of AP on stained and glowing nuclei.
    """
    with on_a_test_farm(), redirect_stdout(sys.stderr):  # its bars; what is printed may be JSON for programs
        nncf = silent_import("nncf")
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        logging.getLogger("nncf").setLevel(logging.ERROR)
        kept = [node.get_friendly_name() for node in ir.get_ordered_ops() if not is_int8(node, modules)]
        data = nncf.Dataset(list(frames), lambda frame: frame[None].numpy())
        quantized = nncf.quantize(
            ir,
            data,
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=count,
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )
    layers = [node for node in quantized.get_ordered_ops() if node.get_type_name() in WEIGHTY]
    in_int8 = sum(has_fake_quantize(node) for node in layers)
    return quantized, (in_int8, len(layers) - in_int8)


WEIGHTY = ("Convolution", "GroupConvolution", "MatMul", "ConvolutionBackpropData")


def has_fake_quantize(node: Any) -> bool:
    """Whether the activations of a layer come out of a quantiser."""
    source = node.input_value(0).get_node()
    return source.get_type_name() == "FakeQuantize"


def is_int8(node: Any, modules: dict[str, list[str]]) -> bool:
    """Whether a node belongs to backbone, neck or a head, and to no last layer of one.

    What torch's exporter gives no module for (shapes) stays as it is, and so do the insides of a group norm.
    """
    places = modules.get(node.get_friendly_name().split("/")[0], [])
    scopes = [scope for scope in places if scope.startswith("model.")]
    if not scopes or places[-1].startswith(_NORM):
        return False
    inside = any(scope.startswith(_INSIDE) or scope.split(".")[1].endswith("head") for scope in scopes)
    return inside and not any(
        scope.rsplit(".", 1)[-1] in _KEPT and not scope.endswith(_SCORED) for scope in scopes
    )


def write_ir(ir: Any, file: Path, *, half: bool = False) -> None:
    """The pair of files, weights in fp32, or fp16 with `half`, where they are not int8."""
    silent_import("openvino").save_model(ir, file, compress_to_fp16=half)


def place_pair(file: Path, path: Path) -> None:
    """The weights first: an .xml is not seen before they are there."""
    for ending in (".bin", path.suffix):
        content = file.with_suffix(ending).read_bytes()
        write_atomically(path.with_suffix(ending), lambda draft, content=content: draft.write_bytes(content))
