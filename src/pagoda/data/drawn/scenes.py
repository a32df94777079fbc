"""What a video of walking figures is made of: who walks where, what stands in the way, what is behind it all."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import ImageDraw

from pagoda.data.drawn.figures import Figure, Paints
from pagoda.data.drawn.shapes import background
from pagoda.plain import checked


@checked
@dataclass(frozen=True, kw_only=True)
class WalkSettings:
    """How many videos of walking figures there are, how large, and how much goes on in them.

    >>> WalkSettings(num_videos=2).num_frames
    24
    """

    num_videos: int
    """at least 1"""
    num_frames: int = 24
    """of every video, at least 1"""
    seed: int = 0
    """another one gives other figures, screens and noise"""
    image_size: tuple[int, int] = (128, 160)
    """(height, width) in pixels, each at least 32"""
    min_figures: int = 2
    """per video, at least 1"""
    max_figures: int = 5
    """per video"""
    crossing: bool = True
    """figures walk both ways at their own speeds and pass each other; False: in line, and none hides another"""
    num_pillars: int = 1
    """about as wide as a figure; each hides who passes behind it for a few frames"""
    hidden_share: float = 0.05
    """of the time of each figure, in which a board stands before it for one or two frames: only a look at the
    frames around tells where it is"""
    hidden_joints: bool = True
    """joints behind something are annotated too; False: only of figures that are hidden as a whole"""
    bridged_frames: int = 2
    """for so many in a row a hidden figure stays annotated"""
    noise: float = 0.02
    """of every pixel, as a share of white"""
    camera_swing: float = 0.0
    """pixels to either side that the camera swings, there and back within 8 to 16 frames; 0: it stands"""

    def __post_init__(self) -> None:
        is_right = self.num_videos >= 1 and self.num_frames >= 1 and min(self.image_size) >= 32
        if not is_right or not 1 <= self.min_figures <= self.max_figures or not self.camera_swing >= 0:
            raise ValueError(
                "expected num_videos ≥ 1, num_frames ≥ 1, sides ≥ 32, 1 ≤ min_figures ≤ max_figures and camera_swing ≥"
                f" 0, got {self.num_videos}, {self.num_frames}, {self.image_size}, {self.min_figures},"
                f" {self.max_figures} and {self.camera_swing:g}"
            )


@dataclass(frozen=True)
class Screen:
    """A pillar or a board that stands before whoever is behind it."""

    box: tuple[float, float, float, float]
    """xyxy pixels"""
    ground: float
    """y; figures whose feet are above it are behind"""
    frames: range
    """in which it stands there"""
    colour: tuple[int, int, int]
    """RGB, 0 … 255"""

    def draw(
        self, canvas: ImageDraw.ImageDraw, scale: int, paint: int | None = None, *, camera: int = 0
    ) -> None:
        """Paint the screen onto a canvas, as `Figure.draw` does, seen by a camera so many pixels to the right."""
        left, top, right, bottom = (
            (side - camera * (place % 2 == 0)) * scale for place, side in enumerate(self.box)
        )
        canvas.rectangle((left, top, right - 1, bottom - 1), self.colour if paint is None else paint)


@dataclass(frozen=True, eq=False)
class Scene:
    """All that a video is drawn from: figures, screens before them, and the backdrop."""

    figures: tuple[Figure, ...]
    """in no order; see `by_depth`"""
    screens: tuple[Screen, ...]
    """pillars and boards, in no order"""
    backdrop: np.ndarray
    """(H, wider than W, 3) uint8"""
    drift: float
    """pixels per frame by which the backdrop moves"""
    camera: tuple[int, ...]
    """in each frame, how many pixels to the right of its place the camera is"""

    def by_depth(self, frame: int) -> list[Figure | Screen]:
        """What stands there in a frame, the farthest first."""
        standing = (screen for screen in self.screens if frame in screen.frames)
        return sorted((*self.figures, *standing), key=lambda each: each.ground)


@lru_cache(maxsize=64)
def make_scene(walk: WalkSettings, number: int) -> Scene:
    """The scene of video `number`, which settings and number alone decide.

    >>> walk = WalkSettings(num_videos=1, num_frames=4, min_figures=2, max_figures=2)
    >>> scene = make_scene(walk, 0)
    >>> len(scene.figures), len(scene.screens) >= walk.num_pillars, scene is make_scene(walk, 0)
    (2, True, True)
    """
    rng = np.random.default_rng((walk.seed, number, 0))
    height, width = walk.image_size
    count = int(rng.integers(walk.min_figures, walk.max_figures + 1))
    figures = _crossing(rng, walk, count) if walk.crossing else _in_line(rng, walk, count)
    drift = rng.uniform(-0.8, 0.8)
    reach = int(np.ceil(walk.camera_swing))
    wide = width + int(np.ceil(abs(drift) * walk.num_frames)) + 2 + 2 * reach
    backdrop = np.rint(background(rng, (height, wide)).clip(0, 1) * 255).astype(np.uint8)
    screens = (*_pillars(rng, walk), *_boards(rng, walk, figures))
    return Scene(figures, screens, backdrop, drift, _camera(walk, number))


def _camera(walk: WalkSettings, number: int) -> tuple[int, ...]:
    rng = np.random.default_rng((walk.seed, number, 2))
    turns = np.arange(walk.num_frames) / rng.uniform(8, 16) + rng.uniform()
    return tuple(np.rint(walk.camera_swing * np.sin(2 * np.pi * turns)).astype(int).tolist())


def _pillars(rng: np.random.Generator, walk: WalkSettings) -> Iterator[Screen]:
    height, width = walk.image_size
    for part in range(walk.num_pillars):
        x = width * (part + rng.uniform(0.35, 0.65)) / walk.num_pillars
        reach, ground = height * rng.uniform(0.06, 0.09), height * rng.uniform(0.85, 1.0)
        grey = int(rng.integers(40, 200))
        yield Screen((x - reach, -1, x + reach, ground), ground, range(walk.num_frames), (grey, grey, grey))


def _boards(rng: np.random.Generator, walk: WalkSettings, figures: tuple[Figure, ...]) -> Iterator[Screen]:
    """At most one per figure in five frames, never in the first or last: it is seen before and after.

    Each is larger than the figure by a different margin on every side, and has a twin elsewhere that need not hide
    anybody, so that a board alone tells nothing.
    """
    height, width = walk.image_size
    for figure in figures:
        for block in range(1, walk.num_frames - 2, 5):
            if rng.uniform() >= walk.hidden_share * 5 / 1.5:
                continue
            first = block + int(rng.integers(2))
            frames = range(first, min(first + int(rng.integers(1, 3)), walk.num_frames - 1))
            boxes = np.stack([figure.box(figure.joints(frame)) for frame in frames])
            margins = rng.uniform(1, 0.12 * height, 4)
            left, top = (boxes[:, :2].min(0) - margins[:2]).tolist()
            right, bottom = (boxes[:, 2:].max(0) + margins[2:]).tolist()
            red, green, blue = rng.integers(30, 226, 3).tolist()
            for away in (0.0, width * rng.uniform(0.3, 0.7) * (1 if left < width / 3 else -1)):
                box = (left + away, top, right + away, bottom)
                yield Screen(box, float(height), frames, (red, green, blue))


def _crossing(rng: np.random.Generator, walk: WalkSettings, count: int) -> tuple[Figure, ...]:
    """Each from a side of its own, at its own speed; somewhere near the middle at half time."""
    width = walk.image_size[1]
    figures = []
    for index in range(count):
        sign = 1 if (index + int(rng.integers(2)) * (index > 1)) % 2 == 0 else -1
        speed = sign * width * rng.uniform(0.012, 0.03)
        middle = width * rng.uniform(0.2, 0.8)
        figures.append(_figure(rng, walk, middle - speed * (walk.num_frames - 1) / 2, speed))
    return tuple(figures)


def _in_line(rng: np.random.Generator, walk: WalkSettings, count: int) -> tuple[Figure, ...]:
    """At one speed, each within its part of the picture's width, too small to reach over to its neighbour."""
    width = walk.image_size[1]
    speed = (1 if rng.uniform() < 0.5 else -1) * width * rng.uniform(0.01, 0.015)
    middles = (np.arange(count) + 0.5) * width / count - speed * (walk.num_frames - 1) / 2
    return tuple(_figure(rng, walk, x, speed, most=1.6 * width / count) for x in middles.tolist())


def _figure(
    rng: np.random.Generator, walk: WalkSettings, start: float, speed: float, most: float = np.inf
) -> Figure:
    height = min(walk.image_size[0] * rng.uniform(0.42, 0.7), most)
    # Who is larger is nearer, and so stands lower.
    ground = walk.image_size[0] * rng.uniform(0.72, 0.8) + 0.25 * height
    yaw = np.sign(speed) * rng.uniform(0.6, 1.2)
    skin = np.array([235, 195, 165]) * rng.uniform(0.45, 1.05)
    colours = [*(rng.integers(20, 256, 3) for _ in range(2)), skin.clip(0, 255).astype(int)]
    paints = Paints(*((int(r), int(g), int(b)) for r, g, b in colours))
    return Figure(
        start, float(min(ground, walk.image_size[0] - 2)), height, yaw, speed, rng.uniform(0, 6.28), paints
    )
