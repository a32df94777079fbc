"""What the names and shapes of an R-CNN checkpoint tell: which backbone, one level or a pyramid, which heads."""

import re

from pagoda.convert.architecture.dense import Architecture, body_of, laterals, neck_norm_options
from pagoda.convert.architecture.plugins import Shapes
from pagoda.plain import JsonObject
from pagoda.weights.files import WeightsError

CLASSES, DELTAS = "box_head.classes.weight", "box_head.deltas.weight"
MASK, KEYPOINT = "mask_head.predict.weight", "keypoint_head.predict.weight"


def rcnn_architecture(shapes: Shapes, *, group_norm: bool) -> Architecture:
    """The architecture by canonical shapes of an R-CNN; `group_norm` speaks of the backbone.

    Raises WeightsError for a checkpoint that is cut short.
    """
    lacking = [name for name in ("rpn_head.objectness.weight", CLASSES, DELTAS) if name not in shapes]
    if lacking:
        raise WeightsError(f"{', '.join(lacking)} is not in it: the checkpoint is cut short")
    backbone, options, question = body_of(shapes, group_norm=group_norm)
    neck = neck_of(shapes)
    num_classes = shapes[CLASSES][0] - 1
    detector = "mask_rcnn" if MASK in shapes else "keypoint_rcnn" if KEYPOINT in shapes else "faster_rcnn"
    return Architecture(
        detector=detector,
        backbone=backbone,
        neck=neck,
        num_classes=num_classes,
        options={**options, **_region_options(shapes, neck, num_classes)},
        question=question,
    )


def neck_of(shapes: Shapes) -> str:
    """fpn, c4 (the last stage is in the box head) or dc5 (it is dilated, which no tensor tells)."""
    if any(name.startswith("neck.lateral.") for name in shapes):
        return "fpn"
    return "c4" if any(name.startswith("box_head.trunk.stage.") for name in shapes) else "dc5"


def _region_options(shapes: Shapes, neck: str, num_classes: int) -> JsonObject:
    """Widths, depths and norms that are not the published ones."""
    options: JsonObject = {"width": _width_of(shapes)}
    for head in ("mask_head", "keypoint_head"):
        tower = [s for name, s in shapes.items() if re.fullmatch(rf"{head}\.tower\.\d+\.weight", name)]
        if tower:
            options["head_depth"] = sum(len(shape) == 4 for shape in tower)
    if KEYPOINT in shapes:
        options["num_keypoints"] = shapes[KEYPOINT][1]
    # With a row for the background there are two where one box serves all classes.
    if num_classes > 2 and shapes[DELTAS][0] <= 8:
        options["class_agnostic"] = True
    if neck == "fpn" and laterals(shapes) != (2, 3, 4, 5):
        options["levels"] = laterals(shapes)
    norms = neck_norm_options(shapes)
    return options if norms["neck_norm"] == "none" else {**options, **norms}


def _width_of(shapes: Shapes) -> int:
    """Channels of the neck or the mask head; a quarter of the box head's where there are neither."""
    for name, axis in (
        *((f"neck.output.{level}{at}.weight", 0) for level in (2, 3, 4, 5) for at in ("", ".0")),
        ("mask_head.enlarge.weight", 1),
    ):
        if name in shapes:
            return shapes[name][axis]
    linear = shapes.get("box_head.trunk.1.weight")
    return 256 if linear is None else linear[0] // 4
