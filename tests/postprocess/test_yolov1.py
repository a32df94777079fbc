"""From cells to objects: darknet's worked example, and suppression class by class."""

import torch

from pagoda.ops.cells import CellCoder, centers_to_boxes, split_cells
from pagoda.postprocess.select import take
from pagoda.postprocess.yolov1 import SelectFromCells
from pagoda.structures.outputs import DenseOutputs

OUT = 0.5 + 0.4 * torch.sin(1.3 * torch.arange(52.0, dtype=torch.float64)).float()


def outputs_of(vector: torch.Tensor) -> DenseOutputs:
    """Of 2 × 2 cells over a picture of 100 × 60."""
    cells = split_cells(vector[None], 3, 2)
    boxes = CellCoder().in_pixels(cells.boxes, (2, 2), (60, 100)).reshape(1, 8, 4)
    corners = torch.tensor([[0.0, 0.0], [50, 0], [0, 30], [50, 30]]).repeat_interleave(2, dim=0)
    classes = cells.classes[:, :, None].expand(-1, -1, 2, -1).reshape(1, 8, 3)
    return DenseOutputs(classes, boxes, cells.confidences.reshape(1, 8), (corners,))


def test_the_worked_example() -> None:
    outputs, select = outputs_of(OUT), SelectFromCells(min_score=0.2)
    pairs = select.pairs(outputs, torch.tensor([[60, 100]]), centers_to_boxes)
    boxes = centers_to_boxes(outputs.box_outputs[0], outputs.priors[0])
    centers = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    expected = torch.tensor(
        [[40.25117, 24.92794, 13.84019, 0.60725], [61.23178, 4.40354, 34.38590, 48.53915]]
    )
    torch.testing.assert_close(centers[[0, 3]], expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(
        outputs.quality_logits[0, [0, 3]], torch.tensor([0.543101, 0.742216]), rtol=0, atol=1e-6
    )
    of_first = torch.tensor([0.271551, 0.480875, 0.383539])
    torch.testing.assert_close(pairs.scores[0, 0], of_first, rtol=0, atol=1e-6)
    assert pairs.passes[0, 3].tolist() == [False, False, True]
    torch.testing.assert_close(pairs.scores[0, 3, 2], torch.tensor(0.434974), rtol=0, atol=1e-6)


def test_a_box_that_loses_in_one_class_competes_in_the_others() -> None:
    classes = torch.tensor([[[0.9, 0.3], [0.8, 0.7]]])
    boxes = torch.tensor([[[5.0, 5.0, 8.0, 8.0], [5.0, 5.0, 8.0, 7.0]]])
    outputs = DenseOutputs(classes, boxes, torch.ones(1, 2), (torch.zeros(2, 2),))
    select = SelectFromCells()
    found = take(select.candidates(outputs, torch.tensor([[32, 32]]), centers_to_boxes), 0)
    left = select.stages_of_one_image(found, torch.tensor([32, 32])).survivors
    assert sorted(zip(left.labels.tolist(), left.places.tolist(), strict=True)) == [(0, 0), (1, 3)]


def test_scores_are_what_they_are() -> None:
    """Above 1, of two negatives, and not of exactly the limit."""
    classes = torch.tensor([[[2.0], [-0.5], [0.5], [0.5]]])
    confidences = torch.tensor([[0.9, -0.8, 0.5, 0.0]])
    boxes = torch.tensor([[[5.0, 5.0, 2.0, 2.0]]]).expand(1, 4, 4)
    corners = torch.arange(4.0)[:, None].expand(4, 2) * 10
    outputs = DenseOutputs(classes, boxes, confidences, (corners,))
    selected = SelectFromCells(min_score=0.25)(outputs, torch.tensor([[64, 64]]), centers_to_boxes)
    torch.testing.assert_close(selected.scores[0][:2], torch.tensor([1.8, 0.4]))
    assert not selected.scores[0][2:].any()
