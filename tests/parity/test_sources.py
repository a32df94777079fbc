"""Checkpoints of other programs are told apart, and models go from one program to another and back unharmed."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pagoda.backbones.ghostnet import GhostNet
from pagoda.convert.architecture.dense import Architecture
from pagoda.convert.names.imagenet import DETECTRON2, MOBILENET_FLAT
from pagoda.convert.names.rules import restore
from pagoda.convert.recognise import recognised

sys.path.insert(0, str(Path(__file__).parent))
from goldens import ROOT, Golden, folders

GOLDENS = [Golden(folder) for folder in folders()]
pytestmark = [pytest.mark.parity, pytest.mark.medium]


def without_memory(entries: dict[str, Any]) -> dict[str, Tensor]:
    """{name: tensor} of the shapes in a record."""
    return {name: torch.zeros(()).expand(tuple(shape)) for name, shape in entries.items()}


# Records of the originals


@pytest.mark.skipif(
    not GOLDENS, reason=f"needs the records of the originals; set PAGODA_GOLDENS (looked in {ROOT})"
)
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.folder.name)
def test_records_are_told_by_their_tensors(golden: Golden) -> None:
    expected = expectation(golden)
    if expected is None:
        pytest.skip(f"{golden.meta['task']}: told by the tests of its family")
    found = recognised("model.pth", without_memory(golden.meta["weights"]["entries"]))
    assert not found.renamed.unknown
    told = found.architecture
    for name, value in expected.items():
        mine = getattr(told, name) if hasattr(told, name) else told.options.get(name)
        assert mine == value, f"{name}: {mine}, expected {value}"


def expectation(golden: Golden) -> dict[str, Any] | None:
    """What the config says of the network; None for families whose tests are elsewhere."""
    task, options = golden.meta["task"], golden.options
    if golden.repository.endswith(("/FCOS", "/maskrcnn-benchmark")):
        return of_maskrcnn_benchmark(options) if {"FCOS", "RETINANET"} & options.keys() else None
    if golden.repository.endswith("/mmdetection") and "backbone" in options:
        head = options.get("bbox_head", {}).get("type")
        if head not in ("FCOSHead", "RetinaHead"):
            return None
        body = options["backbone"]
        return {
            "detector": "fcos" if head == "FCOSHead" else "retinanet",
            "backbone": f"resnet{body['depth']}",
            "num_classes": options["bbox_head"]["num_classes"],
            "head_depth": options["bbox_head"].get("stacked_convs", 4),
        }
    if golden.repository.endswith("/mmdetection") and "backbone" in task:
        return of_mmdet_body(golden)
    if golden.repository.endswith("/retinanet-pytorch"):
        depth = (18, 34, 50, 101, 152)[options["phi"]]
        return {"detector": "retinanet", "backbone": f"resnet{depth}", "num_classes": options["num_classes"]}
    if "classifier" in task:
        version = "v2" if "v2" in golden.meta["source"]["config"] else ""
        return {"detector": None, "backbone": f"ghostnet{version}_100"}
    return None


def of_maskrcnn_benchmark(options: dict[str, Any]) -> dict[str, Any]:
    """Of a config of maskrcnn-benchmark or FCOS."""
    is_fcos, nets = "FCOS" in options, options.get("RESNETS", {})
    given = options["FCOS" if is_fcos else "RETINANET"]
    groups, width = nets.get("NUM_GROUPS", 1), nets.get("WIDTH_PER_GROUP", 64)
    kind, depth, *_ = options.get("CONV_BODY", options.get("BACKBONE", {}).get("CONV_BODY", "")).split("-")
    body = f"resnext{depth}_{groups}x{width}d" if groups > 1 else f"resnet{depth}"
    stages = tuple(level for level, used in enumerate(nets.get("STAGE_WITH_DCN", ()), start=2) if used)
    use_c5 = options.get("RETINANET.USE_C5", given.get("USE_C5", not is_fcos))
    return {
        "detector": "fcos" if is_fcos else "retinanet",
        "backbone": body if kind == "R" else "mobilenet_v2",
        "num_classes": given.get("NUM_CLASSES", 81) - 1,
        "head_depth": given.get("NUM_CONVS", 4),
        "head_deform": given.get("USE_DCN_IN_TOWER", False),
        "deform_levels": stages or None,
        "norm": "group" if "GN" in nets.get("TRANS_FUNC", "") else None,
        "neck_norm": "group" if options.get("FPN", {}).get("USE_GN") else "none",
        "extra_from": "C5" if use_c5 else "P5",
    }


def of_mmdet_body(golden: Golden) -> dict[str, Any]:
    """Of a backbone of mmdetection."""
    options, kind = golden.options, golden.meta["source"]["config"]
    groups = options.get("groups", 1)
    name = f"resnet{options['depth']}" + (
        "d" if kind == "ResNetV1d" else "c" if options.get("deep_stem") else ""
    )
    if groups > 1:
        name = f"resnext{options['depth']}_{groups}x{options.get('base_width', 4)}d"
    expected = {"detector": None, "backbone": name}
    if options.get("dcn"):
        stages = [level for level, used in enumerate(options["stage_with_dcn"], start=2) if used]
        expected |= {
            "deform": "v2" if options["dcn"]["type"] == "DCNv2" else "v1",
            "deform_levels": tuple(stages),
            "deform_groups": options["dcn"].get("deform_groups", 1),
        }
    expected["norm"] = "group" if options.get("norm_cfg", {}).get("type") == "GN" else None
    return expected


# Living programs, and files as they describe them


def torchvision_state(builder: str, **options: Any) -> dict[str, Tensor]:
    with torch.device("meta"):
        return dict(
            getattr(pytest.importorskip("torchvision.models"), builder)(weights=None, **options).state_dict()
        )


def timm_state(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return dict(pytest.importorskip("timm").create_model(name, pretrained=False).state_dict())


def told(tensors: dict[str, Tensor]) -> Architecture:
    found = recognised("weights.pth", tensors)
    assert not found.renamed.unknown
    return found.architecture


@pytest.mark.parametrize(
    ("builder", "backbone"),
    [
        ("resnet18", "resnet18"),
        ("resnet34", "resnet34"),
        ("resnet50", "resnet50"),
        ("resnet152", "resnet152"),
        ("resnext50_32x4d", "resnext50_32x4d"),
        ("resnext101_32x8d", "resnext101_32x8d"),
        ("resnext101_64x4d", "resnext101_64x4d"),
        ("mobilenet_v2", "mobilenet_v2"),
    ],
)
def test_torchvisions_classifiers(builder: str, backbone: str) -> None:
    found = told(torchvision_state(builder))
    assert (found.detector, found.backbone, found.options) == (None, backbone, {})


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("resnet50", "resnet50"),
        ("resnet18d", "resnet18d"),
        ("resnet50c", "resnet50c"),
        ("resnet101d", "resnet101d"),
        ("resnext101_64x4d", "resnext101_64x4d"),
        ("ghostnet_050", "ghostnet_50"),
        ("ghostnet_100", "ghostnet_100"),
        ("ghostnet_130", "ghostnet_130"),
        ("ghostnetv2_100", "ghostnetv2_100"),
        ("ghostnetv2_160", "ghostnetv2_160"),
    ],
)
def test_timms_and_huaweis_classifiers(name: str, backbone: str) -> None:
    state = timm_state(name)
    if "ghost" in name:  # as a profiler leaves them in huawei's files
        state["conv_stem.total_ops"] = torch.zeros(1)
    found = told(state)
    assert (found.detector, found.backbone, found.options) == (None, backbone, {})


@pytest.mark.parametrize("width", [0.5, 1.0, 1.1, 1.3])
def test_widths_of_ghostnet(width: float) -> None:
    with torch.device("meta"):
        found = told(dict(GhostNet(width, classes=10).state_dict()))
    assert found.backbone == f"ghostnet_{round(100 * width)}"


@pytest.mark.parametrize(
    ("builder", "name"),
    [
        ("fcos_resnet50_fpn", "fcos_resnet50_fpn"),
        ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn"),
        ("retinanet_resnet50_fpn_v2", "retinanet_resnet50_fpn"),
    ],
)
def test_torchvisions_detectors(builder: str, name: str) -> None:
    detection = pytest.importorskip("torchvision.models.detection")
    with torch.device("meta"):
        state = getattr(detection, builder)(weights=None, weights_backbone=None, num_classes=7).state_dict()
    found = told(dict(state))
    assert f"{found.detector}_{found.backbone}_{found.neck}" == name and found.num_classes == 7
    assert found.extra_from == ("C5" if builder.endswith("v2") else "P5")


def test_tonylins_mobilenet() -> None:
    ours = [
        f"backbone.{name}" for name in torchvision_state("mobilenet_v2") if not name.startswith("classifier")
    ]
    state = {
        name.replace("features.18.", "conv."): tensor
        for name, tensor in torchvision_state("mobilenet_v2").items()
    }
    names = restore([name for name in ours if "features.18." not in name], MOBILENET_FLAT)
    flat = {names.get(f"backbone.{name}", name): tensor for name, tensor in state.items()}
    assert (
        "features.1.conv.3.weight" in flat
        and "features.17.conv.7.running_var" in flat
        and "conv.0.weight" in flat
    )
    found = recognised("mobilenet_v2-ecbe2b5.pth", flat)
    assert found.source.title == "MobileNetV2 (tonylins)" and found.architecture.backbone == "mobilenet_v2"
    assert not found.renamed.unknown


@pytest.mark.parametrize(
    ("depth", "groups", "backbone"), [(50, 1, "resnet50"), (101, 32, "resnext101_32x8d")]
)
def test_imagenet_pickles_of_detectron2(depth: int, groups: int, backbone: str) -> None:
    theirs = torchvision_state("resnet50" if groups == 1 else "resnext101_32x8d")
    ours = {
        f"backbone.{n}": t for n, t in theirs.items() if not n.startswith("fc.") and "num_batches" not in n
    }
    state = {name: ours[canonical] for canonical, name in restore(list(ours), DETECTRON2).items()}
    assert {"stem.conv1.weight", "stem.conv1.norm.running_var", "res5.0.shortcut.norm.bias"} <= state.keys()
    state["stem.fc.weight"] = torch.zeros(1000, 2048)
    found = recognised("R-50.pkl", state)
    assert (
        found.source.title == "an ImageNet backbone of detectron2" and found.architecture.backbone == backbone
    )
