"""Files for other programs: in their form, readable by us again, and honest about what will differ."""

from pathlib import Path

import pytest
import torch

from pagoda.convert.read import convert
from pagoda.convert.write_checkpoint import write_for
from pagoda.models import create_model

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1}


@pytest.mark.parametrize(
    ("name", "program", "keys"),
    [
        ("fcos_resnet18_fpn.improved", "fcos", {"model"}),
        ("retinanet_resnet18_fpn.maskrcnn_benchmark", "maskrcnn_benchmark", {"model"}),
        ("retinanet_resnet18_fpn.detectron2", "detectron2", {"model", "__author__"}),
        ("fcos_resnet18_fpn.adelaidet", "adelaidet", {"model", "__author__"}),
        ("fcos_resnet18_fpn.mmdet_improved", "mmdet", {"meta", "state_dict"}),
        ("retinanet_resnet18_fpn.torchvision", "torchvision", None),
        ("retinanet_resnet18_fpn.bubbliiiing", "bubbliiiing", None),
        ("mask_rcnn_resnet18_fpn.maskrcnn_benchmark", "maskrcnn_benchmark", {"model"}),
        ("faster_rcnn_resnet18_fpn.detectron2", "detectron2", {"model", "__author__"}),
        ("faster_rcnn_resnet18_dc5.detectron2", "detectron2", {"model", "__author__"}),
        ("keypoint_rcnn_resnet18_fpn.torchvision", "torchvision", None),
        ("mask_rcnn_resnet18_fpn.mmdet", "mmdet", {"meta", "state_dict"}),
    ],
)
def test_every_program_gets_its_own_form_and_loses_nothing(
    tmp_path: Path, name: str, program: str, keys: set[str] | None
) -> None:
    small = {"width": 32} if name.startswith("faster_rcnn") else SMALL
    model = create_model(name, num_classes=80, **small)
    report = write_for(model, program, tmp_path / "imprv.pth")
    content = torch.load(tmp_path / "imprv.pth", weights_only=True)
    tensors = content.get("model") or content.get("state_dict") or content
    assert set(content) == keys if keys else all(isinstance(each, torch.Tensor) for each in content.values())
    assert report.tensors == len(tensors) and report.differences == []
    assert "nothing: every convention is the program's own" in report.text()
    again = convert(tmp_path / "imprv.pth").model
    assert again.origin["model"] == model.origin["model"]
    state = again.state_dict()
    for key, tensor in model.state_dict().items():
        if key not in report.left_out:
            torch.testing.assert_close(state[key], tensor, rtol=0, atol=1e-6, msg=key)


def test_what_another_program_computes_otherwise_is_said(tmp_path: Path) -> None:
    model = create_model("fcos_resnet18_fpn.improved", num_classes=80, **SMALL)
    report = write_for(model, "adelaidet", tmp_path / "a.pth")
    assert any(line.startswith("input_spec.mean: ") for line in report.differences)
    assert report.to_dict()["differences"] == report.differences and "differs" in report.text()


def test_the_licence_goes_back_with_the_weights(tmp_path: Path) -> None:
    model = create_model("fcos_resnet18_fpn.improved", num_classes=80, **SMALL)
    assert write_for(model, "fcos", tmp_path / "imprv.pth").licence == ""
    converted = convert(tmp_path / "imprv.pth").model
    assert "non-commercial" in write_for(converted, "adelaidet", tmp_path / "a.pth").licence


def test_programs_are_known_by_name(tmp_path: Path) -> None:
    model = create_model("fcos_resnet18_fpn", num_classes=80, **SMALL)
    with pytest.raises(ValueError, match="did you mean 'detectron2'"):
        write_for(model, "detectron", tmp_path / "a.pth")
    assert not list(tmp_path.iterdir())
