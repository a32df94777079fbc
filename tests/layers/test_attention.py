"""Context and non-local blocks: identity at the start, published sizes, slow twins, export."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pagoda.layers.attention import ContextBlock, NonLocal2d

BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "context": ContextBlock,
    "context, average": lambda channels: ContextBlock(channels, pooling="average"),
    "non-local": NonLocal2d,
    "non-local, gaussian": lambda channels: NonLocal2d(channels, mode="gaussian", sub_sample=True),
    "non-local, product": lambda channels: NonLocal2d(channels, mode="dot_product", norm="batch"),
    "non-local, pairs": lambda channels: NonLocal2d(channels, mode="concatenation", sub_sample=True),
}
ALL = pytest.mark.parametrize("build", BLOCKS.values(), ids=list(BLOCKS))


def awake(block: nn.Module) -> nn.Module:
    """No weight is zero or one; in evaluation mode, double precision."""
    for value in block.state_dict().values():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.1, 0.6)
    return block.double().eval()


@ALL
def test_start_as_the_identity(build: Callable[[int], nn.Module]) -> None:
    x = torch.randn(2, 32, 6, 5)
    torch.testing.assert_close(build(32).eval()(x), x, rtol=0, atol=0)


def test_a_multiplying_context_starts_by_halving() -> None:
    x = torch.randn(2, 32, 6, 5)
    torch.testing.assert_close(ContextBlock(32, fusion="multiply")(x), x / 2)
    torch.testing.assert_close(ContextBlock(32, fusion="multiply_add")(x), x / 2)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda: ContextBlock(512, ratio=1 / 4), 132_481),
        (lambda: ContextBlock(512, ratio=1 / 16), 33_889),
        (lambda: ContextBlock(2048, ratio=1 / 4), 2_102_785),
        (lambda: NonLocal2d(256), 131_712),
        (lambda: NonLocal2d(512), 525_568),
        (lambda: NonLocal2d(1024), 2_099_712),
        (lambda: NonLocal2d(2048), 8_393_728),
    ],
)
def test_published_sizes(build: Callable[[], nn.Module], parameters: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in build().parameters()) == parameters


def changed(context: Tensor, convs: nn.Sequential) -> Tensor:
    """Two 1×1 convolutions on one vector (C,), written as matrices, with a layer norm between."""
    first, norm, _, last = convs
    hidden = first.weight[:, :, 0, 0] @ context + first.bias
    spread = ((hidden - hidden.mean()).square().mean() + norm.eps).sqrt()
    hidden = (hidden - hidden.mean()) / spread * norm.weight.flatten() + norm.bias.flatten()
    return last.weight[:, :, 0, 0] @ hidden.clamp(min=0) + last.bias


@pytest.mark.parametrize("pooling", ["attention", "average"])
@pytest.mark.parametrize("fusion", ["add", "multiply", "multiply_add"])
def test_context_block_slow_twin(pooling: str, fusion: str) -> None:
    block = awake(ContextBlock(8, ratio=0.5, pooling=pooling, fusion=fusion))
    x = torch.randn(1, 8, 3, 4, dtype=torch.float64)
    places = list(itertools.product(range(3), range(4)))
    weights = [1.0] * 12
    if pooling == "attention":
        mask = block.conv_mask
        weights = [(mask.weight[0, :, 0, 0] @ x[0, :, i, j] + mask.bias[0]).exp().item() for i, j in places]
    context = sum(w * x[0, :, i, j] for w, (i, j) in zip(weights, places, strict=True)) / sum(weights)
    wanted = x
    if "multiply" in fusion:
        wanted = wanted * changed(context, block.channel_mul_conv).sigmoid()[None, :, None, None]
    if "add" in fusion:
        wanted = wanted + changed(context, block.channel_add_conv)[None, :, None, None]
    torch.testing.assert_close(block(x), wanted)


def matrix(part: nn.Module, x: Tensor) -> Tensor:
    conv = part.get_submodule("conv")
    return torch.einsum("oc,chw->ohw", conv.weight[:, :, 0, 0], x) + conv.bias[:, None, None]


@torch.no_grad()
@pytest.mark.parametrize("mode", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize(("sub_sample", "use_scale"), [(False, True), (True, False)])
def test_non_local_slow_twin(mode: str, sub_sample: bool, use_scale: bool) -> None:
    block = awake(NonLocal2d(6, mode=mode, sub_sample=sub_sample, use_scale=use_scale))
    x = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    theta, phi, values = x[0], x[0], matrix(block.g[0] if sub_sample else block.g, x[0])
    if mode != "gaussian":
        theta = matrix(block.theta, x[0])
        phi = matrix(block.phi[0] if sub_sample else block.phi, x[0])
    if sub_sample:
        phi, values = F.max_pool2d(phi, 2), F.max_pool2d(values, 2)
    places = list(itertools.product(range(values.shape[1]), range(values.shape[2])))
    wanted = x.clone()
    for i, j in itertools.product(range(3), range(4)):
        if mode == "concatenation":
            w = block.concat_project.conv.weight.flatten()
            likeness = [F.relu(w @ torch.cat([theta[:, i, j], phi[:, y, x_]])) for y, x_ in places]
        else:
            likeness = [theta[:, i, j] @ phi[:, y, x_] for y, x_ in places]
        shares = torch.stack(likeness)
        if "gaussian" in mode:
            scaled = shares / 3**0.5 if use_scale and mode == "embedded_gaussian" else shares
            shares = scaled.exp() / scaled.exp().sum()
        else:
            shares = shares / len(places)
        seen = sum(share * values[:, y, x_] for share, (y, x_) in zip(shares, places, strict=True))
        wanted[0, :, i, j] += matrix(block.conv_out, seen[:, None, None])[:, 0, 0]
    torch.testing.assert_close(block(x), wanted)


def test_names_are_mmcv_s() -> None:
    assert {name.rsplit(".", 1)[0] for name in ContextBlock(16, fusion="multiply_add").state_dict()} == {
        "conv_mask",
        *(f"channel_{what}_conv.{index}" for what in ("add", "mul") for index in (0, 1, 3)),
    }
    plain, pooled = NonLocal2d(16, norm="batch"), NonLocal2d(16, mode="concatenation", sub_sample=True)
    assert {name.rsplit(".", 1)[0] for name in plain.state_dict()} == {
        *(f"{part}.conv" for part in ("g", "theta", "phi", "conv_out")),
        "conv_out.bn",
    }
    assert {name.rsplit(".", 1)[0] for name in pooled.state_dict()} == {
        *("g.0.conv", "theta.conv", "phi.0.conv", "conv_out.conv", "concat_project.conv")
    }


@ALL
def test_pictures_of_a_batch_do_not_see_each_other(build: Callable[[int], nn.Module]) -> None:
    block, x = awake(build(32)), torch.randn(2, 32, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(block(x)[1:], block(x[1:]))
    assert block(x[:0]).shape == (0, 32, 6, 5)


@pytest.mark.medium
@ALL
def test_export_with_a_free_size_equals_eager(build: Callable[[int], nn.Module]) -> None:
    block = awake(build(32)).float()
    free = {2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    program = torch.export.export(block, (torch.randn(1, 32, 6, 8),), dynamic_shapes=(free,))
    x = torch.randn(1, 32, 9, 5)
    torch.testing.assert_close(program.module()(x), block(x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ContextBlock(8, ratio=0.1), "ratio 0.1 of 8 channels leaves none; take at least 0.125"),
        (
            lambda: ContextBlock(8, ratio=1, pooling="max"),
            "pooling must be one of 'attention', 'average', got 'max'",
        ),
        (
            lambda: ContextBlock(8, ratio=1, fusion="mul"),
            "fusion must be one of 'add', 'multiply', 'multiply_add', got 'mul'",
        ),
        (
            lambda: NonLocal2d(8, mode="dot"),
            "mode must be one of 'gaussian', 'embedded_gaussian', 'dot_product'",
        ),
    ],
)
def test_bad_options_are_explained(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
