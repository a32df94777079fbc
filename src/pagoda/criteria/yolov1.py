"""YOLOv1's loss: squared errors of every cell's classes, confidences and one box (Redmon 2016, arXiv 1506.02640).

B images, N cells, K boxes a cell, M objects of an image. Widths and heights are shares of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pagoda.criteria.normalize import num_sharing, number_over_processes
from pagoda.ops.cells import SMALLEST, CellCoder, CellOutputs, cells_of, center_iou, claim_cells
from pagoda.plain import check_numbers, checked
from pagoda.structures.instances import Targets

Claim = Literal["shuffled", "first", "smallest"]


class CellTargets(NamedTuple):
    """What the cells of one picture, or of a batch, are to learn.

    >>> box = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    >>> target = Targets(box, torch.tensor([1]), (100, 100), torch.zeros(1, dtype=torch.bool))
    >>> learnt = YOLOv1Criterion().targets(target, (2, 2), (100, 100), 3)
    >>> learnt.has_object, learnt.classes[0], learnt.boxes[0]
    (tensor([ True, False, False, False]), tensor([0., 1., 0.]), tensor([0.4000, 0.8000, 0.2000, 0.4000]))
    """

    has_object: Tensor
    """(…, N) bool"""
    classes: Tensor
    """(…, N, C): 1 for the object's"""
    boxes: Tensor
    """(…, N, 4): centre x, y in cells from the cell's corner; width and height as shares of the picture"""


class Errors(NamedTuple):
    """Target − output of everything a network said, 0 where nothing is asked, each weighed once.

    Darknet's `delta`; minus the gradient of the loss, but for its factor and the number of pictures.

    >>> Errors(torch.ones(1, 2), torch.zeros(1, 1), torch.zeros(1, 1, 4)).cost()
    tensor(2.)
    """

    classes: Tensor
    """(…, N, C)"""
    confidences: Tensor
    """(…, N, K)"""
    boxes: Tensor
    """(…, N, K, 4)"""

    def cost(self) -> Float[Tensor, ""]:
        """What darknet prints of a picture: the sum of squares, in which each weight counts twice."""
        return sum((part.square().sum() for part in self), torch.zeros(()))


@checked
@dataclass(frozen=True, kw_only=True)
class YOLOv1Criterion:
    """Σ weight · error², divided by the pictures, with a factor before it.

    A cell that holds an object's centre learns its class, and of its boxes the one that overlaps it most learns its
    place and, as confidence, the overlap; all other confidences learn 0. A cell serves one object: `claim` says which.

    >>> criterion = YOLOv1Criterion()
    >>> cells = CellOutputs(torch.ones(1, 4, 3), torch.ones(1, 4, 2), torch.ones(1, 4, 2, 4))
    >>> losses = criterion(cells, [], (2, 2), (64, 64), coder=CellCoder())  # of no picture
    >>> list(losses)
    ['loss_class', 'loss_confidence', 'loss_box']
    """

    object_scale: float = 1.0
    """weight of the responsible boxes' confidences"""
    noobject_scale: float = 0.5
    """weight of all other confidences"""
    class_scale: float = 1.0
    """weight of classes"""
    coord_scale: float = 5.0
    """weight of centres and sides"""
    rescore: bool = True
    """a responsible box's confidence learns its overlap with the object, else 1"""
    claim: Claim = "smallest"
    """which of several objects in a cell it serves: one drawn anew at each step (darknet), the first, the smallest"""
    min_share: float = SMALLEST
    """objects narrower or lower than this share of the picture are left out"""
    factor: float = 0.5
    """of the sum: ½ in darknet, whose gradient is weight · error; 1 as the paper writes it"""

    def __post_init__(self) -> None:
        check_numbers(self, 0, 1e6, "object_scale", "noobject_scale", "class_scale", "coord_scale", "factor")
        check_numbers(self, 0, 1, "min_share")

    def __call__(
        self,
        cells: CellOutputs,
        targets: Sequence[Targets],
        grid: tuple[int, int],
        size: tuple[int, int],
        *,
        coder: CellCoder,
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_class", "loss_confidence", "loss_box": scalar}.

        `cells` are raw outputs, of `grid` (rows, columns) over batches of (height, width) `size`.
        """
        num_classes = cells.classes.shape[-1]
        learnt = [self.targets(each, grid, size, num_classes, shuffle=True) for each in targets]
        told = coder.read(cells, straight=True)
        if not learnt:
            return {name: cells.classes.sum() * 0 for name in ("loss_class", "loss_confidence", "loss_box")}
        table = CellTargets(*(torch.stack(part) for part in zip(*learnt, strict=True)))
        errors, weights = self.weighed(told, table, grid, coder)
        factor = self.factor * num_sharing() / number_over_processes(len(targets), cells.classes)
        sums = [
            factor * (weight * error.square()).sum() for weight, error in zip(weights, errors, strict=True)
        ]
        return dict(zip(("loss_class", "loss_confidence", "loss_box"), sums, strict=True))

    def deltas(
        self, cells: CellOutputs, targets: CellTargets, grid: tuple[int, int], coder: CellCoder
    ) -> Errors:
        """What darknet calls delta: weight · (target − output)."""
        errors, weights = self.weighed(coder.read(cells), targets, grid, coder)
        return Errors(*(weight * error for weight, error in zip(weights, errors, strict=True)))

    def weighed(
        self, told: CellOutputs, targets: CellTargets, grid: tuple[int, int], coder: CellCoder
    ) -> tuple[Errors, tuple[Tensor, Tensor, Tensor]]:
        """(target − output of all, their weights), of outputs that `coder` has read."""
        chosen, iou = self.responsible(told, targets, grid, coder)  # (…, N, K)
        confidence = iou if self.rescore else torch.ones_like(iou)
        confidence = torch.where(chosen, confidence, torch.zeros_like(confidence))
        place, sides = targets.boxes.split(2, dim=-1)
        aim = torch.cat([place, sides.sqrt() if coder.roots else sides], dim=-1)[..., None, :]
        errors = Errors(targets.classes - told.classes, confidence - told.confidences, aim - told.boxes)
        of_confidence = torch.where(chosen, self.object_scale, self.noobject_scale)
        weights = (
            self.class_scale * targets.has_object[..., None].float(),
            of_confidence,
            self.coord_scale * chosen[..., None].float(),
        )
        return errors, weights

    @torch.no_grad()
    def responsible(
        self, told: CellOutputs, targets: CellTargets, grid: tuple[int, int], coder: CellCoder
    ) -> tuple[Bool[Tensor, "*n k"], Float[Tensor, "*n k"]]:
        """(bool: the box that learns the cell's object, overlap of each box with it).

        It is the box with the largest overlap; where none overlaps, the one whose four numbers are nearest.
        """
        steps = told.boxes.new_tensor([1 / grid[1], 1 / grid[0]])
        boxes = torch.cat([told.boxes[..., :2] * steps, coder.sides(told.boxes[..., 2:])], dim=-1)
        truth = torch.cat([targets.boxes[..., :2] * steps, targets.boxes[..., 2:]], dim=-1)[..., None, :]
        iou = center_iou(boxes, truth.expand_as(boxes))
        away = (boxes - truth).square().sum(-1)
        best = torch.where((iou > 0).any(-1), iou.argmax(-1), away.argmin(-1))
        chosen = torch.arange(iou.shape[-1], device=iou.device) == best[..., None]
        return chosen & targets.has_object[..., None], iou

    def targets(
        self,
        target: Targets,
        grid: tuple[int, int],
        size: tuple[int, int],
        num_classes: int,
        *,
        shuffle: bool = False,
    ) -> CellTargets:
        """What each cell of `grid` over a picture of (height, width) is to learn; `shuffle`, where `claim` says so,
        draws from PyTorch's own generator."""
        scale = target.boxes.new_tensor([size[1], size[0]])
        centers = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
        sides = (target.boxes[:, 2:] - target.boxes[:, :2]) / scale
        owner = self._owners(centers, sides, grid, size, shuffle=shuffle)
        has_object, own = owner >= 0, owner.clamp(min=0)
        if not len(target):
            empty = target.boxes.new_zeros(len(owner), 4)
            return CellTargets(has_object, target.boxes.new_zeros(len(owner), num_classes), empty)
        place = (centers / scale * scale.new_tensor([grid[1], grid[0]]))[own]
        boxes = torch.cat([place - place.floor(), sides[own]], dim=-1) * has_object[:, None]
        hits = torch.arange(num_classes, device=owner.device) == target.labels[own][:, None]
        return CellTargets(has_object, (hits & has_object[:, None]).float(), boxes)

    def assign(
        self,
        points: Sequence[Float[Tensor, "_ 2"]],
        levels: Sequence[int],
        boxes: Float[Tensor, "m 4"],
        strides: object = None,
    ) -> Int[Tensor, " p"]:
        """(P,) the object that each location, the corner of a cell, is to learn, −1 for none.

        All boxes of a cell have its object, though one of them will learn it. Cells shuffled for have their first.
        """
        (corners,) = points
        grid, size = told_grid(corners)
        scale = boxes.new_tensor([size[1], size[0]])
        centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / scale
        owner = self._owners(centers, sides, grid, size)
        return owner.repeat_interleave(len(corners) // len(owner))

    def _owners(
        self,
        centers: Float[Tensor, "m 2"],
        sides: Float[Tensor, "m 2"],
        grid: tuple[int, int],
        size: tuple[float, float],
        *,
        shuffle: bool = False,
    ) -> Int[Tensor, " cells"]:
        cells = cells_of(centers, grid, size).masked_fill((sides < self.min_share).any(-1), -1)
        order = torch.arange(len(cells))
        if self.claim == "shuffled" and shuffle:
            order = torch.randperm(len(cells))
        elif self.claim == "smallest":
            order = sides.prod(-1).argsort(stable=True)
        return claim_cells(cells, order, grid[0] * grid[1])


def told_grid(corners: Float[Tensor, "p 2"]) -> tuple[tuple[int, int], tuple[float, float]]:
    """((rows, columns), (height, width) in pixels) of the grid whose cells have these upper left corners.

    A side of one cell has any length: it counts as the other's step.

    >>> told_grid(torch.tensor([[0.0, 0.0], [32.0, 0.0], [64.0, 0.0]]))
    ((1, 3), (32.0, 96.0))
    """
    xs, ys = corners[:, 0].unique(), corners[:, 1].unique()
    steps = [float(line[1] - line[0]) if len(line) > 1 else None for line in (ys, xs)]
    one = next((step for step in steps if step), 1.0)
    down, across = (step or one for step in steps)
    return (len(ys), len(xs)), (down * len(ys), across * len(xs))
