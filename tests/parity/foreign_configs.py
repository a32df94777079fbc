"""The original programs' configs as arguments of ours: what their checkpoints do not tell."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pagoda.backbones.resnet_options import Plugin
from pagoda.criteria.dense import FCOSCriterion
from pagoda.ops.box_coding import PointCoder
from pagoda.zoo.flavours.base import BodyFlavour, FCOSFlavour, Flavour, RetinaNetFlavour
from pagoda.zoo.flavours.fcos import FCOS_FLAVOURS
from pagoda.zoo.flavours.retinanet import RETINANET_FLAVOURS


def fcos_flavour(options: Mapping[str, Any]) -> FCOSFlavour:
    """A config of tianzhi0549/FCOS."""
    given = options["FCOS"]
    normalized, base = given["NORM_REG_TARGETS"], FCOS_FLAVOURS["original"]
    return replace(
        base,
        body=maskrcnn_benchmark_body(base.body, options),
        coder=PointCoder() if normalized else PointCoder(transform="exp", in_strides=False),
        criterion=FCOSCriterion(
            radius=given["CENTER_SAMPLING_RADIUS"] or None,
            closed_ranges=True,
            inclusive=True,
            normalize_targets=normalized,
            box_loss=given["IOU_LOSS_TYPE"],
            smoothing=1.0,
            weigh_boxes=True,
            alpha=given["LOSS_ALPHA"],
            gamma=given["LOSS_GAMMA"],
        ),
        postprocess=replace(
            base.postprocess,
            min_score=given["INFERENCE_TH"],
            max_iou=given["NMS_TH"],
            max_candidates=given["PRE_NMS_TOP_N"],
            max_detections=options["DETECTIONS_PER_IMG"],
        ),
        quality_on="box" if given["CENTERNESS_ON_REG"] else "class",
    )


def maskrcnn_benchmark_body(base: BodyFlavour, options: Mapping[str, Any]) -> BodyFlavour:
    """Also of tianzhi0549/FCOS."""
    return replace(
        base,
        style="caffe" if options["RESNETS"]["STRIDE_IN_1X1"] else "pytorch",
        neck_relu=options["FPN"]["USE_RELU"],
    )


def maskrcnn_benchmark_flavour(options: Mapping[str, Any]) -> RetinaNetFlavour:
    """A RetinaNet config of maskrcnn-benchmark."""
    given, base = options["RETINANET"], RETINANET_FLAVOURS["maskrcnn_benchmark"]
    return replace(
        base,
        body=maskrcnn_benchmark_body(base.body, options),
        criterion=replace(
            base.criterion,
            background_iou=given["BG_IOU_THRESHOLD"],
            foreground_iou=given["FG_IOU_THRESHOLD"],
            alpha=given["LOSS_ALPHA"],
            gamma=given["LOSS_GAMMA"],
            box_weight=1 / given["BBOX_REG_WEIGHT"],
            smooth_l1_beta=given["BBOX_REG_BETA"],
        ),
        postprocess=replace(
            base.postprocess,
            min_score=given["INFERENCE_TH"],
            max_iou=given["NMS_TH"],
            max_candidates=given["PRE_NMS_TOP_N"],
            max_detections=options["DETECTIONS_PER_IMG"],
        ),
    )


def bubbliiiing_flavour(options: Mapping[str, Any]) -> RetinaNetFlavour:
    """Arguments of its Retinanet class."""
    base = RETINANET_FLAVOURS["bubbliiiing"]
    is_letterboxed = options.get("letterbox_image", True)
    return replace(
        base,
        input_spec=replace(base.input_spec, fit="letterbox" if is_letterboxed else "stretch"),
        postprocess=replace(base.postprocess, min_score=options["confidence"], max_iou=options["nms_iou"]),
    )


def detectron2_fcos_flavour(options: Mapping[str, Any]) -> FCOSFlavour:
    """Of its lazy config, as far as options change it."""
    base = FCOS_FLAVOURS["detectron2"]
    names = {
        "test_score_thresh": "min_score",
        "test_nms_thresh": "max_iou",
        "test_topk_candidates": "max_candidates",
        "max_detections_per_image": "max_detections",
    }
    given = {ours: options[theirs] for theirs, ours in names.items() if theirs in options}
    losses = {
        ours: options[theirs]
        for theirs, ours in (("focal_loss_alpha", "alpha"), ("focal_loss_gamma", "gamma"))
        if theirs in options
    }
    return replace(
        base, postprocess=replace(base.postprocess, **given), criterion=replace(base.criterion, **losses)
    )


DETECTRON2_NORMS = {"FrozenBN": "frozen", "BN": "batch", "SyncBN": "batch", "GN": "group"}


def detectron2_flavour(options: Mapping[str, Any]) -> Flavour | None:
    """A RetinaNet config of detectron2; None for its FCOS, whose only config is our flavour."""
    if "RETINANET" not in options:
        return detectron2_fcos_flavour(options)
    given, base = options["RETINANET"], RETINANET_FLAVOURS["detectron2"]
    return replace(
        base,
        body=replace(
            base.body,
            style="caffe" if options["RESNETS"]["STRIDE_IN_1X1"] else "pytorch",
            norm=DETECTRON2_NORMS[options["RESNETS"]["NORM"]],
        ),
        coder=replace(base.coder, weights=tuple(given["BBOX_REG_WEIGHTS"])),
        criterion=replace(
            base.criterion,
            background_iou=given["IOU_THRESHOLDS"][0],
            foreground_iou=given["IOU_THRESHOLDS"][1],
            alpha=given["FOCAL_LOSS_ALPHA"],
            gamma=given["FOCAL_LOSS_GAMMA"],
            box_loss=given["BBOX_REG_LOSS_TYPE"],
            smooth_l1_beta=given["SMOOTH_L1_LOSS_BETA"],
        ),
        postprocess=replace(
            base.postprocess,
            min_score=given["SCORE_THRESH_TEST"],
            max_iou=given["NMS_THRESH_TEST"],
            max_candidates=given["TOPK_CANDIDATES_TEST"],
            max_detections=options["DETECTIONS_PER_IMAGE"],
        ),
    )


def mmdet_flavour(options: Mapping[str, Any]) -> Flavour:
    """A model of an mmdetection config."""
    head, test, body = options["bbox_head"], options["test_cfg"], options["backbone"]
    is_fcos = head["type"] == "FCOSHead"
    if is_fcos:
        base = FCOS_FLAVOURS["mmdet_improved" if head.get("norm_on_bbox") else "mmdet"]
        losses = {"IoULoss": "iou", "GIoULoss": "giou"}
        base = replace(
            base,
            quality_on="box" if head.get("centerness_on_reg") else "class",
            criterion=replace(
                base.criterion,
                radius=head.get("center_sample_radius", 1.5) if head.get("center_sampling") else None,
                box_loss=losses[head["loss_bbox"]["type"]],
                **focal(head),
            ),
        )
    else:
        base = RETINANET_FLAVOURS["mmdet"]
        assigner, stds = options["train_cfg"]["assigner"], head["bbox_coder"]["target_stds"]
        base = replace(
            base,
            coder=replace(base.coder, weights=tuple(1 / value for value in stds)),
            criterion=replace(
                base.criterion,
                background_iou=assigner["neg_iou_thr"],
                foreground_iou=assigner["pos_iou_thr"],
                **focal(head),
            ),
        )
    return replace(
        base,
        body=replace(
            base.body,
            style=body.get("style", "pytorch"),
            norm="batch" if body["norm_cfg"]["requires_grad"] else "frozen",
            relu_before_extra=options["neck"].get("relu_before_extra_convs", False),
        ),
        postprocess=replace(
            base.postprocess,
            min_score=test["score_thr"],
            max_iou=test["nms"]["iou_threshold"],
            max_candidates=test["nms_pre"],
            max_detections=test["max_per_img"],
        ),
    )


def focal(head: Mapping[str, Any]) -> dict[str, float]:
    return {"alpha": head["loss_cls"]["alpha"], "gamma": head["loss_cls"]["gamma"]}


def mmdet_backbone_choices(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of an mmdetection ResNet: what `load_backbone` must be told."""
    norm = options.get("norm_cfg", {"type": "BN"})
    stages = options.get("num_stages", 4)
    choices: dict[str, Any] = {
        "levels": tuple(2 + index for index in sorted(options.get("out_indices", (0, 1, 2, 3))[:stages])),
        "num_stages": stages,
        "norm_eval": options.get("norm_eval", True),
        # stem and stages count from 1 with us, from 0 there
        "frozen_stages": options.get("frozen_stages", -1) + 1,
        "style": options.get("style", "pytorch"),
        "strides": tuple(options.get("strides", (1, 2, 2, 2)))[:stages],
        "dilations": tuple(options.get("dilations", (1, 1, 1, 1)))[:stages],
    }
    learns = norm.get("requires_grad", True)
    if norm["type"] == "GN":
        choices["norm_groups"] = norm["num_groups"]
        assert learns, "group norms that never learn are not compared"
    else:
        choices["norm"] = "batch" if learns else "frozen"
    choices["standardized"] = (options.get("conv_cfg") or {}).get("type") == "ConvWS"
    if options.get("plugins"):
        choices["plugins"] = tuple(mmdet_plugin(plugin) for plugin in options["plugins"])
    return choices


PLUGINS = {
    "ContextBlock": "context_block",
    "NonLocal2d": "nonlocal_block",
    "GeneralizedAttention": "gen_attention_block",
}


FUSIONS = {
    ("channel_add",): "add",
    ("channel_mul",): "multiply",
    ("channel_add", "channel_mul"): "multiply_add",
}
SETTINGS = {
    "context_block": lambda given: {
        "ratio": given["ratio"],
        "pooling": {"att": "attention", "avg": "average"}[given.get("pooling_type", "att")],
        "fusion": FUSIONS[tuple(sorted(given.get("fusion_types", ("channel_add",))))],
    },
    "nonlocal_block": lambda given: {
        key: given[key] for key in ("reduction", "mode", "use_scale", "sub_sample") if key in given
    },
    "gen_attention_block": lambda given: {
        "heads": given.get("num_heads", 9),
        "terms": given.get("attention_type", "1111"),
        "key_stride": given.get("kv_stride", 2),
        "query_stride": given.get("q_stride", 1),
        **({"spatial_range": given["spatial_range"]} if given.get("spatial_range", -1) >= 0 else {}),
    },
}


def mmdet_plugin(plugin: dict[str, Any]) -> Plugin:
    settings = dict(plugin["cfg"])
    module = PLUGINS[settings.pop("type")]
    name = module + str(settings.pop("postfix", ""))
    settings = SETTINGS[module](settings)
    stages = plugin.get("stages", (True,) * 4)
    return Plugin(
        module=module,
        options=settings,
        levels=tuple(2 + index for index, used in enumerate(stages) if used),
        position=plugin["position"],
        name=name,
    )


def with_preprocessing(flavour: Flavour, preprocess: Mapping[str, Any]) -> Flavour:
    """The channel order and statistics of a record, which are given in that order."""
    step = -1 if preprocess["channels"] == "BGR" else 1
    unit = 1.0 if preprocess["scale"] == 255 else 255.0
    spec = replace(
        flavour.input_spec,
        channel_order=preprocess["channels"],
        scale=unit,
        mean=tuple(preprocess["mean"][::step]),
        std=tuple(preprocess["std"][::step]),
    )
    return replace(flavour, input_spec=spec)
