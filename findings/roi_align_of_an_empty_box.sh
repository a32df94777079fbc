#!/usr/bin/env bash
# RoiAlign of ONNX over a box without area, as graphs of fixed size hold in rows that found nothing (zeros pad them).
# With sampling_ratio 0, the operator's default, the grid adapts to the box and has no point at all: PyTorch's operator
# (torchvision.ops.roi_align) divides by at least 1 and gives zeros, and so does ONNX Runtime 1.32.0; OpenVINO 2026.4.1
# divides by 0 and gives NaN. A mask head behind it then computes on NaN: detections look alike in both, since such rows
# are dropped, but ranges that are measured for int8 become NaN, and with them every mask. With sampling_ratio 2, or a
# box of one pixel instead of none, all agree.
#
# Output seen:  box 0 0 0 0, sampling_ratio 0: ONNX Runtime 0.0, OpenVINO nan
#               box 0 0 0 0, sampling_ratio 2: ONNX Runtime 3.0, OpenVINO 3.0
#               box 0 0 1 1, sampling_ratio 0: ONNX Runtime 3.0, OpenVINO 3.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
CI=true venv/bin/python - <<'PYTHON'
import math

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper

FEATURES = np.full((1, 1, 8, 8), 3.0, np.float32)


def pooled(box: list[float], sampling_ratio: int) -> tuple[float, float]:
    """(by ONNX Runtime, by OpenVINO) of a map that is 3 everywhere."""
    inputs = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 1, 8, 8]),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["count", 4]),
        helper.make_tensor_value_info("images", TensorProto.INT64, ["count"]),
    ]
    output = helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["count", 1, 1, 1])
    node = helper.make_node(
        "RoiAlign", ["features", "boxes", "images"], ["pooled"], output_height=1, output_width=1, mode="avg",
        sampling_ratio=sampling_ratio, spatial_scale=1.0, coordinate_transformation_mode="half_pixel",
    )
    graph = helper.make_graph([node], "graph", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "roi.onnx")
    feeds = {
        "features": FEATURES,
        "boxes": np.array([box], np.float32),
        "images": np.zeros(1, np.int64),
    }
    session = onnxruntime.InferenceSession("roi.onnx", providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model("roi.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return float(session.run(None, feeds)[0].ravel()[0]), float(compiled(feeds)[0].ravel()[0])


found = {}
for box, ratio in (([0, 0, 0, 0], 0), ([0, 0, 0, 0], 2), ([0, 0, 1, 1], 0)):
    found[tuple(box), ratio] = mine, theirs = pooled(box, ratio)
    print(f"box {' '.join(map(str, box))}, sampling_ratio {ratio}: ONNX Runtime {mine:.1f}, OpenVINO {theirs:.1f}")
assert found[(0, 0, 0, 0), 0][0] == 0 and math.isnan(found[(0, 0, 0, 0), 0][1]), "they behave differently now"
assert found[(0, 0, 0, 0), 2][0] == found[(0, 0, 0, 0), 2][1]
assert found[(0, 0, 1, 1), 0][0] == found[(0, 0, 1, 1), 0][1]
PYTHON
