"""ResNet over clips: the 2-D network's names, parameters and numbers, and what frames do to each other."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet3d import ResNet3D
from pagoda.exporting.program import trace
from pagoda.layers.conv3d import TimeConv3d
from pagoda.layers.inflate import inflate_state
from pagoda.layers.norm import FrozenBatchNorm2d

pytestmark = pytest.mark.medium

# depth, highest level: convolutions with time kernel 1, frozen affine maps, convolutions with time kernel 3,
# and of those in either case what is behind the frozen stem and first stage.
COUNTS = {
    (18, 4): (2_778_304, 4_480, 7_939_264, 2_621_440, 7_782_400),
    (18, 5): (11_166_912, 9_600, 32_842_944, 11_010_048, 32_686_080),
    (34, 4): (8_160_448, 9_856, 23_938_240, 7_929_856, 23_707_648),
    (34, 5): (21_267_648, 17_024, 62_997_696, 21_037_056, 62_767_104),
    (50, 4): (8_512_704, 30_592, 16_770_240, 8_290_304, 16_547_840),
    (50, 5): (23_454_912, 53_120, 45_868_224, 23_232_512, 45_645_824),
    (101, 4): (27_452_608, 82_816, 55_764_160, 27_230_208, 55_541_760),
    (101, 5): (42_394_816, 105_344, 84_862_144, 42_172_416, 84_639_744),
    (152, 5): (57_992_384, 151_424, 116_974_784, 57_769_984, 116_752_384),
}


def parameters(network: nn.Module) -> tuple[int, int]:
    """(all, those that learn)"""
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)


@pytest.mark.parametrize(("depth", "level"), COUNTS)
def test_parameters(depth: int, level: int) -> None:
    flat, affine, deep, flat_learnt, deep_learnt = COUNTS[depth, level]
    with torch.device("meta"):
        for time_kernel, wanted in ((1, (flat, flat_learnt)), (3, (deep, deep_learnt))):
            network = ResNet3D(depth, levels=(level,), time_kernel=time_kernel)
            assert parameters(network) == wanted
            norms = [module for module in network.modules() if isinstance(module, FrozenBatchNorm2d)]
            assert sum(2 * norm.weight.numel() for norm in norms) == affine
        twin = ResNet(depth, levels=(level,), norm="frozen")
    assert [name for name, _ in network.named_parameters()] == [name for name, _ in twin.named_parameters()]
    assert set(network.state_dict()) == set(twin.state_dict())


@pytest.mark.parity
def test_torchvision_counts_alike() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.resnet18()
    convs = [module for module in theirs.modules() if isinstance(module, nn.Conv2d)]
    assert sum(parameters(conv)[0] for conv in convs) == COUNTS[18, 5][0]


@pytest.mark.parametrize(
    ("depth", "levels", "size", "wanted"),
    [
        (18, (2, 3, 4), (2, 3, 3, 256, 320), {2: (64, 64, 80), 3: (128, 32, 40), 4: (256, 16, 20)}),
        (50, (2, 3, 4), (1, 3, 3, 256, 333), {2: (256, 64, 84), 3: (512, 32, 42), 4: (1024, 16, 21)}),
        (101, (2, 5), (1, 3, 3, 800, 1344), {2: (256, 200, 336), 5: (2048, 25, 42)}),
    ],
)
def test_frames_stay_and_sides_shrink(depth: int, levels: tuple, size: tuple, wanted: dict) -> None:
    with torch.device("meta"):
        network = ResNet3D(depth, levels=levels)
        pyramid = network(torch.empty(size))
    assert {level: tuple(x.shape) for level, x in pyramid.items()} == {
        level: (size[0], channels, size[2], *sides) for level, (channels, *sides) in wanted.items()
    }
    assert network.channels == {level: wanted[level][0] for level in levels}
    assert network.strides == {level: 2**level for level in levels} and network.levels == levels


def test_which_convolutions_look_at_neighbours() -> None:
    with torch.device("meta"):
        basic, bottleneck = ResNet3D(18, levels=(5,)), ResNet3D(50, levels=(5,))
    for network, temporal in ((basic, {"conv1", "conv2"}), (bottleneck, {"conv2"})):
        for name, conv in network.named_modules():
            if isinstance(conv, TimeConv3d):
                joins = name.startswith(("layer2", "layer3", "layer4")) and name.split(".")[-1] in temporal
                assert (conv.kernel_size[0], conv.padding[0], conv.stride[0]) == (3 if joins else 1, joins, 1)
    assert bottleneck.layer2[0].conv1.stride == (1, 2, 2) and bottleneck.layer2[0].conv2.stride == (1, 1, 1)


def test_frames_are_halved_with_the_sides_on_request() -> None:
    network = ResNet3D(50, levels=(2, 3, 4, 5), time_stride=True)
    with torch.device("meta"):
        pyramid = network.to("meta")(torch.empty(1, 3, 9, 64, 64))
    assert [x.shape[2] for x in pyramid.values()] == [9, 5, 3, 2]
    basic = ResNet3D(18, levels=(3,), time_stride=True).eval()
    with torch.no_grad():
        assert basic(torch.randn(1, 3, 4, 32, 32))[3].shape == (1, 128, 2, 4, 4)


def awake(network: nn.Module) -> nn.Module:
    """Norms neither zero nor one anywhere, so that forgetting one shows; evaluation mode."""
    for name, value in network.state_dict().items():
        if "running_var" in name or (value.dim() == 1 and name.endswith("weight")):
            nn.init.uniform_(value, 0.5, 1.0)
        elif value.dim() == 1:
            nn.init.uniform_(value, -0.2, 0.2)
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("time_kernel", [1, 3])
@pytest.mark.parametrize(
    ("depth", "options"),
    [
        (18, {"norm": "frozen"}),
        (18, {"norm": "batch"}),
        (18, {"norm": "group"}),
        (50, {"style": "caffe", "eps": 0.0}),
    ],
    ids=str,
)
def test_inflated_at_the_center_it_says_of_every_frame_what_the_2d_network_says(
    depth: int, options: dict, time_kernel: int, clips: int
) -> None:
    flat = awake(ResNet(depth, levels=(3, 4, 5), **{"norm": "frozen", **options}))
    deep = ResNet3D(depth, levels=(3, 4, 5), time_kernel=time_kernel, **options).eval()
    deep.load_state_dict(inflate_state(flat.state_dict(), deep.state_dict(), "center"))
    clip = torch.randn(clips, 3, 3, 65, 48)
    found = deep(clip)
    for frame in range(3):
        for level, x in flat(clip[:, :, frame]).items():
            scale = x.abs().max()
            torch.testing.assert_close(found[level][:, :, frame] / scale, x / scale, rtol=0, atol=1e-5)
            assert x.std() > 1e-2


@torch.no_grad()
def test_the_mean_changes_even_a_clip_that_stands_still() -> None:
    flat = ResNet(18, levels=(4,), norm="frozen").eval()
    deep = ResNet3D(18, levels=(4,)).eval()
    deep.load_state_dict(inflate_state(flat.state_dict(), deep.state_dict(), "mean"))
    picture = torch.randn(1, 3, 64, 64)
    wanted = flat(picture)[4]
    found = deep(picture[:, :, None].expand(-1, -1, 3, -1, -1))[4]
    assert (found - wanted[:, :, None]).abs().max() > 0.05 * wanted.abs().max()


@torch.no_grad()
def test_a_fresh_network_sees_each_frame_alone_until_it_learns() -> None:
    network = ResNet3D(18, levels=(3,)).eval()
    clip = torch.randn(1, 3, 3, 48, 48)
    alone = torch.cat([network(clip[:, :, frame : frame + 1])[3] for frame in range(3)], dim=2)
    torch.testing.assert_close(network(clip)[3], alone)


def deepened(depth: int = 18, **options) -> ResNet3D:
    """All taps alive."""
    network = awake(ResNet3D(depth, **options))
    for module in network.modules():
        if isinstance(module, TimeConv3d):
            nn.init.kaiming_normal_(module.weight)
    return network


@torch.no_grad()
@pytest.mark.parametrize(("levels", "norm"), [((2, 3), "frozen"), ((4,), "group"), ((3,), "batch")])
def test_the_halves_make_the_whole_and_a_frame_is_the_same_in_every_clip(
    levels: tuple[int, ...], norm: str
) -> None:
    network = deepened(levels=levels, norm=norm)
    clip = torch.randn(1, 3, 3, 64, 80)
    wanted = network(clip)
    features = network.frame_features(clip)
    single = torch.cat([network.frame_features(clip[:, :, at : at + 1]) for at in range(3)], dim=2)
    assert features.shape == (1, 64, 3, 16, 20)
    torch.testing.assert_close(single, features, rtol=1e-4, atol=1e-4)
    for level, x in network.from_frame_features(features).items():
        assert torch.equal(x, wanted[level])
    assert list(wanted) == list(levels)


def test_every_frame_hears_of_every_other_behind_the_second_temporal_convolution() -> None:
    network = deepened(levels=(3,))
    clip = torch.randn(1, 3, 3, 32, 32, requires_grad=True)
    for frame in range(3):
        (gradient,) = torch.autograd.grad(network(clip)[3][:, :, frame].sum(), clip)
        assert gradient.abs().amax((0, 1, 3, 4)).min() > 0


def step(network: ResNet3D) -> Tensor:
    x = network.frame_features(torch.randn(2, 3, 3, 32, 32))
    sum(y.square().mean() for y in network.from_frame_features(x).values()).backward()
    return x


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_frozen_stages_have_no_gradients_and_hold_nothing_for_them(norm: str) -> None:
    network = ResNet3D(18, levels=(4,), norm=norm).eval().train()
    assert not step(network).requires_grad
    frozen = {"conv1", "bn1", "layer1"}
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (name.split(".")[0] in frozen), name
    if norm == "batch":
        assert isinstance(network.bn1, nn.BatchNorm3d)
        assert network.bn1.num_batches_tracked == 0 == network.layer1[0].bn1.num_batches_tracked
        assert network.layer2[0].bn1.num_batches_tracked == 1
    free = ResNet3D(18, levels=(3,), norm=norm, frozen_stages=0).train()
    assert step(free).requires_grad and free.conv1.weight.grad.abs().max() > 0


def test_one_exported_graph_serves_every_size() -> None:
    network = deepened(levels=(3, 4))
    open_sizes = {0: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC, 4: torch.export.Dim.DYNAMIC}
    graph = trace(network, torch.zeros(1, 3, 3, 64, 65), open_sizes).module()
    for size in ((1, 3, 3, 64, 64), (3, 3, 3, 33, 75)):
        clip = torch.randn(size)
        with torch.no_grad():
            torch.testing.assert_close(graph(clip), network(clip), rtol=1e-4, atol=1e-4)


def test_bad_options_are_explained() -> None:
    with torch.device("meta"):
        with pytest.raises(ValueError, match=r"time_kernel must be odd, .* got 2"):
            ResNet3D(18, time_kernel=2)
        with pytest.raises(ValueError, match="ResNet depth must be one of 18, 34, 50, 101, 152, got 20"):
            ResNet3D(20)
