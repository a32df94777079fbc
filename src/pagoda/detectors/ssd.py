"""SSD: default boxes on levels of a backbone and a few above it, softmax over classes (Liu 2016, arXiv 1512.02325)."""

from jaxtyping import Float
from torch import Tensor, nn

from pagoda.criteria.ssd import MultiBoxCriterion
from pagoda.detectors.contract import check_label_map, strides_of
from pagoda.detectors.dense import AnchorDetector
from pagoda.ops.anchors import DefaultBoxes, Side
from pagoda.ops.box_coding import BoxCoder
from pagoda.plain import checked
from pagoda.postprocess.ssd import SelectSSD
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs


@checked
class SSD(AnchorDetector):
    """Every default box predicts its class, or background, and the four deltas to its object.

    `DenseOutputs.class_logits` has the background as its last column, whatever the weights were trained with, as
    R-CNN has it; the label map and detections know no background.

    Args:
        neck: gives the levels that the heads read, such as `necks.extras.ExtraLevels`.
        class_head, box_head: heads with as many boxes per cell of each level as `boxes`, of classes + 1 and of 4
            outputs per box.
        boxes: the default boxes, one row for each level of the neck.
        coder: how deltas stand for boxes.
        prior_probability: a fresh head takes a box for some object this likely; None leaves the head as handed over.

    Raises ValueError for heads and default boxes that do not fit each other, and a label map of other classes.

    >>> from pagoda.backbones.resnet import ResNet
    >>> from pagoda.heads.per_level import PerLevelHead
    >>> from pagoda.necks.extras import ExtraLevel, ExtraLevels
    >>> body = ResNet(18, levels=(3,))
    >>> neck = ExtraLevels(body.channels, [ExtraLevel(32, 16)])
    >>> boxes = DefaultBoxes(min_sizes=(30, 60), max_sizes=(60, 90), ratios=((2.0,), (2.0,)))
    >>> counts = dict(zip(neck.channels, boxes.counts))
    >>> class_head, box_head = PerLevelHead(neck.channels, counts, 2 + 1), PerLevelHead(neck.channels, counts, 4)
    >>> len(SSD(body, neck, class_head=class_head, box_head=box_head, boxes=boxes).label_map)
    2
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        *,
        class_head: nn.Module,
        box_head: nn.Module,
        boxes: DefaultBoxes,
        label_map: LabelMap | None = None,
        input_spec: InputSpec | None = None,
        coder: BoxCoder | None = None,
        prior_probability: float | None = None,
        criterion: MultiBoxCriterion | None = None,
        postprocess: SelectSSD | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.class_head, self.box_head = class_head, box_head
        self.levels, self.boxes = sorted(neck.channels), boxes  # type: ignore[arg-type]
        self.label_map = check_label_map(label_map, self._count_classes(class_head, box_head))
        self.strides = strides_of(backbone, neck)
        if boxes.steps is not None:
            self.strides = {level: round(step) for level, step in zip(self.levels, boxes.steps, strict=True)}
        for index, level in enumerate(self.levels):
            self.register_buffer(f"shapes_{level}", boxes.shapes(index), persistent=False)
        self.input_spec = input_spec or InputSpec(fit="stretch", canvas=(300, 300), pad_multiple=1)
        self.coder = coder or BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
        self.criterion = criterion or MultiBoxCriterion()
        self.running_count = None
        self.postprocess = postprocess or SelectSSD()
        if prior_probability is not None:
            class_head.set_background_prior(prior_probability)

    def _count_classes(self, class_head: nn.Module, box_head: nn.Module) -> int:
        """Of foreground."""
        wanted = dict(zip(self.levels, self.boxes.counts, strict=False))
        if len(self.levels) != len(self.boxes.counts):
            raise ValueError(
                f"SSD's default boxes need a row for each of the levels {self.levels}, got {len(self.boxes.counts)}"
            )
        if class_head.boxes != wanted or box_head.boxes != wanted or box_head.outputs != 4:
            raise ValueError(
                f"SSD with {wanted} boxes per cell needs heads of as many, and 4 numbers per box, got"
                f" {class_head.boxes} for classes and {box_head.boxes} · {box_head.outputs} for boxes"
            )
        return class_head.outputs - 1

    def anchors(
        self, pyramid: dict[int, Float[Tensor, "b c _ _"]], padded: tuple[Side, Side]
    ) -> tuple[Float[Tensor, "_ 4"], ...]:
        """(P_l, 4) default boxes per level, in pixels of a batch padded to (height, width)."""
        return tuple(
            self.boxes.of_level(
                self.levels.index(level),
                (x.shape[-2], x.shape[-1]),
                padded,
                shapes=getattr(self, f"shapes_{level}"),
            )
            for level, x in sorted(pyramid.items())
        )

    def forward(self, images: ImageBatch) -> DenseOutputs:
        pyramid = self.neck(self.backbone(images.pixels))
        anchors = self.anchors(pyramid, (images.pixels.shape[-2], images.pixels.shape[-1]))
        return DenseOutputs(self.class_head(pyramid), self.box_head(pyramid), None, anchors)
