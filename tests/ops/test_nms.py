"""Suppression against worked sets, a plain loop and torchvision's batched operator."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor
from torchvision.ops import batched_nms

from pagoda.ops.boxes import clip_boxes, ltrb_to_boxes, pairwise_iou
from pagoda.ops.nms import batch_survivors, nms_survivors

# IoU with the first: legacy 1, .8333, .6667, 0, .5385; continuous 1, .8182, .6429, 0, .5
FIVE = tensor([[0.0, 0, 9, 9], [0, 0, 9, 11], [0, 0, 9, 14], [20, 20, 29, 29], [3, 0, 12, 9]])
FIVE_SCORES = tensor([0.9, 0.8, 0.7, 0.6, 0.5])


@pytest.mark.parametrize(
    ("inclusive", "max_iou", "kept"),
    [
        (True, 0.5, [0, 3]),
        (False, 0.5, [0, 3, 4]),  # .5 is not more than .5
        (True, 0.65, [0, 3, 4]),
        (False, 0.65, [0, 2, 3, 4]),
    ],
)
def test_worked_sets(inclusive, max_iou, kept):
    survivors = nms_survivors(
        FIVE, FIVE_SCORES, torch.zeros(5, dtype=torch.long), max_iou=max_iou, inclusive=inclusive
    )
    assert survivors.nonzero().flatten().tolist() == kept


def plain_survivors(boxes, scores, groups, max_iou: float, inclusive: bool) -> list[bool]:
    """Slow twin: walk from the best box down, keep what no kept box of the group covers."""
    iou = pairwise_iou(boxes, boxes, inclusive=inclusive)
    kept: list[int] = []
    for candidate in scores.argsort(descending=True, stable=True).tolist():
        rivals = [i for i in kept if groups[i] == groups[candidate]]
        if all(iou[i, candidate] <= max_iou for i in rivals):
            kept.append(candidate)
    return [i in kept for i in range(len(boxes))]


def crowd(count: int, num_groups: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes in heaps, so that suppression has work to do."""
    generator = torch.Generator().manual_seed(seed)
    heap = torch.randint(0, max(count // 4, 1), (count,), generator=generator)
    corner = torch.rand(count, 2, generator=generator)[heap] * 900
    corner = corner + torch.randn(count, 2, generator=generator) * 4
    sides = (torch.rand(count, 2, generator=generator)[heap] * 80 + 20).clamp(min=1)
    groups = (heap * 7) % num_groups
    return torch.cat([corner, corner + sides], dim=1), torch.rand(count, generator=generator), groups


@given(seed=st.integers(0, 10_000), num_groups=st.sampled_from([1, 3]), inclusive=st.booleans())
def test_equals_the_plain_loop(seed, num_groups, inclusive):
    boxes, scores, groups = crowd(24, num_groups, seed)
    survivors = nms_survivors(boxes, scores, groups, max_iou=0.55, inclusive=inclusive)
    assert survivors.tolist() == plain_survivors(boxes, scores, groups, 0.55, inclusive)


def test_equals_torchvision():
    boxes, scores, groups = crowd(300, 5, seed=1)
    kept = batched_nms(boxes, scores, groups, 0.5).sort().values
    survivors = nms_survivors(boxes, scores, groups, max_iou=0.5)
    assert torch.equal(survivors.nonzero().flatten(), kept)


def test_distant_groups_lose_no_precision():
    # 80 classes in 100 pictures: moving groups apart must not round the boxes.
    boxes, scores, _ = crowd(400, 1, seed=2)
    alone = nms_survivors(boxes, scores, torch.zeros(400, dtype=torch.long), max_iou=0.6)
    for group in (79, 8_000, 80_000):
        assert torch.equal(nms_survivors(boxes, scores, torch.full((400,), group), max_iou=0.6), alone)


def test_groups_never_suppress_each_other_even_below_zero():
    boxes = tensor([[-50.0, -50.0, -10.0, -10.0]]).expand(3, 4) + torch.zeros(3, 4)
    survivors = nms_survivors(boxes, tensor([0.9, 0.8, 0.7]), tensor([0, 1, 0]), max_iou=0.5)
    assert survivors.tolist() == [True, True, False]


def test_order_of_boxes_is_irrelevant():
    boxes, scores, groups = crowd(60, 2, seed=3)
    shuffle = torch.randperm(60)
    survivors = nms_survivors(boxes, scores, groups, max_iou=0.5)
    shuffled = nms_survivors(boxes[shuffle], scores[shuffle], groups[shuffle], max_iou=0.5)
    assert torch.equal(shuffled, survivors[shuffle])


def test_no_boxes():
    nobody = nms_survivors(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), max_iou=0.5)
    assert nobody.shape == (0,) and nobody.dtype == torch.bool


def test_decoding_and_suppression_of_the_original_fcos():
    """Threshold on the class alone; the score is the root of class times quality; legacy ends."""
    points = tensor([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]])
    logits = torch.full((4, 2), -6.0)
    logits[0, 0], logits[1, 0], logits[0, 1], logits[3, 1] = 1.0, 0.5, -2.0, 2.0
    quality = tensor([0.0, 1.0, 0.0, -1.0]).sigmoid()
    ltrb = tensor([[4.0, 4, 8, 6], [11, 4, 1, 5], [1, 1, 1, 1], [6, 5, 10, 2]])
    location, label = (logits.sigmoid() > 0.05).nonzero(as_tuple=True)
    scores = (logits.sigmoid()[location, label] * quality[location]).sqrt()
    boxes = clip_boxes(ltrb_to_boxes(points, ltrb), (16, 16), inclusive=True)[location]
    torch.testing.assert_close(
        scores, tensor([0.6045902, 0.2441341, 0.6745771, 0.4867061]), atol=1e-6, rtol=0
    )
    assert boxes.tolist() == [[0, 0, 12, 10], [0, 0, 12, 10], [1, 0, 13, 9], [6, 7, 15, 14]]
    kept = nms_survivors(boxes, scores, label, max_iou=0.6, inclusive=True)
    assert kept.tolist() == [False, True, True, True]


def batch(num_pictures: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    boxes, scores, labels = zip(*(crowd(60, 3, seed) for seed in range(num_pictures)), strict=True)
    return torch.stack(boxes), torch.stack(scores), torch.stack(labels)


def test_a_batch_is_its_pictures_and_rows_without_score_are_out():
    boxes, scores, labels = batch(3)
    scores[:, ::7] = 0  # what padding looks like
    together = batch_survivors(boxes, scores, labels, num_classes=3, max_iou=0.5, inclusive=False)
    for picture in range(3):
        real = scores[picture] > 0
        alone = nms_survivors(boxes[picture][real], scores[picture][real], labels[picture][real], max_iou=0.5)
        assert torch.equal(together[picture][real], alone)
        assert not together[picture][~real].any()
    nothing = batch_survivors(
        boxes, torch.zeros_like(scores), labels, num_classes=3, max_iou=0.5, inclusive=False
    )
    assert nothing.shape == (3, 60) and not nothing.any()


def test_a_batch_exports_as_one_operator():
    class Survivors(torch.nn.Module):
        def forward(self, boxes, scores, labels):
            return batch_survivors(boxes, scores, labels, num_classes=3, max_iou=0.5, inclusive=False)

    inputs = batch(2)
    program = torch.export.export(Survivors(), inputs)
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "pagoda.batch_survivors.default" in calls
    assert torch.equal(program.module()(*inputs), Survivors()(*inputs))
