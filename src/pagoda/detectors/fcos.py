"""FCOS: fully convolutional one-stage detection (Tian 2019, arXiv 1904.01355 and 2006.09214).

Where are the points, which box does each serve, what do the heads say, how is it scored, which survive?
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagoda.criteria.dense import FCOSCriterion
from pagoda.detectors.contract import check_label_map, strides_of
from pagoda.detectors.dense import DenseDetector
from pagoda.ops.anchors import Side, cell_points, cell_steps, point_strides
from pagoda.ops.box_coding import PointCoder
from pagoda.ops.boxes import ltrb_to_boxes
from pagoda.plain import checked
from pagoda.postprocess.dense import SelectDense, SelectDetections
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs


@checked
class FCOS(DenseDetector):
    """Every location predicts its distances to four sides, its class and how central it is.

    Args:
        class_head, box_head: dense heads; 4 distances come from the box head, and the one with a further
            output gives the quality (centerness): `outputs=5` on the box head is the improved variant,
            `outputs=num_classes + 1` on the class head the first one (say `quality_on="class"`).
        coder: where points sit, and how the box head's numbers become distances.
        level_scale: one learnt factor per level before that (the repository's `Scale`).
        prior_probability: every class starts this likely; None leaves the head as handed over.

    Raises ValueError for heads of other numbers of outputs, a label map of other classes, and a criterion whose ranges
    are of other levels.

    >>> from pagoda.backbones.resnet import ResNet
    >>> from pagoda.heads.dense import DenseHead
    >>> from pagoda.necks.fpn import FPN
    >>> body = ResNet(18, levels=(2,))
    >>> neck = FPN(body.channels, 32, top_level=3)
    >>> heads = {"class_head": DenseHead(neck.channels, 2), "box_head": DenseHead(neck.channels, 5)}
    >>> model = FCOS(body, neck, **heads)
    >>> model.label_map.names, model.strides
    (('class_0', 'class_1'), {2: 4, 3: 8})
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        *,
        class_head: nn.Module,
        box_head: nn.Module,
        label_map: LabelMap | None = None,
        input_spec: InputSpec | None = None,
        quality_on: Literal["class", "box"] = "box",
        coder: PointCoder | None = None,
        level_scale: bool = True,
        prior_probability: float | None = 0.01,
        criterion: FCOSCriterion | None = None,
        postprocess: SelectDense | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.class_head, self.box_head = class_head, box_head
        self.levels, self.strides = sorted(neck.channels), strides_of(backbone, neck)
        num_classes = class_head.outputs - (quality_on == "class")
        _check_outputs(num_classes, box_head.outputs, quality_on)
        self.label_map = check_label_map(label_map, num_classes)
        self.input_spec = input_spec or InputSpec()
        self.quality_on = quality_on
        self.coder = coder or PointCoder()
        self.scales = nn.Parameter(torch.ones(len(self.levels))) if level_scale else None
        self.criterion = criterion or FCOSCriterion()
        self.criterion.check_levels(self.levels)
        self.running_count = self.criterion.running_count()
        # √(class · centerness) of a fresh model is .07 everywhere, so the bar is higher than for plain classes.
        self.postprocess = postprocess or SelectDetections(min_score=0.2)
        if prior_probability is not None:
            class_head.set_prior(prior_probability, num_classes)

    def points(
        self, pyramid: dict[int, Float[Tensor, "b c _ _"]], padded: tuple[Side, Side]
    ) -> tuple[Float[Tensor, "_ 2"], ...]:
        """(P_l, 2) per level: where each location sits, in pixels of a batch padded to (height, width)."""
        points = []
        for level, x in sorted(pyramid.items()):
            size = (x.shape[-2], x.shape[-1])
            steps = cell_steps(self.coder.steps, self.strides[level], padded, size)
            points.append(cell_points(size, steps, offset=self.coder.offset, device=x.device))
        return tuple(points)

    def _distances(
        self, raw: Float[Tensor, "b p 4"], points: tuple[Float[Tensor, "_ 2"], ...]
    ) -> Float[Tensor, "b p 4"]:
        """(B, P, 4) pixels to the left, top, right and bottom side."""
        raw = raw.float()
        if self.scales is not None:
            per_level = zip(self.scales, points, strict=True)
            raw = raw * torch.cat([scale.expand(p.shape[0]) for scale, p in per_level])[:, None]
        return self.coder.distances(raw, point_strides(points, self.levels, self.strides))

    def forward(self, images: ImageBatch) -> DenseOutputs:
        pyramid = self.neck(self.backbone(images.pixels))
        points = self.points(pyramid, (images.pixels.shape[-2], images.pixels.shape[-1]))
        classes, boxes = self.class_head(pyramid), self.box_head(pyramid)
        source = classes if self.quality_on == "class" else boxes
        quality = source[..., -1]
        classes = classes[..., : len(self.label_map)]
        return DenseOutputs(classes, self._distances(boxes[..., :4], points), quality, points)

    def losses(self, images: ImageBatch, targets: Sequence[Targets]) -> dict[str, Float[Tensor, ""]]:
        return self.criterion(self(images), targets, self.levels, self.running_count, self.strides)

    def decode(
        self, box_outputs: Float[Tensor, "*n 4"], priors: Float[Tensor, "*n 2"]
    ) -> Float[Tensor, "*n 4"]:
        return ltrb_to_boxes(priors, box_outputs)


def _check_outputs(num_classes: int, box_outputs: int, quality_on: str) -> None:
    needed = 5 if quality_on == "box" else 4
    if num_classes < 1 or box_outputs != needed:
        raise ValueError(
            f'FCOS with quality_on="{quality_on}" needs a box head of {needed} outputs and at least one class,'
            f" got {box_outputs} outputs and {num_classes} classes"
        )
