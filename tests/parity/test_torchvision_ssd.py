"""torchvision's own SSD300 and SSDlite, run as published: their checkpoints load and find the same on real pictures.

The weights are random, and class biases are set so that something is found. Layers, default boxes, losses and, from
our raw outputs on, detections are compared each by itself, so that rounding cannot decide (see stages.py).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import detection as theirs

import pagoda
from pagoda.detectors.ssd import SSD
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets

CLASSES = 21


@dataclass(frozen=True)
class Case:
    model: str
    background: float
    """bias of the background, at which a few hundred boxes pass"""


CASES = {
    "ssd300_vgg16": Case("ssd300_vgg16.torchvision", 5.0),
    "ssdlite320_mobilenet_v3_large": Case("ssdlite320_mobilenet_v3_large.torchvision", 6.5),
}
pytestmark = [pytest.mark.medium, pytest.mark.parity]


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> list[np.ndarray]:
    """(H, W, 3) uint8."""
    files = sorted((shared_data / "coco_tiny").rglob("*.jpg"))[:2]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def make_sane(model: nn.Module, background: float) -> None:
    """Random weights with which the network sees something."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            gain = 0.02 if name == "backbone.features.0.weight" else 1.5  # VGG reads pixels up to 255
            gain = 0.5 if name.startswith("head.") else gain
            parameter.data.normal_(0, gain / parameter[0].numel() ** 0.5, generator=generator)
        elif name.endswith("bias"):
            parameter.data.uniform_(-0.1, 0.1, generator=generator)
    for module in model.head.classification_head.module_list:
        last = module if isinstance(module, nn.Conv2d) else module[-1]
        last.bias.data.view(-1, CLASSES)[:, 0] = background


@pytest.fixture(scope="module", params=CASES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, SSD]:
    """(torchvision's detector, ours from the file of its weights)."""
    case, build = CASES[request.param], getattr(theirs, request.param)
    original = build(weights=None, weights_backbone=None, num_classes=CLASSES)
    make_sane(original, case.background)
    path = tmp_path_factory.mktemp("published") / f"{request.param}.pth"
    torch.save(original.state_dict(), path)
    model = pagoda.load(path)
    assert model.origin["model"] == case.model
    return original.eval(), model


def as_tensor(picture: np.ndarray) -> Tensor:
    """As torchvision's detectors take it."""
    return torch.tensor(picture).permute(2, 0, 1).float().div(255)


def prepared(model: SSD, picture: np.ndarray):
    return model.input_spec.prepare([torch.tensor(picture).permute(2, 0, 1)])


def test_layers_and_default_boxes_are_the_same(
    both: tuple[nn.Module, SSD], pictures: list[np.ndarray]
) -> None:
    original, model = both
    for picture in pictures:
        images = prepared(model, picture)
        transformed, _ = original.transform([as_tensor(picture)])
        torch.testing.assert_close(images.pixels, transformed.tensors, rtol=0, atol=2e-4)
        with torch.no_grad():
            features = list(original.backbone(transformed.tensors).values())
            heads, anchors = original.head(features), original.anchor_generator(transformed, features)
            outputs = model(images._replace(pixels=transformed.tensors))
            pyramid = model.neck(model.backbone(transformed.tensors))
        for x, wanted in zip(pyramid.values(), features, strict=True):
            torch.testing.assert_close(x, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
        logits = outputs.class_logits.roll(1, -1)  # their background comes first
        for mine, wanted in ((logits, heads["cls_logits"]), (outputs.box_outputs, heads["bbox_regression"])):
            torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
        assert torch.equal(torch.cat(outputs.priors), anchors[0])


def test_finds_the_same(both: tuple[nn.Module, SSD], pictures: list[np.ndarray]) -> None:
    """From the same raw outputs on, and as a whole in the picture's pixels."""
    original, model = both
    for picture in pictures:
        images = prepared(model, picture)
        with torch.no_grad():
            outputs = model(images)
            heads = {"cls_logits": outputs.class_logits.roll(1, -1), "bbox_regression": outputs.box_outputs}
            size = tuple(images.pixels.shape[-2:])
            (expected,) = original.postprocess_detections(heads, [torch.cat(outputs.priors)], [size])
        (found,) = model.postprocess.detect(outputs, images, model.decode, model.label_map)
        assert len(found) == len(expected["boxes"]) > 20
        near = (found.boxes[:, None] - expected["boxes"][None]).abs().amax(-1) <= 1e-3
        near &= (found.scores[:, None] - expected["scores"][None]).abs() <= 1e-5
        near &= found.labels[:, None] + 1 == expected["labels"][None]
        # Theirs suppresses with classes moved apart, by which coordinates lose digits: a few verdicts turn.
        assert near.any(0).float().mean() >= 0.98 and near.any(1).float().mean() >= 0.98
        whole, (theirs_whole,) = (
            model.predict(picture, min_score=float(model.postprocess.min_score)),
            original([as_tensor(picture)]),
        )
        assert abs(len(whole) - len(theirs_whole["boxes"])) <= 0.05 * len(whole)


def test_losses_are_the_same(both: tuple[nn.Module, SSD], pictures: list[np.ndarray]) -> None:
    original, model = both
    size = model.input_spec.canvas[0]
    shares = torch.tensor([[0.1, 0.2, 0.7, 0.9], [0.5, 0.1, 0.6, 0.2], [0.11, 0.22, 0.68, 0.93]])
    boxes, labels = [shares * size, torch.zeros(0, 4)], [torch.tensor([18, 20, 1]), torch.zeros(0).long()]
    images = model.input_spec.prepare([torch.tensor(picture).permute(2, 0, 1) for picture in pictures])
    with torch.no_grad():
        outputs = model(images)
        heads = {"cls_logits": outputs.class_logits.roll(1, -1), "bbox_regression": outputs.box_outputs}
        anchors = [torch.cat(outputs.priors)] * 2
        targets = [{"boxes": b, "labels": c} for b, c in zip(boxes, labels, strict=True)]
        matched = [
            original.proposal_matcher(theirs.ssd.box_ops.box_iou(target["boxes"], anchors[0]))
            if len(target["boxes"])
            else torch.full((len(anchors[0]),), -1)
            for target in targets
        ]
        expected = original.compute_loss(targets, heads, anchors, matched)
    ours = [
        Targets(b, c - 1, (size, size), torch.zeros(len(b), dtype=torch.bool))
        for b, c in zip(boxes, labels, strict=True)
    ]
    losses = model.criterion(outputs, ours, model.levels, coder=model.coder)
    torch.testing.assert_close(losses["loss_class"], expected["classification"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(losses["loss_box"], expected["bbox_regression"], rtol=1e-6, atol=1e-6)
    index = model.criterion.assign(anchors[0], ours[0].boxes)
    assert torch.equal(index, matched[0].clamp(min=-1))


def test_training_mode_computes_the_same(both: tuple[nn.Module, SSD], pictures: list[np.ndarray]) -> None:
    """Norms look at the batch with the same momentum, and gradients reach the same layers."""
    original, model = both
    pixels = torch.cat([prepared(model, picture).pixels for picture in pictures]).contiguous()
    sizes = torch.tensor([tuple(pixels.shape[-2:])] * len(pixels))
    with torch.no_grad():
        features = list(original.train().backbone(pixels).values())
        wanted = original.head(features)["cls_logits"]
        found = model.train()(ImageBatch(pixels, sizes)).class_logits
    original.eval(), model.eval()
    torch.testing.assert_close(found.roll(1, -1), wanted, rtol=1e-3, atol=2e-4 * float(wanted.abs().max()))
