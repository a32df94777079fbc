"""One model in all the ways it can run on this machine, timed by turns: what `pagoda bench` shows."""

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.exporting.exported import load_exported
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.openvino import ir_of, quantize, write_ir
from pagoda.exporting.optimize import optimize
from pagoda.exporting.parity_pictures import fitted
from pagoda.ops.boxes import pairwise_iou
from pagoda.structures.instances import Detections

SURE = 0.3
"""score from which a detection of the model as it is has to be found by the others, too"""
SAME_IOU = 0.9
"""overlap from which two boxes are the same"""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One way to run a model."""

    name: str
    """of the variant"""
    milliseconds: float
    """per picture, from pixels to detections: the median of the rounds; nan where it cannot run"""
    memory_mib: float
    """that loading it and the first pictures took; nan where the system does not tell"""
    agreement: float
    """share of the sure detections of the model as it is that this finds, too; nan where there are none"""
    note: str = ""
    """why it cannot run, or what to know of it"""

    @property
    def pictures_per_second(self) -> float:
        return 1000 / self.milliseconds


@dataclass(frozen=True)
class _Way:
    name: str
    """of the variant"""
    make: Callable[[], Detector]
    """the model, ready to run so"""
    note: str = ""
    """see `Timing`"""


def time_variants(
    model: Detector,
    pictures: Sequence[Tensor],
    folder: Path,
    *,
    batch_size: int = 1,
    rounds: int = 7,
    compiled: bool = False,
    say: Callable[[str], None] = lambda name: None,
) -> list[Timing]:
    """Every variant that this machine can run, over `pictures` (3, H, W) uint8, a round each by turns.

    `folder` takes exported files for as long as they are timed; `compiled` adds torch.compile, which takes minutes;
    `say` hears of each variant before it is made.
    """
    ready: list[tuple[_Way, Detector, float]] = []
    timings: dict[str, Timing] = {}
    ways = list(_ways(model, pictures, folder, compiled=compiled))
    for way in ways:
        say(way.name)
        before = _resident_mib()
        try:
            made = way.make()
            made.predict(list(pictures[:batch_size]), batch_size=batch_size)
        except Exception as error:  # whatever a runtime raises: the others are timed all the same
            nothing = float("nan")
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            timings[way.name] = Timing(
                name=way.name, milliseconds=nothing, memory_mib=nothing, agreement=nothing, note=reason
            )
            continue
        ready.append((way, made, _resident_mib() - before))
    spent: dict[str, list[float]] = {way.name: [] for way, _, _ in ready}
    found: dict[str, list[Detections]] = {}
    gc.collect()
    for _ in range(rounds):
        for way, made, _ in ready:
            since = perf_counter()
            found[way.name] = made.predict(list(pictures), batch_size=batch_size)  # type: ignore[assignment]
            spent[way.name].append(1000 * (perf_counter() - since) / len(pictures))
    reference = found[ways[0].name]
    for way, _, memory in ready:
        timings[way.name] = Timing(
            name=way.name,
            milliseconds=median(spent[way.name]),
            memory_mib=memory,
            agreement=agreement(reference, found[way.name]),
            note=way.note,
        )
    return [timings[way.name] for way in ways]


def agreement(reference: Sequence[Detections], found: Sequence[Detections]) -> float:
    """Share of the reference's sure detections that have one of their class in `found` with IoU above .9."""
    kept = total = 0
    for theirs, ours in zip(reference, found, strict=True):
        sure, candidates = theirs.above(SURE), ours.above(SURE * SAME_IOU)
        total += len(sure)
        if len(sure) and len(candidates):
            same = sure.labels[:, None] == candidates.labels[None]
            kept += int(((pairwise_iou(sure.boxes, candidates.boxes) > SAME_IOU) & same).any(1).sum())
    return kept / total if total else float("nan")


def _ways(model: Detector, pictures: Sequence[Tensor], folder: Path, *, compiled: bool) -> Iterator[_Way]:
    on_processor = next(model.parameters()).device.type == "cpu"
    yield _Way("torch, as it is", lambda: model)
    yield _Way("torch, optimised", lambda: optimize(model))
    yield _Way("torch, bf16", lambda: optimize(model, dtype=torch.bfloat16))
    if not on_processor:
        yield _Way("torch, fp16", lambda: optimize(model, dtype=torch.float16))
    if compiled:
        yield _Way("torch, compiled", lambda: optimize(model, compile=True))
    if on_processor:
        yield _Way("ONNX Runtime", lambda: _onnx(model, pictures, folder))
        yield _Way("OpenVINO", lambda: _openvino(model, folder))
        note = "calibrated on these pictures; what it costs in AP: pagoda export --int8"
        yield _Way("OpenVINO, int8", lambda: _int8(model, pictures, folder), note)


def _onnx(model: Detector, pictures: Sequence[Tensor], folder: Path) -> Detector:
    path = folder / "model.onnx"
    export_onnx(model, path, pictures=pictures, overwrite=True)
    return load_exported(path)


def _openvino(model: Detector, folder: Path) -> Detector:
    path = folder / "model.xml"
    write_ir(ir_of(model, model.postprocess)[0], path)
    return load_exported(path)


def _int8(model: Detector, pictures: Sequence[Tensor], folder: Path) -> Detector:
    ir, modules = ir_of(model, model.postprocess)
    path = folder / "int8.xml"
    frames = (fitted(model.input_spec, picture, None) for picture in pictures)
    write_ir(quantize(ir, modules, frames, len(pictures))[0], path)
    return load_exported(path)


def _resident_mib() -> float:
    """Of this process; nan where the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return float("nan")
    import resource

    return pages * resource.getpagesize() / 2**20
