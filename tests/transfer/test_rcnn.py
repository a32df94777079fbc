"""Other classes and keypoints for an R-CNN: what has the same name says the same of every region."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pagoda.detectors.rcnn import RCNN
from pagoda.models import create_model, load
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import COCO_17, Skeleton
from pagoda.transfer.classes import adapt_classes
from pagoda.weights.files import save_weights

pytestmark = pytest.mark.medium

OLD = LabelMap(("cat", "dog", "eel", "fox"), (1, 2, 3, 4))
NEW = LabelMap(("heron", "fox", "cat"), (7, 8, 9))
FACE = Skeleton(("chin", "right_eye", "nose"))
SMALL = {"width": 16, "short_side": 64, "long_side": 96}
FORMS = [
    "mask_rcnn_resnet18_fpn",
    "mask_rcnn_resnet18_fpn.torchvision",
    "mask_rcnn_resnet18_c4.maskrcnn_benchmark",
    "faster_rcnn_resnet18_fpn.detectron2",
]


def trained(name: str, labels: LabelMap = OLD, **options) -> RCNN:
    """Nothing in its predictions has the value it would start with."""
    depth = {} if "faster" in name or "_c4" in name else {"head_depth": 1}
    model = create_model(name, label_map=labels, **{**SMALL, **depth, **options}).eval()
    for layer in predictions(model):
        torch.nn.init.normal_(layer.weight, std=0.1)
        torch.nn.init.normal_(layer.bias)
    return model


def predictions(model: RCNN) -> list:
    layers = [model.box_head.classes, model.box_head.deltas]
    return layers + [head.predict for head in (model.mask_head, model.keypoint_head) if head is not None]


def said(model: RCNN) -> tuple[Tensor, Tensor, list[Tensor]]:
    """(logits, deltas, masks of each class) of random regions."""
    torch.manual_seed(3)
    size = model.box_head.pooling.resolution
    width = (model.neck or model.backbone).channels[model.roi_levels[0]]
    logits, deltas = model.box_head(torch.randn(5, width, size, size))
    if model.mask_head is None:
        return logits, deltas, []
    channels = next(m for m in model.mask_head.modules() if hasattr(m, "in_channels")).in_channels
    pooled = torch.randn(5, channels, 6, 6)
    classes = range(len(model.label_map))
    return logits, deltas, [model.mask_head(pooled, torch.full((5,), label)) for label in classes]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("agnostic", [False, True], ids=["per class", "agnostic"])
def test_classes_of_the_same_name_say_the_same_of_every_region(name: str, agnostic: bool) -> None:
    model = trained(name, class_agnostic=agnostic)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    adapted = adapt_classes(model, NEW)
    assert (adapted.kept, adapted.fresh, adapted.forgotten) == (["fox", "cat"], ["heron"], ["dog", "eel"])
    assert adapted.model.label_map == NEW and adapted.keypoints is None
    with torch.no_grad():
        (was, was_boxes, was_masks), (now, boxes, masks) = said(model), said(adapted.model)
    torch.testing.assert_close(now[:, [1, 2, 3]], was[:, [3, 0, 4]])  # the background is last
    assert now.shape == (5, 4) and boxes.shape == (5, 1 if agnostic else 3, 4)
    torch.testing.assert_close(
        boxes if agnostic else boxes[:, [1, 2]], was_boxes[:, [0] if agnostic else [3, 0]]
    )
    for label, old in ((1, 3), (2, 0)) if masks else ():
        torch.testing.assert_close(masks[label], was_masks[old])
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", FORMS)
def test_fresh_classes_start_as_in_a_new_head(name: str) -> None:
    model = adapt_classes(trained(name), NEW).model
    row = 0 + (model.box_head.background == "first")
    assert model.box_head.classes.bias[row] == 0 and 0.005 < model.box_head.classes.weight[row].std() < 0.015
    rows = slice(4 * row, 4 * row + 4) if model.box_head.background_box else slice(0, 4)
    assert not model.box_head.deltas.bias[rows].any() and model.box_head.deltas.weight[rows].std() < 0.002


def test_the_same_classes_in_another_order_are_the_same_model_turned() -> None:
    for name in FORMS:
        model = trained(name)
        turned = LabelMap.from_names(reversed(OLD.names))
        back = adapt_classes(adapt_classes(model, turned).model, OLD)
        assert back.fresh == back.forgotten == []
        assert all(
            torch.equal(a, b) for a, b in zip(back.model.parameters(), model.parameters(), strict=True)
        )


def test_keypoints_of_the_same_name_keep_their_maps() -> None:
    person, face = LabelMap(("person",), (1,), COCO_17), LabelMap(("person",), (1,), FACE)
    model = trained("keypoint_rcnn_resnet18_fpn.detectron2", person)
    adapted = adapt_classes(model, face)
    found = adapted.keypoints
    assert found is not None and (found.kept, found.fresh) == (["right_eye", "nose"], ["chin"])
    assert len(found.forgotten) == 15 and "left_eye" in found.forgotten
    for line in ("1 classes with their weights: person", "2 keypoints with their weights: right_eye, nose"):
        assert line in adapted.text()
    pooled = torch.randn(2, 16, 14, 14)
    with torch.no_grad():
        was, now = model.keypoint_head(pooled), adapted.model.keypoint_head(pooled)
    assert now.shape == (2, 3, 56, 56) and adapted.model.keypoint_head.num_keypoints == 3
    torch.testing.assert_close(now[:, 1:], was[:, [2, 0]])
    assert adapt_classes(model, person).keypoints is None
    assert model.keypoint_head.num_keypoints == 17 and model.origin["options"]["num_keypoints"] is None


def test_maps_without_names_are_kept_where_their_number_fits() -> None:
    unnamed = trained("keypoint_rcnn_resnet18_fpn", LabelMap(("person",), (1,)), num_keypoints=3)
    assert adapt_classes(unnamed, LabelMap(("person",), (1,), FACE)).keypoints is None
    other = adapt_classes(unnamed, LabelMap(("person",), (1,), COCO_17))
    assert other.keypoints is not None and other.keypoints.kept == [] and len(other.keypoints.fresh) == 17


def test_fixed_upsampling_follows_the_number_of_keypoints() -> None:
    model = trained("keypoint_rcnn_resnet18_fpn.caffe2", LabelMap(("person",), (1,), COCO_17))
    adapted = adapt_classes(model, LabelMap(("person",), (1,), FACE)).model
    assert adapted.keypoint_head(torch.randn(1, 16, 14, 14)).shape == (1, 3, 56, 56)


@pytest.mark.parametrize("name", [*FORMS, "keypoint_rcnn_resnet18_fpn.torchvision"])
def test_the_adapted_model_trains_and_travels(name: str, tmp_path: Path) -> None:
    model = adapt_classes(trained(name), replace(NEW, skeleton=FACE)).model
    again = load(save_weights(tmp_path / "a.safetensors", model.state_dict(), model.card()))
    assert json.loads(json.dumps(again.card())) == json.loads(json.dumps(model.card()))
    mask = torch.zeros(1, 64, 96, dtype=torch.bool)
    mask[:, 5:50, 5:40] = True
    target = Targets(
        torch.tensor([[5.0, 5.0, 40.0, 50.0]]),
        torch.tensor([0]),
        (64, 96),
        torch.tensor([False]),
        masks=mask,
        keypoints=torch.tensor([[[10.0, 10.0], [20.0, 20.0], [30.0, 40.0]]]),
        visibility=torch.full((1, 3), 2.0),
    )
    images = model.input_spec.batch([torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)])
    losses = model.train().losses(images, [target])
    sum(losses.values()).backward()
    for layer in predictions(model):
        assert layer.weight.grad is not None and bool(torch.isfinite(layer.weight.grad).all())


def test_the_number_of_keypoints_is_the_skeletons() -> None:
    labels = LabelMap(("person",), (1,), FACE)
    with torch.device("meta"):
        assert create_model("keypoint_rcnn_resnet18_fpn", label_map=labels).keypoint_head.num_keypoints == 3
        people = create_model("keypoint_rcnn_resnet18_fpn.torchvision", num_classes=1)
        others = create_model("keypoint_rcnn_resnet18_fpn.torchvision", num_classes=1, num_keypoints=5)
    assert people.label_map.skeleton == COCO_17 and people.keypoint_head.num_keypoints == 17
    assert others.label_map.skeleton is None and others.keypoint_head.num_keypoints == 5
