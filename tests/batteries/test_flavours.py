"""Every program's conventions, on a small network: they travel through JSON, train a step, and pass torch.export."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from pagoda.detectors.contract import Detector
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.program import export_forward
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.zoo.families import FAMILIES
from pagoda.zoo.models import create_model, list_flavours

pytestmark = pytest.mark.medium

NAMES = [f"{d}_resnet18_fpn.{flavour}" for d in ("fcos", "retinanet") for flavour in list_flavours(d)]
SMALL = {"num_classes": 3, "width": 32, "head_depth": 1}


def small(name: str) -> Detector:
    """With logits that differ from class to class, so that rounding decides nothing."""
    model = create_model(name, **SMALL)
    nn.init.normal_(model.class_head.predict.weight)
    images = model.input_spec.batch([torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)])
    with torch.no_grad():
        model.class_head.predict.weight /= model.eval()(images).class_logits.std()
    return model


@pytest.mark.parametrize("detector", ["fcos", "retinanet"])
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


@pytest.mark.medium
@pytest.mark.parametrize("name", NAMES)
def test_exported_forward_equals_eager(name: str) -> None:
    model = small(name)
    program = export_forward(model).module()
    images = ImageBatch(torch.randn(1, 3, 96, 64), torch.tensor([[96, 64]]))
    with torch.no_grad():
        exported, eager = program(images), model(images)
    for field, expected in eager._asdict().items():
        torch.testing.assert_close(getattr(exported, field), expected, msg=f"{name} {field}")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("fcos_resnet18_fpn.torchvision", marks=pytest.mark.medium),
        pytest.param("retinanet_resnet18_fpn.bubbliiiing", marks=pytest.mark.medium),
        pytest.param("fcos_resnet18_fpn.original", marks=pytest.mark.slow),
        pytest.param("retinanet_resnet18_fpn.maskrcnn_benchmark", marks=pytest.mark.slow),
    ],
)
def test_onnx_file_equals_model(name: str, tmp_path: Path) -> None:
    """Steps by the padded size, a grey border, inclusive boxes in the order of places: all in the file."""
    pytest.importorskip("onnxruntime")
    model = small(name)
    spec = {**model.input_spec.to_dict(), "short_side": 96, "long_side": 160}
    if model.input_spec.canvas:
        spec["canvas"] = (96, 128)
    model.input_spec = type(model.input_spec).from_dict(spec)
    report = export_onnx(model, tmp_path / "model.onnx")
    assert report.passed and report.pictures >= 8 and report.detections >= 100, report.summary()
