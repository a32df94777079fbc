"""The filters: boxes there and back, many = one by one, the textbook written out, a steady walk is foreseen."""

import numpy as np
import pytest

from pagoda.tracking.motion import AreaMotion, HeightScaledMotion, Motion

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
    for index, part in enumerate(together.split()):
        one = slice(index, index + 1)
        alone = model.correct(model.predict(model.start(BOXES[one])), moved[one])
        np.testing.assert_allclose(part.state, alone.state)
        np.testing.assert_allclose(part.covariance, alone.covariance)
    again = Motion.stack(together.split())
    np.testing.assert_array_equal(again.state, together.state)
    np.testing.assert_array_equal(again.covariance, together.covariance)


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
    traces = [np.trace(m.covariance[:, :2, :2], axis1=1, axis2=2) for m in (start, predicted, corrected)]
    assert (traces[1] > traces[0]).all() and (traces[2] < traces[1]).all()
    np.testing.assert_allclose(corrected.covariance, corrected.covariance.transpose(0, 2, 1), atol=1e-9)


def test_the_equations_written_out_for_one_box():
    model = AreaMotion()
    motion = model.predict(model.start(BOXES[:1]))
    x, p, h, r = motion.state[0], motion.covariance[0], model.observation, model.measurement_noise
    gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + r)
    measured = np.array([21.0, 46, 1100, 0.5])  # centre, area and aspect of the box below
    box = [21 - np.sqrt(550) / 2, 46 - np.sqrt(2200) / 2, 21 + np.sqrt(550) / 2, 46 + np.sqrt(2200) / 2]
    after = model.correct(motion, np.array([box]))
    np.testing.assert_allclose(after.state[0], x + gain @ (measured - h @ x))
    np.testing.assert_allclose(after.covariance[0], (np.eye(7) - gain @ h) @ p, atol=1e-9)


def test_a_shrinking_box_does_not_vanish():
    model = AreaMotion()
    motion = model.start(BOXES[:1])
    shrinking = motion.state.copy()
    shrinking[:, 6] = -5000
    predicted = model.boxes(model.predict(Motion(shrinking, motion.covariance)))
    np.testing.assert_allclose(predicted, BOXES[:1])
