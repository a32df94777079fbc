"""Values and slopes against numbers computed with 40 digits; extremes stay finite."""

import pytest
import torch
import torchvision.ops as tv
from torch import tensor

from pagoda.ops.boxes import boxes_to_ltrb
from pagoda.ops.losses import centerness, ltrb_iou_loss, shifted_cross_entropy, sigmoid_focal_loss


def value_and_slope(loss, logit: float, target: float, **options) -> tuple[float, float]:
    logit = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    value = loss(logit, torch.tensor([target], dtype=torch.float64), **options)
    (slope,) = torch.autograd.grad(value.sum(), logit)
    return value.item(), slope.item()


FOCAL = [  # logit, target, loss, slope for alpha .25, gamma 2
    (-10, 1, 2.499784365, -0.2501929229),
    (-4.595119850, 1, 1.128381825, -0.2651423865),
    (-4.595119850, 0, 7.53775189e-7, 2.242474874e-6),
    (-2, 1, 0.4125195449, -0.2691784326),
    (-2, 0, 0.001352672126, 0.003653205147),
    (-1, 1, 0.1754670759, -0.1920586808),
    (-1, 0, 0.01699354313, 0.03943584748),
    (0, 1, 0.04332169878, -0.07457169878),
    (0, 0, 0.1299650964, 0.2237150964),
    (1, 1, 0.005664514377, -0.01314528249),
    (1, 0, 0.5264012276, 0.5761760424),
    (2, 1, 0.0004508907088, -0.001217735049),
    (2, 0, 1.237558635, 0.8075352978),
    (10, 0, 7.499353094, 0.7505787687),
    (-100, 1, 25, -0.25),
    (100, 0, 75, 0.75),
    (1000, 0, 750, 0.75),
]


@pytest.mark.parametrize(("logit", "target", "loss", "slope"), FOCAL)
def test_focal_value_and_slope(logit, target, loss, slope):
    assert value_and_slope(sigmoid_focal_loss, logit, target) == pytest.approx((loss, slope), rel=1e-6)


@pytest.mark.parametrize("logit", [-1e4, -1000, -104, -20, 0, 20, 104, 1000, 1e4])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_focal_is_finite_in_single_precision(logit, target):
    logit = tensor([float(logit)], requires_grad=True)
    loss = sigmoid_focal_loss(logit, tensor([target]))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logit.grad).all()


@pytest.mark.parametrize(
    ("probability", "loss"),
    [(0.1, 1.8650939), (0.5, 0.1732868), (0.6, 0.0817321), (0.9, 0.0010536052), (0.968, 3.3303748e-5)],
)
def test_focal_without_alpha(probability, loss):
    # alpha ½ weighs both kinds alike, so twice the loss is the loss without alpha
    logit = torch.logit(torch.tensor([probability], dtype=torch.float64))
    halved = sigmoid_focal_loss(logit, torch.ones_like(logit), alpha=0.5)
    assert 2 * halved.item() == pytest.approx(loss, rel=1e-6)


def test_focal_of_a_fresh_network_that_sees_only_background():
    logits = torch.full((18_672, 80), -4.59511985, dtype=torch.float64)
    total = sigmoid_focal_loss(logits, torch.zeros_like(logits)).sum().item()
    assert total == pytest.approx(1.125959226, rel=1e-6)
    assert 9 * total == pytest.approx(10.13363304, rel=1e-6)


def test_focal_equals_torchvision():
    logits, targets = torch.randn(50, 8) * 4, torch.randint(0, 2, (50, 8)).float()
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets), tv.sigmoid_focal_loss(logits, targets))


SHIFTED = [  # gamma, beta, signed logits −2 … 2: losses, slopes
    (
        (2, 1),
        (1.524293676, 0.6566308438, 0.1566308438, 0.02429367579, 0.003357674245),
        (-0.9525741268, -0.7310585786, -0.2689414214, -0.04742587318, -0.006692850924),
    ),
    (
        (4, 0),
        (2.000083852, 1.004537482, 0.1732867951, 0.004537481979, 8.385159322e-5),
        (-0.9996646499, -0.98201379, -0.5, -0.01798620996, -0.0003353501305),
    ),
]


@pytest.mark.parametrize(("setting", "losses", "slopes"), SHIFTED)
@pytest.mark.parametrize("sign", [1, -1])
def test_shifted_cross_entropy(setting, losses, slopes, sign):
    gamma, beta = setting
    for signed, loss, slope in zip(range(-2, 3), losses, slopes, strict=True):
        value = value_and_slope(
            shifted_cross_entropy, signed * sign, float(sign > 0), gamma=float(gamma), beta=float(beta)
        )
        assert value == pytest.approx((loss, slope * sign), abs=1e-9)


def test_shifted_cross_entropy_takes_alpha():
    plain = shifted_cross_entropy(torch.zeros(2), tensor([1.0, 0.0]))
    weighted = shifted_cross_entropy(torch.zeros(2), tensor([1.0, 0.0]), alpha=0.25)
    torch.testing.assert_close(weighted, plain * tensor([0.25, 0.75]))


LTRB = [  # predicted, target, with the original's +1: ln, linear, generalised; generalised without smoothing
    ((2, 3, 4, 5), (3, 3, 3, 3), 0.57334596, 0.43636364, 0.47207791, 0.48015869),
    ((16, 16, 16, 16), (8, 12, 20, 24), 0.70422965, 0.50551069, 0.56106621, 0.56143790),
    ((10, 20, 30, 40), (20, 10, 40, 30), 0.69283479, 0.49984378, 0.61095488, 0.61111110),
    ((0, 0, 0, 0), (3, 3, 3, 3), 3.61091781, 0.97297299, 0.97297299, 1.0),
]


@pytest.mark.parametrize(("predicted", "target", "log", "linear", "giou", "plain"), LTRB)
def test_ltrb_losses(predicted, target, log, linear, giou, plain):
    predicted, target = tensor([predicted], dtype=torch.float32), tensor([target], dtype=torch.float32)
    for kind, expected in (("iou", log), ("linear_iou", linear), ("giou", giou)):
        loss = ltrb_iou_loss(predicted, target, kind=kind, smoothing=1.0)
        assert loss.item() == pytest.approx(expected, abs=1e-6), kind
    assert ltrb_iou_loss(predicted, target).item() == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "slopes"),
    [
        ("giou", (-0.12430932, -0.01181892, 0.07688143, 0.07488047)),
        ("iou", (-0.15718473, -0.01700880, 0.14545454, 0.10909091)),
    ],
)
def test_ltrb_slopes(kind, slopes):
    predicted = tensor([[2.0, 3.0, 4.0, 5.0]], requires_grad=True)
    ltrb_iou_loss(predicted, torch.full((1, 4), 3.0), kind=kind, smoothing=1.0).sum().backward()
    # Where prediction and target tie (the second side), both minimum and maximum pass half of the slope.
    torch.testing.assert_close(predicted.grad, tensor([slopes]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["iou", "linear_iou", "giou"])
def test_an_all_zero_prediction_has_no_slope(kind):
    predicted = torch.zeros(1, 4, requires_grad=True)
    ltrb_iou_loss(predicted, torch.full((1, 4), 3.0), kind=kind, smoothing=1.0).sum().backward()
    assert predicted.grad.tolist() == [[0, 0, 0, 0]]


def test_weighted_sum_of_ltrb_losses():
    predicted = tensor([[2.0, 3, 4, 5], [3, 3, 3, 3], [16, 16, 16, 16], [10, 20, 30, 40]])
    target = tensor([[3.0, 3, 3, 3], [3, 3, 3, 3], [8, 12, 20, 24], [20, 10, 40, 30]])
    loss = ltrb_iou_loss(predicted, target, smoothing=1.0)
    assert (loss * tensor([1.0, 0.5, 0.25, 0.1])).sum().item() == pytest.approx(0.67343996, abs=1e-6)


def test_ltrb_giou_equals_torchvision_on_boxes():
    predicted, target = torch.rand(30, 4) * 20 + 0.1, torch.rand(30, 4) * 20 + 0.1
    flip = tensor([-1.0, -1.0, 1.0, 1.0])
    expected = tv.generalized_box_iou_loss(predicted * flip, target * flip)
    torch.testing.assert_close(ltrb_iou_loss(predicted, target), expected, atol=1e-6, rtol=1e-5)


def test_unknown_kind_lists_the_known():
    with pytest.raises(Exception, match="linear_iou"):
        ltrb_iou_loss(torch.ones(1, 4), torch.ones(1, 4), kind="ciou")


@pytest.mark.parametrize(
    ("ltrb", "expected"),
    [
        ((1, 1, 1, 1), 1.0),
        ((1, 2, 3, 4), 0.40824831),
        ((5, 5, 15, 15), 0.33333334),
        ((0.5, 1, 1.5, 1), 0.57735026),
        ((10, 20, 30, 40), 0.40824831),
        ((0, 5, 5, 5), 0.0),
    ],
)
def test_centerness(ltrb, expected):
    assert centerness(tensor([ltrb], dtype=torch.float32)).item() == pytest.approx(expected, abs=1e-6)


def test_centerness_is_one_in_the_middle_and_falls_towards_every_side():
    points = torch.stack([torch.linspace(5, 9.9, 20), torch.full((20,), 5.0)], dim=1)
    values = centerness(boxes_to_ltrb(points, tensor([0.0, 0.0, 10.0, 10.0]).expand(20, 4)))
    assert values[0].item() == 1 and (values.diff() < 0).all()


def test_nothing_gives_nothing():
    none = torch.zeros(0, 4)
    assert ltrb_iou_loss(none, none).shape == (0,)
    assert centerness(none).shape == (0,)
    assert sigmoid_focal_loss(none, none).shape == (0, 4)
