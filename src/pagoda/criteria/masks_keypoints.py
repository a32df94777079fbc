"""Losses of what lies inside a region: its object's mask and keypoints. R regions with an object, K keypoints."""

from dataclasses import dataclass
from typing import Generic, Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from pagoda.criteria.normalize import num_sharing, number_over_processes, sum_over_processes
from pagoda.ops.heatmaps import keypoints_to_cells
from pagoda.ops.masks import crop_masks
from pagoda.plain import check_counts, check_numbers, checked
from pagoda.structures.instances import Targets
from pagoda.structures.tubes import SomeTargets


@checked
@dataclass(frozen=True, kw_only=True)
class MaskCriterion:
    """Cross-entropy of every cell of the class's own mask (He 2017, section 3).

    >>> import torch
    >>> undecided, targets = torch.zeros(2, 1, 1), torch.ones(2, 1, 1)
    >>> MaskCriterion()(undecided, targets, torch.tensor([True, False]))["loss_mask"]  # ln 2 of one region
    tensor(0.6931)
    """

    aligned: bool = True
    """masks are cut out with centred samples, as in RoIAlign's second version"""
    binary: bool = True
    """a cell is a target or not; else as much as the object covers it (torchvision)"""
    weight: float = 1.0
    """factor of the loss"""

    def __post_init__(self) -> None:
        check_numbers(self, 0, 1e6, "weight")

    def targets(
        self, target: Targets, boxes: Float[Tensor, "r 4"], objects: Int[Tensor, " r"], size: int
    ) -> tuple[Float[Tensor, "r size size"], Bool[Tensor, " r"]]:
        """(what the head is to say, whether it counts) of one picture's regions.

        Each region serves the object of that index; an object without mask teaches nothing. Raises ValueError for
        targets without masks.
        """
        if target.masks is None:
            raise ValueError(
                f"a mask head learns from masks, but the targets of {target.file or 'a picture'} have none;"
                " use a data set with segmentations, or a detector without mask head"
            )
        cells = crop_masks(target.masks, boxes, objects, size=size, aligned=self.aligned, binary=self.binary)
        return cells, target.masks.flatten(1).any(1)[objects]

    def __call__(
        self, logits: Float[Tensor, "r m m"], targets: Float[Tensor, "r m m"], counts: Bool[Tensor, " r"]
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_mask": scalar} of logits of the objects' classes, their targets, and whether each counts."""
        per_cell = binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
        total = (per_cell * counts[:, None, None]).sum()
        divisor = (sum_over_processes(counts.sum()) * logits.shape[-1] ** 2).clamp(min=1) / num_sharing()
        return {"loss_mask": total * self.weight / divisor}


@checked
@dataclass(frozen=True, kw_only=True)
class KeypointCriterion(Generic[SomeTargets]):
    """Softmax over the cells of each keypoint's map (He 2017, section 5), of pictures or clips.

    >>> import torch
    >>> undecided, cells = torch.zeros(1, 1, 2, 2), torch.tensor([[3]])
    >>> KeypointCriterion()(undecided, cells, torch.tensor([[True]]), 1)["loss_keypoint"]  # ln of 4 cells
    tensor(1.3863)
    """

    inclusive: bool = False
    """regions are measured by the legacy rule, sides + 1 (Detect-and-Track)"""
    normalizer: Literal["visible", "budget"] = "visible"
    """what the sum is divided by: the keypoints that count, or as many as a full sample of regions with objects has"""
    budget: int = 128
    """of regions with objects per image"""
    weight: float = 1.0
    """factor of the loss"""

    def __post_init__(self) -> None:
        check_counts(budget=self.budget)
        check_numbers(self, 0, 1e6, "weight")

    def annotated(
        self, target: SomeTargets, objects: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, "r *t k 2"], Bool[Tensor, "r *t k"]]:
        """(places, whether known) of those objects' keypoints. Raises ValueError for targets without keypoints."""
        if target.keypoints is None or target.visibility is None:
            raise ValueError(
                f"a keypoint head learns from keypoints, but the targets of {target.file or 'a picture'} have"
                " none; use a data set with keypoints, or a detector without keypoint head"
            )
        return target.keypoints[objects], target.visibility[objects] > 0

    def targets(
        self, target: SomeTargets, boxes: Float[Tensor, "r *t 4"], objects: Int[Tensor, " r"], size: int
    ) -> tuple[Int[Tensor, "r *t k"], Bool[Tensor, "r *t k"]]:
        """(cell of the map, whether it counts) of one picture's regions, each serving one of its objects."""
        points, known = self.annotated(target, objects)
        return keypoints_to_cells(points.to(boxes), known, boxes, size=size, inclusive=self.inclusive)

    def __call__(
        self,
        logits: Float[Tensor, "r *t k s s"],
        cells: Int[Tensor, "r *t _"],
        counts: Bool[Tensor, "r *t _"],
        num_images: int,
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_keypoint": scalar} of logits, the target cells and whether each counts.

        Raises ValueError where the head predicts another number of keypoints than the targets have.
        """
        if cells.shape[1:] != logits.shape[1:2]:
            raise ValueError(
                f"the keypoint head predicts {logits.shape[1]} keypoints, but the targets have {cells.shape[1]};"
                " build the model for this skeleton"
            )
        per_point = cross_entropy(logits.float().flatten(0, 1).flatten(1), cells.flatten(), reduction="none")
        total = (per_point * counts.flatten()).sum()
        divisor = sum_over_processes(counts.sum()).clamp(min=1)
        if self.normalizer == "budget":
            divisor = number_over_processes(num_images, logits) * (self.budget * logits.shape[1])
        return {"loss_keypoint": total * self.weight / (divisor / num_sharing())}
