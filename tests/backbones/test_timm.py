"""timm's networks as backbones: what is asked of timm, what is checked, and which weights load."""

import socket
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from pagoda.backbones.timm import TimmBackbone
from pagoda.models import create_model

pytestmark = pytest.mark.medium


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("something was asked of the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def stir_norms(module: nn.Module) -> None:
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            for tensor in (each.weight, each.bias, each.running_mean, each.running_var):
                tensor.data.uniform_(0.5, 1.5)


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [
        ("tf_efficientnet_b0", {3: 40, 4: 112, 5: 320}, 3_595_388),
        ("tf_efficientnet_b3.in1k", {3: 48, 4: 136, 5: 384}, 10_103_336),
        ("resnet50", {3: 512, 4: 1024, 5: 2048}, 23_508_032),
    ],
)
def test_published_counts(name: str, channels: dict[int, int], parameters: int) -> None:
    backbone = TimmBackbone(name)
    assert backbone.channels == channels
    assert sum(p.numel() for p in backbone.parameters()) == parameters


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_mixnet_s", "resnet18"])
def test_equals_timm_with_the_same_seed(name: str) -> None:
    """Also the padding that stands in for timm's, down to the last bit."""
    torch.manual_seed(7)
    ours = TimmBackbone(name).eval()
    torch.manual_seed(7)
    theirs = timm.create_model(name, features_only=True, out_indices=(2, 3, 4)).eval()
    for size in ((64, 64), (33, 75), (1, 1)):
        pictures = torch.randn(1, 3, *size)
        with torch.no_grad():
            for mine, wanted in zip(ours(pictures).values(), theirs(pictures), strict=True):
                assert torch.equal(mine, wanted)


def test_levels_come_finest_first_with_their_own_channels() -> None:
    """timm reports channels in the order asked for, and features in the order of the network."""
    backbone = TimmBackbone("resnet18", levels=(5, 2, 3)).eval()
    assert list(backbone.channels.items()) == [(2, 64), (3, 128), (5, 512)]
    with torch.no_grad():
        pyramid = backbone(torch.randn(1, 3, 64, 96))
    shapes = {level: tuple(x.shape) for level, x in pyramid.items()}
    assert shapes == {2: (1, 64, 16, 24), 3: (1, 128, 8, 12), 5: (1, 512, 2, 3)}


def test_channels_stand_before_rows_whatever_the_network() -> None:
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", levels=(3, 4)).eval()
    with torch.no_grad():
        pyramid = backbone(torch.randn(1, 3, 224, 224))
    assert {level: tuple(x.shape) for level, x in pyramid.items()} == {
        3: (1, 192, 28, 28),
        4: (1, 384, 14, 14),
    }


def test_of_features_with_one_stride_the_last_is_taken() -> None:
    backbone = TimmBackbone("vit_tiny_patch16_224", levels=(4,)).eval()
    plain = timm.create_model("vit_tiny_patch16_224").eval()
    assert all(name.startswith(("head.", "norm.")) for name in backbone.load_plain(plain.state_dict()))
    pictures = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        last = plain.forward_intermediates(pictures, indices=[11], intermediates_only=True)[0]
        torch.testing.assert_close(backbone(pictures), {4: last})


def test_norm_settings_reach_every_batch_norm() -> None:
    backbone = TimmBackbone("efficientnet_b0", bn_momentum=0.01, bn_eps=1e-3)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 48
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}
    only_eps = TimmBackbone("resnet18", bn_eps=1e-3)
    assert {(m.momentum, m.eps) for m in only_eps.modules() if isinstance(m, nn.BatchNorm2d)} == {(0.1, 1e-3)}
    with pytest.raises(ValueError, match="'convnext_atto' has no batch norms for bn_momentum and bn_eps"):
        TimmBackbone("convnext_atto", bn_eps=1e-3)


def test_pictures_of_other_depth_and_stochastic_depth() -> None:
    backbone = TimmBackbone("efficientnet_b0", in_channels=1, drop_path_rate=0.2)
    assert backbone(torch.randn(2, 1, 64, 64))[5].shape == (2, 320, 2, 2)
    assert max(getattr(m, "drop_prob", 0.0) or 0.0 for m in backbone.modules()) > 0.15


@pytest.mark.parametrize(
    "name",
    [
        "resnet50",  # names as in the plain network
        "efficientnet_b0",
        "tf_efficientnet_b0",
        "ghostnet_050",  # blocks_1.0 for blocks.1.0
        "convnext_atto",  # stages_0, stem_0
        "dpn68",  # features_conv1_1, where only the first underscore is a dot
        "twins_svt_small",  # all below model.
    ],
)
def test_weights_of_the_plain_network_load(name: str) -> None:
    plain, backbone = timm.create_model(name).eval(), TimmBackbone(name).eval()
    stir_norms(plain)
    left = backbone.load_plain(plain.state_dict())
    assert len(left) + len(backbone.state_dict()) == len(plain.state_dict())
    mine = {tensor.double().sum().item() for tensor in backbone.state_dict().values()}
    assert mine <= {tensor.double().sum().item() for tensor in plain.state_dict().values()}


def test_loaded_weights_compute_the_plain_networks_features() -> None:
    plain, backbone = timm.create_model("resnet18").eval(), TimmBackbone("resnet18").eval()
    stir_norms(plain)
    assert backbone.load_plain(plain.state_dict()) == ["fc.bias", "fc.weight"]
    pictures = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(pictures)[5], plain.forward_features(pictures))


def test_weights_of_another_network_do_not_load() -> None:
    backbone = TimmBackbone("resnet18")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=r"plain network: 23 of another shape \(layer1.0.conv1.weight"):
        backbone.load_plain(TimmBackbone("resnet50").body.state_dict())
    with pytest.raises(ValueError, match=r"not of the plain network: 115 tensors missing \(conv1.weight, "):
        backbone.load_plain(TimmBackbone("efficientnet_b0").body.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("kind", [OSError, RuntimeError, ValueError])
def test_weights_that_cannot_be_fetched_are_told(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(name: str, **options: object) -> nn.Module:
        if options.get("pretrained"):
            raise kind("no route to host\nand much more")
        return create(name, **options)

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", no_network)
    words = r"cannot fetch the weights timm:resnet18: no route to host; without a network, .* give the file"
    with pytest.raises(OSError, match=words):
        TimmBackbone("resnet18", pretrained=True)
    with pytest.raises(OSError, match=words):
        create_model("fcos_resnet18_fpn", num_classes=1, backbone_weights="timm:resnet18")
    with pytest.raises(ValueError, match="timm has no model 'resnet180'; did you mean"):
        create_model("fcos_resnet18_fpn", num_classes=1, backbone_weights="timm:resnet180")


def test_pretrained_weights_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's own download is led to a local file; only the network that stays asks for it."""
    name, create, asked = "mobilenetv3_small_050", timm.create_model, []
    plain = create(name).eval()
    stir_norms(plain)
    torch.save(plain.state_dict(), tmp_path / "weights.pth")

    def create_from_file(name: str, *, pretrained: bool = False, **options: object) -> nn.Module:
        asked.append(pretrained)
        file = {"file": str(tmp_path / "weights.pth")}
        return create(name, pretrained=pretrained, pretrained_cfg_overlay=file, **options)

    monkeypatch.setattr(timm, "create_model", create_from_file)
    loaded = TimmBackbone(name, pretrained=True)
    assert asked == [False, True]
    by_hand = TimmBackbone(name)
    by_hand.load_plain(plain.state_dict())
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, by_hand.state_dict()[key]), key


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("resnet5", (3,), "timm has no model 'resnet5'; did you mean 'resnet50' or "),
        ("tf_efficientnet_b0.in1l", (3,), "no model 'tf_efficientnet_b0.in1l'; did you mean '.*b0.in1k' or"),
        ("hf-hub:timm/resnet50", (3,), "timm has no model 'hf-hub:timm/resnet50'; did you mean"),
        ("zzzz", (3,), r"timm has no model 'zzzz'; see timm.list_models\(\)"),
        ("resnet18", (), "levels must name at least one of the levels of 'resnet18', got none"),
        (
            "convnext_atto",
            (1, 3, 6),
            r"'convnext_atto' has no features at level 1, 6 \(stride 2, 64\); it has levels 2, 3, 4, 5",
        ),
        ("vit_tiny_patch16_224", (3, 4), r"no features at level 3 \(stride 8\); it has levels 4"),
        ("vit_small_patch14_dinov2", (4,), "have strides 14; levels need powers of two"),
    ],
)
def test_what_cannot_be_is_explained(name: str, levels: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimmBackbone(name, levels=levels)


@pytest.mark.parametrize(
    ("name", "level", "told"),
    [
        ("inception_v4", 3, "29 cells a side at level 3 of 256 pixels, where the stride 8 makes 32"),
        ("inception_resnet_v2", 5, "6 cells a side at level 5 of 256 pixels, where the stride 32 makes 8"),
        ("inception_v3", 4, "14 cells a side at level 4"),
        ("pit_ti_224", 3, "27 cells a side at level 3 of 224 pixels, where the stride 8 makes 28"),
        ("legacy_xception", 1, "125 cells a side at level 1"),
    ],
)
def test_networks_that_lose_cells_are_refused(name: str, level: int, told: str) -> None:
    """They do not pad: points and anchors would lie up to a whole cell beside what the features see."""
    with torch.device("meta"), pytest.raises(ValueError, match=f"'{name}' has {told}"):
        TimmBackbone(name, levels=(level,))


@pytest.mark.parametrize(
    ("name", "levels"),
    [("legacy_xception", (3, 4)), ("pit_ti_224", (4, 5)), ("convnext_atto", (2, 5)), ("dla34", (1, 5))],
)
def test_levels_of_the_right_size_are_taken(name: str, levels: tuple[int, ...]) -> None:
    with torch.device("meta"):
        assert TimmBackbone(name, levels=levels).strides == {level: 2**level for level in levels}


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "legacy_xception"])
def test_cells_see_where_they_lie(name: str) -> None:
    """The middle of what reaches a cell in the middle is within half a cell of (index + ½) · stride."""
    torch.manual_seed(0)
    backbone = TimmBackbone(name, levels=(3, 4)).eval()
    pictures = torch.rand(1, 3, 256, 256, requires_grad=True)
    for level, features in backbone(pictures).items():
        cell = features.shape[-1] // 2
        (gradient,) = torch.autograd.grad(
            features[0, :, cell, cell].square().sum(), pictures, retain_graph=True
        )
        weight = gradient[0].abs().sum((0, 1))
        middle = float((weight * (torch.arange(256) + 0.5)).sum() / weight.sum())
        assert abs(middle - (cell + 0.5) * 2**level) <= 2**level / 2 + 1


@pytest.mark.parametrize(
    ("name", "frozen", "sleeping", "awake"),
    [
        ("tf_efficientnet_lite0", 1, "blocks.0.0.conv_dw", "blocks.1.0.conv_pw"),
        ("tf_efficientnet_lite0", 3, "blocks.2.1.conv_pwl", "blocks.3.0.conv_pw"),
        ("resnet18", 1, "conv1", "layer1.0.conv1"),
        ("resnet18", 2, "layer1.1.conv2", "layer2.0.conv1"),
        ("convnext_tiny", 2, "stages_0.blocks.2.mlp.fc2", "stages_1.downsample.1"),
    ],
)
def test_frozen_stages_never_learn(name, frozen, sleeping, awake):
    """Neither weights nor statistics, also after `.train()`; what lies behind them learns."""
    body = TimmBackbone(name, frozen_stages=frozen).train()
    assert not body.body.get_submodule(sleeping).weight.requires_grad
    assert body.body.get_submodule(awake).weight.requires_grad
    before = {key: tensor.clone() for key, tensor in body.state_dict().items()}
    pyramid = body(torch.randn(2, 3, 64, 64))
    sum(feature.square().mean() for feature in pyramid.values()).backward()
    held = [key for key, p in body.named_parameters() if not p.requires_grad]
    assert held and all(dict(body.named_parameters())[key].grad is None for key in held)
    places = {key.rpartition(".")[0] for key in held}
    changed = {key for key, tensor in body.state_dict().items() if not torch.equal(tensor, before[key])}
    assert not {key for key in changed if key.rpartition(".")[0] in places}


def test_all_of_a_body_can_be_frozen_and_not_more():
    body = TimmBackbone("tf_efficientnet_lite0", frozen_stages=5).train()
    assert not any(p.requires_grad for p in body.parameters())
    with pytest.raises(ValueError, match="0 … 4, got 5"):
        TimmBackbone("tf_efficientnet_lite0", levels=(3, 4), frozen_stages=5)
