"""Camera motion: shifts, turns and scales of drawn scenes are found again; where nothing can be, nothing moved."""

import numpy as np
import pytest

from pagoda.tracking.camera import STILL, CameraMotion

cv2 = pytest.importorskip("cv2", reason="needs pip install 'pagoda-vision[camera]'")
SIDES = (240, 320)


def scene(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (60, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def seen(picture, moved):
    """The middle of a large picture, moved by (2, 3)."""
    height, width = picture.shape[:2]
    whole = cv2.warpAffine(picture, np.asarray(moved, dtype=np.float64), (width, height))
    top, left = (height - SIDES[0]) // 2, (width - SIDES[1]) // 2
    return whole[top : top + SIDES[0], left : left + SIDES[1]]


def off(found, moved):
    """Pixels by which the corners of the picture are taken elsewhere; `moved` is told of the large picture."""
    start = np.array([(640 - SIDES[1]) // 2, (480 - SIDES[0]) // 2])
    corners = np.array([[0, 0], [SIDES[1], 0], [0, SIDES[0]], SIDES[::-1]], dtype=float)
    expected = (corners + start) @ np.asarray(moved)[:, :2].T + np.asarray(moved)[:, 2] - start
    return np.abs(corners @ found[:, :2].T + found[:, 2] - expected).max()


@pytest.mark.parametrize("angle", [0, 3])
@pytest.mark.parametrize("scale", [1.0, 1.05])
@pytest.mark.parametrize("shift", [(0, 0), (9, -4), (-15.5, 6)])
@pytest.mark.parametrize("short_side", [120, 240])
def test_what_moved_is_found(angle, scale, shift, short_side):
    moved = cv2.getRotationMatrix2D((320, 240), angle, scale) + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    camera = CameraMotion(short_side=short_side)
    np.testing.assert_array_equal(camera.update(seen(scene(), STILL)), STILL)
    assert off(camera.update(seen(scene(), moved)), moved) < 1.5 and camera.num_lost == 0


def test_objects_that_move_by_themselves_are_not_the_camera():
    """Two thirds of the picture are a bus that drives on."""
    pictures, bus = [seen(scene(), STILL) for _ in range(2)], scene(7)[:, :200]
    for number, picture in enumerate(pictures):
        picture[:, 20 + 12 * number : 220 + 12 * number] = bus[: SIDES[0]]
    ignorant, told = CameraMotion(), CameraMotion()
    ignorant.update(pictures[0])
    told.update(pictures[0], np.array([[20.0, 0, 220, 240]]))
    assert abs(ignorant.update(pictures[1])[0, 2] - 12) < 1.5
    assert np.abs(told.update(pictures[1]) - STILL).max() < 0.5


def test_where_nothing_is_to_be_seen_nothing_moved():
    camera, grey = CameraMotion(), np.full((*SIDES, 3), 90, np.uint8)
    for picture in (grey, grey):
        np.testing.assert_array_equal(camera.update(picture), STILL)
    assert camera.num_lost == 1
    camera.reset()
    assert camera.num_lost == 0


def test_a_picture_of_another_size_begins_anew():
    camera = CameraMotion()
    camera.update(seen(scene(), STILL))
    np.testing.assert_array_equal(camera.update(scene()), STILL)


def test_without_opencv_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install 'pagoda-vision\[camera\]'"):
        CameraMotion()
