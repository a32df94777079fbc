"""How well a model's locations or anchors fit the objects of a data set, told without running the network.

An object that no location is assigned to is never learnt; one that suppression must remove is never found.
N objects of one picture, P locations or anchors over all levels.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from pagoda.data.table.annotations import Annotations
from pagoda.detectors.contract import Detector
from pagoda.explain.doctor.coverage_report import GOOD_IOU, CoverageReport, remedies
from pagoda.ops.boxes import box_areas, pairwise_iou
from pagoda.structures.instances import Targets

SIZES = {"small": 32.0**2, "medium": 96.0**2, "large": float("inf")}
"""COCO's bounds of box area in pixels²"""
IOU_CHUNK = 16
MAX_EXAMPLES = 10


@dataclass(frozen=True)
class _Picture:
    """What one picture's objects met; all (N,)."""

    positives: Tensor
    """number of positive locations"""
    level: Tensor
    """the level of most of them, −1 for none"""
    is_hidden: Tensor
    """bool: without a positive, though it fits a location or anchor that others took"""
    best_iou: Tensor | None
    """with any anchor; None for points"""
    suppressed: Tensor
    """bool: overlaps another of its class by more than suppression admits"""


def examine_coverage(
    model: Detector, annotations: Annotations, *, max_objects: int = 20000
) -> CoverageReport:
    """How well a model's locations or anchors fit annotated objects, assigned as in training at its input size.

    Of two stages the first is looked at: what it proposes nothing for, the second never sees. With more than
    `max_objects` learnable objects, pictures spread over all are taken. Raises ValueError for a model of clips, or
    one whose criterion assigns nothing.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> report = examine_coverage(model, DrawnShapes(2, image_size=(64, 64), seed=1).annotations)
    >>> report.objects, report.uncovered, report.kind
    (8, 0, 'points')
    """
    if model.sees_clips:
        raise ValueError(
            f"coverage is told of models that see single pictures; {type(model).__name__} sees clips, so leave the"
            " model out"
        )
    if not hasattr(_first_stage(model), "assign"):
        raise ValueError(
            f"coverage needs a detector whose criterion has assign(…), got {type(model).__name__}"
        )
    if max_objects < 1:
        raise ValueError(f"max_objects must be at least 1, got {max_objects}")
    targets, in_all = _choose(annotations, max_objects)
    priors = lru_cache(maxsize=8)(lambda size: priors_at(model, size))
    spec, limits = model.input_spec, model.postprocess
    report = CoverageReport(
        model=(model.origin or {}).get("model") or type(model).__name__,
        input_size=f"{'×'.join(map(str, spec.canvas or ())) or f'{spec.short_side}/{spec.long_side}'} pixels",
        kind=prior_kind(model),
        objects=sum(map(len, targets)),
        objects_in_all=in_all,
        pictures=len(targets),
        max_objects_in_picture=max(map(len, targets), default=0),
        max_detections=limits.max_detections,
        crowded_pictures=0
        if limits.max_detections is None
        else sum(len(target) > limits.max_detections for target in targets),
        max_iou=limits.max_iou,
    )
    resized = [_resize_boxes(model, target) for target in targets]
    pictures = [
        _examine_picture(model, priors(_padded(model, target)), replace(target, boxes=boxes))
        for target, boxes in zip(targets, resized, strict=True)
    ]
    _summarise(report, model, targets, resized, pictures)
    sides = (min(spec.canvas),) if spec.canvas else (spec.short_side, spec.long_side)
    report.remedies = remedies(report, min(model.strides.values()), *sides)
    return report


def prior_kind(model: Detector) -> str:
    """What its locations are called: points, anchors or cells.

    >>> prior_kind(Detector())
    'points'
    """
    return getattr(model, "prior_kind", "anchors" if hasattr(model, "anchors") else "points")


def _first_stage(model: Detector) -> Any:
    """What assigns the model's locations or anchors: of two stages the proposal network's criterion."""
    criterion = getattr(model, "criterion", None)
    return getattr(criterion, "rpn", criterion)


def priors_at(model: Detector, size: tuple[int, int]) -> tuple[Tensor, ...]:
    """The model's points or anchors per level for a padded input of (height, width), without running it.

    Every stride-2 step rounds up, so level l measures ⌈side / stride⌉.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> [len(points) for points in priors_at(model, (64, 96))]  # strides 8 … 128: 8·12, 4·6, 2·3, 1·2, 1·1
    [96, 24, 6, 2, 1]
    """
    pyramid = {
        level: torch.empty(1, 0, *(-(-side // model.strides[level]) for side in size))
        for level in model.levels
    }
    return model.anchors(pyramid, size) if hasattr(model, "anchors") else model.points(pyramid, size)


def _resize_boxes(model: Detector, target: Targets) -> Tensor:
    """(N, 4) xyxy in pixels of the network's input."""
    return model.input_spec.to_frame(target.boxes, target.image_size)


def _padded(model: Detector, target: Targets) -> tuple[int, int]:
    height, width = model.input_spec.frame(target.image_size)
    return model.input_spec.padded(height), model.input_spec.padded(width)


def _choose(annotations: Annotations, max_objects: int) -> tuple[list[Targets], int]:
    """Learnable targets of pictures that have any, evenly spaced, and how many objects there are in all."""
    every = [annotations.targets(index).learnable() for index in range(len(annotations))]
    filled = [target for target in every if len(target)]
    in_all = sum(map(len, filled))
    if in_all <= max_objects:
        return filled, in_all
    count = max(1, len(filled) * max_objects // in_all)
    return [filled[number * len(filled) // count] for number in range(count)], in_all


def assigned(model: Detector, priors: tuple[Tensor, ...], target: Targets) -> Tensor:
    """(P,) index of the object that each prior learns, negative where there is none.

    Boxes of the target are in pixels of the network's input, `image_size` is that of the picture.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> boxes, one = torch.tensor([[10.0, 10.0, 30.0, 30.0]]), torch.zeros(1, dtype=torch.long)
    >>> target = Targets(boxes, one, (64, 64), one.bool())
    >>> int((assigned(model, priors_at(model, (64, 64)), target) == 0).sum())
    9
    """
    criterion = _first_stage(model)
    if criterion is not model.criterion:
        size = torch.tensor(model.input_spec.frame(target.image_size), device=priors[0].device)
        return criterion.assign(torch.cat(priors), target, size)
    if hasattr(model, "anchors"):
        return criterion.assign(torch.cat(priors), target.boxes)
    return criterion.assign(priors, model.levels, target.boxes, model.strides)


def _examine_picture(model: Detector, priors: tuple[Tensor, ...], target: Targets) -> _Picture:
    target = target.to(priors[0].device)
    boxes, labels = target.boxes, target.labels
    index = assigned(model, priors, target)
    per_level = index.split([len(prior) for prior in priors])
    counts = torch.stack([torch.bincount(part[part >= 0], minlength=len(boxes)) for part in per_level])
    positives = counts.sum(0)
    levels = torch.tensor(model.levels, device=index.device)[counts.argmax(0)]
    best = None
    if hasattr(model, "anchors"):
        best = _best_iou(torch.cat(priors), boxes, _first_stage(model).inclusive)
        # Alone, even a poor anchor may be given to an object; one that overlaps half is what others took.
        hidden = (positives == 0) & (best >= GOOD_IOU)
    else:
        hidden = torch.zeros_like(positives, dtype=torch.bool)
        for row in (positives == 0).nonzero().flatten().tolist():
            hidden[row] = (assigned(model, priors, target[row : row + 1]) >= 0).any()
    overlaps = pairwise_iou(boxes, boxes, inclusive=model.postprocess.inclusive) > model.postprocess.max_iou
    same = labels[:, None] == labels[None]
    suppressed = (overlaps & same).fill_diagonal_(False).any(1)
    return _Picture(positives, levels.masked_fill(positives == 0, -1), hidden, best, suppressed)


def _best_iou(anchors: Tensor, boxes: Tensor, inclusive: bool) -> Tensor:
    """(N,) with any anchor. In chunks: hundreds of objects times 200 000 anchors would not fit."""
    return torch.cat(
        [pairwise_iou(anchors, part, inclusive=inclusive).amax(0) for part in boxes.split(IOU_CHUNK)]
    )


def _summarise(
    report: CoverageReport,
    model: Detector,
    targets: list[Targets],
    resized: list[Tensor],
    pictures: list[_Picture],
) -> None:
    """Fill in what counts objects over all pictures."""
    if not pictures:
        return
    missed = torch.cat([picture.positives == 0 for picture in pictures]).cpu()
    levels = Counter(torch.cat([picture.level for picture in pictures]).tolist())
    report.uncovered = int(missed.sum())
    report.hidden = int(torch.cat([picture.is_hidden for picture in pictures]).sum())
    report.suppressed = int(torch.cat([picture.suppressed for picture in pictures]).sum())
    report.by_level = {level: levels[level] for level in model.levels}
    areas = {"original": [target.boxes for target in targets], "network": resized}
    areas = {which: box_areas(torch.cat(boxes)) for which, boxes in areas.items()}
    report.by_size = {which: _buckets(values, missed) for which, values in areas.items()}
    sides = areas["network"][missed].sqrt()
    if len(sides):
        report.uncovered_sides = {
            "smallest": float(sides.min()),
            "median": float(sides.median()),
            "largest": float(sides.max()),
        }
    if pictures[0].best_iou is not None:
        best = torch.cat([picture.best_iou for picture in pictures])
        report.anchor_fit = {
            "median": float(best.median()),
            "lowest": float(best.min()),
            "share_below_half": float((best < GOOD_IOU).float().mean()),
        }
    for target, picture in zip(targets, pictures, strict=True):
        for row in (picture.positives == 0).nonzero().flatten().tolist():
            if len(report.examples) < MAX_EXAMPLES:
                box = ", ".join(f"{value:.6g}" for value in target.boxes[row].tolist())
                why = "taken by other objects" if picture.is_hidden[row] else f"no {report.kind[:-1]} fits"
                name = target.file or f"image {target.image_id}"
                report.examples.append(f"{name}: x1, y1, x2, y2 = {box}: {why}")


def _buckets(areas: Tensor, missed: Tensor) -> dict[str, dict[str, int]]:
    buckets, low = {}, -1.0
    for name, high in SIZES.items():
        inside = (areas >= low) & (areas < high)
        buckets[name] = {"objects": int(inside.sum()), "uncovered": int((inside & missed).sum())}
        low = high
    return buckets
