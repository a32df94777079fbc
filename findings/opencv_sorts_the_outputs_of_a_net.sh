#!/usr/bin/env bash
# OpenCV 4.14.0 and 5.0.0: cv2.dnn of OpenCV 4 sorts the outputs of an ONNX file by their names. The list of
# getUnconnectedOutLayersNames(), which people hand to forward(), is alphabetical (output_10 before output_2), and
# forward() without names gives what the last node of the file computes. OpenCV 5 keeps the order of the file, and its
# forward() gives the first output; asked for ENGINE_CLASSIC it does as 4 did. So outputs of equal shape change places
# when OpenCV is upgraded or when an output is renamed in the export, and no call fails.
#
# Output seen:  4.14.0: boxes, scores come back as boxes, scores; forward() alone is scores
#               4.14.0: scores, boxes come back as boxes, scores; forward() alone is boxes
#               4.14.0: output_2, output_10 come back as output_10, output_2; forward() alone is output_10
#               5.0.0: boxes, scores come back as boxes, scores; forward() alone is boxes
#               5.0.0: scores, boxes come back as scores, boxes; forward() alone is scores
#               5.0.0: output_2, output_10 come back as output_2, output_10; forward() alone is output_2
#               5.0.0 with ENGINE_CLASSIC: as 4.14.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > outputs.py <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper


def write(names: list[str]) -> None:
    """Output number i of the file holds i everywhere."""
    shape = [1, 4, 2]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]
    numbers = [helper.make_tensor(f"number_{i}", TensorProto.FLOAT, [1], [i]) for i in range(len(names))]
    nodes = [helper.make_node("Add", ["image", f"number_{i}"], [name]) for i, name in enumerate(names)]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "graph", [image], outputs, numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "net.onnx")


def run(names: list[str], *engine: int) -> tuple[list[str], str]:
    """The names of the outputs as cv2 lists them, each with what it holds, and that of forward() alone."""
    write(names)
    net = cv2.dnn.readNetFromONNX("net.onnx", *engine)
    net.setInput(np.zeros((1, 4, 2), np.float32))
    listed = list(net.getUnconnectedOutLayersNames())
    assert [names[int(output.ravel()[0])] for output in net.forward(listed)] == listed
    return listed, names[int(net.forward().ravel()[0])]


files = (["boxes", "scores"], ["scores", "boxes"], ["output_2", "output_10"])
version = cv2.__version__
assert version == sys.argv[1]
for names in files:
    listed, alone = run(names)
    print(f"{version}: {', '.join(names)} come back as {', '.join(listed)}; forward() alone is {alone}")
    old = (sorted(names), names[-1])
    assert (listed, alone) == (old if version.startswith("4") else (names, names[0]))
    if version.startswith("5"):
        assert run(names, cv2.dnn.ENGINE_CLASSIC) == old
if version.startswith("5"):
    print(f"{version} with ENGINE_CLASSIC: as 4.14.0")
PYTHON
try() { # the release, the version it reports
    python3 -m venv "venv_$2"
    "venv_$2/bin/pip" install --quiet opencv-python-headless=="$1" onnx==1.23.2 numpy==2.4.6
    "venv_$2/bin/python" outputs.py "$2"
}
try 4.14.0.94 4.14.0
try 5.0.0.93 5.0.0
