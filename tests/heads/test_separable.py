"""One tower for all levels, one norm per repetition and level."""

import pytest
import torch
from torch import nn

from pagoda.heads.separable import SeparableHead

CHANNELS = {3: 8, 4: 8, 5: 8}


def random_head(**options) -> SeparableHead:
    head = SeparableHead(CHANNELS, 6, depth=2, **options).eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return head


def test_it_equals_its_layers_one_after_the_other() -> None:
    head = random_head()
    pyramid = {level: torch.randn(2, 8, 24 // 2 ** (level - 3), 16 // 2 ** (level - 3)) for level in CHANNELS}
    expected = []
    for number, level in enumerate(CHANNELS):
        x = pyramid[level]
        for repeat in range(2):
            x = nn.functional.silu(head.norms[repeat][number](head.convs[repeat](x)))
        expected.append(head.predict(x).permute(0, 2, 3, 1).reshape(2, -1, 6))
    torch.testing.assert_close(head(pyramid), torch.cat(expected, 1))


def test_levels_share_convolutions_but_not_norms() -> None:
    head = random_head()
    x = torch.randn(1, 8, 5, 5)
    alike = head(dict.fromkeys(CHANNELS, x)).reshape(3, 25, 6)
    assert not torch.allclose(alike[0], alike[1])
    for norms in head.norms:
        for norm in norms:
            norm.load_state_dict(norms[0].state_dict())
    alike = head(dict.fromkeys(CHANNELS, x)).reshape(3, 25, 6)
    assert torch.equal(alike[0], alike[1]) and torch.equal(alike[0], alike[2])


@pytest.mark.parametrize(
    ("classes", "width", "depth", "levels", "parameters"),
    [
        (90, 64, 3, 5, 69_354),  # D0
        (80, 64, 3, 5, 63_504),
        (20, 64, 3, 5, 28_404),
        (4, 64, 3, 5, 19_044),  # boxes of D0
        (90, 160, 4, 5, 247_050),  # D3
        (90, 384, 5, 6, 1_094_826),  # D7x
    ],
)
def test_parameters(classes: int, width: int, depth: int, levels: int, parameters: int) -> None:
    channels = dict.fromkeys(range(3, 3 + levels), width)
    head = SeparableHead(channels, 9 * classes, depth=depth, conv_bias=True)
    assert sum(p.numel() for p in head.parameters()) == parameters


def test_prior_is_what_a_fresh_head_says() -> None:
    head = SeparableHead(CHANNELS, 6)
    head.set_prior(0.01, 4)
    said = head({level: torch.zeros(1, 8, 2, 2) for level in CHANNELS}).sigmoid()
    torch.testing.assert_close(said[..., :4], torch.full_like(said[..., :4], 0.01))
    torch.testing.assert_close(said[..., 4:], torch.full_like(said[..., 4:], 0.5))


def test_a_part_of_the_pyramid_uses_the_norms_of_its_levels() -> None:
    head = random_head()
    pyramid = {level: torch.randn(1, 8, 3, 3) for level in CHANNELS}
    torch.testing.assert_close(head({4: pyramid[4]})[0], head(pyramid)[0, 9:18])


def test_levels_it_has_no_norms_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"norms for levels \[3, 4, 5\], got features of level 6"):
        SeparableHead(CHANNELS, 6)({3: torch.zeros(1, 8, 2, 2), 6: torch.zeros(1, 8, 1, 1)})
    with pytest.raises(ValueError, match=r"same channels on every level, got \{3: 8, 4: 16\}"):
        SeparableHead({3: 8, 4: 16}, 6)
