"""ImageNet's VGG16 as torchvision names it, whole, and thinned out for SSD; the file that SSD's ports begin with."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import vgg16

import pagoda
from pagoda.backbones.vgg import VGG16
from pagoda.convert.read_backbone import fill_backbone

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], Path]:
    torch.manual_seed(0)
    state = vgg16(weights=None).state_dict()
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(state, path)
    return state, path


def test_torchvision_s_features(published: tuple[dict[str, Tensor], Path]) -> None:
    state, path = published
    body, original = pagoda.load_backbone(path, levels=(2, 3, 4, 5)), vgg16(weights=None)
    original.load_state_dict(state)
    picture = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found = body(picture)
        for level, count in {2: 16, 3: 23, 4: 30, 5: 31}.items():
            torch.testing.assert_close(found[level], original.features[:count](picture))


def test_the_classifier_is_thinned_out(published: tuple[dict[str, Tensor], Path]) -> None:
    state, path = published
    body = VGG16(levels=(3, 4), reduced=True)
    report = fill_backbone(body, path)
    assert not report.missing and not report.unknown
    full = state["classifier.0.weight"].view(4096, 512, 7, 7)
    assert torch.equal(body.fc6.weight[5, 7], full[20, 7][::3, ::3])
    assert torch.equal(body.fc6.bias, state["classifier.0.bias"][::4])
    assert torch.equal(body.fc7.weight[3, :, 0, 0], state["classifier.3.weight"][12, ::4])
    assert torch.equal(body.features[28].weight, state["features.28.weight"])


def test_the_file_that_ports_of_ssd_begin_with(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ready = VGG16(levels=(3, 4), reduced=True)
    words = {"fc6": "31", "fc7": "33"}
    state = {}
    for name, tensor in ready.state_dict().items():
        first, rest = name.split(".", 1)
        state[f"{words[first]}.{rest}" if first in words else rest] = tensor
    torch.save(state, tmp_path / "vgg16_reducedfc.pth")
    body = VGG16(levels=(3, 4), reduced=True)
    fill_backbone(body, tmp_path / "vgg16_reducedfc.pth")
    assert all(torch.equal(a, b) for a, b in zip(body.parameters(), ready.parameters(), strict=True))


def test_ssd300_begins_with_it(published: tuple[dict[str, Tensor], Path]) -> None:
    state, path = published
    model = pagoda.create_model("ssd300_vgg16", num_classes=2, backbone_weights=str(path))
    assert torch.equal(model.backbone.features[0].weight, state["features.0.weight"])
    assert model.backbone.fc6.weight.shape == (1024, 512, 3, 3)
