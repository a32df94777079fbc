"""Where a box will be in the next frame: Kalman filters for many boxes at once. N boxes, S state, Z measured.

The equations are those of any textbook (Kalman 1960): x is the state, P its covariance; predict x ← F x,
P ← F P Fᵀ + Q; on a measurement z, K = P Hᵀ (H P Hᵀ + R)⁻¹, x ← x + K (z - H x), P ← (I - K H) P.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass
class Motion:
    """Where N boxes are believed to be and how surely.

    >>> two = AreaMotion().start(np.array([[0., 0., 4., 8.], [0., 0., 8., 8.]]))
    >>> two.split()[1].state[0].tolist()  # centre, area, width / height, and what the first three change by
    [4.0, 4.0, 64.0, 1.0, 0.0, 0.0, 0.0]
    """

    state: Float[np.ndarray, "n s"]
    """the numbers of the model that made it, the measured ones first, then their change per frame; pixels"""
    covariance: Float[np.ndarray, "n s s"]
    """of those numbers: squared doubts on the diagonal"""

    @classmethod
    def stack(cls, motions: Sequence["Motion"]) -> "Motion":
        """The motions of all boxes as one, in their order."""
        return cls(
            np.concatenate([each.state for each in motions]),
            np.concatenate([each.covariance for each in motions]),
        )

    def split(self) -> list["Motion"]:
        """The motion of each box by itself."""
        return [Motion(self.state[i : i + 1], self.covariance[i : i + 1]) for i in range(len(self.state))]


class HeightScaledMotion:
    """A filter of constant velocity of centre, aspect (width / height) and height; all doubts grow with the height.

    DeepSORT's filter (Wojke 2017), which ByteTrack uses: positions are unsure by 1/20 of the height,
    velocities by 1/160 of it per frame.

    >>> model = HeightScaledMotion()
    >>> seen = model.start(np.array([[0., 0., 10., 10.]]))
    >>> seen = model.correct(model.predict(seen), np.array([[2., 0., 12., 10.]]))
    >>> model.boxes(model.predict(seen)).round(1)  # seen 2 pixels further, it is believed to go on
    array([[ 2.1,  0. , 12.1, 10. ]])
    """

    position_share, velocity_share = 1 / 20, 1 / 160
    aspect_doubt, aspect_velocity_doubt, measured_aspect_doubt = 1e-2, 1e-5, 1e-1

    def __init__(self) -> None:
        self.transition = np.eye(8) + np.eye(8, k=4)
        self.observation = np.eye(4, 8)

    def start(self, boxes: Float[np.ndarray, "n 4"]) -> Motion:
        """Boxes seen for the first time, believed to stand still."""
        measured = self._measure(boxes)
        doubts = self._doubts(measured[:, 3], position=2, velocity=10)
        return Motion(np.concatenate([measured, np.zeros_like(measured)], 1), _diagonals(doubts))

    def predict(self, motion: Motion) -> Motion:
        """The motion one frame later."""
        noise = _diagonals(self._doubts(motion.state[:, 3], position=1, velocity=1))
        return _predict(motion, self.transition, noise)

    def correct(self, motion: Motion, boxes: Float[np.ndarray, "n 4"]) -> Motion:
        """A predicted motion, told where its boxes were seen in that frame."""
        doubts = self._doubts(motion.state[:, 3], position=1, velocity=1)[:, :4]
        doubts[:, 2] = self.measured_aspect_doubt
        return _correct(motion, self._measure(boxes), self.observation, _diagonals(doubts))

    def boxes(self, motion: Motion) -> Float[np.ndarray, "n 4"]:
        """Where the boxes are, xyxy pixels."""
        center, aspect, height = motion.state[:, :2], motion.state[:, 2:3], motion.state[:, 3:4]
        half = np.concatenate([aspect * height, height], 1) / 2
        return np.concatenate([center - half, center + half], 1)

    def _doubts(self, heights: np.ndarray, *, position: float, velocity: float) -> np.ndarray:
        """(N, 8) standard deviations, those of lengths `position` and `velocity` times the share of the height."""
        place, speed = position * self.position_share * heights, velocity * self.velocity_share * heights
        aspect, change = (
            np.full_like(heights, self.aspect_doubt),
            np.full_like(heights, self.aspect_velocity_doubt),
        )
        return np.stack([place, place, aspect, place, speed, speed, change, speed], 1)

    @staticmethod
    def _measure(boxes: np.ndarray) -> np.ndarray:
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
        return np.concatenate(
            [(boxes[:, :2] + boxes[:, 2:]) / 2, sides[:, :1] / sides[:, 1:], sides[:, 1:]], 1
        )


class AreaMotion:
    """A filter of constant velocity of centre and area, constant aspect (width / height); SORT's filter (Bewley 2016).

    OC-SORT uses the same. The doubts are SORT's fixed numbers, in pixels.

    >>> model = AreaMotion()
    >>> seen = model.start(np.array([[0., 0., 10., 10.]]))
    >>> seen = model.correct(model.predict(seen), np.array([[2., 0., 12., 10.]]))
    >>> model.boxes(model.predict(seen)).round(1)  # seen 2 pixels further, it is believed to go on so
    array([[ 4.,  0., 14., 10.]])
    """

    def __init__(self) -> None:
        self.transition = np.eye(7) + np.eye(7, k=4)
        self.observation = np.eye(4, 7)
        self.start_covariance = np.diag([10.0, 10, 10, 10, 1e4, 1e4, 1e4])
        self.step_noise = np.diag([1, 1, 1, 1, 0.01, 0.01, 1e-4])
        self.measurement_noise = np.diag([1.0, 1, 10, 10])

    def start(self, boxes: Float[np.ndarray, "n 4"]) -> Motion:
        """Boxes seen for the first time, believed to stand still, though with little faith in that."""
        state = np.concatenate([self._measure(boxes), np.zeros((len(boxes), 3))], 1)
        return Motion(state, np.repeat(self.start_covariance[None], len(boxes), 0))

    def predict(self, motion: Motion) -> Motion:
        """The motion one frame later."""
        state = motion.state.copy()
        # An area that would shrink below nothing stays as it is.
        state[state[:, 2] + state[:, 6] <= 0, 6] = 0
        return _predict(Motion(state, motion.covariance), self.transition, self.step_noise)

    def correct(self, motion: Motion, boxes: Float[np.ndarray, "n 4"]) -> Motion:
        """A predicted motion, told where its boxes were seen in that frame."""
        return _correct(motion, self._measure(boxes), self.observation, self.measurement_noise)

    def boxes(self, motion: Motion) -> Float[np.ndarray, "n 4"]:
        """Where the boxes are, xyxy pixels."""
        area, aspect = np.maximum(motion.state[:, 2], 1e-6), np.maximum(motion.state[:, 3], 1e-6)
        width = np.sqrt(area * aspect)
        half = np.stack([width, area / width], 1) / 2
        return np.concatenate([motion.state[:, :2] - half, motion.state[:, :2] + half], 1)

    @staticmethod
    def _measure(boxes: np.ndarray) -> np.ndarray:
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
        area_aspect = np.stack([sides[:, 0] * sides[:, 1], sides[:, 0] / sides[:, 1]], 1)
        return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, area_aspect], 1)


def _diagonals(deviations: np.ndarray) -> np.ndarray:
    return np.square(deviations)[:, :, None] * np.eye(deviations.shape[1])


def _predict(motion: Motion, transition: np.ndarray, noise: np.ndarray) -> Motion:
    return Motion(motion.state @ transition.T, transition @ motion.covariance @ transition.T + noise)


def _correct(motion: Motion, measured: np.ndarray, observation: np.ndarray, noise: np.ndarray) -> Motion:
    expected = motion.state @ observation.T
    cross = motion.covariance @ observation.T  # (N, S, Z)
    doubt = observation @ cross + noise
    gain = np.linalg.solve(doubt, cross.transpose(0, 2, 1)).transpose(0, 2, 1)
    state = motion.state + np.einsum("nsz,nz->ns", gain, measured - expected)
    return Motion(state, motion.covariance - gain @ cross.transpose(0, 2, 1))
