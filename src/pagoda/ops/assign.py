"""Which object each location or anchor is to learn, and which take part. P locations, N objects of one picture."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pagoda.ops.boxes import box_areas, pairwise_iou
from pagoda.plain import checked

BACKGROUND = -1
IGNORED = -2
LowQuality = Literal["all", "above_low", "claim", "claim_above_low", "none"]


def sample_rows(
    candidates: Bool[Tensor, "b p"],
    counts: Int[Tensor, " b"],
    *,
    most: int,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, "b p"]:
    """A random `counts[i]` of each row's candidates, all of them where there are fewer; `most` bounds `counts`.

    Random numbers are drawn on the CPU, so a seed of `generator` gives the same choice on every device.

    >>> candidates = torch.tensor([[True, True, True, False], [True, False, False, False]])
    >>> sample_rows(candidates, torch.tensor([2, 2]), most=2).sum(1)
    tensor([2, 1])
    """
    keys = torch.rand(candidates.shape, generator=generator).to(candidates.device)
    keys = keys.masked_fill(~candidates, -1.0)
    best, rows = keys.topk(min(most, keys.shape[1]), dim=1)
    place = torch.arange(best.shape[1], device=keys.device)
    chosen = (best >= 0) & (place < counts[:, None])
    return torch.zeros_like(candidates).scatter(1, rows, chosen)


def sample_balanced(
    positive: Bool[Tensor, "b p"],
    negative: Bool[Tensor, "b p"],
    *,
    count: int | None,
    positive_share: float,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, "b p"]:
    """`count` of each picture's positives and negatives, positives at most their share; None: all.

    Where positives are few, negatives fill up; where negatives are few, the sample stays smaller.

    >>> positive = torch.arange(100)[None] < 1
    >>> chosen = sample_balanced(positive, ~positive, count=10, positive_share=0.5)
    >>> (chosen & positive).sum(), (chosen & ~positive).sum()
    (tensor(1), tensor(9))
    """
    if count is None:
        return positive | negative
    limit = int(count * positive_share)
    num_positive = positive.sum(1).clamp(max=limit)
    return sample_rows(positive, num_positive, most=limit, generator=generator) | sample_rows(
        negative, count - num_positive, most=count, generator=generator
    )


def assign_by_center(
    points: Float[Tensor, "p 2"],
    strides: Float[Tensor, " p"],
    ranges: Float[Tensor, "p 2"],
    boxes: Float[Tensor, "n 4"],
    *,
    radius: float | None = 1.5,
    closed_ranges: bool = False,
    inclusive: bool = False,
) -> Int[Tensor, " p"]:
    """Index of the object each location serves, or BACKGROUND (FCOS, Tian 2019, section 3).

    A location serves a box it lies strictly inside, no further than `radius` strides from its centre along
    either axis (None: anywhere inside), whose largest side distance falls in the location's `ranges` row
    (low, high). Of several boxes the smallest wins, then the first.

    Args:
        closed_ranges: low ≤ distance ≤ high as in the original code; otherwise low < distance < high.
        inclusive: areas are compared by the legacy rule (sides + 1).

    >>> points = torch.tensor([[5., 5.], [9., 9.], [30., 5.]])
    >>> boxes = torch.tensor([[0., 0., 20., 20.], [0., 0., 10., 10.]])
    >>> everywhere = torch.tensor([0., 99.]).expand(3, 2)
    >>> assign_by_center(points, torch.full((3,), 8.), everywhere, boxes, radius=0.5)  # 4 pixels
    tensor([ 1,  0, -1])
    """
    if len(boxes) == 0:
        return torch.full((len(points),), BACKGROUND, device=points.device)
    x, y = points[:, 0, None], points[:, 1, None]  # (P, 1), against (N,) columns of the boxes
    x1, y1, x2, y2 = boxes.unbind(1)
    left, top, right, bottom = x - x1, y - y1, x2 - x, y2 - y
    serves = torch.minimum(torch.minimum(left, right), torch.minimum(top, bottom)) > 0
    if radius is not None:
        distance = torch.maximum((x - (x1 + x2) / 2).abs(), (y - (y1 + y2) / 2).abs())
        serves &= distance < radius * strides[:, None]
    furthest = torch.maximum(torch.maximum(left, right), torch.maximum(top, bottom))
    low, high = ranges[:, 0, None], ranges[:, 1, None]
    if closed_ranges:
        serves &= (furthest >= low) & (furthest <= high)
    else:
        serves &= (furthest > low) & (furthest < high)
    areas = box_areas(boxes, inclusive=inclusive)[None].expand_as(furthest)
    smallest, index = areas.masked_fill(~serves, torch.inf).min(dim=1)
    return index.masked_fill(torch.isinf(smallest), BACKGROUND)


@checked
def assign_by_iou(
    anchors: Float[Tensor, "p 4"],
    boxes: Float[Tensor, "n 4"],
    *,
    background_iou: float = 0.4,
    foreground_iou: float = 0.5,
    match_low_quality: LowQuality = "all",
    inclusive: bool = False,
) -> Int[Tensor, " p"]:
    """Index of the object of highest IoU for each anchor; BACKGROUND below `background_iou`, IGNORED from there to
    `foreground_iou`.

    `match_low_quality` gives anchors that are some object's best (ties included) back to their own best object:
    "all" whatever the IoU (Faster R-CNN, maskrcnn-benchmark, detectron2, torchvision), "above_low" only if
    it is at least `background_iou` (Caffe2 Detectron), "claim" gives them to the object whose best they are, the last
    one if several, overlap or not (mmdet's RetinaNet), "claim_above_low" the same for objects whose best is at
    least `background_iou` (mmdet's Faster R-CNN), "none" never (Lin 2017 as first described).

    >>> anchors = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 20.], [50., 50., 60., 60.]])
    >>> assign_by_iou(anchors, torch.tensor([[0., 0., 10., 9.]]))  # overlaps 0.9, 0.45 and 0
    tensor([ 0, -2, -1])
    """
    iou = pairwise_iou(anchors, boxes, inclusive=inclusive)
    return assign_by_overlap(
        iou, background_iou=background_iou, foreground_iou=foreground_iou, match_low_quality=match_low_quality
    )


@checked
def assign_by_overlap(
    iou: Float[Tensor, "p n"],
    *,
    background_iou: float = 0.4,
    foreground_iou: float = 0.5,
    match_low_quality: LowQuality = "all",
) -> Int[Tensor, " p"]:
    """`assign_by_iou` where the overlaps are known already, of boxes, tubes or anything else.

    >>> iou = torch.tensor([[0.2], [0.3]])  # no anchor is good, but the second is the object's best
    >>> assign_by_overlap(iou), assign_by_overlap(iou, match_low_quality="above_low")
    (tensor([-1,  0]), tensor([-1, -1]))
    """
    if iou.numel() == 0:
        return torch.full((len(iou),), BACKGROUND, device=iou.device)
    best_iou, best = iou.max(dim=1)
    index = best.masked_fill(best_iou < foreground_iou, IGNORED).masked_fill(
        best_iou < background_iou, BACKGROUND
    )
    if match_low_quality == "none":
        return index
    best_of_object = iou.amax(dim=0, keepdim=True)
    if match_low_quality in ("claim", "claim_above_low"):
        claimed = iou == best_of_object
        if match_low_quality == "claim_above_low":
            claimed &= best_of_object >= background_iou
        claims = torch.where(claimed, torch.arange(iou.shape[1], device=iou.device), -1).amax(1)
        return torch.where(claims >= 0, claims, index)
    # An object that overlaps no anchor would otherwise claim every anchor: all tie with it at 0.
    restored = ((iou == best_of_object) & (best_of_object > 0)).any(dim=1)
    if match_low_quality == "above_low":
        restored &= best_iou >= background_iou
    return torch.where(restored, best, index)


def assign_claim_best(
    anchors: Float[Tensor, "p 4"],
    boxes: Float[Tensor, "n 4"],
    *,
    min_iou: float = 0.5,
    inclusive: bool = False,
) -> Int[Tensor, " p"]:
    """Index of the object of highest IoU for each anchor, BACKGROUND below `min_iou`; nothing is ignored.

    Then every object claims the one anchor it overlaps most, whatever the IoU (TensorFlow's ArgMaxMatcher,
    EfficientDet): of equal anchors the first, of several objects that want one the first. An object that
    overlaps no anchor claims none, where TensorFlow gives it anchor 0.

    >>> anchors = torch.tensor([[0., 0., 10., 10.], [50., 50., 60., 60.]])
    >>> assign_claim_best(anchors, torch.tensor([[0., 0., 10., 40.]]))  # an overlap of 0.25 is its best
    tensor([ 0, -1])
    """
    if len(boxes) == 0 or len(anchors) == 0:
        return torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    iou = pairwise_iou(anchors, boxes, inclusive=inclusive)
    best_iou, best = iou.max(dim=1)
    index = best.masked_fill(best_iou < min_iou, BACKGROUND)
    overlap, anchor = iou.max(dim=0)
    objects = torch.arange(len(boxes), device=iou.device)
    nobody = len(boxes)
    claims = torch.full_like(index, nobody).scatter_reduce(
        0, anchor, objects.masked_fill(overlap <= 0, nobody), "amin"
    )
    return torch.where(claims < nobody, claims, index)


def assign_overwrite(
    iou: Float[Tensor, "p n"],
    *,
    min_iou: float = 0.5,
) -> Int[Tensor, " p"]:
    """Index of the object of highest IoU for each default box, BACKGROUND below `min_iou`, given the overlaps.

    Then every object overwrites the one default box it overlaps most, whatever the IoU: of equal boxes the first, of
    several objects that want one the last, so that an earlier one may end with nothing (ssd.pytorch, lufficc,
    torchvision's SSD, mmdetection's with `gt_max_assign_all=False`).

    >>> assign_overwrite(torch.tensor([[0.78, 0.67], [0.0, 0.08]]))  # both want the first, and the second gets it
    tensor([ 1, -1])
    """
    if iou.numel() == 0:
        return torch.full((len(iou),), BACKGROUND, device=iou.device)
    best_iou, best = iou.max(dim=1)
    index = best.masked_fill(best_iou < min_iou, BACKGROUND)
    objects = torch.arange(iou.shape[1], device=iou.device)
    claims = torch.full_like(index, BACKGROUND).scatter_reduce(0, iou.argmax(dim=0), objects, "amax")
    return torch.where(claims >= 0, claims, index)


def assign_bipartite(
    iou: Float[Tensor, "p n"],
    *,
    min_iou: float = 0.5,
    least_iou: float = 1e-6,
) -> Int[Tensor, " p"]:
    """As `assign_overwrite`, but each object has a default box of its own first (Liu 2016, section 2.2; Caffe).

    Again and again the pair of highest IoU among boxes and objects not yet taken is matched, until every object that
    overlaps a free box by more than `least_iou` has one. Every other box takes its best object if their IoU is at
    least `min_iou`.

    >>> assign_bipartite(torch.tensor([[0.78, 0.67], [0.0, 0.08]]))
    tensor([0, 1])
    """
    if iou.numel() == 0:
        return torch.full((len(iou),), BACKGROUND, device=iou.device)
    best_iou, best = iou.max(dim=1)
    index = best.masked_fill(best_iou < min_iou, BACKGROUND)
    free = iou.clone()
    for _ in range(min(iou.shape)):
        # Round by round without asking what came out, which an accelerator would have to be waited for.
        highest = free.argmax()
        box, object_ = highest // iou.shape[1], highest % iou.shape[1]
        is_matched = free[box, object_] > least_iou
        index[box] = torch.where(is_matched, object_, index[box])
        free[box] = torch.where(is_matched, -1.0, free[box])
        free[:, object_] = torch.where(is_matched, -1.0, free[:, object_])
    return index
