"""What detectors that predict at every location share; each paper's own part is in its file."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from pagoda.detectors.contract import Detector
from pagoda.ops.anchors import Side
from pagoda.ops.box_coding import BoxCoder
from pagoda.postprocess.dense import SelectDense
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.outputs import DenseOutputs


class DenseDetector(Detector):
    """A backbone, a neck and two dense heads; `forward` gives `DenseOutputs`.

    >>> import torch
    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("fcos_resnet18_fpn", num_classes=2, **small)
    >>> images = model.input_spec.batch([torch.zeros(3, 32, 32, dtype=torch.uint8)])
    >>> tuple(model(images).class_logits.shape)  # 8 · 8 + 4 · 4 locations
    (1, 80, 2)
    """

    backbone: nn.Module
    neck: nn.Module
    class_head: nn.Module
    box_head: nn.Module
    postprocess: SelectDense
    levels: list[int]
    """finest first"""
    strides: dict[int, int]
    """{level: pixels from cell to cell}"""
    prior_kind: ClassVar[Literal["points", "anchors", "cells"]] = "points"
    """what its locations are called"""

    def decode(
        self, box_outputs: Float[Tensor, "*n 4"], priors: Float[Tensor, "*n _"]
    ) -> Float[Tensor, "*n 4"]:
        """(…, 4) boxes in pixels of the batch, of outputs and the points or anchors they belong to."""
        raise TypeError(f"{type(self).__name__} defines no decode")

    def detect(
        self,
        images: ImageBatch,
        *,
        postprocess: SelectDense | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Detections]:
        found = (postprocess or self.postprocess).detect(self(images), images, self.decode, self.label_map)
        return found if sizes is None else self.restore(found, sizes)


class AnchorDetector(DenseDetector):
    """Heads speak of every anchor: its class, and its object relative to it as `coder` has it.

    >>> import torch
    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("retinanet_resnet18_fpn", num_classes=2, **small)
    >>> images = model.input_spec.batch([torch.zeros(3, 32, 32, dtype=torch.uint8)])
    >>> tuple(model(images).class_logits.shape)  # 9 anchors at each of 8 · 8 + 4 · 4 locations
    (1, 720, 2)
    """

    prior_kind = "anchors"
    coder: BoxCoder
    criterion: Callable[..., dict[str, Tensor]]
    """of `DenseOutputs` and targets: `criteria.dense.RetinaNetCriterion`, or the paper's own"""
    running_count: nn.Module | None
    """what the criterion's divisor is made with from step to step"""

    anchors: Callable[[dict[int, Tensor], tuple[Side, Side]], tuple[Tensor, ...]]
    """(pyramid, padded (height, width)) to (P_l, 4) per level, in pixels of the batch"""

    def forward(self, images: ImageBatch) -> DenseOutputs:
        pyramid = self.neck(self.backbone(images.pixels))
        anchors = self.anchors(pyramid, (images.pixels.shape[-2], images.pixels.shape[-1]))
        batch = images.pixels.shape[0]  # len() would make it a constant of an exported graph
        classes = self.class_head(pyramid).reshape(batch, -1, len(self.label_map))
        boxes = self.box_head(pyramid).reshape(batch, -1, 4)
        return DenseOutputs(classes, boxes, None, anchors)

    def decode(
        self, box_outputs: Float[Tensor, "*n 4"], priors: Float[Tensor, "*n 4"]
    ) -> Float[Tensor, "*n 4"]:
        return self.coder.decode(box_outputs, priors)

    def losses(self, images: ImageBatch, targets: Sequence[Targets]) -> dict[str, Float[Tensor, ""]]:
        return self.criterion(self(images), targets, self.levels, self.running_count, coder=self.coder)

    def count_classes(self, num_anchors: int) -> int:
        """The classes its class head speaks of, with so many anchors per location.

        Raises ValueError for heads whose outputs do not fit the anchors.
        """
        of_classes, of_boxes = self.class_head.outputs, self.box_head.outputs
        if of_boxes != 4 * num_anchors or of_classes % num_anchors:
            raise ValueError(
                f"{type(self).__name__} with {num_anchors} anchors per location needs heads of {num_anchors}·classes"
                f" and {4 * num_anchors} outputs, got {of_classes} and {of_boxes}"
            )
        return of_classes // num_anchors
