"""Weights of pictures given a time axis: what each tap holds, and which tensors are meant."""

import pytest
import torch
from torch import nn

from pagoda.layers.inflate import inflate, inflate_convolution, inflate_state


def test_taps_of_every_inflation() -> None:
    weight = torch.tensor([[[[6.0]]]])
    assert inflate(weight, 3).flatten().tolist() == [0, 6, 0]
    assert inflate(weight, 4, "center").flatten().tolist() == [0, 0, 6, 0]
    assert inflate(weight, 3, "mean").flatten().tolist() == [2, 2, 2]
    assert inflate(weight, 3, "repeat").flatten().tolist() == [6, 6, 6]
    for mode in ("center", "mean", "repeat", "center_rest_random"):
        assert torch.equal(inflate(weight, 1, mode)[:, :, 0], weight)


def test_random_taps_are_divided_like_the_middle_one() -> None:
    weight = torch.randn(64, 64, 3, 3)
    taps = inflate(weight, 3, "center_rest_random")
    assert torch.equal(taps[:, :, 1], weight / 3)
    for tap in (0, 2):
        assert float(taps[:, :, tap].std()) == pytest.approx(0.001 / 3, rel=0.02)


def test_only_what_became_deeper_is_inflated() -> None:
    state = {"a": torch.ones(2, 2, 3, 3), "b": torch.ones(2, 2, 3, 3), "c": torch.ones(4)}
    state["d"] = torch.ones(1, 1, 1, 1)  # the network knows no such thing
    wanted = {"a": torch.zeros(2, 2, 3, 3, 3), "b": torch.zeros(2, 2, 3, 3), "c": torch.zeros(4)}
    found = inflate_state(state, wanted, "repeat")
    assert list(found) == list(state) and found["a"].shape == (2, 2, 3, 3, 3)
    assert all(found[name] is state[name] for name in "bcd") and state["a"].ndim == 4


@pytest.mark.parametrize("time_kernel", [1, 3])
def test_an_inflated_convolution_says_the_same_of_every_frame(time_kernel: int) -> None:
    flat = nn.Conv2d(4, 6, 3, 2, padding=2, dilation=2, groups=2)
    deep, clip = inflate_convolution(flat, time_kernel), torch.randn(2, 4, 3, 9, 8)
    for frame in range(3):
        torch.testing.assert_close(deep(clip)[:, :, frame], flat(clip[:, :, frame]))


def test_a_kernel_without_taps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one tap in time, got 0"):
        inflate(torch.ones(1, 1, 1, 1), 0)
