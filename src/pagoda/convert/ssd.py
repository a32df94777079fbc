"""SSD300, SSD512 and SSDlite as ssd.pytorch (amdegroot), lufficc, torchvision and mmdetection name their tensors.

Levels are counted from that of the first source: 3 on a VGG16, 4 on a MobileNet.
"""

import re
from collections.abc import Iterator, Mapping

from pagoda.convert.architecture.dense import Architecture
from pagoda.convert.architecture.plugins import Shapes
from pagoda.convert.names.rules import Rule
from pagoda.convert.source import APACHE, BSD, MIT, Source
from pagoda.weights.files import WeightsError

MOST_LEVELS = 8
"""published ones have six or seven"""
VGG_FIRST, LITE_FIRST = 3, 4
BACKBONE_LEVELS = 2
CLASS, BOX = "class_head.predict", "box_head.predict"
PREDICTION = re.compile(r"(class|box)_head\.predict\.(\d+)(\.3)?\.(weight|bias)")
"""tensors of which each row belongs to one number of one default box; those of SSDlite end a Sequential"""


def head_rules(classes: str, boxes: str, first: int) -> Iterator[Rule]:
    """Of heads that are numbered from 0 on where `{i}` stands.

    >>> next(head_rules("conf.{i}", "loc.{i}", 3)).source
    'conf.0.{rest}'
    """
    for index in range(MOST_LEVELS):
        for theirs, ours in ((classes, CLASS), (boxes, BOX)):
            yield Rule(f"{theirs.format(i=index)}.{{rest}}", f"{ours}.{first + index}.{{rest}}")


def vgg_rules(prefix: str) -> Iterator[Rule]:
    """Of a VGG16 whose fc6 and fc7 are numbers 31 and 33 of one list.

    >>> [rule.source for rule in vgg_rules("vgg")]
    ['vgg.31.{rest}', 'vgg.33.{rest}', 'vgg.{n}.{rest}']
    """
    yield Rule(f"{prefix}.31.{{rest}}", "backbone.fc6.{rest}")
    yield Rule(f"{prefix}.33.{{rest}}", "backbone.fc7.{rest}")
    yield Rule(f"{prefix}.{{n}}.{{rest}}", "backbone.features.{n}.{rest}")


def _extra_rules(first: str, second: str) -> Iterator[Rule]:
    """Of further levels on a VGG16; patterns with the numbers {i} of the level, {j} and {k} of its convolutions."""
    start = VGG_FIRST + BACKBONE_LEVELS
    for index in range(MOST_LEVELS - BACKBONE_LEVELS):
        numbers = {"i": index, "n": index + 1, "j": 2 * index, "k": 2 * index + 1}
        for part, theirs in enumerate((first, second)):
            yield Rule(
                f"{theirs.format(**numbers)}.{{rest}}", f"neck.extra.{start + index}.{part}.0.{{rest}}"
            )


L2 = f"neck.l2_norms.{VGG_FIRST}.weight"
AMDEGROOT_RULES = (
    *vgg_rules("vgg"),
    Rule("L2Norm.weight", L2),
    *_extra_rules("extras.{j}", "extras.{k}"),
    *head_rules("conf.{i}", "loc.{i}", VGG_FIRST),
)
LUFFICC_HEADS = ("box_head.predictor.cls_headers.{i}", "box_head.predictor.reg_headers.{i}")
LUFFICC_RULES = (
    *vgg_rules("backbone.vgg"),
    Rule("backbone.l2_norm.weight", L2),
    *_extra_rules("backbone.extras.{j}", "backbone.extras.{k}"),
    *head_rules(*LUFFICC_HEADS, VGG_FIRST),
)
MMDET_RULES = (
    *vgg_rules("backbone.features"),
    Rule("neck.l2_norm.weight", L2),
    *_extra_rules("neck.extra_layers.{i}.0.conv", "neck.extra_layers.{i}.1.conv"),
    *head_rules("bbox_head.cls_convs.{i}.0", "bbox_head.reg_convs.{i}.0", VGG_FIRST),
)
TORCHVISION_HEADS = ("head.classification_head.module_list.{i}", "head.regression_head.module_list.{i}")
TORCHVISION_RULES = (
    Rule("backbone.extra.0.7.1.{rest}", "backbone.fc6.{rest}"),
    Rule("backbone.extra.0.7.3.{rest}", "backbone.fc7.{rest}"),
    *(Rule(f"backbone.extra.0.{n}.{{rest}}", f"backbone.features.{23 + n}.{{rest}}") for n in (1, 3, 5)),
    Rule("backbone.features.{n}.{rest}", "backbone.features.{n}.{rest}"),
    Rule("backbone.scale_weight", L2),
    *_extra_rules("backbone.extra.{n}.0", "backbone.extra.{n}.2"),
    *head_rules(*TORCHVISION_HEADS, VGG_FIRST),
)


def _lite_head_rules() -> Iterator[Rule]:
    """torchvision keeps depthwise convolution and norm in a Sequential of their own."""
    for index in range(MOST_LEVELS):
        for theirs, ours in zip(TORCHVISION_HEADS, (CLASS, BOX), strict=True):
            at, level = theirs.format(i=index), LITE_FIRST + index
            yield Rule(f"{at}.1.{{rest}}", f"{ours}.{level}.3.{{rest}}")
            yield Rule(f"{at}.0.{{n}}.{{rest}}", f"{ours}.{level}.{{n}}.{{rest}}")


SPLIT = 13
"""the block of MobileNetV3 whose expansion ends torchvision's first part"""
TORCHVISION_LITE_RULES = (
    Rule(f"backbone.features.0.{SPLIT}.{{rest}}", f"backbone.features.{SPLIT}.block.0.{{rest}}"),
    *(
        Rule(f"backbone.features.1.0.{n}.{{rest}}", f"backbone.features.{SPLIT}.block.{n}.{{rest}}")
        for n in range(1, 4)
    ),
    *(
        Rule(f"backbone.features.1.{n}.{{rest}}", f"backbone.features.{SPLIT + n}.{{rest}}")
        for n in range(1, 4)
    ),
    Rule("backbone.features.0.{n}.{rest}", "backbone.features.{n}.{rest}"),
    *(
        Rule(f"backbone.extra.{n}.{{rest}}", f"neck.extra.{LITE_FIRST + BACKBONE_LEVELS + n}.{{rest}}")
        for n in range(MOST_LEVELS - BACKBONE_LEVELS)
    ),
    *_lite_head_rules(),
)


def _inverted_rules() -> Iterator[Rule]:
    """lufficc's further levels on MobileNetV2: the norm of the last convolution stands beside it."""
    for index in range(MOST_LEVELS - BACKBONE_LEVELS):
        at, level = f"backbone.extras.{index}.conv", LITE_FIRST + BACKBONE_LEVELS + index
        yield Rule(f"{at}.2.{{rest}}", f"neck.extra.{level}.2.0.{{rest}}")
        yield Rule(f"{at}.3.{{rest}}", f"neck.extra.{level}.2.1.{{rest}}")
        yield Rule(f"{at}.{{n}}.{{rest}}", f"neck.extra.{level}.{{n}}.{{rest}}")


LUFFICC_LITE_RULES = (
    Rule("backbone.features.{n}.{rest}", "backbone.features.{n}.{rest}"),
    *_inverted_rules(),
    *head_rules(*LUFFICC_HEADS, LITE_FIRST),
)
COCO_COUNTS, VOC_COUNT = (80, 90, 200), 20
"""of classes; 200 are those of ssd.pytorch's configuration for COCO"""
BY_LEVELS = {6: "ssd300", 7: "ssd512"}


def ssd_architecture(shapes: Shapes, *, has_tables: bool) -> Architecture:
    """Which SSD it is, from canonical shapes: on a VGG16 by the number of levels.

    `has_tables`: the program has another table of default boxes for VOC than for COCO; which is told by the number of
    classes. Raises WeightsError for one that is not built.
    """
    rows = {"class": {}, "box": {}}  # type: dict[str, dict[int, int]]
    for name, shape in shapes.items():
        found = PREDICTION.fullmatch(name)
        if found and found[4] == "bias":
            rows[found[1]][int(found[2])] = shape[0]
    classes = {
        4 * count / rows["box"][level] for level, count in rows["class"].items() if rows["box"].get(level)
    }
    if set(rows["class"]) != set(rows["box"]) or len(classes) != 1 or not next(iter(classes)).is_integer():
        raise WeightsError(
            f"{rows['class']} class rows and {rows['box']} box rows of the levels fit no number of classes"
        )
    count = int(next(iter(classes))) - 1
    detector, backbone = _kind(shapes, len(rows["class"]))
    options = {} if in_channels(shapes) == 3 else {"in_channels": in_channels(shapes)}
    if has_tables and count in (*COCO_COUNTS, VOC_COUNT) and detector != "ssdlite320":
        options["box_sizes"] = "voc" if count == VOC_COUNT else "coco"  # type: ignore[assignment]
    return Architecture(detector, backbone, neck="", num_classes=count, options=dict(options))


def _kind(shapes: Shapes, levels: int) -> tuple[str, str]:
    """(detector, backbone) as the zoo calls them."""
    if "backbone.fc7.weight" in shapes:
        if levels not in BY_LEVELS:
            raise WeightsError(
                f"an SSD of {levels} levels on a VGG16; those of 6 (300) and 7 (512) are built"
            )
        return BY_LEVELS[levels], "vgg16"
    is_third = any(".block." in name for name in shapes)
    return "ssdlite320", "mobilenet_v3_large" if is_third else "mobilenet_v2"


def in_channels(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Channels of the pictures that the first convolution reads; 3 where it is not there.

    >>> in_channels({"backbone.features.0.weight": (64, 1, 3, 3)})
    1
    """
    names = ("backbone.features.0.weight", "backbone.features.0.0.weight")
    return next((shapes[name][1] for name in names if name in shapes), 3)


SSD_SOURCES = (
    Source(
        name="amdegroot",
        title="SSD of pytorch (amdegroot)",
        licence=MIT,
        marks=(r"^vgg\.\d+\.", r"^L2Norm\.weight$", r"^loc\.\d+\."),
        rules=AMDEGROOT_RULES,
        flavours={"ssd300": ("amdegroot",), "ssd512": ("amdegroot",)},
        background="first",
    ),
    Source(
        name="lufficc",
        title="SSD of lufficc/SSD",
        licence=MIT,
        marks=(r"^backbone\.vgg\.\d+\.", r"^box_head\.predictor\.cls_headers\."),
        rules=LUFFICC_RULES,
        flavours={"ssd300": ("lufficc",), "ssd512": ("lufficc",)},
        background="first",
    ),
    Source(
        name="lufficc",
        title="SSDlite of lufficc/SSD on MobileNetV2",
        licence=MIT,
        marks=(r"^backbone\.features\.18\.", r"^box_head\.predictor\.cls_headers\."),
        rules=LUFFICC_LITE_RULES,
        flavours={"ssdlite320": ("lufficc",)},
        background="first",
    ),
    Source(
        name="torchvision",
        title="torchvision SSD",
        licence=BSD,
        marks=(r"^backbone\.scale_weight$", r"^head\.classification_head\.module_list\."),
        rules=TORCHVISION_RULES,
        flavours={"ssd300": ("torchvision",)},
        background="first",
        box_tables=False,
    ),
    Source(
        name="torchvision",
        title="torchvision SSDlite",
        licence=BSD,
        marks=(r"^backbone\.features\.1\.0\.", r"^head\.classification_head\.module_list\.0\.0\.0\."),
        rules=TORCHVISION_LITE_RULES,
        flavours={"ssdlite320": ("torchvision",)},
        background="first",
        box_tables=False,
    ),
    Source(
        name="mmdet",
        title="mmdetection SSD",
        licence=APACHE,
        marks=(r"^backbone\.features\.33\.", r"^neck\.extra_layers\.", r"^bbox_head\.cls_convs\."),
        rules=MMDET_RULES,
        flavours={"ssd300": ("mmdet",), "ssd512": ("mmdet",)},
        background="last",
    ),
)
