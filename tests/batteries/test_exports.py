"""Exported = eager, for every model of the zoo; and one ONNX file per family. New families add a line."""

import pytest
import torch
from torch import Tensor, nn

from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.program import export_forward
from pagoda.models import create_model, list_models
from pagoda.structures.images import ImageBatch
from pagoda.zoo.families import YOLOV1_NETS

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1}
FAMILIES = [
    # Smaller ones are in tests/exporting (FCOS, and an R-CNN with masks and keypoints) and beside the flavours.
    pytest.param("fcos_resnet18_fpn", marks=pytest.mark.slow),
    pytest.param("retinanet_resnet18_fpn", marks=pytest.mark.slow),
    pytest.param("faster_rcnn_resnet18_fpn", marks=pytest.mark.slow),
    pytest.param("mask_rcnn_resnet18_fpn.torchvision", marks=pytest.mark.slow),
    pytest.param("keypoint_rcnn_resnet18_fpn", marks=pytest.mark.slow),
]


# Tracing takes seconds, and most models are others' parts in another order: these have a deep stem with averaging
# projections under an FPN, and a network of timm under a BiFPN; `make test-all` exports the rest. What is traced
# elsewhere: GhostNet's second version with the backbones, ghost ResNets beside their other tests, RetinaNet with the
# raw heads of exported files, R-CNNs and a plain EfficientDet beside their other tests.
STAND_FOR_OTHERS = ("fcos_resnet18d_fpn",)


def zoo_entries() -> list:
    """Every model; a name above that the zoo does not know would leave its kind untested."""
    assert set(STAND_FOR_OTHERS) <= set(list_models())
    return [
        pytest.param(name, marks=[] if name in STAND_FOR_OTHERS else pytest.mark.slow)
        for name in list_models()
    ]


def settle(backbone: nn.Module, pixels: Tensor) -> None:
    """Quiet blocks, and norms, frozen ones too, with the statistics of these pixels.

    A hundred layers that never learnt make other values of roundings: ResNet-101 in single precision is 3 % off itself
    in double, and proposals that have no reason to be ranked as they are change places.
    """
    for name, value in backbone.state_dict().items():
        if name.endswith(("bn2.weight", "bn3.weight")):
            value.fill_(0.2)

    def measure(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        by_channel = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(by_channel.mean(1))
        norm.running_var.copy_(by_channel.var(1))

    norms = [module for module in backbone.modules() if hasattr(module, "running_var")]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    with torch.no_grad():
        backbone(pixels)
    for hook in hooks:
        hook.remove()


def assert_same(exported, eager, *, of_clips: bool):
    """Field by field. Clips are exported as conv3d and run as sums of conv2d: deep networks feel the rounding, and of
    regions that are ranked almost alike another may be taken: one row of a hundred may be another one."""
    for field, expected in eager._asdict().items():
        found = getattr(exported, field)
        if field == "proposals":
            assert_same(found, expected, of_clips=of_clips)
        elif not of_clips or expected is None:
            torch.testing.assert_close(found, expected, msg=field)
        else:
            assert found.shape == expected.shape, field
            away = (found.double() - expected.double()).abs()
            away = away.flatten(2).amax(-1) if found.ndim > 2 else away
            close = away <= (5e-3 if field == "boxes" else 1e-4)
            assert close.double().mean() >= 0.99, field


@pytest.mark.parametrize("name", zoo_entries())
def test_exported_forward_equals_eager_at_other_sizes(name):
    torch.manual_seed(0)
    has_bifpn = name.endswith("bifpn") or (name.startswith("efficientdet") and not name.endswith("fpn"))
    cells = {"cells": 1} if has_bifpn else {}
    small = {"width": 32} if name.startswith("faster_rcnn") else SMALL
    if name in YOLOV1_NETS:
        small = {"canvas": (64, 96), "side": 2}
    model = create_model(name, num_classes=3, **small, **cells).eval()
    num_frames = len(model.frames_around) if model.sees_clips else None
    # One picture, and a top level of a single cell: what tracing likes to make a special case.
    time = () if num_frames is None else (num_frames,)
    images = ImageBatch(torch.randn(1, 3, *time, 64, 96), torch.tensor([[64, 96]]))
    if hasattr(model, "rpn_head"):
        settle(model.backbone, images.pixels)
    program = export_forward(model, num_frames=num_frames).module()
    with torch.no_grad():
        exported, eager = program(images), model(images)
    assert type(exported) is type(eager)
    assert_same(exported, eager, of_clips=num_frames is not None)


@pytest.mark.parametrize("name", FAMILIES)
def test_onnx_file_equals_model(name, tmp_path):
    pytest.importorskip("onnxruntime")
    model = create_model(name, num_classes=3, short_side=128, long_side=200, **SMALL)
    report = export_onnx(model, tmp_path / "model.onnx")
    assert report.passed and report.pictures >= 8 and report.detections >= 400, report.summary()
    assert len({batch for batch, _, _ in report.batches}) > 1 and len(report.batches) > 2
    assert (tmp_path / "model.onnx").exists() and model.training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("efficientdet_d0", {"canvas": (96, 128)}),
        ("efficientdet_d0.google", {"canvas": (96, 128)}),
        ("efficientdet_lite0", {"canvas": (64, 96)}),
        ("fcos_resnet18_bifpn", {"short_side": 96, "long_side": 128, **SMALL}),
    ],
)
def test_onnx_files_of_bifpns_equal_models(name, options, tmp_path):
    pytest.importorskip("onnxruntime")
    model = create_model(name, num_classes=3, **options)
    if name.startswith("efficientdet"):
        # A fresh head finds little, and soft suppression picks at random among scores as alike as its are.
        torch.nn.init.normal_(model.class_head.predict.conv_pw.weight)
    report = export_onnx(model, tmp_path / "model.onnx")
    assert report.passed and report.pictures >= 8 and report.detections >= 400, report.summary()
    assert len(report.batches) > 2
