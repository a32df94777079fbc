"""What a model expects of its pictures, and the way back: the arithmetic of `pagoda.preprocess.InputSpec`.

Normalising and padding stand in the exported graph; what is left is the size, and the border of letterboxes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from pagoda_runtime.detections import Detections
from pagoda_runtime.resize import Resample, resize, resize_mask

Rounding = Literal["nearest", "torchvision", "maskrcnn_benchmark"]
Fit = Literal["resize", "letterbox", "corner", "stretch"]
IN_THE_GRAPH = {"channel_order", "scale", "std", "pad_multiple"}
"""what Pagoda's InputSpec has besides, and the exported graph does itself"""
WORDS = {
    "rounding": ("nearest", "torchvision", "maskrcnn_benchmark"),
    "resample": ("antialias", "bicubic", "float", "corners"),
    "fit": ("resize", "letterbox", "corner", "stretch"),
}


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """To which size pictures are brought, and how; the fields mean what they mean in Pagoda."""

    short_side: int = 800
    long_side: int = 1333
    rounding: Rounding = "nearest"
    resample: Resample = "antialias"
    fit: Fit = "resize"
    canvas: tuple[int, int] | None = None
    """(height, width) for every `fit` but "resize" """
    border: int | tuple[int, int, int] = 128
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """as many numbers as the network has channels"""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "InputSpec":
        """Of the metadata. Raises ValueError for settings that a newer version may have written."""
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(data) - known - IN_THE_GRAPH)
        unknown += [
            f"{name}={data[name]!r}" for name, words in WORDS.items() if data.get(name, words[0]) not in words
        ]
        if unknown:
            raise ValueError(
                f"its input_spec has {', '.join(unknown)}, of which this pagoda-runtime knows nothing; install a"
                " newer one"
            )
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in data.items()
            if name in known
        }
        return cls(**plain)

    @property
    def read_channels(self) -> int:
        """Of the pictures that are handed over: RGB also where the network reads grey."""
        return 4 if len(self.mean) == 4 else 3

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) after resizing a picture of this (height, width), without any border.

        >>> InputSpec().resized((480, 640)), InputSpec(rounding="maskrcnn_benchmark").resized((400, 3000))
        ((800, 1067), (178, 1335))
        """
        if self.canvas is not None:
            if self.fit == "stretch":
                return self.canvas
            return _cut(size, min(self.canvas[0] / size[0], self.canvas[1] / size[1]))
        short, long = min(size), max(size)
        if self.rounding == "maskrcnn_benchmark":
            target = self.short_side
            if long / short * target > self.long_side:
                target = round(self.long_side * short / long)
            sides = (target, int(target * long / short))
            return sides if size[0] <= size[1] else (sides[1], sides[0])
        if self.rounding == "torchvision":
            return _cut(size, min(self.short_side / short, self.long_side / long))
        scale = self.short_side / short
        height, width = size[0] * scale, size[1] * scale
        if max(height, width) > self.long_side:
            again = self.long_side / max(height, width)
            height, width = height * again, width * again
        return max(1, int(height + 0.5)), max(1, int(width + 0.5))

    def offset(self, size: tuple[int, int]) -> tuple[int, int]:
        """(top, left) of the resized picture in its frame."""
        if self.fit != "letterbox" or self.canvas is None:
            return 0, 0
        height, width = self.resized(size)
        return (self.canvas[0] - height) // 2, (self.canvas[1] - width) // 2

    def prepare(self, picture: np.ndarray) -> np.ndarray:
        """uint8 (H, W, C) to what the graph takes, (C, height, width): resized, letterboxed where `fit` says so."""
        size = (picture.shape[0], picture.shape[1])
        planes = resize(np.ascontiguousarray(picture.transpose(2, 0, 1)), self.resized(size), self.resample)
        if self.fit != "letterbox" or self.canvas is None:
            return planes
        color = np.append(np.broadcast_to(np.array(self.border, np.uint8), 3), np.uint8(255))[: len(planes)]
        frame = np.repeat(color, self.canvas[0] * self.canvas[1]).reshape(-1, *self.canvas)
        top, left = self.offset(size)
        frame[:, top : top + planes.shape[1], left : left + planes.shape[2]] = planes
        return frame

    def restore(self, found: Detections, size: tuple[int, int]) -> Detections:
        """The way back: from pixels of what `prepare` gave to those of the picture of (height, width).

        Masks are resized with their picture; those of `mask_crops` are pasted into the boxes there are then.
        """
        height, width = self.resized(size)
        top, left = self.offset(size)
        scale = np.array([size[1] / width, size[0] / height], np.float32)
        start = np.array([left, top], np.float32)
        boxes = (found.boxes - np.tile(start, 2)) * np.tile(scale, 2)
        boxes = np.minimum(np.maximum(boxes, 0), np.array([size[1], size[0]] * 2, np.float32))
        keypoints = None if found.keypoints is None else (found.keypoints - start) * scale
        masks = found.masks
        if found.masks is not None and (top, left, height, width) != (0, 0, *size):
            masks = np.zeros((len(found), *size), bool)
            for number, mask in enumerate(found.masks):
                masks[number] = resize_mask(mask[top : top + height, left : left + width], size)
        return replace(found, boxes=boxes, keypoints=keypoints, masks=masks, image_size=size)


def _cut(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The sides scaled and cut to whole pixels, at least one."""
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
