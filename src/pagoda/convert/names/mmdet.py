"""mmdetection 1 to 3: FCOS, RetinaNet, and its ResNets; spec sections 3.4, 4.4 of the ResNet page."""

from collections.abc import Iterator, Sequence

from pagoda.convert.names.pyramids import Pyramid
from pagoda.convert.names.rules import Rule


def _body_rules(theirs: str) -> Iterator[Rule]:
    """ResNet, ResNeXt, V1c, V1d with batch or group norm, deformable stages, plugins."""
    ours = "backbone."
    yield Rule(f"{theirs}fc.{{rest}}", None, "ImageNet classifier")
    # the deep stem: three convolutions with norms, of which we call the last norm bn1 as timm does
    yield Rule(f"{theirs}stem.7.{{rest}}", f"{ours}bn1.{{rest}}", where_ours_has=f"{ours}conv1.0.weight")
    yield Rule(f"{theirs}stem.{{n}}.{{rest}}", f"{ours}conv1.{{n}}.{{rest}}")
    # group norms have no statistics, and names of their own
    yield Rule(f"{theirs}gn1.{{rest}}", f"{ours}bn1.{{rest}}", where_ours_lacks=f"{ours}bn1.running_var")
    yield Rule(f"{theirs}bn1.{{rest}}", f"{ours}bn1.{{rest}}")
    yield Rule(f"{theirs}conv1.{{rest}}", f"{ours}conv1.{{rest}}")
    block = "layer{s}.{i}"
    yield Rule(
        f"{theirs}{block}.gn{{k}}.{{rest}}",
        f"{ours}{block}.bn{{k}}.{{rest}}",
        where_ours_lacks=f"{ours}{block}.bn{{k}}.running_var",
    )
    yield Rule(f"{theirs}{block}.conv2.conv_offset.{{rest}}", f"{ours}{block}.conv2.offset.{{rest}}")
    yield Rule(
        f"{theirs}{block}.conv2_offset.{{rest}}", f"{ours}{block}.conv2.offset.{{rest}}", read_only=True
    )
    yield Rule(f"{theirs}{block}.{{rest}}", f"{ours}{block}.{{rest}}")


def _neck_rules(levels: Sequence[int]) -> Iterator[Rule]:
    """FPN on these levels; convolutions beyond their number are the extra levels'. With a norm ours are Sequentials."""
    count = len(levels)
    places = [("lateral", index, "lateral") for index in range(count)]
    places += [("fpn", index, "output" if index < count else "extra") for index in range(count + 5)]
    for theirs, index, ours in places:
        conv, at = f"neck.{theirs}_convs.{index}", f"neck.{ours}.{levels[0] + index}"
        for norm, lacks in (("gn", f"{at}.1.running_var"), ("bn", "")):
            yield Rule(f"{conv}.{norm}.{{rest}}", f"{at}.1.{{rest}}", where_ours_lacks=lacks)
            in_sequential = f"{conv}.{norm}.weight"
            yield Rule(f"{conv}.conv.{{rest}}", f"{at}.0.{{rest}}", where_source_has=in_sequential)
        yield Rule(f"{conv}.conv.{{rest}}", f"{at}.{{rest}}")


def tower_rules(*, norm: bool) -> Iterator[Rule]:
    """ConvModules: convolution, norm if any, activation."""
    step = 3 if norm else 2
    for theirs, ours in (("cls", "class_head"), ("reg", "box_head")):
        for index in range(8):
            module, at = f"bbox_head.{theirs}_convs.{index}", step * index
            yield Rule(f"{module}.conv.conv_offset.{{rest}}", f"{ours}.tower.{at}.offset.{{rest}}")
            yield Rule(f"{module}.conv.{{rest}}", f"{ours}.tower.{at}.{{rest}}")
            if norm:
                yield Rule(f"{module}.gn.{{rest}}", f"{ours}.tower.{at + 1}.{{rest}}")


def prediction_rules(**names: str) -> Iterator[Rule]:
    """{our head: their convolution}; mmdetection 1 and 2.0 … 2.2 called FCOS's by other names."""
    for ours, theirs in names.items():
        at = "quality" if ours == "quality" else f"{ours}.predict"
        yield Rule(f"bbox_head.{theirs}.{{rest}}", f"{at}.{{rest}}")
        if theirs.startswith("conv_"):
            old = theirs.replace("conv_", "fcos_")
            yield Rule(f"bbox_head.{old}.{{rest}}", f"{at}.{{rest}}", read_only=True)


FCOS_RULES = (
    *_body_rules("backbone."),
    *_neck_rules((3, 4, 5)),
    *tower_rules(norm=True),
    *prediction_rules(class_head="conv_cls", box_head="conv_reg", quality="conv_centerness"),
    Rule("bbox_head.scales.{n}.scale", "scales.{n}"),
)
RETINANET_RULES = (
    *_body_rules("backbone."),
    *_neck_rules((3, 4, 5)),
    *tower_rules(norm=False),
    *prediction_rules(class_head="retina_cls", box_head="retina_reg"),
)
LATERALS = r"neck\.lateral_convs\.(\d)\.conv\.weight$"
PYRAMID, RCNN_PYRAMID = (Pyramid(LATERALS, _neck_rules, first=level) for level in (3, 2))
BACKBONE_RULES = tuple(_body_rules(""))


RCNN_RULES = (
    *_body_rules("backbone."),
    *_neck_rules((2, 3, 4, 5)),
    Rule("rpn_head.rpn_conv.{rest}", "rpn_head.tower.0.{rest}"),
    Rule("rpn_head.rpn_cls.{rest}", "rpn_head.objectness.{rest}"),
    Rule("rpn_head.rpn_reg.{rest}", "rpn_head.deltas.{rest}"),
    Rule("roi_head.bbox_head.shared_fcs.0.{rest}", "box_head.trunk.1.{rest}"),
    Rule("roi_head.bbox_head.shared_fcs.1.{rest}", "box_head.trunk.3.{rest}"),
    Rule("roi_head.bbox_head.fc_cls.{rest}", "box_head.classes.{rest}"),
    Rule("roi_head.bbox_head.fc_reg.{rest}", "box_head.deltas.{rest}"),
    *(
        Rule(f"roi_head.mask_head.convs.{index}.conv.{{rest}}", f"mask_head.tower.{2 * index}.{{rest}}")
        for index in range(8)
    ),
    Rule("roi_head.mask_head.upsample.{rest}", "mask_head.enlarge.{rest}"),
    Rule("roi_head.mask_head.conv_logits.{rest}", "mask_head.predict.{rest}"),
)
