"""Files that `pagoda export` wrote, opened by ONNX Runtime or OpenVINO: bytes in, arrays by name out."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pagoda_runtime.errors import ModelFileError
from pagoda_runtime.onnx_outputs import without_output

Run = Callable[..., dict[str, np.ndarray]]
CLIP = "clip"
"""the entry of the metadata that files of clips have alone"""
KEYS = (
    CLIP,
    "pagoda_version",
    "model",
    "names",
    "category_ids",
    "input_spec",
    "postprocess",
    "skeleton",
    "thresholds",
)
"""of the metadata"""
OFTEN, FIXED_SHAPES = 192, 4
"""runs of one shape, after which OpenVINO compiles a model for it alone, and how many such models are kept"""
SPARED = ("masks", "mask_probabilities")
"""the output that costs much, and the one of which masks are pasted here, at the size of each picture"""
REMEDY = "write one with `pagoda export CHECKPOINT model.onnx`"


@dataclass(frozen=True)
class OpenedFile:
    """A network that is ready to run."""

    metadata: dict[str, str]
    run: Run
    """its inputs in their order, of a detector uint8 (B, C, H, W), to what the graph says of them"""
    outputs: tuple[str, ...]
    """that are computed: without the first of `SPARED` where the file has both"""
    input_shape: tuple[int | None, ...]
    """of the first input; None where any size will do"""
    engine: str
    """"ONNX Runtime" or "OpenVINO", with its version"""


def open_file(path: str | Path, *, threads: int | None, providers: Sequence[str] | None) -> OpenedFile:
    """The file at `path`, by its ending. Raises FileNotFoundError or ModelFileError."""
    path = Path(path)
    if path.suffix.lower() not in (".onnx", ".xml"):
        raise ModelFileError(f"a model's file ends in .onnx or .xml (OpenVINO), got {path}; {REMEDY}")
    if not path.is_file():
        raise FileNotFoundError(f"expected a model's file, but there is no {path}; {REMEDY}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, or None for as many as the machine has, got {threads}")
    opened = (_open_onnx if path.suffix.lower() == ".onnx" else _open_openvino)(path, threads, providers)
    if CLIP not in opened.metadata:  # those may be halves
        check_detector(opened, path)
    return opened


def check_detector(opened: OpenedFile, path: Path) -> None:
    """Raises ModelFileError where another program wrote the file."""
    missing = [key for key in ("names", "category_ids", "input_spec") if key not in opened.metadata]
    if missing:
        raise ModelFileError(
            f"expected a file that `pagoda export` wrote, but {path} says nothing of {', '.join(missing)} in its"
            f" metadata, so another program has written it; {REMEDY}"
        )
    lacking = [name for name in ("boxes", "scores", "labels") if name not in opened.outputs]
    if lacking:
        raise ModelFileError(
            f"expected outputs boxes, scores and labels, but {path} gives {', '.join(opened.outputs)}; export it"
            " with its selection of objects (without --raw-heads)"
        )


def _open_onnx(path: Path, threads: int | None, providers: Sequence[str] | None) -> OpenedFile:
    import onnxruntime

    wanted = list(providers or ["CPUExecutionProvider"])
    known = onnxruntime.get_available_providers()
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(
            f"this onnxruntime has no provider {', '.join(unknown)}; expected some of {', '.join(known)}"
        )
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    fewer = without_output(path.read_bytes(), *SPARED)
    try:
        session = onnxruntime.InferenceSession(fewer or str(path), options, providers=wanted)
    except Exception as error:  # its exceptions have no common base but this
        raise ModelFileError(f"ONNX Runtime cannot open {path}: {error}; {REMEDY}") from error
    outputs = tuple(output.name for output in session.get_outputs())
    inputs = [each.name for each in session.get_inputs()]
    return OpenedFile(
        dict(session.get_modelmeta().custom_metadata_map),
        lambda *given: dict(
            zip(outputs, session.run(outputs, dict(zip(inputs, given, strict=True))), strict=True)
        ),
        outputs,
        tuple(side if isinstance(side, int) else None for side in session.get_inputs()[0].shape),
        f"ONNX Runtime {onnxruntime.__version__}",
    )


def _open_openvino(path: Path, threads: int | None, providers: Sequence[str] | None) -> OpenedFile:
    """Single precision is asked for: where the processor has bf16 the plugin would take that by itself, also for the
    layers that an int8 file keeps."""
    if find_spec("openvino") is None:
        raise ImportError(
            f"{path} needs OpenVINO, which is not installed; install with: pip install 'pagoda-runtime[openvino]'"
        )
    openvino = _import_openvino()
    core = openvino.Core()
    try:
        model = core.read_model(str(path))
    except RuntimeError as error:
        raise ModelFileError(f"OpenVINO cannot open {path}: {error}; {REMEDY}") from error
    metadata = {
        key: model.get_rt_info(["pagoda", key]).astype(str)
        for key in KEYS
        if model.has_rt_info(["pagoda", key])
    }
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(threads)
    named = {output.any_name: output for output in model.outputs}
    if set(SPARED) <= set(named):
        model.remove_result(named[SPARED[0]].get_node())
    compiled = _ShapedModel(model, lambda given: core.compile_model(given, (providers or ["CPU"])[0], config))
    outputs = tuple(output.any_name for output in model.outputs)

    def run(*given: np.ndarray) -> dict[str, np.ndarray]:
        request = compiled.of(given[0].shape).create_infer_request()  # one for each thread that asks
        found = request.infer(dict(enumerate(given)))
        return {name: np.array(found[position]) for position, name in enumerate(outputs)}

    shape = tuple(None if side.is_dynamic else side.get_length() for side in model.inputs[0].partial_shape)
    return OpenedFile(metadata, run, outputs, shape, f"OpenVINO {openvino.__version__.split('-')[0]}")


class _ShapedModel:
    """An openvino.Model of free size, compiled; and once more for each shape that comes often, which runs more quickly,
    for the plugin then settles all sizes beforehand."""

    def __init__(self, model: Any, compile_model: Callable[[Any], Any]) -> None:
        self._model, self._compile, self._free = model, compile_model, compile_model(model)
        self._is_fixed = not model.is_dynamic()
        self._counts: Counter[tuple[int, ...]] = Counter()
        self._fixed: dict[tuple[int, ...], Any] = {}
        self._lock = Lock()

    def of(self, shape: tuple[int, ...]) -> Any:
        """The compiled model for a first input of this shape, (B, C, H, W) pixels."""
        with self._lock:
            if shape not in self._fixed:
                self._counts[shape] += 1
                if self._counts[shape] < OFTEN or self._is_fixed:
                    return self._free
                self._counts[shape] = 0
                if len(self._fixed) >= FIXED_SHAPES:  # the oldest
                    del self._fixed[next(iter(self._fixed))]
                fixed = self._model.clone()
                fixed.reshape({0: list(shape)})
                self._fixed[shape] = self._compile(fixed)
            return self._fixed[shape]


def _import_openvino() -> Any:
    """The package, which reports to its makers that it is imported, except on machines of test farms."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        return import_module("openvino")
    finally:
        os.environ.pop("CI")
        if before is not None:
            os.environ["CI"] = before
