"""What the names and shapes of a Detect-and-Track checkpoint tell: body, one level or a pyramid, time or none."""

import re
from collections.abc import Mapping

from pagoda.convert.architecture.dense import Architecture, backbone_architecture
from pagoda.convert.architecture.plugins import Shapes, body_shapes
from pagoda.plain import JsonObject
from pagoda.weights.files import WeightsError

CLASSES, DELTAS = "box_head.head.classes.weight", "box_head.head.deltas.weight"
PREDICT = "keypoint_head.predict.weight"
# Where a network with time looks at neighbouring frames.
JOINING = {
    "body": "backbone.layer2.0.conv2.weight",
    "pyramid": "neck.output.2.weight",
    "proposal head": "rpn_head.tower.0.weight",
    "keypoint head": "keypoint_head.tower.0.weight",
}
NORM = re.compile(r"(backbone|box_head)\..*(bn\d|downsample\.1)\.weight")


def clip_architecture(shapes: Shapes, recorded: Mapping[str, int]) -> Architecture:
    """The architecture by canonical shapes.

    `recorded` are options that the file's config tells of clips with time. Raises WeightsError for a
    checkpoint that is cut short.
    """
    lacking = [
        name for name in (JOINING["body"], JOINING["proposal head"], CLASSES, DELTAS) if name not in shapes
    ]
    if lacking:
        raise WeightsError(f"{', '.join(lacking)} is not in it: the checkpoint is cut short")
    body = body_shapes(shapes)
    backbone, options = backbone_architecture(body)
    is_one_level = any(name.startswith("box_head.head.trunk.stage.") for name in shapes)
    kernel = time_kernel(shapes)
    has_time = kernel > 1
    is_all_stages = not is_one_level and not any(name.startswith("neck.") for name in shapes)
    neck = ("c4_" if is_one_level else "c5_" if is_all_stages else "") + ("3d" if has_time else "2d")
    num_classes = shapes[CLASSES][0] - 1
    # One row of boxes is the background's, so for a single class both kinds look alike and mean the same.
    if num_classes > 1 and shapes[DELTAS][0] == 8:
        options["class_agnostic"] = True
    if has_time and kernel != 3:
        options["time_kernel"] = kernel
    if _has_statistics(shapes):
        options["norm"] = "batch"
    return Architecture(
        detector="detect_and_track",
        backbone=backbone,
        neck=neck,
        num_classes=num_classes,
        options={**options, **_keypoint_options(shapes), **(recorded if has_time else {})},
    )


def time_kernel(shapes: Shapes) -> int:
    """Frames that convolutions see, an odd number. Kernels of four axes see one.

    Raises WeightsError where parts differ.
    """
    found = {part: shapes[name] for part, name in JOINING.items() if name in shapes}
    kernels = {part: shape[2] if len(shape) == 5 else 1 for part, shape in found.items()}
    sizes = set(kernels.values())
    if len(sizes) != 1 or min(sizes) % 2 == 0:
        told = ", ".join(f"{part} {kernel}" for part, kernel in kernels.items())
        raise WeightsError(
            f"its kernels see unlike many frames ({told}); models of ours see one odd number everywhere"
        )
    return sizes.pop()


def _keypoint_options(shapes: Shapes) -> JsonObject:
    """How many keypoints, and the head's size where it has one; half its width is that of a pyramid."""
    if PREDICT not in shapes:
        return {"num_keypoints": 0}
    tower = [
        shape for name, shape in shapes.items() if re.fullmatch(r"keypoint_head\.tower\.\d+\.weight", name)
    ]
    inputs, keypoints = shapes[PREDICT][:2]
    width = tower[0][0] if tower else inputs
    return {"num_keypoints": keypoints, "head_depth": len(tower), "width": width // 2}


def _has_statistics(shapes: Shapes) -> bool:
    """Whether batch norms learned. Raises WeightsError where only some kept their statistics."""
    norms = [name.removesuffix("weight") for name in shapes if NORM.fullmatch(name)]
    lacking = [
        f"{norm}{kind}"
        for norm in norms
        for kind in ("running_mean", "running_var")
        if f"{norm}{kind}" not in shapes
    ]
    if lacking and len(lacking) < 2 * len(norms):
        raise WeightsError(
            f"{len(lacking)} statistics of batch norms are not in it ({lacking[0]} …), though others are:"
            " the checkpoint is cut short"
        )
    return not lacking
