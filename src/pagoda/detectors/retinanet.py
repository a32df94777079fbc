"""RetinaNet: anchors on a pyramid, trained with the focal loss (Lin 2017, arXiv 1708.02002)."""

from torch import nn

from pagoda.criteria.dense import RetinaNetCriterion
from pagoda.detectors.anchors import AnchorGrid
from pagoda.detectors.contract import check_label_map, strides_of
from pagoda.detectors.dense import AnchorDetector
from pagoda.ops.anchors import AnchorShapes
from pagoda.ops.box_coding import BoxCoder
from pagoda.plain import checked
from pagoda.postprocess.dense import SelectDense, SelectDetections
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap


@checked
class RetinaNet(AnchorDetector):
    """Every anchor predicts its class and the four deltas to its object.

    Args:
        class_head, box_head: dense heads of anchors·classes and anchors·4 outputs per location, anchors outer.
        anchors: the shapes every cell has.
        coder: how deltas stand for boxes.
        prior_probability: every class starts this likely; None leaves the head as handed over.

    Raises ValueError for heads whose outputs do not fit the anchors, and a label map of other classes.

    >>> from pagoda.backbones.resnet import ResNet
    >>> from pagoda.heads.dense import DenseHead
    >>> from pagoda.necks.fpn import FPN
    >>> body = ResNet(18, levels=(2,))
    >>> neck = FPN(body.channels, 32, top_level=3)
    >>> heads = {"class_head": DenseHead(neck.channels, 9 * 2), "box_head": DenseHead(neck.channels, 9 * 4)}
    >>> model = RetinaNet(body, neck, **heads)
    >>> model.anchors.per_cell, len(model.label_map)
    (9, 2)
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
        anchors: AnchorShapes | None = None,
        coder: BoxCoder | None = None,
        prior_probability: float | None = 0.01,
        criterion: RetinaNetCriterion | None = None,
        postprocess: SelectDense | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.class_head, self.box_head = class_head, box_head
        self.levels = sorted(neck.channels)
        self.strides = strides_of(backbone, neck)
        self.anchors = AnchorGrid(anchors or AnchorShapes(), self.strides)
        self.label_map = check_label_map(label_map, self.count_classes(self.anchors.per_cell))
        self.input_spec = input_spec or InputSpec()
        self.coder = coder or BoxCoder()
        self.criterion = criterion or RetinaNetCriterion()
        self.running_count = self.criterion.running_count()
        self.postprocess = postprocess or SelectDetections(max_iou=0.5)
        if prior_probability is not None:
            class_head.set_prior(prior_probability)
