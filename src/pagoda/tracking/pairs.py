"""What the pairs of a frame cost: every track with every object. N tracks, M objects, K keypoints, masks of G × G."""

from functools import cached_property

import numpy as np

from pagoda.tracking.association import cosine_costs, iou_costs, oks_costs
from pagoda.tracking.motion import MotionModel
from pagoda.tracking.objects import Objects
from pagoda.tracking.table import shared_parts

MAX_GROWTH = 1.4
"""of an object's height, up or down, while it is not seen"""


class Pairs:
    """All tracks and all objects of a frame; what several stages ask for is reckoned once.

    Costs are 0 for the same and 1 for nothing in common; inf between objects of different classes.
    """

    def __init__(
        self,
        model: MotionModel,
        tracks: np.ndarray,
        objects: Objects,
        frame: int,
        usual_look: np.ndarray | None = None,
    ) -> None:
        """`usual_look` (D,): the mean appearance of all objects so far; what is compared is how far one is off it."""
        self.model, self.tracks, self.objects, self.frame = model, tracks, objects, frame
        self._both = shared_parts(tracks, objects)
        self.expected = model.boxes(tracks["motion"])
        """(N, 4) the boxes of the tracks as predicted"""
        self.boxes_apart = self._of_one_class(iou_costs(self.expected, objects.boxes))
        """(N, M) 1 - IoU with the predicted boxes"""
        self.apart = self._apart()
        """(N, M) of places: half boxes, half poses or masks where there are any"""
        self.looks_apart = self._looks_apart(usual_look) if "appearance" in self._both else None
        """(N, M) 1 - cosine of appearance, from 0 to 2, 1 for looks that say nothing; None where there are none"""

    @cached_property
    def apart_from_last(self) -> np.ndarray:
        """(N, M) 1 - IoU with the boxes where tracks were last seen."""
        return self._of_one_class(iou_costs(self.tracks["boxes"][:, -1], self.objects.boxes))

    def off_expected(self) -> np.ndarray:
        """(N, M) how far the centre of an object is from where a track is expected, in heights of it, over the root of
        the frames for which it was not seen; inf for another class and for what has grown or shrunk too much."""
        before, now = self.expected, self.objects.boxes
        heights = np.maximum(before[:, 3] - before[:, 1], 1e-6)
        growth = (now[:, 3] - now[:, 1]) / heights[:, None]
        off = (before[:, None, :2] + before[:, None, 2:] - now[:, :2] - now[:, 2:]) / 2
        unseen = self.frame - self.tracks["frames"][:, -1]
        costs = np.hypot(off[..., 0], off[..., 1]) / (heights * np.sqrt(unseen))[:, None]
        same_size = (growth <= MAX_GROWTH) & (growth >= 1 / MAX_GROWTH)
        return np.where(same_size & (self.tracks["label"][:, None] == self.objects.labels), costs, np.inf)

    def _apart(self) -> np.ndarray:
        if "keypoints" in self._both:
            return (self.boxes_apart + self._poses_apart(self.expected)) / 2
        if "masks" in self._both:
            return (self.boxes_apart + self._masks_apart(self.expected)) / 2
        return self.boxes_apart

    def _looks_apart(self, usual: np.ndarray | None) -> np.ndarray:
        before, now = self.tracks["appearance"], self.objects.appearance
        assert now is not None
        return cosine_costs(before, now) if usual is None else cosine_costs(before - usual, now - usual)

    def _of_one_class(self, costs: np.ndarray) -> np.ndarray:
        before, now = self.tracks["label"], self.objects.labels
        # To gather the classes of a scene costs less than to compare all pairs of it.
        if len({*before.tolist(), *now.tolist()}) > 1:
            costs[before[:, None] != now] = np.inf
        return costs

    def _poses_apart(self, boxes: np.ndarray) -> np.ndarray:
        """(N, M) 1 - OKS with the poses as last seen, each moved and scaled with its box to `boxes` (N, 4)."""
        last = self.tracks["boxes"][:, -1]
        sides, now = (np.maximum(b[:, 2:] - b[:, :2], 1e-6) for b in (last, boxes))
        points = (self.tracks["keypoints"] - last[:, None, :2]) * (now / sides)[:, None] + boxes[:, None, :2]
        assert self.objects.keypoints is not None and self.objects.sigmas is not None
        return oks_costs(points, self.objects.keypoints, now[:, 0] * now[:, 1], self.objects.sigmas)

    def _masks_apart(self, boxes: np.ndarray) -> np.ndarray:
        """(N, M) 1 - IoU of masks, those of tracks as last seen, in `boxes` (N, 4)."""
        theirs, objects = self.tracks["masks"], self.objects
        assert objects.masks is not None
        costs = np.ones(self.boxes_apart.shape)
        tracks, rows = np.nonzero(self.boxes_apart < 1)
        if not len(tracks):
            return costs
        cells = theirs.shape[1]
        place = (np.arange(cells) + 0.5) / cells
        low, side = objects.boxes[rows, :2], objects.boxes[rows, 2:] - objects.boxes[rows, :2]
        points = (
            low[:, None] + side[:, None] * place[:, None]
        )  # (pairs, G, 2) x and y of the middles of cells
        start, reach = (
            boxes[tracks, None, :2],
            np.maximum(boxes[tracks, 2:] - boxes[tracks, :2], 1e-6)[:, None],
        )
        cell = np.floor((points - start) / reach * cells).astype(np.int64)
        inside = (cell >= 0) & (cell < cells)
        column, row = np.clip(cell, 0, cells - 1).transpose(2, 0, 1)
        seen = theirs[tracks[:, None, None], row[:, :, None], column[:, None]]
        seen = seen & inside[:, :, None, 1] & inside[:, None, :, 0]
        mine = objects.masks[rows]
        areas = side[:, 0] * side[:, 1], reach[:, 0, 0] * reach[:, 0, 1]
        shared = (seen & mine).mean((1, 2)) * areas[0]
        union = mine.mean((1, 2)) * areas[0] + theirs[tracks].mean((1, 2)) * areas[1] - shared
        costs[tracks, rows] = 1 - np.minimum(shared / np.maximum(union, 1e-9), 1)
        return costs
