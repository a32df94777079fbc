"""Plugins of a ResNet's bottlenecks (context blocks, non-local blocks, attention), read off names and shapes.

C channels enter a plugin and leave it; mmcv's names, as in mmdetection's checkpoints.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pagoda.backbones.resnet_options import Plugin, Position
from pagoda.plain import JsonObject
from pagoda.weights.files import WeightsError

Shapes = Mapping[str, tuple[int, ...]]


NAME = re.compile(
    r"layer(?P<stage>\d)\.\d+\.(?P<attribute>(?P<module>context_block|nonlocal_block|gen_attention_block)\w*)"
    r"\.(?P<tensor>.+)"
)


def body_shapes(shapes: Shapes) -> Shapes:
    """Those of the backbone, `backbone.` cut off.

    >>> body_shapes({"backbone.conv1.weight": (64, 3, 7, 7), "neck.lateral.3.bias": (8,)})
    {'conv1.weight': (64, 3, 7, 7)}
    """
    return {name.removeprefix("backbone."): s for name, s in shapes.items() if name.startswith("backbone.")}


def plugin_options(body: Shapes) -> tuple[tuple[Plugin, ...], str | None]:
    """(plugins, what cannot be told): where the second is not None, a person has to hand the plugins over."""
    found: dict[tuple[str, str, int], dict[str, tuple[int, ...]]] = {}
    for name, shape in body.items():
        if parts := NAME.fullmatch(name):
            key = (parts["attribute"], parts["module"], int(parts["stage"]))
            found.setdefault(key, {})[parts["tensor"]] = shape
    plugins: list[Plugin] = []
    for (attribute, module, stage), tensors in sorted(found.items()):
        if module == "gen_attention_block":
            return (), f"'{attribute}' has some number of heads and strides"
        channels, options = READERS[module](tensors)
        position = _position_of(channels, body, stage)
        if position is None:
            return (), f"'{attribute}' comes behind the first convolution of each block or behind the second"
        name = None if attribute == module else attribute
        _add_plugin(
            plugins, Plugin(module=module, options=options, levels=(stage + 1,), position=position, name=name)
        )
    question = _question_of_order(plugins)
    return (() if question else tuple(plugins)), question


def _add_plugin(plugins: list[Plugin], new: Plugin) -> None:
    """To the list, or as a further level of one that is there."""
    for index, known in enumerate(plugins):
        if replace(known, levels=new.levels) == new:
            plugins[index] = replace(known, levels=(*known.levels, *new.levels))
            return
    plugins.append(new)


def _position_of(channels: int, body: Shapes, stage: int) -> Position | None:
    """Only behind the third convolution do all the stage's channels flow; None for the first or the second."""
    last = body.get(f"layer{stage}.0.conv3.weight", (0,))[0]
    middle = body.get(f"layer{stage}.0.conv2.weight", (0,))[0]
    if channels not in (last, middle) or last == middle:
        raise WeightsError(
            f"a plugin of {channels} channels fits no place in layer{stage}, whose blocks have {middle} and {last}"
        )
    return "after_conv3" if channels == last else None


def _question_of_order(plugins: Sequence[Plugin]) -> str | None:
    """Two at one place of one level run one after the other, and names do not say which comes first."""
    for index, plugin in enumerate(plugins):
        for other in plugins[:index]:
            if plugin.position == other.position and set(plugin.levels) & set(other.levels):
                return f"'{other.attribute}' and '{plugin.attribute}' follow each other in one order or the other"
    return None


def _context_block(tensors: Shapes) -> tuple[int, JsonObject]:
    """(C, options) by the two convolutions, which of the two fusions there are, and the mask's."""
    add, multiply = (tensors.get(f"channel_{kind}_conv.0.weight") for kind in ("add", "mul"))
    width, channels = (add or multiply or (0, 0))[:2]
    if not channels:
        raise WeightsError("a context_block without convolutions: the checkpoint is cut short")
    fusion = "multiply_add" if add and multiply else "add" if add else "multiply"
    pooling = "attention" if "conv_mask.weight" in tensors else "average"
    ratio = width / channels
    if int(channels * ratio) != width:  # rounded down on the way there
        ratio = (width + 0.5) / channels
    return channels, {"ratio": ratio, "pooling": pooling, "fusion": fusion}


def _nonlocal_block(tensors: Shapes) -> tuple[int, JsonObject]:
    """(C, options). Softmax is taken for granted: embedded_gaussian and dot_product have the same tensors."""
    sub_sample = "g.0.conv.weight" in tensors
    value = tensors.get("g.0.conv.weight" if sub_sample else "g.conv.weight")
    if value is None:
        raise WeightsError("a nonlocal_block without its convolution g: the checkpoint is cut short")
    mode = "embedded_gaussian" if "theta.conv.weight" in tensors else "gaussian"
    if "concat_project.conv.weight" in tensors:
        mode = "concatenation"
    options: JsonObject = {"reduction": value[1] // value[0], "mode": mode, "sub_sample": sub_sample}
    if "conv_out.bn.weight" in tensors:
        options["norm"] = "batch"
    return value[1], options


READERS = {"context_block": _context_block, "nonlocal_block": _nonlocal_block}
