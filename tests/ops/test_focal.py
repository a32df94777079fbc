"""The summed focal loss against its slow twin: every element written out, slopes by automatic differentiation."""

import pytest
import torch
from torch import Tensor

from pagoda.ops import focal
from pagoda.ops.assign import BACKGROUND, IGNORED
from pagoda.ops.focal import focal_loss_sums
from pagoda.ops.losses import sigmoid_focal_loss


def twin(logits: Tensor, labels: Tensor, **options: float) -> Tensor:
    sums = []
    for image, image_labels in zip(logits, labels, strict=True):
        wanted = torch.zeros_like(image)
        for row, label in enumerate(image_labels.tolist()):
            if label >= 0:
                wanted[row, label] = 1
        sums.append(sigmoid_focal_loss(image, wanted, **options)[image_labels != IGNORED].sum())
    return torch.stack(sums)


def sums_and_slopes(loss, logits: Tensor, labels: Tensor, **options: float) -> tuple[Tensor, Tensor]:
    """Slopes of the images' sums, the second image counting three times."""
    logits = logits.clone().requires_grad_()
    sums = loss(logits, labels, **options)
    sums.backward(torch.tensor([1.0, 3.0], dtype=sums.dtype))
    return sums.detach(), logits.grad


def example(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Two images of 50 locations and 7 classes."""
    return (torch.randn(2, 50, 7) * 4).to(dtype), torch.randint(IGNORED, 7, (2, 50))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alpha": 0.5, "gamma": 1.5},
        {"gamma": 0.0},
        {"alpha": 0.0},  # neither kind may be divided by its weight
        {"alpha": 1.0},
    ],
)
def test_sums_and_slopes_equal_the_elements(options):
    logits, labels = example()
    expected = sums_and_slopes(twin, logits, labels, **options)
    torch.testing.assert_close(sums_and_slopes(focal_loss_sums, logits, labels, **options), expected)


@pytest.mark.parametrize("block_logits", [1, 7, 50, 10**6])
def test_blocks_do_not_show(monkeypatch, block_logits):
    logits, labels = example()
    expected = sums_and_slopes(twin, logits, labels)
    monkeypatch.setattr(focal, "BLOCK_LOGITS", block_logits)
    torch.testing.assert_close(sums_and_slopes(focal_loss_sums, logits, labels), expected)


def test_half_precision_is_summed_in_single():
    logits, labels = example(torch.bfloat16)
    expected_sums, expected_slopes = sums_and_slopes(twin, logits.float(), labels)
    sums, slopes = sums_and_slopes(focal_loss_sums, logits, labels)
    assert sums.dtype == torch.float32 and slopes.dtype == torch.bfloat16
    torch.testing.assert_close(sums, expected_sums)
    torch.testing.assert_close(slopes.float(), expected_slopes, rtol=2**-7, atol=0)  # rounded twice


@pytest.mark.parametrize("logit", [-1e30, -1e4, -104.0, 104.0, 1e4, 1e30])
def test_extremes_stay_finite(logit):
    labels = torch.tensor([[BACKGROUND, IGNORED], [0, 1]])
    sums, slopes = sums_and_slopes(focal_loss_sums, torch.full((2, 2, 2), logit), labels)
    assert torch.isfinite(sums).all() and torch.isfinite(slopes).all()
    assert (slopes[0, 1] == 0).all()


def test_nothing_to_learn_from():
    labels = torch.full((2, 50), IGNORED)
    sums, slopes = sums_and_slopes(focal_loss_sums, example()[0], labels)
    assert not sums.any() and not slopes.any()
    none = focal_loss_sums(torch.zeros(2, 0, 7), torch.zeros(2, 0, dtype=torch.long))
    assert none.tolist() == [0, 0]


def test_without_gradients():
    logits, labels = example()
    torch.testing.assert_close(focal_loss_sums(logits, labels), twin(logits, labels))


def test_a_second_derivative_is_refused():
    logits, labels = example()
    sums = focal_loss_sums(logits.requires_grad_(), labels)
    with pytest.raises(RuntimeError, match="first derivative only"):
        torch.autograd.grad(sums.sum(), logits, create_graph=True)
