"""What a model expects of its pictures, and the way there: resize, normalise, pad, batch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from pagoda.ops.boxes import clip_boxes
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections

Rounding = Literal["nearest", "torchvision", "maskrcnn_benchmark"]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Travels with every model: the pictures its weights were trained on. Numbers are in RGB order."""

    short_side: int = 800
    """pixels; the shorter side is resized to this, aspect kept"""
    long_side: int = 1333
    """pixels; unless the longer side would pass this"""
    rounding: Rounding = "nearest"
    """how sides become whole: "nearest" (detectron2), or as torchvision or maskrcnn-benchmark cut them"""
    channel_order: Literal["RGB", "BGR"] = "RGB"
    scale: float = 255.0
    """pixels are divided by this before `mean` and `std`"""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    pad_multiple: int = 32
    """batches are padded with zeros at the bottom and right to this multiple"""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "InputSpec":
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"unknown input settings: {', '.join(sorted(unknown))}; written by a newer version?"
            )
        return cls(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
        )

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) after resizing a picture of this (height, width).

        >>> InputSpec().resized((480, 640)), InputSpec(rounding="maskrcnn_benchmark").resized((400, 3000))
        ((800, 1067), (178, 1335))
        """
        short, long = min(size), max(size)
        if self.rounding == "maskrcnn_benchmark":
            target = self.short_side
            if long / short * target > self.long_side:
                target = round(self.long_side * short / long)
            sides = (target, int(target * long / short))
            return sides if size[0] <= size[1] else (sides[1], sides[0])
        if self.rounding == "torchvision":
            scale = min(self.short_side / short, self.long_side / long)
            return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
        scale = self.short_side / short
        height, width = size[0] * scale, size[1] * scale
        if max(height, width) > self.long_side:
            again = self.long_side / max(height, width)
            height, width = height * again, width * again
        return max(1, int(height + 0.5)), max(1, int(width + 0.5))

    def resize(self, picture: Tensor) -> Tensor:
        """uint8 (3, H, W) to the size of `resized`."""
        size = self.resized((picture.shape[-2], picture.shape[-1]))
        if size == tuple(picture.shape[-2:]):
            return picture
        return transforms.resize(picture, list(size), antialias=True)

    def normalize(self, pixels: Tensor) -> Tensor:
        """RGB 0 … 255, any dtype (…, 3, H, W), to the float the network reads; exports."""
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None] * self.scale
        std = torch.tensor(self.std, device=pixels.device)[:, None, None] * self.scale
        pixels = (pixels.to(torch.float32) - mean) / std
        return pixels.flip(-3) if self.channel_order == "BGR" else pixels

    def padded(self, side: int) -> int:
        """The side after padding to the multiple; exports."""
        return (side + self.pad_multiple - 1) // self.pad_multiple * self.pad_multiple

    def batch(self, pictures: Sequence[Tensor], *, device: torch.device | str | None = None) -> ImageBatch:
        """uint8 (3, H, W) pictures of any sizes, as they are: normalised, padded to one size, stacked."""
        sizes = torch.tensor([picture.shape[-2:] for picture in pictures], dtype=torch.long)
        height, width = (self.padded(int(side)) for side in sizes.amax(0))
        # Channels last: convolutions follow the layout of their input, and this one is the faster everywhere.
        pixels = torch.zeros(len(pictures), 3, height, width, device=device).contiguous(
            memory_format=torch.channels_last
        )
        for image, picture in enumerate(pictures):
            h, w = picture.shape[-2:]
            pixels[image, :, :h, :w] = self.normalize(picture.to(pixels.device, non_blocking=True))
        return ImageBatch(pixels, sizes.to(pixels.device))

    def prepare(self, pictures: Sequence[Tensor], *, device: torch.device | str | None = None) -> ImageBatch:
        """Resize, then `batch`."""
        return self.batch([self.resize(picture) for picture in pictures], device=device)

    def restore(self, detections: Sequence[Detections], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """The way back: detections in pixels of the pictures they came from, (height, width) each."""
        restored = []
        for found, (height, width) in zip(detections, sizes, strict=True):
            scale_y, scale_x = height / found.image_size[0], width / found.image_size[1]
            boxes = found.boxes * found.boxes.new_tensor([scale_x, scale_y, scale_x, scale_y])
            restored.append(
                replace(found, boxes=clip_boxes(boxes, (height, width)), image_size=(height, width))
            )
        return restored
