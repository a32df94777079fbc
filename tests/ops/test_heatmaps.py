"""Keypoints to cells and back, against torch's own resizing one object at a time."""

import pytest
import torch
from torch.nn.functional import interpolate

from pagoda.ops import heatmaps as module
from pagoda.ops.heatmaps import heatmaps_to_keypoints, keypoints_to_cells


def slow_decode(maps: torch.Tensor, box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(K, 3) x, y, logit and (K,) probability of one object."""
    sides = (box[2:] - box[:2]).clamp(min=1)
    width, height = (int(side) for side in sides.ceil())
    resized = interpolate(maps[None], (height, width), mode="bicubic", align_corners=False)[0]
    best, cell = resized.flatten(1).max(1)
    x = (cell % width + 0.5) * (sides[0] / width) + box[0]
    y = (cell // width + 0.5) * (sides[1] / height) + box[1]
    weights = (maps - best[:, None, None]).exp().sum((1, 2))
    return torch.stack([x, y, best], 1), 1 / weights


def test_decoding_equals_one_object_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3 * 60 * 80)  # several groups
    corner = torch.rand(9, 2) * 50
    boxes = torch.cat([corner, corner + torch.tensor([0.3, 2.0]) + torch.rand(9, 2) * 80], 1)
    boxes[0, 2:] = boxes[0, :2]  # no extent: one pixel
    maps = torch.randn(9, 3, 14, 14) * 3
    places, logits, probabilities = heatmaps_to_keypoints(maps, boxes)
    for row in range(9):
        expected, share = slow_decode(maps[row], boxes[row])
        torch.testing.assert_close(places[row], expected[:, :2], rtol=0, atol=1e-3)
        torch.testing.assert_close(logits[row], expected[:, 2], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(probabilities[row], share, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("box", "place"),
    [((100.0, 50.0, 156.0, 106.0), (120.5, 60.5)), ((100.0, 50.0, 155.5, 105.25), (120.31696, 60.359375))],
)
def test_published_oracle(box: tuple[float, ...], place: tuple[float, float]) -> None:
    maps = torch.zeros(1, 1, 56, 56)
    maps[0, 0, 10, 20] = 5.0
    places, logits, probabilities = heatmaps_to_keypoints(maps, torch.tensor([box]))
    torch.testing.assert_close(places[0, 0], torch.tensor(place), rtol=0, atol=1e-4)
    if place == (120.5, 60.5):
        assert float(logits) == pytest.approx(5.0, abs=1e-5)
        assert float(probabilities) == pytest.approx(0.045201, abs=1e-6)


def test_nothing_to_decode() -> None:
    places, logits, probabilities = heatmaps_to_keypoints(torch.zeros(0, 17, 56, 56), torch.zeros(0, 4))
    assert places.shape == (0, 17, 2) and logits.shape == probabilities.shape == (0, 17)


@pytest.mark.parametrize(
    ("point", "visible", "cell"),
    [
        ((10.0, 20.0), True, 0),
        ((65.0, 131.0), True, 3135),  # on the far corner: the last cell
        ((37.4, 75.9), True, 1539),
        ((65.5, 100.0), True, 2295),  # the legacy box reaches to 66
        ((9.9, 50.0), True, None),
        ((30.0, 50.0), False, None),
        ((64.99, 130.9), True, 3134),
    ],
)
def test_cells_of_a_legacy_box(point, visible, cell) -> None:
    box = torch.tensor([[10.0, 20.0, 65.0, 131.0]])
    cells, counts = keypoints_to_cells(
        torch.tensor([[point]]), torch.tensor([[visible]]), box, size=56, inclusive=True
    )
    assert (int(cells) if counts else None) == cell


def test_cells_of_a_continuous_box() -> None:
    box = torch.tensor([[0.0, 0.0, 56.0, 112.0]])
    points = torch.tensor([[[0.5, 1.0], [56.0, 112.0], [56.1, 3.0], [-0.1, 3.0]]])
    cells, counts = keypoints_to_cells(points, torch.ones(1, 4, dtype=torch.bool), box, size=56)
    assert counts.tolist() == [[True, True, False, False]]
    assert cells[0, :2].tolist() == [0, 56 * 56 - 1]


def test_a_drawn_keypoint_is_found_again() -> None:
    boxes = torch.tensor([[5.0, 8.0, 61.0, 120.0], [100.0, 0.0, 128.0, 28.0]])
    points = boxes[:, None, :2] + torch.rand(2, 6, 2) * (boxes[:, None, 2:] - boxes[:, None, :2])
    cells, counts = keypoints_to_cells(points, torch.ones(2, 6, dtype=torch.bool), boxes, size=56)
    maps = torch.zeros(2, 6, 56 * 56).scatter(2, cells[..., None], 10.0).reshape(2, 6, 56, 56)
    places, _, _ = heatmaps_to_keypoints(maps, boxes)
    cell_sides = (boxes[:, 2:] - boxes[:, :2]) / 56
    assert counts.all() and ((places - points).abs() <= 1.01 * cell_sides[:, None]).all()
