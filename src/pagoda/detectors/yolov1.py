"""YOLOv1: one grid over the picture, whose cells say classes and a few boxes (Redmon 2016, arXiv 1506.02640)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from pagoda.criteria.yolov1 import YOLOv1Criterion
from pagoda.detectors.contract import check_label_map, strides_of
from pagoda.detectors.dense import DenseDetector
from pagoda.ops.anchors import Side, cell_points
from pagoda.ops.cells import CellCoder, CellOutputs, centers_to_boxes
from pagoda.plain import checked
from pagoda.postprocess.dense import SelectDense
from pagoda.postprocess.yolov1 import SelectFromCells
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs


class Look(NamedTuple):
    """What the network said of a batch, raw, and the grid it said it of."""

    cells: CellOutputs
    """as the network gives them"""
    grid: tuple[Side, Side]
    """(rows, columns)"""
    size: tuple[Side, Side]
    """(height, width) in pixels that the grid covers"""


@checked
class YOLOv1(DenseDetector):
    """Every cell predicts the class of the object whose centre it holds, and K boxes with their confidence.

    Of `DenseOutputs`, each box is a location: its class logits are its cell's class values, its quality logit is its
    confidence, both as they are, and its box output is its centre, from the cell's upper left corner, and its width
    and height in pixels.

    Args:
        backbone: gives one level.
        head: of cells, `heads.cells.ConnectedCellHead` or `ConvCellHead`.
        coder: how the network's numbers stand for classes, confidences and boxes.

    A connected head reads maps of one size: batches that are smaller than `input_spec.canvas` are filled up with zeros,
    and larger ones raise ValueError. ValueError is also raised for a label map of other classes, several levels, and a
    connected head without a canvas.

    >>> from pagoda.backbones.resnet import ResNet
    >>> from pagoda.heads.cells import ConvCellHead
    >>> body = ResNet(18, levels=(5,))
    >>> model = YOLOv1(body, ConvCellHead(body.channels, num_classes=3, num_boxes=2, width=16, depth=1))
    >>> tuple(model(ImageBatch(torch.zeros(1, 3, 64, 96), torch.tensor([[64, 96]]))).class_logits.shape)  # 2 · 3 cells
    (1, 12, 3)
    """

    prior_kind = "cells"

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        label_map: LabelMap | None = None,
        input_spec: InputSpec | None = None,
        coder: CellCoder | None = None,
        criterion: YOLOv1Criterion | None = None,
        postprocess: SelectDense | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.levels, self.strides = sorted(backbone.channels), strides_of(backbone, None)
        if len(self.levels) != 1:
            raise ValueError(f"YOLOv1 has one grid, so its backbone gives one level, got {self.levels}")
        if head.grid is not None and input_spec is not None and input_spec.canvas is None:
            raise ValueError(
                "connected layers read pictures of one size, so input_spec needs a canvas, got none"
            )
        self.label_map = check_label_map(label_map, head.num_classes)
        self.input_spec = input_spec or InputSpec(fit="stretch", canvas=(448, 448))
        self._made_for = self.input_spec.canvas if head.grid is not None else None
        if self._made_for is not None:  # under connected layers cells are where they are said to be
            self.strides = {
                self.levels[0]: round(max(self._made_for[0] / head.grid[0], self._made_for[1] / head.grid[1]))
            }
        self.coder = coder or CellCoder()
        self.criterion = criterion or YOLOv1Criterion()
        self.postprocess = postprocess or SelectFromCells()

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels of the only batches a connected head reads; None: any."""
        return self._made_for

    @property
    def grid(self) -> tuple[int, int] | None:
        """(rows, columns) of cells under connected layers; None: those of the backbone's map."""
        return self.head.grid

    def look(self, pixels: Float[Tensor, "b c _ _"]) -> Look:
        """The network's own numbers, before softmax or sigmoid."""
        if self.fixed_size is not None:
            pixels = _filled(pixels, self.fixed_size)
        pyramid = self.backbone(pixels)
        (features,) = pyramid.values()
        grid = self.grid or (features.shape[-2], features.shape[-1])
        return Look(self.head(pyramid), grid, (pixels.shape[-2], pixels.shape[-1]))

    def forward(self, images: ImageBatch) -> DenseOutputs:
        cells, grid, size = self.look(images.pixels)
        classes, confidences, boxes = self.coder.read(cells)
        batch, count = boxes.shape[0], boxes.shape[2]
        return DenseOutputs(
            classes[:, :, None].expand(-1, -1, count, -1).reshape(batch, -1, len(self.label_map)),
            self.coder.in_pixels(boxes, grid, size).reshape(batch, -1, 4),
            torch.stack(confidences.unbind(2), dim=2).flatten(
                1
            ),  # a view would ask whether a batch is of one
            (self._corners(grid, size, boxes.device),),
        )

    def points(
        self, pyramid: dict[int, Float[Tensor, "b c _ _"]], padded: tuple[Side, Side]
    ) -> tuple[Float[Tensor, "_ 2"], ...]:
        """((P, 2),): the upper left corner of every box's cell, in pixels of a batch padded to (height, width)."""
        (features,) = pyramid.values()
        grid = self.grid or (features.shape[-2], features.shape[-1])
        return (self._corners(grid, self.fixed_size or padded, features.device),)

    def _corners(
        self, grid: tuple[Side, Side], size: tuple[Side, Side], device: torch.device
    ) -> Float[Tensor, "_ 2"]:
        cells = cell_points(grid, 1.0, offset=0.0, device=device)
        corners = torch.stack([cells[:, 0] * (size[1] / grid[1]), cells[:, 1] * (size[0] / grid[0])], dim=-1)
        return corners[:, None].expand(-1, self.head.num_boxes, -1).reshape(-1, 2)

    def decode(
        self, box_outputs: Float[Tensor, "*n 4"], priors: Float[Tensor, "*n 2"]
    ) -> Float[Tensor, "*n 4"]:
        return centers_to_boxes(box_outputs, priors)

    def losses(self, images: ImageBatch, targets: Sequence[Targets]) -> dict[str, Float[Tensor, ""]]:
        cells, grid, size = self.look(images.pixels)
        return self.criterion(cells, targets, grid, size, coder=self.coder)  # type: ignore[arg-type]


def _filled(pixels: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c _ _"]:
    """A batch with zeros at the bottom and right up to (height, width). Raises ValueError for a larger one."""
    height, width = pixels.shape[-2], pixels.shape[-1]
    if not torch.compiler.is_exporting():
        if height > size[0] or width > size[1]:
            raise ValueError(
                f"the connected layers of this network read {size[0]}×{size[1]} pixels, got {height}×{width}; bring"
                " pictures to that size with input_spec.prepare"
            )
        return pixels if (height, width) == size else pad(pixels, (0, size[1] - width, 0, size[0] - height))
    if isinstance(height, int) and isinstance(width, int):
        return pad(pixels, (0, size[1] - width, 0, size[0] - height))
    # What pads to the canvas never gives less, and open sizes are cut to a number that is known.
    larger = pad(pixels, (0, size[1], 0, size[0]))
    return larger[..., : size[0], : size[1]]
