"""A detector of clips as ONNX or OpenVINO files that were compared with the model before they were written."""

import io
import logging
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from pagoda.detectors.contract import Detector
from pagoda.exporting.clips.engines import names_of_two, open_clips
from pagoda.exporting.clips.form import Part, clip_metadata, form_of
from pagoda.exporting.clips.parity import ClipParityReport, verify_clips
from pagoda.exporting.clips.program import (
    FeaturesToTubes,
    FramesToTubes,
    FrameToFeatures,
    export_frames,
    export_tubes,
    export_whole,
)
from pagoda.exporting.engines import check_engine
from pagoda.exporting.masks_keypoints import shape_names
from pagoda.exporting.onnx import (
    Translations,
    check_form,
    check_free,
    check_installed,
    check_network,
    onnx_program,
)
from pagoda.exporting.openvino import ir_from, place_pair, write_ir
from pagoda.exporting.optimize import optimize
from pagoda.exporting.parity import HALF, SINGLE, Tolerance, check_parity
from pagoda.exporting.parity_pictures import Picture
from pagoda.files.atomic import write_atomically
from pagoda.postprocess.select import Select

DIMENSIONS: Mapping[str, Sequence[int | str]] = {
    "images": ("frames", "channels", "height", "width"),
    "features": ("frames", "depth", "rows", "columns"),
    "size": (2,),
    "boxes": (1, "tubes", "frames", 4),
    "scores": (1, "tubes"),
    "labels": (1, "tubes"),
    "keypoints": (1, "tubes", "frames", "keypoints", 2),
    "keypoint_scores": (1, "tubes", "frames", "keypoints"),
}
Programs = dict[Part, torch.onnx.ONNXProgram]

NO_LOOKS = "appearance is of detectors of pictures; files of clips do not say what objects look like"
"""what a file of clips cannot be asked for"""


def export_clips(
    model: Detector,
    path: str | Path,
    *,
    sliding: bool = False,
    pictures: Sequence[Picture] | None = None,
    min_score: float | None = None,
    max_detections: int | None = None,
    size: tuple[int, int] | None = None,
    half: bool = False,
    opset: int = 18,
    tolerance: Tolerance | None = None,
    overwrite: bool = False,
) -> ClipParityReport:
    """Write a detector of clips to `path`, .onnx or .xml, once the file finds in clips what the model finds.

    Input `images` is RGB uint8 (T, 3, H, W), the frames of one clip, of any H and W; outputs are `boxes` (1, D, T, 4)
    xyxy pixels of the input, `scores` (1, D) and `labels` (1, D), with score 0 and label −1 in unused rows; of poses
    also `keypoints` (1, D, T, K, 2) and `keypoint_scores` (1, D, T, K). Tubes suppress each other in the graph by the
    mean of their frames' overlaps in double precision, as in the model. Where the network shortens clips
    (`time_stride`, `link`) tubes speak of the frames that the metadata entry `clip` names.

    Args:
        sliding: write two files, NAME.frames.onnx and NAME.clips.onnx: what is computed of a frame alone, the stem and
            the first stage, and the rest. Whoever slides over a video runs the first once per frame. Each names the
            other by a digest, and is useless alone.
        pictures: what to compare on; each becomes a clip in which it moves by a few pixels. Drawn ones are added until
            there are eight.
        half: as `onnx.export_onnx` and `openvino.export_openvino` have it.
        opset: of ONNX, 18 … 23.
        min_score, max_detections, size, tolerance: as in `onnx.export_onnx`.

    Raises:
        ParityError: files and model differ, or nothing was found to compare; nothing is written.
        FileExistsError: a file is there and `overwrite` is not set.
        ValueError: the model is in half precision, or one of pictures; an opset or a size that cannot be.

    >>> export_clips(Detector(), "detector.onnx")
    Traceback (most recent call last):
    ValueError: Detector looks at single pictures; export_onnx and export_openvino write those
    """
    path = Path(path)
    if not model.sees_clips:
        raise ValueError(
            f"{type(model).__name__} looks at single pictures; export_onnx and export_openvino write those"
        )
    targets = names_of_two(path) if sliding else (path,)
    _check_places(targets, overwrite)
    check_network(model, size)
    check_form(size, opset)
    select = model.postprocess.with_limits(min_score=min_score, max_detections=max_detections)
    is_onnx = path.suffix.lower() == ".onnx"
    programs = to_onnx_clips(
        model,
        select,
        sliding=sliding,
        opset=opset,
        size=size,
        half=half and is_onnx,
        kind=f"{path.suffix} {half}",
    )
    with TemporaryDirectory() as folder:
        files = [Path(folder) / target.name for target in targets]
        for file, program in zip(files, programs.values(), strict=True):
            _write(program, file, half)
        report = verify_clips(
            lambda score: open_clips(files[-1], min_score=score),
            model,
            pictures,
            tolerance=tolerance or (HALF if half else SINGLE),
            size=size,
        )
        check_parity(report)
        for file, target in zip(files, targets, strict=True):
            place = _place_one if is_onnx else place_pair
            place(file, target)
    return report


def to_onnx_clips(
    model: Detector,
    select: Select,
    *,
    sliding: bool = False,
    opset: int = 18,
    size: tuple[int, int] | None = None,
    half: bool = False,
    kind: str = "",
) -> Programs:
    """The programs `export_clips` writes, by what they hold, with names and metadata, not yet compared.

    `kind` tells files apart that are made of the same programs.
    """
    network = optimize(model, dtype=torch.float16, channels_last=False) if half else model
    found = ["boxes", "scores", "labels", *shape_names(model)]
    programs: Programs = {}
    if sliding:
        frames, clips = FrameToFeatures(network, select), FeaturesToTubes(network, select)
        programs["frames"] = _onnx(export_frames(frames, size), ["images"], ["features", "size"], opset)
        programs["clips"] = _onnx(export_tubes(clips, size), ["features", "size"], found, opset)
    else:
        whole = export_whole(FramesToTubes(network, select), size)
        programs["whole"] = _onnx(whole, ["images"], found, opset)
    digests = {part: _digest(program, kind) for part, program in programs.items()} if sliding else {}
    for part, program in programs.items():
        other = {"frames": "clips", "clips": "frames"}.get(part, "")
        form = form_of(model, part, digests.get(part, ""), digests.get(other, ""))  # type: ignore[call-overload]
        program.model.metadata_props.update(clip_metadata(model, select, size, form))
    return programs


def _onnx(graph: Any, inputs: list[str], outputs: list[str], opset: int) -> torch.onnx.ONNXProgram:
    # Of a fixed size `size` is a constant, of which the optimiser says that it does not look for a twin.
    logging.getLogger("onnx_ir.passes.common.initializer_deduplication").setLevel(logging.ERROR)
    return onnx_program(
        graph, inputs, outputs, opset=opset, dimensions=DIMENSIONS, translations=_translations()
    )


def _translations() -> Translations:
    """Our operators in ONNX."""
    from pagoda.exporting.clips.onnx_tubes import suppress_tubes
    from pagoda.exporting.onnx_keypoints import decode

    survivors, keypoints = (
        torch.ops.pagoda.batch_tube_survivors.default,
        torch.ops.pagoda.decode_keypoints.default,
    )
    return {survivors: suppress_tubes, keypoints: decode}


def _digest(program: torch.onnx.ONNXProgram, kind: str) -> str:
    """Of what a program computes, without our metadata, which name it."""
    content = io.BytesIO()
    program.save(content)
    return sha256(content.getvalue() + kind.encode()).hexdigest()


def _check_places(targets: Sequence[Path], overwrite: bool) -> None:
    """Raises where a package is missing, a file is there already, or the name is none of a file of ours."""
    check_installed()
    for target in targets:
        check_free(target, overwrite)
        if target.suffix.lower() == ".xml":
            check_engine(".xml")
            check_free(target.with_suffix(".bin"), overwrite)
        elif target.suffix.lower() != ".onnx":
            raise ValueError(f"a file's name ends in .onnx or .xml (OpenVINO), got {target}")


def _write(program: torch.onnx.ONNXProgram, file: Path, half: bool) -> None:
    if file.suffix.lower() == ".onnx":
        program.save(file)
    else:
        write_ir(ir_from(program), file, half=half)


def _place_one(file: Path, target: Path) -> None:
    content = file.read_bytes()
    write_atomically(target, lambda draft: draft.write_bytes(content))
