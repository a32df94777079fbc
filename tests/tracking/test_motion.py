"""The filters: boxes there and back, many = one by one, the textbook written out, a steady walk is foreseen."""

import numpy as np
import pytest

from pagoda.tracking.motion import (
    COV_PV,
    POSITION,
    VAR_P,
    VAR_V,
    VELOCITY,
    AreaMotion,
    HeightScaledMotion,
    move_boxes,
)

MODELS = pytest.mark.parametrize(
    "model", [HeightScaledMotion(), AreaMotion()], ids=lambda m: type(m).__name__
)
BOXES = np.array([[10.0, 20, 30, 70], [5, 5, 60, 40], [100, 50, 120, 110]])


@MODELS
def test_boxes_there_and_back(model):
    np.testing.assert_allclose(model.boxes(model.start(BOXES)), BOXES)


@MODELS
def test_many_are_as_one_by_one(model):
    moved = BOXES + np.array([3, 1, 3, 1])
    together = model.correct(model.predict(model.start(BOXES)), moved)
    for index in range(len(BOXES)):
        one = slice(index, index + 1)
        alone = model.correct(model.predict(model.start(BOXES[one])), moved[one])
        np.testing.assert_allclose(together[one], alone)


@MODELS
def test_a_steady_walk_is_foreseen(model):
    motion, step = model.start(BOXES), np.array([2.0, -1, 2, -1])
    for frame in range(1, 40):
        motion = model.correct(model.predict(motion), BOXES + frame * step)
    np.testing.assert_allclose(model.boxes(model.predict(motion)), BOXES + 40 * step, atol=0.5)


@MODELS
def test_what_was_seen_makes_surer_and_waiting_less_sure(model):
    start = model.start(BOXES)
    predicted = model.predict(start)
    corrected = model.correct(predicted, BOXES)
    doubts = [motion[:, VAR_P, :2].sum(1) for motion in (start, predicted, corrected)]
    assert (doubts[1] > doubts[0]).all() and (doubts[2] < doubts[1]).all()


class Textbook:
    """The filters with full matrices, one box at a time: x ← F x, P ← F P Fᵀ + Q; K = P Hᵀ (H P Hᵀ + R)⁻¹."""

    def __init__(self, model, box):
        self.model, self.move, self.look = model, np.eye(8) + np.eye(8, k=4), np.eye(4, 8)
        first = model.start(box[None])[0]
        self.x = np.concatenate([first[POSITION], np.zeros(4)])
        self.p = np.diag(np.concatenate([first[VAR_P], first[VAR_V]]))

    def step(self, box):
        place, speed, measured = self.doubts()
        self.x = self.move @ self.x
        self.p = self.move @ self.p @ self.move.T + np.diag(np.concatenate([place, speed]))
        measured = self.doubts()[2]
        gain = self.p @ self.look.T @ np.linalg.inv(self.look @ self.p @ self.look.T + np.diag(measured))
        self.x = self.x + gain @ (self.model.measure(box[None])[0] - self.look @ self.x)
        self.p = (np.eye(8) - gain @ self.look) @ self.p

    def doubts(self):
        """Variances of a step's positions and velocities, and of a measurement, as the papers have them."""
        if isinstance(self.model, AreaMotion):
            return np.ones(4), np.array([0.01, 0.01, 1e-4, 0]), np.array([1.0, 1, 10, 10])
        height = self.x[3]
        place, speed = (height / 20) ** 2, (height / 160) ** 2
        return (
            np.array([place, place, 1e-4, place]),
            np.array([speed, speed, 1e-10, speed]),
            np.array([place, place, 1e-2, place]),
        )


@MODELS
def test_the_equations_of_the_textbook(model):
    rng = np.random.default_rng(0)
    motion, twins = model.start(BOXES), [Textbook(model, box) for box in BOXES]
    for frame in range(1, 15):
        boxes = BOXES + frame * np.array([2.0, -1, 2.5, -1]) + rng.normal(0, 1, BOXES.shape)
        motion = model.correct(model.predict(motion), boxes)
        for twin, box in zip(twins, boxes, strict=True):
            twin.step(box)
    for one, twin in zip(motion, twins, strict=True):
        np.testing.assert_allclose(one[: VELOCITY + 1].ravel(), twin.x, rtol=1e-9, atol=1e-9)
        blocks = [np.diag(twin.p[a : a + 4, b : b + 4]) for a, b in ((0, 0), (0, 4), (4, 4))]
        np.testing.assert_allclose(one[[VAR_P, COV_PV, VAR_V]], blocks, rtol=1e-9, atol=1e-12)
        off = twin.p.copy()
        for a in range(4):
            off[np.ix_([a, a + 4], [a, a + 4])] = 0
        assert not off.any(), "the four numbers never come to depend on each other"


@MODELS
def test_what_a_moved_camera_sees_is_the_same_motion(model):
    """Boxes that are moved, then followed, are where boxes that are followed, then moved, are."""
    camera = np.array([[1.5, 0, 7], [0, 1.5, -3]])
    step = np.array([2.0, -1, 2, -1])
    motion = model.start(BOXES)
    for frame in range(1, 30):
        motion = model.correct(model.predict(motion), BOXES + frame * step)
    seen = model.boxes(model.predict(model.move(motion, camera)))
    np.testing.assert_allclose(seen, move_boxes(BOXES + 30 * step, camera), atol=0.6)


def test_a_turned_camera_turns_where_things_go():
    model, quarter = HeightScaledMotion(), np.array([[0.0, -1, 0], [1, 0, 0]])
    motion = model.start(BOXES)
    motion[:, VELOCITY] = [3, 0, 0, 0]
    np.testing.assert_allclose(model.move(motion, quarter)[:, VELOCITY, :2], [[0, 3]] * 3, atol=1e-12)


def test_a_shrinking_box_does_not_vanish():
    model = AreaMotion()
    motion = model.start(BOXES[:1])
    motion[:, VELOCITY, 2] = -5000
    np.testing.assert_allclose(model.boxes(model.predict(motion)), BOXES[:1])
