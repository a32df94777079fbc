"""Detections of many images as columns: added image by image, joined with those of other processes.

D detections over all images, K keypoints.
"""

from collections.abc import Iterable

import numpy as np

from pagoda.messages import counted

State = dict[str, np.ndarray]
"""images, boxes_xywh, scores, categories, and where the detections have them masks and keypoints, one row per
detection; answered, (images,) bool; repeated, a number. Plain arrays that pickle small."""

_EMPTY: State = {
    "images": np.zeros(0, np.int64),
    "boxes_xywh": np.zeros((0, 4)),
    "scores": np.zeros(0),
    "categories": np.zeros(0, np.int64),
}
MASKS_KEYPOINTS = ("masks", "keypoints")
"""Columns some detections have: (D,) texts of run lengths, as objects; (D, K, 3) x, y, score"""


class Collected:
    """Everything the detections of `num_images` images say, in the order it came.

    >>> here, there = Collected(3), Collected(3)
    >>> one = {"images": np.array([2]), "boxes_xywh": np.ones((1, 4)), "scores": np.ones(1), "categories": np.zeros(1)}
    >>> there.add(np.array([2]), one)
    >>> here.merge([there.state()])
    >>> here.answered, len(here.state()["scores"])
    (array([False, False,  True]), 1)
    """

    def __init__(self, num_images: int) -> None:
        self.answered = np.zeros(num_images, dtype=bool)
        self.num_repeated = 0
        self._parts: list[State] = []

    def add(self, answered: np.ndarray, columns: State) -> None:
        """The detections of the images at these positions. Raises ValueError where only some have masks."""
        for name in MASKS_KEYPOINTS:
            kinds = {name in part for part in (*self._parts, columns) if len(part["scores"])}
            if len(kinds) > 1:
                raise ValueError(
                    f"some detections come with {name} and others without; give all of them {name}, or none"
                )
        self.answered[answered] = True
        self._parts.append(columns)

    def state(self) -> State:
        """All that was collected: for `merge` in another process."""
        columns = {
            name: np.concatenate([none, *(part[name] for part in self._parts)])
            for name, none in _EMPTY.items()
        }
        for name in MASKS_KEYPOINTS:
            found = [part[name] for part in self._parts if name in part]
            filled = [column for column in found if len(column)]
            if found:
                columns[name] = np.concatenate(filled) if filled else found[0]
        return {**columns, "answered": self.answered.copy(), "repeated": np.array(self.num_repeated)}

    def merge(self, states: Iterable[State]) -> None:
        """Add the states of other processes; of an image that was answered before, what came first counts.

        Raises ValueError for states of other data.
        """
        for state in states:
            if len(state["answered"]) != len(self.answered):
                raise ValueError(
                    f"cannot merge evaluators of different data: {counted(len(self.answered), 'image')} here,"
                    f" {len(state['answered'])} in the other state"
                )
            fresh = ~self.answered[state["images"]]
            names = [*_EMPTY, *(name for name in MASKS_KEYPOINTS if name in state)]
            self._parts.append({name: state[name][fresh] for name in names})
            self.num_repeated += int((self.answered & state["answered"]).sum()) + int(state["repeated"])
            self.answered |= state["answered"]
