"""EfficientDet's losses against the original's numbers and plain formulas."""

import math

import pytest
import torch
from torch import Tensor, tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pagoda.criteria.efficientdet import EfficientDetCriterion, RunningCount
from pagoda.ops.anchors import SQRT2_SHAPES, StretchedAnchors, stretch_anchors
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.losses import sigmoid_focal_loss, smoothed_focal_loss
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import DenseOutputs

LEVELS = [3, 4, 5, 6, 7]
CODER = BoxCoder(max_log_growth=None)


def objects(*boxes: list[float], labels: list[int]) -> Targets:
    return Targets(
        tensor(boxes).reshape(-1, 4), tensor(labels), (512, 512), torch.zeros(len(boxes), dtype=torch.bool)
    )


NOTHING = Targets.empty((512, 512))
# In (y1, x1, y2, x2) and 1-based: [50, 60, 200, 300] of class 1 and [10, 10, 30, 25] of class 3.
TWO = objects([60.0, 50, 300, 200], [10.0, 10, 25, 30], labels=[0, 2])


def untrained(images: int = 1, side: int = 512, classes: int = 90) -> DenseOutputs:
    """Every class at one in a hundred, every box its anchor."""
    of_cell = StretchedAnchors(shapes=SQRT2_SHAPES).of_cell()
    grids = [-(-side // 2**level) for level in LEVELS]
    priors = tuple(stretch_anchors(of_cell, (grid, grid), (side, side)) for grid in grids)
    count = sum(map(len, priors))
    logits = torch.full((images, count, classes), -math.log(99))
    return DenseOutputs(logits, torch.zeros(images, count, 4), None, priors)


def test_losses_of_two_objects_in_the_original() -> None:
    losses = EfficientDetCriterion()(untrained(), [TWO], LEVELS, coder=CODER)
    # Its sums in float32 are 2e-6 off what the formula gives.
    assert losses["loss_class"].item() == pytest.approx(2.139616, rel=1e-5)
    assert losses["loss_box"].item() == pytest.approx(50 * 0.0109371, rel=1e-5)
    assert sum(losses.values()).item() == pytest.approx(2.686472, rel=1e-5)
    one, other = 0.25 * 0.99**1.5 * -math.log(0.01), 0.75 * 0.01**1.5 * -math.log(0.99)
    exact = (31 * one + (49_104 * 90 - 31) * other) / 32
    assert losses["loss_class"].item() == pytest.approx(exact, rel=1e-7)


def test_losses_of_an_empty_picture_in_the_original() -> None:
    losses = EfficientDetCriterion()(untrained(), [NOTHING], LEVELS, coder=CODER)
    assert losses["loss_class"].item() == pytest.approx(33.3119, rel=1e-5)
    assert losses["loss_box"] == 0


def test_a_batch_shares_one_count() -> None:
    losses = EfficientDetCriterion()(untrained(2), [TWO, NOTHING], LEVELS, coder=CODER)
    expected = (2.139616 * 32 + 33.3119) / 32  # 31 positives and one
    assert losses["loss_class"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["loss_box"].item() == pytest.approx(50 * 0.0109371, rel=1e-5)


def slow_losses(
    outputs: DenseOutputs, target: Targets, criterion: EfficientDetCriterion
) -> tuple[float, float]:
    """Anchor by anchor, class by class."""
    anchors = torch.cat(outputs.priors)
    index = criterion.assign(anchors, target.boxes).tolist()
    classes, boxes, count = 0.0, 0.0, 1
    for row, anchor in enumerate(anchors):
        label = int(target.labels[index[row]]) if index[row] >= 0 else -1
        for k, logit in enumerate(outputs.class_logits[0, row].tolist()):
            p = 1 / (1 + math.exp(-logit))
            p, alpha = (p, criterion.alpha) if k == label else (1 - p, 1 - criterion.alpha)
            classes -= alpha * (1 - p) ** criterion.gamma * math.log(p)
        if index[row] >= 0:
            count += 1
            wanted = CODER.encode(target.boxes[index[row]], anchor)
            for error in (outputs.box_outputs[0, row] - wanted).abs().tolist():
                delta = criterion.huber_delta
                boxes += error**2 / 2 if error <= delta else delta * (error - delta / 2)
    return classes / count, criterion.box_weight * boxes / (4 * count)


def test_losses_equal_the_plain_loops() -> None:
    outputs = untrained(side=96, classes=4)
    outputs = outputs._replace(
        class_logits=torch.randn_like(outputs.class_logits),
        box_outputs=0.3 * torch.randn_like(outputs.box_outputs),
    )
    target = objects([10.0, 20, 50, 60], [5.0, 5, 18, 11], [2.0, 2, 94, 90], labels=[3, 0, 3])
    criterion = EfficientDetCriterion(huber_delta=0.2, gamma=1.3)
    losses = criterion(outputs, [target], LEVELS, coder=CODER)
    expected = slow_losses(outputs, target, criterion)
    torch.testing.assert_close(torch.stack(list(losses.values())), tensor(expected), rtol=1e-5, atol=0)


def test_coordinates_that_are_right_already_still_have_a_slope() -> None:
    outputs = untrained(side=96, classes=1)
    outputs = outputs._replace(box_outputs=torch.full_like(outputs.box_outputs, 0.3).requires_grad_())
    anchor = torch.cat(outputs.priors)[1000]
    target = Targets(anchor[None], tensor([0]), (96, 96), tensor([False]))
    EfficientDetCriterion()(outputs, [target], LEVELS, coder=CODER)["loss_box"].backward()
    assert (outputs.box_outputs.grad[0, 1000] > 0).all()


def test_deltas_of_the_original() -> None:
    box, anchor = tensor([60.0, 50, 300, 200]), tensor([0.0, 0, 128, 128])
    deltas = CODER.encode(box, anchor)
    # (dy, dx, dh, dw) = (0.4765625, 0.90625, 0.158605, 0.628609) there
    torch.testing.assert_close(deltas, tensor([0.90625, 0.4765625, 0.628609, 0.158605]), rtol=0, atol=1e-6)
    torch.testing.assert_close(CODER.decode(deltas, anchor), box, rtol=0, atol=1e-4)
    grown = CODER.decode(tensor([0.0, 0, 6, 6]), anchor)
    assert (grown[2] - grown[0]).item() == pytest.approx(128 * math.exp(6), rel=1e-5)


@pytest.mark.parametrize(
    ("logit", "target", "plain", "smoothed"),
    [(2.0, 1.0, 0.001305955, 0.002335), (-1.0, 0.0, 0.032768, 0.037999), (0.5, 0.0, 0.358774, 0.349566)],
)
def test_focal_losses_of_the_original(logit: float, target: float, plain: float, smoothed: float) -> None:
    arguments = tensor([logit]), tensor([target])
    assert sigmoid_focal_loss(*arguments, gamma=1.5).item() == pytest.approx(plain, abs=1e-6)
    assert smoothed_focal_loss(*arguments, gamma=1.5, smoothing=0.1).item() == pytest.approx(
        smoothed, abs=1e-6
    )


def test_smoothing_aims_between_the_classes() -> None:
    logits, targets = 3 * torch.randn(50), torch.randint(2, (50,)).float()
    entropy = binary_cross_entropy_with_logits(logits, targets * 0.8 + 0.1, reduction="none")
    p = logits.sigmoid()
    factor = torch.where(targets == 1, 0.3 * (1 - p) ** 2, 0.7 * p**2)
    loss = smoothed_focal_loss(logits, targets, smoothing=0.2, alpha=0.3, gamma=2.0)
    torch.testing.assert_close(loss, factor * entropy)


def test_smoothing_of_nothing_changes_nothing() -> None:
    outputs = untrained(side=96, classes=3)
    outputs = outputs._replace(class_logits=torch.randn_like(outputs.class_logits))
    target = objects([10.0, 20, 50, 60], labels=[1])

    def loss(smoothing: float) -> Tensor:
        return EfficientDetCriterion(label_smoothing=smoothing)(outputs, [target], LEVELS, coder=CODER)[
            "loss_class"
        ]

    torch.testing.assert_close(loss(1e-9), loss(0.0))
    assert loss(0.1) != loss(0.0)


def test_running_count() -> None:
    count = RunningCount(0.9)
    assert count.eval()(tensor(7.0)) == 7  # nothing is known yet
    assert count.train()(tensor(10.0)) == 10
    assert count(tensor(20.0)).item() == pytest.approx(11)
    assert count.eval()(tensor(500.0)).item() == pytest.approx(11)
    again = RunningCount(0.9)
    again.load_state_dict(count.state_dict())
    assert again.train()(tensor(11.0)).item() == pytest.approx(11)
    with pytest.raises(ValueError, match="from 0 to below 1, got 1"):
        RunningCount(1.0)


def test_a_steady_count_divides_both_losses() -> None:
    criterion = EfficientDetCriterion()
    plain = criterion(untrained(), [TWO], LEVELS, coder=CODER)
    halved = criterion(untrained(), [TWO], LEVELS, lambda count: 2 * count, coder=CODER)
    for name, loss in plain.items():
        torch.testing.assert_close(halved[name], loss / 2)
