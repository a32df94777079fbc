"""torchvision's own Faster, Mask and Keypoint R-CNN, run as published: the same boxes, masks, keypoints and losses.

As in `test_torchvision`: random weights made sane, torchvision's builders pass through the door of their published
weights, and ours read the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
from pagoda.convert.to_program import differences, to_source
from pagoda.detectors.rcnn import RCNN
from pagoda.postprocess.proposals import ProposalRules
from pagoda.structures.instances import Detections, Targets

SHORT, LONG = 128, 200  # instead of 800 and 1333, for speed
CANDIDATES, PROPOSALS, OBJECTS = 100, 40, 30
SHAPE_HEADS = ("mask_roi_pool", "mask_head", "mask_predictor")
SHAPE_HEADS += ("keypoint_roi_pool", "keypoint_head", "keypoint_predictor")
LOSSES = {
    "loss_objectness": "loss_objectness",
    "loss_rpn_box": "loss_rpn_box_reg",
    "loss_class": "loss_classifier",
    "loss_box": "loss_box_reg",
    "loss_mask": "loss_mask",
    "loss_keypoint": "loss_keypoint",
}


@dataclass(frozen=True)
class Case:
    weights: WeightsEnum
    model: str


LONG_ONES = ("fasterrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2")
"""whose differences from the first versions have tests of their own in tests/zoo; compared by `make test-all`"""
CASES = {
    "fasterrcnn_resnet50_fpn": Case(
        theirs.FasterRCNN_ResNet50_FPN_Weights.COCO_V1, "faster_rcnn_resnet50_fpn.torchvision"
    ),
    "fasterrcnn_resnet50_fpn_v2": Case(
        theirs.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1, "faster_rcnn_resnet50_fpn.torchvision_v2"
    ),
    "maskrcnn_resnet50_fpn": Case(
        theirs.MaskRCNN_ResNet50_FPN_Weights.COCO_V1, "mask_rcnn_resnet50_fpn.torchvision"
    ),
    "maskrcnn_resnet50_fpn_v2": Case(
        theirs.MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1, "mask_rcnn_resnet50_fpn.torchvision_v2"
    ),
    "keypointrcnn_resnet50_fpn": Case(
        theirs.KeypointRCNN_ResNet50_FPN_Weights.COCO_V1, "keypoint_rcnn_resnet50_fpn.torchvision"
    ),
}
LIMITS = {
    "min_size": SHORT,
    "max_size": LONG,
    "rpn_pre_nms_top_n_train": CANDIDATES,
    "rpn_pre_nms_top_n_test": CANDIDATES,
    "rpn_post_nms_top_n_train": PROPOSALS,
    "rpn_post_nms_top_n_test": PROPOSALS,
    "box_detections_per_img": OBJECTS,
    # Samples so large that nothing is left to chance.
    "rpn_batch_size_per_image": 1_000_000,
    "box_batch_size_per_image": 1_000_000,
}


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> list[np.ndarray]:
    """(H, W, 3) uint8."""
    files = sorted((shared_data / "coco_tiny").rglob("*.jpg"))[:3]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def as_tensor(picture: np.ndarray) -> Tensor:
    """As torchvision's detectors take it."""
    return torch.tensor(picture).permute(2, 0, 1).float().div(255)


@contextmanager
def heard(module: nn.Module) -> Iterator[list]:
    """What a module returns, call by call."""
    outputs: list = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    yield outputs
    handle.remove()


def spread_out(layer: nn.Module, outputs: Tensor, spread: float, middle: float = 0.0) -> None:
    """Rescale a prediction so that its values have this deviation and mean."""
    factor = spread / outputs.std()
    layer.weight.data *= factor
    layer.bias.data.fill_(middle - float(factor * outputs.mean()))


def make_sane(model: nn.Module, picture: np.ndarray) -> dict[str, Tensor]:
    """Random weights with which both stages see something."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.uniform_(-0.1, 0.1, generator=generator)
        elif parameter.ndim == 1:
            parameter.data.fill_(0.2 if name.endswith("bn3.weight") else 1.0)
        else:
            nn.init.normal_(parameter, std=1.4 / parameter[0].numel() ** 0.5, generator=generator)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    image = [as_tensor(picture)]
    rpn, roi = model.rpn.head, model.roi_heads
    roi.detections_per_img = 4  # masks and keypoints of which cost the most here
    with torch.no_grad():
        images, _ = model.transform(image)
        model.train().backbone(images.tensors)
        for norm in norms:
            norm.running_var.clamp_(min=1e-3)  # of channels that this picture leaves dead
        model.eval()
        for layer, part, spread in ((rpn.cls_logits, 0, 2.0), (rpn.bbox_pred, 1, 0.2)):
            with heard(rpn) as said:
                model(image)
            spread_out(layer, torch.cat([x.flatten() for x in said[0][part]]), spread)
        for module in (roi.box_head, getattr(roi, "mask_head", None)):
            if module is not None:  # the second versions have norms here
                module.train()
                model(image)
                module.eval()
        for layer, spread in ((roi.box_predictor.cls_score, 2.0), (roi.box_predictor.bbox_pred, 0.5)):
            with heard(layer) as said:
                model(image)
            spread_out(layer, said[0], spread)
        if getattr(roi, "mask_predictor", None) is not None:
            with heard(roi.mask_predictor) as said:
                model(image)
            spread_out(roi.mask_predictor.mask_fcn_logits, said[0], 2.0, 0.5)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in LONG_ONES else ()) for name in CASES],
)
def both(
    request: pytest.FixtureRequest, pictures: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Module, RCNN]:
    """(torchvision's detector, ours from the file of its weights), both for small pictures."""
    case, build = CASES[request.param], getattr(theirs, request.param)
    small = np.asarray(Image.fromarray(pictures[0]).resize((160, 128)))
    state = make_sane(build(weights=None, weights_backbone=None, **LIMITS), small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
        original = build(weights=case.weights, **LIMITS).eval()
    # Our pictures come so; in another layout the same convolutions round otherwise, and heads amplify that.
    original.backbone.to(memory_format=torch.channels_last)
    path = tmp_path_factory.mktemp("published") / f"{request.param}.pth"
    torch.save(state, path)
    model = pagoda.load(path)
    path.unlink()
    assert model.origin["model"] == case.model
    return original, with_limits(model)


def with_limits(model: RCNN) -> RCNN:
    """The same as LIMITS."""
    model.input_spec = replace(model.input_spec, short_side=SHORT, long_side=LONG)
    rules = model.proposals
    model.proposals = ProposalRules(
        training=replace(rules.training, max_candidates=CANDIDATES, max_proposals=PROPOSALS),
        inference=replace(rules.inference, max_candidates=CANDIDATES, max_proposals=PROPOSALS),
    )
    model.postprocess = model.postprocess.with_limits(max_detections=OBJECTS)
    regions = replace(model.criterion.rois, count=None)
    model.criterion = replace(model.criterion, rpn=replace(model.criterion.rpn, count=None), rois=regions)
    return model


@pytest.mark.medium
@pytest.mark.parity
def test_finds_the_same_on_real_pictures(both: tuple[nn.Module, RCNN], pictures: list[np.ndarray]) -> None:
    original, model = both
    tally = Tally()
    for index, picture in enumerate(pictures):
        has_shapes = index == 0  # of one picture; boxes of all
        with nullcontext() if has_shapes else boxes_alone(original.roi_heads, model):
            found = model.predict(picture)
            images = model.input_spec.prepare([torch.tensor(picture).permute(2, 0, 1)])
            with torch.no_grad(), stage_by_stage(original, model, images):
                (expected,) = original([as_tensor(picture)])
        assert len(found) >= 10
        ours, theirs = tally.twins(found, {**expected, "labels": expected["labels"] - 1})
        if has_shapes:
            same_shapes(model, found[ours], {key: value[theirs] for key, value in expected.items()})
    tally.check()


@contextmanager
def boxes_alone(*parts: nn.Module) -> Iterator[None]:
    """Without heads for masks and keypoints."""
    heads = [
        (part, name, getattr(part, name))
        for part in parts
        for name in SHAPE_HEADS
        if getattr(part, name, None) is not None
    ]
    for part, name, _ in heads:
        setattr(part, name, None)
    yield
    for part, name, head in heads:
        setattr(part, name, head)


def same_shapes(model: RCNN, found: Detections, expected: dict[str, Tensor]) -> None:
    if "masks" in expected:
        # At their boxes: of two that differ in the last bit, one may be cut to a whole pixel more.
        pasted = model.postprocess.masks(found.mask_crops, expected["boxes"], found.image_size)
        same_masks(pasted, expected["masks"][:, 0] > 0.5)
        assert (found.masks == pasted).flatten(1).all(1).float().mean() > 0.9
    if "keypoints" in expected:
        same_keypoints(found, expected["keypoints"][..., :2], expected["keypoints_scores"])


def same_masks(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    both, either = (found & expected).sum((1, 2)), (found | expected).sum((1, 2))
    assert both.sum() > 0.999 * either.sum() > 0
    assert ((either - both <= 1) | (both > 0.999 * either)).all()


def same_keypoints(found: Detections, places: Tensor, scores: Tensor) -> None:
    assert (found.keypoints - places).abs().max() <= 1e-2
    torch.testing.assert_close(found.keypoint_scores, scores, rtol=1e-4, atol=1e-4)


@pytest.mark.medium
@pytest.mark.parity
def test_the_file_goes_back_bit_for_bit(both: tuple[nn.Module, RCNN]) -> None:
    original, model = both
    state = original.state_dict()
    written = to_source(model, "torchvision")
    assert written.keys() == {name for name in state if "num_batches_tracked" not in name or name in written}
    assert all(torch.equal(tensor, state[name]) for name, tensor in written.items())
    assert differences(model, "torchvision") == []


@pytest.mark.medium
@pytest.mark.parity
def test_losses_are_the_same(both: tuple[nn.Module, RCNN], pictures: list[np.ndarray]) -> None:
    original, model = both
    size = (SHORT, 160)  # which neither of the two resizes
    chosen = [np.asarray(Image.fromarray(picture).resize(size[::-1])) for picture in pictures[:2]]
    targets = [drawn_targets(size, 5, len(model.label_map)), drawn_targets(size, 2, len(model.label_map))]
    for module in (original, original.transform, original.rpn, original.roi_heads):
        module.training = True  # but not the norms
    expected = original([as_tensor(picture) for picture in chosen], [as_theirs(each) for each in targets])
    original.eval()
    images = model.input_spec.prepare([torch.tensor(picture).permute(2, 0, 1) for picture in chosen])
    found = model.eval().losses(images, targets)
    assert {LOSSES[name] for name in found} == set(expected)
    for name, loss in found.items():
        torch.testing.assert_close(loss, expected[LOSSES[name]], rtol=1e-5, atol=1e-7, msg=name)


def drawn_targets(size: tuple[int, int], count: int, num_classes: int) -> Targets:
    """Boxes with an ellipse as mask, and keypoints of which one in three is not annotated."""
    generator = torch.Generator().manual_seed(count)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([80.0, 60.0])
    boxes = torch.cat([corner, corner + 20 + 40 * torch.rand(count, 2, generator=generator)], 1)
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    place = (torch.stack([x, y], -1) - center[:, None, None]) / half[:, None, None]
    keypoints = boxes[:, None, :2] + torch.rand(count, 17, 2, generator=generator) * 2 * half[:, None]
    return Targets(
        boxes,
        torch.randint(num_classes, (count,), generator=generator),
        size,
        torch.zeros(count, dtype=torch.bool),
        masks=place.square().sum(-1) < 1,
        keypoints=keypoints,
        visibility=(torch.arange(17) % 3).expand(count, 17).float(),
    )


def as_theirs(targets: Targets) -> dict[str, Tensor]:
    return {
        "boxes": targets.boxes,
        "labels": targets.labels + 1,
        "masks": targets.masks.to(torch.uint8),
        "keypoints": torch.cat([targets.keypoints, targets.visibility[..., None]], 2),
    }
