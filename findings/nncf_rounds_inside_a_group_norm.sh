#!/usr/bin/env bash
# nncf 3.4.0 with openvino 2026.4.1 and onnx 1.23.2: post-training int8 rounds the activations between two convolutions
# to eight bits once where a batch norm stands between them, before the next convolution, which needs it. With a group
# norm it rounds three times where that is written as exporters of opset 18 write it (Reshape, InstanceNormalization,
# Reshape, scale, shift): before the norm, in its middle between the normalised values and their scale, and before the
# next convolution; twice with the operator GroupNormalization of opset 21. Nothing computes a group norm in int8, so
# the others only cost accuracy and time, and IgnoredScope has to name the nodes of every norm to be rid of them: in
# opset 18 there is no node whose type says group norm.
#
# Output seen:  batch norm: rounded before Convolution
#               group norm, opset 18: rounded before Reshape, Reshape, Convolution
#               group norm, opset 21: rounded before GroupNormalization, Convolution
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 nncf==3.4.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
cat > use.py <<'PYTHON'
import logging
from pathlib import Path

import numpy as np
import nncf
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

logging.getLogger("nncf").setLevel(logging.ERROR)
rng = np.random.default_rng(0)
CHANNELS, GROUPS = 16, 4


def constant(name: str, values: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def network(norm: str) -> bytes:
    """Convolution, norm, ReLU, convolution."""
    weight = lambda: rng.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
    scale, shift = (rng.normal(1, 0.2, (CHANNELS, 1, 1)).astype(np.float32) for _ in range(2))
    values = [constant("first", weight()), constant("second", weight())]
    nodes = [helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1])]
    if norm == "group norm, opset 18":
        values += [
            constant("apart", np.array([0, GROUPS, -1])),
            constant("together", np.array([1, CHANNELS, 32, 32])),
            constant("ones", np.ones(GROUPS, np.float32)),
            constant("zeros", np.zeros(GROUPS, np.float32)),
            constant("scale", scale),
            constant("shift", shift),
        ]
        nodes += [
            helper.make_node("Reshape", ["a", "apart"], ["b"]),
            helper.make_node("InstanceNormalization", ["b", "ones", "zeros"], ["c"]),
            helper.make_node("Reshape", ["c", "together"], ["d"]),
            helper.make_node("Mul", ["d", "scale"], ["e"]),
            helper.make_node("Add", ["e", "shift"], ["f"]),
        ]
    else:
        values += [constant("scale", scale.ravel()), constant("shift", shift.ravel())]
        if norm == "batch norm":
            values += [constant("mean", 0 * scale.ravel()), constant("variance", scale.ravel() ** 2)]
            given = ["a", "scale", "shift", "mean", "variance"]
            nodes += [helper.make_node("BatchNormalization", given, ["f"])]
        else:
            given = ["a", "scale", "shift"]
            nodes += [helper.make_node("GroupNormalization", given, ["f"], num_groups=GROUPS)]
    nodes += [
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("Conv", ["g", "second"], ["y"], pads=[1, 1, 1, 1]),
    ]
    sides = [1, CHANNELS, 32, 32]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sides)],
        values,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21 if norm.endswith("21") else 18)], ir_version=10)
    onnx.checker.check_model(made)
    return made.SerializeToString()


for norm in ("batch norm", "group norm, opset 18", "group norm, opset 21"):
    Path("one.onnx").write_bytes(network(norm))
    model = openvino.convert_model("one.onnx")
    pictures = [rng.normal(0, 1, (1, CHANNELS, 32, 32)).astype(np.float32) for _ in range(4)]
    quantised = nncf.quantize(model, nncf.Dataset(pictures), subset_size=4)
    rounded = []
    for node in quantised.get_ordered_ops():
        source = node.input_value(0).get_node().get_type_name() if node.get_type_name() == "FakeQuantize" else ""
        if source not in ("", "Parameter", "Convert"):  # not what comes in, and no weights
            rounded += [each.get_node().get_type_name() for each in node.output(0).get_target_inputs()]
    print(f"{norm}: rounded before {', '.join(rounded)}")
PYTHON
CI=true venv/bin/python use.py 2> errors | grep ': rounded before' > said || { cat errors; exit 1; }
cat said
diff said - <<'SEEN'
batch norm: rounded before Convolution
group norm, opset 18: rounded before Reshape, Reshape, Convolution
group norm, opset 21: rounded before GroupNormalization, Convolution
SEEN
