"""Pictures through tiles: each tile as a picture of its own, what is found where it lies, and nothing held for long."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.batch_size import BatchSize
from pagoda.detectors.contract import Detector
from pagoda.models import create_model
from pagoda.ops.boxes import tile_windows
from pagoda.ops.masks import join_mask_crops, paste_masks
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.postprocess.test_time_augmentation import PictureViews
from pagoda.predict import read_resized
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.tiling.detect import _Rows, detect_tiled
from pagoda.tiling.tiles import Tiles

SPEC = InputSpec(short_side=64, long_side=96)


class SeesBright(Detector):
    """Finds each bright square by its pixels, of the colour's class: exact, and of a cut one what is shown."""

    def __init__(self):
        super().__init__()
        self.label_map = LabelMap.from_names(["red", "green"])
        self.input_spec = replace(SPEC, mean=(0.0,) * 3, std=(1.0,) * 3)
        self.postprocess = SelectRoIs(min_score=0.1)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.shapes = []
        self.eval()

    def detect(self, images, *, postprocess=None, sizes=None):
        self.shapes.append(tuple(images.pixels.shape))
        found = [self.of_one(*each) for each in zip(images.pixels, images.sizes.tolist(), strict=True)]
        return self.restore(found, sizes)

    def of_one(self, pixels, size):
        boxes, labels = [], []
        for label in (0, 1):
            mask = pixels[label, : size[0], : size[1]] > 0.5
            while mask.any():
                y, x = mask.nonzero()[0].tolist()
                right = x + int(mask[y, x:].long().cumprod(0).sum())
                bottom = y + int(mask[y:, x].long().cumprod(0).sum())
                mask[y:bottom, x:right] = False
                boxes.append([x, y, right, bottom])
                labels.append(label)
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        crops = torch.ones(len(boxes), 4, 4)
        middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        points = middle + torch.zeros(1, 1, 2)
        scores = torch.full((len(boxes),), 0.9)
        return Detections(
            boxes,
            scores,
            torch.tensor(labels, dtype=torch.long),
            tuple(size),
            self.label_map,
            keypoints=points,
            keypoint_scores=scores[:, None],
            mask_crops=crops,
            found_by=self.postprocess,
        )

    def restore(self, detections, sizes):
        return [self.postprocess.with_masks(each) for each in super().restore(detections, sizes)]


@dataclass(frozen=True)
class Drawn:
    """A dark picture with bright squares that do not touch."""

    size: tuple[int, int] = (200, 310)
    boxes: list = field(default_factory=list)
    pixels: np.ndarray | None = None


@pytest.fixture(scope="module")
def drawn():
    rng, size = np.random.default_rng(3), (200, 310)
    pixels, boxes = np.zeros((*size, 3), np.uint8), []
    for row in range(10):
        for column in range(12):
            width, height = rng.integers(3, 18, 2)
            left, top = column * 25 + int(rng.integers(0, 5)), row * 20 + int(rng.integers(0, 2))
            label = int(rng.integers(2))
            pixels[top : top + height, left : left + width, label] = 255
            boxes.append([left, top, left + int(width), min(top + int(height), size[0]), label])
    return Drawn(size, sorted(boxes), pixels)


def rows_of(found):
    return sorted(
        [*map(round, box), label]
        for box, label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True)
    )


@pytest.mark.parametrize("tiles", [64, Tiles(side=64, whole=False), Tiles(side=64, overlap=0.5, whole=False)])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_every_object_is_found_where_it_is_with_its_mask_and_points(drawn, tiles, batch_size):
    model = SeesBright()
    found = model.predict(drawn.pixels, tiles=replace(Tiles.of(tiles), whole=False), batch_size=batch_size)
    assert rows_of(found) == drawn.boxes
    assert found.image_size == drawn.size and np.array_equal(found.picture, drawn.pixels)
    assert max(shape[0] for shape in model.shapes) == batch_size
    for mask, box, point in zip(found.masks, found.boxes, found.keypoints, strict=True):
        left, top, right, bottom = box.tolist()
        assert torch.equal(mask, solid(box, drawn.size))
        assert left <= point[0, 0] <= right and top <= point[0, 1] <= bottom


def test_masks_that_would_take_too_much_memory_are_written_drawn_and_counted_all_the_same(drawn, monkeypatch):
    model, tiles = SeesBright(), Tiles(side=64, whole=False)
    expected = model.predict(drawn.pixels, tiles=tiles)
    monkeypatch.setattr("pagoda.tiling.detect.MAX_MASK_PIXELS", 1000)
    found = model.predict(drawn.pixels, tiles=tiles)
    assert found.masks is None and expected.masks is not None
    assert found.to_dict() == expected.to_dict() and found.to_coco(1) == expected.to_coco(1)
    assert np.array_equal(found.plot(), expected.plot())
    assert found.to_pandas().equals(expected.to_pandas())
    assert found[3:5].to_dict() == expected[3:5].to_dict()


def solid(box, size):
    """The mask of an object that fills its box."""
    return paste_masks(torch.ones(1, 4, 4), box[None], size)[0]


def test_an_object_larger_than_a_tile_is_joined_mask_and_all(drawn):
    pixels = np.zeros((200, 310, 3), np.uint8)
    pixels[40:190, 30:300, 0] = 255
    found = SeesBright().predict(pixels, tiles=Tiles(side=64, whole=False))
    assert rows_of(found) == [[30, 40, 300, 190, 0]]
    assert torch.equal(found.masks[0], solid(found.boxes[0], (200, 310)))


def test_tiles_are_seen_as_pictures_are_and_small_pictures_as_ever(drawn):
    torch.manual_seed(0)
    model = create_model(
        "fcos_resnet18_fpn", num_classes=3, width=16, base_channels=16, short_side=64, long_side=96
    )
    with torch.no_grad():
        model.class_head.predict.bias.zero_()
    for size, tiles in (((64, 96), "auto"), ((32, 48), "auto"), ((90, 80), 90), ((1, 1), 32)):
        picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        plain, tiled = model.predict(picture), model.predict(picture, tiles=tiles)
        assert torch.equal(plain.boxes, tiled.boxes) and torch.equal(plain.scores, tiled.scores)


def test_a_picture_read_in_strips_gives_the_same(drawn, tmp_path):
    model, tiles = SeesBright(), Tiles(side=64)
    if not model.input_spec.takes_strips:
        pytest.skip("strips are for processors with AVX2")
    Image.fromarray(drawn.pixels).save(tmp_path / "a.png")
    strips = read_resized(tmp_path / "a.png", model.input_spec, factor=2)
    found, expected = model.predict(strips, tiles=tiles), model.predict(tmp_path / "a.png", tiles=tiles)
    assert torch.equal(found.boxes, expected.boxes) and torch.equal(found.scores, expected.scores)
    assert torch.equal(found.masks, expected.masks) and found.picture is None


@pytest.mark.parametrize("heights", [[7] * 28 + [4], [200], [1] * 200, [64, 100, 36]])
def test_of_strips_no_more_is_held_than_a_row_of_tiles(heights):
    picture = torch.arange(200 * 3).reshape(1, 200, 3)
    rows, windows = _Rows(iter(picture.split(heights, dim=1))), tile_windows((200, 3), 64)
    for top, bottom in np.unique(windows[:, [1, 3]], axis=0).tolist():
        assert torch.equal(rows.take(top, bottom), picture[:, top:bottom])
        assert rows._held.shape[1] <= 64 + max(heights)


def test_no_more_than_asked_for_and_the_best_first(drawn):
    found = SeesBright().predict(drawn.pixels, tiles=Tiles(side=64, whole=False), max_detections=7)
    assert len(found) == 7


def test_joined_masks_are_what_a_mask_of_the_whole_would_be():
    """A disc, cut in two that overlap, against the disc itself."""
    place = torch.arange(400, dtype=torch.float32) + 0.5
    disc = ((place[:, None] - 200) ** 2 + (place[None] - 200) ** 2 < 150**2).float()
    parts = torch.tensor([[50.0, 50, 220, 350], [180, 50, 350, 350]])
    cells = [
        torch.nn.functional.adaptive_avg_pool2d(disc[None, y1:y2, x1:x2], 28)[0]
        for x1, y1, x2, y2 in parts.int().tolist()
    ]
    box = torch.tensor([50.0, 50, 350, 350])
    joined = join_mask_crops(torch.stack(cells), parts, box)
    pasted = paste_masks(joined[None], box[None], (400, 400))[0]
    wrong = (pasted != disc.bool()).sum() / disc.sum()
    assert wrong < 0.02


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        (0, "tiles must be at least 32 pixels wide, got 0"),
        (-640, "at least 32 pixels"),
    ],
)
def test_sizes_that_mean_nothing_are_refused(drawn, tiles, words):
    with pytest.raises(ValueError, match=words):
        SeesBright().predict(drawn.pixels, tiles=tiles)


@pytest.mark.parametrize("overlap", [1.0, 1.5, -0.1, float("nan")])
def test_overlaps_that_mean_nothing_are_refused(overlap):
    with pytest.raises(ValueError, match="overlap must be"):
        Tiles(overlap=overlap)


def test_what_does_not_go_with_tiles_is_refused(drawn):
    with pytest.raises(ValueError, match="views look at whole pictures, and tiles at parts"):
        SeesBright().predict(drawn.pixels, tiles=64, views=PictureViews())
    model = SeesBright()
    model.sees_clips = True
    with pytest.raises(ValueError, match="looks at clips, whose objects cannot be put together from tiles"):
        model.predict(drawn.pixels, tiles=64)
    found = SeesBright().of_one(torch.ones(3, 64, 64), (64, 64))
    old = replace(found, masks=torch.ones(len(found), 64, 64, dtype=torch.bool), mask_crops=None)
    model = SeesBright()
    model.detect = lambda images, postprocess, sizes: [old] * len(sizes)
    with pytest.raises(ValueError, match="earlier versions do not have; export it anew"):
        model.predict(drawn.pixels, tiles=64)


@pytest.mark.parametrize("fit", ["letterbox", "corner", "stretch"])
def test_models_that_fit_pictures_into_a_canvas_take_tiles(drawn, fit):
    model = SeesBright()
    model.input_spec = replace(model.input_spec, fit=fit, canvas=(64, 64), border=0)
    assert Tiles().side_for(model.input_spec) == 64
    assert rows_of(model.predict(drawn.pixels, tiles=Tiles(whole=False))) == drawn.boxes


def test_tiles_of_a_picture_are_told_by_its_strips_alone(drawn):
    model = SeesBright()
    strips = torch.from_numpy(drawn.pixels).permute(2, 0, 1).split(11, dim=1)
    found = detect_tiled(
        model,
        strips,
        drawn.size,
        Tiles(side=64, whole=False),
        whole=lambda: pytest.fail("nobody asked for it"),
        postprocess=model.postprocess,
        together=BatchSize(3),
    )
    assert rows_of(found) == drawn.boxes
