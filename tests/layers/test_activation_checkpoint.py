"""Recomputed blocks: the same numbers, statistics counted once, less held."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from pagoda.layers.activation_checkpoint import recomputed


def block() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        *(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=None)),
    )


def step(recompute: bool, *, hold: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one step, and all gradients and buffers after it."""
    network, x = block().train(), torch.randn(2, 4, 8, 8)
    network[1].train(not hold)
    torch.manual_seed(2)
    y = recomputed(network, network, x) if recompute else network(x)
    loss = y.square().mean()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return loss, gradients | dict(network.named_buffers())


@pytest.mark.parametrize("hold", [False, True])
def test_same_loss_gradients_and_statistics(hold: bool) -> None:
    torch.manual_seed(0)
    plain_loss, plain = step(False, hold=hold)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, found = step(True, hold=hold)
    assert torch.equal(loss, plain_loss)
    for name, value in plain.items():
        assert torch.equal(found[name], value), name
    assert found["5.num_batches_tracked"] == 1 and found["1.num_batches_tracked"] == (0 if hold else 1)


def test_buffers_stay_the_same_tensors() -> None:
    network = block().train()
    before = dict(network.named_buffers())
    recomputed(network, network, torch.randn(2, 4, 8, 8)).sum().backward()
    assert all(value is before[name] for name, value in network.named_buffers())


def test_only_the_input_is_held() -> None:
    network, x = block().train(), torch.randn(2, 4, 8, 8)
    held: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        recomputed(network, network, x)
        once = sum(held)
        held.clear()
        network(x)
    assert once <= x.numel() < sum(held) / 5
