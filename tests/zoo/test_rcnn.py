"""Faster, Mask and Keypoint R-CNN by name: published sizes, flavours, options, checkpoints there and back."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pagoda
from pagoda.convert.names import caffe2, detectron2, maskrcnn_benchmark, mmdet, torchvision
from pagoda.convert.names.rules import restore
from pagoda.detectors.rcnn import RCNN
from pagoda.models import create_model
from pagoda.structures.images import ImageBatch
from pagoda.weights.files import save_weights
from pagoda.zoo.families import FAMILIES

pytestmark = pytest.mark.medium

REGION_FAMILIES = ("faster_rcnn", "mask_rcnn", "keypoint_rcnn")


def tiny(name: str) -> dict:
    """Little of everything: Faster R-CNN and C4 networks have no towers."""
    return {"width": 16} if "faster" in name or "_c4" in name else {"width": 16, "head_depth": 1}


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        # torchvision's, with 90 categories of COCO and the background
        ("faster_rcnn_resnet50_fpn.torchvision", 90, 41_755_286),
        ("faster_rcnn_resnet50_fpn.torchvision_v2", 90, 43_712_278),
        ("mask_rcnn_resnet50_fpn.torchvision", 90, 44_401_393),
        ("mask_rcnn_resnet50_fpn.torchvision_v2", 90, 46_359_409),
        ("keypoint_rcnn_resnet50_fpn.torchvision", 1, 59_137_258),
        # Caffe2's "2d_best" of Detect-and-Track, without its fixed bilinear kernel and the affine norms
        ("keypoint_rcnn_resnet101_fpn.caffe2", 1, 78_187_147 - 4_641 - 105_344),
    ],
)
def test_published_sizes(name: str, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=classes)
    assert sum(p.numel() for p in model.parameters()) == parameters


def small(name: str, classes: int = 3, **options) -> RCNN:
    torch.manual_seed(0)
    model = create_model(name, num_classes=classes, **{**tiny(name), **options})
    generator = torch.Generator().manual_seed(1)
    for key, tensor in model.state_dict().items():
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif key.endswith(("running_mean", "bias")) and tensor.is_floating_point():
            tensor.uniform_(-0.1, 0.1, generator=generator)
    torch.nn.init.normal_(model.box_head.classes.weight, std=0.3)
    return model.eval()


def images() -> ImageBatch:
    return ImageBatch(torch.randn(1, 3, 64, 96), torch.tensor([[64, 96]]))


def same_outputs(first: RCNN, second: RCNN) -> None:
    batch = images()
    assert first.proposals == second.proposals and first.postprocess == second.postprocess
    # The last stage of C4 networks runs on every region, and for masks on every object.
    few = replace(first.proposals, inference=replace(first.proposals.inference, max_proposals=20))
    first.proposals = second.proposals = few
    first.postprocess = second.postprocess = first.postprocess.with_limits(max_detections=5)
    with torch.no_grad():
        expected, found = first(batch), second(batch)
    for field, values in expected._asdict().items():
        torch.testing.assert_close(getattr(found, field), values, rtol=1e-5, atol=1e-6, msg=field)


FLAVOURS = [(family, flavour) for family in REGION_FAMILIES for flavour in FAMILIES[family].flavours]


@pytest.mark.parametrize(("family", "flavour"), FLAVOURS)
def test_every_flavour_builds_and_survives_json(family: str, flavour: str) -> None:
    import json

    conventions = FAMILIES[family].flavours[flavour]
    assert type(conventions).from_dict(json.loads(json.dumps(conventions.to_dict()))) == conventions
    with torch.device("meta"):
        name = f"{family}_resnet18_fpn" + f".{flavour}" * bool(flavour)
        model = create_model(name, num_classes=3, **tiny(name))
    assert isinstance(model, RCNN) and model.levels == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "name", ["mask_rcnn_resnet18_c4.detectron2", "faster_rcnn_resnet18_dc5", "keypoint_rcnn_resnet18_fpn"]
)
def test_our_checkpoint_rebuilds_the_model(name: str, tmp_path: Path) -> None:
    model = small(name)
    save_weights(tmp_path / "model.safetensors", model.state_dict(), model.card())
    loaded = pagoda.load(tmp_path / "model.safetensors")
    assert loaded.origin["model"] == name and loaded.postprocess == model.postprocess
    same_outputs(model, loaded)


def test_dilated_and_c4_networks_have_one_level_of_stride_16() -> None:
    for neck, level in (("dc5", 5), ("c4", 4)):
        with torch.device("meta"):
            model = create_model(f"faster_rcnn_resnet50_{neck}.detectron2", num_classes=3)
        assert model.strides == {level: 16} and model.rpn_head.anchors == 15
        assert model.input_spec.pad_multiple == 1
        assert model.proposals.inference.max_candidates == 6000


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mask_rcnn_resnet18_fpn", {"cells": 2}, "no use for the option cells=2"),
        (
            "mask_rcnn_resnet18_fpn",
            {"num_keypoints": 5},
            "use for the option num_keypoints=5, which is for models with a keypoint head",
        ),
        (
            "mask_rcnn_resnet18_c4",
            {"top_level": 6},
            "has no use for the option top_level=6, which is for pyramids",
        ),
        ("mask_rcnn_ghostnet_100_c4", {}, "built on ResNets, not ghostnet_100"),
        ("mask_rcnn_resnet18_bifpn", {}, "unknown model"),
        ("keypoint_rcnn_resnet18_fpn.mmdet", {}, "unknown flavour"),
        ("mask_rcn_resnet50_fpn", {}, "did you mean 'mask_rcnn_resnet50_fpn'"),
    ],
)
def test_what_does_not_fit_is_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model(name, num_classes=3, **options)


def test_other_choices() -> None:
    model = small("mask_rcnn_ghostnet_100_fpn", class_agnostic=True)
    outputs = model(images())
    assert outputs.box_outputs.shape[2] == 1 and outputs.mask_logits.shape[-1] == 28
    assert small("keypoint_rcnn_resnet18_fpn", num_keypoints=4)(images()).keypoint_logits.shape[2] == 4


# Checkpoints of the programs, written by their own tables of names.
PROGRAMS = {
    "faster_rcnn_resnet18_fpn.maskrcnn_benchmark": maskrcnn_benchmark.RCNN_RULES,
    "mask_rcnn_resnet18_c4.maskrcnn_benchmark": maskrcnn_benchmark.RCNN_RULES,
    "keypoint_rcnn_resnet18_fpn.maskrcnn_benchmark": maskrcnn_benchmark.RCNN_RULES,
    "mask_rcnn_resnet18_fpn.detectron2": detectron2.RCNN_RULES,
    "mask_rcnn_resnet18_c4.detectron2": detectron2.RCNN_ONE_LEVEL_RULES,
    "faster_rcnn_resnet18_dc5.detectron2": detectron2.RCNN_ONE_LEVEL_RULES,
    "keypoint_rcnn_resnet18_fpn.torchvision": torchvision.RCNN_RULES,
    "mask_rcnn_resnet18_fpn.torchvision_v2": torchvision.RCNN_V2_RULES,
    "mask_rcnn_resnet18_fpn.mmdet": mmdet.RCNN_RULES,
    "mask_rcnn_resnet18_fpn.caffe2": caffe2.RCNN_RULES,
    "faster_rcnn_resnet18_c4.caffe2": caffe2.RCNN_ONE_LEVEL_RULES,
    "keypoint_rcnn_resnet50_fpn.caffe2": caffe2.RCNN_RULES,
}


@pytest.mark.medium
@pytest.mark.parametrize("name", PROGRAMS)
def test_files_of_each_program_are_recognised(name: str, tmp_path: Path) -> None:
    # torchvision's second version has four convolutions in its mask head and box head, whatever we ask for
    depth = {"head_depth": 2} if "mask" in name and "_v2" in name else {}
    model = small(name, classes=1 if name.startswith("keypoint") else 3, **depth)
    state = {key: tensor for key, tensor in model.state_dict().items() if "num_batches" not in key}
    if name.endswith(".caffe2"):  # which stores scale and shift alone
        state = {key: tensor for key, tensor in state.items() if "running_" not in key}
        for key, tensor in model.state_dict().items():
            if "running_" in key:
                tensor.fill_(float(key.endswith("var")))
    names = restore(list(state), PROGRAMS[name])
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": {names[key]: state[key].numpy() for key in state}}, protocol=2))
    loaded = pagoda.load(path)
    assert loaded.origin["model"] == name
    assert loaded.label_map.names[0] in ("person", "class_0", "0") or len(loaded.label_map) == 3
    same_outputs(model, loaded)


def test_published_classes_have_their_names() -> None:
    with torch.device("meta"):
        model = create_model("faster_rcnn_resnet18_fpn.torchvision", num_classes=90)
        people = create_model("keypoint_rcnn_resnet18_fpn.detectron2", num_classes=1)
    assert model.label_map.names[0] == "person" and model.label_map.category_ids[-1] == 90
    assert people.label_map.names == ("person",)
