"""A walking stick figure: where its joints are at any moment, and how it is painted.

The walker is a flat-footed puppet in three dimensions (forward, to its left, up), seen from the side and a little
from the front: walking to the right it turns its right side to us. Joints are PoseTrack's 17; the ears have no place.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import ImageDraw

from pagoda.structures.posetrack_skeletons import POSETRACK_17

PLACE = {name: k for k, name in enumerate(POSETRACK_17.names)}
HIP, SHOULDER, NECK, NOSE, CROWN = 0.50, 0.79, 0.84, 0.90, 1.0
"""heights above the ground, in heights of the figure"""
SHIN, THIGH, UPPER_ARM, FOREARM = 0.24, 0.24, 0.17, 0.16
STRIDE = 0.85
"""the way of two steps, in heights of the figure"""
HEAD_RADIUS = 0.07
RADII = {"arm": 0.024, "leg": 0.034, "torso": 0.06}

Colour = tuple[int, int, int]


class Paints(NamedTuple):
    """The colours of a figure, RGB 0 … 255."""

    shirt: Colour
    trousers: Colour
    skin: Colour


@dataclass(frozen=True)
class Figure:
    """One walking stick figure; lengths in pixels, times in frames, angles in radians.

    >>> figure = Figure(20.0, 60.0, 40.0, 0.9, 1.0, 0.0, Paints((9, 9, 9), (8, 8, 8), (7, 7, 7)))
    >>> joints = figure.joints(0)
    >>> joints.shape, bool(joints[PLACE["nose"], 1] < joints[PLACE["left_ankle"], 1])  # y goes down
    ((17, 2), True)
    """

    start: float
    """x of its middle in frame 0"""
    ground: float
    """y of its feet; who stands lower is nearer"""
    height: float
    """pixels from the feet to the top of the head, standing upright"""
    yaw: float
    """0: towards us; above 0: walking to the right"""
    speed: float
    """to the right, per frame; its sign is that of `yaw`"""
    phase: float
    """of its steps in frame 0"""
    paints: Paints
    """of its clothes and skin"""

    def joints(self, frame: float) -> np.ndarray:
        """The 17 joints of PoseTrack in a frame, (17, 2) xy, also outside the picture; nan for the ears."""
        phase = self.phase + 2 * np.pi * abs(self.speed) * frame / (STRIDE * self.height)
        body = np.full((len(PLACE), 3), np.nan)  # forward, left, up, in heights of the figure
        sway = 0.012 * np.cos(2 * phase)
        body[PLACE["nose"]] = 0.07, 0, NOSE + sway
        body[PLACE["head_bottom"]] = 0.01, 0, NECK + sway
        body[PLACE["head_top"]] = 0.02, 0, CROWN + sway
        for side, sign in (("left", 1), ("right", -1)):
            swing = np.sin(phase if sign > 0 else phase + np.pi)
            lift = max(np.cos(phase if sign > 0 else phase + np.pi), 0.0)  # the leg that comes forward bends
            hip = np.array([0, 0.06 * sign, HIP + sway])
            knee = hip + THIGH * _down(0.5 * swing)
            shoulder = np.array([0.01, 0.10 * sign, SHOULDER + sway])
            elbow = shoulder + UPPER_ARM * _down(-0.55 * swing)
            body[PLACE[f"{side}_hip"]], body[PLACE[f"{side}_knee"]] = hip, knee
            body[PLACE[f"{side}_ankle"]] = knee + SHIN * _down(0.5 * swing - 0.15 - 0.8 * lift)
            body[PLACE[f"{side}_shoulder"]], body[PLACE[f"{side}_elbow"]] = shoulder, elbow
            body[PLACE[f"{side}_wrist"]] = elbow + FOREARM * _down(-0.55 * swing + 0.45)
        forward, left, up = body.T * self.height
        x = self.start + self.speed * frame + forward * np.sin(self.yaw) + left * np.cos(self.yaw)
        return np.stack([x, self.ground - up], 1)

    def box(self, joints: np.ndarray) -> np.ndarray:
        """(4,) xyxy around the paint, also outside the picture."""
        reach = self.height * RADII["leg"]
        skull = self.head_box(joints)
        low, high = np.nanmin(joints, 0) - reach, np.nanmax(joints, 0) + reach
        return np.concatenate([np.minimum(low, skull[:2]), np.maximum(high, skull[2:])])

    def head_box(self, joints: np.ndarray) -> np.ndarray:
        """(4,) xyxy of the skull, from the crown down to the neck."""
        (neck_x, neck_y), (crown_x, crown_y) = joints[PLACE["head_bottom"]], joints[PLACE["head_top"]]
        x, reach = (neck_x + crown_x) / 2, HEAD_RADIUS * self.height
        return np.array([x - reach, crown_y, x + reach, neck_y])

    def draw(
        self, canvas: ImageDraw.ImageDraw, joints: np.ndarray, scale: int, paint: int | None = None
    ) -> None:
        """Paint the figure onto a canvas `scale` times as large; `paint`: all in this one value, for masks."""
        far, near = ("left", "right") if self.yaw > 0 else ("right", "left")
        points = joints * scale
        for side, shade in ((far, 0.62), (near, 1.0)):
            if side == near:
                self._torso_and_head(canvas, points, scale, paint)
            shirt, trousers = _shaded(self.paints.shirt, shade), _shaded(self.paints.trousers, shade)
            for chain, kind, colour in (
                (("hip", "knee", "ankle"), "leg", trousers),
                (("shoulder", "elbow", "wrist"), "arm", _shaded(shirt, 0.85)),
            ):
                limb = [tuple(points[PLACE[f"{side}_{name}"]]) for name in chain]
                _stroke(canvas, limb, RADII[kind] * self.height * scale, colour if paint is None else paint)

    def _torso_and_head(
        self, canvas: ImageDraw.ImageDraw, points: np.ndarray, scale: int, paint: int | None
    ) -> None:
        shirt, skin = (self.paints.shirt, self.paints.skin) if paint is None else (paint, paint)
        hips = (points[PLACE["left_hip"]] + points[PLACE["right_hip"]]) / 2
        neck, crown, nose = (points[PLACE[name]] for name in ("head_bottom", "head_top", "nose"))
        shoulders = [points[PLACE[f"{side}_shoulder"]] for side in ("left", "right")]
        unit = self.height * scale
        _stroke(canvas, [tuple(hips), tuple(neck)], RADII["torso"] * unit, shirt)
        _stroke(canvas, [tuple(point) for point in shoulders], RADII["arm"] * unit, shirt)
        middle, radius = (neck + crown) / 2, HEAD_RADIUS * unit
        _disc(canvas, middle, radius, (neck[1] - crown[1]) / 2, skin)
        spot = _shaded(self.paints.skin, 0.45) if paint is None else paint
        _disc(canvas, nose, 0.022 * unit, 0.022 * unit, spot)


def _down(angle: float) -> np.ndarray:
    """Forward, left, up of a bone that hangs down, swung forward by `angle`."""
    return np.array([np.sin(angle), 0, -np.cos(angle)])


def _shaded(colour: Colour, shade: float) -> Colour:
    red, green, blue = (int(value * shade) for value in colour)
    return red, green, blue


def _stroke(
    canvas: ImageDraw.ImageDraw, points: list[tuple[float, ...]], radius: float, colour: Colour | int
) -> None:
    """A line with round ends and joints."""
    canvas.line([value for point in points for value in point], colour, max(round(2 * radius), 1))
    for point in points:
        _disc(canvas, point, radius, radius, colour)


def _disc(
    canvas: ImageDraw.ImageDraw, middle: np.ndarray | tuple, across: float, down: float, colour: Colour | int
) -> None:
    x, y = middle
    canvas.ellipse((x - across, y - down, x + across, y + down), colour)
