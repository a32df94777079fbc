"""Generalised attention: identity at the start, published sizes, a slow twin of every term, export."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from pagoda.layers.generalized_attention import GeneralizedAttention

TERMS = ["".join(digits) for digits in itertools.product("01", repeat=4) if "1" in digits]


def awake(block: GeneralizedAttention) -> GeneralizedAttention:
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4)
    return block.double().eval()


@pytest.mark.parametrize("terms", TERMS)
def test_start_as_the_identity(terms: str) -> None:
    x = torch.randn(2, 16, 5, 4)
    torch.testing.assert_close(GeneralizedAttention(16, heads=4, terms=terms)(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(("terms", "parameters"), [("1111", 1_312_257), ("0010", 787_457)])
def test_published_sizes(terms: str, parameters: int) -> None:
    with torch.device("meta"):
        block = GeneralizedAttention(512, heads=8, terms=terms)
    assert sum(parameter.numel() for parameter in block.parameters()) == parameters


def code(distance: float, channels: int) -> Tensor:
    """Sines, then cosines, of one distance at wavelengths from 1 to 1000."""
    angles = [distance / 1000 ** (4 * i / channels) for i in range(channels // 4)]
    return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64)


def slow_twin(block: GeneralizedAttention, x: Tensor, terms: str, strides: tuple[int, int]) -> Tensor:
    """One asking place, one head, one place looked at after the other."""
    key_stride, query_stride = strides
    channels, heads = x.shape[1], block.heads
    d = channels // heads
    answers = torch.zeros_like(x[:, :, ::query_stride, ::query_stride])
    asking = itertools.product(range(0, x.shape[2], query_stride), range(0, x.shape[3], query_stride))
    for i, j in asking:
        read = []
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            energies, values = [], []
            for u, v in itertools.product(range(0, x.shape[2], key_stride), range(0, x.shape[3], key_stride)):
                query = block.query_conv.weight[part, :, 0, 0] @ x[0, :, i, j] if "1" in terms[:2] else None
                energy = torch.zeros((), dtype=x.dtype)
                if terms[0] == "1" or terms[2] == "1":
                    key = block.key_conv.weight[part, :, 0, 0] @ x[0, :, u, v]
                    energy = energy + (query @ key if terms[0] == "1" else 0)
                    energy = energy + (block.appr_bias[part] @ key if terms[2] == "1" else 0)
                if terms[1] == "1" or terms[3] == "1":
                    place = block.appr_geom_fc_x.weight[part] @ code(j - v, block.position_channels)
                    place = place + block.appr_geom_fc_y.weight[part] @ code(i - u, block.position_channels)
                    place = place / 2**0.5
                    energy = energy + (query @ place if terms[1] == "1" else 0)
                    energy = energy + (block.geom_bias[part] @ place if terms[3] == "1" else 0)
                far = max(abs(i - u), abs(j - v)) > (block.spatial_range or math.inf)
                energies.append(energy * 0 - math.inf if far else energy)
                values.append(block.value_conv.weight[part, :, 0, 0] @ x[0, :, u, v])
            shares = torch.stack(energies).softmax(dim=0)
            read.append(sum(share * value for share, value in zip(shares, values, strict=True)))
        answer = block.proj_conv.weight[:, :, 0, 0] @ torch.cat(read) + block.proj_conv.bias
        answers[0, :, i // query_stride, j // query_stride] = answer
    if query_stride > 1:
        answers = nn.functional.interpolate(answers, size=x.shape[2:], mode="bilinear", align_corners=False)
    return x + block.gamma * answers


@torch.no_grad()
@pytest.mark.parametrize(
    ("terms", "strides"), [*((t, (2, 1)) for t in TERMS), ("1111", (1, 2)), ("0010", (1, 2))]
)
def test_slow_twin(terms: str, strides: tuple[int, int]) -> None:
    block = GeneralizedAttention(
        8, heads=2, terms=terms, key_stride=strides[0], query_stride=strides[1], position_channels=4
    )
    x = torch.randn(1, 8, 3, 4, dtype=torch.float64)
    awake(block)
    # Positions are coded in single precision.
    torch.testing.assert_close(block(x), slow_twin(block, x, terms, strides), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_range_looks_no_further() -> None:
    block = awake(GeneralizedAttention(8, heads=2, key_stride=1, spatial_range=1, terms="1111"))
    x = torch.randn(1, 8, 6, 7, dtype=torch.float64)
    seen = {
        place for place in itertools.product(range(6), range(7)) if _answer_changes(block, x, place, (2, 3))
    }
    # The far side is one place wider than the near one, as in the original.
    assert seen == set(itertools.product((1, 2, 3, 4), (2, 3, 4, 5)))


def _answer_changes(block: nn.Module, x: Tensor, touched: tuple[int, int], asked: tuple[int, int]) -> bool:
    other = x.clone()
    other[0, :, touched[0], touched[1]] += 1
    return not torch.equal(block(x)[0, :, asked[0], asked[1]], block(other)[0, :, asked[0], asked[1]])


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    block, x = awake(GeneralizedAttention(8, heads=2)), torch.randn(2, 8, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(block(x)[1:], block(x[1:]))
    assert block(x[:0]).shape == (0, 8, 4, 5)


@pytest.mark.medium
@pytest.mark.parametrize("terms", ["1111", "0010"])
def test_export_with_a_free_size_equals_eager(terms: str) -> None:
    block = awake(
        GeneralizedAttention(8, heads=2, terms=terms, spatial_range=None if terms == "0010" else 2)
    ).float()
    free = {2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    program = torch.export.export(block, (torch.randn(1, 8, 6, 8),), dynamic_shapes=(free,))
    x = torch.randn(1, 8, 9, 5)
    torch.testing.assert_close(program.module()(x), block(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": "0000"}, "terms must be four digits 0 or 1, one of them 1, got '0000'"),
        ({"terms": "11"}, "got '11'"),
        ({"terms": "0010", "spatial_range": 2}, "spatial_range needs another term"),
        ({"position_channels": 6}, "position_channels must be divisible by 4, got 6"),
    ],
)
def test_bad_options_are_explained(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GeneralizedAttention(8, heads=2, **options)
