"""Features of regions: RoIAlign (He 2017, section 3) on one map or on the pyramid level that fits each box.

R regions, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagoda.ops.boxes import box_areas
from pagoda.ops.roi_align_cpu import cell_table, pooled_sums
from pagoda.plain import check_numbers, checked


def roi_align(
    features: Float[Tensor, "b c h w"],
    boxes: Float[Tensor, "r 4"],
    images: Int[Tensor, " r"],
    *,
    resolution: int,
    stride: float,
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Float[Tensor, "r c out_h out_w"]:
    """Bilinear averages over resolution × resolution bins of each box, read from the picture `images` names.

    Args:
        boxes: pixels; one cell of `features` is `stride` of them.
        sampling_ratio: samples per bin and axis; 0: one for each cell the bin covers.
        aligned: cells are sampled at their centres; the first RoIAlign was half a cell off and blew boxes
            below one cell up to one.

    >>> features = torch.arange(16.0).view(1, 1, 4, 4)
    >>> roi_align(features, torch.tensor([[0., 0., 4., 4.]]), torch.tensor([0]), resolution=2, stride=1.0)
    tensor([[[[ 2.5000,  4.5000],
              [10.5000, 12.5000]]]])
    """
    from torchvision.ops import roi_align as torchvision_roi_align  # see ops.nms

    # Half precision cannot place a box: of bfloat16's numbers there are only every second around 400.
    wide = torch.promote_types(features.dtype, torch.float32)
    rois = torch.cat([images[:, None].to(wide), boxes.to(wide)], dim=1)
    pooled = torchvision_roi_align(
        features.to(wide),
        rois,
        (resolution, resolution),
        spatial_scale=1 / stride,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
    )
    return pooled.to(features.dtype)


@checked
@dataclass(frozen=True, kw_only=True)
class RoIPooling:
    """How a head gets the features of its regions: which level of the pyramid, how many bins, sampled how.

    >>> boxes = torch.tensor([[0., 0., 112., 112.], [0., 0., 224., 224.], [0., 0., 448., 448.]])
    >>> RoIPooling().levels(boxes, 2, 5)
    tensor([3, 4, 5])
    """

    resolution: int = 7
    """bins per axis"""
    sampling_ratio: int = 0
    """samples per bin and axis; 0: one for each cell the bin covers"""
    aligned: bool = True
    """see `roi_align`"""
    canonical_level: int = 4
    """from which boxes of `canonical_side` are read"""
    canonical_side: float = 224.0
    """pixels of a square box; twice as large, it is read from the next level (Lin 2016, equation 1)"""
    eps: float = 1e-8
    """keeps a box of exactly the next level's size from falling below it by rounding"""
    eps_on: Literal["ratio", "level"] = "ratio"
    """added before the logarithm is taken, or after (torchvision)"""
    inclusive: bool = False
    """legacy boxes: areas are of sides + 1"""

    def __post_init__(self) -> None:
        check_numbers(self, 1, 256, "resolution")
        check_numbers(self, 0, 64, "sampling_ratio", "canonical_level")
        check_numbers(self, 1, 1e6, "canonical_side")
        check_numbers(self, 0, 1, "eps")

    def levels(self, boxes: Float[Tensor, "r 4"], lowest: int, highest: int) -> Int[Tensor, " r"]:
        """The pyramid level that fits each box."""
        return self.levels_of_areas(box_areas(boxes, inclusive=self.inclusive), lowest, highest)

    def levels_of_areas(self, areas: Float[Tensor, " r"], lowest: int, highest: int) -> Int[Tensor, " r"]:
        """The pyramid level that fits regions of these areas, in square pixels."""
        ratio = areas.clamp(min=0).sqrt() / self.canonical_side
        if self.eps_on == "ratio":
            level = self.canonical_level + torch.log2(ratio + self.eps)
        else:
            level = self.canonical_level + torch.log2(ratio) + self.eps
        # −∞ of an empty box must be cut before it becomes a whole number; NaN becomes the smallest one there is.
        return level.floor().clamp(lowest, highest).to(torch.long).clamp(min=lowest)

    def __call__(
        self,
        pyramid: Mapping[int, Tensor],
        strides: Mapping[int, float],
        boxes: Float[Tensor, "r 4"],
        images: Int[Tensor, " r"],
        assigned: Int[Tensor, " r"] | None = None,
    ) -> Float[Tensor, "r c out_h out_w"]:
        """(R, C, resolution, resolution) features of boxes in pixels; `strides` are the levels'.

        `assigned` are the levels to read from; None: those that fit the boxes.
        """
        found = sorted(pyramid)
        if assigned is None and len(found) > 1:
            assigned = self.levels(boxes, found[0], found[-1])
        if boxes.device.type == "cpu" and not torch.compiler.is_compiling():
            return self._on_processor(pyramid, strides, boxes, images, assigned)
        if assigned is None:
            return self._align(pyramid[found[0]], strides[found[0]], boxes, images)
        parts, rows = [], []
        for level in found:
            here = torch.nonzero(assigned == level)[:, 0]
            parts.append(self._align(pyramid[level], strides[level], boxes[here], images[here]))
            rows.append(here)
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _on_processor(
        self,
        pyramid: Mapping[int, Tensor],
        strides: Mapping[int, float],
        boxes: Tensor,
        images: Tensor,
        assigned: Tensor | None,
    ) -> Tensor:
        """All levels at once, several times as quick as torchvision's operator there and back."""
        found = sorted(pyramid)
        chosen = torch.zeros_like(images) if assigned is None else assigned - found[0]
        scales = torch.tensor([1 / strides[level] for level in found], dtype=boxes.dtype)[chosen]
        return pooled_sums(
            cell_table([pyramid[level] for level in found], chosen, images),
            boxes * scales[:, None],
            resolution=self.resolution,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
        )

    def _align(self, features: Tensor, stride: float, boxes: Tensor, images: Tensor) -> Tensor:
        return roi_align(
            features,
            boxes,
            images,
            resolution=self.resolution,
            stride=stride,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
        )
