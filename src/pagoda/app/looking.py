"""A picture looked at once, and what is shown of it by limits that somebody moves. P locations or anchors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.detectors.dense import DenseDetector
from pagoda.evaluating import evaluating
from pagoda.exporting.exported import ExportedDetector
from pagoda.messages import counted
from pagoda.pictures.read import to_picture
from pagoda.plain import checked
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.outputs import DenseOutputs
from pagoda.structures.thresholds import DEFAULT_MIN_SCORE

LEAST_SCORE = 0.01
"""down to which detections can be shown"""


@checked
@dataclass(frozen=True, kw_only=True)
class ShownLimits:
    """Which detections are shown.

    >>> ShownLimits(max_iou=0.6)
    ShownLimits(min_score=0.3, max_iou=0.6)
    """

    min_score: float = DEFAULT_MIN_SCORE
    """from this score on"""
    max_iou: float | None = None
    """overlap above which the weaker of two boxes of a class goes; None: the model's own"""


@dataclass(eq=False)
class Look:
    """What a network said of one picture."""

    pixels: np.ndarray
    """(H, W, 3) RGB uint8, or RGBA for a model that reads it"""
    outputs: DenseOutputs | None = None
    """of a model that predicts at every location, on the CPU: all that any limits choose from"""
    frame: Tensor | None = None
    """(1, 2) height and width of what that network saw"""
    found: Detections | None = None
    """of other models: detections from LEAST_SCORE on, by `limits`"""
    limits: ShownLimits | None = None
    """by which `found` holds"""
    shown: tuple[ShownLimits, Detections] | None = None
    """what was asked for last"""


@checked
@dataclass(eq=False)
class Looker:
    """A model, under the name by which people know it; several may ask it, and it looks at one picture at a time.

    >>> import pagoda
    >>> options = {"base_channels": 8, "width": 8, "norm_groups": 4, "short_side": 64, "long_side": 64}
    >>> looker = Looker(pagoda.create_model("fcos_resnet18_fpn", num_classes=1, **options), "mine")
    >>> look = looker.look(np.zeros((32, 48, 3), np.uint8))
    >>> few, many = (looker.found(look, ShownLimits(min_score=score)) for score in (0.9, 0.01))
    >>> len(few) < len(many), looker.num_looks
    (True, 1)
    """

    model: Detector
    """that looks"""
    name: str
    """of its file"""
    num_looks: int = 0
    """how often the network has run"""

    def __post_init__(self) -> None:
        self.model, self._lock = evaluating(self.model), Lock()

    @property
    def own_max_iou(self) -> float:
        """Of the model's own suppression."""
        return float(self.model.postprocess.max_iou)

    @property
    def is_file(self) -> bool:
        """An exported file, whose suppression is part of it."""
        return isinstance(self.model, ExportedDetector)

    @contextmanager
    def asking(self) -> Iterator[Detector]:
        """The model, which in the block nobody else asks: each picture would take the memory of a whole network."""
        with self._lock:
            self.num_looks += 1
            yield self.model

    def look(self, pixels: np.ndarray) -> Look:
        """Run the network on a picture, (H, W, 3) RGB uint8 or (H, W, 4) RGBA.

        Raises ValueError for a model of clips, to which a picture alone says nothing.
        """
        if self.model.sees_clips:
            frames = counted(len(self.model.frames_around), "frame")
            raise ValueError(
                f"{self.name} looks at clips of {frames}, not at single pictures; drop a video and follow its objects"
            )
        look = Look(pixels)
        if not isinstance(self.model, DenseDetector):
            self._predict(look, ShownLimits(min_score=LEAST_SCORE))
            return look
        spec, device = self.model.input_spec, next(self.model.parameters()).device
        read, _ = to_picture(pixels, channels=spec.read_channels)
        with self.asking() as model, torch.inference_mode():
            images = spec.prepare([torch.from_numpy(read).permute(2, 0, 1)], device=device)
            look.outputs = _on_processor(model(images))
            look.frame = images.sizes.cpu()
        return look

    def found(self, look: Look, limits: ShownLimits) -> Detections:
        """The objects of a picture that was looked at, as `Detector.predict` finds them by these limits.

        The network runs again only where they do not follow from what it has said: when the suppression of an R-CNN
        moves, and for an exported file.
        """
        if look.shown is None or look.shown[0] != limits:
            look.shown = limits, self._found(look, limits)
        return look.shown[1]

    def _found(self, look: Look, limits: ShownLimits) -> Detections:
        if look.outputs is not None and look.frame is not None:
            return self._select(look.pixels, look.outputs, look.frame, limits)
        known = look.limits
        is_known = (
            known is not None and known.max_iou == limits.max_iou and known.min_score <= limits.min_score
        )
        # A file may compare its threshold with something else than the score.
        if look.found is None or not is_known or (self.is_file and known != limits):
            least = limits.min_score if self.is_file else min(LEAST_SCORE, limits.min_score)
            self._predict(look, ShownLimits(min_score=least, max_iou=limits.max_iou))
        assert look.found is not None
        return look.found.above(limits.min_score)

    def _select(
        self, pixels: np.ndarray, outputs: DenseOutputs, frame: Tensor, limits: ShownLimits
    ) -> Detections:
        model, size = self.model, (pixels.shape[0], pixels.shape[1])
        assert isinstance(model, DenseDetector)
        select = model.postprocess.with_limits(min_score=limits.min_score, max_iou=limits.max_iou)
        with torch.inference_mode():
            images = ImageBatch(torch.empty(1, 0, *frame[0].tolist()), frame)
            found = select.detect(outputs, images, model.decode, model.label_map)
            return model.restore(found, [size])[0].above(limits.min_score)

    def _predict(self, look: Look, limits: ShownLimits) -> None:
        max_iou = None if self.is_file else limits.max_iou
        with self.asking() as model:
            found = model.predict(look.pixels, min_score=limits.min_score, max_iou=max_iou)
        assert isinstance(found, Detections)
        look.found, look.limits = found, limits


def _on_processor(outputs: DenseOutputs) -> DenseOutputs:
    """Where the many pictures of a page take no memory of the accelerator."""
    quality = outputs.quality_logits
    return DenseOutputs(
        outputs.class_logits.cpu(),
        outputs.box_outputs.cpu(),
        None if quality is None else quality.cpu(),
        tuple(each.cpu() for each in outputs.priors),
    )
