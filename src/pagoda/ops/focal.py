"""The sum of the focal loss over a whole pyramid, in little memory. B images, P locations or anchors.

A pyramid has millions of logits. Written element by element, the loss passes over them some thirty times in
float32, each time through main memory; here value and slope are made together while a block is in the cache.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.nn.functional import softplus

from pagoda.ops.assign import IGNORED

BLOCK_LOGITS = 2**18
"""logits of one block: in float32 with its few intermediates about the size of a processor's cache"""


def focal_loss_sums(
    logits: Float[Tensor, "b p classes"],
    labels: Int[Tensor, "b p"],
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, " b"]:
    """`sigmoid_focal_loss` of every image, summed; at least float32, whatever the logits are.

    `labels` are a class, BACKGROUND, or IGNORED, which counts for nothing. The slope is kept in the logits'
    precision. A second derivative is refused.

    >>> focal_loss_sums(torch.zeros(1, 2, 3), torch.tensor([[2, -1]]))
    tensor([0.6931])
    """
    return _FocalLossSums.apply(logits, labels, alpha, gamma)


class _FocalLossSums(torch.autograd.Function):
    """`focal_loss_sums` with its slope, which is made on the way forward."""

    @staticmethod
    def forward(
        ctx: BackwardCFunction,
        logits: Float[Tensor, "b p classes"],
        labels: Int[Tensor, "b p"],
        alpha: float,
        gamma: float,
    ) -> Float[Tensor, " b"]:
        slopes = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        # Launching many small kernels costs an accelerator more than its memory does.
        rows = max(1, BLOCK_LOGITS // logits.shape[-1]) if logits.device.type == "cpu" else logits.shape[1]
        sums = []
        for image, image_labels in enumerate(labels):
            total = torch.zeros((), device=logits.device, dtype=_at_least_float32(logits.dtype))
            for start in range(0, len(image_labels), max(1, rows)):
                part = slice(start, start + rows)
                loss, slope = _focal_block(logits[image, part], image_labels[part], alpha, gamma)
                total += loss
                if slopes is not None:
                    slopes[image, part] = slope
            sums.append(total)
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return torch.stack(sums)

    @staticmethod
    def backward(ctx: BackwardCFunction, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "focal_loss_sums has a first derivative only, but backward was called with create_graph=True;"
                " sum sigmoid_focal_loss instead"
            )
        (slopes,) = ctx.saved_tensors
        return slopes * upstream[:, None, None].to(slopes.dtype), None, None, None


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision, else the type itself."""
    return torch.promote_types(dtype, torch.float32)


def _focal_block(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], alpha: float, gamma: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "n classes"]]:
    """Sum of the losses and their slopes.

    With z = logit, −logit where the class is meant: loss = α_t σ(z)^γ softplus(z), and its slope in z is
    α_t σ(z)^γ (γ (1 − σ(z)) softplus(z) + σ(z)).
    """
    z = logits.to(_at_least_float32(logits.dtype), copy=True)
    positive = (labels >= 0).nonzero().squeeze(1)
    meant = positive, labels[positive]
    z[meant] = -z[meant]
    z.masked_fill_((labels == IGNORED)[:, None], -torch.inf)  # where loss and slope are 0
    wrong, cost = torch.sigmoid(z), softplus(z)
    focus = wrong**gamma
    loss = focus * cost
    slope = (1 - wrong).mul_(cost).mul_(gamma).add_(wrong).mul_(focus)
    total = loss.sum() * (1 - alpha) + loss[meant].sum() * (2 * alpha - 1)
    slope_of_meant = slope[meant] * -alpha
    slope *= 1 - alpha
    slope[meant] = slope_of_meant
    return total, slope
