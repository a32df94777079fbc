#!/usr/bin/env bash
# AveragePool of ONNX with ceil_mode=1 and count_include_pad=1, which torch.onnx makes of AvgPool2d(..., ceil_mode=True):
# the last window reaches beyond the picture. The specification, ONNX Runtime 1.32.0 and PyTorch count padding but
# nothing beyond it. OpenVINO 2026.4.1 does so without padding and counts the whole window with it; OpenCV 5.0.0 counts
# the whole window always, so the border of every odd map is darkened; its ENGINE_CLASSIC, the default of OpenCV 4, does
# not count padding at all. All agree where sizes divide, as in most tests.
#
# Output seen:  a picture of ones; the pixel in the lower right corner of the averages
#               size 7, window 2, stride 2: ONNX 1.000, ONNX Runtime 1.000, OpenVINO 1.000, OpenCV 0.250, classic 1.000
#               size 8, window 3, stride 2, padding 1: ONNX 0.250, ONNX Runtime 0.250, OpenVINO 0.111, OpenCV 0.111,
#               classic 1.000
#               size 8, window 2, stride 2: 1.000 from all five
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    openvino==2026.4.1 opencv-python-headless==5.0.0.93 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
CI=true venv/bin/python - <<'PYTHON'
import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def write(size: int, window: int, padding: int) -> None:
    averages = -(-(size + 2 * padding - window) // 2) + 1
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, size, size])
    pooled = helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [1, 1, averages, averages])
    node = helper.make_node(
        "AveragePool", ["image"], ["pooled"], kernel_shape=[window] * 2, strides=[2, 2], pads=[padding] * 4,
        ceil_mode=1, count_include_pad=1,
    )
    graph = helper.make_graph([node], "graph", [image], [pooled])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "pool.onnx")


def by_opencv(image: np.ndarray, *engine: int) -> np.ndarray:
    net = cv2.dnn.readNetFromONNX("pool.onnx", *engine)
    net.setInput(image)
    return net.forward()


def corners(size: int, window: int, padding: int) -> list[float]:
    write(size, window, padding)
    image = np.ones((1, 1, size, size), np.float32)
    on_cpu = openvino.Core().compile_model("pool.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {
        "ONNX": ReferenceEvaluator("pool.onnx").run(None, {"image": image})[0],
        "ONNX Runtime": onnxruntime.InferenceSession("pool.onnx").run(None, {"image": image})[0],
        "OpenVINO": on_cpu([image])[0],
        "OpenCV": by_opencv(image),
        "classic": by_opencv(image, cv2.dnn.ENGINE_CLASSIC),
    }
    assert len({result.shape for result in found.values()}) == 1
    last = {name: round(float(result[0, 0, -1, -1]), 3) for name, result in found.items()}
    padded = f", padding {padding}" if padding else ""
    print(f"size {size}, window {window}, stride 2{padded}:", ", ".join(f"{name} {v:.3f}" for name, v in last.items()))
    return list(last.values())


print("a picture of ones; the pixel in the lower right corner of the averages")
assert corners(7, 2, 0) == [1.0, 1.0, 1.0, 0.25, 1.0]
assert corners(8, 3, 1) == [0.25, 0.25, 0.111, 0.111, 1.0]
assert corners(8, 2, 0) == [1.0] * 5
PYTHON
