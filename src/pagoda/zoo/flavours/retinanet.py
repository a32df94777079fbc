"""RetinaNet as seven programs write it (spec section 3.3). "" is our own best."""

from dataclasses import replace

from pagoda.criteria.dense import RetinaNetCriterion
from pagoda.ops.anchors import AnchorShapes
from pagoda.ops.box_coding import BoxCoder
from pagoda.postprocess.dense import SelectDetections
from pagoda.preprocess import InputSpec
from pagoda.zoo.flavours.base import BodyFlavour, RetinaNetFlavour
from pagoda.zoo.flavours.fcos import (
    CAFFE2_BODY,
    CAFFE2_INPUT,
    IMAGENET_STD,
    MSRA_BODY,
    MSRA_INPUT,
    TORCHVISION_INPUT,
)

CAFFE2 = RetinaNetFlavour(
    body=replace(CAFFE2_BODY, extra_from="C5"),
    head_norm="none",
    input_spec=replace(CAFFE2_INPUT, rounding="nearest"),
    anchors=AnchorShapes(style="caffe2", ratios=(1.0, 2.0, 0.5)),
    coder=BoxCoder(inclusive=True),
    criterion=RetinaNetCriterion(
        match_low_quality="above_low",
        box_loss="smooth_l1",
        smooth_l1_beta=0.11,
        inclusive=True,
        normalizer="batch_plus_images",
    ),
    postprocess=SelectDetections(max_iou=0.5, top_level_min_score=0.0, inclusive=True),
)
MASKRCNN_BENCHMARK = RetinaNetFlavour(
    body=replace(CAFFE2_BODY, extra_from="C5"),
    head_norm="none",
    input_spec=CAFFE2_INPUT,
    anchors=AnchorShapes(style="maskrcnn_benchmark"),
    coder=BoxCoder(weights=(10.0, 10.0, 5.0, 5.0), inclusive=True),
    criterion=RetinaNetCriterion(
        box_loss="smooth_l1",
        smooth_l1_beta=0.11,
        inclusive=True,
        normalizer="batch_plus_images",
        box_normalizer="batch",
        box_weight=0.25,
    ),
    postprocess=SelectDetections(max_iou=0.4, order="location", inclusive=True),
)
DETECTRON2 = RetinaNetFlavour(
    body=replace(MSRA_BODY, extra_from="C5"),
    head_norm="none",
    input_spec=MSRA_INPUT,
    criterion=RetinaNetCriterion(box_loss="smooth_l1", smooth_l1_beta=0.0, moving_start=100.0),
    postprocess=SelectDetections(max_iou=0.5, clip="after", drop_empty=True),
)
TORCHVISION = RetinaNetFlavour(
    # Its published weights run with epsilon 0; torchvision sets it when it loads them, and only then.
    body=BodyFlavour(norm="frozen", eps=0.0, frozen_stages=2),
    head_norm="none",
    input_spec=TORCHVISION_INPUT,
    class_names="coco_91",
    anchors=AnchorShapes(style="torchvision", steps="padded"),
    criterion=RetinaNetCriterion(box_loss="smooth_l1", smooth_l1_beta=0.0, normalizer="image"),
    postprocess=SelectDetections(max_iou=0.5, max_detections=300),
)
TORCHVISION_V2 = replace(
    TORCHVISION,
    body=BodyFlavour(frozen_stages=2, extra_from="C5"),  # its norms learn
    head_norm="group",
    head_bias=False,
    criterion=RetinaNetCriterion(normalizer="image"),
)
BUBBLIIIING = RetinaNetFlavour(
    body=BodyFlavour(pooling="ceil", extra_from="C5"),
    head_norm="none",
    # ImageNet's numbers in the order of blue, green, red, on pictures in red, green, blue: as published.
    input_spec=InputSpec(
        fit="letterbox",
        canvas=(600, 600),
        resample="bicubic",
        mean=(0.406, 0.456, 0.485),
        std=(0.225, 0.224, 0.229),
        pad_multiple=1,
    ),
    class_names="voc",
    anchors=AnchorShapes(style="bubbliiiing"),
    coder=BoxCoder(max_log_growth=None),
    criterion=RetinaNetCriterion(
        match_low_quality="none",
        box_loss="smooth_l1",
        box_weight=0.25,
        normalizer="image",
        probability_margin=5e-4,
    ),
    postprocess=SelectDetections(
        min_score=0.5,
        max_iou=0.3,
        max_candidates=None,
        max_detections=None,
        best_class_only=True,
        keep_equal=True,
    ),
)
MMDET = RetinaNetFlavour(
    body=BodyFlavour(norm_eval=True, frozen_stages=2, extra_from="C5", relu_before_extra=False),
    head_norm="none",
    input_spec=InputSpec(),
    anchors=AnchorShapes(style="mmdet"),
    coder=BoxCoder(limit_shrinking=True),
    criterion=RetinaNetCriterion(
        match_low_quality="claim",
        box_loss="smooth_l1",
        smooth_l1_beta=0.0,
        normalizer="sum_of_images",
    ),
    postprocess=SelectDetections(max_iou=0.5, drop_empty=True),
)
MMDET_CAFFE = replace(
    MMDET,
    body=replace(MMDET.body, norm="frozen", style="caffe"),
    input_spec=MSRA_INPUT,
)
# Facebook's ResNeXt-101-32x8d: pixels in blue, green, red, divided by ImageNet's deviations.
MMDET_BGR = replace(
    MMDET,
    body=replace(MMDET.body, norm="frozen"),
    input_spec=replace(MSRA_INPUT, std=IMAGENET_STD),
)

RETINANET_FLAVOURS = {
    "": RetinaNetFlavour(),
    "caffe2": CAFFE2,
    "maskrcnn_benchmark": MASKRCNN_BENCHMARK,
    "detectron2": DETECTRON2,
    "torchvision": TORCHVISION,
    "torchvision_v2": TORCHVISION_V2,
    "bubbliiiing": BUBBLIIIING,
    "mmdet": MMDET,
    "mmdet_caffe": MMDET_CAFFE,
    "mmdet_bgr": MMDET_BGR,
}
