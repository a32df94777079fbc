"""Tubes: one box per frame (Girdhar 2018). N tubes, M the other set, R regions, B clips, T frames, C channels.

A tube has a box in every frame. Where an annotated object is absent, `visible` says so.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pagoda.ops.boxes import box_areas, pairwise_iou
from pagoda.ops.nms import define_survivors, nms_survivors
from pagoda.ops.roi import RoIPooling

# Tubes compared at a time by suppression: their overlaps with a thousand others stay in the cache.
BLOCK = 128


def replicate_anchors(anchors: Float[Tensor, "p 4"], num_frames: int) -> Float[Tensor, "p t 4"]:
    """Each anchor as a tube that stands still; a view, no copy.

    >>> replicate_anchors(torch.tensor([[1., 2., 3., 4.]]), 2).flatten(1)
    tensor([[1., 2., 3., 4., 1., 2., 3., 4.]])
    """
    return anchors[:, None].expand(-1, num_frames, -1)


def tube_iou(
    a: Float[Tensor, "n t 4"],
    b: Float[Tensor, "m t 4"],
    *,
    inclusive: bool = False,
    visible: Bool[Tensor, "m t"] | None = None,
) -> Float[Tensor, "n m"]:
    """Mean over the frames of the IoU of every tube of `a` with every tube of `b`.

    `visible`: the frames of each tube of `b` that the mean is taken over, 0 if there are none; None: all frames.
    `inclusive` measures boxes by the legacy rule, sides + 1.

    >>> still = torch.tensor([[[0., 0., 8., 8.], [0., 0., 8., 8.]]])
    >>> leaving = torch.tensor([[[0., 0., 8., 8.], [9., 9., 17., 17.]]])
    >>> tube_iou(still, leaving), tube_iou(still, leaving, visible=torch.tensor([[True, False]]))
    (tensor([[0.5000]]), tensor([[1.]]))
    """
    total = a.new_zeros(a.shape[0], b.shape[0])
    for frame in range(a.shape[1]):
        iou = pairwise_iou(a[:, frame], b[:, frame], inclusive=inclusive)
        total += iou if visible is None else iou * visible[:, frame]
    return total / (a.shape[1] if visible is None else visible.sum(1).clamp(min=1))


def fill_absent(boxes: Float[Tensor, "n t 4"], visible: Bool[Tensor, "n t"]) -> Float[Tensor, "n t 4"]:
    """Tubes with the box of the nearest visible frame, of two the earlier, where they are not visible.

    A tube that is nowhere visible keeps the box of its first frame.

    >>> boxes = torch.tensor([[[1., 1., 2., 2.], [0., 0., 0., 0.], [5., 5., 6., 6.]]])
    >>> fill_absent(boxes, torch.tensor([[True, False, True]]))[0, 1]
    tensor([1., 1., 2., 2.])
    """
    frame = torch.arange(boxes.shape[1], device=boxes.device)
    distance = (frame[:, None] - frame).abs().to(boxes.dtype)  # (T, T)
    nearest = distance.masked_fill(~visible[:, None], torch.inf).argmin(-1)  # (N, T)
    return boxes.gather(1, nearest[..., None].expand(-1, -1, 4))


def pool_tubes(
    pooling: RoIPooling,
    pyramid: Mapping[int, Tensor],
    strides: Mapping[int, float],
    tubes: Float[Tensor, "r t 4"],
    clips: Int[Tensor, " r"],
) -> Float[Tensor, "r t c out_h out_w"]:
    """Features of each tube's box in each frame, from (B, C, T, H, W) maps of the clip that `clips` names.

    All boxes of a tube are read from one level, that of their mean area. Raises ValueError where tubes have another
    number of frames than the features.

    >>> features = torch.tensor([3., 7.]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 4, 4)  # 3 and 7 all over a frame
    >>> tube = torch.tensor([[[0., 0., 8., 8.], [4., 4., 12., 12.]]])
    >>> pool_tubes(RoIPooling(resolution=1), {2: features}, {2: 4.0}, tube, torch.tensor([0])).flatten()
    tensor([3., 7.])
    """
    num_frames = tubes.shape[1]
    wrong = {level: x.shape[2] for level, x in pyramid.items() if x.shape[2] != num_frames}
    if wrong:
        raise ValueError(
            f"tubes of {num_frames} frames need features of as many, got {wrong} (level: frames); a backbone that"
            " strides over time shortens clips, so shorten the tubes too"
        )
    maps = {level: x.transpose(1, 2).flatten(0, 1) for level, x in pyramid.items()}  # (B · T, C, H, W)
    frames = clips[:, None] * num_frames + torch.arange(num_frames, device=clips.device)
    areas = box_areas(tubes, inclusive=pooling.inclusive).mean(1)
    levels = pooling.levels_of_areas(areas, min(pyramid), max(pyramid)).repeat_interleave(num_frames)
    pooled = pooling(maps, strides, tubes.flatten(0, 1), frames.flatten(), levels)
    return pooled.unflatten(0, (tubes.shape[0], num_frames))


def tube_survivors(
    tubes: Float[Tensor, "n t 4"],
    scores: Float[Tensor, " n"],
    groups: Int[Tensor, " n"],
    *,
    max_iou: float,
    inclusive: bool = False,
) -> Bool[Tensor, " n"]:
    """True for tubes that no better tube of the same group overlaps by more than `max_iou`, see `tube_iou`.

    Of tubes with equal scores the first is the better. Tubes of one frame are boxes: see `nms_survivors`.

    >>> still = torch.tensor([[0., 0., 8., 8.], [0., 0., 8., 8.]])
    >>> leaving = torch.tensor([[0., 0., 8., 8.], [9., 9., 17., 17.]])  # overlaps by 1/2 in the mean
    >>> tubes, scores, one_class = torch.stack([still, leaving]), torch.tensor([0.9, 0.8]), torch.tensor([0, 0])
    >>> tube_survivors(tubes, scores, one_class, max_iou=0.5), tube_survivors(tubes, scores, one_class, max_iou=0.4)
    (tensor([True, True]), tensor([ True, False]))
    """
    if tubes.shape[1] == 1:
        return nms_survivors(tubes[:, 0], scores, groups, max_iou=max_iou, inclusive=inclusive)
    if tubes.device.type != "mps":  # as for boxes: no verdict shall hang on the last bits
        tubes = tubes.double()
    survivors = torch.zeros_like(scores, dtype=torch.bool)
    order = scores.argsort(descending=True, stable=True)
    for group in groups.unique():
        rows = order[groups[order] == group]
        while len(rows):
            # Better blocks are done with, so what is left of this one depends on itself alone.
            block, rows = rows[:BLOCK], rows[BLOCK:]
            overlaps = tube_iou(tubes[block], tubes[block], inclusive=inclusive) > max_iou
            block = block[_undefeated(overlaps.triu(1))]
            survivors[block] = True
            if len(rows):
                overlaps = tube_iou(tubes[block], tubes[rows], inclusive=inclusive) > max_iou
                rows = rows[~overlaps.any(0)]
    return survivors


def _undefeated(beats: Bool[Tensor, "n n"]) -> Bool[Tensor, " n"]:
    """Rows that none of their betters beats which is itself undefeated; `beats` is above the diagonal alone.

    Row i is right after round i at the latest, in truth after as many rounds as the longest chain of defeats.
    """
    standing = torch.ones(beats.shape[0], dtype=torch.bool, device=beats.device)
    while True:
        still = ~(beats & standing[:, None]).any(0)
        if torch.equal(still, standing):
            return still
        standing = still


def batch_tube_survivors(
    tubes: Tensor, scores: Tensor, labels: Tensor, num_classes: int, max_iou: float, inclusive: bool
) -> Tensor:
    """(B, n) bool: what survives within its clip and class; rows whose score is not positive never do.

    Takes tubes (B, n, T, 4), scores (B, n) and labels (B, n) below `num_classes`. It is one operator, so that
    exported graphs stay of fixed size; compare `ops.nms.batch_survivors`.

    >>> twins, scores = torch.tensor([0., 0., 9., 9.]).expand(1, 3, 2, 4), torch.tensor([[0.8, 0.9, -1.0]])
    >>> batch_tube_survivors(twins, scores, torch.tensor([[0, 0, 1]]), 2, 0.5, False)
    tensor([[False,  True, False]])
    """
    return torch.ops.pagoda.batch_tube_survivors(tubes, scores, labels, num_classes, max_iou, inclusive)


define_survivors("batch_tube_survivors", tube_survivors)
