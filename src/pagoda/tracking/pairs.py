"""What the pairs of a frame cost: every track with every object. N tracks, M objects."""

from functools import cached_property

import numpy as np

from pagoda.tracking.association import iou_costs
from pagoda.tracking.motion import MotionModel
from pagoda.tracking.objects import Objects


class Pairs:
    """All tracks and all objects of a frame; what several stages ask for is reckoned once."""

    def __init__(self, model: MotionModel, tracks: np.ndarray, objects: Objects, frame: int) -> None:
        self.model, self.tracks, self.objects, self.frame = model, tracks, objects, frame

    @cached_property
    def expected(self) -> np.ndarray:
        """(N, 4) the boxes of the tracks as predicted."""
        return self.model.boxes(self.tracks["motion"])

    @cached_property
    def apart(self) -> np.ndarray:
        """(N, M) 1 - IoU with the predicted boxes; inf between classes."""
        return self.of_one_class(iou_costs(self.expected, self.objects.boxes))

    @cached_property
    def apart_from_last(self) -> np.ndarray:
        """(N, M) 1 - IoU with the boxes where tracks were last seen; inf between classes."""
        return self.of_one_class(iou_costs(self.tracks["boxes"][:, -1], self.objects.boxes))

    def of_one_class(self, costs: np.ndarray) -> np.ndarray:
        """The costs with inf between tracks and objects of different classes."""
        other = self.tracks["label"][:, None] != self.objects.labels
        costs[other] = np.inf
        return costs
