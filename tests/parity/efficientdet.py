"""Records of EfficientDets: effdet, zylo117 and toandaominh1997, chosen by what their metadata says."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from goldens import Golden
from torch import Tensor

from pagoda.convert.architecture.effdet import form_of_config
from pagoda.convert.read import convert
from pagoda.criteria.efficientdet import EfficientDetCriterion
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.zoo.flavours.efficientdet import EFFICIENTDET_FLAVOURS, EfficientDetFlavour

EFFDET, ZYLO, TOAN = "/efficientdet-pytorch", "/Yet-Another-EfficientDet-Pytorch", "/EfficientDet.Pytorch"
YX_TO_XY = [1, 0, 3, 2]
Found = dict[str, Tensor]


def is_efficientdet(golden: Golden) -> bool:
    return golden.repository.endswith((EFFDET, ZYLO, TOAN))


def run(golden: Golden, path: Path) -> tuple[Found, Found]:
    """What our model computes under the record's keys, and the gradients it wants, by the original's names."""
    options = {"canvas": tuple(network_size(golden))}
    if golden.repository.endswith(EFFDET):  # of these tensors tell nothing
        told = form_of_config(golden.options).options
        options |= {key: told[key] for key in ("fusion", "activation")}
    converted = convert(path, flavour=flavour_of(golden), options=options)
    assert not converted.report.missing and not converted.report.unknown
    model = converted.model
    images = ImageBatch(model.input_spec.batch(golden.pictures()).pixels, true_sizes(golden))
    targets = [targets_of(golden)]
    outputs = model(images)
    found = {"input": images.pixels, **parts(golden, model, images.pixels)}
    found |= predictions(golden, outputs) | learning_targets(golden, model, outputs, targets[0])
    with torch.no_grad():
        check_detections(golden, model, outputs, images)
    losses = model.losses(images._replace(pixels=images.pixels.contiguous()), targets)
    found |= loss_terms(golden, model, losses)
    if "gradients" not in golden.meta:
        return found, {}
    return found, golden.gradients(sum(losses.values()), converted)


def network_size(golden: Golden) -> list[int]:
    return golden.meta["input"]["shape"][-2:]


def true_sizes(golden: Golden) -> Tensor:
    """(1, 2) where boxes end; effdet gives the size of the original picture and the scale to it."""
    given = golden.meta["input"]
    if "img_size_wh" not in given:
        return torch.tensor([network_size(golden)])
    return torch.tensor([given["img_size_wh"][::-1]]) / given["img_scale"]


def flavour_of(golden: Golden) -> EfficientDetFlavour:
    """The record's config in our words."""
    given = golden.meta["preprocess"]
    unit = 1 if given["scale"] == 1 else 255
    spec = InputSpec(
        fit="corner",
        canvas=(512, 512),
        pad_multiple=1,
        channel_order=given["channels"],
        mean=tuple(value / unit for value in given["mean"]),
        std=tuple(value / unit for value in given["std"]),
    )
    return replace(program_flavour(golden), input_spec=spec, lite_input=spec)


def program_flavour(golden: Golden) -> EfficientDetFlavour:
    options = golden.options
    if golden.repository.endswith(EFFDET):
        return effdet_flavour(options)
    base = EFFICIENTDET_FLAVOURS["zylo117" if golden.repository.endswith(ZYLO) else "toandaominh"]
    limits = {"min_score": options["threshold"], "max_iou": options["iou_threshold"]}
    return replace(base, postprocess=replace(base.postprocess, **limits))


def effdet_flavour(options: Mapping[str, Any]) -> EfficientDetFlavour:
    form = form_of_config(options)
    return replace(
        EFFICIENTDET_FLAVOURS["effdet"],
        resampling=form.resampling,
        head_activation=form.head_activation,
        tensorflow=options["backbone_name"].startswith("tf_"),
        padding="same" if options["pad_type"] == "same" else "symmetric",
        conv_bias=options["redundant_bias"],
        base_scale=options["anchor_scale"],
        shapes=tuple(map(tuple, options["aspect_ratios"])),
        criterion=EfficientDetCriterion(
            alpha=options["alpha"],
            gamma=options["gamma"],
            label_smoothing=options["label_smoothing"],
            huber_delta=options["delta"],
            box_weight=options["box_loss_weight"],
        ),
        postprocess=SelectFromAllLevels(
            suppression="soft" if options["soft_nms"] else "hard",
            min_score=0.001 if options["soft_nms"] else 0.0,
            max_candidates=options["max_detection_points"],
            max_detections=options["max_det_per_image"],
        ),
    )


def targets_of(golden: Golden) -> Targets:
    given, size = golden.meta["targets"], tuple(network_size(golden))
    if "boxes_yxyx" in given:
        labels = torch.tensor(given["labels"]) - 1
        boxes = torch.tensor(given["boxes_yxyx"])[:, YX_TO_XY]
        boxes, labels = boxes[labels >= 0], labels[labels >= 0]
    else:
        rows = torch.tensor(given["boxes_xyxy_class"]).reshape(-1, 5)
        boxes, labels = rows[:, :4], rows[:, 4].long()
    return Targets(boxes, labels, size, torch.zeros(len(boxes), dtype=torch.bool))


def parts(golden: Golden, model: Any, pixels: Tensor) -> Found:
    """Features of every stage, and what the heads say, map by map."""
    body = model.backbone(pixels)
    pyramid = model.neck(body)
    found: Found = {}
    for index, (level, x) in enumerate(sorted(body.items())):
        found |= {f"backbone.{index}": x, f"backbone.p{level}": x}
    for index, (level, x) in enumerate(sorted(pyramid.items())):
        found |= {f"neck.{index}": x, f"fpn.p{level}": x}
        if not golden.repository.endswith(EFFDET):
            continue
        shape = (1, *x.shape[-2:], -1)
        classes, boxes = model.class_head({level: x}), model.box_head({level: x})
        boxes = boxes.unflatten(-1, (-1, 4))[..., YX_TO_XY].flatten(-2)
        found[f"class.p{level}"] = classes.reshape(shape).permute(0, 3, 1, 2)
        found[f"box.p{level}"] = boxes.reshape(shape).permute(0, 3, 1, 2)
    return found


def predictions(golden: Golden, outputs: Any) -> Found:
    """All locations at once; order of coordinates as in the original."""
    order = [0, 1, 2, 3] if golden.repository.endswith(TOAN) else YX_TO_XY
    anchors = torch.cat(outputs.priors)[:, order]
    return {
        "anchors": anchors if golden.repository.endswith(EFFDET) else anchors[None],
        "regression": outputs.box_outputs[..., order],
        "classification": outputs.class_logits.sigmoid(),
    }


def learning_targets(golden: Golden, model: Any, outputs: Any, target: Targets) -> Found:
    """What each anchor is to learn, as effdet tells it."""
    if not golden.repository.endswith(EFFDET):
        return {}
    anchors = torch.cat(outputs.priors)
    index = model.criterion.assign(anchors, target.boxes)
    own = (index >= 0).nonzero().squeeze(1)
    wanted = model.coder.encode(target.boxes[index[own]], anchors[own])
    return {
        "target.anchors": own,
        "target.classes": target.labels[index[own]],
        "target.boxes": wanted[:, YX_TO_XY],
        "target.num_positives": torch.tensor([len(own)]),
    }


def check_detections(golden: Golden, model: Any, outputs: Any, images: ImageBatch) -> None:
    """With the postprocessing of fixed size; effdet fills unused rows up with zeros and counts labels from 1."""
    selected = model.postprocess(outputs, images.sizes, model.decode)
    boxes, scores, labels = (part[0] for part in selected)
    if golden.repository.endswith(EFFDET):
        golden.check_detections("det", boxes * golden.meta["input"]["img_scale"], scores, labels + 1)
    else:
        golden.check_detections("det", boxes[scores > 0], scores[scores > 0], labels[scores > 0])


def loss_terms(golden: Golden, model: Any, losses: dict[str, Tensor]) -> Found:
    classes, boxes = losses["loss_class"], losses["loss_box"]
    if golden.repository.endswith(EFFDET):
        return {
            "loss": classes + boxes,
            "class_loss": classes,
            "box_loss": boxes / model.criterion.box_weight,
        }
    return {"cls_loss": classes[None], "reg_loss": boxes[None]}
