"""Normalisation layers by name, and the batch norm that no longer learns."""

from typing import Literal

import torch
from torch import Tensor, nn

from pagoda.plain import checked

Norm = Literal["batch", "frozen", "group", "none", "sync"]

# What `hold_statistics` stops. Group norm has no statistics to hold.
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@checked
class FrozenBatchNorm2d(nn.Module):
    """A fixed affine map per channel: the statistics and weights of a batch norm as buffers.

    For pictures (B, C, H, W) and clips (B, C, T, H, W) alike. `eps` is 0 in maskrcnn-benchmark and FCOS,
    1e-5 in detectron2 and torchvision: with a variance of 1e-4 the difference is 5 %.

    >>> norm = FrozenBatchNorm2d(1, eps=0.0)
    >>> norm.running_mean.fill_(2.0), norm.running_var.fill_(4.0), list(norm.parameters())
    (tensor([2.]), tensor([4.]), [])
    >>> norm(torch.tensor([[[[6.0]]]]))  # (6 - 2) / √4
    tensor([[[[2.]]]])
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def scale_shift(self) -> tuple[Tensor, Tensor]:
        """(C,) each: y = x · scale + shift."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = (
            value.to(x.dtype).unflatten(0, (-1, *[1] * (x.ndim - 2))) for value in self.scale_shift()
        )
        return x * scale + shift

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


class FrameGroupNorm(nn.GroupNorm):
    """Group norm of clips (B, C, T, H, W) with statistics of each frame by itself.

    >>> clip = torch.tensor([0.0, 10.0, 2.0, 30.0]).reshape(1, 2, 2, 1, 1)  # two channels, two frames
    >>> FrameGroupNorm(1, 2)(clip).detach().flatten().round()
    tensor([-1., -1.,  1.,  1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        frames = x.transpose(1, 2)
        return super().forward(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)


@checked
def build_norm(kind: Norm, channels: int, *, eps: float = 1e-5, groups: int = 32) -> nn.Module:
    """A new norm layer for (B, channels, H, W); "none" is the identity.

    "sync" shares its statistics among the processes of a distributed run, on GPUs; elsewhere it is "batch".
    `groups` count for "group" alone. Raises ValueError where they do not divide the channels.

    >>> build_norm("group", 64).num_groups, build_norm("frozen", 64, eps=0.0), build_norm("none", 64)
    (32, FrozenBatchNorm2d(64, eps=0.0), Identity())
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels, eps=eps)
    if kind == "sync":
        return nn.SyncBatchNorm(channels, eps=eps)
    if kind == "frozen":
        return FrozenBatchNorm2d(channels, eps=eps)
    if kind == "group":
        if channels % groups:
            raise ValueError(f"group norm needs channels divisible by {groups} groups, got {channels}")
        return nn.GroupNorm(groups, channels, eps=eps)
    return nn.Identity()


def freeze(module: nn.Module) -> None:
    """No gradients and evaluation mode; call again after `.train()`, which wakes batch norms up.

    >>> norm = nn.BatchNorm2d(2)
    >>> freeze(norm)
    >>> norm.training, norm.weight.requires_grad
    (False, False)
    """
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def hold_statistics(module: nn.Module) -> None:
    """Batch norms inside apply their stored statistics and keep them; their weights still learn.

    For fine-tuning with few pictures per step. Call again after `.train()`.

    >>> norm = nn.BatchNorm2d(2)
    >>> hold_statistics(norm)
    >>> norm.training, norm.weight.requires_grad
    (False, True)
    """
    for norm in module.modules():
        if isinstance(norm, BATCH_NORMS):
            norm.eval()


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether batch norms inside look at the batch at hand, as they do in training unless held or frozen.

    >>> has_batch_statistics(nn.BatchNorm2d(2)), has_batch_statistics(nn.GroupNorm(1, 2))
    (True, False)
    """
    return any(isinstance(norm, BATCH_NORMS) and norm.training for norm in module.modules())
