"""How the camera has moved between two frames, so that linkers look for objects where the picture has taken them."""

from typing import Any

import numpy as np

from pagoda.plain import check_counts, checked

INSTALL = "following a moving camera needs opencv; install with: pip install 'pagoda-vision[camera]'"
STILL = np.eye(2, 3)
MIN_POINTS = 10
"""fewer that agree tell nothing"""
MARGIN = 0.05
"""of an object's sides, by which what is painted out of the picture is larger than its box"""


@checked
class CameraMotion:
    """Sparse optical flow (Lucas & Kanade 1981, in pyramids): corners of the frame before are found again in this one,
    and what most of them have in common - a shift, a turn and a change of scale - is taken for the camera's.

    Corners on objects that move by themselves are left out where their boxes are told. Needs opencv, an extra.

    >>> rng = np.random.default_rng(0)
    >>> scene = rng.integers(0, 255, (20, 30, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    >>> camera = CameraMotion()
    >>> still = camera.update(scene[:, 20:200])
    >>> camera.update(scene[:, 27:207])[:, 2].round().tolist()  # the camera went 7 pixels to the right
    [-7.0, -0.0]
    """

    def __init__(self, *, short_side: int = 240, max_points: int = 300) -> None:
        """
        Args:
            short_side: of the picture as it is compared; larger ones are reduced to it, which is quicker.
            max_points: corners that are followed at most.

        Raises ImportError without opencv.
        """
        check_counts(short_side=short_side, max_points=max_points)
        try:
            import cv2
        except ImportError as error:
            raise ImportError(INSTALL) from error
        self._cv: Any = cv2
        self.short_side, self.max_points = short_side, max_points
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first of another video."""
        self._before: np.ndarray | None = None
        self._boxes = np.zeros((0, 4))
        self.num_lost = 0
        """frames in which too few corners agreed, and the camera was taken to stand still"""

    def update(self, picture: np.ndarray, boxes: np.ndarray | None = None) -> np.ndarray:
        """(2, 3) what takes xy pixels of the frame before to this one, (H, W, 3) uint8 RGB; of the first one and where
        too little is found again, that nothing moved.

        `boxes` (N, 4) xyxy: objects in this frame, on which no corners are then followed into the next.
        """
        scale = min(1.0, self.short_side / min(picture.shape[:2]))
        now = self._cv.cvtColor(np.ascontiguousarray(picture), self._cv.COLOR_RGB2GRAY)
        if scale < 1:
            now = self._cv.resize(now, None, fx=scale, fy=scale, interpolation=self._cv.INTER_AREA)
        before, others = self._before, self._boxes
        self._before, self._boxes = now, np.zeros((0, 4)) if boxes is None else np.asarray(boxes) * scale
        if before is None or before.shape != now.shape:
            return STILL.copy()
        moved = self._between(before, now, others)
        if moved is None and len(others):
            moved = self._between(
                before, now, others[:0]
            )  # where objects fill the picture, most of them stand still
        if moved is None:
            self.num_lost += 1
            return STILL.copy()
        moved[:, 2] /= scale
        return moved

    def _between(self, before: np.ndarray, now: np.ndarray, boxes: np.ndarray) -> np.ndarray | None:
        corners = self._cv.goodFeaturesToTrack(
            before, self.max_points, qualityLevel=0.01, minDistance=5, mask=_outside(boxes, before.shape)
        )
        if corners is None or len(corners) < MIN_POINTS:
            return None
        found, is_found, _ = self._cv.calcOpticalFlowPyrLK(
            before, now, corners, None, winSize=(15, 15), maxLevel=3
        )
        kept = is_found.ravel() > 0
        if kept.sum() < MIN_POINTS:
            return None
        moved, agree = self._cv.estimateAffinePartial2D(
            corners[kept], found[kept], method=self._cv.RANSAC, ransacReprojThreshold=1.5
        )
        return None if moved is None or agree.sum() < MIN_POINTS else np.asarray(moved, dtype=np.float64)


def _outside(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) uint8, 0 where an object is."""
    mask = np.full(shape[:2], 255, dtype=np.uint8)
    sides = MARGIN * (boxes[:, 2:] - boxes[:, :2])
    low, high = np.floor(boxes[:, :2] - sides), np.ceil(boxes[:, 2:] + sides)
    for (left, top), (right, bottom) in zip(low.clip(0).astype(int), high.clip(0).astype(int), strict=True):
        mask[top:bottom, left:right] = 0
    return mask
