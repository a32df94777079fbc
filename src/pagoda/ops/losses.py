"""Losses per element, never reduced: the criteria sum and normalise."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, smooth_l1_loss, softplus

from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.boxes import paired_giou
from pagoda.plain import checked

IoULoss = Literal["iou", "linear_iou", "giou"]
CodedBoxLoss = Literal["smooth_l1", "giou"]


def sigmoid_focal_loss(
    logits: Float[Tensor, "*n"], targets: Float[Tensor, "*n"], *, alpha: float = 0.25, gamma: float = 2.0
) -> Float[Tensor, "*n"]:
    """−α_t (1 − p_t)^γ ln p_t for targets 0 and 1, finite for every logit (Lin 2017, equation 5).

    >>> sigmoid_focal_loss(torch.tensor([0.]), torch.tensor([1.]))
    tensor([0.0433])
    """
    # With z = ±logit (+ for positives): p_t = σ(z), so ln p_t = −softplus(−z) and 1 − p_t = σ(−z).
    signed = logits * (2 * targets - 1)
    weight = (1 - alpha) + (2 * alpha - 1) * targets  # alpha for 1, 1 − alpha for 0
    return weight * torch.sigmoid(-signed) ** gamma * softplus(-signed)


def smoothed_focal_loss(
    logits: Float[Tensor, "*n"],
    targets: Float[Tensor, "*n"],
    *,
    smoothing: float,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, "*n"]:
    """Focal loss whose cross-entropy aims at 1 − smoothing/2 and smoothing/2; its factor still at 1 and 0.

    The factor (1 − p_t)^γ is that of the plain target: with the smoothed one it would grow again beyond
    1 − smoothing/2 (EfficientDet's code).

    >>> logits, targets = torch.tensor([0., 9.]), torch.ones(2)
    >>> smoothed_focal_loss(logits, targets, smoothing=0.2, alpha=0.5, gamma=0.0)  # too sure costs more
    tensor([0.3466, 0.4501])
    """
    signed = logits * (2 * targets - 1)
    weight = (1 - alpha) + (2 * alpha - 1) * targets
    cross_entropy = softplus(-signed) + smoothing / 2 * signed
    return weight * torch.sigmoid(-signed) ** gamma * cross_entropy


def shifted_cross_entropy(
    logits: Float[Tensor, "*n"],
    targets: Float[Tensor, "*n"],
    *,
    gamma: float = 2.0,
    beta: float = 1.0,
    alpha: float | None = None,
) -> Float[Tensor, "*n"]:
    """FL*: −ln σ(γ·x_t + β) / γ with x_t = ±logit, optionally times α_t (Lin 2017, appendix A).

    >>> shifted_cross_entropy(torch.tensor([0.]), torch.tensor([1.]), gamma=1.0, beta=0.0)  # ln 2
    tensor([0.6931])
    """
    loss = -logsigmoid(gamma * logits * (2 * targets - 1) + beta) / gamma
    if alpha is None:
        return loss
    return loss * (alpha * targets + (1 - alpha) * (1 - targets))


@checked
def ltrb_iou_loss(
    predicted: Float[Tensor, "n 4"],
    target: Float[Tensor, "n 4"],
    *,
    kind: IoULoss = "giou",
    smoothing: float = 0.0,
    enclosing_eps: float = 1e-7,
) -> Float[Tensor, " n"]:
    """IoU loss of two boxes given as distances from one common point (UnitBox; GIoU).

    `kind`: "iou" is −ln IoU, "linear_iou" 1 − IoU, "giou" 1 − GIoU, whose enclosing area has `enclosing_eps` added.
    `smoothing` is added to intersection and union: FCOS's code has 1, which is a whole stride² once targets
    are divided by the stride, and leaves an all-zero prediction without gradient.

    >>> half, whole = torch.tensor([[1., 1., 0., 1.]]), torch.ones(1, 4)
    >>> ltrb_iou_loss(half, whole, kind="linear_iou"), ltrb_iou_loss(half, whole, kind="iou")
    (tensor([0.5000]), tensor([0.6931]))
    """
    inter_sides = torch.minimum(predicted, target)
    outer_sides = torch.maximum(predicted, target)
    inter = (inter_sides[:, 0] + inter_sides[:, 2]) * (inter_sides[:, 1] + inter_sides[:, 3])
    areas = [(box[:, 0] + box[:, 2]) * (box[:, 1] + box[:, 3]) for box in (predicted, target)]
    union = areas[0] + areas[1] - inter
    iou = (inter + smoothing) / (union + smoothing).clamp(min=1e-7)
    if kind == "iou":
        return -torch.log(iou.clamp(min=1e-7))
    if kind == "linear_iou":
        return 1 - iou
    enclosing = (outer_sides[:, 0] + outer_sides[:, 2]) * (outer_sides[:, 1] + outer_sides[:, 3])
    enclosing = enclosing + enclosing_eps
    return 1 - iou + (enclosing - union) / enclosing


@checked
def coded_box_loss(
    deltas: Float[Tensor, "n 4"],
    priors: Float[Tensor, "n 4"],
    boxes: Float[Tensor, "n 4"],
    coder: BoxCoder,
    *,
    kind: CodedBoxLoss = "smooth_l1",
    beta: float,
) -> Float[Tensor, "n 4"] | Float[Tensor, " n"]:
    """Loss of boxes said as deltas from their priors: smooth L1 of each delta, (n, 4), or 1 − GIoU of each box, (n,).

    `beta`: the deviation at which smooth L1 becomes linear.

    >>> prior, box = torch.tensor([[0., 0., 10., 10.]]), torch.tensor([[5., 0., 15., 10.]])
    >>> coded_box_loss(torch.zeros(1, 4), prior, box, BoxCoder(), beta=0.0)  # dx should be 0.5
    tensor([[0.5000, 0.0000, 0.0000, 0.0000]])
    >>> coded_box_loss(torch.zeros(1, 4), prior, box, BoxCoder(), kind="giou", beta=0.0)  # 1 − 5/15
    tensor([0.6667])
    """
    if kind == "giou":
        return 1 - paired_giou(coder.decode(deltas, priors), boxes)
    return smooth_l1_loss(deltas, coder.encode(boxes, priors), beta=beta, reduction="none")


def centerness(ltrb: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """√(min(l,r)/max(l,r) · min(t,b)/max(t,b)): 1 in the middle of a box, 0 on its sides (FCOS, equation 3).

    >>> centerness(torch.tensor([[1., 2., 3., 4.]]))
    tensor([0.4082])
    """
    left_right, top_bottom = ltrb[:, 0::2], ltrb[:, 1::2]
    ratio = left_right.amin(1) / left_right.amax(1) * (top_bottom.amin(1) / top_bottom.amax(1))
    return ratio.clamp(min=0).sqrt()
