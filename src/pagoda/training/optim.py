"""Parameter groups, optimiser, and the learning rate as a pure function of the step."""

import math
from collections.abc import Sequence

import torch
from torch import nn, optim

from pagoda.detectors.contract import Detector
from pagoda.training.ema import local_piece
from pagoda.training.settings import OptimSettings


def parameter_groups(model: nn.Module, settings: OptimSettings) -> list[dict]:
    """Parameters by weight decay and peak rate, as torch's optimisers take them, with the rate as "peak".

    Kernels decay; norms, biases and learnt scales do not; the backbone may learn slower, biases faster. Raises
    ValueError where every parameter is frozen.

    >>> layer = nn.Sequential(nn.Conv2d(1, 1, 3))
    >>> groups = parameter_groups(layer, OptimSettings(learning_rate=0.1, weight_decay=1e-4, bias_factor=2.0))
    >>> [(group["weight_decay"], group["peak"]) for group in groups]  # the kernel, the bias
    [(0.0001, 0.1), (0.0, 0.2)]
    """
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            faster = settings.bias_factor if name.endswith(".bias") else 1.0
            groups.setdefault((name.startswith("backbone."), decay, faster), []).append(parameter)
    if not groups:
        raise ValueError("nothing to train: every parameter of the model is frozen")
    return [
        {
            "params": parameters,
            "weight_decay": decay,
            "peak": settings.learning_rate * faster * (settings.backbone_factor if in_backbone else 1.0),
        }
        for (in_backbone, decay, faster), parameters in groups.items()
    ]


def hold_parts(model: Detector, *, frozen_stages: int | None, norm_eval: bool) -> None:
    """What of a model's backbone shall not learn, from its next `.train()` on: see `OptimSettings`.

    Raises ValueError for a backbone without stages that can be frozen, or with fewer.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> hold_parts(model, frozen_stages=2, norm_eval=False)
    >>> model.train().backbone.layer1.training, model.backbone.layer2.training
    (False, True)
    """
    model.holds_statistics = norm_eval
    if frozen_stages is None:
        return
    backbone = getattr(model, "backbone", None)
    if not hasattr(backbone, "frozen_stages"):
        raise ValueError(
            f"frozen_stages is for a backbone that counts its stages, which {type(backbone).__name__} does not;"
            " leave it out, or take backbone_factor=0"
        )
    highest = max(backbone.levels)
    if not 0 <= frozen_stages <= highest:
        raise ValueError(
            f"frozen_stages counts the stem and the backbone's stages: 0 … {highest}, got {frozen_stages}"
        )
    backbone.frozen_stages = frozen_stages
    backbone.requires_grad_(True)  # where its own flavour had frozen more


def build_optimizer(model: nn.Module, settings: OptimSettings) -> optim.Optimizer:
    """AdamW or SGD over `parameter_groups`; rates are set step by step, by `set_rate`.

    >>> type(build_optimizer(nn.Linear(2, 2), OptimSettings(optimizer="sgd"))).__name__
    'SGD'
    """
    groups = parameter_groups(model, settings)
    if settings.optimizer == "sgd":
        return optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    return optim.AdamW(groups, lr=settings.learning_rate)


def rate_factor(step: int, total_steps: int, settings: OptimSettings) -> float:
    """What the peak rate is multiplied by at optimiser step `step` (from 0) of `total_steps`.

    >>> one_x = OptimSettings(schedule="multistep", milestones=(60000 / 90000, 80000 / 90000),
    ...                       warmup="constant", warmup_factor=1 / 3, warmup_steps=500)
    >>> [round(0.01 * rate_factor(n, 90000, one_x), 7) for n in (0, 499, 500, 60000, 80000)]
    [0.0033333, 0.0033333, 0.01, 0.001, 0.0001]
    """
    warmup_steps = min(settings.warmup_steps, total_steps)
    if settings.schedule == "multistep":
        passed = sum(step >= round(share * total_steps) for share in settings.milestones)
        factor = 0.1**passed
    else:
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        cosine = (1 + math.cos(math.pi * min(1.0, max(0.0, progress)))) / 2
        factor = settings.final_factor + (1 - settings.final_factor) * cosine
    if step >= warmup_steps:
        return factor
    if settings.warmup == "constant":
        return factor * settings.warmup_factor
    return factor * (settings.warmup_factor + (1 - settings.warmup_factor) * step / warmup_steps)


@torch.no_grad()
def clip_each_gradient(parameters: Sequence[nn.Parameter], limit: float) -> None:
    """Scale every tensor's gradient whose norm exceeds `limit` down to it, in place.

    >>> weight = nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_each_gradient([weight], 1.0)
    >>> weight.grad
    tensor([0.6000, 0.8000])
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients:
        norms = [_whole(norm) for norm in torch._foreach_norm(gradients)]
        pieces = [local_piece(gradient) for gradient in gradients]
        torch._foreach_mul_(pieces, [limit / norm.clamp(min=limit) for norm in norms])


def clip_gradients(model: nn.Module, settings: OptimSettings) -> torch.Tensor:
    """Cut the gradients as `clip_each` and `clip_norm` say, in place; returns the norm of all before the latter.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> layer.weight.grad = torch.tensor([[3.0, 4.0]])
    >>> clip_gradients(layer, OptimSettings(clip_norm=1.0))
    tensor(5.)
    """
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    if settings.clip_each:
        clip_each_gradient(parameters, settings.clip_each)
    return _whole(nn.utils.clip_grad_norm_(parameters, settings.clip_norm or torch.inf))


def set_rate(optimizer: optim.Optimizer, factor: float) -> float:
    """Set every group to factor · its peak; returns the first group's rate.

    >>> set_rate(build_optimizer(nn.Linear(2, 2), OptimSettings(learning_rate=0.1)), 0.5)
    0.05
    """
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return optimizer.param_groups[0]["lr"]


def _whole(norm: torch.Tensor) -> torch.Tensor:
    """Of gradients that are cut, over the pieces of all processes."""
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
