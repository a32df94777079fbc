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
    """Group norm of clips (B, C, T, H, W) with statistics of each frame by itself."""

    def forward(self, x: Tensor) -> Tensor:
        frames = x.transpose(1, 2)
        return super().forward(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)


@checked
def build_norm(kind: Norm, channels: int, *, eps: float = 1e-5, groups: int = 32) -> nn.Module:
    """The layer called `kind` for (B, channels, H, W).

    "sync" shares its statistics among the processes of a distributed run, on GPUs; elsewhere it is "batch".
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
    """No gradients and evaluation mode; call again after `.train()`, which wakes batch norms up."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def hold_statistics(module: nn.Module) -> None:
    """Batch norms inside apply their stored statistics and keep them; their weights still learn.

    For fine-tuning with few pictures per step. Call again after `.train()`.
    """
    for norm in module.modules():
        if isinstance(norm, BATCH_NORMS):
            norm.eval()


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether batch norms inside look at the batch at hand, as they do in training unless held or frozen."""
    return any(isinstance(norm, BATCH_NORMS) and norm.training for norm in module.modules())
