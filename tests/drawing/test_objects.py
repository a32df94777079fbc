"""Drawing: what lies where, on pictures of any size, without touching the input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.drawing.objects import (
    IGNORED_COLOUR,
    class_colour,
    draw_detections,
    draw_targets,
    image_of_detections,
)
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton

LABELS = LabelMap.from_names(["cat", "Zebra crossing", "čáp"])


def detections(boxes, size, scores=None, labels=None, **more):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    scores = torch.linspace(0.9, 0.3, len(boxes)) if scores is None else torch.tensor(scores)
    labels = torch.arange(len(boxes)) % len(LABELS) if labels is None else torch.tensor(labels)
    return Detections(boxes, scores, labels, size, LABELS, **more)


def changed(before, after):
    return (before != after).any(2)


def test_the_box_is_where_its_pixels_are():
    picture = np.zeros((100, 120, 3), np.uint8)
    after = draw_detections(picture, detections([[20, 40, 60, 80]], (100, 120)))
    assert (after[79, 20:60] == class_colour(0)).all() and (after[40:80, 59] == class_colour(0)).all()
    assert not changed(picture, after)[81:].any() and not changed(picture, after)[42:78, 22:58].any()
    assert changed(picture, after)[25:40, 20:60].any()  # the name stands above
    assert not picture.any() and after.dtype == np.uint8 and after.shape == picture.shape


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (40, 400), (1500, 2000)])
def test_any_size_and_boxes_outside(size):
    height, width = size
    boxes = [
        [-1e6, -1e6, 1e6, 1e6],
        [width + 10, height + 10, width + 50, height + 50],
        [-50, -50, -10, -10],
        [width / 2, height / 2, width / 2, height / 2],
        [0, 0, width, height],
    ]
    picture = np.full((height, width, 3), 90, np.uint8)
    after = draw_detections(picture, detections(boxes, size))
    assert after.shape == picture.shape and changed(picture, after).any()
    assert (picture == 90).all()


def test_nothing_detected_is_an_equal_copy():
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    after = draw_detections(picture, detections([], (20, 30)))
    assert np.array_equal(after, picture) and not np.shares_memory(after, picture)


def test_read_only_and_flipped_pictures():
    picture = np.zeros((64, 64, 3), np.uint8)[:, ::-1]
    picture.flags.writeable = False
    assert draw_detections(picture, detections([[5, 30, 60, 60]], (64, 64))).any()


def test_the_best_lies_on_top():
    picture = np.zeros((60, 60, 3), np.uint8)
    same = [[10, 30, 50, 55]] * 2
    after = draw_detections(picture, detections(same, (60, 60), scores=[0.2, 0.8], labels=[0, 1]))
    assert tuple(after[54, 30]) == class_colour(1)


def test_colours_are_stable_and_apart():
    colours = np.array([class_colour(label) for label in range(20)], float)
    apart = np.abs(colours[:, None] - colours[None]).sum(2) + 1000 * np.eye(20)
    assert apart.min() > 20
    assert class_colour(3) == class_colour(3)


def test_names_of_equal_boxes_stand_apart():
    """The corner leaves no room above; two equal boxes want the same place."""
    size = (300, 400)
    picture = np.zeros((*size, 3), np.uint8)
    box = [[2, 2, 60, 60]]
    one = changed(picture, draw_detections(picture, detections(box, size))).sum()
    two = changed(picture, draw_detections(picture, detections(box * 2, size, labels=[0, 1]))).sum()
    assert two > one + 100  # the second name found a place of its own


def test_masks_points_and_tracks():
    size = (80, 80)
    mask = torch.zeros(1, 80, 80, dtype=torch.bool)
    mask[0, 50:60, 30:40] = True
    plain = detections([[20, 30, 70, 70]], size)
    rich = detections(
        [[20, 30, 70, 70]],
        size,
        masks=mask,
        keypoints=torch.tensor([[[50.0, 40.0]]]),
        track_ids=torch.tensor([7]),
    )
    picture = np.full((80, 80, 3), 100, np.uint8)
    difference = changed(draw_detections(picture, plain), draw_detections(picture, rich))
    assert difference[50:60, 30:40].all() and difference[40, 50] and difference[:30].any()
    assert not difference[61:68, 22:68].any()  # inside the box, whose outline has the colour of its track


def test_masks_keep_their_holes_and_show_a_rim():
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[0, 5:35, 5:35] = True
    mask[0, 15:25, 15:25] = False
    picture = np.full((40, 40, 3), 100, np.uint8)
    boxed = detections([[0, 0, 1, 1]], (40, 40))
    after = draw_detections(picture, replace(boxed, masks=mask))
    difference = changed(picture, after)
    assert difference[30, 30] and not difference[20, 20]
    assert tuple(after[34, 20]) == class_colour(0), "the outer rim is in full colour"
    assert tuple(after[25, 20]) == class_colour(0), "and so is that of the hole"
    assert tuple(after[30, 30]) != class_colour(0) and (after[30, 30] != 100).any()
    enlarged = draw_detections(picture, replace(boxed, masks=mask), min_side=120)
    assert (
        enlarged.shape == (120, 120, 3) and not changed(picture.repeat(3, 0).repeat(3, 1), enlarged)[60, 60]
    )


def test_skeletons_join_the_keypoints_that_are_shown():
    labels = LabelMap(LABELS.names, LABELS.category_ids, Skeleton(("a", "b", "c"), edges=((0, 1), (1, 2))))
    points = torch.tensor([[[10.0, 30], [50, 30], [50, 70]]])
    found = detections([[0, 0, 1, 1]], (80, 80), keypoints=points)
    posed = replace(found, label_map=labels, keypoint_scores=torch.tensor([[0.9, 0.8, 0.1]]))
    picture = np.zeros((80, 80, 3), np.uint8)
    whole = draw_detections(picture, posed)
    assert tuple(whole[30, 30]) == class_colour(0) and tuple(whole[50, 50]) == class_colour(0)
    sure = draw_detections(picture, posed, min_keypoint_score=0.5)
    assert sure[30, 30].any() and not sure[50, 50].any() and not sure[70, 50].any()
    assert np.array_equal(posed.plot(picture, min_keypoint_score=0.5), sure)
    without_names = draw_detections(picture, found)
    assert without_names[30, 10].any() and not without_names[30, 30].any()
    targets = Targets(
        boxes=torch.tensor([[0.0, 0, 1, 1]]),
        labels=torch.tensor([0]),
        image_size=(80, 80),
        ignored=torch.tensor([False]),
        keypoints=points,
        visibility=torch.tensor([[2, 1, 0]]),
    )
    drawn = draw_targets(picture, targets, labels)
    assert drawn[30, 30].any() and not drawn[50, 50].any()


def test_targets_show_the_ignored_in_grey():
    size = (100, 200)
    targets = Targets(
        boxes=torch.tensor([[10.0, 40, 80, 90], [110, 40, 190, 90]]),
        labels=torch.tensor([1, 2]),
        image_size=size,
        ignored=torch.tensor([False, True]),
        keypoints=torch.tensor([[[30.0, 60.0], [50.0, 60.0]]] * 2),
        visibility=torch.tensor([[2, 0]] * 2),
    )
    after = draw_targets(np.zeros((*size, 3), np.uint8), targets, LABELS)
    assert tuple(after[89, 40]) == class_colour(1) and tuple(after[89, 150]) == IGNORED_COLOUR
    assert after[60, 30].any() and not after[60, 50].any()  # the second point is not labelled
    assert draw_targets(np.zeros((9, 9, 3), np.uint8), Targets.empty((9, 9)), LABELS).shape == (9, 9, 3)


def test_small_pictures_are_enlarged_whole():
    picture = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    after = draw_detections(picture, detections([], (10, 20)), min_side=25)
    assert after.shape == (30, 60, 3) and np.array_equal(after[::3, ::3], picture)
    boxed = draw_detections(picture, detections([[0, 5, 10, 10]], (10, 20)), min_side=100)
    assert tuple(boxed[99, 50]) == class_colour(0)


@pytest.mark.parametrize("size", [(100, 120), (101, 119)])
def test_large_pictures_are_drawn_smaller_by_a_whole_factor(size):
    picture = np.full((*size, 3), 40, np.uint8)
    picture[::2] = 60  # means of two rows
    found = detections([[20, 40, 60, 80]], size, masks=torch.zeros(1, *size, dtype=torch.bool))
    image = np.array(image_of_detections(picture, found, max_pixels=4000))
    assert image.shape == (-(-size[0] // 2), -(-size[1] // 2), 3)
    assert (image[:9] == 50).all() and (image[40:50] == 50).all()
    assert (image[39, 10:30] == class_colour(0)).all() and (image[25:38, 12:28] == 50).all()
    small = np.asarray(Image.fromarray(picture).reduce(2))
    assert (np.array(image_of_detections(small, found, shrunk=2)) == image).all()
    with pytest.raises(ValueError, match="restore the boxes to the picture's size first"):
        image_of_detections(small, found, shrunk=3)
    whole = np.array(image_of_detections(picture, found, max_pixels=size[0] * size[1]))
    assert (whole == draw_detections(picture, found)).all()


def test_mistakes_are_explained():
    nothing = detections([], (20, 30))
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) RGB uint8, got \(20, 30, 3\) float"):
        draw_detections(np.zeros((20, 30, 3)), nothing)
    with pytest.raises(ValueError, match=r"\(height, width\) \(20, 30\), the picture has \(30, 20\)"):
        draw_detections(np.zeros((30, 20, 3), np.uint8), nothing)
    broken = detections([[0, 0, float("nan"), 1]], (20, 30))
    with pytest.raises(ValueError, match="must be finite xyxy"):
        draw_detections(np.zeros((20, 30, 3), np.uint8), broken)
