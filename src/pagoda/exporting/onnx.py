"""A detector as an ONNX file that was compared with the model before it was written."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import torch

from pagoda.detectors.contract import Detector
from pagoda.exporting.masks_keypoints import shape_names
from pagoda.exporting.parity import ParityReport, check_parity, verify
from pagoda.exporting.parity_pictures import Picture
from pagoda.exporting.program import PixelsToDetections, export_pixels
from pagoda.files.atomic import write_atomically
from pagoda.postprocess.select import Select
from pagoda.version import __version__

USAGE = (
    "images: RGB uint8 (batch, 3, height, width), resized as input_spec says (fit, short_side, long_side, canvas;"
    " letterboxed ones with their border), neither normalised nor padded. boxes: xyxy pixels of images; scores:"
    " best first, 0 in unused rows; labels: index into names and category_ids, -1 in unused rows."
)
USAGE_OF_SHAPES = {
    "masks": " masks: bool, the pixels of images that belong to each object, False in unused rows.",
    "keypoints": " keypoints: xy pixels of images, named by skeleton, 0 in unused rows.",
    "keypoint_scores": " keypoint_scores: higher is surer, see postprocess.keypoint_score; 0 in unused rows.",
}
DIMENSIONS = {
    "images": ("batch", 3, "height", "width"),
    "boxes": ("batch", "detections", 4),
    "scores": ("batch", "detections"),
    "labels": ("batch", "detections"),
    "masks": ("batch", "detections", "height", "width"),
    "keypoints": ("batch", "detections", "keypoints", 2),
    "keypoint_scores": ("batch", "detections", "keypoints"),
}
GraphValue: TypeAlias = Any
"""a value of an ONNX graph that is being written: onnxscript's, which need not be installed otherwise"""


def export_onnx(
    model: Detector,
    path: str | Path,
    *,
    pictures: Sequence[Picture] | None = None,
    min_score: float | None = None,
    max_detections: int | None = None,
    opset: int = 18,
    box_tolerance: float = 0.05,
    score_tolerance: float = 1e-4,
    overwrite: bool = False,
) -> ParityReport:
    """Write `model` with pre- and post-processing to `path` once the file finds what the model finds.

    Input `images` is RGB uint8 (B, 3, H, W) of any B, H, W, from which a network that reads grey makes it, or RGBA
    (B, 4, H, W); outputs are `boxes` (B, D, 4) xyxy pixels of the
    input, `scores` (B, D) and `labels` (B, D), with score 0 and label −1 in unused rows. Mask R-CNN adds `masks`
    (B, D, H, W) bool, pasted into the input: D · H · W floats are held for each picture on the way. Keypoint R-CNN
    adds `keypoints` (B, D, K, 2) pixels of the input and `keypoint_scores` (B, D, K), found as `detect` finds them,
    by a scan over the objects. Names, category ids, skeleton, resize rule and thresholds stand in the metadata.

    Args:
        pictures: what to compare on: paths, PIL images, arrays (H, W, 3) or tensors (3, H, W); drawn pictures
            are added until there are eight, of several sizes and batch sizes.
        min_score, max_detections: built into the file; None takes the model's own.
        box_tolerance, score_tolerance: pixels, and difference of scores, that count as equal.

    Raises:
        ParityError: the file differs from the model, or nothing was found to compare; nothing is written.
        FileExistsError: `path` exists and `overwrite` is not set.
        ValueError: the model is in half precision, or one of clips.

    >>> model = Detector()
    >>> model.sees_clips = True
    >>> export_onnx(model, "tracker.onnx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: detectors of clips have no ONNX form: ONNX knows no suppression of tubes...
    """
    path = Path(path)
    check_installed()
    check_exportable(model)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or say overwrite=True (--overwrite)")
    postprocess = model.postprocess.with_limits(min_score=min_score, max_detections=max_detections)
    program = to_onnx(model, postprocess, opset)
    reports = []

    def save_and_compare(temporary: Path) -> None:
        program.save(temporary)
        report = verify(
            temporary,
            model,
            pictures,
            box_tolerance=box_tolerance,
            score_tolerance=score_tolerance,
            ending=".onnx",  # what is not compared yet has no name
        )
        check_parity(report)
        reports.append(report)

    write_atomically(path, save_and_compare)
    return reports[0]


def to_onnx(model: Detector, postprocess: Select, opset: int) -> torch.onnx.ONNXProgram:
    """The program `export_onnx` writes, with its names and metadata, not yet compared."""
    program = torch.onnx.export(
        export_pixels(PixelsToDetections(model, postprocess)),
        dynamo=True,
        opset_version=opset,
        input_names=["images"],
        output_names=["boxes", "scores", "labels", *shape_names(model)],
        custom_translation_table=_translations(),
        verbose=False,
    )
    graph = program.model.graph
    for value in (*graph.inputs, *graph.outputs):
        known: dict[object, int | str] = (
            {"keypoints": value.shape[2]} if value.name.startswith("keypoint") else {}
        )
        known |= {3: model.input_spec.read_channels} if value.name == "images" else {}
        value.shape = type(value.shape)(known.get(size, size) for size in DIMENSIONS[value.name])
    program.model.metadata_props.update(metadata(model, postprocess))
    return program


def _translations() -> dict[Callable[..., object], Callable[..., object]]:
    """Our operators in ONNX."""
    from pagoda.exporting.onnx_keypoints import decode

    survivors, keypoints = torch.ops.pagoda.batch_survivors.default, torch.ops.pagoda.decode_keypoints.default
    return {survivors: suppress, keypoints: decode}


def metadata(model: Detector, postprocess: Select) -> dict[str, str]:
    """What a runtime needs besides the graph; every value is JSON except the plain sentences."""
    skeleton = model.label_map.skeleton
    names = shape_names(model)
    return {
        "pagoda_version": __version__,
        "model": str((model.origin or {}).get("model") or type(model).__name__),
        "names": json.dumps(list(model.label_map.names)),
        "category_ids": json.dumps(list(model.label_map.category_ids)),
        "input_spec": json.dumps(model.input_spec.to_dict()),
        "postprocess": json.dumps(asdict(postprocess)),
        "usage": _usage_of_images(model) + "".join(USAGE_OF_SHAPES[name] for name in names),
        **({"skeleton": json.dumps(skeleton.to_dict())} if skeleton and "keypoints" in names else {}),
    }


def _usage_of_images(model: Detector) -> str:
    """What goes in and what comes out."""
    if model.input_spec.read_channels == 3:
        return USAGE
    return USAGE.replace("RGB uint8 (batch, 3,", "RGBA uint8 (batch, 4,")


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


def check_exportable(model: Detector) -> None:
    """Raises ValueError for a copy in half precision and for detectors of clips."""
    if model.sees_clips:
        raise ValueError(
            "detectors of clips have no ONNX form: ONNX knows no suppression of tubes. torch.export takes the network"
            " with all it chooses: pagoda.exporting.program.export_forward(model, num_frames="
            f"{len(model.frames_around)}); and optimize(model) makes it quick in Python"
        )
    dtype = next(model.parameters()).dtype
    if dtype != torch.float32:
        raise ValueError(f"export the float32 model, not its {dtype} copy; convert the file afterwards")
