"""A trained detector for other classes: its class head made anew, by the names of the classes."""

import math
from copy import deepcopy
from dataclasses import dataclass

from torch import Tensor, nn

from pagoda.detectors.contract import Detector
from pagoda.structures.labels import LabelMap


@dataclass(frozen=True)
class Adapted:
    """The model for the other classes, and which of them it knew."""

    model: Detector
    kept: list[str]
    """classes whose weights came along"""
    fresh: list[str]
    """classes that start from nothing"""
    forgotten: list[str]
    """classes of the old model that the new one has not"""

    def text(self) -> str:
        """One fact per line, for people."""
        rows = (
            ("kept", "classes with their weights", self.kept),
            ("fresh", "new classes", self.fresh),
            ("forgotten", "classes that are not wanted", self.forgotten),
        )
        return "\n".join(
            f"{name:11} {len(names)} {what}{': ' if names else ''}{_some(names)}"
            for name, what, names in rows
        )


def _some(names: list[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")


def adapt_classes(model: Detector, label_map: LabelMap, *, prior_probability: float = 0.01) -> Adapted:
    """A copy of `model` that predicts the classes of `label_map`; `model` itself stays as it is.

    The last layer of the class head has a row per class (per anchor and class in RetinaNet). Rows of classes
    of the same name are carried over bit by bit, so that these classes keep their logits on every picture.
    The others get weights from N(0, .01) and a bias at which they are as likely as `prior_probability`
    (Lin 2017, section 4.1). All other tensors, the quality row of FCOS's class head among them, are the same.
    """
    if not hasattr(model, "class_head"):
        raise ValueError(
            f"the classes of a {type(model).__name__} cannot be exchanged: it has no class_head; train a new one"
        )
    adapted = deepcopy(model)
    old_names, names = model.label_map.names, label_map.names
    layer = last_layer(adapted.class_head)
    extra = int(getattr(model, "quality_on", None) == "class")
    groups = (layer.out_channels - extra) // len(old_names)
    if groups * len(old_names) + extra != layer.out_channels:
        raise ValueError(
            f"the class head has {layer.out_channels} rows, which is no multiple of its {len(old_names)} classes"
        )
    rows = rows_from(old_names, names, groups, extra)
    weight = layer.weight.detach().new_empty((len(rows), *layer.weight.shape[1:])).normal_(std=0.01)
    prior = -math.log((1 - prior_probability) / prior_probability)
    layer.bias = with_rows(layer.bias.detach().new_full((len(rows),), prior), layer.bias, rows)
    layer.weight = with_rows(weight, layer.weight, rows)
    layer.out_channels = adapted.class_head.outputs = len(rows)
    adapted.label_map = label_map
    return Adapted(
        adapted,
        kept=[name for name in names if name in old_names],
        fresh=[name for name in names if name not in old_names],
        forgotten=[name for name in old_names if name not in names],
    )


def last_layer(head: nn.Module) -> nn.Conv2d:
    """Of a head whose last layer is called `predict`: a convolution, or a separable one."""
    predict = head.predict
    layer = predict if isinstance(predict, nn.Conv2d) else getattr(predict, "conv_pw", None)
    if not isinstance(layer, nn.Conv2d) or layer.bias is None:
        raise ValueError(
            f"the classes of a {type(head).__name__} cannot be exchanged: its last layer 'predict' should be a"
            f" convolution with a bias, got {type(predict).__name__}"
        )
    return layer


def rows_from(old: tuple[str, ...], new: tuple[str, ...], groups: int, extra: int) -> list[int | None]:
    """For each new row the old one it comes from, or None. Anchors are outer, classes inner, `extra` rows last.

    >>> rows_from(("cat", "dog"), ("dog", "eel"), groups=2, extra=1)
    [1, None, 3, None, 4]
    """
    place = {name: index for index, name in enumerate(old)}
    rows = [
        None if name not in place else group * len(old) + place[name]
        for group in range(groups)
        for name in new
    ]
    return rows + [groups * len(old) + index for index in range(extra)]


def with_rows(new: Tensor, old: Tensor, rows: list[int | None]) -> nn.Parameter:
    """A parameter of `new` in which each row that comes from somewhere is that row of `old`."""
    targets = [index for index, row in enumerate(rows) if row is not None]
    new[targets] = old.detach()[[row for row in rows if row is not None]]
    return nn.Parameter(new)
