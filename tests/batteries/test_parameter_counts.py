"""The published variants, composed from parts on the meta device, have exactly the originals' parameters."""

from functools import partial

import pytest
import torch
from torch import nn

from pagoda.backbones.resnet import ResNet
from pagoda.detectors.contract import Detector
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.retinanet import RetinaNet
from pagoda.heads.dense import DenseHead
from pagoda.necks.fpn import FPN

R50, R101 = {"depth": 50, "style": "caffe"}, {"depth": 101, "style": "caffe"}
X101_32 = {"depth": 101, "groups": 32, "width_per_group": 8}
X101_64 = {"depth": 101, "groups": 64, "width_per_group": 4}


def body_and_neck(body: dict, extra_from: str) -> tuple[ResNet, FPN]:
    """As in the originals: norms are fixed maps without eps, the stem and the first stage do not learn."""
    backbone = ResNet(**body, norm="frozen", eps=0.0, frozen_stages=2)
    return backbone, FPN(backbone.channels, extra_from=extra_from)


def fcos(body: dict, *, quality_on: str = "box", level_scale: bool = True) -> FCOS:
    backbone, neck = body_and_neck(body, "P5")
    head = partial(DenseHead, neck.channels)
    classes, boxes = (81, 4) if quality_on == "class" else (80, 5)
    return FCOS(
        backbone,
        neck,
        class_head=head(outputs=classes),
        box_head=head(outputs=boxes),
        quality_on=quality_on,
        level_scale=level_scale,
    )


def retinanet(body: dict, extra_from: str) -> RetinaNet:
    backbone, neck = body_and_neck(body, extra_from)
    head = partial(DenseHead, neck.channels, norm="none")
    return RetinaNet(backbone, neck, class_head=head(outputs=9 * 80), box_head=head(outputs=9 * 4))


def count(module: nn.Module, *, trainable_only: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


MODELS = {
    "FCOS R50, improved": (partial(fcos, R50), 32_244_250),
    "FCOS R50, first": (partial(fcos, R50, quality_on="class"), 32_244_250),
    "FCOS R50 without scales (detectron2)": (partial(fcos, R50, level_scale=False), 32_244_245),
    "FCOS R101": (partial(fcos, R101), 51_184_154),
    "FCOS X101-32x8d": (partial(fcos, X101_32), 95_328_794),
    "FCOS X101-64x4d": (partial(fcos, X101_64), 89_992_730),
    "RetinaNet R50, P6 from C5": (partial(retinanet, R50, "C5"), 37_915_572),
    "RetinaNet R50, P6 from P5": (partial(retinanet, R50, "P5"), 33_786_804),
    "RetinaNet R101, P6 from C5": (partial(retinanet, R101, "C5"), 56_855_476),
    "RetinaNet R101, P6 from P5": (partial(retinanet, R101, "P5"), 52_726_708),
    "RetinaNet X101-32x8d, P6 from C5": (partial(retinanet, X101_32, "C5"), 101_000_116),
}


@pytest.mark.parametrize("name", MODELS)
def test_parameters(name: str) -> None:
    build, wanted = MODELS[name]
    with torch.device("meta"):
        assert count(build()) == wanted


@pytest.mark.parametrize(
    ("body", "parameters"),
    [(R50, 23_454_912), (R101, 42_394_816), (X101_32, 86_539_456), (X101_64, 81_203_392)],
)
def test_parameters_of_the_parts(body: dict, parameters: int) -> None:
    with torch.device("meta"):
        model = fcos(body)
    assert count(model.backbone) == parameters
    assert count(model.neck) == 3_868_672
    assert count(model.class_head) + count(model.box_head) + model.scales.numel() == 4_920_666


def test_retinanet_parts() -> None:
    with torch.device("meta"):
        model = retinanet(R50, "C5")
    assert count(model.neck) == 7_997_440
    assert count(model.class_head) + count(model.box_head) == 6_463_220


def test_frozen_tensors_of_the_improved_fcos() -> None:
    with torch.device("meta"):
        model = fcos(R50)
    assert count(model, trainable_only=True) == 32_021_850
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    # The stem's convolution and the ten of layer1: three blocks of three, and one shortcut.
    assert len(frozen) == 11
    assert all(name.startswith(("backbone.conv1.", "backbone.layer1.")) for name in frozen)
    # The originals count 112 tensors; the five scales are one tensor here, centerness is a row of a head's
    # last convolution instead of a convolution of its own (weight and bias).
    assert len(list(model.parameters())) == 112 - 4 - 2


def test_frozen_norms_hold_what_they_should() -> None:
    with torch.device("meta"):
        model: Detector = fcos(R50)
    assert sum(buffer.numel() for buffer in model.backbone.buffers()) == 106_240
    assert {m.eps for m in model.backbone.modules() if hasattr(m, "running_var")} == {0.0}


@pytest.mark.parametrize("model", ["fcos_resnet50_fpn", "fcos_resnext101_64x4d_fpn"])
def test_zoo_models_of_frozen_norm_count_alike(model: str) -> None:
    from pagoda.zoo.models import create_model

    with torch.device("meta"):
        built = create_model(model, num_classes=80, norm="frozen", frozen_stages=2)
    assert count(built) == {"fcos_resnet50_fpn": 32_244_250, "fcos_resnext101_64x4d_fpn": 89_992_730}[model]
