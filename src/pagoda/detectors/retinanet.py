"""RetinaNet: anchors on a pyramid, trained with the focal loss (Lin 2017, arXiv 1708.02002)."""

from collections.abc import Sequence

from torch import Tensor, nn

from pagoda.criteria.dense import RetinaNetCriterion
from pagoda.detectors.contract import Detector, check_label_map
from pagoda.ops.anchors import AnchorStyle, cell_anchors, grid_anchors
from pagoda.ops.box_coding import MAX_LOG_GROWTH, decode_boxes
from pagoda.postprocess.dense import SelectDetections
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs


class RetinaNet(Detector):
    """Every anchor predicts its class and the four deltas to its object.

    Args:
        class_head, box_head: dense heads of anchors·classes and anchors·4 outputs per location, anchors outer.
        anchor_scale, octaves, ratios, anchor_style: see `ops.anchors.cell_anchors`.
        prior_probability: every class starts this likely; None leaves the head as handed over.
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
        anchor_scale: float = 4.0,
        octaves: int = 3,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        anchor_style: AnchorStyle = "detectron2",
        max_log_growth: float | None = MAX_LOG_GROWTH,
        prior_probability: float | None = 0.01,
        criterion: RetinaNetCriterion | None = None,
        postprocess: SelectDetections | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.class_head, self.box_head = class_head, box_head
        self.levels: list[int] = sorted(neck.channels)
        for level in self.levels:
            base = cell_anchors(
                2**level, base_scale=anchor_scale, octaves=octaves, ratios=tuple(ratios), style=anchor_style
            )
            self.register_buffer(f"anchors_{level}", base, persistent=False)
        num_anchors = len(base)
        if box_head.outputs != 4 * num_anchors or class_head.outputs % num_anchors:
            raise ValueError(
                f"RetinaNet with {num_anchors} anchors per location needs heads of {4 * num_anchors} and"
                f" {num_anchors}·classes outputs, got {box_head.outputs} and {class_head.outputs}"
            )
        self.label_map = check_label_map(label_map, class_head.outputs // num_anchors)
        self.input_spec = input_spec or InputSpec()
        self.max_log_growth = max_log_growth
        self.criterion = criterion or RetinaNetCriterion()
        self.postprocess = postprocess or SelectDetections(max_iou=0.5)
        if prior_probability is not None:
            class_head.set_prior(prior_probability)

    def anchors(self, pyramid: dict[int, Tensor]) -> tuple[Tensor, ...]:
        """(P_l, 4) per level, in pixels."""
        return tuple(
            grid_anchors(getattr(self, f"anchors_{level}"), (x.shape[-2], x.shape[-1]), 2**level)
            for level, x in sorted(pyramid.items())
        )

    def forward(self, images: ImageBatch) -> DenseOutputs:
        pyramid = self.neck(self.backbone(images.pixels))
        anchors = self.anchors(pyramid)
        batch = images.pixels.shape[0]  # len() would make it a constant of an exported graph
        classes = self.class_head(pyramid).reshape(batch, -1, len(self.label_map))
        boxes = self.box_head(pyramid).reshape(batch, -1, 4)
        return DenseOutputs(classes, boxes, None, anchors)

    def losses(self, images: ImageBatch, targets: Sequence[Targets]) -> dict[str, Tensor]:
        return self.criterion(self(images), targets, self.levels)

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        return decode_boxes(
            deltas,
            anchors,
            weights=self.criterion.coder_weights,
            inclusive=self.criterion.inclusive,
            max_log_growth=self.max_log_growth,
        )

    def detect(self, images: ImageBatch, *, postprocess: SelectDetections | None = None) -> list[Detections]:
        return (postprocess or self.postprocess).detect(self(images), images, self.decode, self.label_map)
