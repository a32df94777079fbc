"""Records of R-CNNs: every stored output of both stages, of masks and keypoints, losses and gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foreign_configs import with_preprocessing
from goldens import Golden, computed_once
from rcnn_configs import detectron2_flavour, maskrcnn_benchmark_flavour, mmdet_flavour
from torch import Tensor

from pagoda.convert.read import convert
from pagoda.criteria.masks_keypoints import MaskCriterion
from pagoda.detectors.rcnn import RCNN
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.zoo.flavours.rcnn import RCNNFlavour

LOSSES = {
    "loss_classifier": "loss_class", "loss_cls": "loss_class", "loss_box_reg": "loss_box",
    "loss_objectness": "loss_objectness", "loss_rpn_cls": "loss_objectness",
    "loss_rpn_box_reg": "loss_rpn_box", "loss_rpn_loc": "loss_rpn_box",
    "loss_mask": "loss_mask", "loss_kp": "loss_keypoint", "loss_keypoint": "loss_keypoint",
}  # fmt: skip


POSES = 24
"""so many detections have their keypoints compared: eight wide convolutions each"""


def is_rcnn(golden: Golden) -> bool:
    return any(name.startswith(("roi_heads.", "roi_head.")) for name in golden.meta["weights"]["entries"])


def counts_from_one(golden: Golden) -> int:
    return int(golden.repository.endswith("/maskrcnn-benchmark"))


def flavour_of(golden: Golden) -> RCNNFlavour:
    names = " ".join(golden.meta["weights"]["entries"])
    has_mask = "roi_heads.mask" in names or "roi_head.mask_head" in names
    detector = "mask_rcnn" if has_mask else "keypoint_rcnn" if ".keypoint" in names else "faster_rcnn"
    return with_preprocessing(config_flavour(golden, detector), golden.meta["preprocess"])


def config_flavour(golden: Golden, detector: str) -> RCNNFlavour:
    options = golden.options
    if golden.repository.endswith("/maskrcnn-benchmark"):
        return maskrcnn_benchmark_flavour(detector, options)
    if golden.repository.endswith("/detectron2"):
        return detectron2_flavour(detector, options)
    return mmdet_flavour(detector, options)


def learns_long(golden: Golden) -> bool:
    """Masks and keypoints, wide heads on more than a hundred regions; and detectron2's 512 regions a picture.

    In every run of the tests the former are compared with torchvision's, of small heads, and the latter with those of
    maskrcnn-benchmark and mmdetection.
    """
    is_long = bool({"loss_mask", "loss_kp", "loss_keypoint"} & golden.outputs())
    return is_long or (is_rcnn(golden) and golden.repository.endswith("/detectron2"))


def run_rcnn(
    golden: Golden, path: Path, *, learns: bool = True
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What it computes; and where it `learns`, losses and gradients."""
    converted = convert(path, flavour=flavour_of(golden))
    assert not converted.report.missing and not converted.report.unknown
    model: RCNN = converted.model
    assert isinstance(model, RCNN)
    images = model.input_spec.batch(golden.pictures())
    with torch.no_grad(), computed_once(model.backbone, model.neck, model.rpn_head):
        found = {"input": images.pixels, **first_stage(golden, model, images)}
        pyramid = found.pop("pyramid")
        found |= second_stage(golden, model, pyramid)
        found |= shapes(golden, model, pyramid)
        with without_shapes(model):  # which have been looked at
            every = model.detect(images)
        for number, detections in enumerate(every):
            labels = detections.labels + counts_from_one(golden)
            prefix = golden.prefix("det", number)
            golden.check_detections(prefix, detections.boxes, detections.scores, labels)
        for key in golden.outputs() & set(found):  # before the losses, whose faults would follow from these
            golden.check(key, found[key])
    if not learns or not any(key in LOSSES for key in golden.outputs()):
        return found, {}
    targets = targets_of(golden)
    polygons = [target["polygons"] for target in golden.targets() if "polygons" in target]
    if polygons:
        masks = OfPolygons(
            polygons={key_of(target): each for target, each in zip(targets, polygons, strict=True)}
        )
        model.criterion = replace(model.criterion, masks=masks)
    losses = model.train().losses(images, targets)
    found |= {key: losses[LOSSES[key]] for key in golden.outputs() if key in LOSSES}
    return found, golden.gradients(sum(losses.values()), converted)


@contextmanager
def without_shapes(model: RCNN) -> Iterator[None]:
    """Boxes alone."""
    heads = model.mask_head, model.keypoint_head
    model.mask_head = model.keypoint_head = None
    yield
    model.mask_head, model.keypoint_head = heads


def first_stage(golden: Golden, model: RCNN, images: ImageBatch) -> dict[str, Any]:
    """Features, what the proposal network says, anchors and proposals."""
    body = model.backbone(images.pixels)
    found: dict[str, Any] = {"body.last": body[max(body)], "backbone.res5": body[max(body)]}
    pyramid = body if model.neck is None else model.neck(body)
    proposed = model.propose(images, model.proposals.inference)
    for index, level in enumerate(sorted(pyramid)):
        found[f"fpn.{index}"] = found[f"backbone.p{level}"] = pyramid[level]
    first = 0
    for index, (level, anchors) in enumerate(zip(sorted(pyramid), proposed.rpn.anchors, strict=True)):
        rows, size = slice(first, first + len(anchors)), pyramid[level].shape[-2:]
        first += len(anchors)
        logits = proposed.rpn.logits[:, rows].unflatten(1, (*size, -1)).permute(0, 3, 1, 2)
        deltas = proposed.rpn.deltas[:, rows].unflatten(1, (*size, -1)).flatten(3).permute(0, 3, 1, 2)
        found[f"rpn.logits.{index}"] = found[f"rpn.cls.{index}"] = logits
        found[f"rpn.reg.{index}"] = deltas
    found["anchors"] = torch.cat(proposed.rpn.anchors)
    for number, valid in enumerate(proposed.proposals.valid):
        boxes, scores = proposed.proposals.boxes[number][valid], proposed.proposals.scores[number][valid]
        check_proposals(golden, golden.prefix("proposals", number), boxes, scores)
    return {**found, "pyramid": proposed.pyramid}


def check_proposals(golden: Golden, prefix: str, boxes: Tensor, scores: Tensor) -> None:
    """As sets; logits are as exact as features are, probabilities as scores."""
    kept = {part: golden.arrays[f"{prefix}.{part}"] for part in ("boxes", "scores")}
    assert len(boxes) == len(kept["boxes"]), f"{len(boxes)} proposals, expected {len(kept['boxes'])}"
    near = (
        np.abs(boxes.numpy()[:, None] - kept["boxes"]).max(-1)
        <= golden.meta["tolerance"]["detections_abs_px"]
    )
    allowed = golden.meta["tolerance"]["features_rtol_of_max"] * max(1.0, float(np.abs(kept["scores"]).max()))
    same = near & (np.abs(scores.numpy()[:, None] - kept["scores"]) <= allowed)
    assert (same.sum(0) >= 1).all() and (same.sum(1) >= 1).all()


def second_stage(golden: Golden, model: RCNN, pyramid: dict[int, Tensor]) -> dict[str, Tensor]:
    """What the box head says of the first picture's first stored proposals, in the original's order of rows."""
    boxes = torch.from_numpy(golden.arrays[f"{golden.prefix('proposals', 0)}.boxes"][:64])
    head = model.box_head
    pooled = model.pool(head, pyramid, boxes, torch.zeros(len(boxes), dtype=torch.long))
    features = head.trunk(pooled)
    found = {"roi.pooled": pooled, "roi.feats": pooled, "roi.features": features}
    if len(golden.meta["outputs"].get("roi.features", {"shape": ()})["shape"]) == 4:
        found["roi.features"] = head.trunk.stage(pooled)  # before its cells are averaged
    found["roi.logits"] = found["roi.cls"] = head.classes(features)
    found["roi.reg"] = head.deltas(features)
    logits, deltas = head(pooled)
    first = int(head.background == "first")
    assert torch.equal(logits[:, :-1], found["roi.logits"][:, first : first + head.num_classes])
    assert torch.equal(deltas.flatten(1), found["roi.reg"][:, -deltas[0].numel() :])
    return found


def shapes(golden: Golden, model: RCNN, pyramid: dict[int, Tensor]) -> dict[str, Tensor]:
    """Masks and keypoints of the first picture's stored detections."""
    prefix = golden.prefix("det", 0)
    boxes = torch.from_numpy(golden.arrays[f"{prefix}.boxes"])
    labels = torch.from_numpy(golden.arrays[f"{prefix}.labels"]) - counts_from_one(golden)
    images = torch.zeros(len(boxes), dtype=torch.long)
    size = tuple(golden.pictures()[0].shape[-2:])
    found = {}
    if model.mask_head is not None:
        inside = model.mask_logits(pyramid, boxes, images, labels).sigmoid()
        masks = model.postprocess.masks(inside, boxes, size)
        found["mask.prob"] = inside[:12]
        check_pixels(golden, masks)
    if model.keypoint_head is not None:
        maps = model.keypoint_logits(pyramid, boxes[:POSES], images[:POSES])
        places, scores = model.postprocess.keypoints(maps, boxes[:POSES])
        found["keypoint.heatmaps"] = maps[:4]
        last = scores if "keypoint.scores" not in golden.arrays else torch.ones_like(scores)
        check_keypoints(golden, "keypoints", torch.cat([places, last[..., None]], 2))
        if "keypoint.scores" in golden.arrays:
            check_keypoints(golden, "keypoint.scores", scores)
    return found


def check_pixels(golden: Golden, masks: Tensor) -> None:
    """Pasted masks, up to the pixels that rounding may turn."""
    allowed = golden.meta["tolerance"]["mask_pixels"]
    areas = masks.flatten(1).sum(1).numpy()
    if "mask.area" in golden.arrays:
        assert (np.abs(areas - golden.arrays["mask.area"]) <= allowed).all()
    if "mask.union" in golden.arrays:
        union = masks[:12].any(0).numpy()
        assert (union != golden.arrays["mask.union"].astype(bool)).sum() <= allowed


def check_keypoints(golden: Golden, key: str, mine: Tensor) -> None:
    """Of the first POSES all but a few, whose highest pixel rounding may move."""
    kept, tolerance = golden.arrays[key][:POSES], golden.meta["tolerance"]
    off = np.abs(mine.numpy() - kept) > tolerance["keypoints_rtol_of_max"] * np.abs(kept).max()
    assert off.mean() <= tolerance["keypoints_outlier_share"], f"{key}: {off.mean():.1%} differ"


COMPARED_HERE = {
    "proposals.boxes",
    "proposals.scores",
    "mask.area",
    "mask.union",
    "keypoints",
    "keypoint.scores",
}


def targets_of(golden: Golden) -> list[Targets]:
    """Labels counted from 0; masks are empty where polygons stand in for them."""
    pictures = golden.pictures()
    return [
        target_of(golden, given, tuple(picture.shape[-2:]))
        for given, picture in zip(golden.targets(), pictures, strict=True)
    ]


def target_of(golden: Golden, given: dict[str, Any], size: tuple[int, int]) -> Targets:
    boxes = torch.tensor(given["boxes_xyxy"])
    labels = torch.tensor(given["labels"]) - counts_from_one(golden)
    target = Targets(boxes, labels, size, torch.zeros(len(boxes), dtype=torch.bool))
    if "polygons" in given:
        target = replace(target, masks=torch.zeros(len(boxes), *size, dtype=torch.bool))
    if "keypoints" in given:
        points = torch.tensor(given["keypoints"]).reshape(len(boxes), -1, 3)
        target = replace(target, keypoints=points[..., :2], visibility=points[..., 2])
    return target


def key_of(target: Targets) -> tuple:
    return tuple(map(tuple, target.boxes.tolist()))


@dataclass(frozen=True, kw_only=True)
class OfPolygons(MaskCriterion):
    """The originals rasterise polygons in the frame of each region instead of cutting from a mask."""

    polygons: dict[tuple, list[list[list[float]]]]
    """of each picture, by its boxes"""

    def targets(self, target: Targets, boxes: Tensor, objects: Tensor, size: int) -> tuple[Tensor, Tensor]:
        from pycocotools import mask as coco

        found = []
        for (x1, y1, x2, y2), index in zip(boxes.double().tolist(), objects.tolist(), strict=True):
            scale = np.array([size / max(x2 - x1, 0.1), size / max(y2 - y1, 0.1)])
            parts = [
                ((np.array(part).reshape(-1, 2) - (x1, y1)) * scale).reshape(-1).tolist()
                for part in self.polygons[key_of(target)][index]
            ]
            found.append(coco.decode(coco.merge(coco.frPyObjects(parts, size, size))))
        masks = torch.from_numpy(np.stack(found)).to(boxes.dtype)
        return masks, torch.ones(len(objects), dtype=torch.bool)
