"""Losses of what lies inside a region: its object's mask and keypoints. R regions with an object, K keypoints."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from pagoda.ops.heatmaps import keypoints_to_cells
from pagoda.ops.masks import crop_masks
from pagoda.plain import check_counts, check_numbers, checked
from pagoda.structures.clips import TubeTargets
from pagoda.structures.instances import Targets


@checked
@dataclass(frozen=True, kw_only=True)
class MaskCriterion:
    """Cross-entropy of every cell of the class's own mask (He 2017, section 3)."""

    aligned: bool = True
    """masks are cut out with centred samples, as in RoIAlign's second version"""
    binary: bool = True
    """a cell is wanted or not; else as much as the object covers it (torchvision)"""
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(self, 0, 1e6, "weight")

    def wanted(self, target: Targets, boxes: Tensor, objects: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """((R, size, size) what the head is to say, (R,) whether it counts) of one picture's regions.

        Each region serves the object of that index; an object without mask teaches nothing.
        """
        if target.masks is None:
            raise ValueError(
                f"a mask head learns from masks, but the targets of {target.file or 'a picture'} have none;"
                " use a data set with segmentations, or a detector without mask head"
            )
        wanted = crop_masks(target.masks, boxes, objects, size=size, aligned=self.aligned, binary=self.binary)
        return wanted, target.masks.flatten(1).any(1)[objects]

    def __call__(self, logits: Tensor, wanted: Tensor, counts: Tensor) -> dict[str, Tensor]:
        """Of (R, M, M) logits of the objects' classes, what is wanted of them, and whether each counts (R,)."""
        per_cell = binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
        total = (per_cell * counts[:, None, None]).sum()
        return {"loss_mask": total * self.weight / (counts.sum() * logits.shape[-1] ** 2).clamp(min=1)}


@checked
@dataclass(frozen=True, kw_only=True)
class KeypointCriterion:
    """Softmax over the cells of each keypoint's map (He 2017, section 5)."""

    inclusive: bool = False
    """regions are measured by the legacy rule, sides + 1 (Detect-and-Track)"""
    normalizer: Literal["visible", "budget"] = "visible"
    """what the sum is divided by: the keypoints that count, or as many as a full sample of regions with objects has"""
    budget: int = 128
    """of regions with objects per image"""
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_counts(budget=self.budget)
        check_numbers(self, 0, 1e6, "weight")

    def annotated(self, target: Targets | TubeTargets, objects: Tensor) -> tuple[Tensor, Tensor]:
        """((R, K, 2) places, (R, K) bool whether known) of those objects' keypoints."""
        if target.keypoints is None or target.visibility is None:
            raise ValueError(
                f"a keypoint head learns from keypoints, but the targets of {target.file or 'a picture'} have"
                " none; use a data set with keypoints, or a detector without keypoint head"
            )
        return target.keypoints[objects], target.visibility[objects] > 0

    def wanted(
        self, target: Targets | TubeTargets, boxes: Tensor, objects: Tensor, size: int
    ) -> tuple[Tensor, Tensor]:
        """((R, K) cell, (R, K) whether it counts) of one picture's regions, each serving one of its objects."""
        points, known = self.annotated(target, objects)
        return keypoints_to_cells(points.to(boxes), known, boxes, size=size, inclusive=self.inclusive)

    def __call__(self, logits: Tensor, cells: Tensor, counts: Tensor, num_images: int) -> dict[str, Tensor]:
        """Of (R, K, S, S) logits, the wanted cells (R, K) and whether each counts (R, K)."""
        if cells.shape[1:] != logits.shape[1:2]:
            raise ValueError(
                f"the keypoint head predicts {logits.shape[1]} keypoints, but the targets have {cells.shape[1]};"
                " build the model for this skeleton"
            )
        per_point = cross_entropy(logits.float().flatten(0, 1).flatten(1), cells.flatten(), reduction="none")
        total = (per_point * counts.flatten()).sum()
        divisor = counts.sum().clamp(min=1)
        if self.normalizer == "budget":
            divisor = torch.full_like(divisor, num_images * self.budget * logits.shape[1])
        return {"loss_keypoint": total * self.weight / divisor}
