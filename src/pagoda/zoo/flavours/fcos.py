"""FCOS as seven programs write it (spec sections 2.1 to 2.8). "" is our own best."""

from dataclasses import replace

from pagoda.criteria.dense import FCOSCriterion
from pagoda.ops.box_coding import PointCoder
from pagoda.postprocess.dense import SelectDetections
from pagoda.preprocess import InputSpec
from pagoda.zoo.flavours.base import BodyFlavour, FCOSFlavour

# In RGB order, as everywhere; channel_order says what the network reads.
CAFFE2_INPUT = InputSpec(
    rounding="maskrcnn_benchmark",
    channel_order="BGR",
    scale=1.0,
    mean=(122.7717, 115.9465, 102.9801),
    std=(1.0, 1.0, 1.0),
)
MSRA_INPUT = InputSpec(channel_order="BGR", scale=1.0, mean=(123.675, 116.28, 103.53), std=(1.0, 1.0, 1.0))
# Deviations of pixels from 0 to 255, by which Facebook's own ResNeXt-101-32x8d divides.
IMAGENET_STD = (58.395, 57.12, 57.375)
TORCHVISION_INPUT = InputSpec(rounding="torchvision", resample="float")
CAFFE2_BODY = BodyFlavour(norm="frozen", eps=0.0, style="caffe", frozen_stages=2)
MSRA_BODY = BodyFlavour(norm="frozen", style="caffe", frozen_stages=2)

ORIGINAL = FCOSFlavour(
    body=CAFFE2_BODY,
    input_spec=CAFFE2_INPUT,
    coder=PointCoder(transform="exp", in_strides=False),
    criterion=FCOSCriterion(
        radius=None,
        closed_ranges=True,
        inclusive=True,
        normalize_targets=False,
        box_loss="iou",
        smoothing=1.0,
        weigh_boxes=True,
    ),
    postprocess=SelectDetections(threshold_on="class", order="location", inclusive=True),
    quality_on="class",
)
IMPROVED = replace(
    ORIGINAL,
    coder=PointCoder(),
    criterion=FCOSCriterion(closed_ranges=True, inclusive=True, smoothing=1.0, weigh_boxes=True),
    quality_on="box",
)
ADELAIDET = replace(
    IMPROVED,
    body=MSRA_BODY,
    input_spec=MSRA_INPUT,
    criterion=FCOSCriterion(closed_ranges=True, smoothing=1.0, weigh_boxes=True),
    postprocess=SelectDetections(threshold_on="class", clip="after", drop_empty=True),
)
DETECTRON2 = FCOSFlavour(
    body=MSRA_BODY,
    input_spec=MSRA_INPUT,
    criterion=FCOSCriterion(moving_start=300.0),
    postprocess=SelectDetections(min_score=0.2, clip="after", drop_empty=True),
    level_scale=False,
)
TORCHVISION = FCOSFlavour(
    body=BodyFlavour(norm="frozen", frozen_stages=2),
    input_spec=TORCHVISION_INPUT,
    class_names="coco_91",
    coder=PointCoder(offset=0.0, steps="padded"),
    level_scale=False,
)
MMDET = FCOSFlavour(
    body=replace(MSRA_BODY, norm_eval=True),
    head_bias=False,
    input_spec=replace(CAFFE2_INPUT, rounding="nearest"),
    coder=PointCoder(transform="exp", in_strides=False),
    criterion=FCOSCriterion(
        radius=None, closed_ranges=True, normalize_targets=False, box_loss="iou", weigh_boxes=True
    ),
    postprocess=SelectDetections(
        threshold_on="class", rank_on="class", combine="product", max_iou=0.5, drop_empty=True
    ),
    quality_on="class",
)
MMDET_IMPROVED = replace(
    MMDET,
    head_bias=True,
    input_spec=MSRA_INPUT,
    coder=PointCoder(),
    criterion=FCOSCriterion(closed_ranges=True, weigh_boxes=True),
    postprocess=replace(MMDET.postprocess, max_iou=0.6),
    quality_on="box",
)

# On a ResNeXt, whose weights were trained on pixels in red, green, blue.
RGB_BODY = replace(MMDET.body, norm="batch", style="pytorch")
MMDET_RGB, MMDET_IMPROVED_RGB = (
    replace(flavour, body=RGB_BODY, input_spec=InputSpec()) for flavour in (MMDET, MMDET_IMPROVED)
)

FCOS_FLAVOURS = {
    "": FCOSFlavour(),
    "original": ORIGINAL,
    "improved": IMPROVED,
    "adelaidet": ADELAIDET,
    "detectron2": DETECTRON2,
    "torchvision": TORCHVISION,
    "mmdet": MMDET,
    "mmdet_improved": MMDET_IMPROVED,
    "mmdet_rgb": MMDET_RGB,
    "mmdet_improved_rgb": MMDET_IMPROVED_RGB,
}
