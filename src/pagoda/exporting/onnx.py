"""A detector as an ONNX file that was compared with the model before it was written."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.export import ExportedProgram

from pagoda.detectors.contract import Detector
from pagoda.exporting.masks_keypoints import shape_names
from pagoda.exporting.metadata import metadata
from pagoda.exporting.optimize import optimize
from pagoda.exporting.parity import HALF, SINGLE, ParityReport, Tolerance, check_parity, verify
from pagoda.exporting.parity_pictures import Picture
from pagoda.exporting.program import PixelsToDetections, export_pixels
from pagoda.files.atomic import write_atomically
from pagoda.postprocess.select import Select
from pagoda.preprocess import LONGEST_SIDE

DIMENSIONS = {
    "images": ("batch", "channels", "height", "width"),
    "boxes": ("batch", "detections", 4),
    "scores": ("batch", "detections"),
    "labels": ("batch", "detections"),
    "masks": ("batch", "detections", "height", "width"),
    "keypoints": ("batch", "detections", "keypoints", 2),
    "keypoint_scores": ("batch", "detections", "keypoints"),
    "mask_probabilities": ("batch", "detections", "cells", "cells"),
    "appearance": ("batch", "detections", "numbers"),
}
OPSETS = range(18, 24)
"""of ONNX, that can be written: torch writes 18, and higher ones are made from it"""
Translations: TypeAlias = Mapping[Callable[..., object], Callable[..., object]]
"""operator of torch → what writes it in ONNX"""
GraphValue: TypeAlias = Any
"""a value of an ONNX graph that is being written: onnxscript's, which need not be installed otherwise"""


def export_onnx(
    model: Detector,
    path: str | Path,
    *,
    pictures: Sequence[Picture] | None = None,
    min_score: float | None = None,
    max_detections: int | None = None,
    size: tuple[int, int] | None = None,
    half: bool = False,
    opset: int = 18,
    appearance: bool = False,
    tolerance: Tolerance | None = None,
    overwrite: bool = False,
) -> ParityReport:
    """Write `model` with pre- and post-processing to `path` once the file finds what the model finds.

    Input `images` is RGB uint8 (B, 3, H, W) of any B, H, W, from which a network that reads grey makes it, or RGBA
    (B, 4, H, W); outputs are `boxes` (B, D, 4) xyxy pixels of the
    input, `scores` (B, D) and `labels` (B, D), with score 0 and label −1 in unused rows. Mask R-CNN adds `masks`
    (B, D, H, W) bool, pasted into the input: D · H · W floats are held for each picture on the way; and
    `mask_probabilities` (B, D, M, M), which take their place for whoever pastes at the picture's own size. Keypoint
    R-CNN adds `keypoints` (B, D, K, 2) pixels of the input and `keypoint_scores` (B, D, K), found as `detect` finds
    them, by a scan over the objects. Names, category ids, skeleton, resize rule and thresholds stand in the metadata.

    Args:
        pictures: what to compare on: paths, PIL images, arrays (H, W, 3) or tensors (3, H, W); drawn pictures
            are added until there are eight, of several sizes and batch sizes.
        min_score, max_detections: built into the file; None takes the model's own.
        size: (height, width): the file takes pictures of this size alone, one a batch, scaled into it with grey beside
            them; for runtimes that plan ahead. None: pictures and batches of any size.
        half: the network's weights and arithmetic are float16, half the bytes; geometry and scores stay float32. For
            GPUs: processors compute it in float32 all the same.
        opset: of ONNX, 18 … 23, where the runtime asks for one.
        appearance: another output, `appearance` (B, D, C · 8): vectors of unit length of what objects look like
            (`detectors.appearance`), for linkers; 0 in unused rows.
        tolerance: what counts as equal; None: `parity.SINGLE`, with `half` `parity.HALF`.

    Raises:
        ParityError: the file differs from the model, or nothing was found to compare; nothing is written.
        FileExistsError: `path` exists and `overwrite` is not set.
        ValueError: the model is in half precision, or one of clips, which `exporting.clips` writes; an opset or a size
            that cannot be.

    >>> model = Detector()
    >>> model.sees_clips = True
    >>> export_onnx(model, "tracker.onnx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: detectors of clips take clips where others take pictures: pagoda.exporting.clips.export.export_clips...
    """
    path = Path(path)
    check_installed()
    check_exportable(model, size)
    model = saying_looks(model) if appearance else model
    check_free(path, overwrite)
    check_form(size, opset)
    postprocess = model.postprocess.with_limits(min_score=min_score, max_detections=max_detections)
    program = to_onnx(model, postprocess, opset, size=size, half=half)
    reports = []

    def save_and_compare(temporary: Path) -> None:
        program.save(temporary)
        report = verify(
            temporary,
            model,
            pictures,
            tolerance=tolerance or (HALF if half else SINGLE),
            size=size,
            ending=".onnx",  # what is not compared yet has no name
        )
        check_parity(report)
        reports.append(report)

    write_atomically(path, save_and_compare)
    return reports[0]


def to_onnx(
    model: Detector,
    postprocess: Select,
    opset: int = 18,
    *,
    size: tuple[int, int] | None = None,
    half: bool = False,
) -> torch.onnx.ONNXProgram:
    """The program `export_onnx` writes, with its names and metadata, not yet compared."""
    network = optimize(model, dtype=torch.float16, channels_last=False) if half else model
    program = onnx_program(
        export_pixels(PixelsToDetections(network, postprocess), size),
        ["images"],
        ["boxes", "scores", "labels", *shape_names(model)],
        opset=opset,
        dimensions=DIMENSIONS,
        translations=_translations(),
    )
    program.model.metadata_props.update(metadata(model, postprocess, size))
    return program


def onnx_program(
    graph: ExportedProgram,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    opset: int,
    dimensions: Mapping[str, Sequence[int | str]],
    translations: Translations,
) -> torch.onnx.ONNXProgram:
    """A traced graph in ONNX, with these names; `translations` say what our operators are there."""
    program = torch.onnx.export(
        graph,
        dynamo=True,
        opset_version=opset,
        input_names=list(inputs),
        output_names=list(outputs),
        custom_translation_table=dict(translations),
        verbose=False,
    )
    name_dimensions(program, dimensions)
    return program


def name_dimensions(program: torch.onnx.ONNXProgram, dimensions: Mapping[str, Sequence[int | str]]) -> None:
    """Open sizes of inputs and outputs are called as `dimensions` says; numbers that are fixed stay."""
    graph = program.model.graph
    for value in (*graph.inputs, *graph.outputs):
        sizes = zip(value.shape, dimensions[value.name], strict=True)
        value.shape = type(value.shape)(size if isinstance(size, int) else name for size, name in sizes)


def _translations() -> Translations:
    """Our operators in ONNX."""
    from pagoda.exporting.onnx_keypoints import decode

    survivors, keypoints = torch.ops.pagoda.batch_survivors.default, torch.ops.pagoda.decode_keypoints.default
    return {survivors: suppress, keypoints: decode}


def suppress(
    boxes: GraphValue,
    scores: GraphValue,
    labels: GraphValue,
    num_classes: int,
    max_iou: float,
    inclusive: bool,
) -> GraphValue:
    """`ops.nms.batch_survivors` in ONNX: its own operator holds pictures and classes apart exactly."""
    from onnx import TensorProto
    from onnxscript import opset18 as op

    if inclusive:
        boxes = op.Add(boxes, op.Constant(value_floats=[0.0, 0.0, 1.0, 1.0]))
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    classes = op.Range(zero, op.Constant(value_int=num_classes), one)
    is_class = op.Equal(op.Unsqueeze(labels, [1]), op.Unsqueeze(classes, [0, 2]))
    per_class = op.Where(
        is_class, op.Unsqueeze(scores, [1]), op.Constant(value_float=-1.0)
    )  # (B, classes, n)
    survivors = op.NonMaxSuppression(
        boxes,
        per_class,
        op.Shape(scores, start=1),
        op.Constant(value_floats=[max_iou]),
        op.Constant(value_floats=[0.0]),
    )  # rows of (picture, class, box)
    rows = op.Gather(survivors, op.Constant(value_ints=[0, 2]), axis=1)
    nobody = op.Expand(op.Cast(zero, to=TensorProto.BOOL), op.Shape(scores))
    somebody = op.Expand(op.Cast(one, to=TensorProto.BOOL), op.Shape(rows, start=0, end=1))
    return op.ScatterND(nobody, rows, somebody)


def check_installed() -> None:
    """Raises ImportError that names the missing packages and the extra that brings them."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"exporting to ONNX needs {', '.join(missing)}; install with: pip install 'pagoda-vision[export]'"
        )


def check_free(path: Path, overwrite: bool) -> None:
    """Raises FileExistsError for a file that is there and shall stay."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or say overwrite=True (--overwrite)")


def check_form(size: tuple[int, int] | None, opset: int = 18) -> None:
    """Raises ValueError for what no file can be."""
    if opset not in OPSETS:
        raise ValueError(f"opset must be {OPSETS[0]} … {OPSETS[-1]} of ONNX, got {opset}")
    if size is not None and not all(1 <= side <= LONGEST_SIDE for side in size):
        raise ValueError(f"size must be (height, width) of 1 … {LONGEST_SIDE} pixels, got {size}")


def saying_looks(model: Detector) -> Detector:
    """The model, whose files also say what objects look like; weights are shared.

    >>> saying_looks(Detector()).exports_appearance, Detector().exports_appearance
    (True, False)
    """
    twin = copy(model)
    twin.exports_appearance = True
    return twin


def check_exportable(model: Detector, size: tuple[int, int] | None = None) -> None:
    """Raises ValueError for a copy in half precision, for detectors of clips, and for another size than the only one
    that a network reads."""
    if model.sees_clips:
        raise ValueError(
            "detectors of clips take clips where others take pictures: pagoda.exporting.clips.export.export_clips"
            " writes them, in fp32 or half precision; they have no raw heads and no int8"
        )
    check_network(model, size)


def check_network(model: Detector, size: tuple[int, int] | None = None) -> None:
    """Raises ValueError for a copy in half precision, and for another size than the only one that a network reads."""
    if size is not None and model.fixed_size not in (None, size):
        height, width = model.fixed_size or size
        raise ValueError(
            f"the connected layers of this {type(model).__name__} read {height}×{width} pixels and nothing else: leave"
            " --size out, or give it that"
        )
    dtype = next(model.parameters()).dtype
    if dtype != torch.float32:
        raise ValueError(
            f"export the float32 model, not its {dtype} copy; --half (half=True) writes it in float16"
        )
