"""SSD's further levels and the norm of its first source."""

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from pagoda.backbones.vgg import VGG16
from pagoda.necks.extras import ExtraLevel, ExtraLevels, L2Norm

CHANNELS = {3: 8, 4: 16}
ROWS = [ExtraLevel(12, 6), ExtraLevel(10, 4, stride=1, padding=0)]


def test_l2_norm_is_of_each_cell_s_channels() -> None:
    x = torch.randn(2, 5, 3, 4)
    norm = L2Norm(5, scale=20.0)
    torch.testing.assert_close(norm(x), 20 * normalize(x, dim=1))
    assert norm(x).square().sum(1).sqrt().allclose(torch.tensor(20.0))


def test_a_cell_of_zeros_is_finite_on_both_ways() -> None:
    x = torch.zeros(1, 4, 2, 2)
    x[..., 0, 0] = 1
    x.requires_grad_()
    norm = L2Norm(4)
    out = norm(x)
    out.square().sum().backward()
    assert not out[..., 1, 1].any() and not x.grad[..., 1, 1].any()
    assert x.grad.isfinite().all() and norm.weight.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_l2_norm_in_half_precision(dtype: torch.dtype) -> None:
    x = torch.zeros(1, 512, 1, 2, dtype=dtype)
    x[..., 0] = 200  # whose squares exceed float16
    out = L2Norm(512).to(dtype)(x)
    assert out.isfinite().all() and out[0, 0, 0, 0].item() == pytest.approx(20 / 512**0.5, rel=1e-2)


@pytest.mark.parametrize("kind", ["plain", "separable", "inverted"])
def test_levels_follow_their_rows(kind: str) -> None:
    neck = ExtraLevels(CHANNELS, ROWS, kind=kind, norm="none" if kind == "plain" else "batch", l2_levels=(3,))
    pyramid = neck({3: torch.randn(2, 8, 10, 14), 4: torch.randn(2, 16, 5, 7)})
    assert {level: tuple(x.shape[1:]) for level, x in pyramid.items()} == {
        3: (8, 10, 14), 4: (16, 5, 7), 5: (12, 3, 4), 6: (10, 1, 2),
    }  # fmt: skip
    assert [ROWS[0].cells(5), ROWS[1].cells(3)] == [3, 1]
    assert list(neck.channels) == [3, 4, 5, 6] and neck.channels[6] == 10


def test_the_level_above_reads_what_is_not_normalised() -> None:
    """The further levels are those of the same neck without the norm."""
    torch.manual_seed(0)
    plain, normed = ExtraLevels({3: 8}, ROWS), ExtraLevels({3: 8}, ROWS, l2_levels=(3,))
    normed.load_state_dict(plain.state_dict(), strict=False)
    features = {3: torch.randn(1, 8, 9, 9)}
    a, b = plain(features), normed(features)
    assert torch.equal(a[4], b[4]) and torch.equal(a[5], b[5]) and not torch.equal(a[3], b[3])
    assert torch.equal(a[3], features[3])


def test_what_the_backbone_has_not_cannot_be_normalised() -> None:
    with pytest.raises(ValueError, match="l2_levels must be levels of the backbone, 3, 4, got \\(5,\\)"):
        ExtraLevels(CHANNELS, ROWS, l2_levels=(5,))


@pytest.mark.parametrize(("side", "grids"), [(300, (38, 19)), (512, (64, 32)), (75, (10, 5))])
def test_reduced_vgg_rounds_up(side: int, grids: tuple[int, int]) -> None:
    with torch.device("meta"):
        body = VGG16(levels=(3, 4), reduced=True)
        found = body(torch.empty(1, 3, side, side))
    assert [x.shape[-1] for x in found.values()] == list(grids)
    assert (body.fc6.dilation, body.fc6.padding, body.features[30].stride) == ((6, 6), (6, 6), 1)


def test_vgg_holds_its_first_blocks() -> None:
    body = VGG16(levels=(2, 3), frozen_stages=2).train()
    frozen = {name for name, parameter in body.named_parameters() if not parameter.requires_grad}
    assert {int(name.split(".")[1]) for name in frozen} == {0, 2, 5, 7, 10, 12, 14}
    assert isinstance(body.features[4], nn.MaxPool2d) and len(body.features) == 23
    for bad in ({"levels": (6,)}, {"levels": (5,), "reduced": True}, {"frozen_stages": 6}):
        with pytest.raises(ValueError, match=r"VGG16 has the levels|frozen_stages counts stages"):
            VGG16(**bad)
