"""SSD as five programs write it. "" is our own best."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from pagoda.criteria.ssd import MultiBoxCriterion
from pagoda.necks.extras import ExtraKind
from pagoda.ops.anchors import BoxClip, DefaultBoxes
from pagoda.ops.box_coding import BoxCoder
from pagoda.plain import check_numbers, checked
from pagoda.postprocess.ssd import SelectSSD
from pagoda.preprocess import InputSpec
from pagoda.zoo.flavours.base import ClassNames, Flavour

BoxSizes = Literal["voc", "coco"]
"""which published table of default boxes: that of models for VOC, or the smaller ones for COCO"""
SSD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""of the four deltas: the inverse of the variances .1, .1, .2, .2"""


@checked
def stretched(mean: tuple[float, float, float], *, order: Literal["RGB", "BGR"] = "RGB") -> InputSpec:
    """Pictures stretched to a square (300, unless a variant says otherwise), of which the mean is taken off.

    `mean` is of red, green and blue from 0 to 255, whatever the order. Stretched by plain bilinear interpolation, as
    OpenCV and torchvision do it.

    >>> stretched((123.0, 117.0, 104.0)).fit
    'stretch'
    """
    return InputSpec(
        fit="stretch",
        resample="float",
        canvas=(300, 300),
        channel_order=order,
        scale=1.0,
        mean=mean,
        std=(1.0, 1.0, 1.0),
        pad_multiple=1,
    )


@checked
@dataclass(frozen=True, kw_only=True)
class SSDFlavour(Flavour):
    """The conventions of one program's SSD.

    >>> SSDFlavour().coder.weights, CAFFE.whole_sizes, AMDEGROOT.box_clip
    ((10.0, 10.0, 5.0, 5.0), True, 'centers_and_sides')
    """

    input_spec: InputSpec = field(
        default_factory=partial(InputSpec, fit="stretch", canvas=(300, 300), pad_multiple=1)
    )
    """order and statistics of the pixels; the canvas gives way to the variant's"""
    class_names: ClassNames = "voc"
    """of a checkpoint with as many classes"""
    box_sizes: BoxSizes = "coco"
    """which table of default boxes, where the options say nothing"""
    whole_sizes: bool = False
    """sizes of default boxes are cut to whole pixels"""
    box_clip: BoxClip = "none"
    """what of default boxes ends at the picture"""
    boxes: DefaultBoxes | None = None
    """the default boxes themselves, where they are in no table"""
    coder: BoxCoder = field(default_factory=partial(BoxCoder, weights=SSD_WEIGHTS))
    """how deltas stand for boxes"""
    criterion: MultiBoxCriterion = field(default_factory=MultiBoxCriterion)
    """assignment and losses in training"""
    postprocess: SelectSSD = field(default_factory=SelectSSD)
    """thresholds and suppression in use"""
    prior_probability: float | None = 0.01
    """a fresh head takes a default box for an object this likely; None: as likely as for background"""
    norm_eps: float = 1e-5
    """of SSDlite's norms"""
    norm_momentum: float = 0.1
    """of SSDlite's norms"""
    lite_extras: ExtraKind = "separable"
    """SSDlite's further levels"""
    lite_plain_last: bool = False
    """SSDlite's coarsest level has a head of a plain 1×1"""
    lite_depthwise_bias: bool = False
    """in front of norms in SSDlite's heads"""

    def __post_init__(self) -> None:
        check_numbers(self, 1e-9, 1, "norm_eps", "norm_momentum")
        check_numbers(self, 1e-6, 1 - 1e-6, "prior_probability")


ORIGINAL = SSDFlavour(
    box_sizes="voc",
    coder=BoxCoder(weights=SSD_WEIGHTS, max_log_growth=None),
    prior_probability=None,
)
CAFFE = replace(
    ORIGINAL,
    input_spec=stretched((123.0, 117.0, 104.0), order="BGR"),
    whole_sizes=True,
    criterion=MultiBoxCriterion(matching="bipartite"),
    postprocess=SelectSSD(clip="after"),
)
AMDEGROOT = replace(
    ORIGINAL,
    input_spec=stretched((123.0, 117.0, 104.0)),
    box_clip="centers_and_sides",
    postprocess=SelectSSD(max_candidates=200, max_detections=None, clip="never"),
)
LUFFICC = replace(
    AMDEGROOT,
    criterion=MultiBoxCriterion(union_eps=1e-5),
    postprocess=SelectSSD(max_candidates=None, max_detections=100, clip="never"),
    lite_extras="inverted",
    lite_plain_last=True,
    lite_depthwise_bias=True,
)
TORCHVISION = SSDFlavour(
    input_spec=replace(stretched((0.48235, 0.45882, 0.40784)), scale=255.0, std=(1 / 255,) * 3),
    class_names="coco_90",
    box_clip="sides",
    prior_probability=None,
)
TORCHVISION_LITE = replace(
    TORCHVISION,
    input_spec=replace(TORCHVISION.input_spec, mean=(0.5,) * 3, std=(0.5,) * 3),
    postprocess=SelectSSD(min_score=0.001, max_candidates=300, max_iou=0.55, max_detections=300),
    norm_eps=1e-3,
    norm_momentum=0.03,
)
MMDET = replace(
    ORIGINAL,
    input_spec=stretched((123.675, 116.28, 103.53)),
    class_names="coco",
    box_sizes="coco",
    whole_sizes=True,
    coder=BoxCoder(weights=SSD_WEIGHTS, limit_shrinking=True),
    postprocess=SelectSSD(min_score=0.02, max_candidates=1000, candidates_of="level", drop_empty=True),
)

ON_VGG = {
    "": SSDFlavour(),
    "caffe": CAFFE,
    "amdegroot": AMDEGROOT,
    "lufficc": LUFFICC,
    "torchvision": TORCHVISION,
    "mmdet": MMDET,
}
SSD_FLAVOURS = {
    "ssd": {"": SSDFlavour()},
    "ssd300": ON_VGG,
    "ssd512": {name: flavour for name, flavour in ON_VGG.items() if name != "torchvision"},
    "ssdlite320": {
        "": SSDFlavour(norm_eps=1e-3, norm_momentum=0.03),
        "torchvision": TORCHVISION_LITE,
        "lufficc": LUFFICC,
    },
}
