"""An exported detector: pictures in, `Detections` out."""

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from pagoda_runtime.backends import OpenedFile
from pagoda_runtime.detections import Detections, LabelMap, Skeleton
from pagoda_runtime.input_spec import InputSpec
from pagoda_runtime.masks import RULES, paste_masks
from pagoda_runtime.pictures import to_picture
from pagoda_runtime.thresholds import REMEDY, ScoreThresholds
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
        if isinstance(min_score, str):
            bars = self._card_scores(min_score)
            if isinstance(source, list | tuple | Iterator):
                return [self._find(each, bars) for each in source]
            return self._find(source, bars)
        if min_score is not None and not self.min_score <= min_score <= 1:
            raise ValueError(
                f"min_score must be within {self.min_score:g}, which is built into the file, and 1, got {min_score};"
                " for a lower one export the model again with that min_score"
            )
        if isinstance(source, list | tuple | Iterator):
            return [self._find(each, min_score) for each in source]
        return self._find(source, min_score)

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
            yield self._find(frame, min_score)

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
                stacklevel=3,
            )
        return bars

    def _find(self, source: Any, min_score: float | np.ndarray | None) -> Detections:
        picture, name = to_picture(source, self.input_spec.read_channels)
        size = (picture.shape[0], picture.shape[1])
        pixels = self.input_spec.prepare(picture)[None]
        check_input(self._opened.input_shape, pixels.shape, size)
        outputs = self._opened.run(pixels)
        found = self.input_spec.restore(
            self._of_one_picture(outputs, pixels.shape[2:], 0.0 if min_score is None else min_score), size
        )
        return replace(self._pasted(found), file=name, picture=picture[..., :3])

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

    def _of_one_picture(
        self, outputs: dict[str, np.ndarray], size: tuple[int, ...], min_score: float | np.ndarray
    ) -> Detections:
        """In pixels of what the network saw; rows that hold no object are left out. `min_score`: one, or by label."""
        scores = outputs["scores"][0].astype(np.float32, copy=False)
        labels = outputs["labels"][0]
        bars = np.float32(min_score) if np.ndim(min_score) == 0 else np.asarray(min_score)[labels]
        rows = (labels >= 0) & (scores >= bars)
        more = {
            field: outputs[name][0][rows].astype(np.float32, copy=False)
            for name, field in MORE.items()
            if name in outputs
        }
        masks = outputs["masks"][0][rows].astype(bool, copy=False) if "masks" in outputs else None
        return Detections(
            outputs["boxes"][0][rows].astype(np.float32, copy=False),
            scores[rows],
            outputs["labels"][0][rows].astype(np.int64, copy=False),
            (size[0], size[1]),
            self.label_map,
            masks=masks,
            **more,
        )


def check_input(taken: Sequence[int | None], given: Sequence[int], size: tuple[int, int]) -> None:
    """Raises ValueError where a file of fixed size takes no such picture, of (height, width) before it was resized."""
    if any(side not in (None, other) for side, other in zip(taken, given, strict=True)):
        raise ValueError(
            f"the file takes pictures of (batch, channels, height, width) {tuple(taken)} alone, and one of {size} is"
            f" resized to {tuple(given)}; export the model without a fixed size"
        )
