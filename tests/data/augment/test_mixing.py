"""Pasting and mixing: against loops over pixels, by seeds alone, and with all that is annotated."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pagoda.data.augment.draws import below, between, happens
from pagoda.data.augment.geometry import cover_targets
from pagoda.data.augment.mixing import NO_TRACK, CopyPaste, Mixup, PasteSources
from pagoda.data.augment.transforms import Carry
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.loading import BatchPlan, Draw, TrainingView, make_loader
from pagoda.data.table.presence import presence_of
from pagoda.pictures.read import PictureError
from pagoda.structures.instances import Targets

pytestmark = pytest.mark.medium

SHAPES = DrawnShapes(12, image_size=(60, 80), seed=5)


def sources_of_one(label: int, num_classes: int = 4) -> PasteSources:
    """Always picture 0, always this class."""
    chances = np.zeros(num_classes)
    chances[label] = 1.0
    return PasteSources(tuple(np.zeros(1, dtype=np.int64) for _ in range(num_classes)), chances)


def random_targets(seed: int, count: int, size: tuple[int, int]) -> Targets:
    """Boxes anywhere, at parts of pixels; blotchy masks, keypoints also outside of the picture."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    ends = torch.rand(count, 2, 2, generator=generator) * torch.tensor([width, height])
    boxes = torch.cat([ends.amin(1), ends.amax(1)], 1)
    masks = torch.rand(count, height, width, generator=generator) < 0.4
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.tolist(), strict=True):
        mask &= (rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
    return Targets(
        boxes,
        torch.randint(0, 3, (count,), generator=generator),
        size,
        ignored=torch.rand(count, generator=generator) < 0.3,
        areas=torch.rand(count, generator=generator) * 50 + 1,
        masks=masks,
        keypoints=torch.rand(count, 2, 2, generator=generator) * 1.4 * torch.tensor([width, height]) - 2,
        visibility=torch.randint(0, 3, (count, 2), generator=generator),
        track_ids=torch.arange(count) + 3,
    )


def slowly_covered(targets: Targets, covered: Tensor, min_share: float) -> list[dict]:
    """`cover_targets`, object by object and pixel by pixel."""
    height, width = covered.shape
    left = []
    for k in range(len(targets)):
        x1, y1, x2, y2 = targets.boxes[k].tolist()
        mask = None if targets.masks is None else targets.masks[k].tolist()
        inside = [
            (y, x) for y in range(height) for x in range(width) if x1 <= x + 0.5 < x2 and y1 <= y + 0.5 < y2
        ]
        box_seen = [place for place in inside if not covered[place]]
        share = len(box_seen) / len(inside) if inside else 1.0
        box = [x1, y1, x2, y2]
        if mask is not None and share < 1:
            pixels = [(y, x) for y in range(height) for x in range(width) if mask[y][x]]
            seen = [place for place in pixels if not covered[place]]
            if pixels:
                share = len(seen) / len(pixels)
            if seen:
                rows, columns = [y for y, _ in seen], [x for _, x in seen]
                box = [
                    max(x1, min(columns)),
                    max(y1, min(rows)),
                    min(x2, max(columns) + 1),
                    min(y2, max(rows) + 1),
                ]
        is_wide = box[2] - box[0] >= 1 and box[3] - box[1] >= 1
        if share < 1 and not bool(targets.ignored[k]) and not (is_wide and share > 0 and share >= min_share):
            continue
        visibility = []
        for (x, y), v in zip(targets.keypoints[k].tolist(), targets.visibility[k].tolist(), strict=True):
            column, row = int(np.floor(x)), int(np.floor(y))
            is_hidden = 0 <= column < width and 0 <= row < height and bool(covered[row, column])
            visibility.append(min(v, 1) if is_hidden else v)
        left.append(
            {
                "box": box,
                "label": int(targets.labels[k]),
                "area": float(targets.areas[k]) * share,
                "visibility": visibility,
                "mask": None if mask is None else targets.masks[k] & ~covered,
                "track": int(targets.track_ids[k]),
            }
        )
    return left


@given(seed=st.integers(0, 10_000), count=st.integers(0, 5), has_masks=st.booleans(), share=st.floats(0, 1))
def test_what_is_covered_as_a_loop_over_pixels_says(
    seed: int, count: int, has_masks: bool, share: float
) -> None:
    targets = random_targets(seed, count, (9, 12))
    targets = targets if has_masks else replace(targets, masks=None)
    covered = torch.rand(9, 12, generator=torch.Generator().manual_seed(seed)) < share
    expected, found = slowly_covered(targets, covered, 0.3), cover_targets(targets, covered, 0.3)
    assert found.labels.tolist() == [each["label"] for each in expected]
    assert found.track_ids.tolist() == [each["track"] for each in expected]
    assert found.visibility.tolist() == [each["visibility"] for each in expected]
    for k, each in enumerate(expected):
        torch.testing.assert_close(found.areas[k], torch.tensor(each["area"]))
        if not found.ignored[k]:  # a region that is hidden as a whole has no edges of its own left
            torch.testing.assert_close(found.boxes[k], torch.tensor(each["box"], dtype=torch.float32))
        if has_masks:
            assert torch.equal(found.masks[k], each["mask"])


class OneObject:
    """A picture with a single object of class 2, coloured by place so that every pixel is its own."""

    def __init__(self, *, has_mask: bool, size: tuple[int, int] = (20, 30)) -> None:
        self.picture = (
            torch.arange(3 * size[0] * size[1]).remainder(200).add(20).to(torch.uint8).view(3, *size)
        )
        mask = torch.zeros(1, *size, dtype=torch.bool)
        mask[0, 6:12, 4:10] = True
        mask[0, 6, 4] = mask[0, 9, 7] = False
        self.mask = mask
        box, label, learnt = torch.tensor([[4.0, 6.0, 10.0, 12.0]]), torch.tensor([2]), torch.tensor([False])
        keypoints, visible = torch.tensor([[[5.5, 8.5], [9.5, 6.5]]]), torch.tensor([[2, 2]])
        self.targets = Targets(
            box, label, size, learnt, torch.tensor([36.0]), mask, keypoints, visible, torch.tensor([7])
        )
        self.targets = self.targets if has_mask else replace(self.targets, masks=None)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        return self.picture, self.targets


@pytest.mark.parametrize("has_mask", [True, False], ids=["mask", "box"])
@pytest.mark.parametrize("flip", [0.0, 1.0])
@given(seed=st.integers(0, 10_000))
def test_pasting_as_a_loop_over_pixels_does(has_mask: bool, flip: float, seed: int) -> None:
    """One object, not resized: its pixels, and nothing else, stand at the place that the seed draws."""
    data = OneObject(has_mask=has_mask)
    paste = CopyPaste(
        data, sources_of_one(2), p=1.0, max_count=1, low=1.0, high=1.0, flip=flip, pairs=((0, 1),)
    )
    base = torch.zeros(3, 20, 30, dtype=torch.uint8)
    torch.manual_seed(seed)
    canvas, targets = paste(base, Targets.empty((20, 30)))

    torch.manual_seed(seed)
    happens(1.0), sources_of_one(2).draw(), below(1), torch.randperm(1), between(1.0, 1.0), happens(flip)
    top, left = below(20 - 6 + 1), below(30 - 6 + 1)
    expected, mask = base.clone(), torch.zeros(20, 30, dtype=torch.bool)
    for row in range(6):
        for column in range(6):
            there = 5 - column if flip else column
            if not has_mask or data.mask[0, 6 + row, 4 + there]:
                expected[:, top + row, left + column] = data.picture[:, 6 + row, 4 + there]
                mask[top + row, left + column] = True
    assert torch.equal(canvas, expected) and not base.any()
    assert targets.boxes.tolist() == [[left, top, left + 6, top + 6]]
    assert (targets.labels.tolist(), targets.areas.tolist()) == ([2], [36.0])
    assert targets.track_ids.tolist() == [NO_TRACK]
    points = [[6 - 5.5, 0.5], [6 - 1.5, 2.5]] if flip else [[1.5, 2.5], [5.5, 0.5]]
    moved = torch.tensor([[[left + x, top + y] for x, y in points]])
    torch.testing.assert_close(targets.keypoints, moved)
    assert targets.visibility.tolist() == [[2, 2]]
    if has_mask:
        assert torch.equal(targets.masks[0], mask)


@pytest.mark.parametrize("has_mask", [True, False], ids=["mask", "box"])
@given(seed=st.integers(0, 10_000))
def test_later_objects_lie_over_earlier_ones(has_mask: bool, seed: int) -> None:
    """Up to 25 copies, pixel by pixel in their order; what is then left of each is counted."""
    data = OneObject(has_mask=has_mask)
    paste = CopyPaste(
        data, sources_of_one(2), p=1.0, max_count=25, low=1.0, high=1.0, flip=0.0, min_visible=0.5
    )
    torch.manual_seed(seed)
    canvas, targets = paste(torch.zeros(3, 20, 30, dtype=torch.uint8), Targets.empty((20, 30)))

    torch.manual_seed(seed)
    happens(1.0), sources_of_one(2).draw()
    count, _ = 1 + below(25), torch.randperm(1)
    owner = [[-1] * 30 for _ in range(20)]
    expected, places = torch.zeros(3, 20, 30, dtype=torch.uint8), []
    for number in range(count):
        between(1.0, 1.0), happens(0.0)
        top, left = below(20 - 6 + 1), below(30 - 6 + 1)
        places.append((top, left))
        for row in range(6):
            for column in range(6):
                if not has_mask or data.mask[0, 6 + row, 4 + column]:
                    owner[top + row][left + column] = number
                    expected[:, top + row, left + column] = data.picture[:, 6 + row, 4 + column]
    assert torch.equal(canvas, expected)
    boxes, areas = [], []
    for number, (top, left) in enumerate(places):
        seen = [(y, x) for y in range(20) for x in range(30) if owner[y][x] == number]
        if has_mask:
            share, rows, columns = len(seen) / 34, [y for y, _ in seen], [x for _, x in seen]
            box = [min(columns), min(rows), max(columns) + 1, max(rows) + 1] if seen else []
        else:
            share, box = len(seen) / 36, [left, top, left + 6, top + 6]
        if share >= 0.5:
            boxes.append(box)
            areas.append(36 * share)
    assert targets.boxes.tolist() == boxes
    torch.testing.assert_close(targets.areas, torch.tensor(areas))


@pytest.mark.parametrize("keeps", [True, False], ids=["masks", "boxes"])
def test_pasted_objects_are_seen_where_they_are_annotated(keeps: bool) -> None:
    """Of what is pasted in one colour onto black, the masks are exactly the coloured pixels."""
    carry = Carry(masks=keeps, keypoints=keeps)
    skeleton = SHAPES.label_map.skeleton
    pairs = None if skeleton is None else skeleton.flip_pairs
    paste = CopyPaste(
        SHAPES, PasteSources.of(SHAPES.annotations), p=1.0, min_visible=0.0, pairs=pairs, carry=carry
    )
    several = 0
    for seed in range(30):
        torch.manual_seed(seed)
        canvas, targets = paste(torch.zeros(3, 60, 80, dtype=torch.uint8), Targets.empty((60, 80)))
        several += len(targets) > 1
        changed = (canvas > 0).any(0)
        if keeps:
            assert torch.equal(targets.masks.sum(0) > 0, targets.masks.sum(0) == 1), (
                "nobody sees one pixel twice"
            )
            assert (changed & ~targets.masks.any(0)).sum() == 0
        else:
            assert targets.masks is None and targets.keypoints is None
        inside = torch.zeros_like(changed)
        for x1, y1, x2, y2 in targets.boxes.tolist():
            inside[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
        assert not (changed & ~inside).any()
    assert several > 10


def test_a_model_of_boxes_pastes_by_masks() -> None:
    data = OneObject(has_mask=True)
    paste = CopyPaste(data, sources_of_one(2), p=1.0, max_count=1, low=1.0, high=1.0, flip=0.0, carry=Carry())
    canvas, targets = paste(torch.zeros(3, 20, 30, dtype=torch.uint8), Targets.empty((20, 30)))
    assert (canvas[0] > 0).sum() == data.mask.sum() == 34 and targets.masks is None


def test_what_is_hidden_goes_and_crowds_stay() -> None:
    data = OneObject(has_mask=False, size=(20, 30))
    whole = torch.tensor([[0.0, 0.0, 6.0, 6.0]])
    base = Targets(
        whole.repeat(2, 1),
        torch.tensor([0, 1]),
        (6, 6),
        torch.tensor([False, True]),
        keypoints=torch.ones(2, 2, 2),
        visibility=torch.full((2, 2), 2),
        areas=torch.tensor([36.0, 36.0]),
        track_ids=torch.tensor([1, 2]),
    )
    paste = CopyPaste(data, sources_of_one(2), p=1.0, max_count=1, low=9.0, high=9.0, flip=0.0)
    _, targets = paste(
        torch.zeros(3, 6, 6, dtype=torch.uint8), base
    )  # as large as the frame: hides everything
    assert targets.labels.tolist() == [1, 2] and targets.ignored.tolist() == [True, False]
    assert targets.visibility.tolist() == [[1, 1], [2, 2]] and targets.track_ids.tolist() == [2, NO_TRACK]


def test_ignored_objects_are_not_pasted() -> None:
    data = OneObject(has_mask=False)
    data.targets = replace(data.targets, ignored=torch.tensor([True]))
    picture = torch.zeros(3, 20, 30, dtype=torch.uint8)
    canvas, targets = CopyPaste(data, sources_of_one(2), p=1.0)(picture, Targets.empty((20, 30)))
    assert len(targets) == 0 and not canvas.any()


@given(seed=st.integers(0, 10_000), index=st.integers(0, 11))
def test_mixup_as_a_loop_over_pixels_does(seed: int, index: int) -> None:
    """Pictures of one size: the same share everywhere, all objects of both, the first one's names."""
    picture, targets = SHAPES[index]
    torch.manual_seed(seed)
    mixed, both = Mixup(SHAPES, p=1.0)(picture, targets)
    torch.manual_seed(seed)
    happens(1.0)
    other, theirs = SHAPES[below(len(SHAPES))]
    share = torch.distributions.Beta(8.0, 8.0).sample().item()
    for row, column in ((0, 0), (17, 40), (59, 79)):
        for channel in range(3):
            value = int(picture[channel, row, column]) * share + int(other[channel, row, column]) * (
                1 - share
            )
            assert abs(int(mixed[channel, row, column]) - value) <= 0.501
    assert torch.equal(both.boxes, torch.cat([targets.boxes, theirs.boxes]))
    assert torch.equal(both.labels, torch.cat([targets.labels, theirs.labels]))
    assert torch.equal(both.ignored, torch.cat([targets.ignored, theirs.ignored]))
    if len(both):
        assert torch.equal(both.masks, torch.cat([targets.masks, theirs.masks]))
    assert (both.image_id, both.file) == (targets.image_id, targets.file)


def test_mixup_fits_the_other_picture_into_the_frame() -> None:
    data = OneObject(has_mask=True, size=(20, 30))
    black = torch.zeros(3, 10, 30, dtype=torch.uint8)
    mixed, targets = Mixup(data, p=1.0)(black, Targets.empty((10, 30)))
    assert mixed[:, :, :15].any() and not mixed[:, :, 15:].any()
    assert targets.boxes.tolist() == [[2.0, 3.0, 5.0, 6.0]] and targets.masks.shape == (1, 10, 30)
    assert targets.track_ids.tolist() == [NO_TRACK]


def both(p: float = 0.7) -> list[CopyPaste | Mixup]:
    skeleton = SHAPES.label_map.skeleton
    pairs = () if skeleton is None else skeleton.flip_pairs
    return [
        CopyPaste(SHAPES, PasteSources.of(SHAPES.annotations, rare=True), p=p, pairs=pairs),
        Mixup(SHAPES, p=p),
    ]


def assert_same(one: Targets, other: Targets) -> None:
    for name in (field.name for field in fields(Targets)):
        a, b = getattr(one, name), getattr(other, name)
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b, name


@pytest.mark.parametrize("step", both(), ids=["paste", "mixup"])
def test_equal_seeds_give_equal_samples_in_any_process(step: CopyPaste | Mixup) -> None:
    view, plan = TrainingView(SHAPES, step), BatchPlan(images=len(SHAPES), batch_size=4, seed=3)
    copy = pickle.loads(pickle.dumps(view))
    batches = plan.epoch(0)
    alone = list(make_loader(view, batches))
    for others in (list(make_loader(copy, batches, num_workers=2)), list(make_loader(view, batches))):
        for a, b in zip(alone, others, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a.pictures, b.pictures, strict=True))
            for x, y in zip(a.targets, b.targets, strict=True):
                assert_same(x, y)
    first, second = view[Draw(0, 1)], view[Draw(0, 2)]
    assert not torch.equal(first.picture, second.picture)


@pytest.mark.parametrize("step", both(0.0), ids=["paste", "mixup"])
def test_nothing_happens_at_zero(step: CopyPaste | Mixup) -> None:
    picture, targets = SHAPES[1]
    assert step(picture, targets)[0] is picture and step(picture, targets)[1] is targets


@pytest.mark.parametrize("step", both(1.0), ids=["paste", "mixup"])
def test_what_is_given_is_not_written_into(step: CopyPaste | Mixup) -> None:
    picture, targets = SHAPES[2]
    kept = picture.clone(), targets.boxes.clone(), targets.masks.clone()
    for seed in range(5):
        torch.manual_seed(seed)
        step(picture, targets)
    assert torch.equal(picture, kept[0]) and torch.equal(targets.boxes, kept[1])
    assert torch.equal(targets.masks, kept[2])


def test_a_picture_that_cannot_be_read_is_named() -> None:
    class Broken(OneObject):
        def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
            raise PictureError("cannot read other.jpg")

    for step in (
        CopyPaste(Broken(has_mask=True), sources_of_one(2), p=1.0),
        Mixup(Broken(has_mask=True), p=1.0),
    ):
        skipped = TrainingView(SHAPES, step)[Draw(1, 1)]
        assert skipped.reason == "cannot read other.jpg"


def test_rare_classes_are_drawn_in_inverse_proportion() -> None:
    rows = presence_of(SHAPES.annotations)
    counts = np.bincount(rows.labels, weights=rows.counts, minlength=3)
    often, rarely = (PasteSources.of(SHAPES.annotations, rare=rare).chances for rare in (False, True))
    np.testing.assert_allclose(often, counts / counts.sum())
    np.testing.assert_allclose(rarely * counts, np.full(3, (rarely * counts)[0]))
    torch.manual_seed(0)
    sources = PasteSources.of(SHAPES.annotations, classes=["circle", "triangle"], rare=True)
    drawn = [sources.draw() for _ in range(600)]
    shares = np.bincount([label for _, label in drawn], minlength=3) / 600
    np.testing.assert_allclose(shares, sources.chances, atol=0.06)
    for picture, label in drawn:
        targets = SHAPES.targets(picture)
        assert label in targets.labels[~targets.ignored].tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: PasteSources.of(SHAPES.annotations, classes=["cirle"]),
            r"class 'cirle', not one of .*; did you mean 'circle'\?",
        ),
        (lambda: PasteSources.of(DrawnShapes(2, empty_share=1.0).annotations), "there is nothing to paste"),
        (lambda: CopyPaste(SHAPES, sources_of_one(0), max_count=0), "max_count must be at least 1, got 0"),
        (lambda: Mixup(SHAPES, alpha=0.0), "must be above 0, got 0"),
        (lambda: Mixup(SHAPES, p=1.5)(*SHAPES[0]), "p is a probability, 0 … 1, got 1.5"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
