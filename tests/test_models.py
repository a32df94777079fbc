"""From names and files to models."""

import json
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from pagoda.backbones.resnet import ResNet
from pagoda.detectors.fcos import FCOS
from pagoda.heads.dense import DenseHead
from pagoda.models import (
    create_model,
    list_flavours,
    list_models,
    load,
    load_backbone_weights,
)
from pagoda.necks.fpn import FPN
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.weights.files import WeightsError, save_weights
from pagoda.zoo.cards import model_from_card
from pagoda.zoo.efficientdet import VARIANTS
from pagoda.zoo.families import parse_name

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1, "short_side": 96, "long_side": 128}
LABELS = LabelMap(("cat", "dog", "heron"), (17, 18, 99))


def save(model: nn.Module, path: Path) -> Path:
    return save_weights(path, model.state_dict(), model.card())


def features(model: nn.Module, images: Tensor) -> list[Tensor]:
    outputs = model.eval().backbone(images)
    return [outputs[level] for level in sorted(outputs)]


def zoo_entries() -> list:
    """Every backbone, and every detector with every neck, once; `make test-all` builds the other pairs."""
    entries, seen = [], set()
    for name in list_models():
        parts = parse_name(name)
        new = {parts.backbone, (parts.detector, parts.neck)} - seen
        entries.append(pytest.param(name, marks=[] if new else pytest.mark.slow))
        seen |= new
    return entries


@pytest.mark.parametrize("name", zoo_entries())
def test_every_name_builds(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=2)
    assert len(model.label_map) == 2 and model.origin["model"] == name
    detector, _, rest = name.partition("_")
    json.dumps(model.card())
    if "_rcnn_" in name:  # its parts differ with the neck: see test_rcnn.py
        assert type(model).__name__ == "RCNN"
        return
    if name.startswith("detect_and_track_"):  # see test_detect_and_track.py
        assert type(model).__name__ == "DetectAndTrack"
        return
    if detector.startswith("ssd"):  # see zoo/test_ssd.py
        assert type(model).__name__ == "SSD"
        return
    assert type(model).__name__.lower() == detector
    if name in VARIANTS or detector == "yolov1":  # without a neck: see test_yolov1.py
        return
    backbone, _, neck = rest.rpartition("_")
    assert type(model.neck).__name__.lower() == neck
    family = type(model.backbone).__name__.lower()
    assert backbone.replace("_", "").startswith((family, "resnext", "ghostresnet"))


PUBLISHED_SSDS = ("ssd300_vgg16", "ssd512_vgg16", "ssdlite320_mobilenet_v2", "ssdlite320_mobilenet_v3_large")


@pytest.mark.parametrize(
    "name",
    ["fcos_resnet18_fpn", "retinanet_resnet18_fpn", "efficientdet_d0", "yolov1_tiny", *PUBLISHED_SSDS],
)
def test_every_flavour_builds_and_travels(name: str) -> None:
    for flavour in list_flavours(name.partition("_")[0]):
        with torch.device("meta"):
            model = create_model(f"{name}.{flavour}", num_classes=80)
            again = model_from_card(json.loads(json.dumps(model.card())))
        assert again.card() == model.card() and again.postprocess == model.postprocess
        assert again.criterion == model.criterion


def test_timm_backbones_are_named_in_place() -> None:
    with torch.device("meta"):
        model = create_model("retinanet_timm:resnet26d.bt_in1k_fpn.detectron2", num_classes=2)
    assert type(model.backbone).__name__ == "TimmBackbone" and model.input_spec.channel_order == "BGR"


def test_options_reach_the_parts() -> None:
    with torch.device("meta"):
        model = create_model("fcos_resnet18_fpn", num_classes=1, norm="frozen", frozen_stages=3, **SMALL)
    assert set(model.neck.channels.values()) == {32}
    assert model.input_spec == InputSpec(short_side=96, long_side=128)
    assert not list(model.backbone.bn1.parameters())
    assert not any(p.requires_grad for p in model.backbone.layer2.parameters())
    assert all(p.requires_grad for p in model.backbone.layer3.parameters())


@pytest.mark.parametrize("width", [8, 32, 48, 256])
def test_narrow_models_work_on_the_smallest_picture(width: int) -> None:
    model = create_model("fcos_resnet18_fpn", num_classes=1, width=width, head_depth=1).eval()
    images = model.input_spec.batch([torch.zeros(3, 1, 1, dtype=torch.uint8)])
    with torch.no_grad():
        assert torch.isfinite(model(images).class_logits).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            partial(create_model, "fcos_resent50_fpn", num_classes=1),
            "unknown model 'fcos_resent50_fpn'; did you mean",
        ),
        (partial(create_model, "fcos_resent50_fpn", num_classes=1), "did you mean 'fcos_resnet50_fpn'"),
        (
            partial(create_model, "zzz", num_classes=1),
            "unknown model 'zzz'; known: detect_and_track_resnet101_2d, ",
        ),
        (
            partial(create_model, "fcos_resnet18_fpn.orginal", num_classes=1),
            "unknown flavour of fcos_resnet18_fpn 'orginal'; did you mean 'original'",
        ),
        (partial(create_model, "fcos_resnet18_fpn"), r"needs num_classes=… or label_map=…"),
        (partial(create_model, "fcos_resnet18_fpn", num_classes=0), "must be ≥ 1, got 0"),
        (
            partial(create_model, "fcos_resnet18_fpn", num_classes=2, label_map=LABELS),
            "num_classes is 2 but the label map names 3 classes",
        ),
        (
            partial(create_model, "fcos_resnet18_fpn", num_classes=1, head_dept=3),
            "fcos_resnet18_fpn has no option 'head_dept'; did you mean 'head_depth'",
        ),
        (
            partial(create_model, "fcos_resnet18_fpn", num_classes=1, norm="bach"),
            "norm must be one of 'batch', 'frozen', .* got 'bach'; did you mean 'batch'",
        ),
    ],
)
def test_mistakes_are_explained(call: partial, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["fcos_resnet18_fpn", "retinanet_resnet18_fpn"])
def test_saved_and_loaded_again_is_the_same_model(tmp_path: Path, name: str) -> None:
    model = create_model(name, label_map=LABELS, norm="group", **SMALL)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    loaded = load(save(model, tmp_path / "a.safetensors"))
    assert not loaded.training and type(loaded) is type(model)
    assert loaded.label_map == LABELS and loaded.input_spec == model.input_spec
    assert loaded.card() == model.card()
    state = model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.state_dict().items())
    images = model.input_spec.batch([torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8)])
    everything = model.postprocess.with_limits(min_score=0)
    with torch.no_grad():
        before, after = (m.detect(images, postprocess=everything)[0] for m in (model.eval(), loaded))
    assert len(after) and torch.equal(before.boxes, after.boxes) and torch.equal(before.scores, after.scores)
    assert after.names == before.names


def test_input_spec_travels_with_the_weights(tmp_path: Path) -> None:
    model = create_model("fcos_resnet18_fpn", label_map=LABELS, **SMALL)
    model.input_spec = InputSpec(channel_order="BGR", scale=1.0, mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0))
    assert load(save(model, tmp_path / "a.safetensors")).input_spec == model.input_spec


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    path = save(create_model("fcos_resnet18_fpn", label_map=LABELS, **SMALL), tmp_path / "a.safetensors")
    assert len(load(path, num_classes=3).label_map) == 3
    with pytest.raises(WeightsError, match=r"was trained on 3 classes \(cat, dog, heron\), not 80"):
        load(path, num_classes=80)


def test_tensors_that_do_not_fit_the_card_are_listed(tmp_path: Path) -> None:
    model = create_model("fcos_resnet18_fpn", label_map=LABELS, **SMALL)
    state = model.state_dict()
    del state["scales"]
    state["left.over"] = torch.zeros(1)
    state["class_head.predict.bias"] = torch.zeros(5)
    path = save_weights(tmp_path / "a.safetensors", state, model.card())
    with pytest.raises(WeightsError) as error:
        load(path)
    for part in ("1 missing (scales", "1 unknown (left.over", "1 of another shape (class_head.predict.bias"):
        assert part in str(error.value)


def own_model(num_classes: int) -> FCOS:
    backbone = ResNet(18, levels=(3,))
    neck = FPN(backbone.channels, 16, top_level=3)
    head = partial(DenseHead, neck.channels, depth=1, groups=4)
    return FCOS(backbone, neck, class_head=head(outputs=num_classes), box_head=head(outputs=5))


def test_models_outside_the_zoo_are_loaded_with_their_function(tmp_path: Path) -> None:
    model = own_model(3)
    model.label_map = LABELS
    path = save(model, tmp_path / "own.safetensors")
    with pytest.raises(
        WeightsError, match=r"not a model of the zoo; hand over .* load\(path, build=function\)"
    ):
        load(path)
    loaded = load(path, build=own_model)
    assert loaded.label_map == LABELS
    assert torch.equal(loaded.scales, model.scales)


def test_backbone_weights_are_not_asked_for_again(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    options = {**SMALL, "backbone_weights": str(tmp_path / "resnet18.pth")}
    model = create_model("fcos_resnet18_fpn", label_map=LABELS, **options)
    path = save(model, tmp_path / "a.safetensors")
    (tmp_path / "resnet18.pth").unlink()
    assert torch.equal(load(path).backbone.conv1.weight, model.backbone.conv1.weight)


def torchvision_features(network: nn.Module, images: Tensor) -> list[Tensor]:
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    maps = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
        maps.append(x)
    return maps[1:]


# Each network, norm and form once; `make test-all` has the other pairs.
ENOUGH = {
    ("resnet18", "batch", "pth"),
    ("resnet50", "frozen", "safetensors"),
    ("resnext50_32x4d", "batch", "pth"),
}
PAIRS = product(("resnet18", "resnet50", "resnext50_32x4d"), ("batch", "frozen"), ("pth", "safetensors"))


@pytest.mark.parametrize(
    ("name", "norm", "form"),
    [pytest.param(*pair, marks=[] if pair in ENOUGH else pytest.mark.slow) for pair in PAIRS],
)
def test_torchvision_weights_give_torchvision_features(
    tmp_path: Path, name: str, norm: str, form: str
) -> None:
    original = getattr(torchvision.models, name)(weights=None).eval()
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):  # so that no statistic is a plain 0 or 1
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(module.weight, 0.3, 0.6)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    path = tmp_path / f"{name}.{form}"
    state = original.state_dict()
    torch.save(state, path) if form == "pth" else save_file(state, path)
    model = create_model(f"fcos_{name}_fpn", num_classes=1, norm=norm, backbone_weights=str(path), **SMALL)
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        for ours, theirs in zip(features(model, images), torchvision_features(original, images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
            assert theirs.abs().max() > 1e-3


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    with torch.device("meta"):
        larger, wider = ResNet(50), ResNet(34)
    with pytest.raises(
        WeightsError,
        match=r"resnet18.pth .* does not fill the model it describes: \d+ tensors missing \(layer1",
    ):
        load_backbone_weights(larger, str(path))
    with pytest.raises(WeightsError, match=r"tensors missing \(layer1.2.conv1.weight.* 0 of another shape"):
        load_backbone_weights(wider, str(path))
    with pytest.raises(FileNotFoundError, match="no weights file at"):
        load_backbone_weights(ResNet(18), str(tmp_path / "typo.pth"))
