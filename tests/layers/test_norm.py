"""Norms by name, and the two ways of stopping them. (Numbers of the frozen norm: batteries/test_backbones.py.)"""

import pytest
import torch
from torch import nn

from pagoda.layers.norm import FrameGroupNorm, FrozenBatchNorm2d, build_norm, freeze, hold_statistics


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("batch", nn.BatchNorm2d),
        ("sync", nn.SyncBatchNorm),
        ("frozen", FrozenBatchNorm2d),
        ("group", nn.GroupNorm),
        ("none", nn.Identity),
    ],
)
def test_layers_by_name(kind: str, layer: type[nn.Module]) -> None:
    norm = build_norm(kind, 64, eps=1e-3)
    assert type(norm) is layer and getattr(norm, "eps", 1e-3) == 1e-3


def test_sync_is_batch_norm_where_nothing_is_shared() -> None:
    alone, batch = build_norm("sync", 6).train(), build_norm("batch", 6).train()
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(alone(x), batch(x), rtol=0, atol=0)
    for name, value in batch.state_dict().items():
        assert torch.equal(alone.state_dict()[name], value)  # the same names, too


@pytest.mark.parametrize("kind", ["batch", "sync"])
def test_held_statistics_stay_while_weights_learn(kind: str) -> None:
    norm = build_norm(kind, 3).train()
    hold_statistics(norm)
    norm(torch.randn(4, 3, 5, 5)).square().sum().backward()
    assert norm.weight.grad.abs().min() > 0
    assert not norm.running_mean.any() and norm.num_batches_tracked == 0


def test_holding_statistics_is_for_batch_norms_only() -> None:
    network = nn.Sequential(nn.BatchNorm2d(32), nn.GroupNorm(32, 32), nn.Dropout()).train()
    hold_statistics(network)
    assert [module.training for module in network] == [False, True, True]


def test_frozen_modules_neither_learn_nor_count() -> None:
    block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    freeze(block)
    assert not block.training and not any(parameter.requires_grad for parameter in block.parameters())
    block(torch.randn(2, 3, 4, 4))
    assert block[1].num_batches_tracked == 0


@pytest.mark.parametrize("norm", [FrozenBatchNorm2d(4), FrameGroupNorm(2, 4)], ids=["frozen", "group"])
def test_frames_of_clips_are_treated_as_pictures(norm: nn.Module) -> None:
    for value in norm.state_dict().values():
        value.uniform_(0.5, 2)
    picture = nn.GroupNorm(2, 4) if isinstance(norm, nn.GroupNorm) else norm
    picture.load_state_dict(norm.state_dict())
    clip = torch.randn(2, 4, 3, 5, 6)
    for frame in range(3):
        torch.testing.assert_close(norm(clip)[:, :, frame], picture(clip[:, :, frame]))
