"""The objects of one frame as linkers compare them. M objects, K keypoints, masks of G × G, appearance of D numbers."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Objects:
    """What was found in a frame.

    >>> boxes = np.array([[0., 0., 9., 30.], [50., 0., 59., 30.]])
    >>> len(Objects(boxes, np.array([0.9, 0.2]), np.array([0, 0])).rows(np.array([1])))
    1
    """

    boxes: np.ndarray
    """(M, 4) xyxy pixels"""
    scores: np.ndarray
    """(M,) 0 … 1"""
    labels: np.ndarray
    """(M,) classes"""
    keypoints: np.ndarray | None = None
    """(M, K, 2) xy pixels; nan where one is not there"""
    sigmas: np.ndarray | None = None
    """(K,) of COCO's object keypoint similarity, where there are keypoints"""
    masks: np.ndarray | None = None
    """(M, G, G) bool inside each box"""
    appearance: np.ndarray | None = None
    """(M, D) vectors of unit length"""

    def __len__(self) -> int:
        return len(self.boxes)

    def rows(self, which: np.ndarray) -> "Objects":
        """Some of the objects, by number or as (M,) bool."""
        keypoints, masks, appearance = (
            None if each is None else each[which] for each in (self.keypoints, self.masks, self.appearance)
        )
        return Objects(
            self.boxes[which],
            self.scores[which],
            self.labels[which],
            keypoints,
            self.sigmas,
            masks,
            appearance,
        )


GRID = 14
"""cells along each side of the small masks that are made of whole ones"""


def inside_boxes(masks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(M, GRID, GRID) what (M, H, W) masks say at the middles of so many cells of each xyxy box.

    >>> inside_boxes(np.ones((1, 9, 9), bool), np.array([[0., 0., 9., 18.]])).mean()  # below the picture is nothing
    np.float64(0.5)
    """
    if not len(boxes):
        return np.zeros((0, GRID, GRID), dtype=bool)
    height, width = masks.shape[1:]
    places = (np.arange(GRID) + 0.5) / GRID
    x, y = (
        np.floor(low[:, None] + (high - low)[:, None] * places).astype(np.int64)
        for low, high in ((boxes[:, 0], boxes[:, 2]), (boxes[:, 1], boxes[:, 3]))
    )
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    y, x = y.clip(0, height - 1)[:, :, None], x.clip(0, width - 1)[:, None]
    return inside & masks[np.arange(len(boxes))[:, None, None], y, x].astype(bool)


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """(M, D) vectors of length 1; those of length 0 stay so.

    >>> unit_length(np.array([[3., 4.], [0., 0.]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
