"""The size of pictures in a model where nobody chooses one, and of tiles: what there is and small objects need."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from pagoda.data.table.annotations import Annotations, cut_to_picture
from pagoda.detectors.contract import Detector
from pagoda.explain.doctor.coverage import priors_at
from pagoda.messages import counted
from pagoda.ops.boxes import box_areas, tile_windows

LEAST = 320
"""pixels: pictures are not made smaller than this, however large their objects are"""
MULTIPLE = 32
"""of pixels, to which what objects need is rounded up"""
SMALL_SHARE = 0.1
"""of all objects that may be smaller than what is looked after"""
_LEAST_TILE = 64
"""pixels"""
SEVERAL = 10
"""objects that a class must have to be looked after as a class"""


@dataclass(frozen=True)
class SizeChoice:
    """The sides that pictures are resized to, and why."""

    short_side: int
    """pixels"""
    long_side: int
    """pixels, in the proportion that the model's flavour has"""
    why: str
    """a sentence for people"""


def choose_size(model: Detector, table: Annotations) -> SizeChoice | None:
    """The size at which `model` is to learn the objects of `table`; None where there are none.

    Small objects are the smallest tenth of all, or half of the class whose objects are smallest, if that is less.
    An object is served from so many pixels on (the root of its area): two strides of the finest level, or half the
    smallest anchor's side. Pictures are enlarged where small objects are not served as they are, and only until they
    are. They are made smaller as long as small objects have twice that and the short side has `LEAST`. They are never
    larger than the model's flavour has them.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> choice = choose_size(model, DrawnShapes(9, image_size=(600, 800), seed=1).annotations)
    >>> choice.short_side, choice.long_side
    (320, 533)
    """
    spec = model.input_spec
    short, long = spec.short_side, spec.long_side
    # What a picture counts for is the side by which it is resized: of very wide ones the long one.
    counted = np.maximum(table.sizes.min(1), table.sizes.max(1) * short / long)
    objects = _objects(table)
    if objects is None:
        return None
    small = _small(objects, counted)
    own, served = float(np.median(counted)), served_from(model)
    needed, ample = (_rounded_up(pixels / small) for pixels in (served, 2 * served))
    if served / small > own:
        side, why = (
            needed,
            f"without which small objects would have less than the {served:.0f} pixels they need",
        )
    elif max(LEAST, ample) < own:
        side, why = max(LEAST, ample), "which is enough for their small objects, and quicker"
    else:
        side, why = round(own), "as they are"
    if side >= short:
        side, why = short, "the most that is taken unless you say so"
    return SizeChoice(
        side,
        round(side * long / short),
        f"pictures are resized to a short side of {side}, {why} (half have {own:.0f} or less; small objects there"
        f" {small * own:.0f}, here {small * side:.0f} pixels): --model.short-side and --model.long-side choose another",
    )


@dataclass(frozen=True)
class TileChoice:
    """Tiles in which small objects are large enough for a model that sees too little of them in whole pictures."""

    size: int
    """side in pixels of the pictures"""
    overlap: float
    """share of the side that neighbours have in common"""
    tiles: int
    """of the largest picture"""
    why: str
    """a sentence for people"""


def choose_tiles(model: Detector, table: Annotations) -> TileChoice | None:
    """Tiles for `model` to find the objects of `table` in; None where whole pictures do, or tiles were no smaller.

    Small objects are those of `choose_size`; tiles are the largest in which the model sees as much of them as it needs.
    The overlap lets 19 of 20 objects lie whole in some tile, and is a fifth at least and a half at most.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> options = {"base_channels": 8, "width": 8, "norm_groups": 4, "short_side": 64, "long_side": 96}
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, **options)
    >>> choice = choose_tiles(model, DrawnShapes(9, image_size=(400, 600), seed=1).annotations)
    >>> choice.size, choice.overlap, choice.tiles
    (256, 0.5, 12)
    """
    spec, sizes = model.input_spec, table.sizes
    seen = np.array([spec.resized((height, width)) for height, width in sizes.tolist()]).reshape(-1, 2)
    objects = _objects(table)
    if objects is None:
        return None
    small, own = _small(objects, 1 / np.sqrt((seen / sizes).prod(1))), _small(objects, np.ones(len(table)))
    served, side = served_from(model), min(spec.canvas or (spec.short_side, spec.long_side))
    if small >= served:
        return None
    size = max(_LEAST_TILE, int(side * own / served) // MULTIPLE * MULTIPLE)
    if size >= sizes.max():
        return None
    long = float(np.quantile((objects.boxes[:, 2:] - objects.boxes[:, :2]).max(1), 0.95))
    overlap = float(np.clip(np.ceil(20 * long / size) / 20, 0.2, 0.5))
    height, width = sizes[sizes.prod(1).argmax()].tolist()
    count = len(tile_windows((height, width), size, overlap=overlap))
    return TileChoice(
        size,
        overlap,
        count,
        f"small objects have {small:.0f} pixels in whole pictures as the model sees them, and need {served:.0f}: tiles"
        f" of {size} pixels that share {overlap:g} of it show them at {own * side / size:.0f}, the largest picture in"
        f" {counted(count, 'tile')}: --tiles {size} --overlap {overlap:g}, to learn from them --tiles {size}"
        f" --tile-overlap {overlap:g}",
    )


def served_from(model: Detector) -> float:
    """The side in pixels from which an object surely has a location, or an anchor that fits it.

    >>> import pagoda
    >>> small = {"num_classes": 1, "base_channels": 8, "width": 8, "norm_groups": 4}
    >>> [served_from(pagoda.create_model(f"{name}_resnet18_fpn", **small)) for name in ("fcos", "retinanet")]
    [16.0, 16.0]
    """
    if not hasattr(model, "anchors"):
        return 2.0 * min(model.strides.values())
    anchors = torch.cat(priors_at(model, (MULTIPLE, MULTIPLE)))
    return float(box_areas(anchors).min().sqrt().round()) / 2


class _Objects(NamedTuple):
    """N objects that can be learnt."""

    boxes: np.ndarray
    """(N, 4) float64 xyxy, as far as they lie in their pictures"""
    owners: np.ndarray
    """(N,) positions of their pictures"""
    labels: np.ndarray
    """(N,)"""


def _objects(table: Annotations) -> _Objects | None:
    """None where there are none."""
    owners = table.owners
    boxes, has_area = cut_to_picture(table.boxes_xywh, table.sizes[owners])
    kept = has_area & ~table.ignored
    if not kept.any():
        return None
    return _Objects(np.asarray(boxes, np.float64)[kept], owners[kept], table.labels[kept])


def _small(objects: _Objects, counted: np.ndarray) -> float:
    """The side of small objects relative to the side of their picture that counts."""
    areas, labels = box_areas(torch.from_numpy(objects.boxes)).numpy(), objects.labels
    sides = np.sqrt(areas) / counted[objects.owners]
    classes = [label for label, count in enumerate(np.bincount(labels)) if count >= SEVERAL]
    typical = [float(np.median(sides[labels == label])) for label in classes]
    return min([float(np.quantile(sides, SMALL_SHARE)), *typical])


def _rounded_up(side: float) -> int:
    return int(-(-side // MULTIPLE) * MULTIPLE)
