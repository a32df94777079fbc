"""The table of what can be exported how: the page is the table, and every cell is as it says."""

import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest
import torch

from pagoda.evaluation.coco.result import ApDifference
from pagoda.exporting.clips.export import export_clips
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.openvino import export_int8, export_openvino
from pagoda.exporting.parity_pictures import drawn_pictures
from pagoda.exporting.raw_heads import export_raw_heads
from pagoda.exporting.support import FAMILIES, FORMS, REFUSED, page
from pagoda.models import create_model

sys.path.insert(0, str(Path(__file__).parent))
from small import spread_out

SMALL = {"width": 32, "short_side": 96, "long_side": 128, "num_classes": 3}
DENSE = {"levels": (3, 4), "top_level": 5, "head_depth": 1}
MODELS = {
    "FCOS": ("fcos_resnet18_fpn", SMALL | DENSE),
    "RetinaNet": ("retinanet_resnet18_fpn", SMALL | DENSE),
    "EfficientDet": ("efficientdet_d0", {"canvas": (96, 128), "num_classes": 3, "cells": 1}),
    "SSD": (
        "ssd_resnet18",
        {"canvas": (96, 128), "num_classes": 3, "levels": (3, 4), "top_level": 6, "width": 32},
    ),
    "YOLOv1": (
        "yolov1_resnet18",
        {"canvas": (96, 128), "num_classes": 3, "width": 16, "head_depth": 1, "levels": (4,)},
    ),
    "Faster R-CNN": ("faster_rcnn_resnet18_fpn", SMALL),
    "Mask R-CNN": ("mask_rcnn_resnet18_fpn", SMALL),
    "Keypoint R-CNN": ("keypoint_rcnn_resnet18_fpn", SMALL | {"num_classes": 1}),
    "Detect-and-Track": ("detect_and_track_resnet18_3d", SMALL | {"num_classes": 1, "num_keypoints": 5}),
}


def test_the_page_is_the_table(repository: Path) -> None:
    written = (repository / "docs" / "exporting.md").read_text(encoding="utf-8")
    assert written == page(), "run python tools/exports_page.py"
    assert set(MODELS) == set(FAMILIES)


def model_of(family: str):
    """Small, with scores as far apart as after training."""
    name, options = MODELS[family]
    torch.manual_seed(0)
    model = create_model(name, **options).eval()
    if "R-CNN" in family:
        return spread_out(model, (96, 128))
    if family == "EfficientDet":
        torch.nn.init.normal_(model.class_head.predict.conv_pw.weight)
    elif family == "SSD":
        for layer in model.class_head.predict.values():
            torch.nn.init.normal_(layer.weight, std=0.05)
    elif family == "YOLOv1":
        torch.nn.init.normal_(model.head.predict.weight, std=0.1)
        torch.nn.init.constant_(model.head.predict.bias[:5], 0.5)
    elif family != "Detect-and-Track":
        torch.nn.init.normal_(model.class_head.predict.weight, std=0.3)
    return model


def export(model, form: str, folder: Path) -> object:
    ending, _, option = form.partition(" --")
    path = folder / f"model.{ending}"
    if option == "raw-heads":
        return export_raw_heads(model, path, size=(96, 128))
    if option == "int8":
        same = {"AP": ApDifference(ap=0.5, other_ap=0.5, low=0.0, high=0.0)}
        return export_int8(model, path, calibration=drawn_pictures((96, 128), 4), compare=lambda *_: same)
    if model.sees_clips or option == "sliding":
        form = {"sliding": option == "sliding", "half": option == "half"}
        return export_clips(model, path, pictures=drawn_pictures((96, 128), 2), **form)
    write = export_onnx if ending == "onnx" else export_openvino
    return write(model, path, half=option == "half", pictures=drawn_pictures((96, 128), 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "form"), [cell for cell in product(FAMILIES, FORMS) if cell not in REFUSED]
)
def test_what_can_be_is_compared_and_written(family: str, form: str, tmp_path: Path) -> None:
    check_packages(form)
    export(model_of(family), form, tmp_path)
    assert list(tmp_path.iterdir())


@pytest.mark.parametrize(("family", "form"), REFUSED)
def test_what_cannot_be_is_refused_at_once(family: str, form: str, tmp_path: Path) -> None:
    check_packages(form)
    with pytest.raises(ValueError, match=r"single pictures|no int8|predict at every location"):
        export(model_of(family), form, tmp_path)
    assert not list(tmp_path.iterdir())


def check_packages(form: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs pip install 'pagoda-vision[export]'")
    if form.startswith("xml") and not all(map(find_spec, ("openvino", "nncf"))):
        pytest.skip("needs pip install 'pagoda-vision[openvino]'")
