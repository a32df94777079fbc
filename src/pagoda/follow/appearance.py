"""What followed objects look like: vectors of the detector's own features, or of a network in a file of its own."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pagoda.detectors.appearance import PyramidWatch
from pagoda.detectors.contract import Detector
from pagoda.ops.resize import antialiased
from pagoda.plain import checked
from pagoda.structures.tubes import Tubes
from pagoda.tracking.tracker import Found

INSTALL = (
    "an embedding from an ONNX file needs onnxruntime; install with: pip install 'pagoda-vision[export]'"
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""of ImageNet's pixels, 0 … 1: what networks that tell people apart were trained on"""


class Appearance(ABC):
    """What gives the objects of each frame their `appearance`."""

    def watching(self, model: Detector) -> AbstractContextManager[object]:
        """What has to stand around the model's work."""
        return nullcontext()

    @abstractmethod
    def of(self, picture: np.ndarray, boxes: Tensor, place: int = 0) -> Tensor:
        """(N, D) vectors of N xyxy boxes in pixels of a picture, (H, W, 3) RGB uint8, which was at this `place` in the
        batch that the model has just seen."""

    def give(self, found: Found, picture: np.ndarray, place: int = 0) -> Found:
        """The objects of a frame with their appearance; of tubes in their key frame."""
        if found.appearance is not None:
            return found
        boxes = found.boxes[:, found.key] if isinstance(found, Tubes) else found.boxes
        return replace(found, appearance=self.of(picture, boxes, place).cpu())


class ModelAppearance(Appearance):
    """Of the finest features that the detector's heads read: no other network, and nearly no time."""

    def __init__(self, model: Detector) -> None:
        """Raises ValueError for an exported file that does not say what objects look like."""
        if not model.tells_appearance and not hasattr(model, "backbone"):
            again = (
                "follow with the checkpoint"
                if model.sees_clips
                else "export the model again with --appearance"
            )
            raise ValueError(
                f"the exported file does not say what objects look like; {again}, or name an .onnx file that embeds"
                " objects"
            )
        self._model, self._watch = model, PyramidWatch(model)

    def watching(self, model: Detector) -> AbstractContextManager[object]:
        """The model, which may be a twin in evaluation mode."""
        self._model, self._watch = model, PyramidWatch(model)
        return nullcontext() if model.tells_appearance else self._watch

    def of(self, picture: np.ndarray, boxes: Tensor, place: int = 0) -> Tensor:
        """See `PyramidWatch.appearance`."""
        size = (picture.shape[0], picture.shape[1])
        placed = self._model.input_spec.to_frame(boxes, size)
        with torch.inference_mode():
            return self._watch.appearance(placed, torch.full((len(boxes),), place, device=boxes.device))


@checked
class FileAppearance(Appearance):
    """Of a network in an ONNX file that takes cut-out objects (N, 3, h, w) and gives one vector (N, D) of each.

    Pixels are scaled to 0 … 1 and normalised as ImageNet's (`mean`, `std`). Raises FileNotFoundError; ImportError
    without onnxruntime; ValueError for a file that takes or gives anything else.
    """

    def __init__(
        self, path: str | Path, *, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD
    ) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(
                f"there is no {self.path}, which should hold a network that embeds objects"
            )
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(INSTALL) from error
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(self.path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions have no common class
            raise ValueError(f"{self.path} cannot be opened as an ONNX file: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [tuple(inputs[0].shape), tuple(outputs[0].shape)] if inputs and outputs else []
        taken = shapes[0] if shapes else ()
        is_right = len(inputs) == 1 and len(taken) == 4 and taken[1] == 3
        if not is_right or not all(isinstance(side, int) for side in taken[2:]) or len(shapes[1]) != 2:
            told = ", ".join(f"{each.name} {tuple(each.shape)}" for each in (*inputs, *outputs))
            raise ValueError(
                f"{self.path} should take pictures (n, 3, height, width) of a fixed height and width and give vectors"
                f" (n, d), but it says {told}; export it so, or use the detector's own features: --appearance model"
            )
        self._name, self._size = inputs[0].name, (int(taken[2]), int(taken[3]))
        self._batch = taken[0] if isinstance(taken[0], int) else None
        self._mean, self._std = (torch.tensor(each).view(3, 1, 1) for each in (mean, std))
        self._length: int | None = None

    def of(self, picture: np.ndarray, boxes: Tensor, place: int = 0) -> Tensor:
        """Each box is cut out, at least a pixel of it, and stretched to the network's size."""
        if not len(boxes):
            return torch.zeros(0, self._length or 0)
        crops = torch.stack([self._crop(picture, box) for box in boxes.tolist()]).numpy()
        vectors = torch.from_numpy(
            np.concatenate([self._run(part) for part in self._parts(crops)])[: len(boxes)]
        )
        if self._length not in (None, vectors.shape[1]):
            raise ValueError(
                f"{self.path} gave vectors of {vectors.shape[1]} numbers, and of {self._length} before; they cannot be"
                " compared"
            )
        self._length = vectors.shape[1]
        return vectors

    def _parts(self, crops: np.ndarray) -> list[np.ndarray]:
        if self._batch is None:
            return [crops]
        rest = -len(crops) % self._batch
        padded = np.concatenate([crops, np.repeat(crops[-1:], rest, 0)])
        return np.split(padded, len(padded) // self._batch)

    def _run(self, crops: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {self._name: crops})[0], dtype=np.float32)

    def _crop(self, picture: np.ndarray, box: list[float]) -> Tensor:
        height, width = picture.shape[:2]
        left, top = (
            int(min(max(np.floor(low), 0), side - 1))
            for low, side in zip(box[:2], (width, height), strict=True)
        )
        right, bottom = (
            int(min(max(np.ceil(high), low + 1), side))
            for high, low, side in zip(box[2:], (left, top), (width, height), strict=True)
        )
        part = torch.from_numpy(np.ascontiguousarray(picture[top:bottom, left:right])).permute(2, 0, 1)
        return (antialiased(part, self._size).float() / 255 - self._mean) / self._std


def appearance_of(said: str, model: Detector) -> Appearance | None:
    """What `--appearance` says: "none", "model", or the path of an ONNX file.

    Raises ValueError for another word, with what can be said.

    >>> from pagoda.models import create_model
    >>> model = create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=16, norm_groups=4)
    >>> appearance_of("none", model), type(appearance_of("model", model)).__name__
    (None, 'ModelAppearance')
    """
    if said == "none":
        return None
    if said == "model":
        return ModelAppearance(model)
    if Path(said).suffix != ".onnx":
        raise ValueError(
            f"appearance must be none, model or the path of an .onnx file that embeds objects, got {said!r}"
        )
    return FileAppearance(said)
