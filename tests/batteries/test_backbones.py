"""What every backbone promises. A new one adds a line to BACKBONES."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from pagoda.backbones.ghostnet import GhostNet
from pagoda.backbones.mobilenet import MobileNetV2
from pagoda.backbones.mobilenet_v3 import MobileNetV3Large
from pagoda.backbones.resnet import Bottleneck, ResNet
from pagoda.backbones.timm import TimmBackbone
from pagoda.backbones.vgg import VGG16
from pagoda.exporting.program import trace
from pagoda.layers.norm import FrozenBatchNorm2d, build_norm

pytestmark = pytest.mark.medium

BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: ResNet(18),
    "resnet18 C2-C5": lambda: ResNet(18, levels=(2, 3, 4, 5)),
    "resnet34 C4 alone": lambda: ResNet(34, levels=(4,)),
    "resnet50 group norm": lambda: ResNet(50, norm="group", levels=(2, 3)),
    "resnet50 caffe, frozen norm": lambda: ResNet(50, style="caffe", norm="frozen", eps=0.0),
    "resnext50": lambda: ResNet(50, groups=32, width_per_group=4),
    "ghostnet": lambda: GhostNet(0.5, levels=(5, 2, 3)),
    "ghostnetv2": lambda: GhostNet(0.5, version=2, levels=(3, 2)),
    "mobilenetv2": lambda: MobileNetV2(levels=(4, 2, 5)),
    "mobilenetv2 with its last convolution": lambda: MobileNetV2(levels=(4, 5), last_conv=True),
    "mobilenetv3": lambda: MobileNetV3Large(reduced_tail=True),
    "vgg16": lambda: VGG16(levels=(2, 3, 4, 5)),
    "vgg16 reduced": lambda: VGG16(levels=(3, 4), reduced=True),
    "timm resnet18": lambda: TimmBackbone("resnet18", levels=(5, 3)),
    "timm efficientnet": lambda: TimmBackbone("tf_efficientnet_b0"),
}
# Tracing takes seconds; MobileNet's kind of block and the padding of timm's are also in EfficientDet-Lite0, which
# test_exports.py traces.
EXPORTED = (
    "resnet18",
    "ghostnetv2",
    pytest.param("mobilenetv2", marks=pytest.mark.slow),
    pytest.param("timm efficientnet", marks=pytest.mark.slow),
)
# Those that can hold their first stages.
FREEZABLE: dict[str, Callable[..., nn.Module]] = {
    "resnet18": partial(ResNet, 18),
    "ghostnet": partial(GhostNet, 0.5),
    "ghostnetv2": partial(GhostNet, 0.5, version=2),
    "mobilenetv2": MobileNetV2,
}


@pytest.fixture(scope="module", params=BACKBONES, ids=list(BACKBONES))
def backbone(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    network = BACKBONES[request.param]().eval()
    for name, value in network.state_dict().items():
        if name.endswith(("bn2.weight", "bn3.weight")):  # else many layers that never learnt amplify rounding
            value.fill_(0.2)
    return network


@pytest.mark.parametrize("size", [(64, 64), (33, 65), (75, 49), (1, 1)])
def test_levels_channels_and_strides_are_as_promised(backbone: nn.Module, size: tuple[int, int]) -> None:
    with torch.no_grad():
        pyramid = backbone(torch.randn(1, 3, *size))
    assert list(pyramid) == sorted(backbone.channels)
    for level, x in pyramid.items():
        assert isinstance(level, int)
        wanted = tuple(-(-side // 2**level) for side in size)  # rounded up: an odd row is not lost
        assert tuple(x.shape) == (1, backbone.channels[level], *wanted)


def test_one_image_equals_a_batch_and_evaluation_repeats(backbone: nn.Module) -> None:
    images = torch.randn(2, 3, 48, 64)
    with torch.no_grad():
        together, again = backbone(images), backbone(images)
        alone = backbone(images[1:])
    for level, x in together.items():
        assert torch.equal(x, again[level])
        torch.testing.assert_close(alone[level], x[1:], rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_first_convolution(backbone: nn.Module) -> None:
    pyramid = backbone(torch.randn(1, 3, 64, 64))
    sum(x.square().mean() for x in pyramid.values()).backward()
    first = next(p for p in backbone.parameters())
    assert torch.isfinite(first.grad).all() and first.grad.abs().max() > 0
    backbone.zero_grad()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_features_have_the_precision_of_the_pictures(backbone: nn.Module, dtype: torch.dtype) -> None:
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain, other = backbone(images), deepcopy(backbone).to(dtype)(images.to(dtype))
    assert {x.dtype for x in other.values()} == {dtype}
    if dtype == torch.float64:
        for level, x in plain.items():
            torch.testing.assert_close(x.double(), other[level], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_state_dict_brings_everything_along(name: str) -> None:
    first, second = BACKBONES[name](), BACKBONES[name]()
    first.train()(torch.randn(2, 3, 64, 64))  # statistics that are not the defaults
    second.load_state_dict(first.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(first.eval()(images), second.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", EXPORTED)
def test_one_exported_graph_serves_every_size(name: str) -> None:
    backbone = BACKBONES[name]().eval()
    open_sizes = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    graph = trace(backbone, torch.zeros(2, 3, 96, 65), open_sizes).module()
    for size in ((1, 3, 64, 64), (3, 3, 33, 75), (1, 3, 1, 1)):
        images = torch.randn(size)
        with torch.no_grad():
            torch.testing.assert_close(graph(images), backbone(images))


@pytest.mark.parametrize("frozen_stages", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", FREEZABLE)
def test_stage_n_holds_all_that_level_n_is_made_of(name: str, frozen_stages: int) -> None:
    backbone = FREEZABLE[name](levels=(2, 3, 4, 5), frozen_stages=frozen_stages)
    before = deepcopy(backbone.state_dict())
    backbone.eval().train()
    pyramid = backbone(torch.randn(2, 3, 64, 64))
    assert {level: x.requires_grad for level, x in pyramid.items()} == {
        level: level > frozen_stages for level in pyramid
    }
    parameters = dict(backbone.named_parameters())
    held = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    assert held == list(parameters)[: len(held)] and bool(held) == (frozen_stages > 0)
    for name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            learns = f"{name}.weight" not in held
            assert module.training == learns
            after = backbone.state_dict()
            assert after[f"{name}.num_batches_tracked"] == int(learns), name
            assert learns or torch.equal(after[f"{name}.running_var"], before[f"{name}.running_var"]), name


@pytest.mark.parametrize("frozen_stages", [0, 1, 2, 3, 5])
def test_frozen_stages_survive_train_and_learn_nothing(frozen_stages: int) -> None:
    backbone = ResNet(18, frozen_stages=frozen_stages)
    # The stem counts as one; behind it, stage n is layer n-1.
    parts = [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]
    frozen = {name for group in parts[:frozen_stages] for name in group}
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    backbone.eval()
    backbone.train()
    loss = sum(x.square().mean() for x in backbone(torch.randn(2, 3, 64, 64)).values())
    assert loss.requires_grad == (frozen_stages < 5)
    if loss.requires_grad:
        loss.backward()
        optimizer.step()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == (name.split(".")[0] in frozen), name
    for name, value in backbone.state_dict().items():
        if "running_" in name or name.endswith("conv1.weight"):
            assert torch.equal(value, before[name]) == (name.split(".")[0] in frozen), name


def test_frozen_norm_has_no_parameters_and_never_changes() -> None:
    backbone = ResNet(18, norm="frozen").train()
    backbone(torch.randn(2, 3, 64, 64))
    norms = [module for module in backbone.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert len(norms) == 20
    assert all(
        not list(norm.parameters()) and torch.equal(norm.running_mean * 0, norm.running_mean)
        for norm in norms
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 42}, "ResNet depth must be one of 18, 34, 50, 101, 152, got 42"),
        ({"depth": 50, "levels": (1, 2)}, r"levels must be some of 2, 3, 4, 5 .* got \(1, 2\)"),
        ({"depth": 50, "levels": ()}, r"levels must be some of 2, 3, 4, 5 .* got \(\)"),
        ({"depth": 18, "groups": 32}, r"groups need bottlenecks \(depth 50, 101, 152\), got depth 18"),
        ({"depth": 18, "frozen_stages": 6}, "0 … 5, got 6"),
        ({"depth": 18, "levels": (3,), "frozen_stages": 4}, "0 … 3, got 4"),
        (
            {"depth": 18, "norm": "instance"},
            "norm must be one of 'batch', 'frozen', .* got 'instance'",
        ),
        ({"depth": 50, "style": "cafe"}, "style must be one of 'pytorch', 'caffe', got 'cafe'"),
    ],
)
def test_bad_options_are_explained(options: dict, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        ResNet(**options)


def test_zero_init_makes_blocks_the_identity_of_their_shortcut() -> None:
    stage = ResNet(18, levels=(2,), zero_init_residual=True).eval().layer1
    x = torch.rand(1, 64, 8, 8)
    torch.testing.assert_close(stage(x), x)


def one_weight(block: nn.Module) -> nn.Module:
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.1)
    return block.eval()


@pytest.mark.parametrize(
    ("style", "first_row", "last_row"),
    [
        ("caffe", [1.04, 2.256, 3.248, 3.696], [22.288, 24.528, 25.52, 24.944]),
        ("pytorch", [0.752, 1.872, 2.864, 3.856], [24.352, 27.744, 28.832, 29.92]),
    ],
)
def test_stride_sits_where_the_style_says(style: str, first_row: list[float], last_row: list[float]) -> None:
    # Input row r, column c holds 8 r + c + 1 in all channels; every weight is 0.1; the norms do nothing.
    # A bottleneck asks for no particular widths, so 4 → 2 → 8 shows the numbers by hand.
    block = one_weight(Bottleneck(4, 2, 8, stride=2, norm="none", eps=1e-5, style=style))
    x = torch.arange(1.0, 65).reshape(1, 1, 8, 8).expand(1, 4, 8, 8)
    y = block(x)
    assert y.shape == (1, 8, 4, 4)
    for channel in y[0]:
        torch.testing.assert_close(channel[0], torch.tensor(first_row), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(channel[3], torch.tensor(last_row), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("eps", "wanted"), [(0.0, 180.5), (1e-5, 172.1231)])
def test_frozen_norm_adds_eps_only_where_the_source_does(eps: float, wanted: float) -> None:
    norm = build_norm("frozen", 1, eps=eps)
    stored: dict[str, Tensor] = {"weight": 2.0, "bias": 0.5, "running_mean": 0.1, "running_var": 1e-4}
    norm.load_state_dict({name: torch.tensor([value]) for name, value in stored.items()})
    torch.testing.assert_close(norm(torch.ones(1, 1, 1, 1)).item(), wanted, rtol=1e-5, atol=0)


def test_frozen_norm_is_batch_norm_that_no_longer_learns() -> None:
    learnt = nn.BatchNorm2d(6).eval()
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(learnt, name).data.uniform_(0.5, 2)
    frozen = build_norm("frozen", 6)
    frozen.load_state_dict(learnt.state_dict(), strict=False)
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(frozen(x), learnt(x))


def test_group_norm_needs_divisible_channels() -> None:
    with pytest.raises(ValueError, match="group norm needs channels divisible by 32 groups, got 48"):
        build_norm("group", 48)
