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


class MotionModel(ABC):
    """What is measured of a box, and how unsure each step and each measurement is."""

    def start(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes seen for the first time, believed to stand still, though with little faith in that."""
        motion = np.zeros((len(boxes), 5, 4))
        motion[:, POSITION] = self.measure(boxes)
        motion[:, VAR_P], motion[:, VAR_V] = self._start_variances(motion[:, POSITION])
        return motion

    def predict(self, motion: np.ndarray) -> np.ndarray:
        """The motion one frame later."""
        later = motion.copy()
        place, speed = self._step_variances(motion[:, POSITION])
        self._limit(later)
        later[:, POSITION] += later[:, VELOCITY]
        later[:, COV_PV] += motion[:, VAR_V]
        later[:, VAR_P] += motion[:, COV_PV] + later[:, COV_PV] + place
        later[:, VAR_V] += speed
        return later

    def correct(self, motion: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """A predicted motion, told where its boxes were seen in that frame."""
        doubt = motion[:, VAR_P] + self._measured_variances(motion[:, POSITION])
        gains = motion[:, VAR_P : COV_PV + 1] / doubt[:, None]
        off = self.measure(boxes) - motion[:, POSITION]
        after = motion.copy()
        after[:, : VELOCITY + 1] += gains * off[:, None]
        after[:, VAR_P : COV_PV + 1] -= gains[:, :1] * motion[:, VAR_P : COV_PV + 1]
        after[:, VAR_V] -= gains[:, 1] * motion[:, COV_PV]
        return after

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
        """Change in place the velocities with which a step is taken."""

    @abstractmethod
    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) what is measured of xyxy boxes; the centre first."""

    @abstractmethod
    def boxes(self, motion: np.ndarray) -> np.ndarray:
        """(N, 4) where the boxes are, xyxy pixels."""

    @abstractmethod
    def _start_variances(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 4) of positions and of velocities."""

    @abstractmethod
    def _step_variances(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a step adds, as above."""

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

    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) centre, width / height and height."""
        measured = np.empty((len(boxes), 4))
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
        measured[:, :2] = (boxes[:, :2] + boxes[:, 2:]) / 2
        measured[:, 2], measured[:, 3] = sides[:, 0] / sides[:, 1], sides[:, 1]
        return measured

    def boxes(self, motion: np.ndarray) -> np.ndarray:
        """(N, 4) where the boxes are, xyxy pixels."""
        center, aspect, height = motion[:, POSITION, :2], motion[:, POSITION, 2], motion[:, POSITION, 3]
        return _around(center, aspect * height, height)

    def _start_variances(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._variances(position, place=2, speed=10)

    def _step_variances(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._variances(position, place=1, speed=1)

    def _measured_variances(self, position: np.ndarray) -> np.ndarray:
        variances = np.repeat(np.square(self.position_share * position[:, 3:]), 4, 1)
        variances[:, 2] = self.measured_aspect_doubt**2
        return variances

    def _variances(
        self, position: np.ndarray, *, place: float, speed: float
    ) -> tuple[np.ndarray, np.ndarray]:
        height = position[:, 3:]
        places = np.repeat(np.square(place * self.position_share * height), 4, 1)
        speeds = np.repeat(np.square(speed * self.velocity_share * height), 4, 1)
        places[:, 2], speeds[:, 2] = self.aspect_doubt**2, self.aspect_velocity_doubt**2
        return places, speeds

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
        measured = np.empty((len(boxes), 4))
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
        measured[:, :2] = (boxes[:, :2] + boxes[:, 2:]) / 2
        measured[:, 2], measured[:, 3] = sides[:, 0] * sides[:, 1], sides[:, 0] / sides[:, 1]
        return measured

    def boxes(self, motion: np.ndarray) -> np.ndarray:
        """(N, 4) where the boxes are, xyxy pixels."""
        area, aspect = np.maximum(motion[:, POSITION, 2:], 1e-6).T
        width = np.sqrt(area * aspect)
        return _around(motion[:, POSITION, :2], width, area / width)

    def _limit(self, motion: np.ndarray) -> None:
        """An area that would shrink below nothing stays as it is."""
        gone = motion[:, POSITION, 2] + motion[:, VELOCITY, 2] <= 0
        if gone.any():
            motion[gone, VELOCITY, 2] = 0

    def _start_variances(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.start_variances[0], self.start_variances[1]

    def _step_variances(self, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.step_variances[0], self.step_variances[1]

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
    return float(np.sqrt(abs(camera[0, 0] * camera[1, 1] - camera[0, 1] * camera[1, 0])))


def _around(center: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    boxes = np.empty((len(center), 4))
    half_width, half_height = width / 2, height / 2
    boxes[:, 0], boxes[:, 1] = center[:, 0] - half_width, center[:, 1] - half_height
    boxes[:, 2], boxes[:, 3] = center[:, 0] + half_width, center[:, 1] + half_height
    return boxes
