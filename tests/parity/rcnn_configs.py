"""R-CNN configs of the original programs as arguments of ours: what their checkpoints do not tell."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from foreign_configs import DETECTRON2_NORMS, maskrcnn_benchmark_body

from pagoda.criteria.rcnn import RCNNCriterion
from pagoda.ops.box_coding import BoxCoder
from pagoda.postprocess.proposals import ProposalRules
from pagoda.zoo.families import FAMILIES
from pagoda.zoo.flavours.rcnn import RCNNFlavour

WEIGHTED_LOSSES = {"smooth_l1": "smooth_l1", "giou": "giou"}


def with_proposals(base: RCNNFlavour, training: dict[str, Any], inference: dict[str, Any]) -> RCNNFlavour:
    """The same limits for both kinds of networks: a record is of one kind only."""
    changed = {
        name: ProposalRules(
            training=replace(getattr(base, name).training, **training),
            inference=replace(getattr(base, name).inference, **inference),
        )
        for name in ("proposals", "one_level_proposals")
    }
    return replace(base, **changed)


def maskrcnn_benchmark_flavour(detector: str, options: Mapping[str, Any]) -> RCNNFlavour:
    """A config of maskrcnn-benchmark, whose R-CNNs ask their heads how many detections to keep."""
    options.get("DETECTIONS_PER_IMG")
    base = FAMILIES[detector].flavours["maskrcnn_benchmark"]
    rpn, regions, box = options["RPN"], options["ROI_HEADS"], options["ROI_BOX_HEAD"]

    def limits(phase: str) -> dict[str, Any]:
        found = {
            "max_candidates": rpn[f"PRE_NMS_TOP_N_{phase}"],
            "max_per_level": rpn[f"POST_NMS_TOP_N_{phase}"],
            "max_proposals": rpn[("FPN_" if rpn["USE_FPN"] else "") + f"POST_NMS_TOP_N_{phase}"],
            "max_iou": rpn["NMS_THRESH"],
            "min_side": float(rpn["MIN_SIZE"]) or None,
        }
        if phase == "TRAIN":
            is_pooled = rpn["USE_FPN"] and rpn["FPN_POST_NMS_PER_BATCH"]
            found["pool"] = "batch" if is_pooled else "image"
        return found

    base = with_proposals(base, limits("TRAIN"), limits("TEST"))
    criterion = RCNNCriterion(
        rpn=replace(
            base.criterion.rpn,
            background_iou=rpn["BG_IOU_THRESHOLD"],
            foreground_iou=rpn["FG_IOU_THRESHOLD"],
            border=rpn["STRADDLE_THRESH"] if rpn["STRADDLE_THRESH"] >= 0 else None,
            count=rpn["BATCH_SIZE_PER_IMAGE"],
            positive_share=rpn["POSITIVE_FRACTION"],
        ),
        rois=replace(
            base.criterion.rois,
            min_iou=same(regions, "FG_IOU_THRESHOLD", "BG_IOU_THRESHOLD"),
            count=regions["BATCH_SIZE_PER_IMAGE"],
            positive_share=regions["POSITIVE_FRACTION"],
        ),
        masks=base.criterion.masks,
        keypoints=base.criterion.keypoints,
    )
    return replace(
        base,
        body=maskrcnn_benchmark_body(base.body, options),
        box_coder=replace(base.box_coder, weights=tuple(regions["BBOX_REG_WEIGHTS"])),
        criterion=criterion,
        postprocess=replace(
            base.postprocess,
            min_score=regions["SCORE_THRESH"],
            max_iou=regions["NMS"],
            max_detections=regions["DETECTIONS_PER_IMG"],
        ),
        pooling=replace(base.pooling, sampling_ratio=box["POOLER_SAMPLING_RATIO"]),
        one_level_sampling=box["POOLER_SAMPLING_RATIO"],
    )


def detectron2_flavour(detector: str, options: Mapping[str, Any]) -> RCNNFlavour:
    """A config of detectron2; a last stage that is dilated is told by its being the only one."""
    is_dc5 = options["RESNETS"]["OUT_FEATURES"] == ["res5"]
    assert options["RESNETS"]["RES5_DILATION"] == 1 + is_dc5, "only networks of one level are dilated here"
    base = FAMILIES[detector].flavours["detectron2"]
    rpn, regions, box = options["RPN"], options["ROI_HEADS"], options["ROI_BOX_HEAD"]

    def limits(phase: str) -> dict[str, Any]:
        return {
            "max_candidates": rpn[f"PRE_NMS_TOPK_{phase}"],
            "max_proposals": rpn[f"POST_NMS_TOPK_{phase}"],
            "max_iou": rpn["NMS_THRESH"],
            "min_side": float(options["PROPOSAL_GENERATOR"]["MIN_SIZE"]),
        }

    base = with_proposals(base, limits("TRAIN"), limits("TEST"))
    keypoints = options.get("ROI_KEYPOINT_HEAD", {})
    by_visible = keypoints.get("NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS", True)
    criterion = RCNNCriterion(
        rpn=replace(
            base.criterion.rpn,
            background_iou=rpn["IOU_THRESHOLDS"][0],
            foreground_iou=rpn["IOU_THRESHOLDS"][1],
            border=rpn["BOUNDARY_THRESH"] if rpn["BOUNDARY_THRESH"] >= 0 else None,
            count=rpn["BATCH_SIZE_PER_IMAGE"],
            positive_share=rpn["POSITIVE_FRACTION"],
            smooth_l1_beta=rpn["SMOOTH_L1_BETA"],
            box_loss=WEIGHTED_LOSSES[rpn["BBOX_REG_LOSS_TYPE"]],
            box_weight=rpn["BBOX_REG_LOSS_WEIGHT"] * rpn["LOSS_WEIGHT"],
        ),
        rois=replace(
            base.criterion.rois,
            min_iou=regions["IOU_THRESHOLDS"][0],
            append_objects=regions["PROPOSAL_APPEND_GT"],
            count=regions["BATCH_SIZE_PER_IMAGE"],
            positive_share=regions["POSITIVE_FRACTION"],
            smooth_l1_beta=box["SMOOTH_L1_BETA"],
            box_loss=WEIGHTED_LOSSES[box["BBOX_REG_LOSS_TYPE"]],
            box_weight=box["BBOX_REG_LOSS_WEIGHT"],
        ),
        masks=base.criterion.masks,
        keypoints=replace(
            base.criterion.keypoints,
            normalizer="visible" if by_visible else "budget",
            budget=int(regions["BATCH_SIZE_PER_IMAGE"] * regions["POSITIVE_FRACTION"]),
            weight=keypoints.get("LOSS_WEIGHT", 1.0),
        ),
    )
    return replace(
        base,
        body=replace(
            base.body,
            style="caffe" if options["RESNETS"]["STRIDE_IN_1X1"] else "pytorch",
            norm=DETECTRON2_NORMS[options["RESNETS"]["NORM"]],
        ),
        box_coder=replace(base.box_coder, weights=tuple(box["BBOX_REG_WEIGHTS"])),
        criterion=criterion,
        postprocess=replace(
            base.postprocess,
            min_score=regions["SCORE_THRESH_TEST"],
            max_iou=regions["NMS_THRESH_TEST"],
            max_detections=options["DETECTIONS_PER_IMAGE"],
        ),
        pooling=replace(
            base.pooling,
            sampling_ratio=box["POOLER_SAMPLING_RATIO"],
            aligned=box["POOLER_TYPE"] == "ROIAlignV2",
        ),
        one_level_sampling=box["POOLER_SAMPLING_RATIO"],
    )


def coder_of(coder: BoxCoder, head: Mapping[str, Any]) -> BoxCoder:
    """mmdetection divides deltas by deviations where ours multiplies by weights."""
    return replace(coder, weights=tuple(1 / value for value in head["bbox_coder"]["target_stds"]))


def same(given: Mapping[str, Any], *keys: str) -> Any:
    """The value that all of them must have."""
    values = [given[key] for key in keys]
    assert len(set(values)) == 1, f"{' and '.join(keys)} differ: {values}"
    return values[0]


def mmdet_flavour(detector: str, options: Mapping[str, Any]) -> RCNNFlavour:
    """A model of an mmdetection config."""
    base = FAMILIES[detector].flavours["mmdet"]
    body, test, train = options["backbone"], options["test_cfg"], options["train_cfg"]

    def limits(given: dict[str, Any]) -> dict[str, Any]:
        return {
            "max_candidates": given["nms_pre"],
            "max_proposals": given["max_per_img"],
            "max_iou": given["nms"]["iou_threshold"],
            "min_side": float(given["min_bbox_size"]),
        }

    base = with_proposals(base, limits(train["rpn_proposal"]), limits(test["rpn"]))
    rcnn, first, second = test["rcnn"], train["rpn"], train["rcnn"]
    criterion = RCNNCriterion(
        rpn=replace(
            base.criterion.rpn,
            background_iou=first["assigner"]["neg_iou_thr"],
            foreground_iou=first["assigner"]["pos_iou_thr"],
            count=first["sampler"]["num"],
            positive_share=first["sampler"]["pos_fraction"],
        ),
        rois=replace(
            base.criterion.rois,
            min_iou=same(second["assigner"], "pos_iou_thr", "neg_iou_thr"),
            count=second["sampler"]["num"],
            positive_share=second["sampler"]["pos_fraction"],
        ),
        masks=base.criterion.masks,
        keypoints=base.criterion.keypoints,
    )
    return replace(
        base,
        body=replace(
            base.body,
            style=body.get("style", "pytorch"),
            norm="batch" if body["norm_cfg"]["requires_grad"] else "frozen",
        ),
        rpn_coder=coder_of(base.rpn_coder, options["rpn_head"]),
        box_coder=coder_of(base.box_coder, options["roi_head"]["bbox_head"]),
        criterion=criterion,
        postprocess=replace(
            base.postprocess,
            min_score=rcnn["score_thr"],
            max_iou=rcnn["nms"]["iou_threshold"],
            max_detections=rcnn["max_per_img"],
        ),
        pooling=replace(
            base.pooling,
            sampling_ratio=options["roi_head"]["bbox_roi_extractor"]["roi_layer"]["sampling_ratio"],
        ),
    )
