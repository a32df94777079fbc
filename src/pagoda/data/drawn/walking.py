"""Videos of walking stick figures, drawn on the fly: people of many colours and sizes who meet, hide each other, walk
behind pillars, come and go. N figures, K joints.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pagoda.data.drawn.figures import Figure
from pagoda.data.drawn.scenes import Scene, Screen, WalkSettings, make_scene
from pagoda.data.videos import Video
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.tracks import Tracks

FINER = 2
"""Pixels are drawn so many times as fine, which smooths the edges"""
MIN_INSIDE = 0.3
"""A figure of whose box less is inside the picture has not come yet, or is gone"""
MIN_SEEN = 0.15
"""A figure of whose pixels less is uncovered counts as hidden"""


class WalkingFigures(WalkSettings):
    """Sequence of `Video`s, for `ClipDataset`; the same `seed` and number always give the same video.

    The joints are PoseTrack's 17, of which the ears are never annotated; head boxes are there, so that PoseTrack's
    scores can be computed. Joints outside the picture are not annotated. A figure that is hidden for at most
    `bridged_frames` in a row stays annotated with all its joints, as a person would who looks at its neighbours in
    time; while it is hidden for longer it is not there, and comes back under its id.

    >>> walk = WalkingFigures(num_videos=2, num_frames=3, image_size=(32, 40))
    >>> walk[1].tracks.name, walk[1].tracks.num_frames, tuple(walk.frame(1, 0).shape)
    ('walk_0001', 3, (3, 32, 40))
    """

    def __len__(self) -> int:
        return self.num_videos

    def __iter__(self) -> Iterator[Video]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Video:
        if not -len(self) <= number < len(self):
            raise IndexError(f"video {number} of {len(self)}")
        number %= len(self)
        return Video(self.tracks(number), partial(self.frame, number))

    def frame(self, number: int, frame: int) -> Tensor:
        """uint8 (3, H, W) of one video."""
        scene = make_scene(self, number)
        height, width = self.image_size
        camera, reach = scene.camera[frame], max(map(abs, scene.camera))
        left = reach + camera
        left += (
            round(scene.drift * frame) if scene.drift >= 0 else round(scene.drift * (frame - self.num_frames))
        )
        behind = Image.fromarray(scene.backdrop[:, left : left + width])
        image = behind.resize((width * FINER, height * FINER), Image.Resampling.NEAREST)
        canvas = ImageDraw.Draw(image)
        for each in scene.by_depth(frame):
            if isinstance(each, Figure):
                each.draw(canvas, each.joints(frame) - (camera, 0), FINER)
            else:
                each.draw(canvas, FINER, camera=camera)
        pixels = np.asarray(image.reduce(FINER)).astype(np.float32)
        rng = np.random.default_rng((self.seed, number, 1, frame))
        pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * (255 * self.noise)
        return torch.from_numpy(np.rint(pixels.clip(0, 255)).astype(np.uint8)).permute(2, 0, 1).contiguous()

    def shares_seen(self, number: int) -> np.ndarray:
        """(frames, N) of each figure of one video the share of its pixels that nothing covers.

        >>> WalkingFigures(num_videos=1, num_frames=2, image_size=(32, 40)).shares_seen(0).shape[0]
        2
        """
        scene = make_scene(self, number)
        return self._what_is_seen(scene, self._joints(scene))[0]

    def _joints(self, scene: Scene) -> np.ndarray:
        return np.stack(
            [
                [figure.joints(frame) - (scene.camera[frame], 0) for figure in scene.figures]
                for frame in range(self.num_frames)
            ]
        )

    def tracks(self, number: int) -> Tracks:
        """Everybody in every frame of one video."""
        scene = make_scene(self, number)
        height, width = self.image_size
        joints = self._joints(scene)
        seen, shown = self._what_is_seen(scene, joints)
        is_hidden = seen < MIN_SEEN
        boxes = np.stack([[f.box(p) for f, p in zip(scene.figures, row, strict=True)] for row in joints])
        heads = np.stack([[f.head_box(p) for f, p in zip(scene.figures, row, strict=True)] for row in joints])
        limits = np.array([width, height] * 2)
        cut = boxes.clip(0, limits)
        is_inside = _areas(cut) >= MIN_INSIDE * _areas(boxes)
        is_there = is_inside & _bridge(~is_hidden, self.bridged_frames)
        if not self.hidden_joints:
            joints = np.where((shown | is_hidden[..., None])[..., None], joints, np.nan)
        outside = ((joints < 0) | (joints > limits[:2])).any(-1, keepdims=True)
        joints = np.where(outside, np.nan, joints)
        frames, ids = np.nonzero(is_there)
        name = f"walk_{number:04d}"
        return Tracks(
            frames,
            ids,
            cut[is_there],
            np.ones(len(frames)),
            np.zeros(len(frames), dtype=np.int64),
            PERSON_17,
            self.num_frames,
            self.image_size,
            name,
            keypoints=joints[is_there],
            head_boxes=heads[is_there],
            frame_names=tuple(f"{name}/{frame:06d}.png" for frame in range(self.num_frames)),
        )

    def _what_is_seen(self, scene: Scene, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(frames, N) the share of each figure's pixels that nothing covers, (frames, N, K) which joints so."""
        height, width = self.image_size
        seen, shown = np.zeros(joints.shape[:2]), np.zeros(joints.shape[:3], bool)
        for frame, poses in enumerate(joints):
            covered = np.zeros(self.image_size, bool)
            for each in reversed(scene.by_depth(frame)):
                image = Image.new("L", (width, height))
                canvas = ImageDraw.Draw(image)
                if isinstance(each, Screen):
                    each.draw(canvas, 1, paint=1, camera=scene.camera[frame])
                    covered |= np.asarray(image) > 0
                    continue
                row = scene.figures.index(each)
                each.draw(canvas, poses[row], 1, paint=1)
                mask = np.asarray(image) > 0
                seen[frame, row] = (mask & ~covered).sum() / max(mask.sum(), 1)
                x, y = np.nan_to_num(poses[row], nan=-1).clip(-1, (width, height)).astype(int).T
                is_in = (x >= 0) & (y >= 0) & (x < width) & (y < height)
                shown[frame, row, is_in] = ~covered[y[is_in], x[is_in]]
                covered |= mask
        return seen, shown


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _bridge(is_seen: np.ndarray, most: int) -> np.ndarray:
    """(frames, N) with gaps of up to `most` frames between two that are true filled."""
    filled = is_seen.copy()
    for row in range(is_seen.shape[1]):
        (frames,) = np.nonzero(is_seen[:, row])
        for before, after in zip(frames[:-1].tolist(), frames[1:].tolist(), strict=True):
            if after - before - 1 <= most:
                filled[before:after, row] = True
    return filled
