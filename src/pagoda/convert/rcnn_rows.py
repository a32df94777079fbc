"""Predictions of an R-CNN in another program's order: its anchors, and where its background stands."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pagoda.ops.anchors import AnchorShapes
from pagoda.ops.box_coding import BoxCoder
from pagoda.zoo.flavours.rcnn import RCNNFlavour

REFERENCE_STRIDE = 32  # large enough that the rounding of sizes does not matter
KINDS = ("weight", "bias")


def rcnn_rows(
    state: Mapping[str, Tensor], ours: RCNNFlavour, theirs: RCNNFlavour, *, pyramid: bool
) -> dict[str, Tensor]:
    """The tensors whose rows have another order there, under our names.

    Rows that only the other program has, boxes and masks of the background, are zeros: nobody reads them.
    """
    order = anchor_order(ours.anchors(pyramid=pyramid), theirs.anchors(pyramid=pyramid))
    found = {}
    for kind in KINDS:
        found[f"rpn_head.objectness.{kind}"] = state[f"rpn_head.objectness.{kind}"][order]
        name = f"rpn_head.deltas.{kind}"
        deltas = state[name].unflatten(0, (-1, 4))[order]
        found[name] = reweighted(deltas, ours.rpn_coder, theirs.rpn_coder).flatten(0, 1)
        name = f"box_head.classes.{kind}"
        found[name] = _moved_background(state[name], ours.background, theirs.background)
        name = f"box_head.deltas.{kind}"
        deltas = reweighted(state[name].unflatten(0, (-1, 4)), ours.box_coder, theirs.box_coder)
        found[name] = _other_background(
            deltas, ours.background_box, theirs.background_box, ours.background, theirs.background
        ).flatten(0, 1)
        name = f"mask_head.predict.{kind}"
        if name in state:  # whose background is always first
            found[name] = _other_background(state[name], ours.background_box, theirs.background_box)
    return found


def _moved_background(rows: Tensor, here: str, there: str) -> Tensor:
    """(classes + 1, …) with the background's row "first" or "last"."""
    if here == there:
        return rows
    return torch.cat([rows[1:], rows[:1]] if here == "first" else [rows[-1:], rows[:-1]])


def _other_background(
    rows: Tensor, has: bool, wants: bool, here: str = "first", there: str = "first"
) -> Tensor:
    """(n, …) with the unread row of the background moved, left out, or added as zeros."""
    if has and wants:
        return _moved_background(rows, here, there)
    if has:
        return rows[1:] if here == "first" else rows[:-1]
    if not wants:
        return rows
    nothing = torch.zeros_like(rows[:1])
    return torch.cat([nothing, rows] if there == "first" else [rows, nothing])


def reweighted(deltas: Tensor, ours: BoxCoder, theirs: BoxCoder) -> Tensor:
    """(n, 4, …) deltas that mean the same boxes under the other weights.

    >>> reweighted(torch.ones(1, 4), BoxCoder(), BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)))
    tensor([[10., 10.,  5.,  5.]])
    """
    weights = [there / here for here, there in zip(ours.weights, theirs.weights, strict=True)]
    if all(weight == 1 for weight in weights):
        return deltas
    return deltas * deltas.new_tensor(weights).reshape(1, 4, *[1] * (deltas.ndim - 2))


def anchor_order(ours: AnchorShapes, theirs: AnchorShapes) -> Sequence[int]:
    """For each of their anchors the one of ours with the nearest sides. Raises ValueError where they do not pair.

    >>> anchor_order(AnchorShapes(style="maskrcnn_benchmark"), AnchorShapes(style="detectron2"))
    [0, 3, 6, 1, 4, 7, 2, 5, 8]
    """
    sides = [
        torch.log(boxes[:, 2:] - boxes[:, :2])
        for boxes in (a.of_cell(REFERENCE_STRIDE) for a in (theirs, ours))
    ]
    order = (sides[0][:, None] - sides[1][None]).abs().sum(-1).argmin(1).tolist()
    if sorted(order) != list(range(len(sides[1]))):
        raise ValueError(
            "the other program's anchors have other shapes, so predictions for ours mean nothing there"
        )
    return order
