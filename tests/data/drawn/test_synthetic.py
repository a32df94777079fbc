"""Drawn data are repeatable, exact, and survive being saved and read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.shapes import OUTLINES, coverage
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.data.saving import write_coco_folder


@pytest.fixture(scope="module")
def shapes() -> DrawnShapes:
    return DrawnShapes(40, (70, 90), seed=3, classes=tuple(OUTLINES))


def test_pictures_are_repeatable_alone(shapes: DrawnShapes) -> None:
    again = DrawnShapes(7, (70, 90), seed=3, classes=tuple(OUTLINES))
    picture, targets = again[6]
    assert torch.equal(picture, shapes.picture(6)) and torch.equal(targets.masks, shapes.targets(6).masks)
    assert not torch.equal(DrawnShapes(7, (70, 90), seed=4).picture(6), picture)
    assert picture.shape == (3, 70, 90) and picture.dtype == torch.uint8
    with pytest.raises(IndexError):
        again[7]


def test_boxes_are_the_edges_of_the_masks(shapes: DrawnShapes) -> None:
    seen, overlaps = set(), 0
    for index in range(len(shapes)):
        targets = shapes.targets(index)
        assert (targets.masks.sum(0) <= 1).all()  # only what is visible
        for box, mask in zip(targets.boxes.tolist(), targets.masks, strict=True):
            ys, xs = torch.nonzero(mask, as_tuple=True)
            assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        boxes = targets.boxes
        both = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - torch.maximum(
            boxes[:, None, :2], boxes[None, :, :2]
        )
        overlaps += int((both > 0).all(2).sum()) - len(targets)
        seen.update(targets.labels.tolist())
        assert torch.equal(targets.areas, targets.masks.sum((1, 2)).float())
    assert seen == set(range(5)) and overlaps > 0
    numbers = [len(shapes.targets(index)) for index in range(len(shapes))]
    assert min(numbers) == 0 and 4 <= max(numbers) <= 6


def test_keypoints_are_the_extremes_of_whole_shapes(shapes: DrawnShapes) -> None:
    checked = 0
    for index in range(len(shapes)):
        targets = shapes.targets(index)
        for box, points, visibility in zip(
            targets.boxes.tolist(), targets.keypoints, targets.visibility.tolist(), strict=True
        ):
            assert all((point == 0).all() for point, v in zip(points, visibility, strict=True) if v == 0)
            if visibility != [2, 2, 2, 2]:
                continue
            checked += 1
            edges = [points[3, 0], points[0, 1], points[1, 0], points[2, 1]]
            # A thin tip covers less than half of its last pixels, so the mask may end before the outline.
            assert (
                np.allclose(edges, box, atol=3)
                and points[0, 1] <= points[2, 1]
                and points[3, 0] <= points[1, 0]
            )
    assert checked > 20


def test_coverage_is_the_area_of_the_outline() -> None:
    square = np.array([[2.25, 3.5], [7.25, 3.5], [7.25, 6.0], [2.25, 6.0]])
    covered = coverage(square, (10, 12))
    assert covered.sum() == pytest.approx(12.5, abs=1e-5)
    assert covered[4, 2] == pytest.approx(0.75) and covered[3, 5] == pytest.approx(0.5) and covered[4, 5] == 1
    for name, outline in OUTLINES.items():
        x, y = (outline * 30 + 40).T
        area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
        assert coverage(np.stack([x, y], 1), (80, 80)).sum() == pytest.approx(area, rel=1e-3), name
    assert coverage(square + 100, (10, 12)).sum() == 0


def test_shapes_stand_out(shapes: DrawnShapes) -> None:
    for index in range(10):
        picture, targets = shapes[index]
        outside = picture[:, ~targets.masks.any(0)].float().mean(1)
        for mask in targets.masks:
            assert (picture[:, mask].float().mean(1) - outside).abs().max() > 25


def test_annotations_equal_targets(shapes: DrawnShapes) -> None:
    annotations = shapes.annotations
    assert len(annotations) == 40 and annotations.notes == ()
    for index in range(40):
        flat, drawn = annotations.targets(index), shapes.targets(index)
        for field in ("boxes", "labels", "areas", "ignored", "masks", "keypoints", "visibility"):
            assert torch.equal(getattr(flat, field), getattr(drawn, field))
        assert (flat.image_id, flat.file) == (drawn.image_id, drawn.file)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside pycocotools
def test_saved_and_read_again(shapes: DrawnShapes, tmp_path: Path) -> None:
    json_path = write_coco_folder(shapes, tmp_path, split="val")
    read = DetectionDataset(open_annotations(tmp_path, "val"))
    oracle = COCO(str(json_path))
    for index in range(len(shapes)):
        (picture, targets), (picture_read, targets_read) = shapes[index], read[index]
        assert torch.equal(picture, picture_read)
        assert torch.equal(targets.boxes, targets_read.boxes) and torch.equal(
            targets.labels, targets_read.labels
        )
        assert torch.equal(targets.masks, targets_read.masks)
        assert torch.equal(targets.keypoints, targets_read.keypoints)
        assert torch.equal(targets.visibility, targets_read.visibility)
        entries = oracle.loadAnns(oracle.getAnnIds(imgIds=index + 1))
        for entry, mask, points in zip(entries, targets.masks, targets.keypoints, strict=True):
            assert np.array_equal(oracle.annToMask(entry).astype(bool), mask.numpy())
            assert np.allclose(np.reshape(entry["keypoints"], (4, 3))[:, :2], points)
    with pytest.raises(FileExistsError, match=r"val\.json is there already"):
        write_coco_folder(shapes, tmp_path, split="val")
    assert read.label_map == shapes.label_map


def test_jpeg_folders(tmp_path: Path) -> None:
    shapes = DrawnShapes(2, (40, 48))
    write_coco_folder(shapes, tmp_path, ending="jpg")
    read = DetectionDataset(open_annotations(tmp_path))
    assert read.annotations.files[0] == "000001.jpg"
    assert (read.picture(1).float() - shapes.picture(1).float()).abs().mean() < 10


def test_wrong_wishes_are_refused() -> None:
    with pytest.raises(ValueError, match="no shape is called 'sqare'; did you mean 'square'"):
        DrawnShapes(1, classes=("sqare",))
    with pytest.raises(ValueError, match=r"num_images ≥ 1, .* got 0, 6, \(128, 128\), 0.1"):
        DrawnShapes(0)
