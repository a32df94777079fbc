"""Views of a picture put together: the arithmetic of mirrors and sizes, and a slow twin of the whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.models import create_model
from pagoda.ops.boxes import pairwise_iou
from pagoda.postprocess import test_time_augmentation as views
from pagoda.postprocess.dense import SelectDetections
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.postprocess.select import Candidates
from pagoda.predict import input_specs
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

pytestmark = pytest.mark.medium

NONE, FLIP = views.PictureViews(flip=False), views.PictureViews()
SEVERAL = views.PictureViews(scales=(48, 80), max_size=110)


@pytest.fixture(scope="module")
def model() -> Detector:
    torch.manual_seed(0)
    size = {"short_side": 64, "long_side": 96}
    model = create_model("fcos_resnet18_fpn", num_classes=3, width=32, head_depth=1, **size).eval()
    with torch.no_grad():
        model.class_head.predict.bias.zero_()  # scores near .5: something is found everywhere
        model.class_head.predict.weight.normal_(std=0.3)
    return model


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def same(a: Detections, b: Detections) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "labels"))


@pytest.mark.parametrize("options", [{}, {"order": "location", "inclusive": True}, {"clip": "after"}])
def test_one_view_is_plain_predict(model: Detector, picture: np.ndarray, options: dict) -> None:
    before = model.postprocess
    model.postprocess = replace(before, **options)
    try:
        pictures = [picture, picture[:40], picture[:, :30]]
        for plain, viewed in zip(
            model.predict(pictures, batch_size=3),
            model.predict(pictures, batch_size=3, views=NONE),
            strict=True,
        ):
            assert len(plain) > 0 and same(plain, viewed) and plain.image_size == viewed.image_size
    finally:
        model.postprocess = before


def test_mirroring_moves_boxes_as_it_moves_pixels() -> None:
    pixels = torch.zeros(1, 1, 8, 20)
    pixels[0, 0, 2:5, 3:9] = 1
    images = views.mirror_images(ImageBatch(pixels, torch.tensor([[8, 13]])))
    rows, columns = images.pixels[0, 0].nonzero().unbind(1)
    seen = torch.stack([columns.min(), rows.min(), columns.max(), rows.max()]).float()
    assert torch.equal(views.mirror_boxes(torch.tensor([3.0, 2, 8, 4]), 13, inclusive=True), seen)
    seen[2:] += 1
    assert torch.equal(views.mirror_boxes(torch.tensor([3.0, 2, 9, 5]), 13), seen)
    assert not images.pixels[..., 13:].any()


@pytest.mark.parametrize("inclusive", [False, True])
def test_mirroring_twice_changes_nothing(inclusive: bool) -> None:
    boxes = torch.randint(0, 50, (2, 30, 4)).float()
    widths = torch.tensor([[50], [77]])
    there = views.mirror_boxes(boxes, widths, inclusive=inclusive)
    assert torch.equal(views.mirror_boxes(there, widths, inclusive=inclusive), boxes)
    assert torch.equal(there[1, 0], views.mirror_boxes(boxes[1], 77, inclusive=inclusive)[0])


@pytest.mark.parametrize("columns", [96, 70])  # without padding and with
def test_what_is_found_in_a_symmetric_picture_is_symmetric(
    model: Detector, picture: np.ndarray, columns: int
) -> None:
    half = picture[:, : columns // 2]
    symmetric = torch.from_numpy(np.concatenate([half, half[:, ::-1]], 1)).permute(2, 0, 1)
    images = model.input_spec.prepare([symmetric])
    found = []
    with torch.no_grad():
        for is_mirrored in (False, True):
            seen = views.mirror_images(images) if is_mirrored else images
            candidates = model.postprocess.candidates(model(seen), seen.sizes, model.decode)
            found.append(views.ViewCandidates(candidates, seen.sizes, is_mirrored))
    joined = views.join_views(found)
    keys = torch.cat([joined.boxes[0], joined.scores[0][:, None], joined.labels[0][:, None]], 1)
    mirrored = torch.cat([views.mirror_boxes(joined.boxes[0], columns), keys[:, 4:]], 1)
    keys, mirrored = (rows[joined.scores[0] > 0] for rows in (keys, mirrored))
    assert len(keys) > 20
    assert torch.cdist(keys, mirrored, p=float("inf")).amin(1).max() < 1e-3


def test_a_mirrored_picture_gives_mirrored_detections(model: Detector, picture: np.ndarray) -> None:
    plain = model.predict(picture, views=FLIP)
    turned = model.predict(picture[:, ::-1].copy(), views=FLIP)
    assert len(plain) == len(turned) > 5
    torch.testing.assert_close(plain.scores, turned.scores, atol=1e-5, rtol=0)
    rows = [torch.cat([each.boxes, each.scores[:, None] * 1000], 1) for each in (plain, turned)]
    rows[1][:, :4] = views.mirror_boxes(rows[1][:, :4], 96)
    assert torch.cdist(*rows, p=float("inf")).amin(1).max() < 0.02


def slow_twin(
    model: Detector, pixels: Tensor, select: SelectDetections
) -> list[tuple[list[float], float, int]]:
    """View by view, box by box; suppression by a loop."""
    spec = model.input_spec
    everything, first = [], None
    for short, long in ((64, 96), (48, 110), (80, 110)):
        images = replace(spec, short_side=short, long_side=long).prepare([pixels])
        height, width = images.sizes[0].tolist()
        first = first or (height, width)
        for flip in (False, True):
            seen = images.pixels.clone()
            for column in range(width if flip else 0):
                seen[..., :height, column] = images.pixels[..., :height, width - 1 - column]
            with torch.no_grad():
                found = select.candidates(model(ImageBatch(seen, images.sizes)), images.sizes, model.decode)
            for box, score, label, _ in zip(*(part[0].tolist() for part in found), strict=True):
                x1, y1, x2, y2 = box
                if flip:
                    last = width - 1 if select.inclusive else width
                    x1, x2 = last - x2, last - x1
                ratio_y, ratio_x = first[0] / height, first[1] / width
                if score > 0:
                    everything.append(
                        ([x1 * ratio_x, y1 * ratio_y, x2 * ratio_x, y2 * ratio_y], score, label)
                    )
    kept: list[tuple[list[float], float, int]] = []
    for box, score, label in sorted(everything, key=lambda row: -row[1]):
        rivals = [other for other, _, other_label in kept if other_label == label]
        overlaps = pairwise_iou(
            torch.tensor([box]), torch.tensor(rivals).reshape(-1, 4), inclusive=select.inclusive
        )
        if not (overlaps > select.max_iou).any():
            kept.append((box, score, label))
    assert select.max_detections is not None
    return kept[: select.max_detections]


@pytest.mark.parametrize("inclusive", [False, True])
def test_slow_twin(model: Detector, inclusive: bool) -> None:
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (50, 61, 3), dtype=np.uint8)).permute(
        2, 0, 1
    )
    select = replace(
        model.postprocess, inclusive=inclusive, min_score=0.3, max_candidates=40, max_detections=30
    )
    before, model.postprocess = model.postprocess, select
    try:
        found = model.predict(pixels, views=SEVERAL)
    finally:
        model.postprocess = before
    expected = slow_twin(model, pixels, select)
    assert len(found) == len(expected) > 10
    height, width = model.input_spec.resized((50, 61))
    boxes = torch.tensor([box for box, _, _ in expected]) * torch.tensor([61 / width, 50 / height]).repeat(2)
    torch.testing.assert_close(found.boxes, boxes, atol=1e-2, rtol=0)
    torch.testing.assert_close(
        found.scores, torch.tensor([score for _, score, _ in expected]), atol=1e-5, rtol=0
    )
    assert found.labels.tolist() == [label for _, _, label in expected]


def test_several_views_find_at_least_the_best_of_one(model: Detector, picture: np.ndarray) -> None:
    one, many = model.predict(picture), model.predict(picture, views=SEVERAL)
    assert many.scores[0] >= one.scores[0] and len(many) >= 1
    assert (many.scores.diff() <= 0).all() and len(many) <= model.postprocess.max_detections


def test_the_published_views_are_eighteen() -> None:
    published = views.PictureViews.published()
    specs = input_specs(InputSpec(), published)
    assert 2 * len(specs) == 18 and published.flip
    assert (specs[0].short_side, specs[0].long_side) == (800, 1333)
    assert [spec.short_side for spec in specs[1:]] == [400, 500, 600, 700, 900, 1000, 1100, 1200]
    assert {spec.long_side for spec in specs[1:]} == {2000}


def test_places_keep_the_order_of_views() -> None:
    one = Candidates(torch.zeros(1, 2, 4), torch.ones(1, 2), torch.zeros(1, 2).long(), torch.tensor([[7, 3]]))
    size = torch.tensor([[10, 10]])
    joined = views.join_views([views.ViewCandidates(one, size, False), views.ViewCandidates(one, size, True)])
    assert joined.places.tolist() == [[7, 3, 15, 11]]


def test_letterboxes_can_be_mirrored_but_not_resized(model: Detector, picture: np.ndarray) -> None:
    before = model.input_spec
    model.input_spec = InputSpec(fit="letterbox", canvas=(96, 96))
    try:
        plain = model.predict(picture[:40], views=FLIP)
        turned = model.predict(picture[:40, ::-1].copy(), views=FLIP)
        assert len(plain) == len(turned) and abs(plain.scores[0] - turned.scores[0]) < 1e-4
        with pytest.raises(ValueError, match='need a model with fit="resize", got fit="letterbox"'):
            model.predict(picture, views=SEVERAL)
    finally:
        model.input_spec = before


def test_models_that_cannot_be_put_together_are_refused(model: Detector, picture: np.ndarray) -> None:
    before = model.postprocess
    model.postprocess = SelectFromAllLevels(suppression="soft")
    try:
        with pytest.raises(
            ValueError, match='put together by hard suppression, but the model has suppression="soft"'
        ):
            model.predict(picture, views=FLIP)
    finally:
        model.postprocess = before

    class Other(Detector):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.input_spec, self.postprocess = InputSpec(), SelectDetections()
            self.label_map = LabelMap.numbered(1)

    with pytest.raises(TypeError, match=r"views need a one-stage detector with decode\(…\), got Other"):
        Other().predict(picture, views=FLIP)
