"""The published EfficientDets: their parameters, operations and conventions."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pagoda.detectors.efficientdet import EfficientDet
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.zoo.efficientdet import COCO_90, VARIANTS, Variant, efficientdet, input_spec, without_tensorflow

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


def on_meta(variant: Variant) -> EfficientDet:
    with torch.device("meta"):
        return efficientdet(variant).eval()


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters(name: str) -> None:
    model = on_meta(VARIANTS[name])
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
    assert count(on_meta(without_tensorflow(VARIANTS[name]))) == parameters


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
    variant = VARIANTS[name]
    images = ImageBatch(torch.zeros(1, 3, variant.side, variant.side, device="meta"), torch.zeros(1, 2))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        on_meta(variant)(images)
    macs = counter.get_total_flops() / 2e9
    assert macs == pytest.approx(giga, abs=1e-4)
    assert published * 0.97 < macs < published


def test_norms_and_padding_are_tensorflows() -> None:
    model = on_meta(VARIANTS["efficientdet_d0"])
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
    model = on_meta(VARIANTS["efficientdet_lite0"])
    pyramid = model.neck(model.backbone(torch.zeros(1, 3, side, side, device="meta")))
    assert tuple(x.shape[-1] for x in pyramid.values()) == grids


@pytest.mark.parametrize("size", [(511, 513), (600, 800)])
def test_sizes_that_are_not_multiples_of_128(size: tuple[int, int]) -> None:
    model = efficientdet(replace(VARIANTS["efficientdet_lite0"], cells=1), LabelMap.numbered(2)).eval()
    images = ImageBatch(torch.randn(2, 3, *size), torch.tensor([size, size]))
    with torch.no_grad():
        outputs, found = model(images), model.detect(images)
    cells = [-(-size[0] // 2**level) * -(-size[1] // 2**level) for level in range(3, 8)]
    assert outputs.class_logits.shape == (2, 9 * sum(cells), 2)
    assert torch.isfinite(outputs.class_logits).all()
    assert [len(each) <= 100 for each in found] == [True, True]


def test_a_fresh_model_says_one_in_a_hundred() -> None:
    torch.manual_seed(0)
    model = efficientdet(VARIANTS["efficientdet_d0"]).eval()
    with torch.no_grad():
        outputs = model(ImageBatch(torch.randn(1, 3, 128, 128), torch.tensor([[128, 128]])))
    assert outputs.class_logits.shape == (1, 9 * (256 + 64 + 16 + 4 + 1), 90)
    assert outputs.class_logits.sigmoid().mean().item() == pytest.approx(0.01, abs=1e-4)


def test_labels_are_coco_ids_less_one() -> None:
    model = on_meta(VARIANTS["efficientdet_d0"])
    assert model.label_map is COCO_90
    assert COCO_90.label_of(1) == 0 and COCO_90.names[0] == "person"
    assert COCO_90.category_ids[89] == 90 and COCO_90.names[89] == "toothbrush"
    assert sum(name.startswith("unused_") for name in COCO_90.names) == 10


@pytest.mark.parametrize(
    ("name", "multiple"), [("efficientdet_d0", 128), ("efficientdet_d7x", 256), ("efficientdet_lite0", 64)]
)
def test_pictures_fill_the_published_square(name: str, multiple: int) -> None:
    spec, side = input_spec(VARIANTS[name]), VARIANTS[name].side
    assert spec.resized((3000, 2000)) == (side, round(side * 2 / 3))
    assert spec.pad_multiple == multiple and side % multiple == 0


def test_pixels_of_the_lite_family() -> None:
    spec: InputSpec = input_spec(VARIANTS["efficientdet_lite0"])
    values = spec.normalize(torch.tensor([0, 127, 255], dtype=torch.uint8).expand(3, 1, 3))
    torch.testing.assert_close(values[0, 0], torch.tensor([-127 / 128, 0, 1]))
