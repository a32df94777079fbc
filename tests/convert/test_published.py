"""The table of published checkpoints: every model in it exists, has the published size, and is found by its name."""

from pathlib import Path

import pytest
import torch

from pagoda.convert.architecture.dense import Architecture
from pagoda.convert.names.rules import Renamed
from pagoda.convert.programs import SOURCES
from pagoda.convert.published import PUBLISHED, Published, find_published
from pagoda.convert.read import choose_conventions
from pagoda.convert.recognise import ForeignCheckpoint, flavour_of
from pagoda.convert.to_program import detector_of
from pagoda.models import create_model
from pagoda.weights.files import WeightsError
from pagoda.zoo.families import parse_name

pytestmark = pytest.mark.medium

# As counted in the original programs.
PARAMETERS = {
    "FCOS_R_50_FPN_1x": 32_244_250,
    "FCOS_imprv_R_50_FPN_1x": 32_244_250,
    "FCOS_R_101_FPN_2x": 51_184_154,
    "FCOS_X_101_32x8d_FPN_2x": 95_328_794,
    "FCOS_X_101_64x4d_FPN_2x": 89_992_730,
    "FCOS_imprv_dcnv2_R_50_FPN_1x": 33_239_983,
    "FCOS_imprv_dcnv2_R_101_FPN_2x": 53_237_882,
    "FCOS_imprv_dcnv2_X_101_32x8d_FPN_2x": 102_670_094,
    "FCOS_imprv_dcnv2_X_101_64x4d_FPN_2x": 97_334_030,
    "FCOS_syncbn_bs32_MNV2_FPN_1x": 9_798_234,
    "FCOS_bn_bs16_MNV2_FPN_1x": 9_798_234,
    "FCOS_syncbn_bs32_c128_MNV2_FPN_1x": 3_888_090,
    "FCOS_R_50_1x": 32_244_250,
    "retinanet_R_50_FPN_1x": 37_915_572,
    "retinanet_R-50-FPN_1x": 37_915_572,
    "retinanet_R-101-FPN_1x": 56_855_476,
    "retinanet_X-101-32x8d-FPN_1x": 101_000_116,
    "retinanet_resnet50": 36_723_992,
    "fcos_resnet50_fpn_coco": 32_269_600,
    "retinanet_resnet50_fpn_coco": 34_014_999,
    "retinanet_resnet50_fpn_v2_coco": 38_198_935,
    "fasterrcnn_resnet50_fpn_coco": 41_755_286,
    "fasterrcnn_resnet50_fpn_v2_coco": 43_712_278,
    "maskrcnn_resnet50_fpn_coco": 44_401_393,
    "maskrcnn_resnet50_fpn_v2_coco": 46_359_409,
    "keypointrcnn_resnet50_fpn_coco": 59_137_258,
}
BUILT = [row for row in PUBLISHED if row.model]


@pytest.mark.parametrize("row", BUILT, ids=lambda row: row.name)
def test_every_model_exists_at_its_published_size(row: Published) -> None:
    with torch.device("meta"):
        model = create_model(row.model, num_classes=row.num_classes, **row.options)
    parts = parse_name(row.model)
    assert parts.flavour and detector_of(model) == parts.detector
    assert (model.label_map.skeleton is not None) == (parts.detector == "keypoint_rcnn")
    if row.name in PARAMETERS:
        assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[row.name]


def test_every_count_belongs_to_a_row() -> None:
    assert PARAMETERS.keys() <= {row.name for row in BUILT}


def test_every_row_says_where_whose_and_how_good() -> None:
    assert len({row.name for row in PUBLISHED}) == len(PUBLISHED)
    for row in PUBLISHED:
        assert row.url.startswith("https://") and row.licence and 25 < row.ap < 90
        assert row.model or "not built" in row.note
        assert ("non-commercial" in row.licence) == (row.program in ("FCOS", "AdelaiDet"))
        assert row.to_dict()["file"].endswith((".pth", ".pkl"))


def test_files_are_found_by_their_names() -> None:
    for row in PUBLISHED:
        if row.file != "model_final.pkl":  # what Detectron calls all of its files
            for name in (row.file, row.file.lower(), f"{Path(row.file).stem} (1).pth"):
                assert find_published(name) == row, name
    assert find_published("model_final.pkl") is None
    assert find_published("FCOS_R_50_FPN_1xx.pth") is None


FCOS = next(source for source in SOURCES if source.name == "fcos")
MMDET = next(source for source in SOURCES if source.title == "mmdetection RetinaNet")


def seen(name: str, architecture: Architecture, source=FCOS, metadata=None) -> ForeignCheckpoint:
    return ForeignCheckpoint(Path(name), source, Renamed({}, {}, []), {}, architecture, metadata or {})


def fcos(backbone: str = "resnet50", **options: object) -> Architecture:
    return Architecture("fcos", backbone, "fpn", 80, {"head_deform": False, **options})


RETINANET = Architecture("retinanet", "resnet50", "fpn", 80, {})
CAFFE, PYTORCH = ({"meta": {"config": f"backbone=dict(depth=50, style='{s}')"}} for s in ("caffe", "pytorch"))


@pytest.mark.parametrize(
    ("checkpoint", "flavour"),
    [
        (seen("FCOS_R_50_FPN_1x.pth", fcos()), "original"),
        (seen("fcos_r_50_fpn_1x.pth", fcos()), "original"),
        (seen("FCOS_imprv_R_50_FPN_1x.pth", fcos()), "improved"),
        (seen("imprv_on_my_data.pth", fcos()), "improved"),
        (seen("model_final.pth", fcos(head_deform=True)), "improved"),
        (seen("model_final.pth", fcos(deform="v2")), "improved"),
        (seen("model_final.pth", fcos("mobilenet_v2")), "original"),
        (seen("retinanet_r50_caffe_fpn_1x_coco_20200531-f11027c5.pth", RETINANET, MMDET), "mmdet_caffe"),
        (seen("retinanet_r50_fpn_1x_coco_20200130-c2398f9e.pth", RETINANET, MMDET), "mmdet"),
        (seen("epoch_12.pth", RETINANET, MMDET, CAFFE), "mmdet_caffe"),
        (seen("my_caffe.pth", RETINANET, MMDET, PYTORCH), "mmdet"),  # what the file says counts more
        (seen("my_caffe.pth", RETINANET, MMDET), "mmdet_caffe"),
        (seen("epoch_12.pth", RETINANET, MMDET), "mmdet"),
    ],
)
def test_conventions_are_told_by_tensors_config_or_name(checkpoint, flavour: str) -> None:
    assert flavour_of(checkpoint) == flavour
    assert flavour_of(checkpoint, "detectron2") == "detectron2"  # what a person says counts most


RCNN = next(source for source in SOURCES if source.title == "mmdetection R-CNN")
MMDET_FCOS = next(source for source in SOURCES if source.title == "mmdetection FCOS")


def on(backbone: str, detector: str = "faster_rcnn", *, head_bias: bool = False) -> Architecture:
    return Architecture(detector, backbone, "fpn", 80, {"head_bias": head_bias})


def normalised(text: str, style: str = "pytorch") -> dict:
    return {"meta": {"config": f"model = dict(backbone=dict(style='{style}'),\n {text})"}}


RGB_3 = normalised(
    "data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)"
)
BGR_3 = normalised(
    "data_preprocessor=dict(bgr_to_rgb=False, mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395])"
)
BGR_2 = normalised(
    "img_norm_cfg=dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], to_rgb=False)"
)
BGR_1 = normalised(
    "'img_norm_cfg': {'mean': [102.9801, 115.9465, 122.7717], 'std': [1.0, 1.0, 1.0], 'to_rgb': False}",
    "caffe",
)
DICT = {"meta": {"cfg": {"data_preprocessor": {"mean": [1, 2, 3], "std": [4, 5, 6], "bgr_to_rgb": False}}}}
MSRA = ((123.675, 116.28, 103.53), (1.0, 1.0, 1.0))
DIVIDED = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
UNIT = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
X32, X64 = "resnext101_32x8d", "resnext101_64x4d"


@pytest.mark.parametrize(
    ("name", "architecture", "source", "metadata", "flavour", "order", "statistics"),
    [
        ("faster_rcnn_r50_caffe_fpn_1x_coco.pth", on("resnet50"), RCNN, {}, "mmdet_caffe", "BGR", MSRA),
        (
            "mask-rcnn_r101-caffe_fpn_1x.pth",
            on("resnet101", "mask_rcnn"),
            RCNN,
            {},
            "mmdet_caffe",
            "BGR",
            MSRA,
        ),
        ("epoch_12.pth", on("resnet50"), RCNN, CAFFE, "mmdet_caffe", "BGR", MSRA),
        ("epoch_12.pth", on("resnet50", "mask_rcnn"), RCNN, PYTORCH, "mmdet", "RGB", UNIT),
        ("epoch_12.pth", on("resnet50"), RCNN, {}, "mmdet", "RGB", UNIT),
        (
            "epoch_12.pth",
            on("resnet50"),
            RCNN,
            BGR_1,
            "mmdet_caffe",
            "BGR",
            ((122.7717, 115.9465, 102.9801), MSRA[1]),
        ),
        ("faster_rcnn_x101_32x8d_fpn_mstrain_3x_coco.pth", on(X32), RCNN, {}, "mmdet_bgr", "BGR", DIVIDED),
        ("faster-rcnn_x101-64x4d_fpn_1x_coco.pth", on(X64), RCNN, {}, "mmdet", "RGB", UNIT),
        ("epoch_12.pth", on(X32), RCNN, BGR_3, "mmdet_bgr", "BGR", DIVIDED),
        ("epoch_12.pth", on(X64), RCNN, BGR_2, "mmdet_bgr", "BGR", DIVIDED),
        ("epoch_12.pth", on(X32), RCNN, RGB_3, "mmdet", "RGB", UNIT),
        ("epoch_12.pth", on(X64, "retinanet"), MMDET, BGR_3, "mmdet_bgr", "BGR", DIVIDED),
        ("epoch_12.pth", on(X64, "mask_rcnn"), RCNN, DICT, "mmdet_bgr", "BGR", ((3, 2, 1), (6, 5, 4))),
        ("epoch_12.pth", on("resnext101_32x4d", "retinanet"), MMDET, {}, "mmdet", "RGB", UNIT),
        (
            "fcos_x101-64x4d_fpn_gn-head_2x_coco.pth",
            on(X64, "fcos"),
            MMDET_FCOS,
            {},
            "mmdet_rgb",
            "RGB",
            UNIT,
        ),
        (
            "epoch_12.pth",
            on(X64, "fcos", head_bias=True),
            MMDET_FCOS,
            RGB_3,
            "mmdet_improved_rgb",
            "RGB",
            UNIT,
        ),
        (
            "epoch_12.pth",
            on("resnet50", "fcos", head_bias=True),
            MMDET_FCOS,
            {},
            "mmdet_improved",
            "BGR",
            MSRA,
        ),
    ],
)
def test_mmdetections_pixels_are_those_of_config_or_name(
    name, architecture, source, metadata, flavour: str, order: str, statistics
) -> None:
    found, conventions, _ = choose_conventions(seen(name, architecture, source, metadata), None)
    spec = conventions.input_spec
    assert (found, spec.channel_order, (spec.mean, spec.std)) == (flavour, order, statistics)
    assert conventions.body.style == (
        "caffe" if flavour == "mmdet_caffe" or flavour == "mmdet_improved" else "pytorch"
    )


@pytest.mark.parametrize(
    ("architecture", "source", "rgb", "bgr"),
    [
        (on(X32), RCNN, "mmdet", "mmdet_bgr"),
        (on(X64, "mask_rcnn"), RCNN, "mmdet", "mmdet_bgr"),
        (on(X64, "retinanet"), MMDET, "mmdet", "mmdet_bgr"),
        (on(X64, "fcos"), MMDET_FCOS, "mmdet_rgb", "mmdet"),
        (on(X64, "fcos", head_bias=True), MMDET_FCOS, "mmdet_improved_rgb", "mmdet_improved"),
    ],
)
def test_pixels_that_nothing_tells_are_asked_for(architecture, source, rgb: str, bgr: str) -> None:
    checkpoint = seen("epoch_12.pth", architecture, source, PYTORCH)
    with pytest.raises(WeightsError, match="tells the order of its pixels") as error:
        choose_conventions(checkpoint, None)
    assert f"--flavour {rgb}) for RGB" in str(error.value) and f"--flavour {bgr}) for BGR" in str(error.value)
    for flavour, order in ((rgb, "RGB"), (bgr, "BGR")):
        assert choose_conventions(checkpoint, flavour)[1].input_spec.channel_order == order


@pytest.mark.parametrize(
    "name", ["faster_rcnn_{}_fpn.detectron2", "retinanet_{}_fpn.detectron2", "fcos_{}_fpn.adelaidet"]
)
def test_a_fresh_model_on_facebooks_resnext_divides_as_its_checkpoints_do(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name.format(X32), num_classes=2)
        other = create_model(name.format(X64), num_classes=2)
    assert (model.input_spec.mean, model.input_spec.std) == DIVIDED
    assert model.origin["flavour"]["input_spec"]["std"] == DIVIDED[1]
    assert other.input_spec.std == (1.0, 1.0, 1.0)


def test_a_name_that_contradicts_the_tensors_is_not_believed() -> None:
    with pytest.raises(WeightsError, match=r"do not tell which of original and improved it is; say flavour="):
        flavour_of(seen("FCOS_R_50_FPN_1x.pth", fcos("resnet18")))
