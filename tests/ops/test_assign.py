"""Who learns what: one worked picture in the style of every source, plain loops, and corner cases.

The picture has 320 × 256 pixels (width × height) and three objects; each published program was run on it.
"""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from pagoda.ops.anchors import cell_anchors, cell_points, grid_anchors
from pagoda.ops.assign import BACKGROUND, IGNORED, assign_by_center, assign_by_iou
from pagoda.ops.box_coding import encode_boxes
from pagoda.ops.boxes import boxes_to_ltrb, pairwise_iou
from pagoda.ops.losses import centerness, ltrb_iou_loss, sigmoid_focal_loss

STRIDES = (8, 16, 32, 64, 128)
GRIDS = [(32, 40), (16, 20), (8, 10), (4, 5), (2, 3)]
LEVELS = [h * w for h, w in GRIDS]
LEGACY = tensor([[20.0, 30, 119, 109], [60, 50, 299, 239], [200, 20, 230, 60]])  # corners are pixel indices
BOXES = LEGACY + tensor([0.0, 0, 1, 1])  # the same in continuous coordinates
CLASSES = [3, 7, 1]
ORIGINAL_RANGES = [(-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8)]
OPEN_RANGES = [(0, 64), (64, 128), (128, 256), (256, 512), (512, float("inf"))]
FRESH_LOGIT = -4.59511985


def places(offset: float, ranges) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    points = [cell_points(grid, stride, offset=offset) for grid, stride in zip(GRIDS, STRIDES, strict=True)]
    strides = [torch.full((count,), float(stride)) for count, stride in zip(LEVELS, STRIDES, strict=True)]
    rows = [tensor([row], dtype=torch.float32).expand(n, 2) for n, row in zip(LEVELS, ranges, strict=True)]
    return torch.cat(points), torch.cat(strides), torch.cat(rows)


def per_level(index: torch.Tensor, classes: int) -> list[dict[int, int]]:
    """For each level how many places serve each class (classes without any left out)."""
    counts = [{CLASSES[n]: int((part == n).sum()) for n in range(3)} for part in index.split(classes)]
    return [{name: count for name, count in level.items() if count} for level in counts]


def focal_sum(index: torch.Tensor, classes: int = 80) -> torch.Tensor:
    targets = torch.zeros(len(index), classes)
    positive = index >= 0
    targets[positive, tensor(CLASSES)[index[positive]]] = 1
    targets = targets[index != IGNORED]
    return sigmoid_focal_loss(torch.full_like(targets, FRESH_LOGIT), targets).double().sum()


class TestCentersOfTheWorkedPicture:
    def test_original(self):
        points, strides, ranges = places(0.5, ORIGINAL_RANGES)
        index = assign_by_center(
            points, strides, ranges, LEGACY, radius=None, closed_ranges=True, inclusive=True
        )
        assert per_level(index, LEVELS) == [{3: 24, 1: 16}, {3: 24, 7: 4}, {7: 32}, {}, {}]
        positive = index >= 0
        targets = boxes_to_ltrb(points[positive], LEGACY[index[positive]])
        weight = centerness(targets)
        assert weight.sum().item() == pytest.approx(41.9618034, rel=1e-6)
        assert (focal_sum(index) / 100).item() == pytest.approx(1.12940943, rel=1e-6)
        loss = ltrb_iou_loss(torch.full_like(targets, 16.0), targets, kind="iou", smoothing=1.0)
        assert ((loss * weight).sum() / weight.sum()).item() == pytest.approx(2.50504255, rel=1e-6)

    def test_improved(self):
        points, strides, ranges = places(0.5, ORIGINAL_RANGES)
        index = assign_by_center(
            points, strides, ranges, LEGACY, radius=1.5, closed_ranges=True, inclusive=True
        )
        assert per_level(index, LEVELS) == [{3: 9, 1: 6}, {3: 3, 7: 3}, {7: 6}, {}, {}]
        positive = index >= 0
        targets = boxes_to_ltrb(points[positive], LEGACY[index[positive]]) / strides[positive, None]
        weight = centerness(targets)
        assert weight.sum().item() == pytest.approx(17.7279491, rel=1e-6)
        assert (focal_sum(index) / 27).item() == pytest.approx(1.13219118, rel=1e-6)
        loss = ltrb_iou_loss(torch.ones_like(targets), targets, kind="giou", smoothing=1.0)
        assert ((loss * weight).sum() / weight.sum()).item() == pytest.approx(0.90387172, rel=1e-6)

    @pytest.mark.parametrize(
        ("stride", "point", "name", "ltrb", "quality"),
        [
            (8, (204, 36), 1, (0.5, 2, 3.25, 3), 0.320256),
            (8, (68, 68), 3, (6, 4.75, 6.375, 5.125), 0.933975),
            (16, (184, 152), 7, (7.75, 6.375, 7.1875, 5.4375), 0.889401),
            (32, (208, 144), 7, (4.625, 2.9375, 2.84375, 2.96875), 0.779995),
        ],
    )
    def test_probes_of_improved(self, stride, point, name, ltrb, quality):
        points, strides, ranges = places(0.5, ORIGINAL_RANGES)
        index = assign_by_center(points, strides, ranges, LEGACY, closed_ranges=True, inclusive=True)
        (row,) = ((points == tensor(point)).all(1) & (strides == stride)).nonzero().flatten().tolist()
        assert CLASSES[index[row]] == name
        targets = boxes_to_ltrb(points[row], LEGACY[index[row]]) / stride
        assert targets.tolist() == list(ltrb)
        assert centerness(targets[None]).item() == pytest.approx(quality, abs=1e-6)

    def test_torchvision(self):
        index = assign_by_center(*places(0.0, OPEN_RANGES), BOXES)
        assert per_level(index, LEVELS) == [{3: 9, 1: 9}, {3: 3, 7: 3}, {7: 9}, {}, {}]


def plain_centers(points, strides, ranges, boxes, radius, closed, inclusive) -> list[int]:
    """Slow twin: every location asks every box."""
    extra = 1 if inclusive else 0
    chosen = []
    for (x, y), stride, (low, high) in zip(points.tolist(), strides.tolist(), ranges.tolist(), strict=True):
        best, best_area = BACKGROUND, float("inf")
        for number, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            sides = (x - x1, y - y1, x2 - x, y2 - y)
            if min(sides) <= 0:
                continue
            if radius is not None:
                away = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
                if away >= radius * stride:
                    continue
            in_range = low <= max(sides) <= high if closed else low < max(sides) < high
            area = (x2 - x1 + extra) * (y2 - y1 + extra)
            if in_range and area < best_area:
                best, best_area = number, area
        chosen.append(best)
    return chosen


@given(
    seed=st.integers(0, 10_000),
    radius=st.sampled_from([None, 1.5]),
    closed=st.booleans(),
    inclusive=st.booleans(),
)
def test_centers_equal_the_plain_loop(seed, radius, closed, inclusive):
    # Whole even numbers, so that ties of distance, range and area really happen.
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 40, (6, 2), generator=generator) * 2
    sides = torch.randint(1, 40, (6, 2), generator=generator) * 2
    boxes = torch.cat([corner, corner + sides], dim=1).float()
    points = torch.cat([cell_points((8, 8), 16), cell_points((4, 4), 32)])
    strides = tensor([16.0] * 64 + [32.0] * 16)
    ranges = tensor([[-1.0, 40.0]] * 64 + [[40.0, 1e8]] * 16)
    expected = plain_centers(points, strides, ranges, boxes, radius, closed, inclusive)
    index = assign_by_center(
        points, strides, ranges, boxes, radius=radius, closed_ranges=closed, inclusive=inclusive
    )
    assert index.tolist() == expected


def test_a_distance_on_the_border_of_two_ranges():
    points, strides = tensor([[64.0, 64.0]] * 2), tensor([8.0, 16.0])
    ranges, box = tensor([[-1.0, 64.0], [64.0, 128.0]]), tensor([[0.0, 0.0, 128.0, 128.0]])
    both = assign_by_center(points, strides, ranges, box, closed_ranges=True)
    neither = assign_by_center(points, strides, ranges, box, closed_ranges=False)
    assert both.tolist() == [0, 0] and neither.tolist() == [BACKGROUND, BACKGROUND]


def test_of_equal_areas_the_first_wins():
    point, stride, everything = tensor([[10.0, 10.0]]), tensor([8.0]), tensor([[-1.0, 1e8]])
    boxes = tensor([[0.0, 0.0, 30.0, 30.0], [2.0, 2.0, 22.0, 22.0], [1.0, 1.0, 21.0, 21.0]])
    assert assign_by_center(point, stride, everything, boxes).tolist() == [1]


STYLES = {  # style: (boxes, options, positives per level, ignored)
    "maskrcnn_benchmark": (LEGACY, {"inclusive": True}, [18, 35, 26, 5, 0], 190),
    "torchvision": (BOXES, {}, [22, 30, 30, 6, 0], 187),
    "detectron2": (BOXES, {}, [16, 32, 31, 6, 0], 190),
    # The source ignores 182: three anchors overlap by exactly .4 and rounding in double precision drops two.
    "bubbliiiing": (BOXES, {"match_low_quality": "none"}, [17, 34, 27, 5, 0], 184),
}


def laid_out(style: str) -> torch.Tensor:
    grids = []
    for grid, stride in zip(GRIDS, STRIDES, strict=True):
        step = (256 // grid[0], 320 // grid[1]) if style == "torchvision" else stride
        grids.append(grid_anchors(cell_anchors(stride, style=style), grid, step))
    return torch.cat(grids)


class TestAnchorsOfTheWorkedPicture:
    @pytest.mark.parametrize("style", STYLES)
    def test_counts(self, style):
        boxes, options, positives, ignored = STYLES[style]
        index = assign_by_iou(laid_out(style), boxes, **options)
        assert len(index) == 15_354
        assert [int((part >= 0).sum()) for part in index.split([9 * n for n in LEVELS])] == positives
        assert int((index == IGNORED).sum()) == ignored

    def test_the_two_that_rounding_decides(self):
        best = pairwise_iou(laid_out("bubbliiiing").double(), BOXES.double()).amax(1)
        assert int(((best - 0.4).abs() < 1e-9).sum()) == 3
        assert int(((best > 0.4 + 1e-9) & (best < 0.5)).sum()) == 181

    def test_first_losses_of_maskrcnn_benchmark(self):
        anchors = laid_out("maskrcnn_benchmark")
        index = assign_by_iou(anchors, LEGACY, inclusive=True)
        assert (focal_sum(index) / (84 + 1)).item() == pytest.approx(1.12586343, rel=1e-6)
        positive = index >= 0
        deltas = encode_boxes(
            LEGACY[index[positive]], anchors[positive], weights=(10.0, 10.0, 5.0, 5.0), inclusive=True
        )
        loss = torch.nn.functional.smooth_l1_loss(
            torch.zeros_like(deltas), deltas, beta=0.11, reduction="sum"
        )
        assert (loss / (4 * 84)).item() == pytest.approx(0.98063415, rel=1e-6)

    def test_first_losses_of_detectron2(self):
        anchors = laid_out("detectron2")
        index = assign_by_iou(anchors, BOXES)
        assert focal_sum(index).item() == pytest.approx(96.8267975, rel=1e-6)
        positive = index >= 0
        deltas = encode_boxes(BOXES[index[positive]], anchors[positive])
        assert deltas.abs().sum().item() == pytest.approx(52.4856606, rel=1e-6)

    def test_first_losses_of_torchvision(self):
        anchors = laid_out("torchvision")
        index = assign_by_iou(anchors, BOXES)
        assert (focal_sum(index, classes=91) / 88).item() == pytest.approx(1.14020264, rel=1e-6)
        positive = index >= 0
        deltas = encode_boxes(BOXES[index[positive]], anchors[positive])
        assert (deltas.abs().sum() / 88).item() == pytest.approx(0.62049448, rel=1e-6)


def test_a_tiny_object_lives_by_low_quality_matches():
    anchors, tiny = laid_out("detectron2"), tensor([[100.0, 100, 106, 106]])
    iou = pairwise_iou(anchors, tiny)[:, 0]
    assert iou.max().item() == pytest.approx(0.03515626, abs=1e-7)
    assert int((assign_by_iou(anchors, tiny) >= 0).sum()) == 8
    for rule in ("above_low", "none"):
        assert (assign_by_iou(anchors, tiny, match_low_quality=rule) == BACKGROUND).all()


def plain_matches(anchors, boxes, low: float, high: float, rule: str) -> list[int]:
    """Slow twin: each anchor takes its best object; then the best anchors of every object are given back."""
    iou = pairwise_iou(anchors, boxes).tolist()
    best = [max(range(len(boxes)), key=lambda n, row=row: row[n]) for row in iou]
    chosen = []
    for row, own in zip(iou, best, strict=True):
        chosen.append(own if row[own] >= high else IGNORED if row[own] >= low else BACKGROUND)
    for number in range(len(boxes)):
        record = max(row[number] for row in iou)
        for anchor, row in enumerate(iou):
            deserves = rule == "all" or (rule == "above_low" and row[best[anchor]] >= low)
            if record > 0 and row[number] == record and deserves:
                chosen[anchor] = best[anchor]
    return chosen


@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["all", "above_low", "none"]))
def test_matches_equal_the_plain_loop(seed, rule):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 96, (5, 2), generator=generator).float()
    boxes = torch.cat([corner, corner + torch.randint(1, 64, (5, 2), generator=generator)], dim=1)
    anchors = grid_anchors(cell_anchors(16, base_scale=2.0, octaves=1), (6, 6), 16)
    index = assign_by_iou(anchors, boxes, match_low_quality=rule)
    assert index.tolist() == plain_matches(anchors, boxes, 0.4, 0.5, rule)


def test_above_low_keeps_only_what_reaches_low():
    anchors = tensor([[0.0, 0, 10, 10], [40.0, 40, 50, 50]])
    boxes = tensor([[0.0, 0, 10, 4.5], [40.0, 40, 50, 42]])  # best overlaps .45 and .2
    assert assign_by_iou(anchors, boxes, match_low_quality="all").tolist() == [0, 1]
    assert assign_by_iou(anchors, boxes, match_low_quality="above_low").tolist() == [0, BACKGROUND]
    assert assign_by_iou(anchors, boxes, match_low_quality="none").tolist() == [IGNORED, BACKGROUND]


def test_an_object_that_touches_no_anchor_claims_none():
    index = assign_by_iou(tensor([[0.0, 0, 10, 10]]), tensor([[500.0, 500, 510, 510]]))
    assert index.tolist() == [BACKGROUND]


def test_without_objects_all_is_background():
    none = torch.zeros(0, 4)
    by_center = assign_by_center(*places(0.5, ORIGINAL_RANGES), none)
    by_iou = assign_by_iou(laid_out("detectron2"), none)
    assert len(by_center) == 1_706 and (by_center == BACKGROUND).all()
    assert len(by_iou) == 15_354 and (by_iou == BACKGROUND).all()


def test_without_places_nothing_is_assigned():
    none = torch.zeros(0, 4)
    assert assign_by_iou(none, BOXES).shape == (0,)
    assert assign_by_center(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, 2), BOXES).shape == (0,)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_order_of_objects_is_irrelevant(order):
    # Negative answers index from the end: -2 finds IGNORED, -1 finds BACKGROUND.
    original = tensor([*order, IGNORED, BACKGROUND])
    places_of_cells, anchors = places(0.5, ORIGINAL_RANGES), laid_out("detectron2")
    by_center = assign_by_center(*places_of_cells, BOXES[order])
    by_iou = assign_by_iou(anchors, BOXES[order])
    assert torch.equal(original[by_center], assign_by_center(*places_of_cells, BOXES))
    assert torch.equal(original[by_iou], assign_by_iou(anchors, BOXES))


def test_claims_may_need_an_overlap() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])
    boxes = torch.tensor([[0.0, 0, 9, 9], [28, 28, 38, 38]])  # the second overlaps its best anchor by .02
    rule = partial(assign_by_iou, anchors, boxes, background_iou=0.3, foreground_iou=0.7)
    assert rule(match_low_quality="claim").tolist() == [0, 1, BACKGROUND]
    assert rule(match_low_quality="claim_above_low").tolist() == [0, BACKGROUND, BACKGROUND]
    low = torch.tensor([[0.0, 0, 6, 8], [28, 28, 38, 38]])  # .48 of the first anchor: neither high nor low
    found = assign_by_iou(
        anchors, low, background_iou=0.3, foreground_iou=0.7, match_low_quality="claim_above_low"
    )
    assert found.tolist() == [0, BACKGROUND, BACKGROUND]
