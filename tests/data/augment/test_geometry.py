"""What is left of objects in a window, case by case."""

from dataclasses import replace

import pytest
import torch

from pagoda.data.augment.geometry import (
    Window,
    cut_targets,
    frame_of,
    join_targets,
    look_through,
    mirror,
    resize,
)
from pagoda.structures.instances import Targets


def targets_of(*boxes: tuple[float, ...], size: tuple[int, int] = (100, 100), **fields: object) -> Targets:
    count = len(boxes)
    plain = Targets(
        torch.tensor(boxes).float().reshape(-1, 4),
        torch.arange(count),
        size,
        torch.zeros(count, dtype=torch.bool),
    )
    return replace(plain, **fields)


WINDOW = Window(top=20, left=40, height=50, width=60)


@pytest.mark.parametrize(
    ("box", "left_over"),
    [
        ((50, 30, 60, 40), (10, 10, 20, 20)),  # inside: only moved
        ((30, 30, 60, 40), (0, 10, 20, 20)),  # cut at the left, two thirds stay
        ((50, 10, 60, 30), (10, 0, 20, 10)),  # cut at the top
        ((0, 30, 41, 40), None),  # 1 of 41 columns left
        ((0, 0, 30, 10), None),  # outside
        ((39.2, 30, 40.9, 40), None),  # more than half left, but thinner than a pixel
        ((36, 30, 40, 40), None),  # touches from outside
    ],
)
def test_cut_boxes(box: tuple[float, ...], left_over: tuple[float, ...] | None) -> None:
    cut = cut_targets(targets_of(box), WINDOW)
    assert cut.image_size == (50, 60)
    assert cut.boxes.tolist() == ([] if left_over is None else [list(map(float, left_over))])


def test_a_sliver_of_an_ignored_region_stays() -> None:
    targets = targets_of((0, 30, 42, 40), (0, 30, 42, 40), ignored=torch.tensor([True, False]))
    cut = cut_targets(targets, WINDOW)
    assert cut.boxes.tolist() == [[0, 10, 2, 20]] and cut.ignored.tolist() == [True]


def test_areas_shrink_with_the_box() -> None:
    targets = targets_of((30, 30, 50, 40), (50, 30, 60, 40), areas=torch.tensor([80.0, 70.0]))
    assert cut_targets(targets, WINDOW).areas.tolist() == [40.0, 70.0]


def test_keypoints_outside_are_not_labelled() -> None:
    keypoints = torch.tensor([[[35.0, 32.0], [40.0, 20.0], [55.0, 39.0]]])
    targets = targets_of((30, 20, 60, 40), keypoints=keypoints, visibility=torch.tensor([[2, 1, 2]]))
    cut = cut_targets(targets, WINDOW)
    assert cut.visibility.tolist() == [[0, 1, 2]]
    assert cut.keypoints[0, 1:].tolist() == [[0, 0], [15, 19]]


def test_cut_masks_pull_their_boxes_in() -> None:
    masks = torch.zeros(3, 100, 100, dtype=torch.bool)
    masks[0, 30:40, 20:60] = masks[0, 30:60, 20:30] = True  # an L: its upright lies left of the window
    masks[1, 30:60, 20:30] = masks[1, 59, 20:60] = True  # a flat L of which one row of 20 pixels stays
    # the third has no mask pixel: its box alone decides
    targets = targets_of(
        (20, 30, 60, 60), (20, 30, 60, 60), (20, 30, 60, 60), masks=masks, areas=torch.ones(3)
    )
    cut = cut_targets(targets, WINDOW, min_share=0.0)
    assert cut.boxes.tolist() == [[0, 10, 20, 20], [0, 39, 20, 40], [0, 10, 20, 40]]
    torch.testing.assert_close(cut.areas, torch.tensor([200 / 600, 20 / 330, 20 / 40]))
    assert torch.equal(cut.masks, masks[:, 20:70, 40:100])
    assert cut_targets(targets, WINDOW).labels.tolist() == [0, 2], "20 of 330 pixels are too few"


def test_an_object_is_gone_with_its_last_mask_pixel() -> None:
    masks = torch.zeros(1, 100, 100, dtype=torch.bool)
    masks[0, 30:40, 20:30] = True
    for ignored in (False, True):
        targets = targets_of((20, 30, 60, 60), masks=masks, ignored=torch.tensor([ignored]))
        assert len(cut_targets(targets, WINDOW, min_share=0.0)) == 0


def test_look_through_is_the_same_as_asking_pixel_by_pixel() -> None:
    pixels = torch.arange(2 * 5 * 7, dtype=torch.uint8).reshape(2, 5, 7)
    for window in (
        Window(1, 2, 3, 4),
        Window(-2, -1, 9, 5),
        Window(3, 5, 4, 4),
        Window(9, 0, 2, 2),
        Window(0, 0, 5, 7),
    ):
        seen = look_through(pixels, window, 255)
        for y in range(window.height):
            for x in range(window.width):
                row, column = y + window.top, x + window.left
                inside = 0 <= row < 5 and 0 <= column < 7
                expected = pixels[:, row, column].tolist() if inside else [255, 255]
                assert seen[:, y, x].tolist() == expected
        seen.fill_(0)
    assert pixels[0, 0, 1] == 1, "the picture itself was written to"


def test_resize_scales_every_field() -> None:
    masks = torch.zeros(1, 10, 20, dtype=torch.bool)
    masks[0, 2:6, 4:10] = True
    targets = targets_of(
        (4, 2, 10, 6),
        size=(10, 20),
        masks=masks,
        areas=torch.tensor([24.0]),
        keypoints=torch.tensor([[[5.0, 3.0]]]),
        visibility=torch.tensor([[2]]),
    )
    picture, resized = resize(masks.repeat(3, 1, 1).to(torch.uint8) * 255, targets, 30, 40)
    assert picture.shape == (3, 30, 40) and resized.image_size == (30, 40)
    assert resized.boxes.tolist() == [[8, 6, 20, 18]]
    assert resized.areas.tolist() == [24 * 6]
    assert resized.keypoints.tolist() == [[[10, 9]]]
    assert resized.masks[0, 6:18, 8:20].all() and resized.masks.sum() == 12 * 12


def test_resize_drops_what_becomes_thinner_than_a_pixel() -> None:
    targets = targets_of((0, 0, 1.5, 50), (0, 0, 2, 2))
    assert resize(torch.zeros(3, 100, 100, dtype=torch.uint8), targets, 50, 50)[1].labels.tolist() == [1]


def test_flipped_keypoints_change_places() -> None:
    keypoints = torch.tensor([[[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]])
    targets = targets_of((0, 0, 60, 60), keypoints=keypoints, visibility=torch.tensor([[0, 1, 2]]))
    picture = torch.zeros(3, 100, 100, dtype=torch.uint8)
    _, flipped = mirror(picture, targets, [(0, 2)])
    assert flipped.keypoints.tolist() == [[[50, 60], [70, 40], [90, 20]]]
    assert flipped.visibility.tolist() == [[2, 1, 0]]
    _, flipped = mirror(picture, targets, (), upside_down=True)
    assert flipped.keypoints.tolist() == [[[10, 80], [30, 60], [50, 40]]]


def test_flips_refuse_to_guess_keypoints() -> None:
    targets = targets_of((0, 0, 60, 60), keypoints=torch.zeros(1, 3, 2), visibility=torch.zeros(1, 3))
    picture = torch.zeros(3, 100, 100, dtype=torch.uint8)
    with pytest.raises(ValueError, match="left and right eye"):
        mirror(picture, targets, None)
    with pytest.raises(ValueError, match=r"\(1, 3\) names a keypoint that is not there: objects have 3"):
        mirror(picture, targets, [(1, 3)])


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.zeros(3, 100, 90, dtype=torch.uint8), r"\(100, 100\), the picture has \(100, 90\)"),
        (torch.zeros(3, 100, 100), r"uint8 \(3, H, W\), got torch.float32"),
        (torch.zeros(100, 100, 3, dtype=torch.uint8), r"got torch.uint8 \(100, 100, 3\)"),
    ],
)
def test_a_picture_of_another_frame_is_refused(picture: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frame_of(picture, targets_of((0, 0, 10, 10)))


def test_join_keeps_every_object_and_skips_empty_parts() -> None:
    first = replace(Targets.empty((100, 100)), image_id=7, file="a.jpg")
    second = targets_of((0, 0, 10, 10), (0, 0, 20, 20), areas=torch.tensor([5.0, 6.0]))
    third = targets_of((0, 0, 30, 30), areas=torch.tensor([7.0]), image_id=9)
    joined = join_targets([first, second, third])
    assert joined.boxes[:, 2].tolist() == [10, 20, 30] and joined.areas.tolist() == [5, 6, 7]
    assert (joined.image_id, joined.file) == (7, "a.jpg")
    assert len(join_targets([first, first])) == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_join_refuses_to_lose_a_field(order: tuple[int, int]) -> None:
    parts = [
        targets_of((0, 0, 10, 10), masks=torch.ones(1, 100, 100, dtype=torch.bool), image_id=3),
        targets_of((0, 0, 10, 10), image_id=4),
    ]
    with pytest.raises(ValueError, match="must all carry masks; image 4 has none"):
        join_targets([parts[i] for i in order])
