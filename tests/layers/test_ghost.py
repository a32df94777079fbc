"""Ghost modules against a telling of the papers so plain it is obviously right."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pagoda.layers.ghost import GhostModule, GhostModuleV2


def stirred(module: nn.Module) -> nn.Module:
    """In double precision and evaluation mode, with norms that do something."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            for tensor in (each.weight, each.bias, each.running_mean, each.running_var):
                tensor.data.uniform_(0.5, 1.5)
    return module.double().eval()


def normed(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def ghosts_one_by_one(module: GhostModule, maps: Tensor) -> Tensor:
    """Each ghost is a convolution of one primary map alone; maps are (B, primary, H, W)."""
    conv, norm = module.cheap_operation[0], module.cheap_operation[1]
    per_map = conv.out_channels // maps.shape[1]
    pad = conv.kernel_size[0] // 2
    ghosts = [
        F.conv2d(maps[:, index // per_map, None], conv.weight[index, None], padding=pad)
        for index in range(conv.out_channels)
    ]
    return normed(norm, torch.cat(ghosts, dim=1))


@pytest.mark.parametrize(
    ("inputs", "outputs", "ratio", "primary", "ghosts"),
    [
        (16, 24, 2, 12, 12),
        (8, 7, 2, 4, 4),  # one map too many: cut off
        (8, 10, 4, 3, 9),  # two too many
        (8, 3, 4, 1, 3),  # one primary map makes all
        (8, 5, 1, 5, 0),
    ],
)
def test_counts_of_maps(inputs: int, outputs: int, ratio: int, primary: int, ghosts: int) -> None:
    module = GhostModule(inputs, outputs, ratio=ratio)
    assert module.primary_conv[0].out_channels == primary
    assert (module.cheap_operation[0].out_channels if module.cheap_operation else 0) == ghosts
    assert module(torch.randn(2, inputs, 5, 6)).shape == (2, outputs, 5, 6)


def test_parameters_are_the_papers() -> None:
    assert sum(p.numel() for p in GhostModule(16, 24).parameters()) == 348


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("outputs", "ratio", "cheap_kernel"), [(8, 2, 3), (7, 2, 3), (10, 4, 5), (6, 3, 1)])
def test_equals_the_plain_telling(outputs: int, ratio: int, cheap_kernel: int, relu: bool) -> None:
    module = stirred(GhostModule(6, outputs, 3, ratio=ratio, cheap_kernel=cheap_kernel, stride=2, relu=relu))
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    conv, norm = module.primary_conv[0], module.primary_conv[1]
    maps = normed(norm, F.conv2d(x, conv.weight, stride=2, padding=1))
    maps = maps.relu() if relu else maps
    ghosts = ghosts_one_by_one(module, maps)
    ghosts = ghosts.relu() if relu else ghosts
    torch.testing.assert_close(module(x), torch.cat([maps, ghosts], dim=1)[:, :outputs])


def test_ratio_one_is_a_convolution_with_norm() -> None:
    module = stirred(GhostModule(6, 5, 3, ratio=1, stride=2))
    x = torch.randn(1, 6, 7, 7, dtype=torch.float64)
    wanted = normed(module.primary_conv[1], F.conv2d(x, module.primary_conv[0].weight, stride=2, padding=1))
    torch.testing.assert_close(module(x), wanted.relu())
    assert {name.split(".")[0] for name in module.state_dict()} == {"primary_conv"}


def test_dilation_and_stride_belong_to_the_primary_convolution() -> None:
    module = GhostModule(4, 6, 3, stride=2, dilation=2)
    primary, cheap = module.primary_conv[0], module.cheap_operation[0]
    assert (primary.dilation, primary.stride, primary.padding) == ((2, 2), (2, 2), (2, 2))
    assert (cheap.dilation, cheap.stride, cheap.padding) == ((1, 1), (1, 1), (1, 1))
    assert module(torch.randn(1, 4, 9, 8)).shape == (1, 6, 5, 4)


def test_no_biases_and_the_published_names() -> None:
    module = GhostModuleV2(4, 6)
    assert all(conv.bias is None for conv in module.modules() if isinstance(conv, nn.Conv2d))
    weights = [f"{part}.{index}.weight" for part in ("primary_conv", "cheap_operation") for index in (0, 1)]
    weights += [f"short_conv.{index}.weight" for index in range(6)]
    assert [name for name in module.state_dict() if name.endswith("weight")] == weights


@pytest.mark.parametrize("size", [(8, 6), (9, 7), (3, 2), (5, 1), (1, 1)])
def test_attention_gates_the_maps(size: tuple[int, int]) -> None:
    """Halved by hand, an odd last row left out but a single one kept; enlarged by index."""
    module = stirred(GhostModuleV2(4, 6))
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    height, width = max(1, size[0] // 2), max(1, size[1] // 2)
    half = torch.stack(
        [
            torch.stack([x[..., 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3)) for j in range(width)], -1)
            for i in range(height)
        ],
        -2,
    )
    convs = module.short_conv
    gate = normed(convs[1], F.conv2d(half, convs[0].weight))
    gate = normed(convs[3], F.conv2d(gate, convs[2].weight, padding=(0, 2), groups=6))
    gate = normed(convs[5], F.conv2d(gate, convs[4].weight, padding=(2, 0), groups=6)).sigmoid()
    rows = torch.arange(size[0]) * height // size[0]
    columns = torch.arange(size[1]) * width // size[1]
    wanted = GhostModule.forward(module, x) * gate[:, :, rows][..., columns]
    torch.testing.assert_close(module(x), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0}, r"ratio \(maps per primary map, itself included\) must be at least 1, got 0"),
        ({"kernel": 2}, "kernel and cheap_kernel must be odd, got 2 and 3"),
        ({"cheap_kernel": 4}, "kernel and cheap_kernel must be odd, got 1 and 4"),
    ],
)
def test_bad_options_are_explained(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GhostModule(4, 6, **options)


def test_gradients_reach_every_weight() -> None:
    module = GhostModuleV2(4, 7)
    module(torch.randn(2, 4, 6, 6)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
