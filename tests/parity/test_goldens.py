"""Every record of an original program: its checkpoint loads, and our model computes what the original computed.

A record is chosen by what its `meta.json` says. Families that are not built are skipped by name.
"""

from dataclasses import replace

import efficientdet
import pytest
import ssd
import torch
import yolov1
from foreign_configs import (
    bubbliiiing_flavour,
    detectron2_flavour,
    fcos_flavour,
    maskrcnn_benchmark_flavour,
    mmdet_backbone_choices,
    mmdet_flavour,
    with_preprocessing,
)
from goldens import ROOT, Golden, computed_once, folders
from rcnn import COMPARED_HERE, is_rcnn, learns_long, run_rcnn
from rcnn import LOSSES as RCNN_LOSSES
from torch import Tensor
from torch.nn.functional import cross_entropy

from pagoda.convert.read import convert
from pagoda.convert.read_backbone import load_backbone
from pagoda.detectors.contract import Detector
from pagoda.ops.anchors import point_strides
from pagoda.ops.assign import IGNORED
from pagoda.ops.boxes import boxes_to_ltrb
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets

pytestmark = pytest.mark.medium

GOLDENS = [Golden(folder) for folder in folders()]
LARGE = 100_000_000
"""weights of a record that takes a minute and gigabytes (fully connected layers on 7×7 cells of C5)"""


def choose_flavour(golden: Golden):
    """The config of the record in our words."""
    return with_preprocessing(config_flavour(golden), golden.meta["preprocess"])


def config_flavour(golden: Golden):
    options = golden.options
    if golden.repository.endswith("/FCOS"):
        return fcos_flavour(options)
    if golden.repository.endswith("/maskrcnn-benchmark"):
        return maskrcnn_benchmark_flavour(options)
    if golden.repository.endswith("/detectron2"):
        return detectron2_flavour(options)
    if golden.repository.endswith("/mmdetection"):
        return mmdet_flavour(options)
    if golden.repository.endswith("/retinanet-pytorch"):
        return bubbliiiing_flavour(options)
    raise AssertionError(f"records of {golden.repository} are not known")


def is_backbone(golden: Golden) -> bool:
    return "backbone" in golden.meta["task"] or "classifier" in golden.meta["task"]


@pytest.mark.skipif(
    not GOLDENS, reason=f"needs the records of the originals; set PAGODA_GOLDENS (looked in {ROOT})"
)
def test_there_are_records():
    assert GOLDENS


@pytest.mark.parametrize(
    "golden",
    [
        pytest.param(
            golden, id=golden.folder.name, marks=[pytest.mark.slow] if golden.num_weights > LARGE else []
        )
        for golden in GOLDENS
    ],
)
def test_computes_what_the_original_computed(golden: Golden, tmp_path):
    path = golden.write_checkpoint(tmp_path)
    if efficientdet.is_efficientdet(golden):
        found, gradients = efficientdet.run(golden, path)
    elif yolov1.is_yolov1(golden):
        found, gradients = yolov1.run(golden, path)
    elif ssd.is_ssd(golden):
        found, gradients = ssd.run(golden, path)
    elif "classifier" in golden.meta["task"]:
        found, gradients = run_classifier(golden, path)
    elif is_rcnn(golden):
        found, gradients = run_rcnn(golden, path, learns=not learns_long(golden))
    elif is_backbone(golden):
        found, gradients = run_backbone(golden, path)
    else:
        found, gradients = run_detector(golden, path)
    absent = golden.outputs() - set(found) - {key for key in golden.outputs() if key.startswith("det")}
    if learns_long(golden):
        absent -= set(RCNN_LOSSES)
    assert not absent - COMPARED_HERE, f"not compared: {sorted(absent)}"
    check_all(golden, found, gradients)
    golden.check_vocabulary()


@pytest.mark.slow
@pytest.mark.parametrize(
    "golden", [golden for golden in GOLDENS if learns_long(golden)], ids=lambda golden: golden.folder.name
)
def test_learns_what_the_original_learnt(golden: Golden, tmp_path):
    found, gradients = run_rcnn(golden, golden.write_checkpoint(tmp_path))
    assert set(RCNN_LOSSES) & golden.outputs() <= set(found) and gradients
    check_all(golden, found, gradients)


def check_all(golden: Golden, found: dict[str, Tensor], gradients: dict[str, Tensor]) -> None:
    for key in sorted(golden.outputs() & set(found)):
        golden.check(key, found[key])
    if gradients:
        golden.check_gradients(gradients)


# Detectors


def run_detector(golden: Golden, path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    converted = convert(path, flavour=choose_flavour(golden))
    model = converted.model
    assert not converted.report.missing and not converted.report.unknown
    images, targets = batch(golden, model), targets_of(golden)
    with torch.no_grad(), computed_once(model.backbone, model.neck, model.class_head, model.box_head):
        found = {"input": images.pixels, **pyramid_outputs(model, images)}
        found |= priors_and_targets(model, images, targets, found)
        for key in golden.outputs() & set(found):
            golden.check(key, found[key])
        check_detections(golden, model, images)
    if "eval mode" not in golden.meta["outputs"].get("loss", {}).get("what", ""):
        model.train()
    # In channels-last layout torch's batch statistics are a few digits short of the originals'.
    losses = model.losses(images._replace(pixels=images.pixels.contiguous()), targets)
    losses = {**losses, "loss": sum(losses.values())}
    for key in golden.outputs():
        if key in LOSSES:
            found[key] = losses[LOSSES[key]]
    return found, golden.gradients(losses["loss"], converted)


LOSSES = {
    "loss_cls": "loss_class", "loss_retina_cls": "loss_class", "loss_fcos_cls": "loss_class",
    "cls_loss": "loss_class", "loss_reg": "loss_box", "loss_retina_reg": "loss_box",
    "loss_fcos_loc": "loss_box", "loss_bbox": "loss_box", "loss_box_reg": "loss_box", "reg_loss": "loss_box",
    "loss_centerness": "loss_centerness", "loss_fcos_ctr": "loss_centerness", "loss": "loss",
}  # fmt: skip


def batch(golden: Golden, model: Detector) -> ImageBatch:
    """The pictures as they are: no golden resizes. Letterboxed ones are pasted on the canvas of the network."""
    size = golden.meta["input"].get("network_size_hw")
    if size is None:
        return model.input_spec.batch(golden.pictures())
    canvas = letterbox_spec(golden, model)
    return canvas.batch([canvas.resize(picture) for picture in golden.pictures()])


def letterbox_spec(golden: Golden, model: Detector):
    return replace(model.input_spec, canvas=tuple(golden.meta["input"]["network_size_hw"]))


def targets_of(golden: Golden) -> list[Targets]:
    """Labels counted from 0."""
    shift = 1 if golden.repository.endswith(("/FCOS", "/maskrcnn-benchmark")) else 0
    found = []
    for target, picture in zip(golden.targets(), golden.pictures(), strict=True):
        if "boxes_xyxy_class" in target:
            rows = torch.tensor(target["boxes_xyxy_class"])
            boxes, labels = rows[:, :4], rows[:, 4].long()
        else:
            boxes, labels = torch.tensor(target["boxes_xyxy"]), torch.tensor(target["labels"]) - shift
        ignored = torch.zeros(len(boxes), dtype=torch.bool)
        found.append(Targets(boxes, labels, tuple(picture.shape[-2:]), ignored))
    return found


def as_maps(flat: Tensor, pyramid: dict[int, Tensor]) -> dict[int, Tensor]:
    """(B, P, C) to {level: (B, C, h, w)}."""
    maps, first = {}, 0
    for level, x in sorted(pyramid.items()):
        height, width = x.shape[-2:]
        anchors = flat.shape[1] // sum(y.shape[-2] * y.shape[-1] for y in pyramid.values())
        count = height * width * anchors
        part = flat[:, first : first + count].reshape(flat.shape[0], height, width, -1)
        maps[level] = part.permute(0, 3, 1, 2)
        first += count
    return maps


def pyramid_outputs(model: Detector, images: ImageBatch) -> dict[str, Tensor]:
    """Features and predictions under every name that an original gives them."""
    found: dict[str, Tensor] = {}
    modules = dict(model.backbone.named_modules())
    first = modules.get("layer1", modules.get("features.3"))
    handle = first.register_forward_hook(lambda _, __, output: found.update({"body.c2": output}))
    body = model.backbone(images.pixels)
    handle.remove()
    found |= {f"body.c{level}": x for level, x in body.items()} | {"body.last": body[max(body)]}
    pyramid = model.neck(body)
    outputs = model(images)
    classes = as_maps(model.class_head(pyramid), pyramid)
    boxes = as_maps(model.box_head(pyramid), pyramid)
    distances = as_maps(outputs.box_outputs, pyramid)
    for index, (level, x) in enumerate(sorted(pyramid.items())):
        rows = 4 if hasattr(model, "quality_on") else boxes[level].shape[1]
        count = len(model.label_map) if hasattr(model, "quality_on") else classes[level].shape[1]
        for name in (f"fpn.p{level}", f"fpn.{index}", f"backbone.p{level}"):
            found[name] = x
        for name in (f"logits.p{level}", f"logits.{index}", f"cls.{index}", f"rpn.logits.{index}"):
            found[name] = classes[level][:, :count]
        for name in (f"deltas.{index}", f"rpn.reg.{index}"):
            found[name] = boxes[level][:, :rows]
        # in evaluation FCOS heads return pixels; RetinaNet's stay encoded
        in_pixels = distances[level] if outputs.quality_logits is not None else boxes[level]
        found[f"boxreg.p{level}"] = found[f"reg.{index}"] = in_pixels
        if outputs.quality_logits is not None:
            quality = as_maps(outputs.quality_logits[..., None], pyramid)[level]
            for name in (f"centerness.p{level}", f"centerness.{index}", f"ctrness.{index}"):
                found[name] = quality
    found["outputs"] = outputs  # for the next step; no record has a key of this name
    return found


def priors_and_targets(
    model: Detector, images: ImageBatch, targets: list[Targets], found: dict
) -> dict[str, Tensor]:
    """Locations or anchors, and what each of them is to learn."""
    outputs = found.pop("outputs")
    priors, extra = torch.cat(outputs.priors), {}
    if outputs.quality_logits is not None:
        strides = point_strides(outputs.priors, model.levels)[:, None]
        extra["locations"] = priors
        extra["anchors"] = torch.cat([priors - strides / 2, priors + strides / 2], 1)
        labels = []
        for target in targets:
            index = model.criterion.assign(outputs.priors, model.levels, target.boxes)
            labels.append(torch.where(index >= 0, target.labels[index.clamp(min=0)] + 1, 0))
            # where nothing is assigned the original leaves the first object's distances
            ltrb = boxes_to_ltrb(priors, target.boxes[index.clamp(min=0)])
            extra["target.reg"] = ltrb / strides if model.criterion.normalize_targets else ltrb
        extra["target.labels"] = torch.stack(labels) if len(labels) > 1 else labels[0]
        return extra
    extra["anchors"] = priors
    for number, target in enumerate(targets):
        index, suffix = model.criterion.assign(priors, target.boxes), f".{number}" if len(targets) > 1 else ""
        extra[f"target.positive{suffix}"] = (index >= 0).nonzero().squeeze(1)
        extra[f"target.ignored{suffix}"] = (index == IGNORED).nonzero().squeeze(1)
    if model.input_spec.fit == "letterbox":
        swap, (height, width) = [1, 0, 3, 2], images.pixels.shape[-2:]
        extra["anchors"] = priors[None][..., swap]
        extra["regression"] = outputs.box_outputs[..., swap]
        extra["classification"] = outputs.class_logits.sigmoid()
        boxes = model.decode(outputs.box_outputs[0], priors)[None]
        extra["decoded"] = (boxes / boxes.new_tensor([width, height, width, height])).clamp(0, 1)
    return extra


def check_detections(golden: Golden, model: Detector, images: ImageBatch) -> None:
    shift = 1 if golden.repository.endswith(("/FCOS", "/maskrcnn-benchmark")) else 0
    for number, found in enumerate(model.detect(images)):
        boxes = found.boxes
        if "network_size_hw" in golden.meta["input"]:  # from the canvas to the picture, as (y1, x1, y2, x2)
            canvas, picture = golden.meta["input"]["network_size_hw"], golden.pictures()[0].shape[-2:]
            top, left = ((side - inner) // 2 for side, inner in zip(canvas, picture, strict=True))
            boxes = (boxes - boxes.new_tensor([left, top, left, top]))[:, [1, 0, 3, 2]]
        golden.check_detections(golden.prefix("det", number), boxes, found.scores, found.labels + shift)


# Backbones


def normalized(golden: Golden) -> Tensor:
    """Pictures as a backbone reads them: no record of one pads."""
    rule = golden.meta["preprocess"]
    mean, std = (torch.tensor(rule[key])[:, None, None] for key in ("mean", "std"))
    return torch.stack([(picture.float() - mean) / std for picture in golden.pictures()])


def run_backbone(golden: Golden, path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model = load_backbone(path, **mmdet_backbone_choices(golden.options)).train()
    images = normalized(golden)
    features = model(images)
    found = {"input": images, **{f"stage{level - 1}": x for level, x in features.items()}}
    found["square_loss"] = sum((x**2).mean() for x in features.values())
    found["square_loss"].backward()
    ours = backbone_names(path)
    parameters = dict(model.named_parameters())
    trained = {name for name, parameter in parameters.items() if parameter.requires_grad}
    for name in golden.meta.get("frozen_parameters", ()):
        assert ours[name] not in trained, f"{name} must not train"
    return found, {name: parameters[ours[name]].grad for name in golden.meta["gradients"]["parameters"]}


def backbone_names(path) -> dict[str, str]:
    from pagoda.convert.recognise import open_foreign

    taken = open_foreign(path).renamed.taken
    return {source: canonical.removeprefix("backbone.") for source, canonical in taken.items()}


def run_classifier(golden: Golden, path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    classes = golden.meta["weights"]["entries"]["classifier.weight"][0]
    model = load_backbone(path, classes=classes).eval()
    images, found = normalized(golden), {}
    found["input"] = images
    for index in range(10):
        model.blocks[index].register_forward_hook(
            lambda _, __, output, index=index: found.update({f"blocks.{index}": output})
        )
    found["stem"] = torch.relu(model.bn1(model.conv_stem(images)))
    found["logits"] = model.classify(images)
    found["loss"] = cross_entropy(found["logits"], torch.tensor([7]))
    found["loss"].backward()
    parameters = dict(model.named_parameters())
    return found, {name: parameters[name].grad for name in golden.meta["gradients"]["parameters"]}
