"""Every transform moves picture, boxes, masks, keypoints and areas together, and nothing else."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pagoda.data.augment.transforms import (
    Compose,
    HorizontalFlip,
    JitteredResize,
    Mosaic,
    PhotometricDistort,
    RandomIoUCrop,
    Resize,
    ScaleJitter,
    Transform,
    VerticalFlip,
    ZoomOut,
)
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Targets

pytestmark = pytest.mark.medium

PAIRS = ((1, 2),)


def drawn_sample(seed: int, count: int = 4, size: tuple[int, int] = (90, 120)) -> tuple[Tensor, Targets]:
    """Bright rectangles on black, with every field filled. Each third label is ignored."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    start = torch.rand(count, 2, generator=generator) * torch.tensor([width - 40.0, height - 40.0])
    sides = 10 + torch.rand(count, 2, generator=generator) * 30
    boxes = torch.cat([start, start + sides], 1).floor()
    masks = torch.zeros(count, height, width, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    places = torch.rand(count, 3, 2, generator=generator)
    labels = torch.arange(count) + 10 * seed
    targets = Targets(
        boxes,
        labels,
        size,
        ignored=labels % 3 == 0,
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        masks=masks,
        keypoints=boxes[:, None, :2] + places * (boxes[:, None, 2:] - boxes[:, None, :2]),
        visibility=torch.full((count, 3), 2),
        image_id=seed,
        file=f"{seed}.png",
    )
    bright = masks.any(0).to(torch.uint8) * 200
    return bright.repeat(3, 1, 1), targets


class DrawnSamples:
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        return drawn_sample(index, count=index)


GEOMETRIC: dict[str, Transform] = {
    "resize": Resize(50, 70),
    "enlarge": Resize(160, 400),
    "horizontal": HorizontalFlip(1.0, PAIRS),
    "vertical": VerticalFlip(1.0, PAIRS),
    "jitter": ScaleJitter((80, 100), 0.4, 3.0),
    "jittered": JitteredResize(90, 120, 0.5, 2.0),
    "stretched": ScaleJitter((80, 100), 0.4, 3.0, stretch=True),
    "zoom_out": ZoomOut(1.0),
    "crop": RandomIoUCrop(),
    "mosaic": Mosaic(DrawnSamples(), (100, 130), p=1.0),
    "all": Compose(
        [Mosaic(DrawnSamples(), (96, 96)), RandomIoUCrop(), HorizontalFlip(0.5, PAIRS), ScaleJitter((64, 64))]
    ),
}
each_geometric = pytest.mark.parametrize("transform", GEOMETRIC.values(), ids=GEOMETRIC)


def outcomes(transform: Transform) -> list[tuple[Tensor, Targets]]:
    results = []
    for seed in range(12):
        torch.manual_seed(seed)
        results.append(transform(*drawn_sample(seed)))
    assert sum(len(targets) for _, targets in results) >= 12, "too little left to prove anything"
    return results


def tensors(targets: Targets) -> dict[str, Tensor]:
    return {f.name: v for f in fields(targets) if isinstance(v := getattr(targets, f.name), Tensor)}


def same(a: tuple[Tensor, Targets], b: tuple[Tensor, Targets]) -> bool:
    one, other = tensors(a[1]), tensors(b[1])
    return (
        torch.equal(a[0], b[0])
        and one.keys() == other.keys()
        and all(torch.equal(one[k], other[k]) for k in one)
    )


@each_geometric
def test_boxes_surround_their_masks(transform: Transform) -> None:
    for _, targets in outcomes(transform):
        for mask, box in zip(targets.masks, targets.boxes, strict=True):
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            around = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            torch.testing.assert_close(box, around.float(), rtol=0, atol=1.0)


@each_geometric
def test_masks_lie_on_what_the_picture_shows(transform: Transform) -> None:
    for picture, targets in outcomes(transform):
        frame = (picture.shape[1], picture.shape[2])
        assert picture.dtype == torch.uint8 and picture.shape[0] == 3
        assert targets.image_size == frame and targets.masks.shape[1:] == frame
        assert targets.masks.dtype == torch.bool
        bright = picture[0].float() > 50
        for mask in targets.masks:
            assert bright[mask].float().mean() > 0.9


@each_geometric
def test_objects_keep_their_fields_together(transform: Transform) -> None:
    for seed, (_, targets) in enumerate(outcomes(transform)):
        assert torch.equal(targets.ignored, targets.labels % 3 == 0)
        assert (targets.image_id, targets.file) == (seed, f"{seed}.png")
        height, width = targets.image_size
        assert (targets.boxes >= 0).all() and (targets.boxes <= torch.tensor([width, height] * 2)).all()
        sides = targets.boxes[:, 2:] - targets.boxes[:, :2]
        assert (sides >= 1).all()
        # areas were those of the boxes; masks are cut at whole pixels
        assert ((targets.areas - sides.prod(1)).abs() <= 2 * sides.sum(1) + 1).all()


@each_geometric
def test_keypoints_stay_in_their_boxes(transform: Transform) -> None:
    for _, targets in outcomes(transform):
        low, high = targets.boxes[:, None, :2] - 1, targets.boxes[:, None, 2:] + 1
        inside = ((targets.keypoints >= low) & (targets.keypoints <= high)).all(-1)
        assert inside[targets.visibility > 0].all()


def test_boxes_may_ignore_their_masks() -> None:
    """Cut masks then leave their boxes where the window ends, and nothing else changes."""
    picture, targets = drawn_sample(3, 6)
    masks = targets.masks.clone()
    masks[:, :, ::2] = False  # half of the object: the box around the rest would be narrower
    targets = replace(targets, masks=masks)
    makers = (
        lambda **option: JitteredResize(90, 120, 1.5, 2.0, **option),
        lambda **option: ScaleJitter((80, 100), 1.5, 2.0, **option),
        lambda **option: RandomIoUCrop(min_ious=(0.0,), **option),
    )
    for make in makers:
        for seed in range(5):
            outcome = {}
            for follows in (True, False):
                torch.manual_seed(seed)
                outcome[follows] = make(boxes_from_masks=follows)(picture, targets)[1]
            tight, plain = outcome[True], outcome[False]
            torch.manual_seed(seed)
            bare = replace(targets, masks=None, areas=None)
            alone = make()(picture, bare)[1]
            by_label = dict(zip(alone.labels.tolist(), alone.boxes, strict=True))
            for label, box in zip(plain.labels.tolist(), plain.boxes, strict=True):
                assert torch.equal(box, by_label[label])
            by_label = dict(zip(plain.labels.tolist(), plain.boxes, strict=True))
            for label, box in zip(tight.labels.tolist(), tight.boxes, strict=True):
                assert (box[:2] >= by_label[label][:2]).all() and (box[2:] <= by_label[label][2:]).all()


@given(seed=st.integers(0, 10_000), count=st.integers(0, 6))
def test_masks_boxes_and_keypoints_move_as_one(seed: int, count: int) -> None:
    """A keypoint on a mask stays on it, a labelled one in the picture, whatever is chained."""
    picture, targets = drawn_sample(seed, count, (90, 120))
    middle = (targets.boxes[:, None, :2] + targets.boxes[:, None, 2:]) / 2
    targets = replace(targets, keypoints=middle.repeat(1, 3, 1).clone())
    torch.manual_seed(seed)
    _, moved = GEOMETRIC["all"](picture, targets)
    height, width = moved.image_size
    for mask, points, visible in zip(moved.masks, moved.keypoints, moved.visibility, strict=True):
        for x, y in points[visible > 0].tolist():
            assert 0 <= x <= width and 0 <= y <= height
            column, row = min(int(x), width - 1), min(int(y), height - 1)
            around = mask[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            assert around.any()


@pytest.mark.parametrize("name", [name for name in GEOMETRIC if name not in ("mosaic", "all")])
def test_unlabelled_keypoints_stay_unlabelled(name: str) -> None:
    for seed in range(5):
        picture, targets = drawn_sample(seed)
        hidden = replace(targets, visibility=torch.zeros_like(targets.visibility))
        torch.manual_seed(seed)
        assert (GEOMETRIC[name](picture, hidden)[1].visibility == 0).all()


@pytest.mark.parametrize("name", [name for name in GEOMETRIC if name != "all"])
def test_nothing_in_nothing_out(name: str) -> None:
    picture = torch.zeros(3, 90, 120, dtype=torch.uint8)
    without_fields, with_fields = Targets.empty((90, 120)), drawn_sample(0)[1][:0]
    for empty in (without_fields, with_fields):
        transform = Mosaic([(picture, empty)], (100, 130), p=1.0) if name == "mosaic" else GEOMETRIC[name]
        moved_picture, moved = transform(picture, empty)
        assert len(moved) == 0 and moved.image_size == tuple(moved_picture.shape[1:])
        assert tensors(moved).keys() == tensors(empty).keys()


@each_geometric
def test_the_seed_decides_and_the_input_stays(transform: Transform) -> None:
    given_sample, untouched = drawn_sample(3), drawn_sample(3)
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(transform(*given_sample))
    assert same(*results)
    assert same(given_sample, untouched)


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 6),
    height=st.integers(42, 90),
    width=st.integers(42, 90),
)
def test_flipping_twice_changes_nothing(seed: int, count: int, height: int, width: int) -> None:
    picture, targets = drawn_sample(seed, count, (height, width))
    for flip in (HorizontalFlip(1.0, PAIRS), VerticalFlip(1.0, PAIRS)):
        twice, moved = Compose([flip, flip])(picture, targets)
        assert torch.equal(twice, picture)
        for name, value in tensors(moved).items():
            torch.testing.assert_close(value, tensors(targets)[name], rtol=0, atol=1e-4)


@given(height=st.integers(1, 700), width=st.integers(1, 700))
def test_resize_agrees_with_the_model_input(height: int, width: int) -> None:
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    resized, _ = Resize(80, 133)(picture, Targets.empty((height, width)))
    assert tuple(resized.shape[1:]) == InputSpec(short_side=80, long_side=133).resized((height, width))


def test_probabilities() -> None:
    sample = drawn_sample(0)
    for never in (HorizontalFlip(0.0), VerticalFlip(0.0), RandomIoUCrop(0.0), Mosaic([sample], (9, 9), 0.0)):
        assert same(never(*sample), sample)
    flipped = sum(not torch.equal(HorizontalFlip(0.3, PAIRS)(*sample)[0], sample[0]) for _ in range(400))
    assert 80 < flipped < 160
    for wrong in (HorizontalFlip(50), PhotometricDistort(-0.1)):
        with pytest.raises(ValueError, match=r"p is a probability, 0 … 1, got"):
            wrong(*sample)


def test_jitter_pads_small_and_crops_large() -> None:
    picture, targets = drawn_sample(1, size=(60, 60))
    small, few = ScaleJitter((100, 200), 0.5, 0.5, fill=7)(picture, targets)
    assert small.shape == (3, 100, 200)
    assert (
        (small[:, 50:] == 7).all() and (small[:, :, 50:] == 7).all() and not (small[:, :50, :50] == 7).all()
    )
    assert len(few) == len(targets)
    torch.testing.assert_close(few.boxes, targets.boxes * (50 / 60))
    corners = set()
    for _ in range(20):
        large, _ = ScaleJitter((60, 60), 3.0, 3.0, fill=7)(picture, targets)
        assert large.shape == (3, 60, 60)
        corners.add(large.float().mean().item())
    assert len(corners) > 5, "crops should come from different places"


def test_iou_crop_keeps_an_object_that_fills_the_crop() -> None:
    picture = torch.full((3, 200, 200), 200, dtype=torch.uint8)
    whole = torch.tensor([[0.0, 0.0, 200.0, 200.0]])
    targets = Targets(whole, torch.zeros(1, dtype=torch.long), (200, 200), torch.zeros(1, dtype=torch.bool))
    crop = RandomIoUCrop(min_ious=(0.0,) * 20, max_scale=0.31)  # sees 9 % of the object and nothing else
    sizes = set()
    for _ in range(20):
        _, cropped = crop(picture, targets)
        height, width = cropped.image_size
        assert cropped.boxes.tolist() == [[0, 0, width, height]]
        sizes.add((height, width))
    assert len(sizes) > 1


def test_iou_crop_goes_by_centres_and_keeps_ignored_regions() -> None:
    crops, sliced = 0, 0
    for seed in range(60):
        picture, targets = drawn_sample(seed, count=6)
        x_of = {
            label: (box[0] + box[2]) / 2
            for label, box in zip(targets.labels.tolist(), targets.boxes, strict=True)
        }
        # a ramp tells where the crop was taken
        picture[0] = torch.arange(120, dtype=torch.uint8).expand(90, 120)
        cropped, left = RandomIoUCrop()(picture, targets)
        crops += cropped.shape != picture.shape
        first, last = int(cropped[0].min()), int(cropped[0].max()) + 1
        for label, ignored in zip(left.labels.tolist(), left.ignored.tolist(), strict=True):
            assert ignored or first < x_of[label] < last
            sliced += ignored and not first < x_of[label] < last
    assert crops > 20 and sliced > 0


def test_iou_crop_leaves_pictures_it_cannot_crop() -> None:
    picture, targets = drawn_sample(0)
    crowd = replace(targets, ignored=torch.ones(len(targets), dtype=torch.bool))
    assert RandomIoUCrop()(picture, crowd)[0] is picture
    tiny = Targets(
        torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.zeros(1), (2, 2), torch.zeros(1, dtype=torch.bool)
    )
    assert RandomIoUCrop()(picture[:, :2, :2], tiny)[1].image_size == (2, 2)


def test_mosaic_shows_four_pictures() -> None:
    def plain(value: int) -> tuple[Tensor, Targets]:
        box = torch.tensor([[0.0, 0.0, 60.0, 40.0]])
        targets = Targets(
            box, torch.tensor([value]), (40, 60), torch.zeros(1, dtype=torch.bool), image_id=value
        )
        return torch.full((3, 40, 60), value, dtype=torch.uint8), targets

    mosaic = Mosaic([plain(value) for value in range(50, 90)], (80, 90), p=1.0, fill=255)
    for _ in range(10):
        canvas, targets = mosaic(*plain(10))
        assert canvas.shape == (3, 80, 90) and targets.image_id == 10
        assert len(targets) == 4 and targets.labels[0] == 10
        top_left, top_right, bottom_left, bottom_right = targets.boxes
        meeting = torch.stack([top_left[2:], top_right[[0, 3]], bottom_left[[2, 1]], bottom_right[:2]])
        torch.testing.assert_close(meeting, meeting[:1].expand(4, 2))
        for box, label in zip(targets.boxes, targets.labels.tolist(), strict=True):
            x1, y1, x2, y2 = box.round().int().tolist()
            assert (canvas[:, y1:y2, x1:x2] == label).all(), "the box covers its own picture alone"
        assert set(canvas.unique().tolist()) <= {*targets.labels.tolist(), 255}


def test_photometric_changes_colours_alone() -> None:
    picture = torch.randint(0, 256, (3, 30, 40), dtype=torch.uint8)
    targets = Targets.empty((30, 40))
    before = picture.clone()
    distorted, same_targets = PhotometricDistort(1.0)(picture, targets)
    assert distorted.shape == picture.shape and distorted.dtype == torch.uint8
    assert same_targets is targets and torch.equal(picture, before) and not torch.equal(distorted, before)
    assert torch.equal(PhotometricDistort(0.0)(picture, targets)[0], picture)
