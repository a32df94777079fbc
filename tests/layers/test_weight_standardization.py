"""Standardised filters: the numbers of one filter, what they cannot see, and gradients."""

import torch

from pagoda.layers.weight_standardization import StandardizedConv2d


def test_one_filter_by_hand() -> None:
    conv = StandardizedConv2d(1, 1, 2)
    conv.weight.data = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    # Mean 4, squared deviations 9 + 1 + 1 + 9 over 3, root 2.58199.
    wanted = torch.tensor([[-3.0, -1.0], [1.0, 3.0]]) / ((20 / 3) ** 0.5 + 1e-5)
    torch.testing.assert_close(conv.standardized_weight()[0, 0], wanted)
    torch.testing.assert_close(
        conv(torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]])), wanted[1, 1].reshape(1, 1, 1, 1)
    )


def test_every_filter_is_centred_and_of_unit_deviation() -> None:
    weight = StandardizedConv2d(8, 6, 3, groups=2).standardized_weight()
    assert weight.shape == (6, 4, 3, 3)
    torch.testing.assert_close(weight.mean(dim=(1, 2, 3)), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(weight.std(dim=(1, 2, 3)), torch.ones(6), atol=1e-3, rtol=0)


def test_scale_and_mean_of_what_was_learnt_do_not_matter() -> None:
    conv, x = StandardizedConv2d(4, 5, 3, 2, 2, 2).double(), torch.randn(2, 4, 9, 9, dtype=torch.float64)
    before = conv(x)
    with torch.no_grad():
        conv.weight.mul_(1000).add_(3)
    torch.testing.assert_close(conv(x), before, rtol=1e-3, atol=1e-3)  # but for the 1e-5
    assert before.shape == (2, 5, 5, 5)


def test_gradients_move_no_mean() -> None:
    conv = StandardizedConv2d(4, 5, 3)
    conv(torch.randn(2, 4, 6, 6)).square().sum().backward()
    per_filter = conv.weight.grad.sum(dim=(1, 2, 3)) / conv.weight.grad.abs().sum(dim=(1, 2, 3))
    assert per_filter.abs().max() < 1e-4


def test_empty_batch() -> None:
    assert StandardizedConv2d(4, 5, 3, padding=1)(torch.zeros(0, 4, 6, 6)).shape == (0, 5, 6, 6)
