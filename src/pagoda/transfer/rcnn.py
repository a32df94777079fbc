"""The heads of an R-CNN for other classes and keypoints: what has the same name keeps its weights."""

import math

import torch
from torch import Tensor, nn

from pagoda.detectors.contract import Detector
from pagoda.detectors.rcnn import RCNN
from pagoda.structures.skeleton import Skeleton

Rows = list[int | None]
"""for each new row the old one it comes from; None: it is new"""


def exchange_classes(model: RCNN, rows: Rows) -> None:
    """Give box and mask head the classes of `rows` (background not among them), in place.

    The background and whatever serves all classes stay. Fresh rows start as in a new head.
    """
    head = model.box_head
    _set_rows(head.classes, with_background(rows, head.background, head.num_classes), std=0.01)
    if not _is_agnostic(model):
        all_rows = with_background(rows, head.background, head.num_classes) if head.background_box else rows
        _set_rows(head.deltas, fourfold(all_rows), std=0.001)
    mask_head = model.mask_head
    if mask_head is not None and not mask_head.class_agnostic:
        all_rows = with_background(rows, "first", head.num_classes) if mask_head.background_mask else rows
        _set_rows(mask_head.predict, all_rows, std=0.001)
    head.num_classes = len(rows)


def _is_agnostic(model: RCNN) -> bool:
    """Whether one box serves all classes. Of a single class only its options tell."""
    head = model.box_head
    if head.num_classes > 1:
        return head.deltas.out_features == 4 * (1 + head.background_box)
    return bool((model.origin or {}).get("options", {}).get("class_agnostic"))


def with_background(rows: Rows, place: str, num_classes: int) -> Rows:
    """`rows` with the background's, "first" or "last" of `num_classes` + 1.

    >>> with_background([1, None], "first", 2), with_background([1, None], "last", 2)
    ([0, 2, None], [1, None, 2])
    """
    if place == "last":
        return [*rows, num_classes]
    return [0, *(None if row is None else row + 1 for row in rows)]


def fourfold(rows: Rows) -> Rows:
    """The rows of box deltas, four for each row of a class.

    >>> fourfold([1, None])
    [4, 5, 6, 7, None, None, None, None]
    """
    return [None if row is None else 4 * row + part for row in rows for part in range(4)]


def _set_rows(layer: nn.Module, rows: Rows, *, std: float) -> None:
    """Exchange the outputs of a linear layer or convolution, in place; fresh ones are N(0, std²), biases 0."""
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    weight = layer.weight.detach().transpose(0, axis)
    fresh = torch.empty_like(weight[:1]).expand(len(rows), *weight.shape[1:]).clone().normal_(std=std)
    layer.weight = parameter(chosen(fresh, weight, rows).transpose(0, axis), layer.weight)
    bias = layer.bias.detach()
    layer.bias = parameter(chosen(bias.new_zeros(len(rows)), bias, rows), layer.bias)
    setattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels", len(rows))


def chosen(new: Tensor, old: Tensor, rows: Rows) -> Tensor:
    """`new`, where a row that comes from somewhere is that row of `old`.

    >>> chosen(torch.zeros(3), torch.tensor([5.0, 6.0]), [1, None, 0])
    tensor([6., 0., 5.])
    """
    targets = [index for index, row in enumerate(rows) if row is not None]
    new[targets] = old[[row for row in rows if row is not None]]
    return new


def parameter(values: Tensor, like: nn.Parameter) -> nn.Parameter:
    """`values` as a parameter that learns where its predecessor did."""
    return nn.Parameter(values.contiguous(), requires_grad=like.requires_grad)


def keypoints_fit(model: Detector, skeleton: Skeleton | None, known: Skeleton | None) -> bool:
    """Whether the head's maps, called as in `known`, are the keypoints of `skeleton`, as far as names tell."""
    if "keypoints" not in model.learns or skeleton is None:
        return True
    if known is not None:
        return known.names == skeleton.names
    return model.keypoint_head.num_keypoints == len(skeleton)


def exchange_keypoints(model: RCNN, rows: Rows) -> None:
    """Give the keypoint head the maps of `rows`, in place. Fresh ones start as in a new head."""
    head = model.keypoint_head
    kernel = head.predict.weight[0, 0].numel()
    _set_rows(head.predict, rows, std=math.sqrt(2 / (head.predict.in_channels * kernel)))
    head.num_keypoints = len(rows)
    head.profile = head.profile[:1].expand(len(rows), -1, -1, -1).clone()
    if model.origin:
        model.origin["options"]["num_keypoints"] = len(rows)
