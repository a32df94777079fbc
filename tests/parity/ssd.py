"""Records of SSDs: ssd.pytorch (amdegroot), lufficc, torchvision and mmdetection, chosen by what their metadata says.

Their options have other names in each program; those of one meaning stand together in `WORDS`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from foreign_configs import with_preprocessing
from goldens import Golden
from torch import Tensor

from pagoda.convert.read import convert
from pagoda.convert.recognise import open_foreign
from pagoda.ops.anchors import DefaultBoxes
from pagoda.ops.boxes import xyxy_to_xywh
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.zoo.families import FAMILIES
from pagoda.zoo.flavours.ssd import SSDFlavour

PROGRAMS = {"/ssd.pytorch": "amdegroot", "/SSD": "lufficc"}
TASKS = ("SSD",)
Found = dict[str, Tensor]
WORDS = {
    "size": ("size", "image_size", "min_dim", "input_size", "INPUT.IMAGE_SIZE"),
    "feature_maps": ("feature_maps", "MODEL.PRIORS.FEATURE_MAPS", "priors.feature_maps"),
    "steps": ("steps", "strides", "MODEL.PRIORS.STRIDES", "priors.strides"),
    "min_sizes": ("min_sizes", "MODEL.PRIORS.MIN_SIZES", "priors.min_sizes"),
    "max_sizes": ("max_sizes", "MODEL.PRIORS.MAX_SIZES", "priors.max_sizes"),
    "ratios": ("aspect_ratios", "MODEL.PRIORS.ASPECT_RATIOS", "priors.aspect_ratios"),
    "scales": ("scales",),
    "weights": ("weights", "box_coder_weights", "bbox_reg_weights"),
    "variance": ("variance", "variances"),
    "center_variance": ("center_variance", "MODEL.CENTER_VARIANCE"),
    "size_variance": ("size_variance", "MODEL.SIZE_VARIANCE"),
    "clip": ("clip", "MODEL.PRIORS.CLIP", "priors.clip"),
    "min_iou": ("overlap_thresh", "iou_thresh", "iou_threshold", "threshold", "MODEL.THRESHOLD"),
    "negatives": ("neg_pos", "neg_pos_ratio", "MODEL.NEG_POS_RATIO"),
    "positive_fraction": ("positive_fraction",),
    "min_score": ("conf_thresh", "score_thresh", "confidence_threshold", "TEST.CONFIDENCE_THRESHOLD"),
    "max_iou": ("nms_thresh", "nms_threshold", "TEST.NMS_THRESHOLD"),
    "top_k": ("top_k", "topk_candidates", "max_per_class", "TEST.MAX_PER_CLASS"),
    "max_detections": ("detections_per_img", "max_per_image", "TEST.MAX_PER_IMAGE"),
}


def is_ssd(golden: Golden) -> bool:
    return golden.repository.endswith(tuple(PROGRAMS)) or golden.meta["task"].startswith(TASKS)


def program(golden: Golden) -> str:
    found = [name for ending, name in PROGRAMS.items() if golden.repository.endswith(ending)]
    return (
        found[0]
        if found
        else {"vision": "torchvision", "mmdetection": "mmdet"}[golden.repository.split("/")[-1]]
    )


def said(golden: Golden, meaning: str) -> Any:
    """The option of this meaning, None where the record is silent; upper case and dots as nested groups."""
    for word in WORDS[meaning]:
        value: Any = golden.options
        for key in word.split("."):
            value = value[key] if hasattr(value, "keys") and key in value else None
            if value is None:
                break
        if value is not None:
            return value
    return None


def run(golden: Golden, path: Path) -> tuple[Found, Found]:
    """What our model computes under the record's keys, and the gradients it wants, by the original's names."""
    canvas = tuple(golden.pictures()[0].shape[-2:])
    detector = open_foreign(path).architecture.detector
    converted = convert(path, flavour=flavour_of(golden, detector, canvas), options={"canvas": canvas})
    assert not converted.report.missing and not converted.report.unknown
    model = converted.model
    images = model.input_spec.batch(golden.pictures())
    images = images._replace(pixels=images.pixels.contiguous())
    targets = targets_of(golden, model)
    found: Found = {"input": images.pixels}
    with torch.no_grad():
        pyramid = model.neck(model.backbone(images.pixels))
        for index, (_, x) in enumerate(sorted(pyramid.items())):
            found |= {f"source.{index}": x, f"feature.{index}": x, f"features.{index}": x}
        outputs = in_shares(golden, model, model(images), pyramid, canvas)
        grids = said(golden, "feature_maps")
        assert grids in (None, [x.shape[-1] for _, x in sorted(pyramid.items())])
        found |= predictions(golden, outputs, canvas) | learning_targets(model, outputs, targets)
        for key in sorted(golden.outputs() & set(found)):  # before losses of what may be wrong
            golden.check(key, found[key])
        check_detections(golden, model, images)
    if "eval mode" not in golden.meta["outputs"].get("loss", {}).get("what", ""):
        model.train()
    outputs = in_shares(golden, model, model(images), pyramid, canvas)
    losses = model.criterion(outputs, targets, model.levels, coder=model.coder)
    found |= loss_terms(losses)
    return found, golden.gradients(sum(losses.values()), converted) if "gradients" in golden.meta else {}


def flavour_of(golden: Golden, detector: str, canvas: tuple[int, int]) -> SSDFlavour:
    """The record's config in our words: what it says of each convention, else its program's."""
    base = FAMILIES[detector].flavours[program(golden)]
    boxes = default_boxes(golden, base, canvas)
    criterion, select = base.criterion, base.postprocess
    negatives, fraction = said(golden, "negatives"), said(golden, "positive_fraction")
    if fraction is not None:
        negatives = (1 - fraction) / fraction
    changes = {"min_iou": said(golden, "min_iou"), "negatives_per_positive": negatives}
    limits = {
        "min_score": said(golden, "min_score"),
        "max_iou": said(golden, "max_iou"),
        "max_detections": said(golden, "max_detections"),
    }
    top_k = said(golden, "top_k")
    if top_k is not None and top_k > 0:
        limits["max_candidates"] = top_k
    flavour = replace(
        base,
        boxes=boxes,
        coder=replace(base.coder, weights=weights(golden, base)),
        criterion=replace(criterion, **present(changes)),
        postprocess=replace(select, **present(limits)),
    )
    return with_preprocessing(flavour, golden.meta["preprocess"])


def present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def weights(golden: Golden, base: SSDFlavour) -> tuple[float, float, float, float]:
    variance, told = said(golden, "variance"), said(golden, "weights")
    if told is not None:
        return tuple(told)
    center, size = said(golden, "center_variance"), said(golden, "size_variance")
    if variance is not None:
        center, size = variance[0], variance[-1]
    return base.coder.weights if center is None else (1 / center, 1 / center, 1 / size, 1 / size)


def default_boxes(golden: Golden, base: SSDFlavour, canvas: tuple[int, int]) -> DefaultBoxes | None:
    low, high, scales = (said(golden, each) for each in ("min_sizes", "max_sizes", "scales"))
    size, ratios, steps = said(golden, "size"), said(golden, "ratios"), said(golden, "steps")
    side = float(canvas[0] if size is None else size if isinstance(size, int | float) else size[0])
    if scales is not None:
        low, high = [scale * side for scale in scales[:-1]], [scale * side for scale in scales[1:]]
    clip = said(golden, "clip")
    if low is None or ratios is None:
        return None
    return DefaultBoxes(
        min_sizes=tuple(low),
        max_sizes=tuple(high),
        ratios=tuple(tuple(float(ratio) for ratio in of_level) for of_level in ratios),
        steps=None if steps is None else tuple(float(step) for step in steps),
        image_size=side,
        whole_sizes=base.whole_sizes,
        clip="none" if clip is False else base.box_clip,
    )


IN_PIXELS = ("torchvision", "mmdet")
"""which compute overlaps in pixels; the others in shares of the picture"""


def in_shares(
    golden: Golden, model: Any, outputs: Any, pyramid: dict[int, Tensor], canvas: tuple[int, int]
) -> Any:
    """With default boxes in the unit that the program computes in: where several of one shape contain an object, the
    last digit decides which is its best."""
    if program(golden) in IN_PIXELS:
        return outputs
    levels = enumerate(x.shape[-2:] for _, x in sorted(pyramid.items()))
    shares = (model.boxes.shares_of_level(level, tuple(size), canvas) for level, size in levels)
    return outputs._replace(priors=tuple(shares))


def targets_of(golden: Golden, model: Any) -> list[Targets]:
    """Boxes in the program's unit; labels counted from 0. A record's may be shares, and begin at 1."""
    num_classes = len(model.label_map)
    rows = []
    for given in golden.targets():
        if "boxes_xyxy_class" in given:
            every = torch.tensor(given["boxes_xyxy_class"]).reshape(-1, 5)
            rows.append((every[:, :4], every[:, 4].long()))
        else:
            rows.append(
                (torch.tensor(given["boxes_xyxy"]).reshape(-1, 4), torch.tensor(given["labels"]).long())
            )
    boxes, labels = torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])
    begins_at_1 = bool((labels == num_classes).any()) or (
        "labels" in golden.targets()[0] and not bool((labels == 0).any())
    )
    is_share = not len(boxes) or float(boxes.max()) <= 1.0
    found = []
    for (own, classes), picture in zip(rows, golden.pictures(), strict=True):
        height, width = picture.shape[-2:]
        size = (height, width) if program(golden) in IN_PIXELS else (1, 1)
        scale = own.new_tensor([size[1], size[0]] * 2) / (
            1 if is_share else own.new_tensor([width, height] * 2)
        )
        ignored = torch.zeros(len(own), dtype=torch.bool)
        found.append(Targets(own * scale, classes - int(begins_at_1), size, ignored))
    return found


def predictions(golden: Golden, outputs: Any, canvas: tuple[int, int]) -> Found:
    """All default boxes at once; classes as the program has them."""
    logits = outputs.class_logits if program(golden) == "mmdet" else outputs.class_logits.roll(1, -1)
    priors = torch.cat(outputs.priors)
    x, y, w, h = xyxy_to_xywh(priors).unbind(-1)
    shares = torch.stack([x + w / 2, y + h / 2, w, h], dim=-1)
    if program(golden) in IN_PIXELS:
        shares = shares / shares.new_tensor([canvas[1], canvas[0]] * 2)
    found = dict.fromkeys(("loc", "bbox_regression", "bbox_pred", "reg"), outputs.box_outputs)
    found |= dict.fromkeys(("conf", "cls_logits", "cls"), logits)
    return found | {"priors": shares, "anchors": priors}


def learning_targets(model: Any, outputs: Any, targets: list[Targets]) -> Found:
    """What each default box is to learn; labels count the background as 0."""
    priors, found, wanted = torch.cat(outputs.priors), {}, []
    criterion = model.criterion
    for number, target in enumerate(targets):
        index = criterion.assign(priors, target.boxes, target.image_size)
        own = (index >= 0).nonzero().squeeze(1)
        background = outputs.class_logits[number : number + 1].float().log_softmax(-1)[..., -1].neg()
        negative = criterion.mine(background, (index >= 0)[None])[0].nonzero().squeeze(1)
        for at in (f"target{number}", f"target.{number}"):
            found |= {
                f"{at}.positive": own,
                f"{at}.label": target.labels[index[own]] + 1,
                f"{at}.negative": negative,
            }
        wanted.append(model.coder.encode(target.boxes[index[own]], priors[own]))
    return {**found, "target.loc": torch.cat(wanted)}


def check_detections(golden: Golden, model: Any, images: ImageBatch) -> None:
    """Labels count the background as 0, but for mmdetection's."""
    for number, found in enumerate(model.detect(images)):
        labels = found.labels + int(program(golden) != "mmdet")
        golden.check_detections(golden.prefix("det", number), found.boxes, found.scores, labels)


def loss_terms(losses: dict[str, Tensor]) -> Found:
    classes, boxes = losses["loss_class"], losses["loss_box"]
    found = dict.fromkeys(
        ("loss_c", "cls_loss", "loss_cls", "loss.classification", "classification"), classes
    )
    found |= dict.fromkeys(
        ("loss_l", "reg_loss", "loss_bbox", "loss.bbox_regression", "bbox_regression_loss"), boxes
    )
    return {**found, "loss": classes + boxes}
