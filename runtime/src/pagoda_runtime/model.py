"""An exported detector: pictures in, `Detections` out."""

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from pagoda_runtime.backends import OpenedFile
from pagoda_runtime.detections import Detections, LabelMap, Skeleton
from pagoda_runtime.errors import PictureError
from pagoda_runtime.input_spec import InputSpec
from pagoda_runtime.masks import RULES, paste_masks
from pagoda_runtime.thresholds import REMEDY, ScoreThresholds
from pagoda_runtime.together import Seen, groups, see
from pagoda_runtime.tracking.byte import ByteTracker
from pagoda_runtime.tracking.linkers import card_tracker, create_tracker
from pagoda_runtime.tracking.ocsort import OCSortTracker

FOLLOWING_MIN_SCORE = 0.1
"""of what a linker is shown; ByteTracker's second round looks at weak detections too"""
MORE = {
    "keypoints": "keypoints",
    "keypoint_scores": "keypoint_scores",
    "mask_probabilities": "mask_crops",
    "appearance": "appearance",
}
"""fields of `Detections` by the output that fills them, where a file has it"""


class Model:
    """What `loading.load` gives; threads may share it."""

    label_map: LabelMap
    input_spec: InputSpec
    min_score: float
    """built into the file: weaker objects are not found"""
    thresholds: ScoreThresholds | None
    """what `min_score="card"` stands for; None where the file holds none"""
    metadata: dict[str, str]
    """as it stands in the file"""
    engine: str
    """what computes"""
    starting_score: float | None = None
    """from which score on a linker that is given by name follows somebody; None: its own"""

    def __init__(self, opened: OpenedFile) -> None:
        self.metadata, self.engine = opened.metadata, opened.engine
        said = {key: json.loads(opened.metadata[key]) for key in ("names", "category_ids", "input_spec")}
        skeleton = opened.metadata.get("skeleton")
        self.label_map = LabelMap(
            tuple(said["names"]),
            tuple(said["category_ids"]),
            None if skeleton is None else Skeleton.from_dict(json.loads(skeleton)),
        )
        self.input_spec = InputSpec.from_dict(said["input_spec"])
        limits = json.loads(opened.metadata.get("postprocess", "{}"))
        self.min_score = float(limits.get("min_score", 0.0))
        self._rule = limits.get("paste", "continuous")
        if self._rule not in RULES:
            raise ValueError(
                f"it pastes masks by the rule {self._rule!r}, of which this pagoda-runtime knows nothing; install a"
                " newer one"
            )
        self._min_mask_probability = float(limits.get("min_mask_probability", 0.5))
        thresholds = opened.metadata.get("thresholds")
        self.thresholds = (
            None
            if thresholds is None
            else ScoreThresholds.from_dict(json.loads(thresholds), self.label_map.names)
        )
        self._opened = opened

    def __repr__(self) -> str:
        name, count = self.metadata.get("model", "detector"), len(self.label_map)
        return f"Model({name} of {count} classes, {self.engine})"

    def predict(
        self, source: Any, *, min_score: float | Literal["card"] | None = None
    ) -> Detections | list[Detections]:
        """Find objects in a picture: path, PIL image or array; one in → one out, list → list, as Pagoda's `predict`.

        Boxes, masks and keypoints are in pixels of each picture as it stands upright. `min_score` leaves weaker
        objects out; raise it for fewer false ones. It cannot go below what is built into the file. "card" leaves out
        what is below the score of its class in the file (`thresholds`); where one lies below what is built in, a
        warning says so.

        Raises PictureError for a picture that cannot be read, ValueError for a threshold below the file's, and for
        "card" where the file holds no thresholds.
        """
        if isinstance(source, list | tuple | Iterator):
            return [_raised(found) for found in self.predict_each(source, min_score=min_score)]
        bars = self._least_scores(min_score)
        return self._find_together([see(source, self.input_spec)], bars)[0]

    def predict_each(
        self, sources: Iterable[Any], *, min_score: float | Literal["card"] | None = None
    ) -> Iterator[Detections | PictureError]:
        """As `predict`, of one picture after the other: what was found in it, or why it could not be read.

        Neighbours of one size are looked at together, up to eight small ones, so that results come in groups; at most
        two groups are held.
        """
        return self._find_each(sources, self._least_scores(min_score))

    def track(
        self,
        frames: Iterable[Any],
        *,
        tracker: Literal["byte", "ocsort", "card"] | ByteTracker | OCSortTracker = "byte",
        min_score: Literal["card"] | None = None,
    ) -> Iterator[Detections]:
        """The objects of each frame of a video, in order, with `track_ids`, as soon as they are known.

        `frames`: pictures as `predict` takes them. `tracker`: a linker's name, or one with options of its own; "card":
        what `pagoda track tune` has put into the file. Raises ValueError for "card" where it holds none.
        `min_score="card"` shows the linker what `predict` keeps with it; one that is given by name takes all of that
        for strong.
        """
        shown: float | np.ndarray = FOLLOWING_MIN_SCORE
        strong = self.starting_score
        if min_score is not None:
            shown = self._card_scores(min_score)
            strong = float(shown.min())
        if tracker == "card":
            linker = card_tracker(self.metadata, min_score=None if min_score is None else strong)
        else:
            linker = create_tracker(tracker, min_score=strong) if isinstance(tracker, str) else tracker
        linker.reset()
        for found in self._look_through(frames, shown):
            yield linker.update(found)

    def _look_through(self, frames: Iterable[Any], min_score: float | np.ndarray) -> Iterator[Detections]:
        """What is in each frame of a video, in order."""
        for frame in frames:
            yield self._find_together([see(frame, self.input_spec)], min_score)[0]

    def _find_each(
        self, sources: Iterable[Any], min_score: float | np.ndarray
    ) -> Iterator[Detections | PictureError]:
        for group in groups(sources, self.input_spec, self._opened.input_shape[0]):
            if isinstance(group, PictureError):
                yield group
            else:
                yield from self._find_together(group, min_score)

    def _least_scores(self, min_score: float | str | None) -> float | np.ndarray:
        """What is kept is no weaker: one score for all classes, or (classes,). Raises as `predict` says."""
        if isinstance(min_score, str):
            return self._card_scores(min_score)
        if min_score is not None and not self.min_score <= min_score <= 1:
            raise ValueError(
                f"min_score must be within {self.min_score:g}, which is built into the file, and 1, got {min_score};"
                " for a lower one export the model again with that min_score"
            )
        return min_score or 0.0

    def _card_scores(self, word: str) -> np.ndarray:
        """(classes,) the score of each label. Raises ValueError for another word than "card", or without thresholds."""
        if word != "card":
            raise ValueError(f"min_score must be a number, None or 'card', got {word!r}")
        if self.thresholds is None:
            raise ValueError(f"min_score='card': the file holds no thresholds; {REMEDY}")
        bars = self.thresholds.of_labels(self.label_map.names)
        low = [name for name, bar in zip(self.label_map.names, bars, strict=True) if bar < self.min_score]
        if low:
            warnings.warn(
                f"the file gives no objects below {self.min_score:g}, and the thresholds of {', '.join(low[:10])} are"
                " lower: export the model again with a lower --min-score to find what lies between",
                stacklevel=4,
            )
        return bars

    def _find_together(self, group: Sequence[Seen], min_score: float | np.ndarray) -> list[Detections]:
        """The objects of each; pictures of one size."""
        pixels = np.stack([seen.pixels for seen in group])
        check_input(self._opened.input_shape, pixels.shape, group[0].size)
        outputs = self._opened.run(pixels)
        return [
            self._of_one_picture({name: values[row] for name, values in outputs.items()}, seen, min_score)
            for row, seen in enumerate(group)
        ]

    def _of_one_picture(
        self, outputs: dict[str, np.ndarray], seen: Seen, min_score: float | np.ndarray
    ) -> Detections:
        """In pixels of the picture, of what the graph says of it."""
        found = self._rows(outputs, (seen.pixels.shape[1], seen.pixels.shape[2]), min_score)
        restored = self._pasted(self.input_spec.restore(found, seen.size))
        return replace(restored, file=seen.name, picture=seen.picture[..., :3])

    def _pasted(self, found: Detections) -> Detections:
        """With masks at the size of the picture, where the file says what is inside each box."""
        if found.mask_crops is None:
            return found
        masks = paste_masks(
            found.mask_crops,
            found.boxes,
            found.image_size,
            rule=self._rule,
            min_probability=self._min_mask_probability,
        )
        return replace(found, masks=masks)

    def _rows(
        self, outputs: dict[str, np.ndarray], size: tuple[int, int], min_score: float | np.ndarray
    ) -> Detections:
        """In pixels of what the network saw; rows that hold no object are left out. `min_score`: one, or by label."""
        scores = outputs["scores"].astype(np.float32, copy=False)
        labels = outputs["labels"]
        bars = np.float32(min_score) if np.ndim(min_score) == 0 else np.asarray(min_score)[labels]
        rows = (labels >= 0) & (scores >= bars)
        more: dict[str, Any] = {
            field: outputs[name][rows].astype(np.float32, copy=False)
            for name, field in MORE.items()
            if name in outputs
        }
        masks = outputs["masks"][rows].astype(bool, copy=False) if "masks" in outputs else None
        return Detections(
            outputs["boxes"][rows].astype(np.float32, copy=False),
            scores[rows],
            labels[rows].astype(np.int64, copy=False),
            size,
            self.label_map,
            masks=masks,
            **more,
        )


def _raised(found: Detections | PictureError) -> Detections:
    if isinstance(found, PictureError):
        raise found
    return found


def check_input(taken: Sequence[int | None], given: Sequence[int], size: tuple[int, int]) -> None:
    """Raises ValueError where a file of fixed size takes no such picture, of (height, width) before it was resized."""
    if any(side not in (None, other) for side, other in zip(taken, given, strict=True)):
        raise ValueError(
            f"the file takes pictures of (batch, channels, height, width) {tuple(taken)} alone, and one of {size} is"
            f" resized to {tuple(given)}; export the model without a fixed size"
        )
