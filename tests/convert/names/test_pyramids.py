"""FPNs of other programs on fewer or other levels than usual, and what their tensors do not tell of norms and ReLUs."""

from pathlib import Path
from typing import Any

import pytest
import torch

import pagoda
from pagoda.convert.read import convert
from pagoda.convert.to_program import to_source
from pagoda.models import create_model
from pagoda.weights.files import WeightsError

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1, "base_channels": 8}
MMDET = "neck.{}_convs.{}.conv.weight"
GN = "norm_cfg=dict(type='GN', num_groups={}, requires_grad=True)"
CONFIG = "model = dict(\n    neck=dict(\n        type='FPN', {}),\n    head=dict(act_cfg=dict(type='Swish')))"


def written(model: torch.nn.Module, program: str, folder: Path, **meta: Any) -> tuple[Path, dict[str, Any]]:
    """(the file that the program would have saved, its tensors)."""
    tensors = to_source(model, program)
    path = folder / "model_imprv.pth"
    torch.save({"meta": meta, "state_dict": tensors} if program == "mmdet" else {"model": tensors}, path)
    return path, tensors


def is_same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-6) for name in ours
    )


@pytest.mark.parametrize(
    ("name", "program", "options", "names"),
    [
        (
            "retinanet_resnet18_fpn.mmdet",
            "mmdet",
            {"num_stages": 3, "top_level": 6},
            {MMDET.format("lateral", 0): 16, MMDET.format("fpn", 1): 32, MMDET.format("fpn", 3): 32},
        ),
        (
            "fcos_resnet18_fpn.mmdet_improved",
            "mmdet",
            {"levels": (2, 3, 4), "top_level": 5},
            {MMDET.format("lateral", 0): 8, MMDET.format("lateral", 2): 32, MMDET.format("fpn", 3): 32},
        ),
        ("fcos_resnet18_fpn.mmdet_improved", "mmdet", {"num_stages": 1, "top_level": 3}, {}),
        ("retinanet_resnet50_fpn.mmdet", "mmdet", {"levels": (4, 5)}, {MMDET.format("lateral", 0): 128}),
        ("mask_rcnn_resnet18_fpn.mmdet", "mmdet", {"levels": (3, 4)}, {MMDET.format("lateral", 0): 16}),
        ("mask_rcnn_resnet18_fpn.mmdet", "mmdet", {"num_stages": 3}, {MMDET.format("lateral", 2): 32}),
        (
            "retinanet_resnet18_fpn.torchvision",
            "torchvision",
            {"levels": (2, 3, 4), "top_level": 6},
            {"backbone.fpn.inner_blocks.0.0.weight": 8, "backbone.fpn.extra_blocks.p7.weight": 32},
        ),
        (
            "faster_rcnn_resnet18_fpn.torchvision",
            "torchvision",
            {"levels": (3, 4)},
            {"backbone.fpn.inner_blocks.0.0.weight": 16},
        ),
        (
            "retinanet_resnet18_fpn.detectron2",
            "detectron2",
            {"num_stages": 3, "top_level": 6},
            {"backbone.fpn_lateral3.weight": 16, "backbone.top_block.p7.weight": 32},
        ),
        (
            "fcos_resnet18_fpn.adelaidet",
            "adelaidet",
            {"num_stages": 2, "top_level": 5},
            {"backbone.fpn_lateral3.weight": 16, "backbone.top_block.p6.weight": 32},
        ),
        (
            "fcos_resnet18_fpn.improved",
            "fcos",
            {"num_stages": 3, "top_level": 6},
            {"backbone.fpn.fpn_inner2.weight": 16, "backbone.fpn.top_blocks.p6.weight": 32},
        ),
        ("mask_rcnn_resnet18_fpn.maskrcnn_benchmark", "maskrcnn_benchmark", {"num_stages": 3}, {}),
    ],
)
def test_as_many_stages_as_the_file_has(
    name: str, program: str, options: dict, names: dict[str, int], tmp_path: Path
) -> None:
    """`names`: the program's own for such a pyramid, and the channels that these convolutions read."""
    small = {key: value for key, value in SMALL.items() if key != "head_depth" or "faster" not in name}
    model = create_model(name, num_classes=80, **small, **options)
    path, tensors = written(model, program, tmp_path)
    assert {each: tensors[each].shape[1] for each in names} == names
    again = convert(path).model
    assert is_same(again, model) and again.levels == model.levels and again.strides == model.strides
    told = {"levels": tuple(model.neck.inputs), "top_level": model.levels[-1]}
    assert is_same(pagoda.load(path, options=told), model)


@pytest.mark.parametrize(
    ("options", "neck", "wanted"),
    [
        ({}, f"{GN.format(32)}, act_cfg=None, num_outs=5", {"neck_relu": False}),
        ({"neck_relu": True}, f"act_cfg=dict(type='ReLU'), {GN.format(32)}", {"neck_relu": True}),
        ({"norm_groups": 8}, GN.format(8), {"norm_groups": 8}),
        ({"neck_norm_on": ("output", "extra")}, GN.format(32), {"neck_norm_on": ("output", "extra")}),
        (
            {"neck_norm_on": ("output", "extra"), "neck_relu": True},
            f"{GN.format(32)}, act_cfg=dict(type='ReLU', inplace=True), no_norm_on_lateral=True",
            {"neck_relu": True},
        ),
        ({"neck_norm": "none", "neck_relu": True}, "act_cfg=dict(type='ReLU')", {"neck_relu": True}),
        ({"neck_norm": "batch"}, "norm_cfg=dict(type='BN')", {"neck_norm": "batch"}),
    ],
)
@pytest.mark.parametrize("kept", ["text", "dicts"])
def test_norms_and_activations_of_a_neck_as_the_config_says(
    kept: str, options: dict, neck: str, wanted: dict, tmp_path: Path
) -> None:
    everywhere = {
        "neck_norm": "group",
        "neck_norm_on": ("lateral", "output", "extra"),
        **SMALL,
        "head_norm": "none",
    }
    name = "retinanet_resnet18_fpn.mmdet"
    model = create_model(name, num_classes=80, **{**everywhere, **options}).eval()
    config = CONFIG.format(neck)
    values = config if kept == "text" else eval(f"dict({config})")
    path, _ = written(model, "mmdet", tmp_path, **{"config" if kept == "text" else "cfg": values})
    conversion = convert(path)
    again = conversion.model
    found = {key: value for key, value in again.card()["options"].items() if key in wanted}
    assert found == wanted and not any("no ReLU" in note for note in conversion.report.notes)
    assert is_same(again, model)
    x = {level: torch.randn(1, channels, 8, 8) for level, channels in model.backbone.channels.items()}
    with torch.no_grad():
        for level, features in model.neck(x).items():
            torch.testing.assert_close(again.neck(x)[level], features)


def test_where_nothing_tells_of_a_relu_that_is_said(tmp_path: Path) -> None:
    for neck_relu in (False, True):
        model = create_model(
            "mask_rcnn_resnet18_fpn.mmdet", num_classes=80, neck_norm="group", neck_relu=neck_relu, **SMALL
        )
        path, _ = written(model, "mmdet", tmp_path)
        conversion = convert(path)
        assert "options={'neck_relu': True}" in " ".join(conversion.report.notes)
        told = convert(path, options={"neck_relu": neck_relu})
        assert is_same(told.model, model) and not any("no ReLU" in note for note in told.report.notes)


@pytest.mark.parametrize(
    ("options", "neck", "message"),
    [
        ({}, "act_cfg=dict(type='Swish')", "has the activation Swish, and only ReLU is built there"),
        ({"norm": "group", "norm_groups": 8}, GN.format(8), r"8 groups to a norm, .* elsewhere \(norm\)"),
    ],
)
def test_what_no_model_of_ours_has_is_refused(options: dict, neck: str, message: str, tmp_path: Path) -> None:
    small = {**SMALL, "neck_norm": "group"}
    model = create_model("mask_rcnn_resnet18_fpn.mmdet", num_classes=80, **small, **options)
    path, _ = written(model, "mmdet", tmp_path, config=CONFIG.format(neck))
    with pytest.raises(WeightsError, match=message):
        convert(path)
