"""What a record's meta.json may say: every option is read, told by the checkpoint itself, or as the originals have it.

A key that is none of these fails: it would mean something that the comparison silently leaves out.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

TOP = {
    "name", "task", "source", "stubs", "preprocess", "input", "targets", "tolerance", "weights", "outputs",
    "gradients", "notes", "made_with", "frozen_parameters", "modules_in_training_mode",
}  # fmt: skip
SOURCE = {"repository", "commit", "licence", "config", "options", "package", "changed_from_config"}
PREPROCESS = {"channels", "scale", "mean", "std", "text", "pad_to_multiple"}
INPUT = {"seed", "seeds", "shape", "shapes", "network_size_hw", "img_scale", "img_size_wh", "text"}
TARGETS = {
    "boxes_xyxy",
    "boxes_xyxy_class",
    "boxes_cxcywh_class",
    "boxes_yxyx",
    "labels",
    "polygons",
    "keypoints",
    "text",
}
TOLERANCES = {
    "features_rtol_of_max", "detections_abs_px", "scores_abs", "losses_rtol", "gradient_norms_rtol",
    "gradient_values_rtol_of_max", "keypoints_rtol_of_max", "keypoints_outlier_share", "mask_pixels",
    "measured_with_other_kernels",
}  # fmt: skip


class Given(Mapping[str, Any]):
    """Options that remember which of them were asked for."""

    def __init__(self, values: Mapping[str, Any], path: str = "", read: set[str] | None = None) -> None:
        self.values_, self.path, self.read = values, path, set() if read is None else read

    def __getitem__(self, key: str) -> Any:
        value, path = self.values_[key], f"{self.path}{key}"
        if isinstance(value, Mapping):
            return Given(value, f"{path}.", self.read)
        self.read.add(path)
        return value

    def __contains__(self, key: object) -> bool:
        return key in self.values_

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def unread(self) -> dict[str, Any]:
        """{path: value} of the leaves nobody asked for."""
        return {path: value for path, value in leaves(self.values_) if path not in self.read}


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


# Widths, depths and counts, which the checkpoint's shapes tell; how layers were initialised; how code is organised.
TOLD = (
    "name", "text", "*.type", "type", "depth", "phi", "input_shape", "*num_classes", "*NUM_CLASSES",
    "*in_channels", "*out_channels", "*feat_channels", "*stacked_convs", "*init_cfg*", "*NAME", "*PRIOR_PROB",
    "*IN_FEATURES", "*OUT_FEATURES", "*OUT_CHANNELS", "*DEPTH", "*NUM_CONV", "*NUM_CONVS", "*NUM_FC", "*FC_DIM",
    "*CONV_DIM", "*CONV_DIMS", "*HEAD_DIM", "*CONV_LAYERS", "*STACKED_CONVS", "*FEATURE_EXTRACTOR",
    "*PREDICTOR", "*CONV_BODY", "*BODY_AT", "*FREEZE_AT", "*FUNC", "*HEAD_NAME", "*RPN_HEAD", "META_ARCHITECTURE",
    "*NUM_KEYPOINTS", "network", "W_bifpn", "D_bifpn", "compound_coef", "fpn_channels", "*_repeats", "backbone.depth",
    "*SHARE_BOX_FEATURE_EXTRACTOR", "*NUM_GROUPS", "*WIDTH_PER_GROUP", "*DCN*", "*DEFORM*", "groups", "base_width",
    "*USE_GN", "*CLS_AGNOSTIC*", "*fc_out_channels", "*roi_feat_size", "*reg_class_agnostic", "*strides", "*STRIDES",
    "*ANCHOR_STRIDE", "data_preprocessor.*", "*drop_path_rate", "norm_kwargs.*", "*norm_layer", "min_level",
    "num_levels", "max_level", "image_size", "mean", "std", "fill_color", "interpolation", "*POOLER_SCALES",
    "RETINANET.USE_C5", "*num_outs", "*start_level", "*add_extra_convs", "*MIN_KEYPOINTS_PER_IMAGE", "dcn.*",
    "stage_with_dcn",
    "*FED_LOSS*", "jit_loss", "redundant_bias", "head_bn_level_first", "backbone_indices", "stem_channels",
    "base_channels", "in_channels", "deep_stem", "avg_down", "with_cp", "zero_init_residual", "pretrained",
    "*USE_DCN_IN_TOWER", "FPN.USE_GN", "*.pos_weight", "*.debug", "backbone.num_stages", "backbone.out_indices",
    "backbone.frozen_stages", "backbone.norm_eval", "*roi_layer.output_size", "*featmap_strides", "*dcn_on_last_conv",
    "backbone.groups", "backbone.base_width", "*boxes_per_location", "*BOXES_PER_LOCATION", "image_mean", "image_std",
    "*PRETRAINED", "*PIXEL_MEAN", "trainable_backbone_layers", "backbone",
)  # fmt: skip


# What the originals could be told and what is compared in one form only; another value fails.
FIXED: dict[str, tuple[Any, ...]] = {
    "*ASPECT_RATIOS": ([[0.5, 1.0, 2.0]], [0.5, 1.0, 2.0]),
    "*anchor_generator.ratios": ([0.5, 1.0, 2.0],),
    "rpn_head.anchor_generator.scales": ([8],),
    "*octave_base_scale": (4,), "*scales_per_octave": (3,), "RETINANET.OCTAVE": (2.0,),
    "RETINANET.SCALES_PER_OCTAVE": (3,), "RETINANET.STRADDLE_THRESH": (-1,),
    "*ANCHOR_SIZES": ([32, 64, 128, 256, 512],),
    "ANCHOR_GENERATOR.ANGLES": ([[-90, 0, 90]],), "ANCHOR_GENERATOR.OFFSET": (0.0,),
    "ANCHOR_GENERATOR.SIZES": (
        [[32, 64, 128, 256, 512]], [[32], [64], [128], [256], [512]],
        [[side * 2 ** (octave / 3) for octave in range(3)] for side in (32, 64, 128, 256, 512)],
    ),
    "FPN.FUSE_TYPE": ("sum",), "FPN.NORM": ("", "GN"), "RETINANET.NORM": ("",), "ROI_*_HEAD.NORM": ("",),
    "*RES5_DILATION": (1,), "ROI_*_HEAD.DILATION": (1,),
    "*IOU_LABELS": ([0, -1, 1], [0, 1]), "RPN.BBOX_REG_WEIGHTS": ([1.0, 1.0, 1.0, 1.0],),
    "*TRAIN_ON_PRED_BOXES": (False,), "*USE_SIGMOID_CE": (False,),
    "ROI_BOX_HEAD.POOLER_RESOLUTION": (7, 14), "ROI_*_HEAD.POOLER_RESOLUTION": (14,),
    "ROI_*_HEAD.POOLER_SAMPLING_RATIO": (0, 2), "ROI_*_HEAD.POOLER_TYPE": ("ROIAlignV2",),
    "ROI_HEADS.USE_FPN": (True, False), "ROI_KEYPOINT_HEAD.RESOLUTION": (56,), "ROI_MASK_HEAD.RESOLUTION": (28,),
    "ROI_MASK_HEAD.POSTPROCESS_MASKS": (False,), "ROI_MASK_HEAD.POSTPROCESS_MASKS_THRESHOLD": (0.5,),
    "RPN.FPN_POST_NMS_PER_BATCH": (True, False), "RPN.FPN_POST_NMS_TOP_N_*": (1000, 2000),
    "*target_means": ([0.0, 0.0, 0.0, 0.0],), "*.loss_weight": (1.0,), "*.use_sigmoid": (True, False),
    "*conv_bias": (True, "auto"), "*test_cfg.min_bbox_size": (0, -1), "*allowed_border": (-1,),
    "*ignore_iof_thr": (-1,), "*match_low_quality": (True, False), "*neg_pos_ub": (-1,),
    "*add_gt_as_proposals": (True, False), "*min_pos_iou": (0, 0.3, 0.5),
    "fpn_config": (None,), "legacy_focal": (False,), "letterbox_image": (True, False),
}  # fmt: skip


def unexplained(options: Given, fixed: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Options that nobody asked for, no checkpoint tells and that are not as `fixed` says."""
    complaints = []
    for path, value in options.unread().items():
        wanted = next((known for pattern, known in fixed.items() if fnmatchcase(path, pattern)), None)
        if wanted is not None:
            if value not in wanted:
                complaints.append(
                    f"{path}={value!r}, where only {' or '.join(map(repr, wanted))} is compared"
                )
        elif not any(fnmatchcase(path, pattern) for pattern in TOLD):
            complaints.append(f"{path}={value!r}, which nothing reads")
    return complaints


def check_keys(meta: Mapping[str, Any]) -> None:
    """Raises AssertionError for entries outside the options that the comparison does not know."""
    found = [
        ("", set(meta) - TOP),
        ("source.", set(meta["source"]) - SOURCE),
        ("preprocess.", set(meta["preprocess"]) - PREPROCESS),
        ("input.", set(meta["input"]) - INPUT),
        ("tolerance.", set(meta["tolerance"]) - TOLERANCES),
    ]
    targets = meta.get("targets", {})
    for target in targets if isinstance(targets, list) else [targets]:
        found.append(("targets.", set(target) - TARGETS))
    unknown = [f"{where}{key}" for where, keys in found for key in sorted(keys)]
    assert not unknown, f"meta.json says {', '.join(unknown)}, which the comparison does not know"
