"""EfficientDet: a weighted pyramid under light heads, scaled as one (Tan 2020, arXiv 1911.09070)."""

from jaxtyping import Float
from torch import Tensor, nn

from pagoda.criteria.dense import RetinaNetCriterion
from pagoda.criteria.efficientdet import EfficientDetCriterion
from pagoda.detectors.contract import check_label_map, strides_of
from pagoda.detectors.dense import AnchorDetector
from pagoda.ops.anchors import Side, StretchedAnchors, stretch_anchors
from pagoda.ops.box_coding import BoxCoder
from pagoda.plain import checked
from pagoda.postprocess.dense import SelectDense
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap


@checked
class EfficientDet(AnchorDetector):
    """Every anchor predicts its class and the four deltas to its object.

    Unlike RetinaNet's, its anchors follow the picture's true size on every level, no anchor is ignored in
    training, each object has at least one, and the best of all levels are ranked together.

    Args:
        class_head, box_head: dense heads of anchors·classes and anchors·4 outputs per location, anchors outer.
        coder: how deltas stand for boxes.
        criterion: RetinaNet's losses where a source trained with those.
        prior_probability: every class starts this likely; None leaves the head as handed over.

    Raises ValueError for heads whose outputs do not fit the anchors, and a label map of other classes.

    >>> from pagoda.backbones.resnet import ResNet
    >>> from pagoda.heads.separable import SeparableHead
    >>> from pagoda.necks.bifpn import BiFPN
    >>> body = ResNet(18, levels=(2,))
    >>> neck = BiFPN(body.channels, 16, cells=1, top_level=3)
    >>> class_head, box_head = SeparableHead(neck.channels, 9 * 2), SeparableHead(neck.channels, 9 * 4)
    >>> len(EfficientDet(body, neck, class_head=class_head, box_head=box_head).label_map)
    2
    """

    cell_anchors: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        *,
        class_head: nn.Module,
        box_head: nn.Module,
        label_map: LabelMap | None = None,
        input_spec: InputSpec | None = None,
        anchors: StretchedAnchors | None = None,
        coder: BoxCoder | None = None,
        prior_probability: float | None = 0.01,
        criterion: EfficientDetCriterion | RetinaNetCriterion | None = None,
        postprocess: SelectDense | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.class_head, self.box_head = class_head, box_head
        self.levels, self.strides = sorted(neck.channels), strides_of(backbone, neck)
        of_cell = (anchors or StretchedAnchors()).of_cell()
        self.register_buffer("cell_anchors", of_cell, persistent=False)
        self.label_map = check_label_map(label_map, self.count_classes(len(of_cell)))
        self.input_spec = input_spec or InputSpec()
        self.coder = coder or BoxCoder(max_log_growth=None)
        self.criterion = criterion or EfficientDetCriterion()
        self.running_count = self.criterion.running_count()
        self.postprocess = postprocess or SelectFromAllLevels()
        if prior_probability is not None:
            class_head.set_prior(prior_probability)

    def anchors(
        self, pyramid: dict[int, Float[Tensor, "b c _ _"]], padded: tuple[Side, Side]
    ) -> tuple[Float[Tensor, "_ 4"], ...]:
        """(P_l, 4) per level, in pixels of a batch padded to (height, width)."""
        return tuple(
            stretch_anchors(self.cell_anchors, (x.shape[-2], x.shape[-1]), padded)
            for _, x in sorted(pyramid.items())
        )
