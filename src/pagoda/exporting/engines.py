"""Files that `pagoda export` wrote, run by ONNX Runtime or OpenVINO: pixels in, tensors of fixed size out."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pagoda.exporting.onnx_outputs import without_output
from pagoda.exporting.program import THRESHOLD
from pagoda.plain import checked

ENDINGS = {".onnx": ("onnxruntime",), ".xml": ("openvino",)}
"""of files that can be run → the packages which that takes"""
_EXTRAS = {".onnx": "export", ".xml": "openvino"}
_NEEDED = ("names", "category_ids", "input_spec", "postprocess")
"""metadata without which nobody knows what the outputs mean"""
OFTEN, FIXED_SHAPES = 192, 4
"""runs of one shape, after which OpenVINO compiles a model for it alone, and how many such models are kept; to compile
takes a second or two, and spares some milliseconds of every run"""
SPARED = ("masks", "mask_probabilities")
"""the output that costs much, and the one of which whoever has it pastes masks at any size"""


class Engine(Protocol):
    """One exported file, ready to run."""

    metadata: Mapping[str, str]
    """what `pagoda.exporting.onnx.metadata` says of the model"""
    batch: int | None
    """how many pictures, or clips, the file takes at a time; None: any number"""

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Its inputs in their order, of a detector uint8 (B, 3 or 4, H, W), to its outputs by name: boxes (B, D, 4),
        scores, labels …"""
        ...


def open_engine(
    path: str | Path, *, min_score: float | None = None, ending: str = "", pasted: bool = True
) -> Engine:
    """The file's engine, on as many threads as torch uses; `min_score` takes the place of the threshold built in.

    `ending` says what kind of file it is where its name does not. Unless `pasted`, files that give
    `mask_probabilities` are not asked for `masks`, and nothing is computed for these.

    Raises ImportError for a package that is missing, FileNotFoundError, and ValueError for a file that cannot be
    read or that another program exported.
    """
    engine = open_any_engine(path, min_score=min_score, ending=ending, pasted=pasted)
    check_is_detector(path, engine.metadata)
    return engine


def open_any_engine(
    path: str | Path, *, min_score: float | None = None, ending: str = "", pasted: bool = True
) -> Engine:
    """As `open_engine`, of whatever the file may hold, a half of a detector, say."""
    path = Path(path)
    ending = ending or path.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"expected an exported file ({' or '.join(ENDINGS)}), got {path}")
    check_engine(ending)
    if not path.is_file():
        raise FileNotFoundError(f"no exported file {path}")
    if ending == ".xml" and not path.with_suffix(".bin").is_file():
        raise FileNotFoundError(
            f"{path} has its weights in {path.with_suffix('.bin').name}, which is not beside it"
        )
    try:
        engine: Engine = (OnnxEngine if ending == ".onnx" else _OpenVINO)(path, min_score, pasted=pasted)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} cannot be run: {str(error).strip().splitlines()[0]}") from error
    return engine


def check_is_detector(path: str | Path, said: Mapping[str, str]) -> None:
    """Raises ValueError for metadata of what is no detector that `pagoda export` wrote to `path`."""
    if "decoding" in said:
        raise ValueError(
            f"{path} holds raw heads, whose outputs are boxes only after what its metadata call decoding; export"
            " the checkpoint without --raw-heads to run it here"
        )
    missing = [name for name in _NEEDED if name not in said]
    if missing:
        raise ValueError(
            f"{path} was not written by pagoda export: its metadata lack {', '.join(missing)}, without which its"
            " outputs mean nothing; export the checkpoint anew with `pagoda export CHECKPOINT MODEL`"
        )


def check_engine(ending: str) -> None:
    """Raises ImportError that names the missing packages of a kind of file, and the extra that brings them."""
    missing = [name for name in ENDINGS[ending] if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{ending} files need {' and '.join(missing)}; install with: pip install"
            f" 'pagoda-vision[{_EXTRAS[ending]}]'"
        )


@checked
class OnnxEngine:
    """By ONNX Runtime, on the processor and as many threads as torch uses; any file.

    Raises ValueError for a file that cannot be read.
    """

    def __init__(self, path: Path, min_score: float | None = None, *, pasted: bool = True) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        if min_score is not None:  # takes the place of the graph's own; the session does not keep it alive
            self._threshold = onnxruntime.OrtValue.ortvalue_from_numpy(np.array(min_score, np.float32))
            options.add_initializer(THRESHOLD, self._threshold)
        fewer = None if pasted else without_output(path.read_bytes(), *SPARED)
        try:
            self._session = onnxruntime.InferenceSession(
                fewer or str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own classes have no common base
            raise ValueError(str(error)) from error
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        inputs = self._session.get_inputs()
        self._inputs = [each.name for each in inputs]
        first = inputs[0].shape[0] if inputs and inputs[0].shape else None
        self.batch = first if isinstance(first, int) else None
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        given = {name: value.numpy() for name, value in zip(self._inputs, inputs, strict=True)}
        values = self._session.run(self._names, given)
        return {name: torch.from_numpy(value) for name, value in zip(self._names, values, strict=True)}


class _OpenVINO:
    """By OpenVINO, on the processor.

    Computes in fp32: where the processor reports bf16 the plugin would take that unasked, and 256 + 1 be 256. Layers
    that the file itself quantises stay int8.
    """

    def __init__(self, path: Path, min_score: float | None, *, pasted: bool = True) -> None:
        openvino = silent_import("openvino")
        model = openvino.Core().read_model(path)
        if min_score is not None:
            set_threshold(model, min_score)
        self.metadata = read_metadata(model)
        outputs = {output.any_name: output for output in model.outputs}
        if not pasted and set(SPARED) <= set(outputs):
            model.remove_result(outputs[SPARED[0]].get_node())
        first = model.input(0).partial_shape
        self.batch = (
            first[0].get_length() if first.rank.is_static and len(first) and first[0].is_static else None
        )
        self._compiled = _ShapedModel(model)
        self._names = [output.any_name for output in model.outputs]

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        found = self._compiled.of(tuple(inputs[0].shape))([value.numpy() for value in inputs])
        return {name: torch.from_numpy(np.array(found[name])) for name in self._names}


class _ShapedModel:
    """An openvino.Model of free size, compiled when it is first asked for: a file is often opened once more, with the
    threshold that somebody wants. And once more for each shape that comes often, which runs more quickly, for then the
    plugin settles all sizes beforehand."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._is_fixed = not model.is_dynamic()
        self._counts: Counter[tuple[int, ...]] = Counter()
        self._fixed: dict[tuple[int, ...], Any] = {}

    @cached_property
    def _free(self) -> Any:
        return compile_model(self._model)

    def of(self, shape: tuple[int, ...]) -> Any:
        """The compiled model for a first input of this shape, (B, C, H, W) images."""
        if shape not in self._fixed:
            self._counts[shape] += 1
            if self._counts[shape] < OFTEN or self._is_fixed:
                return self._free
            self._counts[shape] = 0
            if len(self._fixed) >= FIXED_SHAPES:  # the oldest
                del self._fixed[next(iter(self._fixed))]
            fixed = self._model.clone()
            fixed.reshape({0: list(shape)})
            self._fixed[shape] = compile_model(fixed)
        return self._fixed[shape]


def compile_model(model: Any) -> Any:
    """An openvino.Model for this processor, in fp32 and on as many threads as torch uses. Raises ValueError where the
    plugin cannot."""
    openvino = silent_import("openvino")
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    try:
        return openvino.Core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise ValueError(f"OpenVINO cannot run it: {str(error).strip().splitlines()[0]}") from error


def set_threshold(model: Any, min_score: float) -> None:
    """Put another score threshold into an openvino.Model."""
    openvino = silent_import("openvino")
    value = openvino.opset13.constant(np.array(min_score, np.float32))
    value.set_friendly_name(THRESHOLD)
    for node in model.get_ordered_ops():
        if node.get_friendly_name() == THRESHOLD:
            node.output(0).replace(value.output(0))


def read_metadata(model: Any) -> dict[str, str]:
    """What stands under "pagoda" in the rt_info of an openvino.Model; empty for another program's."""
    if not model.has_rt_info("pagoda"):
        return {}
    return {name: str(value) for name, value in model.get_rt_info("pagoda").value.items()}


def silent_import(name: str) -> Any:
    """openvino or nncf; both report to their makers that they are imported, and number their users, except on machines
    of test farms."""
    with on_a_test_farm():
        return import_module(name)


@contextmanager
def on_a_test_farm() -> Iterator[None]:
    """In the block openvino and nncf take the machine for one, and send nothing."""
    before = {variable: os.environ.get(variable) for variable in ("CI", "NNCF_CI")}
    os.environ.update(CI="true", NNCF_CI="1")
    try:
        yield
    finally:
        for variable, value in before.items():
            os.environ.pop(variable)
            if value is not None:
                os.environ[variable] = value
