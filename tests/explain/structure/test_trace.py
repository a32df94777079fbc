"""Receptive fields against what a pixel really sees; counted products; modules in words."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from pagoda.backbones.resnet import ResNet
from pagoda.explain.structure.trace import PIXEL, Tracer
from pagoda.explain.structure.words import compress, describe_module


def footprint(network: nn.Module, side: int) -> int:
    """Rows of a picture that change the middle cell of the output, by its gradient."""
    x = torch.zeros(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    y = network(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    touched = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    return int(touched[-1] - touched[0]) + 1


def traced(network: nn.Module, channels: int = 1) -> int:
    x = torch.zeros(1, channels, 64, 64)
    with torch.no_grad(), (tracer := Tracer(x)):
        y = network(x)
    return tracer.reaches[y].receptive_field


LAYERS = st.tuples(st.integers(1, 5), st.integers(1, 2), st.integers(1, 3))


@given(st.lists(LAYERS, min_size=1, max_size=4))
def test_chains_of_convolutions_see_what_is_traced(layers: list[tuple[int, int, int]]) -> None:
    network = nn.Sequential(
        *(nn.Conv2d(1, 1, k, s, padding=d * (k - 1) // 2, dilation=d, bias=False) for k, s, d in layers)
    ).double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1.0)
    field = traced(network.float())
    assert footprint(network.double(), 2 * field + 64) == field


def test_a_residual_network_sees_what_is_traced() -> None:
    # Positive weights, no norms: no contribution cancels another. Layer1 of 8 rows keeps it quick.
    stage = ResNet(18, levels=(2,), norm="none").layer1
    for parameter in stage.parameters():
        nn.init.constant_(parameter, 0.01)
    lift = nn.Conv2d(1, 64, 3, 2, padding=1, bias=False)
    nn.init.constant_(lift.weight, 1.0)
    network = nn.Sequential(lift, nn.MaxPool2d(2), stage)
    field = traced(network)
    # 3; pooling of 2 adds 2; four 3×3 at stride 4 add 8 each. The maximum passes one of its two rows.
    assert field == 3 + 2 + 4 * 8
    x = torch.rand(1, 1, 96, 96, dtype=torch.float64, requires_grad=True)
    y = network.double()(x)
    y[0, 0, 12, 12].backward()
    touched = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert field - 2 <= int(touched[-1] - touched[0]) + 1 <= field


@pytest.mark.parametrize("layers", [((3, 1), (1, 1), (3, 1)), ((3, 2), (3, 1)), ((5, 1), (3, 2), (3, 1))])
def test_chains_over_clips_see_the_frames_that_are_traced(layers: tuple[tuple[int, int], ...]) -> None:
    convs = [nn.Conv3d(1, 1, (k, 3, 3), (s, 1, 1), (k // 2, 1, 1), bias=False) for k, s in layers]
    network = nn.Sequential(*convs)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1.0)
    x = torch.zeros(1, 1, 41, 15, 15)
    with torch.no_grad(), (tracer := Tracer(x)):
        reach = tracer.reaches[network(x)]
    x.requires_grad_()
    y = network(x)
    y[0, 0, y.shape[2] // 2, 7, 7].backward()
    touched = x.grad.abs().sum((0, 1, 3, 4)).nonzero().flatten()
    assert reach.receptive_frames == touched[-1] - touched[0] + 1
    assert reach.receptive_field == 1 + 2 * len(layers)


class Pool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 3, 2)


class Context(nn.Module):
    """A fine map, and a coarse one added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 1, 3, 2, padding=1), nn.Conv2d(1, 1, 9, 8, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        return fine + nn.functional.interpolate(self.coarse(x), size=fine.shape[-2:])


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        (nn.Sequential(Pool(), Pool()), 3 + 2 * 2),
        (nn.Sequential(nn.MaxPool2d(3, 2, dilation=2)), 5),
        (nn.Sequential(nn.Conv2d(1, 1, (1, 7), (1, 2)), nn.Conv2d(1, 1, 3)), 7 + 2 * 2),  # the wider axis
        # Up again by 2: neighbours are one pixel apart, cells overlap two windows of kernel 4.
        (
            nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.ConvTranspose2d(1, 1, 4, 2, 1), nn.Conv2d(1, 1, 3)),
            3 + 2 + 2,
        ),
        (Context(), 3),  # what coarser levels add is left out beside a direct path …
        (
            nn.Sequential(nn.Conv2d(1, 1, 9, 4), nn.Upsample(scale_factor=4), nn.Conv2d(1, 1, 3)),
            9 + 2,
        ),  # … only there
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.GroupNorm(1, 1), nn.ReLU()), 3),
    ],
)
def test_other_operations(network: nn.Module, wanted: int) -> None:
    assert traced(network) == wanted


def test_deformable_convolutions_and_matrix_products_are_counted() -> None:
    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset, self.conv = nn.Conv2d(4, 18, 3, padding=1), DeformConv2d(4, 6, 3, padding=1)
            self.classify = nn.Linear(6, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.classify(self.conv(x, self.offset(x)).mean((2, 3)))

    x = torch.zeros(1, 4, 8, 8)
    network = Deformed()
    with torch.no_grad(), (tracer := Tracer(x)):
        tracer.watch(network)
        network(x)
    assert tracer.calls["offset"].macs == 64 * 18 * 4 * 9
    assert tracer.calls["conv"].macs == 64 * 6 * 4 * 9
    assert tracer.calls["classify"].macs == 60
    assert tracer.macs == sum(call.macs for call in tracer.calls.values())
    assert tracer.reaches[x] == PIXEL
    assert tracer.calls["conv"].reach.receptive_field == 5  # offsets are looked up with a 3×3 before it


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        (nn.Conv2d(8, 8, 3, groups=8, dilation=2), "3×3 convolution, depthwise, dilation 2"),
        (nn.Conv2d(8, 8, (1, 5), (1, 2), groups=2), "1×5 convolution, 2 groups, stride 1×2"),
        (nn.Linear(3, 4), "linear, 3 → 4"),
        (nn.AvgPool2d(2), "2×2 avg-pool, stride 2"),
        (nn.MaxPool3d((1, 3, 3), (1, 2, 2)), "1×3×3 max-pool, stride 1×2×2"),
        (DeformConv2d(4, 4, 3), "3×3 deformable convolution"),
        (nn.Identity(), ""),
        (ResNet(18, levels=(3,)).layer2, "2 basic blocks, stride 2 in the 3×3"),
        (ResNet(50, levels=(2,), groups=32, width_per_group=4).layer1, "3 bottlenecks of 32 groups"),
        (ResNet(18, levels=(2,)), "res net of 5 convolutions"),
    ],
)
def test_words(module: nn.Module, wanted: str) -> None:
    assert describe_module(module) == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [([], ""), ([*"abab", "c"], "2 × (a, b), c"), (list("aaab"), "3 × a, b"), (list("abc"), "a, b, c")],
)
def test_repeats_are_told_once(words: list[str], wanted: str) -> None:
    assert compress(words) == wanted
