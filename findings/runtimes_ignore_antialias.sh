#!/usr/bin/env bash
# openvino 2026.4.1 and OpenCV 5.0.0: the attribute antialias=1 of ONNX's Resize (opset 18; torch.onnx writes it for
# interpolate(..., antialias=True)) is ignored. Both read the file without a word and shrink by plain interpolation: of a
# picture with one white column in eight, shrunk to a quarter, nothing is left, where the specification and ONNX Runtime
# 1.32.0 keep it as grey. So preprocessing that was put into the exported file to be the same everywhere is not, and a
# comparison of runtimes on pictures that are enlarged, or shrunk by little, does not show it.
#
# Output seen:  one white column in eight, shrunk to a quarter; least and greatest pixel of the result
#               antialias=1: ONNX 0.000 to 0.281, ONNX Runtime 0.000 to 0.281, OpenVINO and OpenCV
#               0.000 to 0.000
#               antialias=0: 0.000 to 0.000 from all four
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    openvino==2026.4.1 opencv-python-headless==5.0.0.93 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
CI=true venv/bin/python - <<'PYTHON' 2> said || { cat said; exit 1; }
import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def write(antialias: int) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 32, 32])
    small = helper.make_tensor_value_info("small", TensorProto.FLOAT, [1, 1, 8, 8])
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 0.25, 0.25])
    node = helper.make_node(
        "Resize", ["image", "", "scales"], ["small"], mode="linear", antialias=antialias,
        coordinate_transformation_mode="half_pixel",
    )
    graph = helper.make_graph([node], "graph", [image], [small], [scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "resize.onnx")


def run(image: np.ndarray) -> dict[str, np.ndarray]:
    net = cv2.dnn.readNetFromONNX("resize.onnx")
    net.setInput(image)
    on_cpu = openvino.Core().compile_model("resize.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {
        "ONNX": ReferenceEvaluator("resize.onnx").run(None, {"image": image})[0],
        "ONNX Runtime": onnxruntime.InferenceSession("resize.onnx").run(None, {"image": image})[0],
        "OpenVINO": on_cpu([image])[0],
        "OpenCV": net.forward(),
    }


image = np.zeros((1, 1, 32, 32), np.float32)
image[..., ::8] = 1
print("one white column in eight, shrunk to a quarter; least and greatest pixel of the result")
for antialias in (1, 0):
    write(antialias)
    found = run(image)
    print(f"antialias={antialias}:", ", ".join(f"{name} {r.min():.3f} to {r.max():.3f}" for name, r in found.items()))
    smooth, plain = found["ONNX"], [found["OpenVINO"], found["OpenCV"]]
    assert np.allclose(found["ONNX Runtime"], smooth, atol=1e-5)
    if antialias:
        assert smooth.max() > 0.1 and all(result.max() == 0 for result in plain)
    else:
        assert all(np.allclose(result, smooth, atol=1e-5) for result in plain)
PYTHON
if grep -qi antialias said; then cat said; exit 1; fi
