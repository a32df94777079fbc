"""Detectron's blobs: every name of a ResNet, its pyramid and its RetinaNet finds the one place it belongs to."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pagoda.convert.names.caffe2 import RULES
from pagoda.convert.names.rules import rename
from pagoda.convert.read_backbone import load_backbone
from pagoda.convert.recognise import flavour_of, open_foreign, recognised
from pagoda.models import create_model

pytestmark = pytest.mark.medium

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def norm_blobs(name: str, norm: str) -> list[str]:
    return [f"{name}_{norm}_s", f"{name}_{norm}_b"]


def body_blobs(depth: int, norm: str) -> Iterator[str]:
    """As Detectron's ResNet.py calls them: its first batch norm is `res_conv1_bn`, a group norm `conv1_gn`."""
    yield "conv1_w"
    yield from norm_blobs("res_conv1" if norm == "bn" else "conv1", norm)
    for stage, count in enumerate(BLOCKS[depth], start=2):
        for block in range(count):
            branches = ["2a", "2b", "2c"] + (["1"] if block == 0 else [])
            for branch in branches:
                name = f"res{stage}_{block}_branch{branch}"
                yield f"{name}_w"
                yield from norm_blobs(name, norm)


def retinanet_blobs(depth: int) -> Iterator[str]:
    """The pyramid's blobs are named after the sum of each stage's last block."""
    names = []
    for stage, count in enumerate(BLOCKS[depth][1:], start=3):
        last = f"res{stage}_{count - 1}_sum"
        names += [f"fpn_inner_{last}" + ("" if stage == 5 else "_lateral"), f"fpn_{last}"]
    names += ["fpn_6", "fpn_7"]
    for branch in ("cls", "bbox"):
        names += [f"retnet_{branch}_conv_n{index}_fpn3" for index in range(4)]
        names.append(f"retnet_{branch}_pred_fpn3")
    for name in names:
        yield from (f"{name}_w", f"{name}_b")


@pytest.mark.parametrize("norm", ["bn", "gn"])
@pytest.mark.parametrize("depth", BLOCKS)
def test_every_blob_has_its_place_and_every_place_its_blob(depth: int, norm: str) -> None:
    blobs = [*body_blobs(depth, norm), *retinanet_blobs(depth)]
    found = rename(blobs, RULES)
    assert not found.unknown and not found.dropped
    with torch.device("meta"):
        norm_option = {"norm": "group"} if norm == "gn" else {}
        model = create_model(f"retinanet_resnet{depth}_fpn.caffe2", num_classes=80, **norm_option)
    ours = {name for name in model.state_dict() if not name.endswith(("running_mean", "running_var"))}
    assert len(set(found.taken.values())) == len(blobs) and set(found.taken.values()) == ours
    assert len(blobs) == {50: 195, 101: 348, 152: 501}[depth]
    state = model.state_dict()
    file = {blob: torch.zeros(()).expand(state[name].shape) for blob, name in found.taken.items()}
    told = recognised("model_final.pkl", {**file, "lr": torch.zeros(1), "conv1_w_momentum": torch.zeros(1)})
    assert told.source.name == "caffe2" and flavour_of(told) == "caffe2" and not told.renamed.unknown
    assert told.architecture.backbone == f"resnet{depth}" and told.architecture.num_classes == 80
    assert told.architecture.options.get("norm") == norm_option.get("norm")
    assert told.architecture.extra_from == "C5"


def test_what_blobs_mean() -> None:
    wanted = {
        "conv1_w": "backbone.conv1.weight",
        "res_conv1_bn_s": "backbone.bn1.weight",
        "res_conv1_bn_b": "backbone.bn1.bias",
        "res2_0_branch1_w": "backbone.layer1.0.downsample.0.weight",
        "res2_0_branch1_bn_b": "backbone.layer1.0.downsample.1.bias",
        "res4_22_branch2b_w": "backbone.layer3.22.conv2.weight",
        "res5_2_branch2c_bn_s": "backbone.layer4.2.bn3.weight",
        "res3_7_branch2a_gn_s": "backbone.layer2.7.bn1.weight",
        "fpn_inner_res5_2_sum_w": "neck.lateral.5.weight",
        "fpn_inner_res4_35_sum_lateral_b": "neck.lateral.4.bias",
        "fpn_res3_3_sum_w": "neck.output.3.weight",
        "fpn_6_w": "neck.extra.6.weight",
        "fpn_7_b": "neck.extra.7.bias",
        "retnet_cls_conv_n2_fpn3_w": "class_head.tower.4.weight",
        "retnet_bbox_conv_n0_fpn3_b": "box_head.tower.0.bias",
        "retnet_cls_pred_fpn3_w": "class_head.predict.weight",
        "retnet_bbox_pred_fpn3_b": "box_head.predict.bias",
    }
    assert rename(wanted, RULES).taken == wanted


@pytest.mark.parametrize(
    "blob",
    ["conv1_w_momentum", "weight_order", "lr", "pred_w", "fc1000_b", "conv1_b", "res2_0_branch2a_b"],
)
def test_what_is_not_needed_is_dropped_with_a_reason(blob: str) -> None:
    assert rename([blob], RULES).dropped[blob]


def imagenet_file(folder: Path, norm: str) -> tuple[Path, dict[str, np.ndarray]]:
    """A pickle like MSRA/R-50.pkl: scales and shifts, no statistics; shapes of ResNet-50."""
    with torch.device("meta"):
        ours = create_model("fcos_resnet50_fpn", num_classes=1).state_dict()
    generator = np.random.default_rng(0)
    blobs = {
        source: generator.normal(0.5, 0.01, ours[name].shape).astype(np.float32)
        for source, name in rename([*body_blobs(50, norm)], RULES).taken.items()
    }
    path = folder / "R-50.pkl"
    content = {"blobs": {**blobs, "pred_w": np.zeros((1000, 2048), np.float32)}, "cfg": "MODEL: {}"}
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path, blobs


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_an_imagenet_file_fills_a_backbone(tmp_path: Path, norm: str) -> None:
    path, blobs = imagenet_file(tmp_path, norm)
    checkpoint = open_foreign(path)
    assert checkpoint.source.name == "caffe2" and checkpoint.architecture.detector is None
    assert checkpoint.architecture.backbone == "resnet50"
    assert checkpoint.architecture.options == ({"norm": "group"} if norm == "gn" else {})
    backbone = load_backbone(path, style="caffe", **({} if norm == "gn" else {"norm": "frozen", "eps": 0.0}))
    state = backbone.state_dict()
    assert torch.equal(state["layer3.5.conv2.weight"], torch.from_numpy(blobs["res4_5_branch2b_w"]))
    assert torch.equal(
        state["layer1.0.downsample.1.bias"], torch.from_numpy(blobs[f"res2_0_branch1_{norm}_b"])
    )
    if norm == "bn":  # folded into scale and shift long ago
        assert (state["bn1.running_var"] == 1).all() and (state["bn1.running_mean"] == 0).all()
