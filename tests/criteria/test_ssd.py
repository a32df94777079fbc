"""The MultiBox loss: the worked example of three programs, matching, mining, and pictures without objects."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pagoda.criteria.normalize import alone
from pagoda.criteria.ssd import MultiBoxCriterion
from pagoda.ops.box_coding import BoxCoder
from pagoda.structures.instances import Targets
from pagoda.structures.outputs import DenseOutputs

CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0), max_log_growth=None)
CRITERION = MultiBoxCriterion()


def grid() -> Tensor:
    """(16, 4) default boxes of side .3 at the cells of a 4×4 grid over a picture of side 1."""
    middle = 0.125 + 0.25 * torch.arange(4)
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    centers = torch.stack([x, y], dim=-1).reshape(-1, 2)
    return torch.cat([centers - 0.15, centers + 0.15], dim=1)


def targets(boxes: list[list[float]], labels: list[int]) -> Targets:
    none = torch.zeros(len(labels), dtype=torch.bool)
    return Targets(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels).long(), (1, 1), none)


def example() -> tuple[DenseOutputs, Targets]:
    """Three programs agree on its losses to 1e-7. Here the background is the last class, there the first."""
    number = torch.arange(64).float().reshape(1, 16, 4)
    classes = (2 * torch.cos(1.7 * torch.arange(48).float())).reshape(1, 16, 3)
    outputs = DenseOutputs(classes.roll(-1, -1), 0.5 * torch.sin(number), None, (grid(),))
    boxes = [[0, 0, 0.30, 0.25], [0.52, 0.30, 0.80, 0.52], [0.90, 0.90, 0.95, 0.96]]
    return outputs, targets(boxes, [0, 1, 1])


def test_worked_example() -> None:
    outputs, target = example()
    index = CRITERION.assign(grid(), target.boxes)
    assert (index >= 0).nonzero().flatten().tolist() == [0, 6, 15] and index[[0, 6, 15]].tolist() == [0, 1, 2]
    background = torch.logsumexp(outputs.class_logits, -1) - outputs.class_logits[..., -1]
    wanted = [
        0.117041,
        1.338388,
        3.487676,
        3.910562,
        0.982143,
        0.086378,
        0.667433,
        2.982361,
        4.123864,
        2.014020,
    ]
    torch.testing.assert_close(background[0, :10], torch.tensor(wanted), rtol=0, atol=2e-6)
    mined = CRITERION.mine(background, (index >= 0)[None])[0].nonzero().flatten().tolist()
    assert mined == [1, 2, 3, 7, 8, 9, 12, 13, 14]
    encoded = CODER.encode(target.boxes, grid()[[0, 6, 15]])
    wanted = [
        [0.833333, 0, 0, -0.911608],
        [1.166666, 1.166667, -0.344964, -1.550775],
        [1.666665, 1.833331, -8.958797, -8.047190],
    ]
    torch.testing.assert_close(encoded, torch.tensor(wanted), rtol=0, atol=5e-6)
    losses = CRITERION(outputs, [target], [3], coder=CODER)
    assert losses["loss_box"].item() == pytest.approx(7.8406405, abs=2e-6)
    assert losses["loss_class"].item() == pytest.approx(11.6328287, abs=2e-6)


def test_the_batch_s_positives_divide_both_losses() -> None:
    """Twice the picture, the same losses; a picture without objects beside it changes nothing."""
    outputs, target = example()
    once = CRITERION(outputs, [target], [3], coder=CODER)
    twice = outputs._replace(
        class_logits=outputs.class_logits.repeat(2, 1, 1), box_outputs=outputs.box_outputs.repeat(2, 1, 1)
    )
    for others in (target, targets([], [])):
        both = CRITERION(twice, [target, others], [3], coder=CODER)
        for name, loss in once.items():
            torch.testing.assert_close(both[name], loss, rtol=1e-6, atol=0)


def test_a_batch_without_objects_is_0_and_its_gradient_finite() -> None:
    outputs, _ = example()
    logits, boxes = (
        outputs.class_logits.clone().requires_grad_(),
        outputs.box_outputs.clone().requires_grad_(),
    )
    losses = CRITERION(
        outputs._replace(class_logits=logits, box_outputs=boxes), [targets([], [])], [3], coder=CODER
    )
    assert [loss.item() for loss in losses.values()] == [0, 0]
    sum(losses.values()).backward()
    assert not logits.grad.any() and not boxes.grad.any()


def test_pictures_without_objects_may_teach_the_background() -> None:
    outputs, _ = example()
    criterion = MultiBoxCriterion(least_negatives=4)
    background = torch.logsumexp(outputs.class_logits, -1) - outputs.class_logits[..., -1]
    losses = criterion(outputs, [targets([], [])], [3], coder=CODER)
    assert losses["loss_class"].item() == pytest.approx(background[0].topk(4).values.sum().item(), rel=1e-6)


def test_mining_stays_within_each_picture() -> None:
    loss = torch.tensor([[9.0, 8, 7, 6], [1, 2, 3, 4]])
    positive = torch.tensor([[False, False, False, False], [True, False, False, False]])
    mined = MultiBoxCriterion(negatives_per_positive=2.0).mine(loss, positive)
    assert mined.tolist() == [[False] * 4, [False, False, True, True]]
    every = MultiBoxCriterion(negatives_per_positive=9.0).mine(loss, positive)
    assert every[1].tolist() == [False, True, True, True]  # as far as there are any


SHARED = [[0.0, 0, 0.27, 0.26], [0, 0.02, 0.24, 0.27]]
"""A and B; both overlap the first box of the grid most"""


@pytest.mark.parametrize(
    ("matching", "wanted"), [("bipartite", {0: 0, 4: 1}), ("overwrite", {0: 1})], ids=["caffe", "others"]
)
def test_two_objects_want_one_box(matching: str, wanted: dict[int, int]) -> None:
    index = MultiBoxCriterion(matching=matching).assign(grid(), torch.tensor(SHARED))
    assert {box: int(index[box]) for box in (index >= 0).nonzero().flatten().tolist()} == wanted


def test_an_overlap_of_exactly_the_limit_is_positive() -> None:
    box = torch.tensor([[0.0, 0, 8, 8]])
    for matching in ("bipartite", "overwrite"):
        criterion = MultiBoxCriterion(matching=matching)
        index = criterion.assign(torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4], [0, 0, 8, 3]]), box)
        assert index.tolist() == [0, 0, -1]


def test_an_object_that_overlaps_nothing() -> None:
    """Caffe leaves it unmatched; the others give it the first box."""
    far = torch.tensor([[5.0, 5, 6, 6]])
    assert (MultiBoxCriterion(matching="bipartite").assign(grid(), far) == -1).all()
    assert MultiBoxCriterion().assign(grid(), far)[:2].tolist() == [0, -1]


def test_a_larger_union_makes_overlaps_smaller() -> None:
    boxes, object_ = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 4]]), torch.tensor([[0.0, 0, 8, 8]])
    eps = MultiBoxCriterion(union_eps=1e-5)
    assert eps.assign(boxes, object_, (100, 100)).tolist() == [0, -1]  # 32 / (64 + .1) is below one half
    assert eps.assign(boxes, object_).tolist() == [0, 0]


def test_focal_loss_of_all_boxes() -> None:
    """A slow twin."""
    outputs, target = example()
    criterion = MultiBoxCriterion(class_loss="focal", gamma=1.5, alpha=0.3)
    found = criterion(outputs, [target], [3], coder=CODER)["loss_class"].item()
    probability, total = outputs.class_logits[0].softmax(-1), 0.0
    wanted = {0: 0, 6: 1, 15: 1}
    for box in range(16):
        p = float(probability[box, wanted.get(box, 2)])
        total += (0.3 if box in wanted else 0.7) * (1 - p) ** 1.5 * -math.log(p)
    assert found == pytest.approx(total / 3, rel=1e-5)


def test_order_of_objects_is_irrelevant_where_none_share_a_box() -> None:
    outputs, target = example()
    turned = target[torch.tensor([2, 0, 1])]
    for criterion in (
        CRITERION,
        replace(CRITERION, matching="bipartite"),
        replace(CRITERION, box_loss="giou"),
    ):
        with alone():
            pairs = [criterion(outputs, [each], [3], coder=CODER) for each in (target, turned)]
        for name in pairs[0]:
            torch.testing.assert_close(pairs[0][name], pairs[1][name], rtol=1e-6, atol=0)


def test_coder() -> None:
    box = torch.tensor([[0.4, 0.25, 0.6, 0.55]])
    encoded = CODER.encode(torch.tensor([[0.35, 0.30, 0.75, 0.60]]), box)
    torch.testing.assert_close(encoded, torch.tensor([[2.5, 1.6666667, 3.4657359, 0]]), rtol=0, atol=2e-6)
    decoded = CODER.decode(torch.tensor([[1.0, -2, 0.5, -1]]), box)
    wanted = [[0.4094829, 0.2171904, 0.6305171, 0.4628096]]
    torch.testing.assert_close(decoded, torch.tensor(wanted), rtol=0, atol=1e-6)


def test_an_object_without_area_teaches_nothing() -> None:
    outputs, target = example()
    flat = targets([*target.boxes.tolist(), [0.5, 0.5, 0.5, 0.7]], [0, 1, 1, 0])
    for matching in ("bipartite", "overwrite"):
        criterion = MultiBoxCriterion(matching=matching)
        pair = [criterion(outputs, [each], [3], coder=CODER) for each in (target, flat)]
        assert pair[0] == pair[1]
