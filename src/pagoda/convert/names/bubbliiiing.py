"""bubbliiiing/retinanet-pytorch: a bare state dict; spec section 5.5. Its box deltas are (dy, dx, dh, dw)."""

from pagoda.convert.names.rules import Rule

RULES = (
    Rule("backbone_net.model.fc.{rest}", None, "ImageNet classifier"),
    Rule("backbone_net.model.{rest}", "backbone.{rest}"),
    Rule("fpn.P7_2.{rest}", "neck.extra.7.{rest}"),
    Rule("fpn.P6.{rest}", "neck.extra.6.{rest}"),
    Rule("fpn.P{n}_1.{rest}", "neck.lateral.{n}.{rest}"),
    Rule("fpn.P{n}_2.{rest}", "neck.output.{n}.{rest}"),
    *(
        Rule(f"{theirs}.conv{index + 1}.{{rest}}", f"{ours}.tower.{2 * index}.{{rest}}")
        for theirs, ours in (("classificationModel", "class_head"), ("regressionModel", "box_head"))
        for index in range(4)
    ),
    Rule("classificationModel.output.{rest}", "class_head.predict.{rest}"),
    Rule("regressionModel.output.{rest}", "box_head.predict.{rest}"),
)
