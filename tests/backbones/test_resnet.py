"""ResNet in all its forms: the originals' parameters and numbers, and the meaning of every option.

What all backbones promise is in batteries/test_backbones.py; most networks here are a sixth as wide.
"""

from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet_options import Body, Deform, Ghost, Plugin, Stem, TrainMode
from pagoda.layers.deform import DeformConv2d
from pagoda.layers.ghost import GhostModule
from pagoda.layers.weight_standardization import StandardizedConv2d

pytestmark = pytest.mark.medium

ALL = (2, 3, 4, 5)
NARROW = Body(base_channels=8)
V1D = {"stem": Stem(deep=True), "body": Body(avg_down=True)}
DC5 = {"strides": (1, 2, 2, 1), "dilations": (1, 1, 1, 2)}


def plugin(module: str, levels: tuple[int, ...] = ALL, position: str = "after_conv3", **options) -> Body:
    return Body(plugins=(Plugin(module=module, levels=levels, position=position, options=options),))


def awake(network: nn.Module) -> nn.Module:
    """Norms neither zero nor one anywhere, so that forgetting one shows; evaluation mode."""
    for name, value in network.state_dict().items():
        if "running_var" in name or (value.dim() == 1 and name.endswith("weight")):
            nn.init.uniform_(value, 0.5, 1.0)
        elif value.dim() == 1:
            nn.init.uniform_(value, -0.2, 0.2)
    return network.eval()


def count(module: nn.Module, *, trainable_only: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


COUNTS = {
    "18": (18, {}, 11_176_512),
    "34": (34, {}, 21_284_672),
    "50": (50, {}, 23_508_032),
    "101": (101, {}, 42_500_160),
    "152": (152, {}, 58_143_808),
    "18-D": (18, V1D, 11_195_744),
    "34-D": (34, V1D, 21_303_904),
    "50-D": (50, V1D, 23_527_264),
    "101-D": (101, V1D, 42_519_392),
    "152-D": (152, V1D, 58_163_040),
    "50, averaging shortcuts alone": (50, {"body": Body(avg_down=True)}, 23_508_032),
    "50-C": (50, {"stem": Stem(deep=True)}, 23_508_032 + 19_232),
    "50, group norm": (50, {"norm": "group"}, 23_508_032),
    "50, weight standardisation": (50, {"norm": "group", "body": Body(standardized=True)}, 23_508_032),
    "X50-32x4d": (50, {"groups": 32, "width_per_group": 4}, 22_979_904),
    "X101-32x4d": (101, {"groups": 32, "width_per_group": 4}, 42_128_704),
    "X101-64x4d": (101, {"groups": 64, "width_per_group": 4}, 81_406_272),
    "X101-32x8d": (101, {"groups": 32, "width_per_group": 8}, 86_742_336),
    "wide 50-2": (50, {"width_per_group": 128}, 68_883_240 - 2_049_000),
    "deformable": (50, {"body": Body(deform=Deform(modulated=False))}, 24_088_874),
    "deformable, modulated": (50, {"body": Body(deform=Deform())}, 24_379_295),
    "deformable, 4 groups": (50, {"body": Body(deform=Deform(modulated=False, deform_groups=4))}, 25_831_400),
    "modulated, 4 groups": (50, {"body": Body(deform=Deform(deform_groups=4))}, 26_993_084),
    "101, deformable": (101, {"body": Body(deform=Deform(modulated=False))}, 43_786_332),
    "101, modulated": (101, {"body": Body(deform=Deform())}, 44_429_418),
    "context 1/4": (50, {"body": plugin("context_block", (3, 4, 5), ratio=1 / 4)}, 33_508_941),
    "context 1/16": (50, {"body": plugin("context_block", (3, 4, 5), ratio=1 / 16)}, 26_029_773),
    "attention 1111": (
        50,
        {"body": plugin("gen_attention_block", (4, 5), "after_conv2", heads=8)},
        29_415_497,
    ),
    "attention 0010": (
        50,
        {"body": plugin("gen_attention_block", (4, 5), "after_conv2", heads=8, terms="0010")},
        27_053_129,
    ),
    "non-local": (50, {"body": plugin("nonlocal_block", (4,))}, 36_106_304),
    "ghost 1": (50, {"body": Body(ghost=Ghost(ratio=1))}, 25_557_032 - 2_049_000),
    "ghost 2": (50, {"body": Body(ghost=Ghost(ratio=2))}, 11_904_512),
    "ghost 4": (50, {"body": Body(ghost=Ghost(ratio=4))}, 6_102_752),
    "ghost 2, plain shortcuts": (
        50,
        {"body": Body(ghost=Ghost(ratio=2, shortcut=False))},
        15_320_680 - 2_049_000,
    ),
    "ghost 4, plain shortcuts": (
        50,
        {"body": Body(ghost=Ghost(ratio=4, shortcut=False))},
        10_202_504 - 2_049_000,
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name: str) -> None:
    depth, options, wanted = COUNTS[name]
    with torch.device("meta"):
        assert count(ResNet(depth, **options)) == wanted


@pytest.mark.parametrize(
    ("options", "giga"),
    [
        ({}, 4.0892),
        (V1D, 4.3288),
        ({"body": Body(ghost=Ghost(ratio=2))}, 2.151),
        ({"body": Body(ghost=Ghost(ratio=4))}, 1.182),
        ({"body": Body(ghost=Ghost(ratio=2, shortcut=False))}, 2.324),
        ({"body": Body(ghost=Ghost(ratio=4, shortcut=False))}, 1.442),
    ],
)
def test_multiplications(options: dict, giga: float) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ResNet(50, **options).eval()(torch.empty(1, 3, 224, 224))
    classifier = 2048 * 1000
    assert counter.get_total_flops() / 2e9 + classifier / 1e9 == pytest.approx(giga, abs=6e-4)


def maps_of(original: nn.Module, images: Tensor) -> list[Tensor]:
    """layer1 … layer4 of torchvision's or timm's network."""
    first = original.relu if hasattr(original, "relu") else original.act1
    x = original.maxpool(first(original.bn1(original.conv1(images))))
    return [x := getattr(original, f"layer{index}")(x) for index in (1, 2, 3, 4)]


@pytest.mark.parity
@torch.no_grad()
@pytest.mark.parametrize(
    ("original", "depth", "options"),
    [
        (lambda: torchvision.models.resnet34(), 34, {}),
        (lambda: torchvision.models.resnext50_32x4d(), 50, {"groups": 32, "width_per_group": 4}),
        (lambda: torchvision.models.wide_resnet50_2(), 50, {"width_per_group": 128}),
        (
            lambda: torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True]),
            50,
            {"body": Body(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), first_dilation="previous")},
        ),
        (lambda: timm.create_model("resnet50d"), 50, V1D),
        (lambda: timm.create_model("resnet18d"), 18, V1D),
        (lambda: timm.create_model("resnet50c"), 50, {"stem": Stem(deep=True)}),
        (lambda: timm.create_model("resnet18", in_chans=5), 18, {"stem": Stem(in_channels=5)}),
    ],
    ids=["34", "X50", "wide", "dilated", "50d", "18d", "50c", "five channels"],
)
def test_weights_of_the_original_give_its_features(original, depth: int, options: dict) -> None:
    theirs, ours = awake(original()), ResNet(depth, levels=ALL, **options).eval()
    keys = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not keys.missing_keys and set(keys.unexpected_keys) == {"fc.weight", "fc.bias"}
    images = torch.randn(1, ours.state_dict()[next(iter(ours.state_dict()))].shape[1], 65, 97)
    for mine, wanted in zip(ours(images).values(), maps_of(theirs, images), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=0)
        assert wanted.std() > 1e-2


@torch.no_grad()
def test_ghosts_of_ratio_one_are_the_ordinary_network() -> None:
    plain, ghost = (
        awake(ResNet(50, body=NARROW)),
        ResNet(50, body=Body(base_channels=8, ghost=Ghost(ratio=1))),
    )
    state = {}
    for name, value in plain.state_dict().items():
        for conv, norm in (
            ("conv1", "bn1"),
            ("conv2", "bn2"),
            ("conv3", "bn3"),
            ("downsample.0", "downsample.1"),
        ):
            if name.startswith("layer"):
                name = name.replace(f".{norm}.", f".{conv}.primary_conv.1.")
                name = name.replace(f".{conv}.weight", f".{conv}.primary_conv.0.weight")
        state[name] = value
    ghost.load_state_dict(state)
    images = torch.randn(1, 3, 33, 65)
    for mine, wanted in zip(ghost.eval()(images).values(), plain(images).values(), strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize(("depth", "shortcut"), [(18, True), (50, False)])
def test_ghosts_are_everywhere_but_in_the_stem(depth: int, shortcut: bool) -> None:
    network = ResNet(depth, stem=Stem(deep=True), body=Body(base_channels=8, ghost=Ghost(shortcut=shortcut)))
    blocks = [block for stage in network.stages().values() for block in stage]
    per_block = 2 if depth == 18 else 3
    projections = [block.downsample for block in blocks if block.downsample is not None]
    ghosts = sum(isinstance(module, GhostModule) for module in network.modules())
    assert ghosts == per_block * len(blocks) + shortcut * len(projections)
    assert not any(isinstance(module, GhostModule) for module in network.conv1.modules())
    for block in blocks:
        last = block.conv2 if depth == 18 else block.conv3
        assert len(block.conv1.primary_conv) == 3 and len(last.primary_conv) == 2  # a ReLU, or none


def test_strides_tell_what_dilation_took_away() -> None:
    network = ResNet(50, levels=ALL, body=Body(base_channels=8, **DC5))
    shapes = {level: x.shape[2:] for level, x in network(torch.zeros(1, 3, 224, 224)).items()}
    assert shapes == {2: (56, 56), 3: (28, 28), 4: (14, 14), 5: (14, 14)}
    assert (
        network.strides == {2: 4, 3: 8, 4: 16, 5: 16} == {n: 224 // side for n, (side, _) in shapes.items()}
    )
    assert ResNet(18, levels=(5, 3), body=NARROW).strides == {3: 8, 5: 32}


@pytest.mark.parametrize(
    ("depth", "first_dilation", "wanted"),
    [
        # Every block of a stage, its 3×3 convolutions in order: (dilation, padding).
        (50, "own", [[1] * 3, [1] * 4, [2] * 6, [4] * 3]),
        (50, "previous", [[1] * 3, [1] * 4, [1, *[2] * 5], [2, 4, 4]]),
        (18, "own", [[1] * 4, [1] * 4, [2, 1, 2, 1], [4, 1, 4, 1]]),
        (18, "previous", [[1] * 4, [1] * 4, [1, 1, 2, 1], [2, 1, 4, 1]]),
    ],
)
def test_dilation_of_first_and_later_blocks(depth: int, first_dilation: str, wanted: list[list[int]]) -> None:
    body = Body(base_channels=8, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), first_dilation=first_dilation)
    network = ResNet(depth, body=body)
    for stage, dilations in zip(network.stages().values(), wanted, strict=True):
        convs = [m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert [(conv.dilation, conv.padding) for conv in convs] == [((n, n), (n, n)) for n in dilations]
        assert all(block.conv1.stride == (1, 1) for block in list(stage)[1:])


@pytest.mark.parametrize(("pooling", "wanted"), [("padded", [1, 3, 5, 7]), ("ceil", [2, 4, 6, 7])])
def test_pooling_of_the_stem_on_a_ramp(pooling: str, wanted: list[int]) -> None:
    pool = ResNet(18, stem=Stem(pooling=pooling), body=NARROW).maxpool
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert pool(ramp)[0, 0, 0].tolist() == wanted


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("deep", [False, True])
def test_other_pictures_than_colour(channels: int, deep: bool) -> None:
    network = ResNet(18, stem=Stem(in_channels=channels, channels=24, deep=deep), body=NARROW)
    assert network(torch.zeros(2, channels, 65, 64))[5].shape == (2, 64, 3, 2)
    assert network.bn1.num_features == 24 and network.layer1[0].conv1.in_channels == 24


def test_an_averaging_shortcut_halves_odd_sides_as_the_branch() -> None:
    network = ResNet(50, levels=ALL, body=Body(base_channels=8, avg_down=True))
    assert [tuple(x.shape[2:]) for x in network(torch.zeros(1, 3, 75, 33)).values()] == [
        *((19, 9), (10, 5), (5, 3), (3, 2))
    ]
    names = {name for name in network.state_dict() if "layer1.0.downsample" in name and "weight" in name}
    assert names == {"layer1.0.downsample.1.weight", "layer1.0.downsample.2.weight"}


def test_standardised_convolutions_are_everywhere() -> None:
    network = ResNet(50, norm="group", stem=Stem(deep=True), body=Body(base_channels=64, standardized=True))
    assert sum(isinstance(module, StandardizedConv2d) for module in network.modules()) == 3 + 16 * 3 + 4
    assert not any(isinstance(module, nn.Conv2d) for module in network.modules())


def deformed(network: ResNet) -> list[int]:
    return [
        sum(isinstance(block.conv2, DeformConv2d) for block in stage) for stage in network.stages().values()
    ]


@pytest.mark.parametrize(
    ("style", "fallback", "wanted"),
    [("pytorch", False, [0, 4, 6, 3]), ("pytorch", True, [0, 3, 5, 2]), ("caffe", True, [0, 4, 6, 3])],
)
def test_deformable_blocks_and_the_fallback_on_stride(style: str, fallback: bool, wanted: list[int]) -> None:
    body = Body(base_channels=8, deform=Deform(fallback_on_stride=fallback))
    before = repr(body)
    for _ in range(2):  # in "caffe" style the 3×3 never strides
        assert deformed(ResNet(50, style=style, body=body)) == wanted
    assert repr(body) == before


@pytest.mark.parametrize(
    ("network", "deform", "wanted"),
    [
        ({}, {"levels": (3, 4, 5)}, [0, 3, 6, 3]),
        ({"style": "caffe"}, {"levels": (5, 4)}, [0, 0, 5, 3]),
        ({}, {"levels": (2, 3)}, [2, 4, 0, 0]),  # layer1.0 does not stride, and falls back all the same
        ({"groups": 4, "width_per_group": 2}, {"levels": (3, 4, 5)}, [0, 4, 6, 3]),
    ],
)
def test_the_fallback_that_forgets_itself(network: dict, deform: dict, wanted: list[int]) -> None:
    """As mmdetection 3.3.0 counted: its option is popped by the first block that asks."""
    body = Body(base_channels=8, deform=Deform(fallback_on_stride=True, fallback="first", **deform))
    assert deformed(ResNet(50, levels=(2, 5), body=body, **network)) == wanted
    stage = ResNet(50, levels=(2, 5), body=body, **network).stages()[min(deform["levels"])]
    assert isinstance(stage[0].conv2, DeformConv2d) == ("groups" in network)


def test_deformable_block_by_block() -> None:
    blocks = ((False, True, False), (False,) * 4, (True,) * 6, (False, False, True))
    network = ResNet(50, levels=(2, 5), body=Body(base_channels=8, deform=Deform(blocks=blocks)))
    found = [[isinstance(b.conv2, DeformConv2d) for b in stage] for stage in network.stages().values()]
    assert found == [list(stage) for stage in blocks]
    with pytest.raises(
        ValueError, match=r"ResNet-50 has 3, 4, 6, 3 blocks in its stages, but .* told for 3, 3"
    ):
        ResNet(50, body=Body(deform=Deform(blocks=((False,) * 3, (True,) * 3))))


@torch.no_grad()
@pytest.mark.parametrize("num_stages", [1, 2, 3])
def test_fewer_stages_are_the_beginning_of_all(num_stages: int) -> None:
    levels = tuple(range(2, 2 + num_stages))
    whole = awake(ResNet(18, levels=(2, 3, 4, 5), body=Body(base_channels=8)))
    body = Body(base_channels=8, num_stages=num_stages, strides=(1, 2, 2, 2)[:num_stages])
    part = ResNet(18, levels=levels, body=body).eval()
    assert len(part.stages()) == num_stages and body == Body(base_channels=8, num_stages=num_stages)
    part.load_state_dict({name: whole.state_dict()[name] for name in part.state_dict()})
    images = torch.randn(1, 3, 65, 64)
    for level, x in part(images).items():
        assert torch.equal(x, whole(images)[level])
    with pytest.raises(ValueError, match=rf"num_stages={num_stages} has levels 2 … {num_stages + 1}, got"):
        ResNet(18, levels=(2, 5), body=body)


def test_group_norms_of_other_groups() -> None:
    network = ResNet(50, norm="group", stem=Stem(deep=True), body=Body(base_channels=16, norm_groups=8))
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) == 55 and {norm.num_groups for norm in norms} == {8}


@torch.no_grad()
@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_networks_start_from_the_plain_one(modulated: bool) -> None:
    plain = awake(ResNet(50, body=NARROW))
    network = ResNet(50, body=Body(base_channels=8, deform=Deform(modulated=modulated))).eval()
    offsets = [value for name, value in network.state_dict().items() if ".offset." in name]
    assert len(offsets) == 26 and not any(value.any() for value in offsets)
    keys = network.load_state_dict(plain.state_dict(), strict=False)
    assert not keys.unexpected_keys and all(".conv2.offset." in name for name in keys.missing_keys)
    if modulated:  # masks of a half: twice the weights make up for them
        for module in network.modules():
            if isinstance(module, DeformConv2d):
                module.weight.mul_(2)
    images = torch.randn(1, 3, 65, 64)
    for mine, wanted in zip(network(images).values(), plain(images).values(), strict=True):
        torch.testing.assert_close(mine, wanted)


def test_deformable_group_convolutions() -> None:
    body = Body(base_channels=8, deform=Deform(deform_groups=2, offset_init="uniform"))
    network = ResNet(50, groups=4, width_per_group=2, body=body)
    assert network.layer2[0].conv2.weight.shape == (16, 4, 3, 3)
    assert network.layer2[0].conv2.offset.weight.abs().min() > 0
    assert network(torch.zeros(1, 3, 64, 64))[5].shape == (1, 256, 2, 2)


@torch.no_grad()
@pytest.mark.parametrize("module", ["context_block", "nonlocal_block", "gen_attention_block"])
@pytest.mark.parametrize("position", ["after_conv1", "after_conv2", "after_conv3"])
def test_plugins_change_nothing_at_first(module: str, position: str) -> None:
    options = {"ratio": 0.5} if module == "context_block" else {}
    body = replace(plugin(module, (2, 3), position, **options), base_channels=36)
    plain = awake(ResNet(50, levels=(3,), body=Body(base_channels=36)))
    network = ResNet(50, levels=(3,), body=body).eval()
    keys = network.load_state_dict(plain.state_dict(), strict=False)
    assert not keys.unexpected_keys and all(f".{module}." in name for name in keys.missing_keys)
    images = torch.randn(1, 3, 33, 48)
    torch.testing.assert_close(network(images)[3], plain(images)[3])


class Add(nn.Module):
    """Adds a number to everything."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x + self.number


def adding(number: float, *, position: str = "after_conv3", name: str = "") -> Plugin:
    return Plugin(
        module=lambda channels: Add(number), position=position, levels=(2,), name=name or f"add{number}"
    )


@torch.no_grad()
def test_plugins_of_one_position_run_one_after_the_other() -> None:
    plain = awake(ResNet(50, levels=(2,), body=NARROW)).layer1[1]
    network = ResNet(50, levels=(2,), body=Body(base_channels=8, plugins=(adding(1), adding(10)))).eval()
    block = network.layer1[1]
    block.load_state_dict(plain.state_dict())
    assert [name for name, _ in block.named_children()][-2:] == ["add1", "add10"]
    x = torch.rand(1, 32, 5, 5)
    torch.testing.assert_close(block.total(x), plain.total(x) + 11)


@torch.no_grad()
def test_plugins_act_where_they_are_put() -> None:
    body = Body(
        base_channels=8, plugins=(adding(1, position="after_conv1"), adding(10, position="after_conv2"))
    )
    block = awake(ResNet(50, levels=(2,), body=body)).layer1[1]
    x = torch.rand(1, 32, 5, 5)
    y = block.bn1(block.conv1(x)).relu() + 1
    y = block.bn2(block.conv2(y)).relu() + 10
    torch.testing.assert_close(block(x), (block.bn3(block.conv3(y)) + x).relu())


def test_a_plugin_cannot_take_the_name_of_a_part() -> None:
    with pytest.raises(ValueError, match="a block has its own 'conv2'; give the plugin another name"):
        ResNet(50, levels=(2,), body=Body(base_channels=8, plugins=(adding(1, name="conv2"),)))


def test_held_norms_keep_their_statistics_and_learn_their_weights() -> None:
    network = ResNet(18, body=NARROW, train_mode=TrainMode(norm_eval=True))
    for mode in (network, network.eval().train()):
        norms = [module for module in mode.modules() if isinstance(module, nn.BatchNorm2d)]
        assert mode.training and len(norms) == 20 and not any(norm.training for norm in norms)
    assert network.eval() is network and network.train() is network
    sum(x.square().mean() for x in network(torch.randn(2, 3, 64, 64)).values()).backward()
    assert network.bn1.weight.grad.abs().max() > 0 and not network.bn1.running_mean.any()
    grouped = ResNet(18, norm="group", levels=(2,), train_mode=TrainMode(norm_eval=True)).train()
    assert all(module.training for module in grouped.modules() if isinstance(module, nn.GroupNorm))


def test_freezing_stem_and_first_stage_leaves_the_published_number() -> None:
    with torch.device("meta"):
        network = ResNet(50, frozen_stages=2)
    assert count(network, trainable_only=True) == 23_282_688
    deep = ResNet(18, stem=Stem(deep=True), body=NARROW, frozen_stages=1).train()
    assert not deep.conv1[1].training and not any(p.requires_grad for p in deep.conv1.parameters())


def one_step(checkpoint: bool) -> tuple[Tensor, dict[str, Tensor], int]:
    """Loss, gradients and buffers after one step, and how many numbers were held in between."""
    torch.manual_seed(3)
    body = replace(plugin("context_block", (3, 4), ratio=0.5), base_channels=8)
    network = ResNet(50, frozen_stages=2, body=body, train_mode=TrainMode(checkpoint=checkpoint)).train()
    held: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = sum(x.square().mean() for x in network(torch.randn(2, 3, 64, 64)).values())
    loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return loss, gradients | dict(network.named_buffers()), sum(held)


@pytest.mark.filterwarnings("error")
def test_checkpointing_changes_nothing_but_what_is_held() -> None:
    (plain_loss, plain, plain_held), (loss, found, held) = one_step(False), one_step(True)
    assert torch.equal(loss, plain_loss) and found.keys() == plain.keys()
    for name, value in plain.items():
        assert torch.equal(found[name], value), name
    assert found["layer2.0.bn1.num_batches_tracked"] == 1 and found["layer1.0.bn1.num_batches_tracked"] == 0
    assert held < plain_held / 4


EXPORTED = {
    "deformable": {"body": replace(NARROW, deform=Deform(), avg_down=True), "stem": Stem(deep=True)},
    "ghost": {"body": replace(NARROW, ghost=Ghost()), "train_mode": TrainMode(checkpoint=True)},
    "plugins": {"body": replace(plugin("context_block", ratio=0.5), base_channels=8, **DC5)},
    "standardised": {"body": Body(base_channels=32, standardized=True), "norm": "group"},
}


@pytest.mark.parametrize("name", EXPORTED)
def test_export_and_half_precision(name: str) -> None:
    network = awake(ResNet(50, levels=(2, 3), **EXPORTED[name]))
    program = torch.export.export(network, (torch.randn(1, 3, 64, 96),)).module()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        exact = network(images)
        for level, x in program(images).items():
            torch.testing.assert_close(x, exact[level], rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(images)
    for level, x in half.items():
        assert (x.float() - exact[level]).abs().max() < 0.1 * exact[level].abs().max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 18, "body": Body(deform=Deform())}, "need bottlenecks"),
        ({"depth": 34, "body": plugin("context_block")}, "need bottlenecks"),
        ({"depth": 34, "width_per_group": 128}, "width_per_group needs bottlenecks .* got depth 34"),
        ({"depth": 50, "body": Body(ghost=Ghost()), "norm": "group"}, "ghost modules bring batch norms"),
        ({"depth": 50, "body": Body(ghost=Ghost()), "groups": 32}, "know no groups; got .* groups=32"),
        ({"depth": 50, "norm": "none", "zero_init_residual": True}, "zero_init_residual needs a norm"),
        (
            {"depth": 50, "body": Body(deform=Deform(deform_groups=3))},
            "deform_groups must divide 128 inputs, got 3",
        ),
        ({"depth": 50, "norm": "group", "body": NARROW}, "divisible by 32 groups, got 8"),
    ],
)
def test_bad_options_are_explained(options: dict, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        ResNet(**options)


def test_pictures_go_through_the_largest_maps_in_parts_where_caches_are_spared():
    """Five of which two fit: the same features, of no more pictures at a time; deeper stages see all five."""
    network, pictures = awake(ResNet(18, levels=(2, 3), body=NARROW)), torch.rand(5, 3, 120, 320)
    seen = {"layer1": [], "layer2": []}
    for name, sizes in seen.items():
        network.get_submodule(name).register_forward_hook(lambda _, x, y, sizes=sizes: sizes.append(len(y)))
    with torch.no_grad():
        whole = network(pictures)
        network.spares_caches = True
        parts = network(pictures)
    assert seen == {"layer1": [5, 2, 2, 1], "layer2": [5, 5]}
    for level, features in parts.items():
        torch.testing.assert_close(features, whole[level])


def test_where_caches_are_spared_a_batch_of_any_size_can_be_exported():
    network = awake(ResNet(18, levels=(2,), body=NARROW))
    network.spares_caches = True
    any_number = {0: torch.export.Dim("pictures")}
    exported = torch.export.export(
        network, (torch.rand(5, 3, 120, 320),), dynamic_shapes=(any_number,)
    ).module()
    pictures = torch.rand(3, 3, 120, 320)
    torch.testing.assert_close(exported(pictures)[2], network(pictures)[2])
