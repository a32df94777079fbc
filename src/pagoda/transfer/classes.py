"""A trained detector for other classes and keypoints: its heads made anew, by their names."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from torch import Tensor, nn

from pagoda.detectors.contract import Detector
from pagoda.detectors.rcnn import RCNN
from pagoda.detectors.yolov1 import YOLOv1
from pagoda.messages import counted
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton
from pagoda.transfer.rcnn import exchange_classes, exchange_keypoints, keypoints_fit


@dataclass(frozen=True)
class Matched:
    """What two lists of names have in common.

    >>> Matched(kept=["dog"], fresh=["eel"], forgotten=["cat"]).fresh
    ['eel']
    """

    kept: list[str]
    """in both, in the order of the new"""
    fresh: list[str]
    """in the new alone"""
    forgotten: list[str]
    """in the old alone"""


@dataclass(frozen=True)
class Adapted:
    """The model for the other classes, and which of them it knew.

    >>> print(Adapted(Detector(), kept=["dog"], fresh=["eel"], forgotten=[]).text())
    kept        1 classes with their weights: dog
    fresh       1 new classes: eel
    forgotten   0 classes that are not wanted
    """

    model: Detector
    """a copy; the one it was made of is unchanged"""
    kept: list[str]
    """classes whose weights came along"""
    fresh: list[str]
    """classes that start from nothing"""
    forgotten: list[str]
    """classes of the old model that the new one has not"""
    keypoints: Matched | None = None
    """the same of keypoints; None where the model predicts those it predicted before"""

    def text(self) -> str:
        """One fact per line, for people."""
        lines = _lines("classes", self.kept, self.fresh, self.forgotten)
        if self.keypoints is not None:
            lines += _lines("keypoints", self.keypoints.kept, self.keypoints.fresh, self.keypoints.forgotten)
        return "\n".join(lines)


def _lines(what: str, kept: list[str], fresh: list[str], forgotten: list[str]) -> list[str]:
    rows = (
        ("kept", f"{what} with their weights", kept),
        ("fresh", f"new {what}", fresh),
        ("forgotten", f"{what} that are not wanted", forgotten),
    )
    return [
        f"{name:11} {len(names)} {text}{': ' if names else ''}{_some(names)}" for name, text, names in rows
    ]


def _some(names: list[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")


def adapt_classes(model: Detector, label_map: LabelMap, *, prior_probability: float = 0.01) -> Adapted:
    """A copy of `model` that predicts the classes of `label_map`; `model` itself stays as it is.

    The last layer of the class head has a row per class (per anchor and class in RetinaNet). Rows of classes
    of the same name are carried over bit by bit, so that these classes keep their logits on every picture.
    The others get weights from N(0, .01) and a bias at which they are as likely as `prior_probability`
    (Lin 2017, section 4.1). All other tensors, the quality row of FCOS's class head among them, are the same.

    R-CNNs have a row per class in the box head (four for its boxes) and in the mask head; the background's stay,
    and fresh rows start as in a new head, where no class is likelier than another. Where `label_map` has a
    skeleton of other keypoints, maps of the same name are carried over likewise. Where each cell of a YOLOv1 has rows
    of its own, those of every cell are.

    Raises ValueError for a model without a class head whose rows can be told apart.

    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("fcos_resnet18_fpn", label_map=LabelMap.from_names(["cat", "dog"]), **small)
    >>> adapted = adapt_classes(model, LabelMap.from_names(["dog", "eel", "fox"]))
    >>> adapted.kept, adapted.model.class_head.outputs, model.class_head.outputs
    (['dog'], 3, 2)
    """
    adapted = deepcopy(model)
    adapted.thresholds = adapted.linker = None  # of a model with other scores
    if isinstance(adapted, YOLOv1):
        _exchange_cells(adapted, label_map)
    elif isinstance(adapted, RCNN):
        exchange_classes(adapted, rows_from(model.label_map.names, label_map.names, groups=1, extra=0))
    else:
        _exchange_class_head(adapted, label_map, prior_probability)
    adapted.label_map = label_map
    matched = matching(model.label_map.names, label_map.names)
    keypoints = _fit_keypoints(adapted, model.label_map.skeleton)
    return Adapted(adapted, matched.kept, matched.fresh, matched.forgotten, keypoints)


def matching(old: Sequence[str], new: Sequence[str]) -> Matched:
    """Which names of two lists are in both, in the new one alone and in the old one alone.

    >>> matching(("cat", "dog"), ("dog", "eel"))
    Matched(kept=['dog'], fresh=['eel'], forgotten=['cat'])
    """
    return Matched(
        kept=[name for name in new if name in old],
        fresh=[name for name in new if name not in old],
        forgotten=[name for name in old if name not in new],
    )


def _fit_keypoints(model: Detector, known: Skeleton | None) -> Matched | None:
    """Give the model the keypoints of its label map, in place, where its maps are called as in `known`."""
    skeleton = model.label_map.skeleton
    if not isinstance(model, RCNN) or skeleton is None or keypoints_fit(model, skeleton, known):
        return None
    names = known.names if known is not None else ()
    exchange_keypoints(model, rows_from(names, skeleton.names, groups=1, extra=0))
    return matching(names, skeleton.names)


def _exchange_class_head(adapted: Detector, label_map: LabelMap, prior_probability: float) -> None:
    """Give the class head of a dense detector the classes of `label_map`, in place."""
    if not hasattr(adapted, "class_head"):
        raise ValueError(
            f"the classes of a {type(adapted).__name__} cannot be exchanged: it has no class_head; train a new one"
        )
    old_names, names = adapted.label_map.names, label_map.names
    layer = last_layer(adapted.class_head)
    extra = int(getattr(adapted, "quality_on", None) == "class")
    groups = (layer.out_channels - extra) // len(old_names)
    if groups * len(old_names) + extra != layer.out_channels:
        raise ValueError(
            f"the class head has {layer.out_channels} rows, which is no multiple of its"
            f" {counted(len(old_names), 'class', 'classes')}"
        )
    rows = rows_from(old_names, names, groups, extra)
    weight = layer.weight.detach().new_empty((len(rows), *layer.weight.shape[1:])).normal_(std=0.01)
    prior = -math.log((1 - prior_probability) / prior_probability)
    layer.bias = _with_rows(layer.bias.detach().new_full((len(rows),), prior), layer.bias, rows)
    layer.weight = _with_rows(weight, layer.weight, rows)
    layer.out_channels = adapted.class_head.outputs = len(rows)


def _exchange_cells(adapted: YOLOv1, label_map: LabelMap) -> None:
    """Give the one head of a grid the classes of `label_map`, in place: of each cell, where cells have their own rows.

    A class is no logit here, so that fresh ones start at nothing, with a bias of 0.
    """
    head, layer = adapted.head, adapted.head.last
    cells = 1 if head.grid is None else head.grid[0] * head.grid[1]
    rows = rows_from(adapted.label_map.names, label_map.names, cells, cells * 5 * head.num_boxes)
    weight = layer.weight.detach().new_empty((len(rows), *layer.weight.shape[1:])).normal_(std=0.01)
    if isinstance(layer, nn.Linear):
        weight *= 5 / layer.in_features**0.5
        layer.out_features = len(rows)
    else:
        layer.out_channels = len(rows)
    layer.weight = _with_rows(weight, layer.weight, rows)
    if layer.bias is not None:
        layer.bias = _with_rows(layer.bias.detach().new_zeros(len(rows)), layer.bias, rows)
    head.num_classes = len(label_map)


def last_layer(head: nn.Module) -> nn.Conv2d:
    """The convolution that makes a head's outputs: its layer `predict`, or the 1×1 of a separable one.

    Raises ValueError where there is none, or it has no bias.

    >>> head = nn.Module()
    >>> head.predict = nn.Conv2d(8, 3, 1)
    >>> last_layer(head).out_channels
    3
    """
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


def _with_rows(new: Tensor, old: Tensor, rows: list[int | None]) -> nn.Parameter:
    """A parameter of `new` in which each row that comes from somewhere is that row of `old`."""
    targets = [index for index, row in enumerate(rows) if row is not None]
    new[targets] = old.detach()[[row for row in rows if row is not None]]
    return nn.Parameter(new)
