# Written by tools/runtime_tracking.py from src/pagoda/tracking/motion.py: change that one.
"""Where boxes will be in the next frame: Kalman filters (Kalman 1960) for many boxes at once. N boxes.

What is measured of a box are four numbers, and each of them goes on by itself at a constant velocity. So what is known
of a box are five rows of four: position p, velocity v, and of their covariance var p, cov pv and var v. A step of time
adds what is unsure: p ← p + v, var p ← var p + 2 cov pv + var v + q_p, cov pv ← cov pv + var v, var v ← var v + q_v. A
measurement z of variance r corrects p and v by var p / (var p + r) and cov pv / (var p + r) times z - p.
"""

from abc import ABC, abstractmethod

import numpy as np

POSITION, VELOCITY, VAR_P, COV_PV, VAR_V = range(5)
"""the rows of what is known of a box; pixels and frames"""
STEP = np.array([[1.0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 2, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]])
"""what a step of time makes of the rows, but for what it adds to the doubts"""
CORNERS_TO_CENTRES = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
CENTRES_TO_CORNERS = np.linalg.inv(CORNERS_TO_CENTRES)
"""rows of x1, y1, x2, y2 to x, y, width, height, and back"""
FLAT = np.array([-np.inf, -np.inf, 1e-6, 1e-6])
"""what these are at least"""


class MotionModel(ABC):
    """What is measured of a box, and how unsure each step and each measurement is."""

    def start(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes seen for the first time, believed to stand still, though with little faith in that."""
        motion = np.zeros((len(boxes), 5, 4))
        motion[:, POSITION] = self.measure(boxes)
        motion[:, VAR_P::2] = self._start_variances(motion[:, POSITION])
        return motion

    def predict(self, motion: np.ndarray) -> np.ndarray:
        """The motion one frame later."""
        self._limit(motion)
        later: np.ndarray = STEP @ motion
        variances = later[:, VAR_P::2]
        variances += self._step_variances(motion[:, POSITION])
        return later

    def correct(self, motion: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """A predicted motion, told where its boxes were seen in that frame."""
        # Row by row the numbers lie side by side, which saves half of the time.
        position, velocity, var_p, cov_pv, var_v = rows = motion.transpose(1, 0, 2).copy()
        doubt = var_p + self._measured_variances(position)
        p_gain, v_gain = var_p / doubt, cov_pv / doubt
        off = self.measure(boxes) - position
        position += p_gain * off
        velocity += v_gain * off
        var_v -= v_gain * cov_pv
        cov_pv -= p_gain * cov_pv
        var_p -= p_gain * var_p
        corrected: np.ndarray = rows.transpose(1, 0, 2)
        return corrected

    def move(self, motion: np.ndarray, camera: np.ndarray) -> np.ndarray:
        """The motion as seen after the camera has moved: `camera` takes points of the frame before to the frame now.

        Centres are moved, directions turned and lengths scaled; boxes stay upright.
        """
        factor = self._scales(scale_of(camera))
        moved = motion * np.stack([factor, factor, *[np.square(factor)] * 3])
        moved[:, : VELOCITY + 1, :2] = motion[:, : VELOCITY + 1, :2] @ camera[:, :2].T
        moved[:, POSITION, :2] += camera[:, 2]
        return moved

    def _limit(self, motion: np.ndarray) -> None:  # noqa: B027
        """Change in place velocities that no step may be taken with."""

    @abstractmethod
    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) what is measured of xyxy boxes; the centre first."""

    @abstractmethod
    def boxes(self, motion: np.ndarray) -> np.ndarray:
        """(N, 4) where the boxes are, xyxy pixels."""

    @abstractmethod
    def _start_variances(self, position: np.ndarray) -> np.ndarray:
        """(N or 1, 2, 4) of positions and of velocities."""

    @abstractmethod
    def _step_variances(self, position: np.ndarray) -> np.ndarray:
        """What a step adds, likewise."""

    @abstractmethod
    def _measured_variances(self, position: np.ndarray) -> np.ndarray:
        """(N, 4) of a measurement."""

    @abstractmethod
    def _scales(self, scale: float) -> np.ndarray:
        """(4,) what the measured numbers are multiplied by where lengths are by `scale`."""


class HeightScaledMotion(MotionModel):
    """A filter of constant velocity of centre, aspect (width / height) and height; all doubts grow with the height.

    DeepSORT's filter (Wojke 2017), which ByteTrack uses: positions are unsure by 1/20 of the height,
    velocities by 1/160 of it per frame.
    """

    position_share, velocity_share = 1 / 20, 1 / 160
    aspect_doubt, aspect_velocity_doubt, measured_aspect_doubt = 1e-2, 1e-5, 1e-1

    def __init__(self) -> None:
        lengths = np.array([1.0, 1, 0, 1])
        shares = np.array([[self.position_share], [self.velocity_share]])
        self._start = np.square(np.array([[2], [10]]) * shares * lengths)
        self._step = np.square(shares * lengths)
        self._measured = np.square(self.position_share * lengths)
        self._aspects = np.square(np.array([self.aspect_doubt, self.aspect_velocity_doubt]))
        self._measured_aspect = self.measured_aspect_doubt**2

    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) centre, width / height and height."""
        measured: np.ndarray = np.maximum(boxes.dot(CORNERS_TO_CENTRES), FLAT)
        aspect = measured[:, 2]
        aspect /= measured[:, 3]
        return measured

    def boxes(self, motion: np.ndarray) -> np.ndarray:
        """(N, 4) where the boxes are, xyxy pixels."""
        sided = motion[:, POSITION].copy()
        width = sided[:, 2]
        width *= sided[:, 3]
        boxes: np.ndarray = sided.dot(CENTRES_TO_CORNERS)
        return boxes

    def _start_variances(self, position: np.ndarray) -> np.ndarray:
        return self._variances(position, self._start)

    def _step_variances(self, position: np.ndarray) -> np.ndarray:
        return self._variances(position, self._step)

    def _measured_variances(self, position: np.ndarray) -> np.ndarray:
        variances = np.square(position[:, 3:]) * self._measured
        variances[:, 2] = self._measured_aspect
        return variances

    def _variances(self, position: np.ndarray, shares: np.ndarray) -> np.ndarray:
        variances = np.square(position[:, 3:, None]) * shares
        variances[:, :, 2] = self._aspects
        return variances

    def _scales(self, scale: float) -> np.ndarray:
        return np.array([scale, scale, 1, scale])


class AreaMotion(MotionModel):
    """A filter of constant velocity of centre and area, constant aspect (width / height); SORT's filter (Bewley 2016).

    OC-SORT uses the same. The doubts are SORT's fixed numbers, in pixels.
    """

    start_variances = np.array([[10.0, 10, 10, 10], [1e4, 1e4, 1e4, 0]])
    step_variances = np.array([[1.0, 1, 1, 1], [0.01, 0.01, 1e-4, 0]])
    measured_variances = np.array([1.0, 1, 10, 10])

    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) centre, area and width / height."""
        measured = np.maximum(boxes @ CORNERS_TO_CENTRES, FLAT)
        width, height = measured[:, 2].copy(), measured[:, 3].copy()
        measured[:, 2], measured[:, 3] = width * height, width / height
        return measured

    def boxes(self, motion: np.ndarray) -> np.ndarray:
        """(N, 4) where the boxes are, xyxy pixels."""
        sided = np.maximum(motion[:, POSITION], FLAT)
        area, width = sided[:, 2].copy(), np.sqrt(sided[:, 2] * sided[:, 3])
        sided[:, 2], sided[:, 3] = width, area / width
        return sided @ CENTRES_TO_CORNERS

    def _limit(self, motion: np.ndarray) -> None:
        """An area that would shrink below nothing stays as it is."""
        gone = motion[:, POSITION, 2] + motion[:, VELOCITY, 2] <= 0
        if np.count_nonzero(gone):
            motion[gone, VELOCITY, 2] = 0

    def _start_variances(self, position: np.ndarray) -> np.ndarray:
        return self.start_variances

    def _step_variances(self, position: np.ndarray) -> np.ndarray:
        return self.step_variances

    def _measured_variances(self, position: np.ndarray) -> np.ndarray:
        return self.measured_variances

    def _scales(self, scale: float) -> np.ndarray:
        return np.array([scale, scale, scale * scale, 1])


def move_boxes(boxes: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """xyxy boxes after the camera has moved, as `MotionModel.move` has it: upright, about the moved centre."""
    half = (boxes[..., 2:] - boxes[..., :2]) / 2 * scale_of(camera)
    center = move_points((boxes[..., :2] + boxes[..., 2:]) / 2, camera)
    return np.concatenate([center - half, center + half], -1)


def move_points(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """xy points after the camera has moved."""
    return points @ camera[:, :2].T + camera[:, 2]


def scale_of(camera: np.ndarray) -> float:
    """What lengths are multiplied by where the camera has moved so."""
    return float(np.sqrt(abs(camera[0, 0] * camera[1, 1] - camera[0, 1] * camera[1, 0])))
