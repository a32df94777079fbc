"""What is left of a file without one of its outputs computes the same, and nothing that the output alone needed."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import pagoda_runtime
from pagoda_runtime import onnx_outputs
from pagoda_runtime.onnx_outputs import without_output

pytestmark = pytest.mark.medium

onnx = pytest.importorskip("onnx")
BRANCHES = {"then_branch": "kept", "else_branch": "other"}


def branch(name: str, reads: str):
    """A graph inside a node that reads a value from outside, of which the node's own inputs say nothing."""
    value = onnx.helper.make_tensor_value_info(f"{name}_out", onnx.TensorProto.FLOAT, None)
    return onnx.helper.make_graph([onnx.helper.make_node("Neg", [reads], [f"{name}_out"])], name, [], [value])


def model() -> bytes:
    """x → kept, other → y by an If; x → kept → spare, of numbers that nobody else reads."""
    helper, arrays = onnx.helper, onnx.numpy_helper
    numbers = {
        "two": np.float32(2),
        "three": np.float32(3),
        "spare_numbers": np.float32(5),
        "yes": np.bool_(True),
    }
    branches = {key: branch(key, reads) for key, reads in BRANCHES.items()}
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["kept"]),
        helper.make_node("Mul", ["x", "three"], ["other"]),
        helper.make_node("Add", ["kept", "spare_numbers"], ["between"]),
        helper.make_node("If", ["yes"], ["y"], **branches),
        helper.make_node("Sqrt", ["between"], ["spare"]),
        helper.make_node("Abs", ["other"], ["beside"]),
    ]
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"])
        for name in ("x", "y", "spare", "beside")
    ]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:])
    graph.initializer.extend(arrays.from_array(np.asarray(value), name) for name, value in numbers.items())
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, {"names": "größer"})
    return made.SerializeToString()


def run(content: bytes) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert session.get_modelmeta().custom_metadata_map == {"names": "größer"}
    return dict(zip(names, session.run(names, {"x": np.array([1, 4], np.float32)}), strict=True))


def test_what_the_output_alone_needed_is_gone_and_what_subgraphs_read_stays():
    whole, fewer = model(), without_output(model(), "spare", "y")
    left = onnx.ModelProto.FromString(fewer)
    onnx.checker.check_model(left, full_check=True)
    assert [node.op_type for node in left.graph.node] == ["Mul", "Mul", "If", "Abs"]
    assert {each.name for each in left.graph.initializer} == {"two", "three", "yes"}
    expected, found = run(whole), run(fewer)
    assert set(expected) - set(found) == {"spare"}
    assert all(np.array_equal(expected[name], value) for name, value in found.items())
    only_y = onnx.ModelProto.FromString(without_output(fewer, "beside", "y"))
    assert [node.op_type for node in only_y.graph.node] == ["Mul", "Mul", "If"]


def test_files_that_lack_one_of_both_stay_as_they_are():
    assert without_output(model(), "masks", "y") is None
    assert without_output(model(), "spare", "mask_probabilities") is None


def test_bytes_that_are_no_model_are_left_to_others(rng):
    whole = model()
    for end in range(len(whole)):
        without_output(whole[:end], "spare", "y")  # raises nothing
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        without_output(bytes(damaged), "spare", "y")
    assert without_output(b"", "spare", "y") is None and without_output(b"\xff" * 99, "spare", "y") is None


def test_the_file_is_pagodas():
    pagoda = Path(pagoda_runtime.__file__).parents[3] / "src" / "pagoda" / "exporting" / "onnx_outputs.py"
    if not pagoda.is_file():
        pytest.skip("needs a checkout of Pagoda")
    assert inspect.getsource(onnx_outputs) == pagoda.read_text(encoding="utf-8")
