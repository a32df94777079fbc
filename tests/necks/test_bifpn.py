"""Fusion, one BiFPN written out by hand, sizes, and what is refused."""

import pytest
import torch
from torch import Tensor, nn, tensor
from torch.nn.functional import interpolate, silu

from pagoda.layers.conv import shrink
from pagoda.necks.bifpn import BiFPN, fuse
from pagoda.necks.topology import Node, bifpn_nodes, panet_nodes, qufpn_nodes

CHANNELS = {3: 6, 4: 10, 5: 14}


def pyramid_of(height: int, width: int, channels: dict[int, int] = CHANNELS) -> dict[int, Tensor]:
    return {
        level: torch.randn(2, count, -(-height // 2**level), -(-width // 2**level))
        for level, count in channels.items()
    }


def map_of(*values: float) -> Tensor:
    return tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        ("fast", [0.99995, 2.99985]),
        ("softmax", [1, 3]),
        ("sum", [2, 6]),
        ("channel_fast", [0.99995, 2.99985]),
    ],
)
def test_equal_maps_with_unit_weights(fusion: str, expected: list[float]) -> None:
    weights = None if fusion == "sum" else torch.ones(2, 1) if fusion.startswith("channel") else torch.ones(2)
    fused = fuse([map_of(1, 3), map_of(1, 3)], weights, fusion)
    torch.testing.assert_close(fused, map_of(*expected), rtol=0, atol=1e-6)


def test_shares_of_fast_fusion() -> None:
    units = [map_of(1, 0, 0), map_of(0, 1, 0), map_of(0, 0, 1)]
    shares = fuse(units, tensor([0.3, -0.2, 1.1]), "fast").flatten()
    torch.testing.assert_close(shares, tensor([0.214270, 0, 0.785658]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fusion", ["fast", "softmax"])
def test_weights_per_channel_are_that_of_each_channel(fusion: str) -> None:
    maps, weights = [torch.randn(2, 3, 4, 4) for _ in range(3)], torch.randn(3, 3)
    fused = fuse(maps, weights, f"channel_{fusion}")
    for channel in range(3):
        alone = fuse([x[:, channel : channel + 1] for x in maps], weights[:, channel], fusion)
        torch.testing.assert_close(fused[:, channel : channel + 1], alone)


def test_a_weight_below_zero_is_dead_in_fast_fusion_only() -> None:
    for fusion, is_dead in (("fast", True), ("softmax", False)):
        weights = tensor([1.0, -0.5], requires_grad=True)
        fuse([torch.randn(1, 1, 2, 2), torch.randn(1, 1, 2, 2)], weights, fusion).sum().backward()
        assert (weights.grad[1] == 0) == is_dead


def test_two_cells_equal_their_formula() -> None:
    neck = BiFPN({3: 6, 4: 10}, 8, cells=2, top_level=5, padding="same").eval()
    for parameter in neck.parameters():
        nn.init.normal_(parameter, std=0.5)
    features = pyramid_of(75, 50, {3: 6, 4: 10})  # 10×7, 5×4, 3×2
    layers = dict(neck.named_modules())

    def node(cell: int, number: int, sources: list[tuple[int, Tensor]], size: torch.Size) -> Tensor:
        name = f"cells.{cell}.nodes.{number}"
        weights = layers[name].weights.relu()
        total = torch.zeros(())
        for (source, x), weight in zip(sources, weights, strict=True):
            if f"{name}.edges.{source}" in layers:
                x = layers[f"{name}.edges.{source}"](x)
            if x.shape[-1] > size[-1]:
                x = shrink(x, 2, "same")
            total = total + weight * interpolate(x, size)
        return layers[f"{name}.conv"](silu(total / (weights.sum() + 1e-4)))

    a, b = features[3], features[4]
    c = shrink(layers["extra.2"](b), 2, "same")
    for cell in range(2):
        small = node(cell, 0, [(1, b), (2, c)], b.shape[-2:])
        low = node(cell, 1, [(0, a), (3, small)], a.shape[-2:])
        middle = node(cell, 2, [(1, b), (3, small), (4, low)], b.shape[-2:])
        a, b, c = low, middle, node(cell, 3, [(2, c), (5, middle)], c.shape[-2:])
    pyramid = neck(features)
    for level, expected in ((3, a), (4, b), (5, c)):
        torch.testing.assert_close(pyramid[level], expected, rtol=1e-4, atol=1e-5)


def test_projections_stand_in_the_first_cell_only_one_per_edge() -> None:
    neck = BiFPN({3: 40, 4: 112, 5: 320}, 64, cells=3)
    edges = [name for name, _ in neck.named_modules() if name.endswith((".edges.0", ".edges.1", ".edges.2"))]
    assert sorted(edges) == [
        "cells.0.nodes.1.edges.2",
        "cells.0.nodes.2.edges.1",
        "cells.0.nodes.3.edges.0",
        "cells.0.nodes.4.edges.1",
        "cells.0.nodes.5.edges.2",
    ]
    assert list(neck.extra) == ["3"]


def test_features_that_have_the_width_already_are_not_projected() -> None:
    neck = BiFPN({3: 16, 4: 16, 5: 16}, 16, cells=1)
    assert not neck.extra and all(not node.edges for node in neck.cells[0].nodes)


@pytest.mark.parametrize(
    ("width", "cells", "levels", "fusion", "parameters"),
    [
        (64, 3, 7, "fast", 196_281),  # D0
        (88, 4, 7, "fast", 390_972),  # D1
        (64, 3, 7, "sum", 196_224),  # lite0: no fusion weights
    ],
)
def test_parameters(width: int, cells: int, levels: int, fusion: str, parameters: int) -> None:
    neck = BiFPN({3: 40, 4: 112, 5: 320}, width, cells=cells, top_level=levels, fusion=fusion, conv_bias=True)
    assert sum(p.numel() for p in neck.parameters()) == parameters


@pytest.mark.parametrize("topology", [bifpn_nodes, panet_nodes, qufpn_nodes])
def test_nothing_of_a_deep_pyramid_is_left_out(topology) -> None:
    neck = BiFPN({2: 4, 3: 6, 4: 8, 5: 10}, 8, cells=2, top_level=8, topology=topology).eval()
    features = {
        level: x.requires_grad_() for level, x in pyramid_of(256, 320, {2: 4, 3: 6, 4: 8, 5: 10}).items()
    }
    pyramid = neck(features)
    assert list(pyramid) == [2, 3, 4, 5, 6, 7, 8]
    sum(x.square().sum() for x in pyramid.values()).backward()
    for tensor_ in (*features.values(), *neck.parameters()):
        assert tensor_.grad is not None and tensor_.grad.abs().max() > 0


def test_a_plain_sum_leaves_its_inputs_alone() -> None:
    neck = BiFPN({3: 8, 4: 8}, 8, cells=1, top_level=4, fusion="sum", topology=panet_nodes, activation="relu")
    features = pyramid_of(32, 32, {3: 8, 4: 8})
    before = {level: x.clone() for level, x in features.items()}
    neck(features)
    assert all(torch.equal(features[level], before[level]) for level in before)


def test_sizes_that_do_not_halve_are_named() -> None:
    features = pyramid_of(128, 128)
    features[4] = features[4][..., :-1]
    with pytest.raises(
        ValueError, match="level 4 must measure 8×8 above a level of 16×16, got 8×7; pad pictures"
    ):
        BiFPN(CHANNELS, 8)(features)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_level": 4}, "at least the backbone's highest level 5, got 4"),
        ({"channels": {3: 8, 5: 8}}, "neighbouring levels, got 3, 5"),
        ({"channels": {5: 8}, "top_level": 5}, "at least two levels, got level 5 alone"),
        ({"cells": 0}, "at least one cell, got 0"),
        ({"fusion": "attention"}, "fusion must be one of 'fast', 'softmax', 'sum', .* got 'attention'"),
        ({"topology": lambda low, high: [Node(3, (9,))]}, "reads feature 9"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BiFPN(**{"channels": CHANNELS, **options})
