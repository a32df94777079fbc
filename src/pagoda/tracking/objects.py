"""The objects of one frame as linkers compare them. M objects, K keypoints, masks of G × G, appearance of D numbers."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
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
