"""Non-maximum suppression: torchvision's operator with our names, conventions and empties."""

import sys
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def nms_survivors(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    groups: Int[Tensor, " n"],
    *,
    max_iou: float,
    inclusive: bool = False,
) -> Bool[Tensor, " n"]:
    """True for boxes that no better box of the same group overlaps by more than `max_iou`.

    Groups (classes, or classes × pictures) never suppress each other: each is looked at alone, or on an accelerator
    moved to a place of its own. `inclusive`: boxes are legacy ones, whose sides measure x2 − x1 + 1.

    >>> boxes = torch.tensor([[0., 0., 10., 9.], [0., 0., 10., 10.], [0., 0., 10., 10.]])
    >>> nms_survivors(boxes, torch.tensor([0.8, 0.9, 0.7]), torch.tensor([0, 0, 1]), max_iou=0.5)
    tensor([False,  True,  True])
    """
    if inclusive:  # the legacy IoU is the continuous IoU of boxes one pixel longer
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + 1], dim=1)
    if boxes.device.type == "cpu":
        return _group_by_group(boxes, scores, groups, max_iou)
    if boxes.device.type != "mps":
        # Far from the origin float32 is coarse: in group 600 of a 1000-pixel picture a box sits on a grid of
        # 1/8 pixel and some verdicts turn. Apple's GPUs offer nothing finer.
        boxes, scores = boxes.double(), scores.double()
    extent = (boxes.amax() - boxes.amin() + 1).detach() if boxes.shape[0] else boxes.new_ones(())
    apart = boxes + (groups.to(boxes.dtype) * extent)[:, None]
    kept = _nms(apart, scores, max_iou)
    return torch.zeros_like(scores, dtype=torch.bool).index_fill(0, kept, True)


def _nms(boxes: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    load_operators()
    return torch.ops.torchvision.nms(boxes, scores, max_iou)


@cache
def load_operators() -> None:
    """torchvision's operators, from its library alone: the package brings torch's compiler along, 140 MB of it.

    The package does the same when it is imported, before or after. Where its library is not found in its folder or
    cannot be opened, the package is imported.
    """
    if "torchvision" in sys.modules:
        return
    found = find_spec("torchvision")
    folders = found.submodule_search_locations if found else None
    for library in sorted(Path(folders[0]).glob("_C*.so")) if folders else ():
        try:
            torch.ops.load_library(library)
        except OSError:
            break
    if not hasattr(torch.ops.torchvision, "nms"):
        import torchvision  # noqa: F401


def _group_by_group(boxes: Tensor, scores: Tensor, groups: Tensor, max_iou: float) -> Tensor:
    """One processor compares pair by pair, so that groups apart cost a fraction of all together."""
    order = groups.argsort(stable=True)
    survivors = torch.zeros_like(scores, dtype=torch.bool)
    for rows in order.split(groups[order].unique_consecutive(return_counts=True)[1].tolist()):
        survivors[rows[_nms(boxes[rows], scores[rows], max_iou)]] = True
    return survivors


def soft_nms(
    boxes: Float[Tensor, "b n 4"],
    scores: Float[Tensor, "b n"],
    groups: Int[Tensor, "b n"],
    *,
    sigma: float = 0.5,
    max_count: int,
) -> tuple[Float[Tensor, "b max_count"], Int[Tensor, "b max_count"]]:
    """Scores and rows of the best boxes, each picked after the ones before it have cost their group
    exp(−IoU² / sigma) (Gaussian soft-NMS, Bodla 2017). TensorFlow's `soft_nms_sigma` is half of `sigma`.

    Scores only ever fall, so a floor can be applied afterwards. Where boxes run out, the score is negative.
    n is at least 1. Exports, as a graph of `max_count` rounds.

    >>> boxes = torch.tensor([[[0., 0., 10., 5.], [0., 0., 10., 10.]]])  # half of the better one
    >>> soft_nms(boxes, torch.tensor([[0.8, 0.9]]), torch.tensor([[0, 0]]), max_count=2)  # 0.8 · exp(−0.5)
    (tensor([[0.9000, 0.4852]]), tensor([[1, 0]]))
    """
    x1, y1, x2, y2 = (side.contiguous() for side in boxes.unbind(-1))
    areas = (x2 - x1) * (y2 - y1)
    best_scores, best_rows = [], []
    for _ in range(max_count):
        score, row = scores.max(dim=1, keepdim=True)
        best_scores.append(score)
        best_rows.append(row)
        width = torch.minimum(x2, x2.gather(1, row)) - torch.maximum(x1, x1.gather(1, row))
        height = torch.minimum(y2, y2.gather(1, row)) - torch.maximum(y1, y1.gather(1, row))
        inter = width.clamp(min=0) * height.clamp(min=0)
        union = areas + areas.gather(1, row) - inter
        iou = inter / union.clamp(min=torch.finfo(union.dtype).tiny)
        iou = iou * (groups == groups.gather(1, row))
        scores = (scores * torch.exp(iou.square() / -sigma)).scatter(1, row, -1.0)
    return torch.cat(best_scores, dim=1), torch.cat(best_rows, dim=1)


def batch_survivors(
    boxes: Tensor, scores: Tensor, labels: Tensor, num_classes: int, max_iou: float, inclusive: bool
) -> Tensor:
    """(B, n) bool: what survives within its picture and class; rows whose score is not positive never do.

    Takes boxes (B, n, 4), scores (B, n) and labels (B, n) below `num_classes`. It is one operator, so that
    exported graphs stay of fixed size and the ONNX export can put ONNX's own suppression in its place, which
    keeps pictures and classes apart by itself (`export.onnx`).

    >>> twins, scores = torch.tensor([[[0., 0., 9., 9.]] * 3]), torch.tensor([[0.8, 0.9, -1.0]])
    >>> batch_survivors(twins, scores, torch.tensor([[0, 0, 1]]), 2, 0.5, False)
    tensor([[False,  True, False]])
    """
    return torch.ops.pagoda.batch_survivors(boxes, scores, labels, num_classes, max_iou, inclusive)


def within_batch(
    survive: Callable[..., Tensor],
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    num_classes: int,
    max_iou: float,
    inclusive: bool,
) -> Tensor:
    """(B, n) bool: what of each picture's real rows, boxes or tubes, `survive` leaves of its class.

    >>> all_of_them = lambda boxes, scores, groups, **options: scores > 0
    >>> scores, labels = torch.tensor([[0.9, -1.0]]), torch.tensor([[0, 0]])
    >>> within_batch(all_of_them, torch.zeros(1, 2, 4), scores, labels, 1, 0.5, False)  # a row of no score is none
    tensor([[ True, False]])
    """
    pictures = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
    real = scores > 0
    survivors = torch.zeros_like(real)
    groups = (labels + pictures * num_classes)[real]
    survivors[real] = survive(boxes[real], scores[real], groups, max_iou=max_iou, inclusive=inclusive)
    return survivors


def define_survivors(name: str, survive: Callable[..., Tensor]) -> None:
    """Give torch the operator pagoda::`name`, which is `survive` within each picture or clip of a batch.

    `torch.library.custom_op` would bring torch's compiler along at the first call: seconds, for who only looks.
    """
    operator = f"pagoda::{name}"
    takes = "Tensor boxes, Tensor scores, Tensor labels, int num_classes, float max_iou, bool inclusive"
    torch.library.define(operator, f"({takes}) -> Tensor")
    torch.library.impl(operator, "default", partial(within_batch, survive))
    torch.library.register_fake(operator, _shape_of_survivors)


def _shape_of_survivors(boxes: Tensor, scores: Tensor, *others: object) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


define_survivors("batch_survivors", nms_survivors)
