"""YOLOv1 as darknet has it, and as we train it ("")."""

from dataclasses import dataclass, field

from pagoda.criteria.yolov1 import YOLOv1Criterion
from pagoda.layers.darknet import CellNorm
from pagoda.layers.norm import Norm
from pagoda.ops.cells import CellCoder
from pagoda.plain import checked
from pagoda.postprocess.yolov1 import SelectFromCells
from pagoda.preprocess import InputSpec
from pagoda.zoo.flavours.base import ClassNames, Flavour

INPUT = InputSpec(fit="stretch", canvas=(448, 448))
DARKNET_INPUT = InputSpec(
    fit="stretch",
    canvas=(448, 448),
    resample="corners",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    pad_multiple=1,
)


@checked
@dataclass(frozen=True, kw_only=True)
class YOLOv1Flavour(Flavour):
    """The conventions of one program's YOLOv1.

    >>> YOLOv1Flavour().cell_norm, DARKNET.cell_norm, DARKNET.criterion.claim
    ('batch', 'darknet', 'shuffled')
    """

    cell_norm: CellNorm = "batch"
    """behind the convolutions of darknet's own networks"""
    head_norm: Norm = "batch"
    """behind the tower's convolutions, of a head on another backbone"""
    input_spec: InputSpec = INPUT
    """size, order and statistics of the pixels"""
    class_names: ClassNames = "voc"
    """of a checkpoint with as many classes"""
    coder: CellCoder = field(default_factory=CellCoder)
    """how numbers stand for classes, confidences and boxes"""
    criterion: YOLOv1Criterion = field(default_factory=YOLOv1Criterion)
    """which object a cell serves, and the weights of its errors"""
    postprocess: SelectFromCells = field(default_factory=SelectFromCells)
    """thresholds and suppression in use"""


DARKNET = YOLOv1Flavour(
    cell_norm="darknet",
    input_spec=DARKNET_INPUT,
    criterion=YOLOv1Criterion(claim="shuffled"),
    postprocess=SelectFromCells(clip="after", max_detections=None),
)
YOLOV1_FLAVOURS = {"": YOLOv1Flavour(), "darknet": DARKNET}
