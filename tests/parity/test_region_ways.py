"""R-CNNs go from one program to another and back: same names, same bits, and heads that say the same."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pagoda.convert.read import convert
from pagoda.convert.to_program import differences, to_source
from pagoda.detectors.rcnn import RCNN
from pagoda.models import create_model

pytestmark = [pytest.mark.parity, pytest.mark.medium]

CLASSES, WIDTH = 3, 16
NAMES = [
    "faster_rcnn_resnet18_fpn",
    "mask_rcnn_resnet18_fpn",
    "keypoint_rcnn_resnet18_fpn",
    "mask_rcnn_resnet18_c4",
]
# Box and mask of the background, which nobody reads and detectron2 does not have.
UNREAD = {
    "roi_heads.box.predictor.bbox_pred": 4,
    "roi_heads.mask.predictor.mask_fcn_logits": 1,
}


def small(name: str, **options) -> RCNN:
    """Nothing in it has the value it would start with."""
    depth = {} if "faster" in name or "_c4" in name else {"head_depth": 1}
    model = create_model(name, num_classes=CLASSES, width=WIDTH, **depth, **options).eval()
    generator = torch.Generator().manual_seed(1)
    for key, tensor in model.state_dict().items():
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(std=0.1, generator=generator)
    return model


def file_for(model: RCNN, program: str, folder: Path) -> Path:
    path = folder / "model_final.pth"
    torch.save({"model": to_source(model, program)}, path)
    return path


def said(model: RCNN, order: Tensor) -> dict[str, Tensor]:
    """What the heads make of random features; anchors of a cell in the order given."""
    torch.manual_seed(5)
    width = {level: (model.neck or model.backbone).channels[level] for level in model.levels}
    logits, deltas = model.rpn_head({level: torch.randn(1, width[level], 3, 4) for level in model.levels})
    found = {"rpn": logits.unflatten(1, (-1, len(order)))[:, :, order]}
    found["rpn_deltas"] = deltas.unflatten(1, (-1, len(order)))[:, :, order]
    channels = width[model.levels[0]]
    pooled = torch.randn(5, channels, model.box_head.pooling.resolution, model.box_head.pooling.resolution)
    found["classes"], found["deltas"] = model.box_head(pooled)
    if model.mask_head is not None:
        fine = torch.randn(3, model.mask_head.enlarge.in_channels, 14, 14)
        found["masks"] = model.mask_head(fine, torch.arange(3))
    if model.keypoint_head is not None:
        found["keypoints"] = model.keypoint_head(torch.randn(2, channels, 14, 14))
    return found


def anchor_twins(ours: RCNN, theirs: RCNN) -> Tensor:
    """For each anchor of theirs the one of ours of the same shape, on the coarsest level."""
    level = ours.levels[-1]
    sides = [model.anchors.of_cell(level) for model in (theirs, ours)]
    a, b = ((boxes[:, 2:] - boxes[:, :2]).log() for boxes in sides)
    return (a[:, None] - b[None]).abs().sum(-1).argmin(1)


@pytest.mark.parametrize(
    ("name", "program"),
    [
        *((name, "detectron2") for name in NAMES),
        ("mask_rcnn_resnet18_fpn", "mmdet"),
        ("mask_rcnn_resnet18_fpn", "torchvision"),
        ("keypoint_rcnn_resnet18_fpn", "torchvision"),
    ],
)
def test_maskrcnn_benchmarks_weights_go_there_and_come_home(name: str, program: str, tmp_path: Path) -> None:
    model = small(f"{name}.maskrcnn_benchmark")
    begin = to_source(model, "maskrcnn_benchmark")
    assert len(begin) == len(model.state_dict()) and differences(model, "maskrcnn_benchmark") == []
    there = convert(file_for(model, program, tmp_path)).model
    assert there.origin["model"] == f"{name}.{program}"
    order = anchor_twins(model, there)
    with torch.no_grad():
        expected, found = said(model, order), said(there, torch.arange(len(order)))
    for key, values in expected.items():
        torch.testing.assert_close(found[key], values, rtol=1e-5, atol=1e-6, msg=key)
    home = to_source(there, "maskrcnn_benchmark")
    home = {key: tensor for key, tensor in home.items() if "num_batches" not in key}  # mmdetection counts
    assert home.keys() == begin.keys()
    for key, tensor in begin.items():
        unread = UNREAD.get(key.rpartition(".")[0], 0) if program != "torchvision" else 0
        if key.endswith("running_var"):  # an epsilon was taken off and added again
            torch.testing.assert_close(home[key], tensor, rtol=0, atol=1e-6)
        else:
            assert torch.equal(home[key][unread:], tensor[unread:]), key
        assert not home[key][:unread].any()
    assert any(line.startswith("anchor_style") for line in differences(model, program))


def test_programs_without_such_models_are_named() -> None:
    with pytest.raises(ValueError, match="torchvision has no form for mask_rcnn with the neck 'c4'"):
        to_source(small("mask_rcnn_resnet18_c4.maskrcnn_benchmark"), "torchvision")
    with pytest.raises(ValueError, match="unknown source to write for 'mmdet'"):
        to_source(small("keypoint_rcnn_resnet18_fpn"), "mmdet")


def test_detectron2_names_networks_of_one_level_otherwise() -> None:
    names = to_source(small("mask_rcnn_resnet18_c4.detectron2"), "detectron2")
    assert "backbone.res2.0.conv1.weight" in names and "roi_heads.res5.0.conv1.weight" in names
    dilated = to_source(small("faster_rcnn_resnet18_dc5.detectron2"), "detectron2")
    assert "backbone.res5.0.conv1.weight" in dilated


def test_the_last_stages_norms_have_the_bodys_epsilon() -> None:
    model = small("mask_rcnn_resnet18_c4.maskrcnn_benchmark")
    variance = to_source(model, "detectron2")["roi_heads.res5.0.conv1.norm.running_var"]
    assert torch.equal(variance, model.box_head.trunk.stage[0].bn1.running_var - 1e-5)


def test_what_the_other_program_computes_otherwise_is_said() -> None:
    model = small("mask_rcnn_resnet18_fpn.maskrcnn_benchmark")
    told = "\n".join(differences(model, "detectron2"))
    for part in ("postprocess.paste: 'whole_pixels' here", "pooling.aligned: False here", "coder.inclusive"):
        assert part in told
    assert "one_level" not in told and "coder.weights" not in told


def test_our_own_and_composed_models() -> None:
    own = small("mask_rcnn_resnet18_fpn")
    assert len(to_source(own, "detectron2")) > 100
    assert not to_source(own, "torchvision")["roi_heads.box_predictor.bbox_pred.weight"][:4].any()
    with pytest.raises(ValueError, match=r"no place for 'rpn_head\.tower\.2\.weight'"):
        to_source(small("mask_rcnn_resnet18_fpn.torchvision_v2"), "detectron2")
    own.origin = None
    with pytest.raises(ValueError, match="only models of the zoo can be written"):
        to_source(own, "detectron2")
