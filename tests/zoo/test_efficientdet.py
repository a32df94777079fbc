"""The published EfficientDets: their parameters, operations and conventions."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pagoda.detectors.efficientdet import EfficientDet
from pagoda.models import create_model, load_backbone_weights
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.weights.files import WeightsError
from pagoda.zoo.efficientdet import COCO_90, VARIANTS, efficientdet, input_spec
from pagoda.zoo.flavours.efficientdet import EFFDET, EFFICIENTDET_FLAVOURS, GOOGLE, EfficientDetFlavour

pytestmark = pytest.mark.medium

# backbone, pyramid, class head, box head
PARAMETERS = {
    "efficientdet_d0": (3_595_388, 196_281, 69_354, 19_044),
    "efficientdet_d1": (6_101_024, 390_972, 101_394, 32_508),
    "efficientdet_d2": (7_202_562, 708_159, 136_890, 49_428),
    "efficientdet_d3": (10_103_336, 1_559_474, 247_050, 122_436),
    "efficientdet_d4": (16_742_216, 3_349_829, 402_890, 228_740),
    "efficientdet_d5": (27_288_112, 5_405_893, 591_498, 367_812),
    "efficientdet_d6": (39_403_992, 10_583_808, 1_090_986, 792_996),
    "efficientdet_d7": (39_403_992, 10_583_808, 1_090_986, 792_996),
    "efficientdet_d7x": (62_143_440, 13_112_064, 1_094_826, 796_836),
    "efficientdet_lite0": (2_958_848, 196_224, 69_354, 19_044),
    "efficientdet_lite1": (3_723_520, 390_896, 101_394, 32_508),
    "efficientdet_lite2": (4_357_952, 708_064, 136_890, 49_428),
    "efficientdet_lite3": (6_422_016, 1_559_360, 247_050, 122_436),
    "efficientdet_lite3x": (6_422_016, 2_333_200, 340_610, 185_036),
    "efficientdet_lite4": (11_149_568, 3_349_696, 402_890, 228_740),
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@cache
def on_meta(name: str, flavour: EfficientDetFlavour = GOOGLE) -> EfficientDet:
    """Made once, so tests must leave it as it is."""
    with torch.device("meta"):
        return efficientdet(VARIANTS[name], flavour=flavour).eval()


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters(name: str) -> None:
    model = on_meta(name)
    parts = (model.backbone, model.neck, model.class_head, model.box_head)
    assert tuple(map(count, parts)) == PARAMETERS[name]
    assert count(model) == sum(PARAMETERS[name])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("efficientdet_d0", 3_877_763),
        ("efficientdet_d1", 6_622_026),
        ("efficientdet_d2", 8_091_215),
        ("efficientdet_d3", 12_022_376),
    ],
)
def test_parameters_without_what_only_tensorflow_has(name: str, parameters: int) -> None:
    assert count(on_meta(name, EFFDET)) == parameters


@pytest.mark.parametrize(
    ("name", "giga", "published"),
    [  # multiplications of the convolutions, and all operations Google's profiler counts
        ("efficientdet_d0", 2.4923, 2.550618821),
        ("efficientdet_d1", 6.0034, 6.133752112),
        ("efficientdet_d2", 10.8325, 11.045799933),
        ("efficientdet_d3", 24.5688, 24.982737931),
        ("efficientdet_d4", 54.5837, 55.346593717),
        ("efficientdet_lite0", 0.9736, 0.977617221),
    ],
)
def test_multiplications(name: str, giga: float, published: float) -> None:
    variant, model = VARIANTS[name], on_meta(name)  # built before counting: building looks where cells lie
    images = ImageBatch(torch.zeros(1, 3, variant.side, variant.side, device="meta"), torch.zeros(1, 2))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    macs = counter.get_total_flops() / 2e9
    assert macs == pytest.approx(giga, abs=1e-4)
    assert published * 0.97 < macs < published


def test_norms_and_padding_are_tensorflows() -> None:
    model = on_meta("efficientdet_d0")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) > 100
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    strided = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert len(strided) == 5  # all in the backbone; the pyramid pools
    assert {conv.padding for conv in strided} == {(0, 0)}, "SAME padding is not the convolution's own"


@pytest.mark.parametrize(
    ("side", "grids"), [(320, (40, 20, 10, 5, 3)), (448, (56, 28, 14, 7, 4)), (128, (16, 8, 4, 2, 1))]
)
def test_pyramid_of_the_small_sizes(side: int, grids: tuple[int, ...]) -> None:
    model = on_meta("efficientdet_lite0")
    pyramid = model.neck(model.backbone(torch.zeros(1, 3, side, side, device="meta")))
    assert tuple(x.shape[-1] for x in pyramid.values()) == grids


@pytest.mark.parametrize("size", [(511, 513), (600, 800)])
def test_sizes_that_are_not_multiples_of_128(size: tuple[int, int]) -> None:
    model = efficientdet(replace(VARIANTS["efficientdet_lite0"], cells=1), LabelMap.numbered(2)).eval()
    images = ImageBatch(torch.randn(1, 3, *size), torch.tensor([size]))
    with torch.no_grad():
        outputs, found = model(images), model.detect(images)
    cells = [-(-size[0] // 2**level) * -(-size[1] // 2**level) for level in range(3, 8)]
    assert outputs.class_logits.shape == (1, 9 * sum(cells), 2)
    assert torch.isfinite(outputs.class_logits).all()
    assert len(found) == 1 and len(found[0]) <= 100


def test_a_fresh_model_says_one_in_a_hundred() -> None:
    torch.manual_seed(0)
    model = efficientdet(VARIANTS["efficientdet_d0"]).eval()
    with torch.no_grad():
        outputs = model(ImageBatch(torch.randn(1, 3, 128, 128), torch.tensor([[128, 128]])))
    assert outputs.class_logits.shape == (1, 9 * (256 + 64 + 16 + 4 + 1), 90)
    assert outputs.class_logits.sigmoid().mean().item() == pytest.approx(0.01, abs=1e-4)


def test_labels_are_coco_ids_less_one() -> None:
    model = on_meta("efficientdet_d0")
    assert model.label_map is COCO_90
    assert COCO_90.label_of(1) == 0 and COCO_90.names[0] == "person"
    assert COCO_90.category_ids[89] == 90 and COCO_90.names[89] == "toothbrush"
    assert sum(name.startswith("unused_") for name in COCO_90.names) == 10


def test_pictures_fill_the_published_square() -> None:
    for variant in VARIANTS.values():
        spec = input_spec(variant)
        assert spec.canvas == (variant.side, variant.side) and spec.pad_multiple == 1
        assert spec.resized((3000, 2000)) == (variant.side, int(variant.side * 2 / 3))


def test_the_walk_through_resizes_to_512_whatever_the_variant() -> None:
    spec = input_spec(VARIANTS["efficientdet_d2"], EFFICIENTDET_FLAVOURS["toandaominh"])
    assert spec.canvas == (512, 512)


def test_the_rest_of_the_square_has_the_mean_colour() -> None:
    spec = input_spec(VARIANTS["efficientdet_d0"])
    images = spec.prepare([torch.zeros(3, 100, 200, dtype=torch.uint8)])
    assert images.pixels.shape == (1, 3, 512, 512) and images.sizes.tolist() == [[256, 512]]
    assert images.pixels[0, :, 256:].abs().max() < 0.01 and images.pixels[0, :, :256].max() < -1
    black = input_spec(VARIANTS["efficientdet_d0"], EFFICIENTDET_FLAVOURS["advprop"])
    images = black.prepare([torch.full((3, 100, 200), 255, dtype=torch.uint8)])
    assert (images.pixels[0, :, 256:] == -1).all() and (images.pixels[0, :, :256] == 1).all()


def test_pixels_of_the_lite_family() -> None:
    spec: InputSpec = input_spec(VARIANTS["efficientdet_lite0"])
    values = spec.normalize(torch.tensor([0, 127, 255], dtype=torch.uint8).expand(3, 1, 3))
    torch.testing.assert_close(values[0, 0], torch.tensor([-127 / 128, 0, 1]))


def target(count: int, size: tuple[int, int]) -> Targets:
    corner = torch.rand(count, 2) * (min(size) - 20)
    boxes = torch.cat([corner, corner + 4 + 14 * torch.rand(count, 2)], 1)
    return Targets(boxes, torch.zeros(count, dtype=torch.long), size, torch.zeros(count, dtype=torch.bool))


SMALL = {"width": 16, "cells": 1, "head_depth": 1}


@pytest.mark.parametrize("count", [0, 1, 150])
def test_one_class_and_any_number_of_objects_in_any_size(count: int) -> None:
    size = (130, 201)  # no multiple of 128, where the original stops at 100 objects
    model = create_model("efficientdet_resnet18_bifpn", num_classes=1, canvas=size, **SMALL).train()
    images = model.input_spec.batch([torch.randint(0, 256, (3, *size), dtype=torch.uint8)] * 2)
    losses = model.losses(images, [target(count, size), Targets.empty(size)])
    assert images.pixels.shape[-2:] == size
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert (losses["loss_box"] > 0) == (count > 0)
    with torch.no_grad():
        found = model.eval().detect(images, postprocess=model.postprocess.with_limits(min_score=0.0))
    assert all(len(each) == 100 and not each.labels.any() for each in found)


@pytest.mark.parametrize("name", ["fcos_resnet18", "retinanet_ghostnet_100", "efficientdet_resnet18d"])
@pytest.mark.parametrize("neck", ["fpn", "pafpn", "bifpn"])
def test_every_detector_learns_on_every_neck(name: str, neck: str) -> None:
    sizes = {"width": 16, "head_depth": 1} | ({"cells": 1} if neck == "bifpn" else {})
    model = create_model(f"{name}_{neck}", num_classes=1, **sizes).train()
    assert type(model.neck).__name__.lower() == neck
    images = ImageBatch(torch.randn(2, 3, 96, 128), torch.tensor([[96, 128]] * 2))
    losses = model.losses(images, [target(3, (96, 128)), Targets.empty((96, 128))])
    sum(losses.values()).backward()
    assert next(model.neck.parameters()).grad.abs().sum() > 0


def test_sizes_of_a_variant_can_be_changed() -> None:
    with torch.device("meta"):
        model = create_model(
            "efficientdet_d1", num_classes=2, top_level=6, canvas=(256, 320), drop_path_rate=0, **SMALL
        )
    assert set(model.neck.channels) == {3, 4, 5, 6} and set(model.neck.channels.values()) == {16}
    assert len(model.neck.cells) == 1 and len(model.class_head.convs) == 1
    assert model.input_spec.canvas == (256, 320)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("efficientdet_d0", {"short_side": 320}, "efficientdet_d0 has no use for the option short_side=320"),
        ("efficientdet_d0", {"head_deform": True}, "no use for the option head_deform"),
        (
            "efficientdet_d0",
            {"norm": "frozen"},
            "efficientdet_d0 has no use for the option norm='frozen', which is for ResNets and MobileNetV2",
        ),
        (
            "efficientdet_resnet18_bifpn",
            {"neck_relu": True},
            "no use for the option neck_relu=True, which is for FPNs and PAFPNs",
        ),
        (
            "fcos_resnet18_fpn",
            {"cells": 2},
            "fcos_resnet18_fpn has no use for the option cells=2, which is for BiFPNs",
        ),
        (
            "fcos_resnet18_fpn",
            {"canvas": (64, 64)},
            "which is for models that fit their pictures into a canvas",
        ),
        (
            "fcos_resnet18_fpn",
            {"drop_path_rate": 0.1},
            "drop_path_rate=0.1, which is for EfficientDet's published variants",
        ),
        (
            "efficientdet_d0.toandaominh",
            {"top_level": 6},
            "efficientdet_d0.toandaominh has no use for the option top_level=6",
        ),
        ("efficientdet_resnet18_bifpn.toandaominh", {}, "exists for its own backbones only"),
        ("efficientdet_d8", {}, "unknown model 'efficientdet_d8'; did you mean 'efficientdet_d"),
        ("efficientdet_d0.gogle", {}, "unknown flavour of efficientdet_d0 'gogle'; did you mean 'google'"),
    ],
)
def test_options_without_use_and_unknown_names_are_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model(name, num_classes=2, **options)


def test_backbone_weights_of_timm_fill_the_backbone(tmp_path: Path) -> None:
    import timm

    plain = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save(plain, tmp_path / "lite0.pth")
    model = create_model("efficientdet_lite0.google", num_classes=2)
    report = load_backbone_weights(model.backbone, str(tmp_path / "lite0.pth"))
    assert torch.equal(model.backbone.body.conv_stem.weight, plain["conv_stem.weight"])
    assert torch.equal(model.backbone.body.blocks[6][0].bn3.bias, plain["blocks.6.0.bn3.bias"])
    assert "classifier.weight" in report.dropped and report.taken > 200
    torch.save(timm.create_model("tf_efficientnet_b0").state_dict(), tmp_path / "b0.pth")
    with pytest.raises(WeightsError, match=r"b0.pth: these weights are not of the plain network"):
        load_backbone_weights(
            create_model("efficientdet_lite2", num_classes=2).backbone, str(tmp_path / "b0.pth")
        )


def test_the_walk_throughs_model_is_what_it_was() -> None:
    with torch.device("meta"):
        model = create_model("efficientdet_d0.toandaominh", num_classes=20)
    # 4,333,784 of heads, 638,822 of a pyramid, and 5,288,548 of a backbone with its classifier, which we leave out
    assert count(model.class_head) + count(model.box_head) == 4_333_784
    assert count(model.neck) == 638_822 and count(model.backbone) == 3_595_388
    assert model.backbone.channels == {3: 40, 4: 80, 5: 112, 6: 192, 7: 320}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.neck.modules())


def test_the_walk_throughs_model_wants_sides_that_can_be_halved() -> None:
    model = create_model("efficientdet_d0.toandaominh", num_classes=2).eval()
    images = ImageBatch(torch.zeros(1, 3, 600, 600), torch.tensor([[600, 600]]))
    with pytest.raises(ValueError, match=r"multiples of 128 pixels, got levels of 75×75, 38×38"):
        model(images)


def test_the_walk_throughs_model_can_learn_here() -> None:
    model = create_model("efficientdet_d0.toandaominh", num_classes=2).train()
    images = ImageBatch(torch.randn(2, 3, 128, 128), torch.tensor([[128, 128]] * 2))
    losses = model.losses(images, [target(2, (128, 128)), Targets.empty((128, 128))])
    sum(losses.values()).backward()
    assert model.neck.cells[0].w1.grad.abs().sum() > 0


def test_the_page_names_tests_that_exist(repository: Path) -> None:
    page = (repository / "docs" / "efficientdet.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in (repository / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) >= 20 and not [name for name in named if f"def {name}(" not in code]
    files = re.findall(r"tests/[\w/]+\.py", page)
    assert files and all((repository / file).is_file() for file in files)
    fourteen = page.partition("## The fourteen")[2].partition("## Five more")[0]
    assert re.findall(r"^(\d+)\. ", fourteen, re.M) == [str(number) for number in range(1, 15)]
