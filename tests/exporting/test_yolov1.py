"""A network whose connected layers read one size leaves the house, whatever is open in a file."""

import sys
from pathlib import Path

import pytest
import torch

from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.openvino import export_openvino
from pagoda.exporting.parity_pictures import drawn_pictures
from pagoda.exporting.program import export_forward
from pagoda.exporting.raw_heads import export_raw_heads
from pagoda.models import load
from pagoda.structures.images import ImageBatch

sys.path.insert(0, str(Path(__file__).parent))
from small import small_darknet

pytest.importorskip("onnxruntime", reason="needs pip install 'pagoda-vision[export]'")
pytestmark = pytest.mark.medium


def test_a_darknet_file_finds_what_the_model_finds(tmp_path: Path) -> None:
    model, path = small_darknet(), tmp_path / "model.onnx"
    report = export_onnx(model, path)
    assert report.passed and report.detections >= 400 and len({batch for batch, _, _ in report.batches}) > 1
    exported, picture = load(path), drawn_pictures((333, 500), 1)[0]
    assert exported.input_spec.resample == "corners" and exported.input_spec.resized((333, 500)) == (96, 128)
    (found,), (expected,) = exported.predict([picture]), model.predict([picture])
    assert (
        len(expected) > 50 and abs(len(found) - len(expected)) <= 5
    )  # the file's pixels are whole grey values
    near = (found.boxes[:, None] - expected.boxes).abs().amax(-1) < 5.0
    assert near.any(1).float().mean() > 0.95


@pytest.mark.slow
def test_a_darknet_file_of_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs pip install 'pagoda-vision[openvino]'")
    assert export_openvino(small_darknet(), tmp_path / "model.xml").passed


def test_another_size_is_refused_before_anything_is_traced(tmp_path: Path) -> None:
    for write in (export_onnx, export_raw_heads):
        with pytest.raises(ValueError, match="read 96×128 pixels and nothing else: leave --size out"):
            write(small_darknet(), tmp_path / "model.onnx", size=(64, 64))
    assert not list(tmp_path.iterdir())


def test_the_graph_of_the_network_takes_smaller_batches() -> None:
    model = small_darknet()
    images = ImageBatch(torch.rand(3, 3, 64, 96), torch.tensor([[64, 96]] * 3))
    with torch.no_grad():
        found, expected = export_forward(model).module()(images), model(images)
    for mine, theirs in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(mine, theirs)
