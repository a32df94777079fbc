"""torchvision's own FCOS and RetinaNet, run as published: their checkpoints load and find the same on real pictures.

The weights are random but made sane: statistics of the norms are those of a picture, class biases are raised.
torchvision's builders get them through the door of their published weights, so that what they change about a
model with such weights (frozen norms, epsilon) is changed here, too.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stages import Tally, stage_by_stage
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.models import detection as theirs

import pagoda
from pagoda.detectors.contract import Detector
from pagoda.structures.instances import Targets

SHORT, LONG = 192, 320  # instead of 800 and 1333, for speed
LOSSES = {"loss_class": "classification", "loss_box": "bbox_regression", "loss_centerness": "bbox_ctrness"}


@dataclass(frozen=True)
class Case:
    weights: WeightsEnum
    model: str
    epsilon: float
    """of the norms: torchvision sets it to 0 for the weights it published first"""


LONG_ONES = ("retinanet_resnet50_fpn_v2",)
"""whose differences from the first versions have tests of their own in tests/zoo; compared by `make test-all`"""
CASES = {
    "fcos_resnet50_fpn": Case(
        theirs.FCOS_ResNet50_FPN_Weights.COCO_V1, "fcos_resnet50_fpn.torchvision", 1e-5
    ),
    "retinanet_resnet50_fpn": Case(
        theirs.RetinaNet_ResNet50_FPN_Weights.COCO_V1, "retinanet_resnet50_fpn.torchvision", 0.0
    ),
    "retinanet_resnet50_fpn_v2": Case(
        theirs.RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1, "retinanet_resnet50_fpn.torchvision_v2", 1e-5
    ),
}


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> list[np.ndarray]:
    """(H, W, 3) uint8."""
    files = sorted((shared_data / "coco_tiny").rglob("*.jpg"))[:5]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def as_tensor(picture: np.ndarray) -> Tensor:
    """As torchvision's detectors take it."""
    return torch.tensor(picture).permute(2, 0, 1).float().div(255)


def make_sane(model: nn.Module, picture: np.ndarray) -> dict[str, Tensor]:
    """Random weights with which the network sees something, in one stage so small that epsilon counts."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.uniform_(-0.1, 0.1, generator=generator)
        elif parameter.ndim == 1:  # little is added in each block, so that rounding does not grow
            parameter.data.fill_(0.2 if name.endswith("bn3.weight") else 1.0)
        else:
            gain = 0.003 if ".layer3." in name else 1.4
            nn.init.normal_(parameter, std=gain / parameter[0].numel() ** 0.5, generator=generator)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    images, _ = model.transform([as_tensor(picture)])
    with torch.no_grad():
        model.train().backbone(images.tensors)
        for norm in norms:
            norm.running_var.clamp_(min=3e-5)  # of channels that this picture leaves dead
        outputs = model.head(list(model.eval().backbone(images.tensors).values()))
    classes, boxes = model.head.classification_head.cls_logits, model.head.regression_head.bbox_reg
    for layer, key, spread, middle in (
        (classes, "cls_logits", 0.5, -2.0),
        (boxes, "bbox_regression", 0.1, 1.5 if "bbox_ctrness" in outputs else 0.0),
    ):
        factor = spread / outputs[key].std()
        layer.weight.data *= factor
        layer.bias.data.fill_(middle - float(factor * outputs[key].mean()))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in LONG_ONES else ()) for name in CASES],
)
def both(
    request: pytest.FixtureRequest, pictures: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Module, Detector]:
    """(torchvision's detector, ours from the file of its weights), both for small pictures."""
    case, build = CASES[request.param], getattr(theirs, request.param)
    state = make_sane(build(weights=None, weights_backbone=None, min_size=SHORT, max_size=LONG), pictures[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
        original = build(weights=case.weights, min_size=SHORT, max_size=LONG)
    path = tmp_path_factory.mktemp("published") / f"{request.param}.pth"
    torch.save(state, path)
    model = pagoda.load(path)
    assert model.origin["model"] == case.model
    assert {m.eps for m in original.backbone.modules() if hasattr(m, "running_var")} == {case.epsilon}
    model.input_spec = replace(model.input_spec, short_side=SHORT, long_side=LONG)
    return original, model


@pytest.mark.medium
@pytest.mark.parity
def test_finds_the_same_on_real_pictures(
    both: tuple[nn.Module, Detector], pictures: list[np.ndarray]
) -> None:
    original, model = both
    original.eval()
    tally = Tally()
    for picture in pictures:
        found = model.predict(picture)
        images = model.input_spec.prepare([torch.tensor(picture).permute(2, 0, 1)])
        with torch.no_grad(), stage_by_stage(original, model, images):
            (expected,) = original([as_tensor(picture)])
        assert len(found) > 20
        tally.twins(found, expected)
        assert found.names[0] == original_name(both, int(found.labels[0]))
    tally.check()


def original_name(both: tuple[nn.Module, Detector], label: int) -> str:
    """In torchvision's words; ours call what stands for nothing by its number."""
    name = CASES["fcos_resnet50_fpn"].weights.meta["categories"][label]
    return {"__background__": "background", "N/A": f"unused_{label}"}.get(name, name)


@pytest.mark.medium
@pytest.mark.parity
def test_losses_are_the_same(both: tuple[nn.Module, Detector], pictures: list[np.ndarray]) -> None:
    original, model = both
    chosen = pictures[:2]
    boxes = [torch.tensor([[40.0, 60.0, 400.0, 500.0], [300.0, 20.0, 360.0, 90.0]]), torch.zeros(0, 4)]
    labels = [torch.tensor([18, 90]), torch.zeros(0, dtype=torch.long)]
    original.train()
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):  # the second version's; batches are another matter
            module.eval()
    expected = original(
        [as_tensor(picture) for picture in chosen],
        [{"boxes": b, "labels": c} for b, c in zip(boxes, labels, strict=True)],
    )
    spec = model.input_spec
    images = spec.prepare([torch.tensor(picture).permute(2, 0, 1) for picture in chosen])
    targets = []
    for picture, b, c, size in zip(chosen, boxes, labels, images.sizes.tolist(), strict=True):
        ignored = torch.zeros(len(b), dtype=torch.bool)
        targets.append(Targets(spec.to_frame(b, picture.shape[:2]), c, tuple(size), ignored))
    losses = model.losses(images, targets)
    assert {LOSSES[name] for name in losses} == set(expected)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[LOSSES[name]], rtol=1e-5, atol=1e-6)
        assert loss > 0
