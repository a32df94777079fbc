"""Weights of pictures in networks of clips: every source of them, every tap, and what becomes of the rest."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet3d import ResNet3D
from pagoda.convert.to_program import to_source
from pagoda.detectors.contract import Detector
from pagoda.models import create_model, load_backbone_weights
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.skeleton import COCO_17
from pagoda.transfer.inflate import start_from
from pagoda.weights.files import WeightsError, save_weights

COCO_PERSON = LabelMap(("person",), (1,), COCO_17)
SMALL = {"width": 32, "head_depth": 2}


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """With norms that do something."""
    for module in network.modules():
        if hasattr(module, "running_var"):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.1, 0.1)
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def torchvision_file(network: ResNet, folder: Path) -> Path:
    """timm and mmdetection name a ResNet-18 the same."""
    classifier = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    torch.save(network.state_dict() | classifier, folder / "resnet18.pth")
    return folder / "resnet18.pth"


def mmdet_file(network: ResNet, folder: Path) -> Path:
    """A detector of which only the body is wanted."""
    model = create_model("retinanet_resnet18_fpn.mmdet", num_classes=2, **SMALL)
    model.backbone.load_state_dict(network.state_dict())
    torch.save({"meta": {}, "state_dict": to_source(model, "mmdet")}, folder / "mmdet.pth")
    return folder / "mmdet.pth"


def caffe2_file(network: ResNet, folder: Path) -> Path:
    """R-18.pkl: norms folded into scale and shift, a classifier called pred."""
    blobs: dict[str, Tensor] = {"conv1_w": network.conv1.weight}
    norms = {"res_conv1": network.bn1}
    for stage in (2, 3, 4, 5):
        for index, block in enumerate(getattr(network, f"layer{stage - 1}")):
            name = f"res{stage}_{index}_branch"
            for branch, conv, norm in (("2a", block.conv1, block.bn1), ("2b", block.conv2, block.bn2)):
                blobs[f"{name}{branch}_w"], norms[f"{name}{branch}"] = conv.weight, norm
            if block.downsample is not None:
                blobs[f"{name}1_w"], norms[f"{name}1"] = block.downsample[0].weight, block.downsample[1]
    for name, norm in norms.items():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        blobs |= {f"{name}_bn_s": scale, f"{name}_bn_b": norm.bias - scale * norm.running_mean}
    blobs |= {"pred_w": torch.zeros(1000, 512), "pred_b": torch.zeros(1000)}
    arrays: dict[str, np.ndarray] = {name: blob.detach().numpy() for name, blob in blobs.items()}
    (folder / "R-18.pkl").write_bytes(pickle.dumps({"blobs": arrays}, protocol=2))
    return folder / "R-18.pkl"


@pytest.fixture(scope="module")
def pictures() -> ResNet:
    """A trained network of pictures."""
    return lively(ResNet(18))


@pytest.mark.medium
@pytest.mark.parametrize("write", [torchvision_file, mmdet_file, caffe2_file])
def test_a_backbone_of_clips_says_of_every_frame_what_that_of_pictures_said(
    tmp_path: Path, pictures: ResNet, write: Callable[[ResNet, Path], Path]
) -> None:
    path = write(pictures, tmp_path)
    clip = torch.randn(1, 3, 3, 64, 64)
    centered, shared = ResNet3D(18).eval(), ResNet3D(18).eval()
    report = load_backbone_weights(centered, str(path))
    load_backbone_weights(shared, str(path), inflation="mean")
    assert not report.missing and not report.unknown and report.taken >= 60
    with torch.no_grad():
        wanted = pictures(clip[0].transpose(0, 1))
        found, other = centered(clip), shared(clip)
    for level, features in wanted.items():
        here = found[level][0].transpose(0, 1)
        torch.testing.assert_close(here, features, rtol=1e-3, atol=1e-3 * float(features.abs().max()))
        assert (other[level][0].transpose(0, 1) - features).abs().max() > 0.05 * features.abs().max()


@pytest.mark.medium
def test_the_options_of_a_model_say_how(tmp_path: Path, pictures: ResNet) -> None:
    path = torchvision_file(pictures, tmp_path)
    options = {"num_classes": 1, "num_keypoints": 0, "backbone_weights": str(path), **SMALL}
    model = create_model("detect_and_track_resnet18_3d", **options, inflation="repeat")
    weight, flat = model.backbone.layer3[1].conv2.weight, pictures.layer3[1].conv2.weight
    assert weight.shape[2] == 3 and all(torch.equal(weight[:, :, tap], flat) for tap in range(3))
    assert (
        model.origin["options"]["inflation"] is None and model.origin["options"]["backbone_weights"] is None
    )
    with pytest.raises(ValueError, match="inflation='mean' is for backbone_weights=…; give both or neither"):
        create_model("detect_and_track_resnet18_3d", num_classes=1, inflation="mean")
    with pytest.raises(ValueError, match="has no use for the option inflation='mean'"):
        create_model("fcos_resnet18_fpn", num_classes=1, inflation="mean")
    with pytest.raises(ValueError, match="a ResNet looks at pictures and has no use for inflation='mean'"):
        load_backbone_weights(ResNet(18), str(path), inflation="mean")


# Whole detectors


def saved(model: Detector, folder: Path) -> Path:
    return save_weights(folder / "trained.safetensors", model.state_dict(), model.card())


def parts(names: list[str]) -> set[str]:
    """Modules, with the stages of the body and the box head's outputs apart."""
    return {".".join(name.split(".")[: 3 if name.startswith("box_head.head") else 2]) for name in names}


BODY = {"backbone.conv1", "backbone.bn1", *(f"backbone.layer{stage}" for stage in (1, 2, 3))}
KEYPOINT_HEAD = {"keypoint_head.tower", "keypoint_head.predict"}


@pytest.mark.medium
def test_a_keypoint_rcnn_becomes_a_network_of_clips(tmp_path: Path) -> None:
    """Nothing is lost: taps beside the middle are zeros, so each frame of the clip is seen as a picture."""
    trained = lively(create_model("keypoint_rcnn_resnet18_fpn", label_map=COCO_PERSON, **SMALL))
    model = create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, **SMALL)
    report = start_from(model, saved(trained, tmp_path))
    assert report.fresh == [] and report.left == {}
    assert "keypoints begin as others: left_eye → head_bottom, right_eye → head_top" in report.text()
    model.eval()
    clip = torch.randn(1, 3, 3, 64, 96)
    with torch.no_grad():
        features = model.pyramid(model.frame_features(clip))
        wanted = trained.neck(trained.backbone(clip[0].transpose(0, 1)))
        for level, x in wanted.items():
            here = features[level][0].transpose(0, 1)
            torch.testing.assert_close(here, x, rtol=1e-3, atol=1e-3 * float(x.abs().max()))
        pooled = torch.rand(2, 3, 32, 14, 14)
        maps = model.keypoint_head(pooled)
        torch.testing.assert_close(
            maps.flatten(0, 1), trained.keypoint_head(pooled.flatten(0, 1)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.medium
def test_a_c4_network_begins_as_the_original_did_from_a_pyramid(tmp_path: Path) -> None:
    trained = create_model("keypoint_rcnn_resnet18_fpn.caffe2", num_classes=1)
    model = create_model("detect_and_track_resnet18_c4_3d.original", num_classes=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = start_from(model, saved(trained, tmp_path))
    assert parts(report.taken) == BODY | KEYPOINT_HEAD | {"box_head.head.trunk"}
    assert parts(report.fresh) == {"rpn_head.tower", "rpn_head.objectness", "rpn_head.deltas"} | {
        "box_head.head.classes",
        "box_head.head.deltas",
    }
    state, source = model.state_dict(), trained.state_dict()
    assert all(torch.equal(state[name], before[name]) for name in report.fresh)
    stage = "box_head.head.trunk.stage.1.conv2.weight"
    assert torch.equal(state[stage], source["backbone.layer4.1.conv2.weight"])
    tower = state["keypoint_head.tower.0.weight"]
    assert torch.equal(tower[:, :, 1], source["keypoint_head.tower.0.weight"])
    assert not tower[:, :, 0].any() and not tower[:, :, 2].any()
    assert report.left["box_head.head.classes.weight"] == "(2, 1024) there, (2, 512) here"
    assert report.left["rpn_head.tower.0.weight"] == "of other anchors"
    assert report.left["neck.lateral.5.weight"] == "the model has no such tensor"
    assert report.to_dict()["fresh"] == report.fresh


@pytest.mark.medium
def test_predictions_with_another_meaning_stay_fresh(tmp_path: Path) -> None:
    def left(theirs: str, **options: Any) -> dict[str, str]:
        trained = create_model(theirs, **{"label_map": COCO_PERSON, **SMALL, **options})
        model = create_model("detect_and_track_resnet18_2d", label_map=PERSON_17, **SMALL)
        report = start_from(model, saved(trained, tmp_path))
        assert sorted([*report.taken, *report.fresh]) == sorted(
            name for name in model.state_dict() if not name.endswith("num_batches_tracked")
        )
        return {name.rpartition(".")[0]: why for name, why in report.left.items()}

    assert left("keypoint_rcnn_resnet18_fpn") == {}
    assert left("keypoint_rcnn_resnet18_fpn.maskrcnn_benchmark")["box_head.head.classes"] == (
        "the background stands elsewhere"
    )
    cats = LabelMap(("cat",), (1,), COCO_17)
    assert left("keypoint_rcnn_resnet18_fpn", label_map=cats) == {
        "box_head.head.classes": "of other classes",
        "box_head.head.deltas": "of other classes",
    }


@pytest.mark.medium
def test_other_beginnings(tmp_path: Path, pictures: ResNet) -> None:
    """A network of clips without time, and a backbone alone, of which a C4 network takes the last stage, too."""
    flat = create_model("detect_and_track_resnet18_2d", label_map=PERSON_17, **SMALL)
    model = create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, **SMALL)
    report = start_from(model, saved(flat, tmp_path), inflation="mean")
    assert not report.fresh and not report.left and not report.notes
    weight = model.keypoint_head.tower[0].weight
    torch.testing.assert_close(weight.sum(2, keepdim=True), flat.keypoint_head.tower[0].weight)
    model = create_model("detect_and_track_resnet18_c4_2d", label_map=PERSON_17, **SMALL)
    report = start_from(model, torchvision_file(pictures, tmp_path))
    assert parts(report.taken) == BODY | {"box_head.head.trunk"} and not report.left
    assert torch.equal(model.box_head.head.trunk.stage[0].conv1.weight, pictures.layer4[0].conv1.weight)
    torch.save({"something": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match="of no program that is known"):
        start_from(model, tmp_path / "odd.pth")


@pytest.mark.medium
def test_licences_and_pixels_go_along(tmp_path: Path, pictures: ResNet) -> None:
    trained = create_model("keypoint_rcnn_resnet18_fpn.caffe2", num_classes=1, **SMALL)
    terms = {"file": "a.pkl", "sha256": "", "source": "Caffe2 Detectron", "licence": "CC BY-SA 3.0"}
    trained.origin = {**trained.origin, "provenance": terms}
    model = create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, **SMALL)
    report = start_from(model, saved(trained, tmp_path))
    assert model.card()["provenance"] == terms
    assert "pixels were trained with channel_order='BGR', but the model reads them with 'RGB'" in report.notes
    assert "bottlenecks were trained in the style 'caffe', but stride in 'pytorch'" in report.notes
