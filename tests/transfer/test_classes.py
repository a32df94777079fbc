"""Other classes for a trained detector: what it knew by name it still knows."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pagoda.backbones.resnet import ResNet
from pagoda.detectors.contract import Detector
from pagoda.detectors.retinanet import RetinaNet
from pagoda.heads.separable import SeparableHead
from pagoda.models import create_model, load
from pagoda.necks.fpn import FPN
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.transfer.classes import adapt_classes, last_layer
from pagoda.weights.files import save_weights
from pagoda.zoo.class_names import COCO

pytestmark = pytest.mark.medium

OLD = LabelMap(tuple(COCO.values()), tuple(COCO))
NEW = LabelMap(("heron", "dog", "person", "newt"), (4, 3, 2, 1))
SMALL = {"width": 32, "head_depth": 1, "short_side": 64, "long_side": 96}
ZOO = [
    "fcos_resnet18_fpn",
    "fcos_resnet18_fpn.original",
    "retinanet_resnet18_fpn",
    "retinanet_resnet18_fpn.caffe2",
]


def trained(name: str) -> Detector:
    """Nothing in it has the value it would start with."""
    model = separable() if name == "separable" else create_model(name, label_map=OLD, **SMALL)
    nn.init.normal_(last_layer(model.class_head).weight, std=0.1)
    nn.init.normal_(last_layer(model.class_head).bias)
    return model.eval()


def separable() -> RetinaNet:
    """EfficientDet's head: the last layer is the pointwise half of a separable convolution."""
    backbone = ResNet(18, levels=(3, 4))
    neck = FPN(backbone.channels, 16, top_level=4)
    head = partial(SeparableHead, neck.channels, depth=1)
    return RetinaNet(backbone, neck, class_head=head(9 * len(OLD)), box_head=head(9 * 4), label_map=OLD)


def picture(model: Detector):
    return model.input_spec.batch([torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)])


@pytest.mark.parametrize("name", [*ZOO, "separable"])
def test_shared_classes_keep_their_logits_on_every_picture(name: str) -> None:
    model = trained(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    adapted = adapt_classes(model, NEW)
    assert (adapted.kept, adapted.fresh) == (["dog", "person"], ["heron", "newt"])
    assert len(adapted.forgotten) == 78 and adapted.model.label_map == NEW
    images = picture(model)
    with torch.no_grad():
        was, now = model(images), adapted.model(images)
    for label, kept in enumerate(NEW.names):
        if kept in adapted.kept:
            theirs = was.class_logits[..., OLD.label_named(kept)]
            # Another number of rows may round otherwise inside the convolution.
            torch.testing.assert_close(now.class_logits[..., label], theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(now.box_outputs, was.box_outputs)
    if was.quality_logits is not None:
        torch.testing.assert_close(now.quality_logits, was.quality_logits, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def rows_of(layer: nn.Conv2d, groups: int, classes: int) -> tuple[Tensor, Tensor]:
    """(groups, classes, …) weights and (groups, classes) biases, what follows them left out."""
    count = groups * classes
    return layer.weight[:count].unflatten(0, (groups, -1)), layer.bias[:count].unflatten(0, (groups, -1))


@pytest.mark.parametrize(("name", "groups"), [(name, 9 if "retinanet" in name else 1) for name in ZOO])
def test_rows_are_carried_bit_by_bit_and_new_ones_start_at_the_prior(name: str, groups: int) -> None:
    model = trained(name)
    adapted = adapt_classes(model, NEW, prior_probability=0.02).model
    old, new = last_layer(model.class_head), last_layer(adapted.class_head)
    weights, biases = rows_of(new, groups, len(NEW))
    old_weights, old_biases = rows_of(old, groups, len(OLD))
    for label, kept in enumerate(NEW.names):
        if kept in OLD.names:
            assert torch.equal(weights[:, label], old_weights[:, OLD.label_named(kept)])
            assert torch.equal(biases[:, label], old_biases[:, OLD.label_named(kept)])
        else:
            torch.testing.assert_close(biases[:, label].sigmoid(), torch.full((groups,), 0.02))
            assert 0.008 < weights[:, label].std() < 0.012
    if name.endswith("original"):  # centerness is the last row
        assert torch.equal(new.weight[-1], old.weight[-1]) and torch.equal(new.bias[-1], old.bias[-1])
    assert adapted.class_head.outputs == new.out_channels == len(new.weight)


@pytest.mark.parametrize("name", ZOO)
def test_the_adapted_model_trains_and_travels(tmp_path: Path, name: str) -> None:
    model = adapt_classes(trained(name), NEW).model
    file = save_weights(tmp_path / "a.safetensors", model.state_dict(), model.card())
    again = load(file)
    assert again.card() == model.card()
    targets = [
        Targets(torch.tensor([[5.0, 5.0, 40.0, 50.0]]), torch.tensor([3]), (64, 96), torch.tensor([False]))
    ]
    losses = model.train().losses(picture(model), targets)
    sum(losses.values()).backward()
    gradient = last_layer(model.class_head).weight.grad
    assert gradient is not None and bool(torch.isfinite(gradient).all()) and bool((gradient != 0).any())


def test_the_same_classes_in_another_order_are_the_same_model_turned() -> None:
    model = trained("fcos_resnet18_fpn")
    turned = LabelMap.from_names(reversed(OLD.names))
    back = adapt_classes(adapt_classes(model, turned).model, OLD)
    assert back.fresh == back.forgotten == []
    assert all(torch.equal(a, b) for a, b in zip(back.model.parameters(), model.parameters(), strict=True))


def test_a_head_of_another_build_is_refused() -> None:
    model = trained("fcos_resnet18_fpn")
    model.class_head.predict = nn.Identity()
    with pytest.raises(ValueError, match=r"classes of a DenseHead cannot be exchanged: .* got Identity"):
        adapt_classes(model, NEW)
    del model.class_head
    with pytest.raises(ValueError, match=r"classes of a FCOS cannot be exchanged: it has no class_head"):
        adapt_classes(model, NEW)


CELLS = {
    "on a backbone": ("yolov1_resnet18", {"width": 16, "head_depth": 1, "canvas": (64, 96)}),
    "connected": (
        "yolov1.darknet",
        {
            "layers": [{"kind": "maxpool", "size": 8, "stride": 8}, {"kind": "connected"}],
            "canvas": (64, 96),
            "side": 3,
        },
    ),
}


@pytest.mark.parametrize("which", CELLS)
def test_every_cell_keeps_the_classes_it_knew(which: str, tmp_path: Path) -> None:
    name, options = CELLS[which]
    model = create_model(name, label_map=OLD, **options).eval()
    nn.init.normal_(model.head.last.weight, std=0.1)
    nn.init.normal_(model.head.last.bias)
    adapted = adapt_classes(model, NEW)
    assert adapted.kept == ["dog", "person"]
    images = picture(model)
    with torch.no_grad():
        was, now = model(images), adapted.model(images)
    assert now.class_logits.shape[-1] == len(NEW)
    for label, kept in enumerate(NEW.names):
        if kept in adapted.kept:
            theirs = was.class_logits[..., OLD.label_named(kept)]
            torch.testing.assert_close(now.class_logits[..., label], theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(now.box_outputs, was.box_outputs, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(now.quality_logits, was.quality_logits, rtol=1e-4, atol=1e-5)
    file = save_weights(tmp_path / "a.safetensors", adapted.model.state_dict(), adapted.model.card())
    assert load(file).card() == adapted.model.card()
    back = adapt_classes(adapt_classes(model, LabelMap.from_names(reversed(OLD.names))).model, OLD)
    assert all(torch.equal(a, b) for a, b in zip(back.model.parameters(), model.parameters(), strict=True))
