"""The network alone as a file: its numbers, decoded as the documentation says, are the model's boxes and scores."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pagoda.exporting import raw_heads
from pagoda.exporting.engines import open_engine
from pagoda.exporting.parity import ParityError
from pagoda.exporting.parity_pictures import drawn_pictures
from pagoda.exporting.raw_heads import export_raw_heads
from pagoda.models import create_model

sys.path.insert(0, str(Path(__file__).parent))
from small import one_level_fcos, small_darknet, two_levels_and_all_heads, two_levels_of_anchors

onnx = pytest.importorskip("onnx", reason="needs pip install 'pagoda-vision[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install 'pagoda-vision[export]'")
pytestmark = pytest.mark.medium
SIZE = (96, 128)


@pytest.fixture(scope="module")
def of_points(tmp_path_factory):
    model, path = one_level_fcos().eval(), tmp_path_factory.mktemp("raw") / "points.onnx"
    return model, path, export_raw_heads(model, path, size=SIZE)


@pytest.fixture(scope="module")
def of_anchors(tmp_path_factory):
    model = two_levels_of_anchors().eval()
    path = tmp_path_factory.mktemp("raw") / "anchors.onnx"
    return model, path, export_raw_heads(model, path, opset=21)


@pytest.fixture(scope="module")
def of_cells(tmp_path_factory):
    model, path = small_darknet(), tmp_path_factory.mktemp("raw") / "cells.onnx"
    return model, path, export_raw_heads(model, path)


@pytest.fixture(scope="module")
def of_default_boxes(tmp_path_factory):
    torch.manual_seed(0)
    model = create_model(
        "ssd_resnet18", num_classes=3, canvas=SIZE, levels=(3,), top_level=4, width=32
    ).eval()
    for layer in model.class_head.predict.values():
        torch.nn.init.normal_(layer.weight, std=0.05)
    path = tmp_path_factory.mktemp("raw") / "default_boxes.onnx"
    return model, path, export_raw_heads(model, path)


def outputs_of(path: Path, pixels: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": pixels.float().numpy()}), strict=True))


def documented(repository: Path) -> dict[str, object]:
    """The functions that docs/exporting.md shows."""
    (code,) = re.findall(
        r"```python\n(.*?)```", (repository / "docs" / "exporting.md").read_text(encoding="utf-8"), re.S
    )
    names: dict[str, object] = {"np": np}
    exec(code, names)
    return names


@pytest.mark.parametrize(
    ("which", "size"),
    [
        ("of_points", SIZE),
        ("of_anchors", (61, 83)),
        ("of_cells", SIZE),
        pytest.param("of_default_boxes", SIZE, marks=pytest.mark.slow),
    ],
)
def test_decoded_as_the_documentation_says(which, size, request, repository):
    model, path, report = request.getfixturevalue(which)
    assert report.locations > 400 and report.max_box_difference < 0.01 and report.max_score_difference < 1e-4
    said = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    decoding, limits = json.loads(said["decoding"]), json.loads(said["postprocess"])
    pixels = torch.stack(drawn_pictures(size, 1))
    found, functions = outputs_of(path, pixels), documented(repository)
    boxes = functions["decode"](found, decoding)
    scores = functions["scores"](found, limits["combine"], decoding)
    with torch.no_grad():
        expected = model.detect(
            model.input_spec.batch(list(pixels)),
            postprocess=model.postprocess.with_limits(min_score=0.05, max_iou=1.0, max_detections=10**6),
        )[0]
    assert len(expected) > 20
    at, label = np.nonzero(scores[0] > 0.05)
    mine = np.column_stack([boxes[0][at].clip(0, [size[1], size[0]] * 2), scores[0][at, label], label])
    theirs = np.column_stack([expected.boxes, expected.scores, expected.labels])
    away = np.abs(theirs[:, None] - mine[None])
    same = (away[..., :4].max(-1) < 0.05) & (away[..., 4] < 1e-4) & (away[..., 5] == 0)
    assert same.any(1).all()


def test_fixed_shapes_stay_numbers(of_points, of_anchors):
    shapes = [
        {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (*onnx.load(str(path)).graph.input, *onnx.load(str(path)).graph.output)
        }
        for _, path, _ in (of_points, of_anchors)
    ]
    locations = 12 * 16 + 6 * 8
    assert shapes[0] == {
        "images": [1, 3, *SIZE],
        "class_logits": [1, locations, 3],
        "box_outputs": [1, locations, 4],
        "quality_logits": [1, locations],
        "priors": [locations, 2],
    }
    assert shapes[1] == {
        "images": ["batch", 3, "height", "width"],
        "class_logits": ["batch", "locations", 3],
        "box_outputs": ["batch", "locations", 4],
        "priors": ["locations", 4],
    }
    assert {opset.domain: opset.version for opset in onnx.load(str(of_anchors[1])).opset_import}[""] == 21


def test_opencv_computes_the_same(of_points):
    cv2 = pytest.importorskip("cv2")
    pixels = torch.stack(drawn_pictures(SIZE, 1))
    network = cv2.dnn.readNetFromONNX(str(of_points[1]))
    network.setInput(pixels.float().numpy(), "images")
    names = network.getUnconnectedOutLayersNames()
    found, expected = dict(zip(names, network.forward(names), strict=True)), outputs_of(of_points[1], pixels)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].reshape(values.shape), values, atol=1e-3)


def test_it_is_no_file_for_predict(of_points):
    with pytest.raises(ValueError, match=r"holds raw heads.* without --raw-heads"):
        open_engine(of_points[1])


def test_a_file_that_differs_is_not_written(of_points, tmp_path, monkeypatch):
    class File:
        def save(self, path: Path) -> None:
            path.write_bytes(of_points[1].read_bytes())

    monkeypatch.setattr(raw_heads, "_to_onnx", lambda *_: File())
    other = one_level_fcos().eval()
    with torch.no_grad():
        other.box_head.predict.bias[:4] += 0.02
    with pytest.raises(ParityError, match=r"disagrees with the model, so it was not kept"):
        export_raw_heads(other, tmp_path / "heads.onnx", size=SIZE)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"predict at every location .* not of RCNN"):
        export_raw_heads(two_levels_and_all_heads(), tmp_path / "heads.onnx")
    with pytest.raises(FileExistsError, match=r"--overwrite"):
        export_raw_heads(of_points[0], of_points[1])
