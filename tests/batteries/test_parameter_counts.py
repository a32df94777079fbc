"""The published variants, of parts and of the zoo, have exactly the originals' parameters (on the meta device)."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from pagoda.backbones.resnet import ResNet
from pagoda.convert.to_program import to_source
from pagoda.detectors.contract import Detector
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.retinanet import RetinaNet
from pagoda.heads.dense import DenseHead
from pagoda.models import create_model
from pagoda.necks.fpn import FPN
from pagoda.structures.labels import LabelMap
from pagoda.zoo.families import FAMILIES, build_detector, options_from
from pagoda.zoo.options import ModelName

pytestmark = pytest.mark.medium

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


DEFORM = {"deform": "v2", "head_deform": True}
DEFORM_C4_C5 = {**DEFORM, "deform_levels": (4, 5)}
ANCHORS = 5  # tables that maskrcnn-benchmark stores, and nobody needs


@dataclass(frozen=True)
class Published:
    """A model of the zoo and what the original program has of it."""

    model: str
    parameters: int
    entries: int
    """of the state dict; what is stored and not needed left out"""
    num_classes: int = 80
    options: dict[str, Any] = field(default_factory=dict)
    dropped: int = 0

    def build(self) -> Detector:
        with torch.device("meta"):
            return create_model(self.model, num_classes=self.num_classes, **self.options)


def fcos_rows() -> Iterator[Published]:
    for flavour in ("original", "improved"):  # the same tensors
        yield Published(f"fcos_resnet50_fpn.{flavour}", 32_244_250, 324)
        yield Published(f"fcos_resnet101_fpn.{flavour}", 51_184_154, 579)
        yield Published(f"fcos_resnext101_32x8d_fpn.{flavour}", 95_328_794, 579)
        yield Published(f"fcos_resnext101_64x4d_fpn.{flavour}", 89_992_730, 579)
    yield Published("fcos_resnet50_fpn.improved", 33_239_983, 354, options=DEFORM)
    yield Published("fcos_resnet101_fpn.improved", 53_237_882, 643, options=DEFORM)
    yield Published("fcos_resnext101_32x8d_fpn.improved", 102_670_094, 635, options=DEFORM_C4_C5)
    yield Published("fcos_resnext101_64x4d_fpn.improved", 97_334_030, 635, options=DEFORM_C4_C5)
    yield Published("fcos_mobilenet_v2_fpn.original", 9_798_234, 365)
    yield Published("fcos_mobilenet_v2_fpn.original", 3_888_090, 365, options={"width": 128})
    yield Published("fcos_resnet50_fpn.detectron2", 32_244_245, 319)
    yield Published("fcos_resnet50_fpn.torchvision", 32_269_600, 319, num_classes=91)


def retinanet_rows() -> Iterator[Published]:
    mrb = "maskrcnn_benchmark"
    yield Published(f"retinanet_resnet50_fpn.{mrb}", 37_915_572, 306, dropped=ANCHORS)
    yield Published(f"retinanet_resnet101_fpn.{mrb}", 56_855_476, 561, dropped=ANCHORS)
    yield Published(f"retinanet_resnext101_32x8d_fpn.{mrb}", 101_000_116, 561, dropped=ANCHORS)
    yield Published("retinanet_resnet50_fpn.detectron2", 37_915_572, 301)
    yield Published("retinanet_resnet50_fpn.torchvision", 34_014_999, 301, num_classes=91)
    # Its norms learn, so each has a counter besides.
    yield Published("retinanet_resnet50_fpn.torchvision_v2", 38_198_935, 362, num_classes=91)
    for depth, voc, coco, entries in (
        (18, 20_165_400, 21_410_100, 156),
        (34, 30_273_560, 31_518_260, 252),
        (50, 36_723_992, 37_968_692, 354),
        (101, 55_716_120, 56_960_820, 660),
        (152, 71_359_768, 72_604_468, 966),
    ):
        yield Published(f"retinanet_resnet{depth}_fpn.bubbliiiing", voc, entries, num_classes=20)
        yield Published(f"retinanet_resnet{depth}_fpn.bubbliiiing", coco, entries)


SOURCES = {"original": "fcos", "improved": "fcos", "torchvision_v2": "torchvision"}


@pytest.mark.parametrize(
    "row", [*fcos_rows(), *retinanet_rows()], ids=lambda row: f"{row.model} {row.parameters}"
)
def test_zoo_models_have_the_published_tensors(row: Published) -> None:
    model = row.build()
    assert count(model) == row.parameters
    flavour = row.model.rpartition(".")[2]
    written = to_source(model, SOURCES.get(flavour, flavour))
    assert len(written) == row.entries - row.dropped
    # What is joined here stands apart there; nothing is lost on the way.
    assert sum(tensor.numel() for tensor in written.values()) == sum(
        tensor.numel()
        for name, tensor in model.state_dict().items()
        if not name.endswith("running_count.mean")
    )


@pytest.mark.parametrize(("depth", "parameters"), [(50, 33_786_804), (101, 52_726_708)])
def test_retinanet_of_the_zoo_with_p6_from_p5(depth: int, parameters: int) -> None:
    flavour = FAMILIES["retinanet"].flavours["maskrcnn_benchmark"]
    flavour = replace(flavour, body=replace(flavour.body, extra_from="P5"))
    name = ModelName("retinanet", f"resnet{depth}", "fpn", "maskrcnn_benchmark")
    with torch.device("meta"):
        model = build_detector(name, LabelMap.numbered(80), options_from({}, name), flavour)
    assert count(model) == parameters and len(to_source(model, "maskrcnn_benchmark")) in (301, 556)


def test_torchvision_counts_alike() -> None:
    detection = pytest.importorskip("torchvision.models.detection")
    rows = [row for row in (*fcos_rows(), *retinanet_rows()) if ".torchvision" in row.model]
    assert len(rows) == 3
    for row in rows:
        name, _, flavour = row.model.rpartition(".")
        build = getattr(detection, name + flavour.removeprefix("torchvision"))
        with torch.device("meta"):
            theirs = build(weights=None, weights_backbone=None)
        # Without weights its first networks have norms that learn; ours are those of the published weights.
        norms = [m for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)]
        learnt = 0 if flavour.endswith("v2") else sum(2 * norm.num_features for norm in norms)
        assert count(theirs) - learnt == row.parameters


def test_mobilenet_trains_in_all_its_tensors() -> None:
    with torch.device("meta"):
        model = create_model("fcos_mobilenet_v2_fpn.original", num_classes=80)
    assert count(model, trainable_only=True) == 9_798_234
