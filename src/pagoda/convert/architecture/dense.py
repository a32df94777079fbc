"""What the names and shapes of a checkpoint tell: which backbone, how wide, how deep, how many classes."""

import re
from dataclasses import dataclass, field

from pagoda.convert.architecture.deformable import deform_options
from pagoda.convert.architecture.efficientnet import efficientnet_of
from pagoda.convert.architecture.plugins import Shapes, body_shapes, plugin_options
from pagoda.messages import short_list
from pagoda.plain import JsonObject, checked
from pagoda.weights.files import WeightsError

RESNETS = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}


@checked
@dataclass(frozen=True)
class Architecture:
    """A detector (or a backbone alone, where `detector` is None) in the words of the zoo."""

    detector: str | None
    """what the zoo's names begin with; None: there is none"""
    backbone: str
    """as the zoo calls it"""
    neck: str | None = None
    """as the zoo calls it; None of a backbone alone"""
    num_classes: int | None = None
    """of foreground; None of a backbone alone"""
    options: JsonObject = field(default_factory=dict)
    """of the model, as `create_model` takes them"""
    extra_from: str | None = None
    """of the FPN"""
    box_rows: int = 4
    """outputs of the box head: 4 for each anchor of a cell"""
    question: str | None = None
    """what the tensors do not tell of the backbone, so that `plugins` have to be handed over"""
    deform_question: str | None = None
    """… or which kind of deformable convolutions it has"""


def dense_architecture(shapes: Shapes, *, group_norm: bool) -> Architecture:
    """The architecture by canonical shapes, of a dense detector or a backbone alone.

    `group_norm` speaks of the backbone. Raises WeightsError for tensors of no network that the zoo has.
    """
    backbone, options, question = body_of(shapes, group_norm=group_norm)
    if "class_head.predict.weight" not in shapes:
        if any(name.startswith(("class_head.", "box_head.")) for name in shapes):
            raise WeightsError("there are towers but no class prediction: the checkpoint is cut short")
        return Architecture(None, backbone, options=options, question=question)
    if "box_head.predict.weight" not in shapes:
        raise WeightsError("there is a class prediction but none of boxes: the checkpoint is cut short")
    class_rows, width = shapes["class_head.predict.weight"][:2]
    box_rows = shapes["box_head.predict.weight"][0]
    has_quality = "quality.weight" in shapes
    if not has_quality and (box_rows % 4 or class_rows % (box_rows // 4)):
        raise WeightsError(
            f"{class_rows} class rows and {box_rows} box rows fit no number of anchors per location"
        )
    return Architecture(
        detector="fcos" if has_quality else "retinanet",
        backbone=backbone,
        neck="fpn",
        num_classes=class_rows if has_quality else class_rows // (box_rows // 4),
        options={**options, "width": width, **_neck_options(shapes), **_head_options(shapes)},
        extra_from=_extra_source(shapes, width),
        box_rows=box_rows,
        question=question,
    )


def body_of(shapes: Shapes, *, group_norm: bool) -> tuple[str, JsonObject, str | None]:
    """(backbone, its options, what the tensors do not tell of it) of a detector's canonical shapes."""
    body = body_shapes(shapes)
    backbone, options = backbone_architecture(body)
    plugins, question = plugin_options(body)
    if plugins:
        options["plugins"] = plugins
    if group_norm:
        options["norm"] = "group"
    return backbone, options, question


def _neck_options(shapes: Shapes) -> JsonObject:
    """Norm and levels of the FPN."""
    levels = [
        int(name.split(".")[2]) for name in shapes if re.match(r"neck\.(lateral|output|extra)\.\d", name)
    ]
    if not levels:
        raise WeightsError("there are heads but no pyramid (FPN) in the checkpoint")
    options: JsonObject = {**neck_norm_options(shapes), "top_level": max(levels)}
    is_sequential = any(re.fullmatch(r"neck\.lateral\.\d\.0\.weight", name) for name in shapes)
    if laterals(shapes) != (3, 4, 5):
        options["levels"] = laterals(shapes)
    # A sequence of one convolution ends in a ReLU; behind a norm, names cannot tell whether there is one.
    is_norm_free = options["neck_norm"] == "none"
    return {**options, "neck_relu": True} if is_sequential and is_norm_free else options


def neck_norm_options(shapes: Shapes) -> JsonObject:
    """Of an FPN: which norm, and behind which convolutions where that is not as usual."""
    norms = [match[1] for name in shapes if (match := re.fullmatch(r"neck\.(\w+)\.\d\.1\.weight", name))]
    has_statistics = any(re.fullmatch(r"neck\.\w+\.\d\.1\.running_var", name) for name in shapes)
    places = tuple(kind for kind in ("lateral", "output", "extra") if kind in norms)
    usual = {} if places in ((), ("lateral", "output")) else {"neck_norm_on": places}
    return {"neck_norm": "none" if not norms else "batch" if has_statistics else "group", **usual}


def laterals(shapes: Shapes) -> tuple[int, ...]:
    """The levels of the backbone that the FPN reads."""
    found = (re.match(r"neck\.lateral\.(\d)\.", name) for name in shapes)
    return tuple(sorted({int(match[1]) for match in found if match}))


def _extra_source(shapes: Shapes, width: int) -> str | None:
    """ "C5" or "P5", by what the first extra level reads; None where there is no such level or both fit."""
    highest = max(laterals(shapes), default=5)
    extra = shapes.get(f"neck.extra.{highest + 1}.weight")
    at = f"neck.lateral.{highest}"
    lateral = shapes.get(f"{at}.weight", shapes.get(f"{at}.0.weight"))  # with a norm behind
    if extra is None or lateral is None or lateral[1] == width:
        return None
    return "C5" if extra[1] == lateral[1] else "P5"


def _head_options(shapes: Shapes) -> JsonObject:
    """Depth, norm, bias and deformable end of the towers."""
    tower = {
        int(found.group(1)): shape
        for name, shape in shapes.items()
        if (found := re.fullmatch(r"class_head\.tower\.(\d+)\.weight", name))
    }
    convolutions = [index for index, shape in tower.items() if len(shape) == 4]
    last = max(convolutions, default=0)
    return {
        "head_depth": len(convolutions),
        "head_norm": "group" if len(tower) > len(convolutions) else "none",
        "head_bias": f"class_head.tower.{last}.bias" in shapes,
        "head_deform": f"class_head.tower.{last}.offset.weight" in shapes,
    }


def backbone_architecture(body: Shapes) -> tuple[str, JsonObject]:
    """(name in the zoo, options) from the backbone's tensors, `backbone.` cut off.

    Raises WeightsError for one that is not in the zoo.
    """
    if "layer1.0.conv1.weight" in body or "layer1.0.conv1.primary_conv.0.weight" in body:
        return _resnet_architecture(body)
    if "features.0.0.weight" in body:
        return "mobilenet_v2", {}
    if "features.28.weight" in body:
        return "vgg16", {}
    if "conv_stem.weight" in body and any(".ghost1." in name for name in body):
        version = "v2" if any(".short_conv." in name for name in body) else ""
        return f"ghostnet{version}_{_ghostnet_width(body)}", {}
    if "body.blocks.0.0.conv_dw.weight" in body:
        return f"timm:tf_efficientnet_{efficientnet_of(body)}", {}
    raise WeightsError(
        "no backbone is recognised (ResNet, ResNeXt, MobileNetV2, GhostNet and EfficientNet are); the file's first"
        f" tensors: {short_list(body, 5)}"
    )


def _ghostnet_width(body: Shapes) -> str:
    """ "100" for 1.0, … from the last stage's 160 channels."""
    last = body.get("blocks.8.0.ghost2.primary_conv.0.weight")
    if last is None:
        raise WeightsError("its last GhostNet blocks are missing: the checkpoint is cut short")
    return str(round(100 * 2 * last[0] / 160 / 10) * 10)


def _resnet_architecture(body: Shapes) -> tuple[str, JsonObject]:
    """(name, options) of a ResNet by torchvision's names; "c" and "d" are timm's for deep stem and pooled shortcut."""
    is_bottleneck = any(name.startswith("layer1.0.conv3.") for name in body)
    name = f"resnet{_resnet_depth(body, is_bottleneck)}{_stem_and_shortcut(body)}"
    options: JsonObject = _stem_options(body, is_bottleneck)
    if _stem_and_shortcut(body) == "" and _averages(body):
        options["avg_down"] = True
    if is_bottleneck and "layer1.0.conv2.weight" in body:
        width, per_group = body["layer1.0.conv2.weight"][:2]
        groups = width // per_group
        if groups > 1:
            name = f"{name.replace('resnet', 'resnext')}_{groups}x{per_group}d"
        elif width != options.get("base_channels", 64):
            raise WeightsError(f"bottlenecks {width} wide: wide ResNets are not in the zoo")
    if "layer1.0.conv1.primary_conv.0.weight" in body:
        name = f"ghost_{name}"
    return name, {**options, **deform_options(body)}


def _stem_and_shortcut(body: Shapes) -> str:
    """ "c" of a deep stem, "d" of one with averaging shortcuts, else ""."""
    if "conv1.0.weight" not in body:
        return ""
    return "d" if _averages(body) else "c"


def _averages(body: Shapes) -> bool:
    """Whether projections have a pooling in front, so that their convolution is the second layer."""
    return any(len(body.get(f"layer{stage}.0.downsample.1.weight", ())) == 4 for stage in (1, 2))


def _stem_options(body: Shapes, is_bottleneck: bool) -> dict[str, int]:
    """Channels of picture, stem and layer1 where they are not 3, 64 and 64."""
    first = body.get("conv1.weight", body.get("conv1.0.weight", (64, 3)))
    last = body.get("conv1.6.weight", first)
    block = body.get("layer1.0.conv3.weight" if is_bottleneck else "layer1.0.conv1.weight", (0,))
    base = block[0] // 4 if is_bottleneck else block[0]
    found = {"in_channels": first[1], "stem_channels": last[0], "base_channels": base or 64}
    usual = {"in_channels": 3, "stem_channels": 64, "base_channels": 64}
    return {name: value for name, value in found.items() if value != usual[name]}


def _resnet_depth(body: Shapes, is_bottleneck: bool) -> int:
    """By the number of blocks per stage; stages that are not in the file (C4 bodies) do not count."""
    counts = [
        len({name.split(".")[1] for name in body if name.startswith(f"layer{stage}.")})
        for stage in range(1, 5)
    ]
    present = [count for count in counts if count]
    for (known, bottleneck), depth in RESNETS.items():
        if bottleneck == is_bottleneck and list(known[: len(present)]) == present:
            return depth
    raise WeightsError(
        f"no ResNet has {present} {'bottlenecks' if is_bottleneck else 'basic blocks'} per stage"
    )
