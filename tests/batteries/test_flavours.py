"""Every program's conventions, on a small network: they travel through JSON, train a step, and pass torch.export."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pagoda.detectors.contract import Detector
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.program import export_forward
from pagoda.models import create_model, list_flavours
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.zoo.families import FAMILIES

pytestmark = pytest.mark.medium

NAMES = [f"{d}_resnet18_fpn.{flavour}" for d in ("fcos", "retinanet") for flavour in list_flavours(d)]
SMALL = {"num_classes": 3, "width": 32, "head_depth": 1, "base_channels": 16}
TWO_LEVELS = {"levels": (3,), "top_level": 4}  # tracing costs by the level
# What flavours add to a graph: quality beside the classes, steps by the padded size, a pyramid that begins at C5.
# A stem that rounds up goes into an ONNX file below. The rest are others' parts with other numbers.
EXPORTED = (
    "fcos_resnet18_fpn.original",
    "fcos_resnet18_fpn.torchvision",
    "retinanet_resnet18_fpn.torchvision_v2",
)


def small(name: str, **options) -> Detector:
    """With logits that differ from class to class, so that rounding decides nothing."""
    model = create_model(name, **SMALL, **options)
    if model.input_spec.canvas:
        model.input_spec = replace(model.input_spec, canvas=(160, 160))
    nn.init.normal_(model.class_head.predict.weight)
    images = model.input_spec.batch([torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)])
    with torch.no_grad():
        model.class_head.predict.weight /= model.eval()(images).class_logits.std()
    return model


@pytest.mark.parametrize("detector", ["fcos", "retinanet", "ssd300", "ssdlite320", "yolov1"])
def test_conventions_travel_through_json(detector: str) -> None:
    for name, flavour in FAMILIES[detector].flavours.items():
        again = type(flavour).from_dict(json.loads(json.dumps(flavour.to_dict())))
        assert again == flavour and again.to_dict() == flavour.to_dict(), name
        with pytest.raises(ValueError, match=r"unknown setting 'flavour\.from_the_future'"):
            type(flavour).from_dict({**flavour.to_dict(), "from_the_future": 1})


def objects() -> list[Targets]:
    """Of all sizes in the first picture, none in the second."""
    boxes = [[4.0, 6, 30, 40], [50, 10, 110, 100], [0, 0, 160, 128], [90, 90, 100, 120], [120, 20, 126, 25]]
    full = Targets(
        torch.tensor(boxes), torch.tensor([0, 1, 2, 0, 1]), (128, 160), torch.zeros(5, dtype=torch.bool)
    )
    none = torch.zeros(0)
    return [full, Targets(none.reshape(0, 4), none.long(), (120, 150), none.bool())]


@pytest.mark.parametrize("name", NAMES)
def test_one_step_reaches_every_tensor_that_learns(name: str) -> None:
    model = small(name).train()
    pictures = [torch.randint(0, 256, (3, *target.image_size), dtype=torch.uint8) for target in objects()]
    losses = model.losses(model.input_spec.batch(pictures), objects())
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values()), losses
    sum(losses.values()).backward()
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n, p in learning.items() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    assert [n for n, p in learning.items() if not p.grad.any()] == []
    assert all(p.grad is None for n, p in model.named_parameters() if n not in learning)
    before = {n: p.detach().clone() for n, p in learning.items()}
    torch.optim.SGD(learning.values(), lr=1.0).step()
    assert [n for n, p in learning.items() if torch.equal(p, before[n])] == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in EXPORTED else pytest.mark.slow) for name in NAMES]
)
def test_exported_forward_equals_eager(name: str) -> None:
    assert set(EXPORTED) < set(NAMES)
    model = small(name, **TWO_LEVELS)
    program = export_forward(model).module()
    images = ImageBatch(torch.randn(1, 3, 96, 64), torch.tensor([[96, 64]]))
    with torch.no_grad():
        exported, eager = program(images), model(images)
    for field, expected in eager._asdict().items():
        torch.testing.assert_close(getattr(exported, field), expected, msg=f"{name} {field}")


def talkative(model: Detector) -> Detector:
    """Half of the places say something, of boxes about as large as their anchors: the threshold in the file decides,
    not one of zero, for which a comparison reaches where nothing does."""
    images = model.input_spec.batch([torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)])
    with torch.no_grad():
        model.class_head.predict.bias.zero_()
        model.box_head.predict.weight /= 5 * model.eval()(images).box_outputs.std()
    return model


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("retinanet_resnet18_fpn.bubbliiiing", marks=pytest.mark.slow),
        # tests/exporting/test_onnx.py has an FCOS with steps by the padded size
        pytest.param("fcos_resnet18_fpn.torchvision", marks=pytest.mark.slow),
        pytest.param("fcos_resnet18_fpn.original", marks=pytest.mark.slow),
        pytest.param("retinanet_resnet18_fpn.maskrcnn_benchmark", marks=pytest.mark.slow),
    ],
)
def test_onnx_file_equals_model(name: str, tmp_path: Path) -> None:
    """Steps by the padded size, a grey border, inclusive boxes in the order of places: all in the file."""
    pytest.importorskip("onnxruntime")
    model = talkative(small(name, **TWO_LEVELS))
    canvas = (96, 128) if model.input_spec.canvas else None
    model.input_spec = replace(model.input_spec, short_side=96, long_side=160, canvas=canvas)
    report = export_onnx(model, tmp_path / "model.onnx")
    assert report.passed and report.pictures >= 8 and report.detections >= 100, report.summary()
