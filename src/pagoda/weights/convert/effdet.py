"""effdet (rwightman/efficientdet-pytorch), also the form of Google's weights. Its box deltas are (dy, dx, dh, dw)."""

from pagoda.weights.convert.rules import Rule

NODE, OUR_NODE = "fpn.cell.{c}.fnode.{n}", "neck.cells.{c}.nodes.{n}"
HEADS = (("class_net", "class_head"), ("box_net", "box_head"))
RULES = (
    Rule("backbone.{rest}", "backbone.body.{rest}"),
    Rule("fpn.resample.{n}.conv.{rest}", "neck.extra.{n}.{rest}"),
    Rule(f"{NODE}.combine.edge_weights", f"{OUR_NODE}.weights"),
    Rule(f"{NODE}.combine.resample.{{e}}.conv.{{rest}}", f"{OUR_NODE}.edges.{{e}}.{{rest}}"),
    Rule(f"{NODE}.after_combine.conv.{{rest}}", f"{OUR_NODE}.conv.{{rest}}"),
    *(Rule(f"{theirs}.conv_rep.{{r}}.{{rest}}", f"{ours}.convs.{{r}}.{{rest}}") for theirs, ours in HEADS),
    *(
        Rule(f"{theirs}.bn_rep.{{r}}.{{l}}.bn.{{rest}}", f"{ours}.norms.{{r}}.{{l}}.{{rest}}")
        for theirs, ours in HEADS
    ),
    # Files of models built with `head_bn_level_first`, which lack the `.bn`.
    *(
        Rule(f"{theirs}.bn_rep.{{l}}.{{r}}.{{rest}}", f"{ours}.norms.{{r}}.{{l}}.{{rest}}", read_only=True)
        for theirs, ours in HEADS
    ),
    *(Rule(f"{theirs}.predict.{{rest}}", f"{ours}.predict.{{rest}}") for theirs, ours in HEADS),
)
