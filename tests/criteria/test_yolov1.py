"""YOLOv1's loss: the worked example of darknet's own arithmetic, which cell learns what, and what nothing teaches."""

import pytest
import torch
from torch import Tensor

from pagoda.criteria.yolov1 import CellTargets, Errors, YOLOv1Criterion
from pagoda.ops.cells import CellCoder, CellOutputs, cells_of, claim_cells, join_cells, split_cells
from pagoda.structures.instances import Targets

GRID, CLASSES, BOXES = (2, 2), 3, 2
OUT = 0.5 + 0.4 * torch.sin(1.3 * torch.arange(52.0, dtype=torch.float64)).float()


def worked_targets() -> CellTargets:
    """Cell 1 has an object of class 2, cell 2 one of class 0."""
    has_object = torch.tensor([False, True, True, False])
    classes, boxes = torch.zeros(4, 3), torch.zeros(4, 4)
    classes[1, 2] = classes[2, 0] = 1
    boxes[1], boxes[2] = torch.tensor([0.25, 0.6, 0.3, 0.4]), torch.tensor([0.9, 0.1, 0.02, 0.05])
    return CellTargets(has_object, classes, boxes)


def batch(targets: CellTargets) -> CellTargets:
    return CellTargets(*(part[None] for part in targets))


def deltas(coder: CellCoder | None = None, **options: object) -> Errors:
    cells = split_cells(OUT[None], CLASSES, BOXES)
    return YOLOv1Criterion(**options).deltas(cells, batch(worked_targets()), GRID, coder or CellCoder())


@pytest.mark.parametrize(
    ("options", "coder", "cost"),
    [
        ({}, CellCoder(), 13.2240953),
        ({"rescore": False}, CellCoder(), 13.2589960),
        ({}, CellCoder(class_softmax=True), 13.5093241),
    ],
)
def test_the_cost_is_darknets(options: dict[str, bool], coder: CellCoder, cost: float) -> None:
    assert deltas(coder, **options).cost().item() == pytest.approx(cost, abs=2e-6)


def test_every_error_of_the_worked_example() -> None:
    found = deltas()
    classes = torch.zeros(4, 3)
    classes[1], classes[2] = (
        torch.tensor([-0.224894, -0.146618, 0.413952]),
        torch.tensor([0.100583, -0.627639, -0.168869]),
    )
    confidences = torch.tensor(
        [-0.271551, -0.064175, -0.129033, -0.344179, -0.435759, -0.456545, -0.052617, -0.166128]
    )
    boxes = torch.zeros(8, 4)
    boxes[3] = torch.tensor([0.126821, 2.266077, -0.193362, -1.334904])
    boxes[5] = torch.tensor([0.026745, -2.213741, 0.066011, -0.173715])
    torch.testing.assert_close(found.classes[0], classes, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.confidences.flatten(), confidences, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.boxes.view(8, 4), boxes, rtol=0, atol=1e-6)
    others = deltas(rescore=False).confidences.flatten()
    changed = (others - found.confidences.flatten()).abs() > 1e-6
    assert changed.nonzero().flatten().tolist() == [3, 5]
    torch.testing.assert_close(others[[3, 5]], torch.tensor([0.257784, 0.543455]), rtol=0, atol=1e-6)


def test_a_softmax_is_over_the_classes_of_a_cell() -> None:
    soft = CellCoder(class_softmax=True).read(split_cells(OUT[None], CLASSES, BOXES))
    torch.testing.assert_close(
        soft.classes[0, 0], torch.tensor([0.270326, 0.397443, 0.332231]), rtol=0, atol=1e-6
    )


def pixel_targets() -> Targets:
    """The same objects in a picture of 100 × 60."""
    rows = ((0.5 + 0.125, 0.3, 0.3, 0.4, 2), (0.45, 0.5 + 0.05, 0.02, 0.05, 0))
    boxes = torch.tensor([[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h, _ in rows])
    labels = torch.tensor([row[-1] for row in rows])
    return Targets(
        boxes * torch.tensor([100.0, 60.0] * 2), labels, (60, 100), torch.zeros(2, dtype=torch.bool)
    )


@pytest.mark.parametrize("coder", [CellCoder(), CellCoder(class_softmax=True)])
@pytest.mark.parametrize("rescore", [True, False])
def test_the_gradient_is_minus_the_errors(coder: CellCoder, rescore: bool) -> None:
    """Through boxes of pixels; divided by the pictures of the batch."""
    criterion = YOLOv1Criterion(rescore=rescore, claim="shuffled")
    raw = OUT.repeat(2, 1).requires_grad_()
    empty = pixel_targets()[torch.zeros(2, dtype=torch.bool)]
    losses = criterion(
        split_cells(raw, CLASSES, BOXES), [pixel_targets(), empty], GRID, (60, 100), coder=coder
    )
    (gradient,) = torch.autograd.grad(sum(losses.values()), raw)
    expected = join_cells(CellOutputs(*deltas(coder, rescore=rescore)))[0]
    torch.testing.assert_close(-2 * gradient[0], expected, rtol=0, atol=2e-6)
    nothing = split_cells(-2 * gradient[1][None], CLASSES, BOXES)
    assert not nothing.classes.any() and not nothing.boxes.any()
    torch.testing.assert_close(
        nothing.confidences, -0.5 * split_cells(OUT[None], CLASSES, BOXES).confidences, rtol=0, atol=1e-6
    )


def test_the_papers_sum_is_twice_as_large() -> None:
    cells = split_cells(OUT[None], CLASSES, BOXES)
    half, full = (
        YOLOv1Criterion(factor=factor)(cells, [pixel_targets()], GRID, (60, 100), coder=CellCoder())
        for factor in (0.5, 1.0)
    )
    for name, loss in half.items():
        torch.testing.assert_close(full[name], 2 * loss)


def slow_claims(cells: list[int], order: list[int], count: int) -> list[int]:
    owner = [-1] * count
    for index in order:
        if cells[index] >= 0 and owner[cells[index]] < 0:
            owner[cells[index]] = index
    return owner


def test_the_first_in_order_has_the_cell() -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        cells = torch.randint(-1, 6, (9,), generator=generator)
        order = torch.randperm(9, generator=generator)
        assert claim_cells(cells, order, 6).tolist() == slow_claims(cells.tolist(), order.tolist(), 6)


def crowd() -> Targets:
    """Three objects in one cell, the second the smallest, and one that is too narrow in another."""
    boxes = torch.tensor([[10.0, 10, 30, 30], [18, 18, 22, 22], [0, 0, 44, 44], [70, 70, 70.3, 90]])
    return Targets(boxes, torch.tensor([0, 1, 2, 0]), (100, 100), torch.zeros(4, dtype=torch.bool))


def test_a_cell_serves_one_object() -> None:
    first = YOLOv1Criterion(claim="first").targets(crowd(), GRID, (100, 100), 3)
    smallest = YOLOv1Criterion(claim="smallest").targets(crowd(), GRID, (100, 100), 3)
    assert first.classes[0].tolist() == [1, 0, 0] and smallest.classes[0].tolist() == [0, 1, 0]
    assert first.has_object.tolist() == [True, False, False, False]  # the narrow one is left out
    assert first.classes.sum() == 1


def test_who_has_a_shuffled_cell_is_drawn_anew_and_again_alike() -> None:
    criterion = YOLOv1Criterion(claim="shuffled")

    def drawn() -> list[int]:
        return [
            int(criterion.targets(crowd(), GRID, (100, 100), 3, shuffle=True).classes[0].argmax())
            for _ in range(40)
        ]

    torch.manual_seed(5)
    some = drawn()
    torch.manual_seed(5)
    assert drawn() == some and set(some) == {0, 1, 2}
    points = (torch.tensor([[0.0, 0], [50, 0], [0, 50], [50, 50]]).repeat_interleave(2, dim=0),)
    assert criterion.assign(points, [6], crowd().boxes).tolist() == [0, 0, -1, -1, -1, -1, -1, -1]


def test_objects_beyond_the_picture_are_no_ones() -> None:
    centers = torch.tensor([[-1.0, 5], [5, 100], [99.9, 0]])
    assert cells_of(centers, (7, 7), (100.0, 100.0)).tolist() == [-1, -1, 6]


def test_box_of_the_largest_overlap_or_the_nearest() -> None:
    """Ties go to the first; without any overlap the four numbers decide."""
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])[None, None]
    target = CellTargets(
        torch.tensor([[True]]), torch.ones(1, 1, 1), torch.tensor([[[0.5, 0.5, 0.25, 0.25]]])
    )
    cells = CellOutputs(torch.zeros(1, 1, 1), torch.zeros(1, 1, 2), boxes)
    chosen, iou = YOLOv1Criterion().responsible(cells, target, (1, 1), CellCoder())
    assert chosen.tolist() == [[[True, False]]] and iou.flatten().tolist() == [1, 1]
    away = CellOutputs(*cells[:2], torch.tensor([[9.0, 9.0, 0.1, 0.1], [3.0, 3.0, 0.1, 0.1]])[None, None])
    chosen, iou = YOLOv1Criterion().responsible(away, target, (1, 1), CellCoder())
    assert chosen.tolist() == [[[False, True]]] and not iou.any()


def without_objects() -> Tensor:
    return torch.zeros(0, dtype=torch.long)


def test_a_picture_without_objects_teaches_confidences_alone() -> None:
    empty = Targets(torch.zeros(0, 4), without_objects(), (60, 100), torch.zeros(0, dtype=torch.bool))
    cells = split_cells(OUT[None], CLASSES, BOXES)
    losses = YOLOv1Criterion()(cells, [empty], GRID, (60, 100), coder=CellCoder())
    assert losses["loss_class"] == losses["loss_box"] == 0
    torch.testing.assert_close(losses["loss_confidence"], 0.25 * cells.confidences.square().sum())
