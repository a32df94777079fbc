"""The losses of whole pictures against worked numbers, and what must not change them."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from pagoda.criteria.dense import FCOSCriterion, RetinaNetCriterion, default_ranges
from pagoda.detectors.fcos import FCOS
from pagoda.heads.dense import DenseHead
from pagoda.necks.fpn import FPN
from pagoda.ops.anchors import AnchorShapes, cell_points, grid_anchors
from pagoda.ops.box_coding import BoxCoder
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import DenseOutputs

LEVELS = (3, 4, 5, 6, 7)
GRIDS = ((32, 40), (16, 20), (8, 10), (4, 5), (2, 3))
PRIOR = -math.log(99)


def targets(end: float = 0.0) -> Targets:
    """The shared example of three objects on 256×320; `end` is added to the far corners."""
    boxes = torch.tensor([[20.0, 30, 119, 109], [60, 50, 299, 239], [200, 20, 230, 60]])
    boxes[:, 2:] += end
    return Targets(boxes, torch.tensor([2, 6, 0]), (256, 320), torch.zeros(3, dtype=torch.bool))


def fcos_outputs(distance: float | None, classes: int = 80) -> DenseOutputs:
    """Constant predictions; `distance` in pixels, None: one stride."""
    points = tuple(cell_points(grid, 2**level) for level, grid in zip(LEVELS, GRIDS, strict=True))
    strides = torch.cat([torch.full((len(p),), 2.0**n) for n, p in zip(LEVELS, points, strict=True)])
    boxes = strides[:, None].expand(-1, 4) if distance is None else torch.full((len(strides), 4), distance)
    return DenseOutputs(
        torch.full((1, len(strides), classes), PRIOR), boxes[None], torch.zeros(1, len(strides)), points
    )


def test_fcos_as_first_published():
    criterion = FCOSCriterion(
        radius=None, closed_ranges=True, inclusive=True, normalize_targets=False, box_loss="iou", smoothing=1.0,
        weigh_boxes=True,
    )  # fmt: skip
    losses = criterion(fcos_outputs(16.0), [targets()], LEVELS)
    assert losses["loss_class"].item() == pytest.approx(1.12940943, rel=1e-6)
    assert losses["loss_box"].item() == pytest.approx(2.50504255, rel=1e-6)
    assert losses["loss_centerness"].item() == pytest.approx(0.69314712, rel=1e-6)


def test_fcos_improved():
    criterion = FCOSCriterion(closed_ranges=True, inclusive=True, smoothing=1.0, weigh_boxes=True)
    losses = criterion(fcos_outputs(None), [targets()], LEVELS)
    assert losses["loss_class"].item() == pytest.approx(1.13219118, rel=1e-6)
    assert losses["loss_box"].item() == pytest.approx(0.90387172, rel=1e-6)
    assert losses["loss_centerness"].item() == pytest.approx(0.69314712, rel=1e-6)


def retina_outputs(style: str, classes: int = 80) -> DenseOutputs:
    shapes = AnchorShapes(style=style)
    anchors = tuple(
        grid_anchors(shapes.of_cell(2**level), grid, 2**level)
        for level, grid in zip(LEVELS, GRIDS, strict=True)
    )
    count = sum(map(len, anchors))
    return DenseOutputs(torch.full((1, count, classes), PRIOR), torch.zeros(1, count, 4), None, anchors)


def test_retinanet_of_maskrcnn_benchmark():
    criterion = RetinaNetCriterion(
        inclusive=True,
        box_loss="smooth_l1",
        smooth_l1_beta=0.11,
        normalizer="batch_plus_images",
    )
    coder = BoxCoder(weights=(10, 10, 5, 5), inclusive=True)
    losses = criterion(retina_outputs("maskrcnn_benchmark"), [targets()], LEVELS, coder=coder)
    assert losses["loss_class"].item() == pytest.approx(1.12586343, rel=1e-5)
    # its box term is divided by 4 · positives instead
    assert losses["loss_box"].item() * 85 / (4 * 84) == pytest.approx(0.98063415, rel=1e-4)


def test_retinanet_of_torchvision():
    criterion = RetinaNetCriterion(box_loss="smooth_l1", smooth_l1_beta=0.0, normalizer="image")
    losses = criterion(
        retina_outputs("torchvision", classes=91), [targets(end=1.0)], LEVELS, coder=BoxCoder()
    )
    assert losses["loss_class"].item() == pytest.approx(1.14020264, rel=1e-5)
    assert losses["loss_box"].item() == pytest.approx(0.62049448, rel=1e-5)


def test_all_negative_start():
    """18,672 locations, 80 classes at π = .01: the sum of 1.126 that a fresh FCOS starts from."""
    logits = torch.full((1, 18_672, 80), PRIOR)
    outputs = DenseOutputs(logits, torch.ones(1, 18_672, 4), torch.zeros(1, 18_672), (torch.rand(18_672, 2),))
    losses = FCOSCriterion(ranges=((-1, torch.inf),))(outputs, [Targets.empty((800, 1120))], [3])
    assert losses["loss_class"].item() == pytest.approx(1.125959226, rel=1e-5)
    assert losses["loss_box"].item() == losses["loss_centerness"].item() == 0


@pytest.mark.parametrize(
    "criterion", [FCOSCriterion(), FCOSCriterion(quality="iou"), FCOSCriterion(weigh_boxes=True)]
)
def test_order_of_objects_does_not_matter(criterion):
    given = targets()
    turned = criterion(fcos_outputs(None), [given[[2, 0, 1]]], LEVELS)
    for name, value in criterion(fcos_outputs(None), [given], LEVELS).items():
        torch.testing.assert_close(turned[name], value)


def test_a_perfect_prediction_has_no_box_loss():
    outputs = fcos_outputs(None)
    points = torch.cat(outputs.priors)
    index = FCOSCriterion().assign(outputs.priors, LEVELS, targets().boxes)
    boxes = targets().boxes[index.clamp(min=0)]
    perfect = outputs._replace(box_outputs=torch.cat([points - boxes[:, :2], boxes[:, 2:] - points], 1)[None])
    for criterion in (FCOSCriterion(), FCOSCriterion(box_loss="linear_iou"), FCOSCriterion(weigh_boxes=True)):
        assert criterion(perfect, [targets()], LEVELS)["loss_box"].item() == pytest.approx(0, abs=1e-5)


def test_focal_star_trains_too():
    outputs = retina_outputs("detectron2")
    losses = RetinaNetCriterion(class_loss="focal_star")(
        outputs, [targets(end=1.0)], LEVELS, coder=BoxCoder()
    )
    assert torch.isfinite(losses["loss_class"]) and losses["loss_class"] > 0


@pytest.mark.parametrize("count", [0, 4, 6])
def test_ranges_of_other_levels_are_refused_before_training(count):
    criterion = FCOSCriterion(ranges=((0.0, 64.0),) * count)
    with pytest.raises(ValueError, match=rf"for each of the levels 3, 4, 5, 6, 7, got {count}"):
        tiny(criterion)
    tiny(FCOSCriterion(ranges=((0.0, 64.0),) * 5))
    with pytest.raises(ValueError, match="low below high"):
        FCOSCriterion(ranges=((0.0, 64.0), (64.0, 0.0)))


def tiny(criterion: FCOSCriterion) -> FCOS:
    neck = FPN({3: 8, 4: 8, 5: 8}, 8)
    backbone = nn.Module()
    backbone.channels = {3: 8, 4: 8, 5: 8}
    heads = (DenseHead(neck.channels, outputs, depth=0) for outputs in (2, 5))
    return FCOS(backbone, neck, class_head=next(heads), box_head=next(heads), criterion=criterion)


def test_ranges_double_from_64():
    assert default_ranges(LEVELS) == ((-1, 64), (64, 128), (128, 256), (256, 512), (512, torch.inf))


def test_pictures_without_objects_may_teach_nothing() -> None:
    priors = torch.rand(20, 2) * 40
    outputs = DenseOutputs(
        torch.randn(2, 20, 3), torch.randn(2, 20, 4), None, (torch.cat([priors, priors + 9], 1),)
    )
    nothing = [Targets.empty((64, 64))] * 2
    assert RetinaNetCriterion()(outputs, nothing, [3], coder=BoxCoder())["loss_class"] > 0
    assert RetinaNetCriterion(skip_empty=True)(outputs, nothing, [3], coder=BoxCoder())["loss_class"] == 0


def test_anchors_that_are_no_boxes_are_refused_by_the_shapes():
    with pytest.raises(TypeCheckError, match=r"assign\.\s.*parameter 'anchors'"):
        RetinaNetCriterion().assign(torch.zeros(5, 2), torch.zeros(1, 4))
