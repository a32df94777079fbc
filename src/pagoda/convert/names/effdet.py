"""effdet (rwightman/efficientdet-pytorch), also the form of Google's weights. Its box deltas are (dy, dx, dh, dw)."""

from collections.abc import Iterator

from pagoda.convert.names.rules import Rule

NODE, OUR_NODE = "fpn.cell.{c}.fnode.{n}", "neck.cells.{c}.nodes.{n}"
HEADS = (("class_net", "class_head"), ("box_net", "box_head"))


def rules(prefix: str = "", *, read_only: bool = False) -> Iterator[Rule]:
    """Names that begin with `prefix`."""
    pairs = [
        ("backbone.{rest}", "backbone.body.{rest}"),
        ("fpn.resample.{n}.conv.{rest}", "neck.extra.{n}.{rest}"),
        (f"{NODE}.combine.edge_weights", f"{OUR_NODE}.weights"),
        (f"{NODE}.combine.resample.{{e}}.conv.{{rest}}", f"{OUR_NODE}.edges.{{e}}.{{rest}}"),
        (f"{NODE}.after_combine.conv.{{rest}}", f"{OUR_NODE}.conv.{{rest}}"),
    ]
    for theirs, ours in HEADS:
        pairs += [
            (f"{theirs}.conv_rep.{{r}}.{{rest}}", f"{ours}.convs.{{r}}.{{rest}}"),
            (f"{theirs}.bn_rep.{{r}}.{{l}}.bn.{{rest}}", f"{ours}.norms.{{r}}.{{l}}.{{rest}}"),
            (f"{theirs}.predict.{{rest}}", f"{ours}.predict.{{rest}}"),
        ]
    for theirs, ours in pairs:
        yield Rule(prefix + theirs, ours, read_only=read_only)
    # Files of models built with `head_bn_level_first`, which lack the `.bn`.
    for theirs, ours in HEADS:
        old = f"{prefix}{theirs}.bn_rep.{{l}}.{{r}}.{{rest}}"
        yield Rule(old, f"{ours}.norms.{{r}}.{{l}}.{{rest}}", read_only=True)


# In training the network lies inside a bench, which brings its anchors along.
RULES = (
    *rules(),
    *rules("model.", read_only=True),
    Rule("anchors.boxes", None, "anchors, which are made from the picture's size"),
)
